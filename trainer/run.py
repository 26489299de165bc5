"""Trains a value model:

    accelerate launch trainer/run.py --config trainer/recipes/value_tiny.yaml [--any.key value]

--resume            continue the run in training.output_dir from its last complete checkpoint
--data.dataset X    and every other key of the recipe can be overridden in this way
"""

import sys

from valuecurve.training.command import main

if __name__ == "__main__":
    sys.exit(main())
