"""The command that trains: `trainer/run.py` in a clone, `python -m valuecurve.training` elsewhere.

--config RECIPE     YAML, for example trainer/recipes/value_tiny.yaml
--resume            continue the run in training.output_dir from its last complete checkpoint
--data.dataset X    and every other key of the recipe can be overridden in this way
"""

import argparse
import sys

from transformers.utils.logging import disable_progress_bar

from ..episodes import DatasetError
from .config import ConfigError, load_config
from .run import train


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", required=True, help="a recipe, for example trainer/recipes/value_tiny.yaml"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in training.output_dir")
    options, overrides = parser.parse_known_args(argv)
    disable_progress_bar()  # of weights that are read or written
    try:
        config = load_config(options.config, overrides)
        run = train(config, resume=options.resume)
    except (ConfigError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted: --resume goes on from the last complete checkpoint, if there is one",
            file=sys.stderr,
        )
        return 130
    if run.trainer.is_world_process_zero():
        print(f"model, metrics and pictures are in {config.training.output_dir}")
    return 0
