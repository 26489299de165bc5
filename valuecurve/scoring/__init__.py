"""Scoring: a model's values for the frames of a dataset.

`predict` scores frames that are in a frame store; `shuffled_between_episodes` makes the shortcut probe.
"""

from .predict import predict, shuffled_between_episodes

__all__ = ["predict", "shuffled_between_episodes"]
