"""Training: from a recipe and a dataset to a checkpoint.

`load_config` reads a recipe, `train` runs it; `ValueTrainer` and the collator are for programs of one's own.
"""

from .config import ConfigError, RunConfig, ValueTrainingArguments, load_config
from .data import FrameRows, RobotCollator, RobotData
from .ema import EMA
from .run import Prepared, Run, prepare, train
from .trainer import ValueTrainer, last_checkpoint

__all__ = [
    "EMA",
    "ConfigError",
    "FrameRows",
    "Prepared",
    "RobotCollator",
    "RobotData",
    "Run",
    "RunConfig",
    "ValueTrainer",
    "ValueTrainingArguments",
    "last_checkpoint",
    "load_config",
    "prepare",
    "train",
]
