"""Training batches: the same tensors that the processor makes, without a loop over frames."""

import numpy as np
import pytest
import torch
from tiny_datasets import make_dataset
from tiny_models import write_recipe

from valuecurve.episodes import DatasetError, decode_video
from valuecurve.training import ConfigError, FrameRows, RobotCollator, RobotData, load_config
from valuecurve.training.build import build_model
from valuecurve.training.data import evenly_spaced


@pytest.fixture(scope="module")
def prepared(tiny_v30, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    config = load_config(write_recipe(folder / "recipe.yaml", tiny_v30, folder / "run"))
    data = RobotData.prepare(config.data)
    model, processor = build_model(config.model, data)
    stores = data.frame_stores(processor.image_size, processor.resample, config.data.cache_dir)
    return data, model, processor, RobotCollator(data, stores, processor)


def test_a_batch_is_what_the_processor_makes_of_the_same_frames(prepared):
    data, _, processor, collator = prepared
    dataset = data.dataset
    rows = np.array([0, 20, 3, 33])
    videos = {key: np.concatenate([chunk for _, chunk in decode_video(dataset, key)]) for key in data.cameras}
    images = [{dataset.cameras[key].name: videos[key][row] for key in data.cameras} for row in rows]
    tasks = [dataset.tasks[dataset.task_index[row]] for row in rows]
    expected = processor(images=images, task=tasks, state=dataset.states[rows])
    batch = collator(FrameRows(rows).__getitems__([0, 1, 2, 3]))
    assert batch["pixel_values"].dtype == torch.uint8
    for name in expected:
        assert torch.equal(batch[name], expected[name]), name
    assert torch.equal(batch["value_targets"], torch.from_numpy(data.targets[rows]))


def test_targets_count_down_to_zero_on_success_and_rest_on_the_floor_on_failure(prepared):
    data = prepared[0]
    dataset = data.dataset
    for position, (start, length) in enumerate(zip(dataset.starts, dataset.lengths, strict=True)):
        targets = data.targets[start : start + length]
        if data.outcomes.success[position]:
            scale = data.scales[dataset.tasks[dataset.episode_tasks[position]]]
            countdown = -np.arange(length)[::-1] / scale  # below -1 where no training episode is as long
            np.testing.assert_allclose(targets, np.maximum(countdown, -1), atol=1e-6)
        else:
            assert (targets == -1).all()


def test_scales_come_from_training_episodes(make, tmp_path):
    """Of each task the longest episode is held out once; the scale is that of the longest one left."""
    dataset = make(lengths=[5, 6, 7, 8, 9, 10, 11, 12])
    path = write_recipe(tmp_path / "r.yaml", dataset, tmp_path / "run")
    held_out = 0
    for seed in range(10):
        data = RobotData.prepare(load_config(path, ["--data.split_seed", str(seed)]).data)
        lengths = {
            int(e): int(n) for e, n in zip(data.dataset.episode_ids, data.dataset.lengths, strict=True)
        }
        for task, name in enumerate(data.dataset.tasks):
            mine = {int(e) for e in data.dataset.episode_ids[data.dataset.episode_tasks == task]}
            trained = mine & set(data.split["train"])
            assert data.scales[name] == max(lengths[e] for e in trained or mine) - 1
            held_out += max(mine, key=lambda e: lengths[e]) not in trained
    assert held_out  # else the test would prove nothing


def test_the_split_is_by_episode_and_statistics_come_from_training_frames(prepared):
    data, _, processor, _ = prepared
    parts = [set(data.split[part]) for part in ("train", "validation", "test")]
    assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
    train = data.dataset.states[data.rows("train")]
    statistics = processor.state_statistics[data.dataset.key]
    np.testing.assert_allclose(statistics["q01"], np.quantile(train, 0.01, axis=0))


def test_state_dropout_takes_that_share_and_repeats_itself(prepared):
    data, _, processor, collator = prepared
    rows = np.resize(np.arange(len(data.targets)), 2000)
    dropping = collator.training(state_dropout=0.25, seed=3)
    first, second = dropping(rows), dropping(rows)
    assert torch.equal(first["input_ids"], second["input_ids"])
    with_state = (first["attention_mask"].sum(-1) == collator(rows)["attention_mask"].sum(-1)).float().mean()
    assert 0.70 < with_state < 0.80
    other = collator.training(state_dropout=0.25, seed=4)(rows)
    assert not torch.equal(other["attention_mask"], first["attention_mask"])


def test_images_can_come_from_other_frames(prepared):
    collator = prepared[3]
    rows, others = np.array([0, 1]), np.array([30, 31])
    mixed = collator(rows, image_rows=others)
    assert torch.equal(mixed["pixel_values"], collator(others)["pixel_values"])
    assert torch.equal(mixed["input_ids"], collator(rows)["input_ids"])


def test_an_unknown_camera_is_an_error_that_lists_the_known(tiny_v30, tmp_path):
    config = load_config(
        write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run"), ["--data.cameras", "[up]"]
    )
    with pytest.raises(ConfigError, match="no camera 'up'. Cameras: top, wrist"):
        RobotData.prepare(config.data)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("episodes", "5:2", "data.episodes: '5:2' is no range of the episodes 0:6"),
        (
            "episodes",
            "0:3, 0:900000000000",
            "data.episodes: '0:900000000000' is no range of the episodes 0:6",
        ),
        ("episodes", "[]", "data.episodes is empty"),
        ("episodes", "'0:3, '", "data.episodes: '' is no selection"),
        ("episodes", "-1:3", "data.episodes: '-1:3' is no selection"),
        ("cameras", "[]", "data.cameras is empty"),
        (
            "wrist_cameras",
            "[wrst]",
            "data.wrist_cameras: no dataset has a camera 'wrst'. Did you mean 'wrist'",
        ),
    ],
)
def test_selections_of_nothing_are_errors(tiny_v30, tmp_path, option, value, message):
    path = write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run")
    with pytest.raises((ConfigError, DatasetError), match=message):
        RobotData.prepare(load_config(path, [f"--data.{option}", value]).data)


