"""How to label: the choices of `valuecurve label`, checked."""

import difflib
import math
from dataclasses import dataclass, fields

from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.outcomes import check_assumed

MODES = ("n_step", "full", "progress")
SCOPES = ("task", "global")
MOST = 1000  # stages or slices
ONE_HORIZON = "and --horizon say the same: give --horizon or --horizon-seconds, not both"
HORIZON = 50  # frames; RECAP (pi*0.6) and seeds 1, 3 and 4


@dataclass(frozen=True)
class LabelSettings:
    """Defaults are those of DESIGN: n-step over 50 frames, 30% of the frames of a task positive.

    Raises DatasetError, when made, for what cannot be.
    """

    mode: str = "n_step"  # "full" (episode) | "progress"
    horizon: int | None = None  # frames: 50, or what the scores of pairs were made with
    horizon_seconds: float | None = None  # instead of `horizon`
    positive_fraction: float = 0.3
    scope: str = "task"  # thresholds per task, or "global"
    stages: int | None = None  # and per stage of the episode
    stage_column: str | None = None  # progress in [0, 1] that tells the stages; None: share of elapsed time
    slices: int | None = None
    progress: str | None = None  # what mode "progress" reads; None: value, or absolute_value of pairs
    interventions: str | None = None  # column of frames that a human drove: always positive
    all_positive: bool = False
    outcome_column: str | None = None
    assume_outcome: str | None = None
    reward_column: str | None = None  # dense rewards, in steps
    fail: str | None = None  # "floor" | "penalty"; None: as the model was trained
    fail_penalty: float | None = None  # steps of the model, for "penalty"; None: as it was trained
    scale: str | float = "checkpoint"  # "task_max" | "episode" | frames
    thresholds: str | None = None  # folder of another tag whose thresholds these frames are judged by

    def __post_init__(self) -> None:
        number = isinstance(self.scale, int | float)
        _choice("mode", self.mode, MODES)
        _choice("scope", self.scope, SCOPES)
        _choice("fail", self.fail or "floor", ("floor", "penalty"))
        check_assumed(self.assume_outcome)
        if not number:
            _choice("scale", str(self.scale), ("checkpoint", "task_max", "episode"), " or a number of frames")
        rules = (
            ("scale", self.scale, not number or 0 < float(self.scale) < math.inf, "above 0"),
            ("horizon", self.horizon, self.horizon is None or self.horizon >= 1, "1 frame or more"),
            ("horizon_seconds", self.horizon_seconds, _positive(self.horizon_seconds), "above 0"),
            ("positive_fraction", self.positive_fraction, 0 <= self.positive_fraction <= 1, "from 0 to 1"),
            ("per_stage", self.stages, _within(1, self.stages), f"from 1 to {MOST}"),
            ("slices", self.slices, _within(2, self.slices), f"from 2 to {MOST}"),
            ("fail_penalty", self.fail_penalty, 0 <= (self.fail_penalty or 0) < math.inf, "0 or more steps"),
        )
        for name, value, fits, wanted in rules:
            if not fits:
                raise DatasetError(f"{_option(name)} must be {wanted}, got {value}")
        pairs = (
            ("horizon_seconds", self.horizon_seconds, self.horizon is not None, ONE_HORIZON),
            (
                "horizon",
                self.horizon or self.horizon_seconds,
                self.mode == "full",
                "means nothing with --mode full",
            ),
            ("progress", self.progress, self.mode != "progress", "needs --mode progress"),
            ("stage_column", self.stage_column, self.stages is None, "needs --per-stage"),
            ("fail_penalty", self.fail_penalty, self.fail != "penalty", "needs --fail penalty"),
            (
                "reward_column",
                self.reward_column,
                self.mode == "progress",
                "means nothing with --mode progress",
            ),
        )
        for name, value, clash, why in pairs:
            if value and clash:
                raise DatasetError(f"{_option(name)} {why}")

    def without_effect(self) -> list[str]:
        """The options that were given, and that value targets alone have no use for."""
        used = ("outcome_column", "assume_outcome", "reward_column", "fail", "fail_penalty", "scale")
        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default and f.name not in used]
        return [_option({"stages": "per_stage"}.get(name, name)) for name in given]

    def failure(self, about: dict | None = None) -> tuple[str, float]:
        """What a failed episode costs, ("floor" or "penalty", steps): as it is named here, else as the model
        was trained by `about`, manifest["scores"], else "floor"."""
        trained = (about or {}).get("fail") or "floor"
        fail = self.fail or trained
        if fail == "floor":
            return fail, 0.0
        penalty = (about or {}).get("fail_penalty", 0.0) if fail == trained else 0.0
        return fail, float(penalty if self.fail_penalty is None else self.fail_penalty)

    def described(self) -> dict:
        """For the manifest, which also gets what is known later: horizon, thresholds, outcomes, failures."""
        returns = {"reward_column": self.reward_column, "scale": self.scale}
        return {
            "mode": self.mode,
            "positive_fraction": self.positive_fraction,
            "scope": self.scope,
            "stages": self.stages,
            "stage_column": self.stage_column,
            "slices": self.slices,
            "interventions": self.interventions,
            "all_positive": self.all_positive,
            **({} if self.mode == "progress" else returns),
        }


def _choice(name: str, value: str, choices: tuple[str, ...], more: str = "") -> None:
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DatasetError(f"{_option(name)} must be {', '.join(choices)}{more}, got {value!r}{hint}")


def _positive(number: float | None) -> bool:
    return number is None or 0 < number < math.inf


def _within(least: int, number: int | None) -> bool:
    return number is None or least <= number <= MOST


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
