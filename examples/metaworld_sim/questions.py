"""Questions about one picture, answered from the simulator's state: short answers, several per picture.

"Left", "right", "above" and "below" are the picture's. Distances are between centres, rounded to 2 cm; the
goal's place is where the puck's centre has to be (2 cm above the disc), the gripper's is between its tips.
What the picture cannot settle (a gripper half open, a puck just beside the fingers, a thing outside the
frame) is not asked.
"""

import numpy as np

from .experts import actions
from .rollout import MAX_FRAMES, QUESTIONS, choose_script, random_for
from .scene import CAMERAS, GOAL_RADIUS, TASK_TEXTS, Scene, Truth

GRID = 8  # the picture's columns and rows in "where is …" questions
TURNS = (4, 6)  # questions per picture
AFTER_SUCCESS = 8  # frames that a rollout goes on once it has succeeded
PATIENCE = (0, 9)  # frames that a failure lingers, from and below: they all look alike
FRAME_SHARE = 0.12  # of a rollout's frames that are looked at, besides its last; twice that after success

Pixels = dict[str, tuple[float, float]]  # what is in the frame -> (column, row) as fractions
Turn = tuple[str, str]


def _pick(rng: np.random.Generator, *texts: str) -> str:
    return texts[rng.integers(len(texts))]


def centimetres(metres: float) -> str:
    return f"{2 * round(metres * 50)} cm"


def pixels(scene: Scene, camera: str, truth: Truth) -> Pixels:
    """Gripper and things, where they are inside the frame."""
    points = {"gripper": truth.hand}
    points |= {"puck": truth.target, "goal": truth.goal} if scene.task == "push" else {"handle": truth.target}
    found = {name: scene.pixel(camera, point) for name, point in points.items()}
    return {name: at for name, at in found.items() if all(0.02 < value < 0.98 for value in at)}


def _where(rng, at: Pixels) -> list[Turn]:
    """The cell of the grid that each visible thing lies in."""
    turns = []
    for name, (column, row) in at.items():
        question = _pick(
            rng,
            f"Where is the {name}? Give column and row of an {GRID} by {GRID} grid.",
            f"In which cell of an {GRID} by {GRID} grid is the {name}?",
        )
        turns.append((question, f"column {int(column * GRID) + 1}, row {int(row * GRID) + 1}"))
    return turns


def _sides(rng, at: Pixels, things: tuple[str, ...]) -> list[Turn]:
    """What is left and right of the gripper, if nothing is straight above or below it."""
    seen = [name for name in things if name in at]
    if "gripper" not in at or not seen or any(abs(at[name][0] - at["gripper"][0]) < 0.03 for name in seen):
        return []
    side = _pick(rng, "left", "right")
    found = [f"the {name}" for name in seen if (at[name][0] < at["gripper"][0]) == (side == "left")]
    turns = [(f"What is {side} of the gripper?", " and ".join(found) or "nothing")]
    name = seen[rng.integers(len(seen))]
    answer = "left" if at[name][0] < at["gripper"][0] else "right"
    return [*turns, (f"Is the {name} left or right of the gripper?", answer)]


def _gripper(rng, truth: Truth) -> list[Turn]:
    turns = [
        (
            _pick(
                rng, "How high is the gripper above the table?", "How high above the table are the fingers?"
            ),
            centimetres(float(truth.hand[2])),
        )
    ]
    if truth.opening > 0.85 or truth.opening < 0.6:
        turns.append(
            (
                _pick(rng, "Is the gripper open or closed?", "Are the fingers open or closed?"),
                "open" if truth.opening > 0.85 else "closed",
            )
        )
    return turns


