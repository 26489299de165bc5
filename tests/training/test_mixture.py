"""Several datasets and questions in one batch: order, shares, pictures, targets."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_datasets import make_dataset, read_bars
from tiny_models import write_recipe

from valuecurve.episodes import DatasetError, load_split
from valuecurve.training import ConfigError, RobotCollator, RobotData, load_config, train
from valuecurve.training.build import build_model
from valuecurve.training.mixture import MixedCollator, MixtureSampler
from valuecurve.training.questions import load_questions

TOP, WRIST = "observation.images.top", "observation.images.wrist"
VQA = Path(__file__).parents[2] / "examples/metaworld_vqa"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two robots: two cameras at 10 frames a second and one at 20, other states, one task in common."""
    root = tmp_path_factory.mktemp("robots")
    make_dataset(root / "first", lengths=[12, 9, 10, 8, 11, 7])
    make_dataset(
        root / "second",
        lengths=[31, 25, 21, 27],
        tasks=["push the puck", "close the door"],
        cameras={WRIST: (48, 48)},
        fps=20,
        state_size=5,
        success=[True] * 4,
    )
    return root


def mixture_recipe(folders, tmp_path, entries=({}, {}), **data):
    path = write_recipe(tmp_path / "recipe.yaml", folders / "first", tmp_path / "run")
    recipe = yaml.safe_load(path.read_text())
    names = ("first", "second")
    mixture = [{"dataset": str(folders / n)} | e for n, e in zip(names, entries, strict=True)]
    recipe["data"] |= {"dataset": "", "mixture": mixture, "fps": 10} | data
    path.write_text(yaml.safe_dump(recipe))
    return path


def collator_of(path, **options):
    config = load_config(path)
    data = RobotData.prepare(config.data)
    model, processor = build_model(config.model, data)
    stores = data.frame_stores(processor.image_size, processor.resample, config.data.cache_dir)
    return data, model, processor, RobotCollator(data, stores, processor, **options)


def test_a_mixture_shows_every_row_its_own_pictures_state_and_target(folders, tmp_path):
    data, model, processor, collator = collator_of(mixture_recipe(folders, tmp_path))
    first, second = data.parts
    assert second.dataset.lengths.tolist() == [16, 13, 11, 14] and data.fps == processor.fps == 10
    assert processor.cameras == ["top", "wrist"]
    assert {key: len(s["q01"]) for key, s in processor.state_statistics.items()} == {"first": 3, "second": 5}
    rows = np.array([data.starts[1] + 17, 3, 25, data.starts[1] + 40])  # episodes 1, 0, 2, 3
    batch = collator(rows)
    assert len(batch["pixel_values"]) == 1 + 2 + 2 + 1
    episodes, frames = read_bars(batch["pixel_values"].numpy())
    assert episodes.tolist() == [1, 0, 0, 2, 2, 3]
    assert frames.tolist() == [2, 3, 3, 4, 4, 0]  # 17 - 16 = frame 1 at 10 a second: frame 2 at 20
    images = (batch["input_ids"] == processor.image_token_id).sum(-1)
    assert (images / processor.vision_tokens_per_image).tolist() == [1, 2, 2, 1]
    texts = processor.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert texts[0].count(" ") > texts[1].count(" ") and "close the door" in texts[0]  # five numbers, three
    assert torch.equal(batch["value_targets"], torch.from_numpy(data.targets[rows]))
    pushes = [p.dataset.lengths[p.is_in("train") & (p.tasks == "push the puck")] for p in data.parts]
    assert data.scales["push the puck"] == max(np.concatenate(pushes)) - 1
    with torch.no_grad():
        assert model(**batch).value.isfinite().all()


def test_the_frames_of_a_batch_do_not_depend_on_its_order(folders, tmp_path):
    data, _, _, collator = collator_of(mixture_recipe(folders, tmp_path))
    rows = np.array([data.starts[1] + 5, 7, data.starts[1], 30])
    forwards, backwards = collator(rows), collator(rows[::-1])
    assert torch.equal(forwards["input_ids"], backwards["input_ids"].flip(0))
    assert torch.equal(forwards["value_targets"], backwards["value_targets"].flip(0))


def test_a_run_on_a_mixture_keeps_every_split(folders, tmp_path):
    path = mixture_recipe(folders, tmp_path, [{"weight": 3}, {"weight": 1, "episodes": "0:4"}])
    run = train(load_config(path))
    for part in run.data.parts:
        assert load_split(tmp_path / "run/model/split.json", part.source) == part.split
    sampler = run.trainer.train_sampler
    assert sampler is not None
    assert sampler.counts[0] == round(sampler.frames * 0.75) and sampler.counts.sum() == sampler.frames


