"""The example episodes of the Space: some of the sample's, as a small dataset of their own.

    python scripts/space_examples.py            # writes spaces/value_curves/examples/

Three successes and three failures of both tasks, which the model of `make demo` has not been trained on. Two
of the failures come close before they fail, so that the curve shows where.
"""

from pathlib import Path

import numpy as np

from valuecurve.episodes import decode_video, open_dataset, resolve_outcomes
from valuecurve.episodes.writing import DatasetWriter

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "examples" / "metaworld_push"
OUTPUT = ROOT / "spaces" / "value_curves" / "examples"
EPISODES = [4, 10, 21, 339, 153, 53]
CRF = 16  # encoded a second time: hardly a difference to be seen, and a third of a megabyte


def main() -> None:
    dataset = open_dataset(SOURCE)
    success = resolve_outcomes(dataset).success
    cameras = {key: (camera.height, camera.width) for key, camera in dataset.cameras.items()}
    features = {key: dataset.info["features"][key] for key in ("observation.state", "next.success")}
    with DatasetWriter(OUTPUT, int(dataset.fps), cameras, features, crf=CRF, overwrite=True) as writer:
        for position in dataset.episode_positions(EPISODES).tolist():
            episode = int(dataset.episode_ids[position])
            rows = dataset.episode_rows([episode])
            images = {
                key: np.concatenate(
                    [chunk.transpose(0, 2, 3, 1) for _, chunk in decode_video(dataset, key, [episode])]
                )
                for key in cameras
            }
            frames = {
                "observation.state": dataset.states[rows],
                "next.success": dataset.frames["next.success"].to_numpy()[rows],
            }
            about = {
                "success": bool(success[position]),
                "failure_kind": dataset.episodes["failure_kind"][position].as_py(),
                "source_episode": episode,
            }
            writer.add_episode(frames, images, dataset.tasks[dataset.episode_tasks[position]], about)
    print(OUTPUT)


if __name__ == "__main__":
    main()
