"""Aligns the projector on questions (stage 1), trains values from there (stage 2), or both:

    accelerate launch trainer/align.py --config RECIPE --stage both [--any.key value]

--stage 1 | 2 | both      stage 2 is what trainer/run.py does, from the model that stage 1 has left
--resume                  continue in the stage that was interrupted
--alignment.questions X   and every other key of the recipe can be overridden in this way
"""

import argparse
import sys

from valuecurve.episodes import DatasetError
from valuecurve.training import ConfigError, load_config
from valuecurve.training.alignment import STAGES, aligned_model, run_stages


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="a recipe with an alignment section")
    parser.add_argument("--stage", choices=STAGES, default="both")
    parser.add_argument("--resume", action="store_true", help="continue the run in training.output_dir")
    options, overrides = parser.parse_known_args(argv)
    try:
        config = load_config(options.config, overrides)
        run = run_stages(config, options.stage, options.resume)
    except (ConfigError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if run is None:
        print(f"the aligned model is in {aligned_model(config)}")
    elif run.trainer.is_world_process_zero():
        print(f"model, metrics and pictures are in {config.training.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