@pytest.mark.parametrize(
    ("changes", "entries", "message"),
    [
        ({"fps": None}, ({}, {}), "set data.fps to a common one"),
        ({}, ({}, {"cameras": ["top"]}), "no camera 'top'"),
        ({}, ({}, {"episodes": "a:b"}), "'a:b' is no selection"),
        ({}, ({}, {"episodes": [0, 1, 9]}), r"there is no episode \[9\]"),
        ({}, ({}, {"episodes": [0, 1]}), r"2 episode\(s\) are too few"),
        ({}, ({}, {"weight": 2}), "give every dataset a weight, or none"),
        ({}, ({"weight": 1}, {"weight": 0}), r"data.mixture\[1\].weight must be more than 0"),
        ({}, ({}, {"camera": ["top"]}), "Did you mean data.mixture.1..cameras?"),
        ({}, ({}, {"episodes": True}), "must be a text or a list of whole numbers"),
        ({"dataset": "x"}, ({}, {}), "both are set"),
    ],
)
def test_what_makes_no_mixture_is_an_error(folders, tmp_path, changes, entries, message):
    with pytest.raises((ConfigError, DatasetError), match=message):
        RobotData.prepare(load_config(mixture_recipe(folders, tmp_path, entries, **changes)).data)


def test_the_same_dataset_twice_is_an_error(folders, tmp_path):
    path = mixture_recipe(folders, tmp_path, [{}, {"dataset": str(folders / "first")}])
    with pytest.raises(ConfigError, match="are the same dataset"):
        RobotData.prepare(load_config(path).data)


def test_dense_rewards_come_from_their_column_and_keep_their_sum(tmp_path):
    lengths = [9, 7, 11, 5]
    rewards = np.round(np.random.default_rng(0).uniform(-2, 0, sum(lengths)), 3)
    folder = make_dataset(tmp_path / "dense", lengths=lengths, columns={"reward.dense": rewards.tolist()})
    path = write_recipe(tmp_path / "r.yaml", folder, tmp_path / "run")
    options = ["--data.reward_column", "reward.dense", "--data.scale", "40", "--data.fail", "penalty"]
    data = RobotData.prepare(load_config(path, options).data)
    starts = np.cumsum(lengths) - lengths
    to_go = np.concatenate(
        [rewards[s : s + n][::-1].cumsum()[::-1] for s, n in zip(starts, lengths, strict=True)]
    )
    np.testing.assert_allclose(data.targets, np.clip(to_go / 40, -1, 0), atol=1e-6)
    half = RobotData.prepare(load_config(path, [*options, "--data.fps", "5"]).data)
    rows = half.only.source_rows  # at half the rate, half as many steps are left
    np.testing.assert_allclose(half.targets, np.clip(to_go[rows] / 2 / 40, -1, 0), atol=1e-6)
    with pytest.raises(ConfigError, match="has no column 'dense'"):
        RobotData.prepare(load_config(path, ["--data.reward_column", "dense"]).data)


def test_a_reward_that_is_not_finite_names_the_frame(tmp_path):
    folder = make_dataset(
        tmp_path / "d", lengths=[3, 3, 3], columns={"dense": [0.0] * 4 + [float("nan")] * 5}
    )
    path = write_recipe(tmp_path / "r.yaml", folder, tmp_path / "run")
    with pytest.raises(DatasetError, match="episode 1, frame 1: dense is nan .5 such frames"):
        RobotData.prepare(load_config(path, ["--data.reward_column", "dense"]).data)


def test_pairs_show_the_reference_first_and_learn_the_difference(folders, tmp_path):
    data, _, processor, collator = collator_of(mixture_recipe(folders, tmp_path), pairs=True)
    rows = np.array([data.starts[1] + 17, 3, 25])
    batch = collator(rows)
    episodes, frames = read_bars(batch["pixel_values"].numpy())
    assert episodes.tolist() == [1, 1, 0, 0, 0, 0, 2, 2, 2, 2]
    assert frames.tolist() == [0, 2, 0, 0, 3, 3, 0, 0, 4, 4]  # evaluation: the first frame is the reference
    first = data.targets[[data.starts[1] + 16, 0, 21]]
    np.testing.assert_allclose(batch["value_targets"], data.targets[rows] - first)

    training = collator.training(state_dropout=0.0, seed=1)
    many = np.full(400, 5)
    batch = training(many)
    _, frames = read_bars(batch["pixel_values"].numpy())
    reference = frames.reshape(400, 2, 2)[:, 0, 0]
    assert set(reference) == set(range(12))  # every frame of the episode
    np.testing.assert_allclose(batch["value_targets"], data.targets[5] - data.targets[reference], atol=1e-6)
    assert torch.equal(training(many)["value_targets"], batch["value_targets"])
    assert batch["image_groups"][:8].tolist() == [0, 1, 0, 1, 4, 5, 4, 5]  # both frames are varied alike


