"""Evaluation against training's own batches and metrics, and what is known of splits, targets and probes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_datasets import make_dataset

from valuecurve.episodes import DatasetError, open_dataset
from valuecurve.evaluation import ElapsedTime, constant_distribution, passes
from valuecurve.evaluation.evaluating import evaluate, standard_deviations
from valuecurve.evaluation.probes import make_probes
from valuecurve.evaluation.split import Split, read_split, split_file
from valuecurve.evaluation.subject import EvaluationSettings, prepare_subject
from valuecurve.labels.making import make_labels
from valuecurve.labels.settings import LabelSettings
from valuecurve.metrics import value_metrics
from valuecurve.returns import dataset_targets
from valuecurve.scoring import Settings, predict, read_scores, shuffled_between_episodes
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.forward import Forward
from valuecurve.scoring.run import score_dataset
from valuecurve.training import ConfigError


def run(held, settings=None, dataset=None, split=None, **options):
    """An evaluation of a held checkpoint, by default on its own dataset with its own frame store.

    In float32, like training here, whatever the hardware prefers.
    """
    opened = open_dataset(dataset or held.dataset)
    if dataset is None:
        options.setdefault("store", held.prepared.collator.stores[0])
    settings, split = settings or EvaluationSettings(resamples=20), split or read_split(held.folder, opened)
    settings = replace(settings, dtype="float32")
    return evaluate(load_checkpoint(str(held.folder)), opened, settings, split, threads=2, **options)


def subject_of(held, dataset=None, **settings):
    """The subject alone: no frame goes through the model."""
    opened = open_dataset(dataset or held.dataset)
    checkpoint, split = load_checkpoint(str(held.folder)), read_split(held.folder, opened)
    return prepare_subject(checkpoint, opened, EvaluationSettings(**settings), split)


@pytest.fixture(scope="module")
def found(held):
    return run(held)


# -- numbers -----------------------------------------------------------------------------------------------


def test_model_and_baselines_are_measured_as_training_measures_them(held, found):
    data, rows = held.prepared.data, held.test_rows
    fitted, dataset = data.rows("train"), data.dataset
    constant = constant_distribution(data.targets[fitted], 201)
    clock = ElapsedTime.fit(data.targets[fitted], dataset.task_index[fitted], dataset.frame_index[fitted])
    probabilities = predict(held.prepared.model, held.prepared.collator, rows)
    other = shuffled_between_episodes(dataset, rows)
    forecasts = {
        "model": probabilities,
        "constant": np.tile(constant, (len(rows), 1)),
        "elapsed_time": clock.predict(dataset.task_index[rows], dataset.frame_index[rows]),
        "shuffled_images": predict(held.prepared.model, held.prepared.collator, rows, image_rows=other),
    }
    np.testing.assert_array_equal(found.subject.evaluated.rows, rows)
    np.testing.assert_array_equal(found.subject.evaluated.targets, data.targets[rows])
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5, rtol=0)
    for name, forecast in forecasts.items():
        expected = value_metrics(
            forecast,
            data.targets[rows],
            episode_index=dataset.episode_index[rows],
            frame_index=dataset.frame_index[rows],
            success=data.success[rows],
        )
        seen = {key: found.metrics[name][key] for key in expected}
        assert seen == pytest.approx(expected, abs=1e-4, nan_ok=True), name
    assert found.subject.trained == 0


def test_groups_are_measured_by_themselves(found):
    frames = found.subject.evaluated
    for name, of in (("success", frames.success), ("failure", ~frames.success)):
        error = np.abs(found.values["model"][of] - frames.targets[of])
        assert found.outcomes[name]["model"].metrics["mae"] == pytest.approx(error.mean())
    view = frames.view
    task = np.array(view.tasks)[view.task_index]
    assert set(found.tasks) == set(task)
    for name, reports in found.tasks.items():
        error = np.abs(found.values["constant"] - frames.targets)[task == name]
        assert reports["constant"].metrics["mae"] == pytest.approx(error.mean())


def test_skill_is_measured_against_the_constant_forecast(found):
    metrics = found.metrics
    expected = 1 - metrics["model"]["crps"] / metrics["constant"]["crps"]
    assert metrics["model"]["skill"] == pytest.approx(expected)
    assert metrics["constant"]["skill"] == 0


def test_pairs_are_compared_with_the_first_frame_of_their_episode(hold, many_v30):
    pairs = {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}
    held = hold(many_v30, pairs, {"scale": "episode"})
    found = run(held)
    rows, data = held.test_rows, held.prepared.data
    probabilities = predict(held.prepared.model, held.prepared.collator, rows)
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5, rtol=0)
    first = rows - data.dataset.frame_index[rows]
    np.testing.assert_array_equal(found.subject.evaluated.targets, data.targets[rows] - data.targets[first])
    assert found.labelling is None or found.labelling.settings["mode"] == "progress"


def test_every_frame_goes_through_the_model_once_a_pass(held, monkeypatch):
    seen = []
    features = Forward.features
    monkeypatch.setattr(Forward, "features", lambda self, x: seen.append(len(x)) or features(self, x))
    run(held, EvaluationSettings(probes=False, resamples=1, batch_size=4))
    assert sum(seen) == len(held.test_rows)


def test_a_store_of_the_evaluated_episodes_gives_the_same(held, found, tmp_path):
    again = run(held, EvaluationSettings(probes=False, resamples=1), dataset=held.dataset, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert stored < 2.1 * len(held.test_rows) * 3 * 32 * 32  # two cameras; nothing of the other episodes


def test_many_distributions_lie_in_a_file_and_are_the_same(held, found, monkeypatch):
    monkeypatch.setattr(passes, "IN_MEMORY", 1000)
    again = run(held, EvaluationSettings(probes=False, resamples=20))
    assert isinstance(again.probabilities, np.memmap)
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    for name in ("model", "elapsed_time"):
        assert again.metrics[name] == pytest.approx(found.metrics[name], nan_ok=True)


def test_standard_deviations_by_hand():
    probabilities = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]], np.float32)
    found = standard_deviations(probabilities, np.array([-0.5, -0.5]), (-1.0, 0.0))
    np.testing.assert_allclose(found, [0.5, 0.0])


# -- probes ------------------------------------------------------------------------------------------------


def test_without_state_reversed_frames_give_the_values_in_reverse(hold, many_v30):
    held = hold(many_v30, data={"use_state": False})
    found = run(held)
    view = found.subject.evaluated.view
    for start, length in zip(view.starts, view.lengths, strict=True):
        values = found.values["model"][start : start + length]
        np.testing.assert_allclose(
            found.values["reversed_frames"][start : start + length], values[::-1], atol=1e-5, rtol=0
        )
    assert found.changes["reversed_frames"]["same_picture_change"] < 1e-5
    assert found.changes["reversed_frames"]["mean_change"] > 1e-4


def test_a_swapped_instruction_is_what_the_model_says_of_the_other_text(held, found):
    prepared, rows = held.prepared, held.test_rows[:5]
    data, part = prepared.data, prepared.data.only
    other = {data.tasks[0]: data.tasks[1], data.tasks[1]: data.tasks[0]}
    tasks = [other[data.dataset.tasks[index]] for index in data.dataset.task_index[rows]]
    shown = [prepared.collator.stores[0].gather(key, rows) for key in part.cameras]
    names = [part.dataset.cameras[key].name for key in part.cameras]
    images = [{n: torch.from_numpy(s[i]) for n, s in zip(names, shown, strict=True)} for i in range(5)]
    batch = prepared.processor(images=images, task=tasks, state=data.dataset.states[rows], dataset="v30")
    with torch.inference_mode():
        expected = prepared.model.eval()(**batch).value.numpy()
    np.testing.assert_allclose(found.values["swapped_instruction"][:5], expected, atol=1e-5, rtol=0)
    assert np.abs(found.values["model"][:5] - expected).max() > 1e-4


def test_probes_that_cannot_be_made_say_why(hold, tmp_path):
    held = hold(make_dataset(tmp_path / "one", tasks=("push the puck",), lengths=(9, 8, 7)))
    reasons = {probe.name: probe.undefined or "" for probe in make_probes(subject_of(held))}
    assert "one episode alone" in reasons["shuffled_images"]
    assert "'push the puck' is the only task" in reasons["swapped_instruction"]
    assert reasons["reversed_frames"] == ""
    found = run(held)
    assert found.findings["swapped_instruction"].startswith("Undefined: ")
    assert set(found.metrics) == {"model", "constant", "elapsed_time", "reversed_frames"}


# -- splits ------------------------------------------------------------------------------------------------


def test_a_checkpoint_without_a_split_says_what_to_do(held, tmp_path):
    alone = replace(held, folder=tmp_path / "run" / "model")
    shutil.copytree(held.folder, alone.folder)
    (alone.folder / "split.json").unlink()
    with pytest.raises(DatasetError, match=r"no split\.json.*--split all"):
        subject_of(alone)
    subject = subject_of(alone, split="all")
    assert subject.trained is None and len(subject.job.episodes) == 30


def test_a_checkpoint_inside_a_run_has_the_split_of_the_run(held, tmp_path):
    inner = tmp_path / "run" / "checkpoint-300"
    inner.mkdir(parents=True)
    shutil.copy(held.folder / "split.json", tmp_path / "run")
    assert split_file(inner) == tmp_path / "run" / "split.json"


def test_another_dataset_is_evaluated_whole_and_known_not_to_be_trained_on(held, make):
    other = make()
    with pytest.raises(DatasetError, match="names other datasets.*--split all"):
        subject_of(held, dataset=other)
    subject = subject_of(held, dataset=other, split="all")
    assert subject.trained == 0 and subject.training is None and len(subject.job.episodes) == 6


def test_of_a_dataset_that_has_changed_since_training_nothing_is_claimed(held, tmp_path):
    grown = make_dataset(tmp_path / held.dataset.name, lengths=(12, 7, 9, 10))
    subject = subject_of(held, dataset=grown, split="all")
    assert subject.trained is None and "another state of this dataset" in subject.split.source


def test_training_episodes_are_counted(held):
    split = held.prepared.data.split
    assert subject_of(held, split="train").trained == len(split["train"])
    assert subject_of(held, split="all").trained == len(split["train"])
    assert subject_of(held, split="validation").trained == 0


def test_episodes_are_chosen_within_the_split(held):
    test = held.prepared.data.split["test"]
    assert subject_of(held, episodes=f"{test[0]}").job.episodes == test[:1]
    with pytest.raises(DatasetError, match="chooses no episode of the split 'test'"):
        subject_of(held, episodes=str(held.prepared.data.split["train"][0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tests"}, "--split must be one of"),
        ({"fail": "zero"}, "--fail must be floor, penalty"),
        ({"fail_penalty": 3.0}, "--fail-penalty needs --fail penalty"),
        ({"resamples": 0}, "--resamples must be 1 or more"),
        ({"batch_size": 0}, "--batch-size must be 1 or more"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises((ConfigError, DatasetError), match=message):
        EvaluationSettings(**settings).check()


# -- targets and baselines ---------------------------------------------------------------------------------


def test_failures_cost_what_they_cost_in_training_unless_it_is_said(hold, many_v30):
    held = hold(many_v30, data={"fail": "penalty", "fail_penalty": 4.0})
    data, rows = held.prepared.data, held.test_rows
    np.testing.assert_array_equal(subject_of(held).evaluated.targets, data.targets[rows])
    floor = subject_of(held, fail="floor").evaluated
    assert (floor.targets[~floor.success] == -1).all() and (data.targets[rows][~floor.success] > -1).any()


def test_an_unknown_task_is_named_and_a_scale_makes_up_for_it(held, tmp_path):
    other = make_dataset(tmp_path / "other", tasks=("open the drawer", "fold the towel"))
    with pytest.raises(ConfigError, match="does not know the task 'fold the towel'.*--scale"):
        subject_of(held, dataset=other, split="all")
    frames = subject_of(held, dataset=other, split="all", scale=20.0).evaluated
    view = frames.view
    mine = frames.success & (np.array(view.tasks)[view.task_index] == "fold the towel")
    left = np.repeat(view.lengths, view.lengths) - 1 - view.frame_index
    np.testing.assert_allclose(frames.targets[mine], -left[mine] / 20, atol=1e-6)


def test_targets_are_in_seconds_of_the_checkpoint_at_another_frame_rate(held, tmp_path):
    fast = make_dataset(tmp_path / "fast", fps=20)
    frames = subject_of(held, dataset=fast, split="all").evaluated
    view, scales = frames.view, held.prepared.processor.scales
    steps = [2 * scales[view.tasks[index]] for index in view.episode_tasks]
    expected, _ = dataset_targets(
        view.lengths, frames.outcomes.success, np.arange(6), scale=dict(enumerate(steps))
    )
    np.testing.assert_array_equal(frames.targets, expected)


def test_without_a_training_split_an_episode_is_forecast_from_the_others(held, make):
    other = make(lengths=(9, 12), tasks=("push the puck",))
    settings = EvaluationSettings(split="all", probes=False, resamples=5)
    found = run(held, settings, dataset=other, cache_dir=other.parent / "cache")
    targets = found.subject.evaluated.targets
    assert found.baselines_from.startswith("the other episodes")
    for mine, others in ((slice(0, 9), slice(9, 21)), (slice(9, 21), slice(0, 9))):
        value = constant_distribution(targets[others], 201) @ np.linspace(-1, 0, 201)
        np.testing.assert_allclose(found.values["constant"][mine], value, atol=1e-6)


def test_one_episode_alone_has_no_baselines(held, found):
    episode = str(found.subject.job.episodes[0])
    alone = run(
        held, EvaluationSettings(split="all", episodes=episode, resamples=5), split=Split(None, "none")
    )
    assert alone.baselines_from == "" and "constant" not in alone.metrics
    assert np.isnan(alone.metrics["model"]["skill"])


# -- labels ------------------------------------------------------------------------------------------------


def test_labels_are_those_of_the_label_command(held, tmp_path):
    """Short episodes: with the default horizon of 50 frames there are none, and the reason is told."""
    assert "horizon of 50 frames is longer than every episode" in run(held, EvaluationSettings(
        probes=False, resamples=1)).labels_note  # fmt: skip


def test_labels_of_long_episodes_equal_those_of_their_scores(held, tmp_path):
    long = make_dataset(tmp_path / "long", lengths=(60, 70, 55), files=1)
    dataset, checkpoint = open_dataset(long), load_checkpoint(str(held.folder))
    settings = EvaluationSettings(split="all", probes=False, resamples=1)
    found = run(held, settings, dataset=long, cache_dir=tmp_path / "cache")
    score_dataset(checkpoint, dataset, "t", tmp_path / "values", Settings(dtype="float32"), threads=2)
    expected = make_labels(dataset, read_scores(dataset, "t", tmp_path / "values"), LabelSettings())
    assert found.labelling is not None
    seen, wanted = found.labelling.table, expected.table
    np.testing.assert_allclose(seen["advantage"], wanted["advantage"], atol=1e-5)
    assert seen["positive"].to_pylist() == wanted["positive"].to_pylist()
