from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from core import evaluation as ev
from core.evaluation import Ranking

SCORES = st.integers(0, 4).map(lambda tenth: tenth / 4)  # few values: many ties
ROWS = st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=30)
CLASSES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def columns(rows: list) -> tuple[np.ndarray, np.ndarray]:
    first, second = zip(*rows, strict=True)
    return np.array(first), np.array(second)


def same(left: float, right: float) -> bool:
    return math.isclose(left, right, abs_tol=1e-9) or (math.isnan(left) and math.isnan(right))


# -- classes -------------------------------------------------------------------------------------


def test_a_confusion_worked_by_hand() -> None:
    truth, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    counts = ev.confusion(truth, said, 3)
    assert counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert ev.accuracy(counts) == pytest.approx(4 / 6)
    assert ev.f1(counts).tolist() == pytest.approx([0.8, 0.5, 2 / 3])
    assert ev.macro_f1(counts) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)


@given(CLASSES)
def test_figures_of_classes_follow_their_definitions(rows: list) -> None:
    truth, said = columns(rows)
    counts = ev.confusion(truth, said, 3)
    assert same(float(ev.accuracy(counts)), sum(t == s for t, s in rows) / len(rows))
    for kind, found in enumerate(ev.f1(counts)):
        hit = sum(t == s == kind for t, s in rows)
        have, told = int((truth == kind).sum()), int((said == kind).sum())
        precision, recall = hit / told if told else 0.0, hit / have if have else math.nan
        expected = 2 * precision * recall / (precision + recall) if hit else 0.0 * recall
        assert same(float(found), expected)


def test_a_class_without_rows_makes_the_macro_figure_unknown_not_zero() -> None:
    counts = ev.confusion(np.array([0, 2, 2]), np.array([0, 2, 1]), 3)
    assert math.isnan(ev.macro_f1(counts))
    assert ev.accuracy(counts) == pytest.approx(2 / 3)


def test_precision_and_recall_of_yes() -> None:
    counts = ev.confusion(np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0]), 2)
    assert [float(x) for x in ev.precision_recall(counts)] == pytest.approx([2 / 3] * 3)
    silent = ev.confusion(np.array([1, 0]), np.array([0, 0]), 2)
    precision, recall, f1 = ev.precision_recall(silent)
    assert math.isnan(precision)
    assert (recall, f1) == (0.0, 0.0)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30))
def test_a_joint_table_holds_both_confusions(rows: list) -> None:
    truth, first, second = (np.array(column) for column in zip(*rows, strict=True))
    both = ev.joint(truth, first, second, 3)
    assert np.array_equal(both.sum(axis=-1), ev.confusion(truth, first, 3))
    assert np.array_equal(both.sum(axis=-2), ev.confusion(truth, second, 3))


# -- rankings ------------------------------------------------------------------------------------


def test_a_ranking_worked_by_hand() -> None:
    truth = np.array([1, 0, 1, 0, 0])
    yes, no = Ranking.of(truth, np.array([0.9, 0.8, 0.7, 0.7, 0.1])).above()
    assert yes.tolist() == [1, 1, 2, 2]
    assert no.tolist() == [0, 1, 2, 3]
    assert ev.auroc(yes, no) == pytest.approx((3 + 1.5) / 6)
    assert ev.average_precision(yes, no) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert ev.recall_at(yes, no, 0.0) == 0.5
    assert ev.recall_at(yes, no, 2 / 3) == 1.0


@given(ROWS)
def test_auroc_is_the_chance_that_yes_outranks_no(rows: list) -> None:
    truth, score = columns(rows)
    pairs = [(a > b) + (a == b) / 2 for t, a in rows if t for u, b in rows if not u]
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert same(float(ev.auroc(*Ranking.of(truth, score).above())), expected)


@given(ROWS, st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]))
def test_precision_and_recall_along_a_ranking_count_every_threshold(
    rows: list, share: float
) -> None:
    truth, score = columns(rows)
    yes, no = Ranking.of(truth, score).above()
    total, others = int(truth.sum()), int((~truth).sum())
    area, before, best = 0.0, 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        hit = int((truth & (score >= threshold)).sum())
        false = int((~truth & (score >= threshold)).sum())
        recall = hit / total if total else 0.0
        area += (recall - before) * hit / (hit + false)
        before = recall
        if others and false <= share * others + 1e-9:
            best = max(best, recall)
    known = total > 0 and others > 0
    assert same(float(ev.average_precision(yes, no)), area if known else math.nan)
    assert same(float(ev.recall_at(yes, no, share)), best if known else math.nan)


