"""making.py: scores of small datasets to label tables, against plain loops and by hand; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_scores import noisy_values, write_scores

from valuecurve.episodes import DatasetError, open_dataset, resolve_outcomes
from valuecurve.labels.label_set import write_labels
from valuecurve.labels.making import make_labels, parts_of
from valuecurve.labels.settings import LabelSettings
from valuecurve.scoring import read_scores


@pytest.fixture
def scored(make):
    """scored(columns of scores, fields of the manifest, **options of the dataset) -> (dataset, scores)"""

    def build(columns=None, scores=None, episodes=None, **options):
        dataset = open_dataset(make(cameras={}, **options))
        value = noisy_values(dataset, np.arange(len(dataset.lengths)) % 3 != 2)
        value = value[dataset.episode_rows(episodes)]
        write_scores(dataset, "t", value, columns, episodes=episodes, **(scores or {}))
        return dataset, read_scores(dataset, "t")

    return build


def array(labelling, name):
    return labelling.table[name].to_numpy()


def plain_n_step(dataset, values, horizon, scale_of_task):
    """DESIGN's formula, frame by frame; what would follow the end of a failure goes on and is worth -1."""
    found, outcomes = [], resolve_outcomes(dataset)
    for e, (start, length) in enumerate(zip(dataset.starts, dataset.lengths, strict=True)):
        scale = scale_of_task[dataset.tasks[dataset.episode_tasks[e]]]
        success = outcomes.success[e]
        r = [-1 / scale] * (length - 1) + ([0.0] if success else [-1 / scale] * (horizon + 1))
        v = values[start : start + length].astype(float)
        for t in range(length):
            later = v[t + horizon] if t + horizon < length else (0.0 if success else -1.0)
            found.append(sum(r[t : t + horizon]) + later - v[t])
    return np.array(found)


@pytest.mark.parametrize("horizon", [1, 3, 11])
def test_n_step_labels_follow_the_formula(scored, horizon):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(horizon=horizon))
    expected = plain_n_step(dataset, scores.value, horizon, scores.manifest["scores"]["scales"])
    np.testing.assert_allclose(array(made, "advantage"), expected, atol=1e-6)
    a_t, positive = array(made, "advantage").astype(float), array(made, "positive")
    for index, task in enumerate(dataset.tasks):
        mine = dataset.task_index == index
        threshold = np.quantile(a_t[mine], 0.7)
        assert made.settings["thresholds"][task] == pytest.approx(threshold, abs=1e-12)
        assert np.array_equal(positive[mine], a_t[mine] >= made.settings["thresholds"][task])
    assert made.settings["horizon"] == horizon and made.settings["outcomes"] == "next.success (any frame)"


def test_full_episode_labels_and_returns(scored):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(mode="full"))
    returns = array(made, "return")
    np.testing.assert_allclose(array(made, "advantage"), returns - scores.value, atol=1e-6)
    assert returns[dataset.starts + dataset.lengths - 1].tolist() == [0, 0, -1, 0, 0, -1]
    assert returns[0] == pytest.approx(-11 / 11)  # "push the puck": 12 frames are its longest episode
    assert made.settings["horizon"] is None


def test_a_horizon_in_seconds(scored):
    dataset, scores = scored(fps=10)
    made = make_labels(dataset, scores, LabelSettings(horizon_seconds=0.3))
    same = make_labels(dataset, scores, LabelSettings(horizon=3))
    assert made.settings["horizon"] == 3 and made.table.equals(same.table)


def test_a_model_of_another_rate_counts_its_own_steps(scored):
    """The model saw 5 frames/s and the dataset has 10: a scale of 10 steps is one of 20 frames."""
    scales = {"push the puck": 10.0, "open the drawer": 10.0}
    dataset, scores = scored(scores={"fps": 5.0, "scales": scales}, fps=10)
    made = make_labels(dataset, scores, LabelSettings(mode="full"))
    assert array(made, "return")[0] == pytest.approx(-11 / 20)
    penalty = LabelSettings(mode="full", fail="penalty", fail_penalty=5.0)  # steps of the model: a half
    last_of_failure = int(dataset.starts[3]) - 1
    assert array(make_labels(dataset, scores, penalty), "return")[last_of_failure] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("scale", "first"),
    [("task_max", -11 / 11), ("episode", -11 / 11), (44.0, -0.25), ("checkpoint", -11 / 11)],
)
def test_scales(scored, scale, first):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(mode="full", scale=scale))
    assert array(made, "return")[0] == pytest.approx(first)


