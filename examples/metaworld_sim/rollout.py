"""One episode from its number: the script, the attempt that fulfilled it, and its frames.

Everything comes from `(seed, stream, number, attempt)`, so an episode does not depend on which others
were collected, in what order, or by how many workers.
"""

from dataclasses import dataclass

import numpy as np

from .experts import FAILURES, SKILLS, Script, actions
from .scene import CAMERAS, Scene, Truth

EPISODES, QUESTIONS = 0, 1  # the two streams of random numbers: nothing is ever drawn from both
BLOCK = 10  # episodes of one task in a row
CYCLE = ("push", "drawer", "push", "drawer", "push")  # blocks
MIN_FRAMES, MAX_FRAMES = 30, 120
CLEAR_MISS = 0.09  # metres: a failed puck ends at least this far from the goal (success is 0.05)
CLEARLY_SHUT = 0.11  # metres: a failed drawer ends at most this far open (success is 0.16)
SUCCESS_SHARE = 0.58
PATIENCE = (15, 50)  # frames that a failure lingers, from and below
HARD_FAILS = 9.0  # change of the log-odds of failure from the easiest layout to the hardest


@dataclass
class Episode:
    """Frames t = 0 … T: the state and picture at t, and the action taken there."""

    number: int
    attempt: int
    task: str
    script: Script
    states: np.ndarray  # float32 [T+1, 4]
    actions: np.ndarray  # float32 [T+1, 4]
    rewards: np.ndarray  # float32 [T+1]
    successes: np.ndarray  # bool [T+1], true at the last frame of a success only
    images: dict[str, np.ndarray]  # camera -> uint8 [T+1, H, W, 3]
    truths: list[Truth]

    def __len__(self) -> int:
        return len(self.states)


def task_of(number: int) -> str:
    """Three pushes for every two drawers, in blocks of `BLOCK`: changing the scene takes a second."""
    return CYCLE[number // BLOCK % len(CYCLE)]


def choose_script(seed: int, stream: int, number: int) -> Script:
    """Outcome and skill. Outcomes are dealt from a shuffled deck per task and cycle, so that every kind of
    failure comes equally often. Failures take their skill from the quicker ones, because a failure goes on
    for a while after it happened: so the lengths of both outcomes overlap.
    """
    cycle, place = divmod(number, BLOCK * len(CYCLE))
    mine = [n for n in range(BLOCK * len(CYCLE)) if task_of(n) == task_of(number)]
    dealer = random_for(seed, stream, cycle, ("push", "drawer").index(task_of(number)) - 3)
    failures = round(len(mine) * (1 - SUCCESS_SHARE))
    kinds = [kind for _ in range(failures // len(FAILURES) + 1) for kind in dealer.permutation(FAILURES)]
    deck = dealer.permutation([*kinds[:failures], *[""] * (len(mine) - failures)])
    failure = str(deck[mine.index(place)])
    rng = random_for(seed, stream, number)
    return Script(str(rng.choice(SKILLS, p=(0.6, 0.15, 0.25) if failure else (0.25, 0.4, 0.35))), failure)


def random_for(seed: int, stream: int, number: int, attempt: int = -1) -> np.random.Generator:
    """Negative attempts draw what attempts share: −1 an episode's skill, −3 and −2 a cycle's outcomes."""
    return np.random.default_rng([seed, stream, number, attempt + 3])


def collect(scene: Scene, seed: int, stream: int, number: int, cameras=tuple(CAMERAS)) -> Episode:
    """The first attempt at the episode's script that turns out as meant, 30 to 120 frames long."""
    script = choose_script(seed, stream, number)
    for attempt in range(50):
        rng = random_for(seed, stream, number, attempt)
        episode = _roll(scene, script, rng, number, attempt)
        if episode is not None:
            replay = random_for(seed, stream, number, attempt)
            _render(scene, script, replay, episode, cameras)
            return episode
    raise RuntimeError(f"episode {number} ({scene.task}, {script}) did not turn out as meant in 50 attempts")


def _reset(scene: Scene, script: Script, rng: np.random.Generator) -> None:
    """A layout for an episode that is to end so: as with learned policies, hard ones fail more often."""

    def accept(layout: np.ndarray) -> bool:
        odds = np.exp(HARD_FAILS * (scene.hardness(layout) - 0.5))  # of failure, equal for the middle
        return rng.random() < (odds if script.failure else 1) / (1 + odds)

    scene.reset(rng, accept)


def _roll(scene: Scene, script: Script, rng, number: int, attempt: int) -> Episode | None:
    """Roll out without pictures (they cost most); None if it went otherwise than meant."""
    _reset(scene, script, rng)
    states, taken, truths = [], [], [scene.truth()]
    for action in actions(scene, script, rng, PATIENCE):
        states.append(scene.state)
        taken.append(action)
        scene.step(action)
        truths.append(scene.truth())
        if scene.success or len(truths) == MAX_FRAMES:
            break
    states.append(scene.state)
    taken.append(np.append(np.zeros(3), taken[-1][3]).astype(np.float32))  # nothing more to do
    if not _as_meant(scene, script, truths):
        return None
    flags = np.array([truth.success for truth in truths])
    rewards = np.array([truth.reward for truth in truths], np.float32)
    return Episode(
        number, attempt, scene.task, script, np.stack(states), np.stack(taken), rewards, flags, {}, truths
    )


def _as_meant(scene: Scene, script: Script, truths: list[Truth]) -> bool:
    last = truths[-1]
    if len(truths) < MIN_FRAMES or last.success != script.success:
        return False
    if script.success:
        return True
    if scene.task == "push":
        return last.remaining > CLEAR_MISS and last.target[2] < 0.1
    return last.drawer < CLEARLY_SHUT


def _render(scene: Scene, script: Script, rng, episode: Episode, cameras) -> None:
    """Step the same episode again, taking its pictures."""
    _reset(scene, script, rng)
    images: dict[str, list[np.ndarray]] = {camera: [] for camera in cameras}
    for frame, action in enumerate(episode.actions):
        if not np.array_equal(scene.state, episode.states[frame]):
            raise RuntimeError(f"episode {episode.number} did not replay at frame {frame}")
        for camera in cameras:
            images[camera].append(scene.render(camera))
        if frame + 1 < len(episode):
            scene.step(action)
    episode.images = {camera: np.stack(pictures) for camera, pictures in images.items()}