@given(ROWS, st.integers(0, 5))
def test_a_row_that_counts_three_times_is_three_rows(rows: list, seed: int) -> None:
    truth, score = columns(rows)
    counts = rng(seed).integers(0, 4, size=(2, len(rows)))
    yes, no = Ranking.of(truth, score).above(counts)
    for i, count in enumerate(counts):
        again = Ranking.of(np.repeat(truth, count), np.repeat(score, count)).above()
        for measure in (ev.auroc, ev.average_precision, lambda y, n: ev.recall_at(y, n, 0.2)):
            assert same(float(measure(yes, no)[i]), float(measure(*again)))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_figure(rows: list, chance: Random) -> None:
    mixed = chance.sample(rows, len(rows))
    told = [Ranking.of(*columns(some)).above() for some in (rows, mixed)]
    assert all(np.array_equal(a, b) for a, b in zip(*told, strict=True))
    right, sure = columns(rows)
    shuffled_right, shuffled = columns(mixed)
    before, after = ev.reliability(sure, right, 4), ev.reliability(shuffled, shuffled_right, 4)
    assert np.allclose(before.right, after.right)
    assert np.array_equal(before.count, after.count)


@given(ROWS, st.sampled_from([0.0, 0.05, 0.5]))
def test_the_threshold_of_a_share_keeps_its_promise(rows: list, share: float) -> None:
    truth, score = columns(rows)
    ranking = Ranking.of(truth, score)
    threshold = ev.threshold_at(ranking, share)
    recall = float(ev.recall_at(*ranking.above(), share))
    if math.isnan(threshold):
        assert math.isnan(recall) or recall == 0.0
    elif truth.any() and not truth.all():
        assert (~truth & (score >= threshold)).sum() <= share * (~truth).sum() + 1e-9
        assert (truth & (score >= threshold)).sum() / truth.sum() == pytest.approx(recall)


@given(ROWS, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_best_of_one_threshold_is_found_by_trying_them_all(rows: list, share: float) -> None:
    truth, score = columns(rows)
    ranking = Ranking.of(truth, score)
    found, threshold = ev.best_f1(ranking)
    recall = float(ev.recall_at_precision(*ranking.above(), share))
    if not truth.any() or truth.all():
        assert math.isnan(found)
        assert math.isnan(recall)
        return
    tried, recalls = {}, [0.0]
    for cut in set(score):
        counts = ev.confusion(truth, score >= cut, 2)
        precision, reached, tried[cut] = map(float, ev.precision_recall(counts))
        recalls += [reached] if precision >= share else []
    assert found == pytest.approx(max(tried.values()))
    assert tried[threshold] == pytest.approx(found)
    assert recall == pytest.approx(max(recalls))


def test_a_thinned_curve_keeps_both_ends_and_its_shape() -> None:
    truth = rng().random(5000) < 0.2
    yes, no = Ranking.of(truth, truth + rng(2).normal(size=5000)).above()
    recall, precision = ev.curve(yes, no, points=50)
    assert len(recall) <= 52
    assert recall[-1] == 1.0
    full = int(np.argmax(yes == yes[-1]))  # the highest value that finds them all
    assert precision[-1] == yes[full] / (yes[full] + no[full])
    assert np.all(np.diff(recall) >= 0)


# -- calibration ---------------------------------------------------------------------------------


def test_calibration_worked_by_hand() -> None:
    sure = np.array([0.5, 0.6, 0.7, 0.9])
    bins = ev.reliability(sure, np.array([1, 0, 1, 1]), bins=2)
    assert bins.count.tolist() == [2, 2]
    assert bins.sure.tolist() == pytest.approx([0.55, 0.8])
    assert bins.right.tolist() == [0.5, 1.0]
    assert bins.error == pytest.approx((0.05 + 0.2) / 2)


@given(st.integers(1, 200), st.integers(1, 20))
def test_bins_of_different_values_are_of_equal_mass(n: int, bins: int) -> None:
    counts = np.bincount(ev.bins_of(rng(n).permutation(n) / n, bins), minlength=bins)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


@given(ROWS, st.integers(1, 6))
def test_equal_values_are_never_torn_apart_and_the_bins_keep_every_row(
    rows: list, bins: int
) -> None:
    right, sure = columns(rows)
    which = ev.bins_of(sure, bins)
    assert all(len(set(which[sure == value])) == 1 for value in set(sure))
    found = ev.reliability(sure, right, bins)
    assert found.count.sum() == len(rows)
    gaps = [
        abs(sure[which == b].mean() - right[which == b].mean()) * (which == b).sum()
        for b in set(which)
    ]
    assert float(found.error) == pytest.approx(sum(gaps) / len(rows), abs=1e-9)


def test_what_chance_shows_is_what_a_calibrated_tagger_shows() -> None:
    sure = rng().uniform(0.34, 1.0, 3000)
    chance = ev.error_by_chance(sure, rng(), repeats=60)
    calibrated = float(ev.reliability(sure, rng(5).random(3000) < sure).error)
    bold = float(ev.reliability(sure, rng(5).random(3000) < sure - 0.2).error)
    assert 0.01 < chance < 0.04
    assert calibrated < 2 * chance
    assert bold == pytest.approx(0.2, abs=0.02)


# -- how sure the figures are --------------------------------------------------------------------


def test_resampling_counts_is_resampling_rows() -> None:
    truth = rng().integers(0, 3, 400)
    said = np.where(rng(2).random(400) < 0.7, truth, rng(3).integers(0, 3, 400))
    counts = ev.confusion(truth, said, 3)
    drawn = ev.macro_f1(ev.resampled(counts, 2000, rng(4)))
    rows = rng(5).integers(400, size=(600, 400))
    slow = [float(ev.macro_f1(ev.confusion(truth[i], said[i], 3))) for i in rows]
    assert float(drawn.std()) == pytest.approx(float(np.std(slow)), rel=0.12)
    low, high = ev.interval(drawn)
    assert low < float(ev.macro_f1(counts)) < high
    assert ev.interval(np.array(slow)) == pytest.approx((low, high), abs=0.01)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 70))
