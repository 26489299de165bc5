"""Scripted experts: a plan of moves per episode, with the skill level and the failure chosen beforehand.

A failing expert makes the same movements at the same speeds as a succeeding one, so that the hand's position
hardly tells the outcome: what tells it is where the puck is, or the drawer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .scene import FPS, METRES_PER_ACTION, Scene

SKILLS = ("clean", "slow", "recovering")
FAILURES = ("missed_grasp", "drop", "wrong_place", "drift", "freeze")
CLOSE, OPEN = 0.6, -1.0  # MetaWorld's own grip efforts for push and drawer
TABLE = ((-0.17, 0.54), (0.17, 0.88))  # metres, x and y: what both cameras see
PUCK_OPENING = 0.47  # the gripper's opening around the puck, measured


@dataclass(frozen=True)
class Script:
    """What one episode is meant to be. `failure` is "" for a success."""

    skill: str
    failure: str

    @property
    def success(self) -> bool:
        return not self.failure


@dataclass
class Hand:
    """The expert's habits in this episode, and how it turns targets into actions."""

    scene: Scene
    rng: np.random.Generator
    speed: float  # metres per second
    tremor: float  # standard deviation of the action noise, in action units
    pause_chance: float  # of stopping for a moment between two moves
    grip: float = OPEN
    opening: float | None = None  # hold the fingers this far apart instead of `grip`

    def action(self, target: np.ndarray, speed: float) -> np.ndarray:
        """One action, float32 [4], towards `target` (metres [3])."""
        step = target - self.scene.commanded
        reach = speed / FPS
        step *= min(1.0, reach / max(np.linalg.norm(step), 1e-9))
        noise = self.rng.normal(0.0, self.tremor, 3)
        xyz = step / METRES_PER_ACTION + noise
        return np.clip(np.append(xyz, self._grip()), -1.0, 1.0).astype(np.float32)

    def _grip(self) -> float:
        if self.opening is None:
            return self.grip
        hold = 0.05 * (1.0 - self.opening)  # the effort at which the fingers rest at that opening
        return float(np.clip(hold + 0.8 * (self.scene.state[3] - self.opening), -0.6, 0.6))

    def move(self, target: np.ndarray, slow: float = 1.0, tolerance: float = 0.012) -> Iterator[np.ndarray]:
        """Actions until the hand is at `target`, or has had ample time for it."""
        speed = self.speed * slow * self.rng.uniform(0.8, 1.25)
        far = np.linalg.norm(target - self.scene.commanded)
        for _ in range(int(far / speed * FPS * 1.5) + 4):
            if np.linalg.norm(target - self.scene.state[:3]) < tolerance:
                break
            yield self.action(target, speed)
        if self.rng.random() < self.pause_chance:
            yield from self.wait(int(self.rng.integers(3, 12)))

    def wait(self, frames: int) -> Iterator[np.ndarray]:
        """Stay, fingers as they are, with a small tremor."""
        here = self.scene.commanded
        for _ in range(frames):
            yield self.action(here, self.speed)

    def curve(self, target: np.ndarray, bend: float, **options) -> Iterator[np.ndarray]:
        """Move by way of a point `bend` metres beside the straight line (drifts and corrects)."""
        start = self.scene.commanded
        along = (target - start)[:2]
        side = np.array([-along[1], along[0]]) / max(np.linalg.norm(along), 1e-6)
        middle = (start + target) / 2
        middle[:2] += bend * side
        yield from self.move(middle, tolerance=0.03, **options)
        yield from self.move(target, **options)


def make_hand(scene: Scene, script: Script, rng: np.random.Generator) -> Hand:
    """Speed, tremor and pauses for the script's skill level."""
    speed = {"clean": (0.14, 0.24), "slow": (0.07, 0.12), "recovering": (0.12, 0.24)}[script.skill]
    pauses = {"clean": 0.03, "slow": 0.35, "recovering": 0.12}[script.skill]
    return Hand(scene, rng, rng.uniform(*speed), rng.uniform(0.005, 0.03), pauses)


def actions(
    scene: Scene, script: Script, rng: np.random.Generator, patience: tuple[int, int]
) -> Iterator[np.ndarray]:
    """The episode's actions; the scene must be stepped with each before the next is taken.

    A success is cut by the caller at its first successful frame. A failure ends by itself, after having
    lingered for `patience` frames (from, below) at the place where it gave up.
    """
    hand = make_hand(scene, script, rng)
    plan = _push(hand, script) if scene.task == "push" else _open(hand, script)
    freeze_frame, freeze_progress = _freeze_point(rng) if script.failure == "freeze" else (None, np.inf)
    start = scene.truth().remaining
    for frame, action in enumerate(plan):
        if frame == freeze_frame or 1 - scene.truth().remaining / start > freeze_progress:
            break
        yield action
    if script.failure == "freeze":
        yield from hand.wait(int(rng.integers(12, 45)))
    elif script.failure:
        yield from hand.wait(int(rng.integers(*patience)))
    else:
        yield from hand.wait(20)  # a success is cut at its first successful frame


