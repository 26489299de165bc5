"""Searches for the hyperparameters of a recipe:

    python trainer/sweep.py --config trainer/sweeps/value_tiny.yaml [--any.key value]

The same command continues an interrupted search.

--trials 40                  keys of the sweep and
--training.max_steps 200     keys of its recipe can be overridden in this way
"""

import argparse
import sys

from valuecurve.episodes import DatasetError
from valuecurve.training import ConfigError
from valuecurve.training.sweep import load_sweep, search


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="a sweep, for example trainer/sweeps/value_tiny.yaml")
    options, overrides = parser.parse_known_args(argv)
    try:
        sweep, space = load_sweep(options.config, overrides)
        found = search(sweep, space)
    except (ConfigError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"best of {len(found.trials)} trials: {sweep.metric} {found.best.value:.6g} with")
    for key, value in found.best.fields.items():
        print(f"  {key}: {value}")
    print(f"trials.csv, trials.json and best.yaml, a recipe for trainer/run.py, are in {found.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