def test_weights_draw_as_many_rows_as_there_are_for_every_sample(n: int, repeats: int) -> None:
    blocks = list(ev.weights(n, repeats, rng()))
    assert sum(len(block) for block in blocks) == repeats
    assert all((block.sum(axis=1) == n).all() for block in blocks)


def test_weights_come_in_blocks_that_bound_memory() -> None:
    blocks = list(ev.weights(300_000, 9, rng()))
    assert [len(block) for block in blocks] == [6, 3]


def test_the_same_seed_gives_the_same_samples() -> None:
    counts = np.array([[3, 1], [2, 5]])
    first, second, other = (ev.resampled(counts, 20, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(5, 5, 0.5655, 1.0), (0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962)],
)
def test_wilsons_interval_has_its_published_values(
    hits: int, n: int, low: float, high: float
) -> None:
    assert ev.wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


# -- alerts --------------------------------------------------------------------------------------


def test_a_conversation_rests_after_its_case_and_others_do_not() -> None:
    at = np.array([0.0, 10.0, 50.0, 20.0, 100.0])
    who = np.array(["ann", "ann", "ann", "bob", "ann"])
    level = np.array([0.9, 0.9, 0.3, 0.9, 0.6])
    rest = np.full(5, 60.0)
    assert ev.alerts(at, who, level, rest, 0.5) == 3
    assert ev.alerts(at, who, level, rest, 0.8) == 2
    assert ev.alerts(at, who, level, rest, 0.95) == 0
    assert ev.alerts(at, who, level, rest * 0, 0.2) == 5


def test_alerts_do_not_depend_on_the_order_of_the_messages() -> None:
    at, who = rng().uniform(0, 1000, 80), rng(2).integers(0, 4, 80)
    level, rest = rng(3).random(80), np.full(80, 30.0)
    mixed = rng(4).permutation(80)
    expected = ev.alerts(at, who, level, rest, 0.4)
    assert ev.alerts(at[mixed], who[mixed], level[mixed], rest[mixed], 0.4) == expected
    assert 0 < expected < 80


def test_the_budget_takes_the_lowest_threshold_above_every_one_that_breaks_it() -> None:
    thresholds = np.array([0.2, 0.4, 0.6, 0.8])
    assert ev.within_budget(thresholds, np.array([9.0, 4.0, 2.0, 0.0]), 4.0) == 0.4
    assert ev.within_budget(thresholds, np.array([1.0, 5.0, 2.0, 0.0]), 4.0) == 0.6
    assert ev.within_budget(thresholds, np.zeros(4), 0.0) == 0.2
    assert math.isnan(ev.within_budget(thresholds, np.full(4, 7.0), 4.0))


# -- nothing to tell -----------------------------------------------------------------------------


def test_nothing_gives_nothing_and_no_complaint() -> None:
    nothing = np.zeros(0)
    counts = ev.confusion(nothing, nothing, 3)
    assert math.isnan(ev.accuracy(counts))
    assert math.isnan(ev.macro_f1(counts))
    ranking = Ranking.of(nothing, nothing)
    yes, no = ranking.above()
    assert all(math.isnan(f(yes, no)) for f in (ev.auroc, ev.average_precision))
    assert math.isnan(ev.recall_at(yes, no, 0.05))
    assert math.isnan(ev.threshold_at(ranking, 0.05))
    assert math.isnan(ev.recall_at_precision(yes, no, 0.8))
    assert all(map(math.isnan, ev.best_f1(ranking)))
    assert [len(side) for side in ev.curve(yes, no)] == [0, 0]
    assert math.isnan(ev.reliability(nothing, nothing).error)
    assert math.isnan(ev.error_by_chance(nothing, rng()))
    assert list(ev.weights(0, 10, rng())) == []
    assert all(map(math.isnan, ev.interval(np.full(3, math.nan))))
    assert all(map(math.isnan, ev.wilson(0, 0)))
    assert ev.alerts(nothing, nothing, nothing, nothing, 0.5) == 0
    assert ev.resampled(counts, 4, rng()).shape == (4, 3, 3)


@pytest.mark.parametrize("side", [True, False])
def test_rows_of_one_kind_alone_rank_as_unknown(side: bool) -> None:  # noqa: FBT001
    yes, no = Ranking.of(np.full(4, side), np.array([0.1, 0.4, 0.4, 0.9])).above()
    assert math.isnan(ev.auroc(yes, no))
    assert math.isnan(ev.average_precision(yes, no))
    assert math.isnan(ev.recall_at(yes, no, 0.01))
