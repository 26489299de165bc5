"""What is promised about the two example datasets, and that the collector makes them again."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from valuecurve.episodes import decode_video, open_dataset, resolve_outcomes

EXAMPLES = Path(__file__).parents[2] / "examples"
PUSH, VQA = EXAMPLES / "metaworld_push", EXAMPLES / "metaworld_vqa"
FAILURES = {"missed_grasp", "drop", "wrong_place", "drift", "freeze"}


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.fixture(scope="module")
def push():
    return open_dataset(PUSH)


@pytest.fixture(scope="module")
def vqa(tmp_path_factory):
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(str(VQA), cache_dir=str(tmp_path_factory.mktemp("datasets")))


class TestPush:
    def test_size_counts_cameras_and_rate(self, push):
        assert megabytes(PUSH) <= 12
        assert push.version == "v3.0" and push.fps == 10 and push.key == "metaworld_push"
        assert len(push.lengths) >= 220 and len(push.tasks) == 2
        assert len(push.cameras) == 2 and all(min(c.height, c.width) >= 96 for c in push.cameras.values())
        assert push.state_names == ["x", "y", "z", "gripper"]
        assert push.lengths.min() >= 30 and push.lengths.max() <= 120 and push.lengths.std() > 10

    def test_both_tasks_have_both_outcomes_and_every_failure(self, push):
        success = resolve_outcomes(push).success
        assert 0.5 < success.mean() < 0.65
        tasks = push.task_index[push.starts]
        kinds = np.array(push.episodes["failure_kind"].to_pylist())
        for task in (0, 1):
            assert 0.45 < success[tasks == task].mean() < 0.7
            assert set(kinds[(tasks == task) & ~success]) == FAILURES
        np.testing.assert_array_equal(success, kinds == "")
        np.testing.assert_array_equal(success, push.episodes["success"].to_pylist())

    def test_success_is_reached_in_the_last_frame_and_only_there(self, push):
        reached = push.frames["next.success"].to_numpy(zero_copy_only=False)
        done = push.frames["next.done"].to_numpy(zero_copy_only=False)
        last = push.starts + push.lengths - 1
        np.testing.assert_array_equal(np.flatnonzero(done), last)
        np.testing.assert_array_equal(np.flatnonzero(reached), last[resolve_outcomes(push).success])

    def test_the_length_alone_does_not_tell_the_outcome(self, push):
        success = resolve_outcomes(push).success
        above = push.lengths[success][:, None] - push.lengths[~success][None, :]
        assert 0.15 < (above > 0).mean() + 0.5 * (above == 0).mean() < 0.65  # AUROC of the length

    def test_every_frame_is_in_the_videos(self, push):
        for camera in push.cameras:
            counts = [
                len(images)
                for _, images in decode_video(push, camera, episodes=[0, 150, len(push.lengths) - 1])
            ]
            assert sum(counts) == push.lengths[[0, 150, -1]].sum()

    def test_every_episode_has_a_seed_of_its_own(self, push):
        seeds = [tuple(map(int, seed.split("/"))) for seed in push.episodes["seed"].to_pylist()]
        assert len({seed[:3] for seed in seeds}) == len(seeds)
        assert {seed[1] for seed in seeds} == {0}  # the stream of the episodes; the questions have another


class TestQuestions:
    def test_size_and_counts(self, vqa):
        assert megabytes(VQA) <= 6
        assert len(vqa["train"]) + len(vqa["validation"]) >= 2000 and len(vqa["validation"]) >= 100

    def test_rows_are_pictures_with_several_short_answers(self, vqa):
        for split in vqa.values():
            for row in split.select(range(0, len(split), 50)):
                (image,) = row["images"]
                assert min(image.size) >= 96 and image.convert("RGB").getextrema() != ((0, 0),) * 3
                assert 3 <= len(row["texts"]) <= 6
                assert all(0 < len(turn["assistant"]) < 40 and turn["user"] for turn in row["texts"])

    def test_both_tasks_and_cameras_are_asked_about_and_answers_vary(self, vqa):
        turns = [turn for row in vqa["train"].select_columns(["texts"]) for turn in row["texts"]]
        assert len({turn["source"] for turn in turns}) == 4
        answers: dict[str, Counter] = {}
        for turn in turns:
            answers.setdefault(turn["user"], Counter())[turn["assistant"]] += 1
        for question, counts in answers.items():
            most = counts.most_common(1)[0][1] / counts.total()
            assert counts.total() < 20 or most < 0.9, f"{question} is nearly always answered alike: {counts}"

    def test_no_picture_is_in_both_splits(self, vqa):
        pictures = [
            {image["bytes"] for images in pq.read_table(path)["images"].to_pylist() for image in images}
            for path in sorted((VQA / "data").glob("*.parquet"))
        ]
        assert len(pictures) == 2 and not pictures[0] & pictures[1]

    def test_the_schema_makes_datasets_decode_images(self):
        schema = pq.read_schema(next((VQA / "data").glob("train-*.parquet")))
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        assert features["images"]["feature"] == {"_type": "Image"}


class TestCards:
    @pytest.mark.parametrize("folder", [PUSH, VQA])
    def test_card_names_licence_origin_and_command(self, folder):
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text.startswith("---\nlicense: apache-2.0\n") and "collect_metaworld.py" in text
        assert "Meta-World" in text and "MIT" in text and (folder / "strip.webp").is_file()


@pytest.fixture(scope="module")
def again(push, tmp_path_factory):
    """The shortest shipped episode of each task, simulated anew: {task: (index, number)} and the arrays."""
    pytest.importorskip("metaworld")
    chosen = {}
    for task in (0, 1):
        mine = np.flatnonzero(push.task_index[push.starts] == task)
        index = int(mine[np.argmin(push.lengths[mine])])
        chosen[task] = index, int(push.episodes["seed"][index].as_py().split("/")[2])
    output = tmp_path_factory.mktemp("again") / "again.npz"
    script = Path(__file__).with_name("simulate_again.py")
    numbers = [str(number) for _, number in chosen.values()]
    subprocess.run([sys.executable, str(script), str(output), *numbers], check=True, timeout=300)
    return chosen, np.load(output)


class TestCollector:
    @pytest.mark.parametrize("task", [0, 1])
    def test_a_shipped_episode_comes_out_again(self, push, again, task):
        (index, number), arrays = again[0][task], again[1]
        rows = slice(push.starts[index], push.starts[index] + push.lengths[index])
        for name in ("states", "actions", "images"):
            np.testing.assert_array_equal(arrays[f"{number}/0/{name}"], arrays[f"{number}/1/{name}"])
        np.testing.assert_allclose(arrays[f"{number}/0/states"], push.states[rows], atol=1e-5)
        frames = [images for _, images in decode_video(push, "observation.images.side", episodes=[index])]
        difference = np.concatenate(frames).astype(int) - arrays[f"{number}/0/images"].transpose(0, 3, 1, 2)
        assert np.abs(difference).mean() < 4  # what h264 loses

    def test_questions_come_out_again(self, again):
        _, arrays = again
        assert str(arrays["rows/0/texts"]) == str(arrays["rows/1/texts"])
        np.testing.assert_array_equal(arrays["rows/0/images"], arrays["rows/1/images"])

    def test_questions_and_episodes_share_no_random_numbers(self, again):
        draws = again[1]["draws"]
        assert len(np.unique(draws)) == draws.size
