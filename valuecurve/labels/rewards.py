"""What the frames of episodes earn, in value units: the rewards that advantages are made of. Pure arrays.

Deliberately absent: targets, which clip (returns.py), and where outcomes are read (episodes/outcomes.py).
"""

import numpy as np

from valuecurve.returns import dataset_rewards


def value_rewards(
    lengths: np.ndarray,
    success: np.ndarray,
    scale: np.ndarray,
    *,
    fail: str = "floor",
    fail_penalty: float = 0.0,
    rewards: np.ndarray | None = None,
    v_min: float = -1.0,
) -> np.ndarray:
    """Rewards of all frames, divided by the scale of their episode.

    r_t = -1 / scale for t < T;  r_T = 0 on success, -C_fail / scale on failure.

    `fail="penalty"` takes C_fail = `fail_penalty`, as training does. `fail="floor"` trains a model towards
    v_min at every frame of a failed episode. That is the clipped return of these rewards with
    C_fail = -v_min scale:

        G_t / scale = v_min - (T - t) / scale <= v_min,   so   clip(G_t / scale) = v_min for all t,

    and so this is what `floor` means here. Three things follow, which no other choice gives together:

    - The last frame of a failure has G_T - V(T) = v_min - V(T) <= 0: the less the model expected the failure,
      the worse. With C_fail = 0 it would have -V(T), up to +1: the best frame of the dataset. (An n-step
      advantage is N / scale lower still, by `time_after_failure`.)
    - A step costs the same in every episode. Rewards that sum up to the flat target instead (0 a step, v_min
      at the end) would give the good first half of a failed episode N / scale more than the same frames of
      a success, only because of what happened later.
    - Where all is lost (V = v_min), time that passes is lost as well: A_t = -N / scale < 0, up to the last
      frame (`time_after_failure`; not with dense rewards). A perfect forecast of a success has the advantage
      0, so lost frames are never preferred to it.

    Args:
        lengths: frames of each episode, `[E]`.
        success: outcome of each episode, bool `[E]`.
        scale: steps that one value unit stands for, of each episode, `[E]`, in frames of these episodes.
        fail: "floor" or "penalty".
        fail_penalty: C_fail in the same steps, for fail="penalty" and sparse rewards.
        rewards: dense rewards r_t `[N]` in steps, from a column, instead of -1 a step. With "penalty" they
            are taken as they are (the penalty is in them); with "floor" the last one of a failed episode
            becomes v_min scale.
        v_min: the lowest value.

    Returns:
        r_t, float64 `[N]`, value units.
    """
    if fail not in ("floor", "penalty"):
        raise ValueError(f"fail must be 'floor' or 'penalty', got {fail!r}")
    success, last = np.asarray(success), np.cumsum(lengths) - 1
    if rewards is None:
        steps = dataset_rewards(lengths, success, fail_penalty if fail == "penalty" else 0.0)
    else:
        steps = np.array(rewards, dtype=np.float64)
    earned = steps / np.repeat(scale, lengths)
    if fail == "floor":
        earned[last[~success]] = v_min
    return earned


def time_after_failure(
    lengths: np.ndarray, success: np.ndarray, scale: np.ndarray, horizon: int
) -> np.ndarray:
    """Time between the end of a failed episode and the horizon of its last frames, in value units.

    (N - (T - t)) / scale  for t > T - N in failed episodes, else 0.

    To be taken off the n-step advantages of `fail="floor"`. There a failure stays one: every frame is worth
    v_min, and so is what would follow the last one. In the last N frames of a failure this makes

        A_t = n_step(r, V)_t - (N - (T - t)) / scale = -N / scale + v_min - V(t),

    which is the n-step formula with rewards of -1 / scale that go on, and V = v_min beyond the end. It is a
    choice of ours, not of RECAP's: an advantage that stopped counting at T would say of the last lost frames
    (V = v_min) that they cost less and less, and of the very last that it cost nothing: -(T - t) / scale,
    above thresholds that are often a little below 0.

    Not for `fail="penalty"`, where r_T is all that a failure costs, nor for dense rewards: a column says what
    each frame earned, in amounts of its own, and nothing of what frames after the last would have earned;
    1 / scale a step could outweigh all of it.

    Args:
        lengths, success, scale: as of `value_rewards`, `[E]`.
        horizon: N, in frames.

    Returns:
        float64 `[N]`, 0 or more.
    """
    lengths = np.asarray(lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(lengths.sum())  # T - t
    missing = np.maximum(horizon - left, 0) / np.repeat(scale, lengths)
    return np.where(np.repeat(np.asarray(success), lengths), 0.0, missing)