def test_a_model_of_progress_has_the_scale_of_every_episode(scored):
    dataset, scores = scored(scores={"scales": {}})
    made = make_labels(dataset, scores, LabelSettings(mode="full"))
    assert array(made, "return")[dataset.starts].tolist() == [-1, -1, -2, -1, -1, -2]


def test_a_failure_costs_what_it_cost_in_training_unless_it_is_named(scored):
    trained = {
        "fail": "penalty",
        "fail_penalty": 5.0,
        "scales": {"push the puck": 10.0, "open the drawer": 10.0},
    }
    dataset, scores = scored(scores=trained)
    last_of_failure = int(dataset.starts[3]) - 1

    def last_return(**settings):
        made = make_labels(dataset, scores, LabelSettings(mode="full", **settings))
        return array(made, "return")[last_of_failure], made.settings["fail"], made.settings["fail_penalty"]

    assert last_return() == (-0.5, "penalty", 5.0)
    assert last_return(fail="penalty", fail_penalty=2.0) == (pytest.approx(-0.2), "penalty", 2.0)
    assert last_return(fail="floor") == (-1.0, "floor", 0.0)
    scores.manifest["scores"]["fail"] = None  # a checkpoint of before, which does not say
    assert last_return() == (-1.0, "floor", 0.0)


def test_rollouts_are_judged_by_the_thresholds_of_the_demonstrations(scored):
    dataset, scores = scored()
    demonstrations = make_labels(dataset, scores, LabelSettings(horizon=3, positive_fraction=0.4))
    write_labels(dataset, "t", demonstrations.table, demonstrations.settings)
    worse = replace(scores, value=np.roll(scores.value, 7))
    settings = LabelSettings(horizon=3, thresholds=str(scores.folder))
    made = make_labels(dataset, worse, settings)
    assert made.settings["thresholds"] == demonstrations.settings["thresholds"]
    assert made.settings["positive_fraction"] == 0.4
    assert made.settings["thresholds_of"] == "dataset t"
    levels = np.array([made.settings["thresholds"][task] for task in dataset.tasks])
    expected = array(made, "advantage").astype(float) >= levels[dataset.task_index]
    assert np.array_equal(array(made, "positive"), expected) and expected.any() and not expected.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 4}, "made in another way .horizon 3 there, 4 here"),
        ({"horizon": 3, "fail": "penalty"}, 'fail "floor" there, "penalty" here'),
        ({"horizon": 3, "scope": "global"}, 'scope "task" there, "global" here'),
    ],
)
def test_thresholds_of_labels_made_in_another_way_are_refused(scored, settings, message):
    dataset, scores = scored()
    with pytest.raises(DatasetError, match="--thresholds: .* holds no labels"):
        make_labels(dataset, scores, LabelSettings(**settings, thresholds=str(scores.folder)))
    made = make_labels(dataset, scores, LabelSettings(horizon=3))
    write_labels(dataset, "t", made.table, made.settings)
    with pytest.raises(DatasetError, match=message):
        make_labels(dataset, scores, LabelSettings(**settings, thresholds=str(scores.folder)))


def test_a_task_that_has_no_threshold_there_is_named(scored):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(horizon=3))
    del made.settings["thresholds"]["push the puck"]
    write_labels(dataset, "t", made.table, made.settings)
    with pytest.raises(
        DatasetError, match="no threshold for 'push the puck'; it has those of 'open the drawer'"
    ):
        make_labels(dataset, scores, LabelSettings(horizon=3, thresholds=str(scores.folder)))


def test_global_scope_has_one_threshold(scored):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(horizon=3, scope="global"))
    a_t = array(made, "advantage").astype(float)
    assert made.settings["thresholds"] == {"all": pytest.approx(np.quantile(a_t, 0.7), abs=1e-12)}
    assert array(made, "positive").mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("column", [None, "where"])