def _freeze_point(rng: np.random.Generator) -> tuple[int | None, float]:
    """When to stop: at a frame, or when a share of the way of puck or drawer is done."""
    if rng.random() < 0.4:
        return int(rng.integers(10, 45)), np.inf
    return None, rng.uniform(0.15, 0.5)


def _beside(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A horizontal offset of `low` to `high` metres in any direction, [3]."""
    angle = rng.uniform(0, 2 * np.pi)
    return rng.uniform(low, high) * np.array([np.cos(angle), np.sin(angle), 0.0])


# --- push ---------------------------------------------------------------------------------------------


def _grasp_puck(hand: Hand, offset: np.ndarray, opening: float | None = None) -> Iterator[np.ndarray]:
    """Over the puck (missed by `offset`), down, and close the fingers, to `opening` if given."""
    hand.grip, hand.opening = OPEN, None
    puck = hand.scene.truth().target + offset
    yield from hand.move(puck + [0.0, 0.0, hand.rng.uniform(0.11, 0.16)], tolerance=0.02)
    yield from hand.move(puck + [0.0, 0.0, 0.035], slow=0.7)
    hand.grip, hand.opening = CLOSE, opening
    yield from hand.wait(int(hand.rng.integers(3, 6)))


def _fumble(hand: Hand) -> Iterator[np.ndarray]:
    """A grasp that misses, noticed: open and back up for another try."""
    yield from _grasp_puck(hand, _miss(hand.rng), _empty_opening(hand.rng))
    if hand.rng.random() < 0.5:  # sets off before noticing
        yield from hand.move(hand.scene.commanded + _beside(hand.rng, 0.04, 0.1))
    hand.grip, hand.opening = OPEN, None
    yield from hand.move(hand.scene.commanded + [0.0, 0.0, hand.rng.uniform(0.06, 0.1)])


def _miss(rng: np.random.Generator) -> np.ndarray:
    """Far enough beside the puck (radius 2 cm) for the fingers to pass it, mostly along x."""
    return np.array([rng.choice((-1, 1)) * rng.uniform(0.048, 0.075), rng.uniform(-0.02, 0.02), 0.0])


def _empty_opening(rng: np.random.Generator) -> float | None:
    """Empty fingers mostly stop where they would around a puck; now and then they close fully."""
    return None if rng.random() < 0.2 else float(rng.normal(PUCK_OPENING, 0.012))


def _push(hand: Hand, script: Script) -> Iterator[np.ndarray]:
    rng, scene = hand.rng, hand.scene
    missed = script.failure == "missed_grasp"
    if script.skill == "recovering":
        yield from _fumble(hand)
    yield from _grasp_puck(
        hand, _miss(rng) if missed else _beside(rng, 0.0, 0.006), _empty_opening(rng) if missed else None
    )
    lift = rng.choice((0.0, rng.uniform(0.0, 0.05)))
    goal = scene.truth().goal + [0.0, 0.0, 0.035 + lift]
    if script.failure == "wrong_place":
        goal = _wrong_goal(rng, scene, goal)
    start = scene.commanded + [0.0, 0.0, lift]
    if script.failure == "drift":
        goal[:2] = start[:2] + _rotate(goal[:2] - start[:2], rng.choice((-1, 1)) * rng.uniform(0.7, 1.3))
        goal[:2] = np.clip(goal[:2], *TABLE)
        yield from hand.curve(goal, rng.choice((-1, 1)) * rng.uniform(0.03, 0.07))
    elif script.failure == "drop":
        yield from hand.move(start + rng.uniform(0.15, 0.6) * (goal - start), tolerance=0.02)
        hand.grip = OPEN
        yield from hand.wait(2)
        yield from hand.move(scene.commanded + [0.0, 0.0, rng.uniform(0.03, 0.08)])  # clear of the puck
        hand.grip, hand.opening = CLOSE, _empty_opening(rng)
        yield from hand.move(_part_of_the_way(hand, goal))
    else:
        if lift:
            yield from hand.move(start, slow=0.7)
        bend = rng.choice((-1, 1)) * rng.uniform(0.04, 0.09) if script.skill == "recovering" else 0.0
        goal = _part_of_the_way(hand, goal) if missed else goal
        yield from hand.curve(goal, bend) if rng.random() < 0.5 else hand.move(goal)
        if lift:
            yield from hand.move(goal - [0.0, 0.0, lift], slow=0.7)


def _part_of_the_way(hand: Hand, goal: np.ndarray) -> np.ndarray:
    """A failure is noticed anywhere on the way to the goal, or only there."""
    share = 1.0 if hand.rng.random() < 0.4 else hand.rng.uniform(0.2, 1.0)
    return hand.scene.commanded + share * (goal - hand.scene.commanded)


def _rotate(vector: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _wrong_goal(rng: np.random.Generator, scene: Scene, goal: np.ndarray) -> np.ndarray:
    """A place on the table at least 12 cm from the goal and 8 cm from where the puck lies."""
    while True:
        place = np.append(rng.uniform(*TABLE), goal[2])
        if np.linalg.norm(place - goal) > 0.12 and np.linalg.norm((place - scene.truth().target)[:2]) > 0.08:
            return place


# --- drawer -------------------------------------------------------------------------------------------


def _hook_handle(hand: Hand, offset: np.ndarray) -> Iterator[np.ndarray]:
    """Over the handle (missed by `offset`) and down, one finger behind its bar."""
    handle = hand.scene.truth().target + offset
    yield from hand.move(handle + [0.0, 0.0, hand.rng.uniform(0.1, 0.15)], tolerance=0.02)
    yield from hand.move(handle + [0.0, 0.0, hand.rng.uniform(-0.03, 0.01)], slow=0.8)


def _miss_handle(rng: np.random.Generator) -> np.ndarray:
    """In front of the bar, or past one of its ends (it is 10 cm wide)."""
    if rng.random() < 0.5:
        return np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.11, -0.075), 0.0])
    return np.array([rng.choice((-1, 1)) * rng.uniform(0.085, 0.11), rng.uniform(-0.05, -0.02), 0.0])


def _open(hand: Hand, script: Script) -> Iterator[np.ndarray]:
    rng, scene = hand.rng, hand.scene
    if script.skill == "recovering":
        yield from _hook_handle(hand, _miss_handle(rng))
        yield from hand.move(scene.commanded + [0.0, -rng.uniform(0.03, 0.08), 0.0])
        yield from hand.move(scene.commanded + [0.0, 0.0, rng.uniform(0.06, 0.1)])
    missed = script.failure == "missed_grasp"
    offset = (
        _miss_handle(rng) if missed else np.array([rng.uniform(-0.025, 0.025), rng.uniform(-0.01, 0.01), 0.0])
    )
    yield from _hook_handle(hand, offset)
    start = scene.commanded
    whole = start + [rng.uniform(-0.02, 0.02), -rng.uniform(0.2, 0.24), 0.0]
    part = start + rng.uniform(0.2, 0.5) * (whole - start)
    if script.failure == "drop":  # slips off upwards
        yield from hand.move(part, tolerance=0.03)
        yield from hand.move(scene.commanded + [0.0, 0.02, rng.uniform(0.09, 0.14)])
        yield from _come_down(hand, whole)
    elif script.failure == "wrong_place":  # shoves it shut again
        yield from hand.move(part, tolerance=0.03)
        yield from hand.move(start + [0.0, rng.uniform(0.0, 0.02), 0.0])
        if rng.random() < 0.7:  # and comes back without it
            yield from hand.move(scene.commanded + [0.0, 0.0, rng.uniform(0.07, 0.1)], tolerance=0.03)
            yield from _come_down(hand, whole)
    elif script.failure == "drift":  # rises while pulling, until the finger leaves the bar
        rise = np.array([rng.uniform(-0.04, 0.04), 0.0, rng.uniform(0.17, 0.3)])
        yield from hand.move(start + 0.75 * (whole + rise - start), tolerance=0.03)
        yield from _come_down(hand, whole)
    elif missed:
        yield from hand.move(_part_of_the_way(hand, whole))
    else:
        yield from hand.move(whole)
        yield from hand.move(scene.commanded + [0.0, -0.03, 0.0])


def _come_down(hand: Hand, whole: np.ndarray) -> Iterator[np.ndarray]:
    """Go on without the handle to where the hand would have ended with it; some notice on the way."""
    over = np.append(whole[:2], hand.scene.commanded[2])
    yield from hand.move(over, tolerance=0.03)
    yield from hand.move(over + hand.rng.choice((0.4, 1.0), p=(0.15, 0.85)) * (whole - over))
