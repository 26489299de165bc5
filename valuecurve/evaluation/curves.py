"""A `Curve`: one episode's predicted values over time, with all that a picture or a video of it needs."""

from dataclasses import dataclass, field

import numpy as np

from valuecurve.metrics import quantiles


@dataclass
class Curve:
    """One episode as a value function sees it; T frames, K bins.

    Attributes:
        episode_index: the episode in its dataset, or None for one that is of no dataset.
        task: instruction text.
        success: outcome of the episode, or None when not known.
        fps: frames a second.
        value: [T] predicted values, in value units.
        probabilities: [T, K] predicted distributions, for the uncertainty band, or None.
        interval: [2, T] lower and upper end of the band where there are no distributions, in value units, or
            None; interval_name says what it is.
        target: [T] normalised returns, in value units, or None.
        scale_seconds: seconds that one value unit stands for (scale / fps), or None when not known.
        thumbnails: uint8 [n, 3, h, w], small pictures of some frames.
        thumbnail_frames: int [n], their frame indices.
        failure_kind: what went wrong, for the picture only.
        positive: bool [T], the frames that a label set calls positive, or None.
        advantage: [T], in value units, or None.
        threshold: [T], the advantage from which a frame is positive, or None.
        horizon: frames that the advantage looks ahead, or None.
        v_min, v_max: ends of the value range.
    """

    episode_index: int | None
    task: str
    success: bool | None
    fps: float
    value: np.ndarray
    probabilities: np.ndarray | None = None
    target: np.ndarray | None = None
    scale_seconds: float | None = None
    thumbnails: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 1, 1), np.uint8))
    thumbnail_frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    failure_kind: str | None = None
    positive: np.ndarray | None = None
    v_min: float = -1.0
    v_max: float = 0.0
    advantage: np.ndarray | None = None
    interval: np.ndarray | None = None
    interval_name: str = "± one standard deviation"
    threshold: np.ndarray | None = None
    horizon: int | None = None

    def __post_init__(self) -> None:
        self.value = self._per_frame("value", self.value)
        self.success = None if self.success is None else bool(self.success)
        self.thumbnails, self.thumbnail_frames = (
            np.asarray(self.thumbnails),
            np.asarray(self.thumbnail_frames),
        )
        if self.target is not None:
            self.target = self._per_frame("target", self.target)
        if self.positive is not None:
            self.positive = self._per_frame("positive", self.positive).astype(bool)
        if self.advantage is not None:
            self.advantage = self._per_frame("advantage", self.advantage)
        if self.threshold is not None:
            self.threshold = self._per_frame("threshold", self.threshold)
        if self.interval is not None:
            self.interval = np.stack([self._per_frame("interval", side) for side in self.interval])
            if len(self.interval) != 2 or (self.interval[0] > self.interval[1]).any():
                raise self._error("interval must be [2, T], lower end first")
        if self.probabilities is not None:
            self.probabilities = np.asarray(self.probabilities)
            if self.probabilities.ndim != 2 or len(self.probabilities) != len(self):
                raise self._error(f"probabilities {list(self.probabilities.shape)} for {len(self)} values")
        if self.thumbnails.ndim != 4 or len(self.thumbnails) != len(self.thumbnail_frames):
            raise self._error(
                f"thumbnails {list(self.thumbnails.shape)} (need [n, 3, h, w]) for "
                f"{len(self.thumbnail_frames)} thumbnail_frames"
            )
        if not self.fps > 0:
            raise self._error(f"fps {self.fps}")

    def __len__(self) -> int:
        return len(self.value)

    @property
    def times(self) -> np.ndarray:
        """Seconds since the start of the episode, [T]."""
        return np.arange(len(self)) / self.fps

    @property
    def outcome(self) -> str:
        """ "Success", "Failure", "Failure: what went wrong" or "Outcome not known"."""
        if self.success is None:
            return "Outcome not known"
        if self.success:
            return "Success"
        kind = (self.failure_kind or "").replace("_", " ").strip()
        return f"Failure: {kind}" if kind else "Failure"

    @property
    def seconds(self) -> float:
        """Length of the time axis: of one frame its own."""
        return float(self.times[-1]) if len(self) > 1 else 1 / self.fps

    def band(self, lower: float = 0.1, upper: float = 0.9) -> tuple[np.ndarray, np.ndarray] | None:
        """The two quantiles of each frame's distribution, ([T], [T]) in value units.

        Without distributions `interval`, whatever the levels; None without that either.
        """
        if self.probabilities is None:
            return None if self.interval is None else (self.interval[0], self.interval[1])
        low, high = quantiles(self.probabilities, [lower, upper], self.v_min, self.v_max)
        return low, high

    @property
    def band_name(self) -> str | None:
        """What the band of the pictures is; None without one."""
        if self.probabilities is not None:
            return "10–90% of the prediction"
        return None if self.interval is None else self.interval_name

    @property
    def positive_name(self) -> str:
        """What the positive frames are called, with the horizon of their labels where it is known."""
        if self.horizon is None:
            return "labelled positive"
        return f"labelled positive, {self.horizon} frame{'s' * (self.horizon > 1)} ahead"

    @property
    def has_usual_range(self) -> bool:
        """Whether 0 is a success, and -1 a failure or farthest away; of pairs of frames it is not so."""
        return (self.v_min, self.v_max) == (-1.0, 0.0)

    @property
    def has_seconds(self) -> bool:
        """Whether pictures tell seconds: where the scale is known, but not of failures. A -1 is no time."""
        return self.success is not False and self.scale_seconds is not None

    def seconds_to_success(self) -> np.ndarray | None:
        """The expected seconds to success, [T]; None when the scale is not known."""
        return None if self.scale_seconds is None else (self.v_max - self.value) * self.scale_seconds

    def _per_frame(self, name: str, array) -> np.ndarray:
        array = np.asarray(array, dtype=np.float64)
        if array.ndim != 1 or not len(array) or (name != "value" and len(array) != len(self.value)):
            raise self._error(f"{name} of shape {list(array.shape)}, which must be [T], as many as `value`")
        if not np.isfinite(array).all():
            raise self._error(f"{name}[{int(np.flatnonzero(~np.isfinite(array))[0])}] is not finite")
        return array

    def _error(self, what: str) -> ValueError:
        return ValueError(f"Curve of episode {self.episode_index}: {what}.")


def pick_thumbnails(frames, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """`count` frames spread evenly over an episode: (thumbnails [n, 3, h, w], frame indices [n]).

    Each comes from the middle of its share of the time, so that a row of them lies under its own times.
    `frames` is uint8 [T, 3, h, w]; an episode shorter than `count` gives all its frames.
    """
    indices = thumbnail_frames(len(frames), count)
    return np.stack([np.asarray(frames[i]) for i in indices]), indices


def thumbnail_frames(length: int, count: int) -> np.ndarray:
    """The frame indices of `pick_thumbnails`, int64 [min(count, length)]."""
    count = min(count, length)
    return ((np.arange(count) + 0.5) * length / max(count, 1)).astype(np.int64)