def test_stages_have_thresholds_of_their_own(scored, column):
    where = np.random.default_rng(0).random(57)
    dataset, scores = scored()
    dataset.frames = dataset.frames.append_column("where", [where])
    made = make_labels(dataset, scores, LabelSettings(horizon=3, stages=2, stage_column=column))
    share = where if column else dataset.frame_index / np.repeat(dataset.lengths - 1, dataset.lengths)
    assert array(made, "stage").tolist() == (share >= 0.5).astype(int).tolist()
    assert list(made.settings["thresholds"]) == [
        f"{task} (stage {stage})" for task in dataset.tasks for stage in (0, 1)
    ]
    a_t = array(made, "advantage").astype(float)
    for part in parts_of(made):
        assert part.threshold == pytest.approx(np.quantile(a_t[part.rows], 0.7), abs=1e-12)
        assert set(dataset.task_index[part.rows]) == {dataset.tasks.index(part.task)}
    pooled = make_labels(dataset, scores, LabelSettings(horizon=3, stages=2, scope="global"))
    assert list(pooled.settings["thresholds"]) == ["all (stage 0)", "all (stage 1)"]


def test_slices_are_of_equal_size_in_each_task(scored):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(horizon=3, slices=4))
    for index in range(2):
        counts = np.bincount(array(made, "slice")[dataset.task_index == index], minlength=4)
        assert counts.max() - counts.min() <= 1
    a_t, slices = array(made, "advantage"), array(made, "slice")
    mine = dataset.task_index == 0
    order = np.argsort(a_t[mine])
    assert (np.diff(slices[mine][order]) >= 0).all()


def test_a_task_may_change_inside_an_episode(make):
    changed = [int(frame >= 4) for length in (12, 7, 9, 10, 8, 11) for frame in range(length)]
    dataset = open_dataset(make(cameras={}, columns={"task_index": changed}))
    write_scores(dataset, "t", noisy_values(dataset, resolve_outcomes(dataset).success))
    made = make_labels(dataset, read_scores(dataset, "t"), LabelSettings(horizon=3))
    assert array(made, "task_index").tolist() == changed
    for index in (0, 1):
        assert array(made, "positive")[np.array(changed) == index].mean() == pytest.approx(0.3, abs=0.05)


FLAGS = [i % 5 == 0 for i in range(57)]


@pytest.mark.parametrize("cells", [FLAGS, [int(flag) for flag in FLAGS], [float(flag) for flag in FLAGS]])
def test_interventions_are_positive_and_thresholds_do_not_move(make, cells):
    dataset = open_dataset(make(cameras={}, columns={"is_intervention": cells}))
    write_scores(dataset, "t", noisy_values(dataset, resolve_outcomes(dataset).success))
    scores = read_scores(dataset, "t")
    plain = make_labels(dataset, scores, LabelSettings(horizon=3))
    made = make_labels(dataset, scores, LabelSettings(horizon=3, interventions="is_intervention"))
    assert array(made, "intervention").tolist() == FLAGS
    assert array(made, "positive").tolist() == (array(plain, "positive") | np.array(FLAGS)).tolist()
    assert made.settings["thresholds"] == plain.settings["thresholds"]
    assert not array(plain, "intervention").any()
    sliced = make_labels(dataset, scores, LabelSettings(horizon=3, slices=4, interventions="is_intervention"))
    without = make_labels(dataset, scores, LabelSettings(horizon=3, slices=4))
    expected = np.where(FLAGS, 3, array(without, "slice"))
    assert array(sliced, "slice").tolist() == expected.tolist()


def test_all_positive_keeps_advantages_and_thresholds(scored):
    dataset, scores = scored()
    plain = make_labels(dataset, scores, LabelSettings(horizon=3))
    made = make_labels(dataset, scores, LabelSettings(horizon=3, all_positive=True))
    assert array(made, "positive").all() and made.settings["all_positive"]
    assert made.settings["thresholds"] == plain.settings["thresholds"]


def test_some_episodes_are_labelled_by_themselves(scored):
    dataset, scores = scored(episodes=[1, 2, 5])
    made = make_labels(dataset, scores, LabelSettings(horizon=3))
    assert sorted(set(array(made, "episode_index").tolist())) == [1, 2, 5]
    assert array(made, "index").tolist() == dataset.episode_rows([1, 2, 5]).tolist()
    assert len(made.dataset.lengths) == 3


def test_dense_rewards_of_a_column(make):
    rewards = np.random.default_rng(0).normal(-1, 0.2, 57)
    dataset = open_dataset(make(cameras={}, columns={"cost": rewards.tolist()}))
    write_scores(dataset, "t", np.zeros(57))
    settings = LabelSettings(mode="full", reward_column="cost", fail="penalty", scale=10.0)
    made = make_labels(dataset, read_scores(dataset, "t"), settings)
    assert array(made, "return")[0] == pytest.approx(rewards[:12].sum() / 10, abs=1e-6)


