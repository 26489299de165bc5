"""`accelerate launch -m valuecurve.training --config RECIPE …`: what trainer/run.py does in a clone."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