def test_settings_of_failure_that_have_no_effect_are_told(make, tmp_path, caplog):
    path = write_recipe(tmp_path / "r.yaml", make(columns={"reward": [1.0] * 57}), tmp_path / "run")
    for overrides, message in (
        (["--data.fail_penalty", "9"], "data.fail_penalty 9 has no effect with data.fail: floor"),
        (["--data.fail", "penalty"], "failed episodes have the targets of successes"),
        (["--data.reward_column", "reward"], "57 of 57 frames have a return above 0"),
        (["--data.fail", "penalty", "--data.fail_penalty", "9"], ""),
        ([], ""),
    ):
        caplog.clear()
        RobotData.prepare(load_config(path, overrides).data)
        assert message in caplog.text if message else not caplog.text


def test_evenly_spaced_keeps_ends_and_order():
    rows = np.arange(100, 200)
    some = evenly_spaced(rows, 10)
    assert some[0] == 100 and some[-1] == 199 and len(some) == 10 and (np.diff(some) > 0).all()
    assert evenly_spaced(rows, 1000) is rows


def test_too_few_episodes_and_a_camera_twice_are_errors(make, tmp_path):
    path = write_recipe(tmp_path / "r.yaml", make(lengths=[5, 6]), tmp_path / "run")
    with pytest.raises(DatasetError, match=r"2 episode\(s\) are too few"):
        RobotData.prepare(load_config(path).data)
    path = write_recipe(tmp_path / "r.yaml", make_dataset(tmp_path / "more"), tmp_path / "run")
    with pytest.raises(ConfigError, match="names a camera twice: top, top"):
        RobotData.prepare(load_config(path, ["--data.cameras", "[top, top]"]).data)