# -- progress ----------------------------------------------------------------------------------------------


def pairs(n=57):
    generator = np.random.default_rng(0)
    names = ("relative", "absolute_value", "absolute_advantage")
    return {name: generator.uniform(-1, 1, n).astype(np.float32) for name in names}


def test_progress_of_single_frames_reads_the_value_and_needs_no_outcome(scored):
    dataset, scores = scored(outcome=None)
    made = make_labels(dataset, scores, LabelSettings(mode="progress", horizon=3))
    v, a_t = scores.value.astype(float), array(made, "advantage")
    assert a_t[0] == pytest.approx(v[3] - v[0], abs=1e-6)
    assert a_t[10] == pytest.approx((v[11] - v[10]) * 3, abs=1e-6)
    assert a_t[11] == 0
    assert made.outcomes is None and made.settings["outcomes"] is None
    assert made.table["return"].null_count == 57
    assert made.settings["progress"] == "value"


@pytest.mark.parametrize("source", ["relative", "absolute_advantage"])
def test_scores_of_pairs_are_advantages_already(scored, source):
    dataset, scores = scored(columns=pairs(), scores={"horizon": 50})
    made = make_labels(dataset, scores, LabelSettings(mode="progress", progress=source))
    assert np.array_equal(array(made, "advantage"), pairs()[source])
    assert made.settings["horizon"] == 50
    assert np.array_equal(array(made, "relative"), pairs()["relative"])  # carried over


def test_absolute_value_is_what_pairs_are_labelled_by_unless_told_otherwise(scored):
    dataset, scores = scored(columns=pairs(), scores={"horizon": 50})
    made = make_labels(dataset, scores, LabelSettings(mode="progress", horizon=3))
    value = pairs()["absolute_value"].astype(float)
    assert array(made, "advantage")[0] == pytest.approx(value[3] - value[0], abs=1e-6)
    assert made.settings["progress"] == "absolute_value" and made.settings["horizon"] == 3


def test_progress_may_be_a_column_of_the_dataset(make):
    known = np.linspace(0, 1, 57)
    dataset = open_dataset(make(cameras={}, columns={"progress_gt": known.tolist()}))
    write_scores(dataset, "t", np.zeros(57))
    settings = LabelSettings(mode="progress", progress="progress_gt", horizon=3)
    made = make_labels(dataset, read_scores(dataset, "t"), settings)
    assert array(made, "advantage")[0] == pytest.approx(3 / 56, abs=1e-6)


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({}, {}, "a horizon of 50 frames is longer than every episode .the longest has 12 frames"),
        ({}, {"horizon": 12}, "longer than every episode"),
        ({}, {"horizon_seconds": 1.2}, "a horizon of 12 frames"),
        ({}, {"mode": "progress", "horizon": 12}, "longer than every episode"),
        ({"outcome": None}, {"horizon": 3}, "no outcome for episodes 0, 1, 2, 3, 4, 5"),
        ({}, {"horizon": 3, "outcome_column": "next.sucess"}, "did you mean next.success"),
        ({}, {"mode": "progress", "horizon": 3, "outcome_column": "x"}, "there is no outcome column 'x'"),
        (
            {"scores": {"scales": {"push the puck": 9.0}}},
            {"horizon": 3},
            "episode 1: the model has no scale for",
        ),
        ({}, {"horizon": 3, "interventions": "intervene"}, "--interventions names 'intervene', there is no"),
        ({}, {"horizon": 3, "interventions": "timestamp"}, "frame 1: timestamp is .*neither true nor false"),
        (
            {},
            {"horizon": 3, "reward_column": "next.success"},
            "--reward-column 'next.success' must hold numbers",
        ),
        ({}, {"horizon": 3, "stages": 2, "stage_column": "n"}, "--stage-column names 'n'"),
        (
            {},
            {"mode": "progress", "horizon": 3, "progress": "relative"},
            "has no relative: its model reads single",
        ),
        ({}, {"mode": "progress", "horizon": 3, "progress": "nothing"}, "--progress names 'nothing'"),
    ],
)
def test_what_cannot_be_labelled_is_one_clear_error(scored, options, settings, message):
    dataset, scores = scored(**options)
    with pytest.raises(DatasetError, match=message):
        make_labels(dataset, scores, LabelSettings(**settings))


