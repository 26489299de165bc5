"""Simulate given episodes anew, in a process of its own: OSMesa crashes where torch is already loaded.

python tests/examples/simulate_again.py OUTPUT.npz NUMBER [NUMBER …]
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from metaworld_sim import questions, rollout, scene  # noqa: E402


def main(output: str, numbers: list[int]) -> None:
    """Each episode (seed 0, one camera) and one rollout's questions, everything twice."""
    arrays = {}
    for number in numbers:
        place = scene.Scene(rollout.task_of(number))
        for again in range(2):
            episode = rollout.collect(place, 0, rollout.EPISODES, number, ("side",))
            arrays[f"{number}/{again}/states"] = episode.states
            arrays[f"{number}/{again}/actions"] = episode.actions
            arrays[f"{number}/{again}/images"] = episode.images["side"]
            if number == numbers[0]:
                rows = questions.looked_at(place, 0, number)
                arrays[f"rows/{again}/images"] = np.stack([row["images"][0] for row in rows])
                arrays[f"rows/{again}/texts"] = np.array(json.dumps([row["texts"] for row in rows]))
        place.close()
    streams = (rollout.EPISODES, rollout.QUESTIONS)
    arrays["draws"] = np.array(
        [[rollout.random_for(0, s, n, 0).random() for n in range(600)] for s in streams]
    )
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], [int(number) for number in sys.argv[2:]])