def _push(rng, truth: Truth, at: Pixels) -> list[Turn]:
    away = truth.remaining
    reach = float(np.linalg.norm(truth.target - truth.hand))
    turns = [
        (
            _pick(rng, "Has the puck reached the goal?", "Is the puck at the goal?"),
            "yes" if truth.success else "no",
        ),
        (
            _pick(rng, "How far is the puck from the goal?", "What is the distance of puck and goal?"),
            centimetres(away),
        ),
        (
            _pick(rng, "How far is the gripper from the puck?", "What is the distance of gripper and puck?"),
            centimetres(reach),
        ),
    ]
    if truth.held or reach > 0.06:
        turns.append(
            (
                _pick(rng, "Is the puck in the gripper?", "Is the puck between the fingers?"),
                "yes" if truth.held else "no",
            )
        )
    if "puck" in at and "goal" in at:
        turns.append(("Where is the puck relative to the goal?", _relation(at["puck"], at["goal"], away)))
    return turns


def _relation(puck: tuple[float, float], goal: tuple[float, float], away: float) -> str:
    right, down = puck[0] - goal[0], puck[1] - goal[1]
    if away <= GOAL_RADIUS:
        return "at the goal"
    if abs(right) > abs(down):
        return "right of the goal" if right > 0 else "left of the goal"
    return "below the goal" if down > 0 else "above the goal"


def _drawer(rng, truth: Truth) -> list[Turn]:
    reach = float(np.linalg.norm(truth.target - truth.hand))
    state = "open" if truth.success else "closed" if truth.drawer < 0.01 else "partly open"
    turns = [
        (_pick(rng, "Is the drawer open, partly open or closed?", "What is the state of the drawer?"), state),
        (
            _pick(rng, "How far is the drawer open?", "By how much is the drawer open?"),
            centimetres(truth.drawer),
        ),
        (
            _pick(rng, "Is the drawer fully open?", "Has the drawer been opened all the way?"),
            "yes" if truth.success else "no",
        ),
        (
            _pick(
                rng, "How far is the gripper from the handle?", "What is the distance of gripper and handle?"
            ),
            centimetres(reach),
        ),
    ]
    if truth.held or reach > 0.12:
        turns.append(
            (
                _pick(rng, "Is a finger behind the handle?", "Does the gripper hold the handle?"),
                "yes" if truth.held else "no",
            )
        )
    return turns


def ask(scene: Scene, camera: str, truth: Truth, rng: np.random.Generator) -> list[Turn]:
    """4 to 6 questions about what `camera` shows, in random order: always one about the outcome."""
    at = pixels(scene, camera, truth)
    main = _push(rng, truth, at) if scene.task == "push" else _drawer(rng, truth)
    things = ("puck", "goal") if scene.task == "push" else ("handle",)
    rest = main[1:] + _where(rng, at) + _sides(rng, at, things) + _gripper(rng, truth)
    if rng.random() < 0.15:
        rest.append((_pick(rng, "Which task is this?", "What is the robot to do?"), TASK_TEXTS[scene.task]))
    count = int(rng.integers(TURNS[0], TURNS[1] + 1)) - 1
    chosen = [main[0], *(rest[i] for i in rng.permutation(len(rest))[:count])]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def looked_at(scene: Scene, seed: int, number: int) -> list[dict]:
    """Rows {images: [uint8 array], texts: [...]} of one rollout: its last frame by every camera, some others
    by one camera each. The rollout may end as it likes; it belongs to no episode of metaworld_push."""
    rng = random_for(seed, QUESTIONS, number, 0)
    looks = random_for(seed, QUESTIONS, number, 1)
    script = choose_script(seed, QUESTIONS, number)
    scene.reset(rng)
    rows, frames, after = [], 0, 0
    for action in actions(scene, script, rng, PATIENCE):
        if looks.random() < FRAME_SHARE * (2 if after else 1):
            rows.append(_row(scene, str(looks.choice(list(CAMERAS))), looks))
        scene.step(action)
        frames, after = frames + 1, after + scene.success
        if after == AFTER_SUCCESS or frames == MAX_FRAMES:
            break
    return rows + [_row(scene, camera, looks) for camera in CAMERAS]


def _row(scene: Scene, camera: str, rng: np.random.Generator) -> dict:
    source = f"metaworld_vqa/{scene.task}/{camera}"
    turns = ask(scene, camera, scene.truth(), rng)
    texts = [{"user": question, "assistant": answer, "source": source} for question, answer in turns]
    return {"images": [scene.render(camera)], "texts": texts}