def test_scores_of_pairs_have_no_returns_and_a_horizon_of_their_own(scored):
    dataset, scores = scored(columns=pairs(), scores={"horizon": 50})
    with pytest.raises(DatasetError, match="they measure progress, not returns. Use --mode progress"):
        make_labels(dataset, scores, LabelSettings(horizon=3))
    with pytest.raises(
        DatasetError, match="relative was scored over 50 frames, not 3; label with --horizon 50"
    ):
        make_labels(dataset, scores, LabelSettings(mode="progress", progress="relative", horizon=3))


def test_a_reward_that_is_empty_names_its_frame(make):
    cells = [-1.0] * 57
    cells[14] = None  # type: ignore[call-overload]
    dataset = open_dataset(make(cameras={}, columns={"cost": cells}))
    write_scores(dataset, "t", np.zeros(57))
    with pytest.raises(DatasetError, match="episode 1, frame 2: cost is None: empty or not a number"):
        make_labels(dataset, read_scores(dataset, "t"), LabelSettings(horizon=3, reward_column="cost"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "nstep"}, "--mode must be n_step, full, progress, got 'nstep'; did you mean 'n_step'"),
        ({"scope": "stage"}, "--scope must be task, global, got 'stage'"),
        ({"fail": "drop"}, "--fail must be floor, penalty"),
        ({"scale": "max"}, "--scale must be checkpoint, task_max, episode or a number of frames, got 'max'"),
        ({"scale": 0.0}, "--scale must be above 0"),
        ({"horizon": 0}, "--horizon must be 1 frame or more, got 0"),
        ({"horizon": 5, "horizon_seconds": 1.0}, "give --horizon or --horizon-seconds, not both"),
        ({"horizon": 5, "mode": "full"}, "--horizon means nothing with --mode full"),
        ({"positive_fraction": 30}, "--positive-fraction must be from 0 to 1, got 30"),
        ({"positive_fraction": float("nan")}, "--positive-fraction must be from 0 to 1"),
        ({"stages": 0}, "--per-stage must be from 1 to 1000, got 0"),
        ({"stages": 10**11}, "--per-stage must be from 1 to 1000"),
        ({"slices": 1}, "--slices must be from 2 to 1000, got 1"),
        ({"slices": 10**11}, "--slices must be from 2 to 1000"),
        ({"assume_outcome": "maybe"}, "--assume-outcome must be success or failure, got 'maybe'"),
        ({"progress": "value"}, "--progress needs --mode progress"),
        ({"stage_column": "p"}, "--stage-column needs --per-stage"),
        ({"fail_penalty": 5.0}, "--fail-penalty needs --fail penalty"),
        ({"mode": "progress", "reward_column": "r"}, "--reward-column means nothing with --mode progress"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_option(settings, message):
    with pytest.raises(DatasetError, match=message):
        LabelSettings(**settings)


def test_advantages_that_float32_cannot_hold_name_their_frame(scored):
    dataset, scores = scored()
    with pytest.raises(DatasetError, match=r"episode 0, frame 0: an advantage of .* cannot be stored"):
        make_labels(dataset, scores, LabelSettings(horizon=3, scale=1e-300))


def test_a_horizon_of_more_seconds_than_a_number_holds_is_longer_than_every_episode(scored):
    dataset, scores = scored()
    with pytest.raises(DatasetError, match="longer than every episode"):
        make_labels(dataset, scores, LabelSettings(horizon_seconds=1e308))


def test_a_checkpoint_that_does_not_tell_its_frame_rate_counts_frames(scored):
    dataset, scores = scored()
    expected = make_labels(dataset, scores, LabelSettings(horizon=3)).table
    scores.manifest["scores"]["fps"] = None
    assert make_labels(dataset, scores, LabelSettings(horizon=3)).table.equals(expected)


def test_thresholds_of_another_checkpoint_are_refused(scored):
    dataset, scores = scored()
    made = make_labels(dataset, scores, LabelSettings(horizon=3))
    write_labels(dataset, "t", made.table, made.settings)
    scores.manifest["scores"]["weights"] = "1" * 64
    settings = LabelSettings(horizon=3, thresholds=str(scores.folder))
    with pytest.raises(DatasetError, match="scored by another checkpoint"):
        make_labels(dataset, scores, settings)
    with pytest.raises(DatasetError, match="--thresholds, OTHER/values/TAG: .* holds no scores"):
        make_labels(dataset, scores, LabelSettings(horizon=3, thresholds="nowhere"))