def test_wrist_cameras_are_marked_in_training(folders, tmp_path):
    data, _, _, collator = collator_of(mixture_recipe(folders, tmp_path))
    batch = collator.training(0.0, 0)(np.array([0, data.starts[1]]))
    assert batch["is_wrist"].tolist() == [False, True, True]
    assert "is_wrist" not in collator(np.array([0]))
    named = collator_of(mixture_recipe(folders, tmp_path), wrist_cameras=["top"])[3]
    assert named.training(0.0, 0)(np.array([0]))["is_wrist"].tolist() == [True, False]


def test_every_frame_once_an_epoch_in_an_order_of_its_own():
    sampler = MixtureSampler([np.arange(10, 60), np.arange(100, 130)], seed=3)
    first, again, second = sampler.indices(0), sampler.indices(0), sampler.indices(1)
    assert sorted(first) == sorted(second) == [*range(10, 60), *range(100, 130)]
    assert (first == again).all() and (first != second).any() and len(sampler) == 80
    sampler.set_epoch(1)
    assert list(sampler) == second.tolist()


def test_weights_are_shares_and_small_parts_repeat_in_turns():
    sampler = MixtureSampler([np.arange(90), np.arange(100, 110)], weights=[1, 3])
    indices = sampler.indices(0)
    small = indices[indices >= 100]
    assert len(small) == 75 and len(indices) == 100
    counts = np.bincount(small - 100, minlength=10)
    assert counts.min() >= 7 and counts.max() <= 8
    assert len(np.unique(indices[indices < 100])) == 25  # no frame twice before all were there


@pytest.mark.parametrize("ratio", [0.1, 0.25, 1 / 3, 0.5, 0.9])
def test_every_batch_has_its_share_of_questions(ratio):
    sampler = MixtureSampler([np.arange(1000)], questions=37, question_ratio=ratio)
    indices = sampler.indices(0)
    assert (indices >= 0).sum() == 1000
    asked = (indices[: len(indices) // 16 * 16].reshape(-1, 16) < 0).sum(-1)
    assert (np.abs(asked - 16 * ratio) < 1.001).all()
    questions = -1 - indices[indices < 0]
    assert questions.min() >= 0 and questions.max() <= 36
    assert np.ptp(np.bincount(questions, minlength=37)) <= 1


def test_questions_of_a_stream_come_in_order_through_all_epochs():
    sampler = MixtureSampler([np.arange(30)], questions=None, question_ratio=0.25)
    seen = np.concatenate([-1 - i[i < 0] for i in (sampler.indices(0), sampler.indices(1))])
    assert seen.tolist() == list(range(20))


def test_questions_and_frames_in_one_batch(folders, tmp_path):
    data, model, processor, collator = collator_of(mixture_recipe(folders, tmp_path))
    questions = load_questions(VQA, processor)
    mixed = MixedCollator(collator.training(0.0, 0), questions)
    batch = mixed(np.array([-5, 3, -1, 30]))
    frames = collator(np.array([3, 30]))
    length = frames["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:2, :length], frames["input_ids"])
    assert torch.equal(batch["pixel_values"][:4], frames["pixel_values"])
    assert torch.equal(batch["pixel_values"][4:], questions.batch([4, 0]).pixel_values)
    assert batch["value_targets"].isnan().tolist() == [False, False, True, True]
    assert (batch["labels"][:2] == -100).all() and (batch["labels"][2:] != -100).any(-1).all()
    assert (batch["input_ids"] == processor.value_token_id).sum(-1).tolist() == [1, 1, 0, 0]
    assert batch.pop("is_wrist").tolist() == [False, True, False, True, False, False]
    assert batch.pop("image_groups").tolist() == list(range(6))
    output = model(**batch)
    with torch.no_grad():
        alone = model(**frames)
    assert output.value_loss.item() == pytest.approx(alone.value_loss.item(), abs=1e-5)
    assert output.language_loss > 0
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_run_with_questions_learns_both(folders, tmp_path):
    path = write_recipe(tmp_path / "r.yaml", folders / "first", tmp_path / "run", max_steps=6)
    options = ["--data.questions", str(VQA), "--data.question_ratio", "0.5", "--training.ema_decay", "0"]
    run = train(load_config(path, options))
    batch = next(iter(run.trainer.get_train_dataloader()))
    assert batch["value_targets"].isnan().sum() == (batch["labels"] != -100).any(-1).sum() == 4
    assert all(entry["loss"] > 0 for entry in run.trainer.state.log_history if "loss" in entry)
