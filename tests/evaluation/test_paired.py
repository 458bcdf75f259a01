from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.paired import holm, paired_interval, swap_test


def two_systems(speakers, draw=0, gain=0.1, classes=3, items=15):
    """Confusion counts a speaker of two systems on the same gold."""
    rng = np.random.default_rng(draw)
    made = np.zeros((2, speakers, classes, classes))
    for s in range(speakers):
        gold = np.concatenate([np.arange(classes), rng.integers(0, classes, items - classes)])
        for system in range(2):
            hit = rng.random(items) < 0.5 + gain * (1 - system)
            wrong = (gold + rng.integers(1, classes, items)) % classes
            np.add.at(made[system, s], (gold, np.where(hit, gold, wrong)), 1)
    return made[0], made[1]


def naive_p(first, second, metric):
    measure = METRICS[metric]
    observed = abs(measure(first.sum(0)) - measure(second.sum(0)))
    found = []
    for swap in product([False, True], repeat=len(first)):
        left = sum(b if s else a for s, a, b in zip(swap, first, second, strict=True))
        right = sum(a if s else b for s, a, b in zip(swap, first, second, strict=True))
        found.append(abs(measure(left) - measure(right)) >= observed - 1e-12)
    return np.mean(found)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("draw", range(3))
def test_exact_p_equals_trying_every_swap(metric, draw):
    first, second = two_systems(7, draw)
    p, exact, smallest = swap_test(first, second, metric)
    assert exact
    assert p == pytest.approx(naive_p(first, second, metric))
    assert p >= smallest


@pytest.mark.parametrize("metric", ["ua", "wa"])
def test_p_equals_scipy_for_metrics_that_are_sums_over_speakers(metric):
    first, second = two_systems(10, draw=4, gain=0.06)
    totals = first.sum(axis=(0, 2))
    share = 1 / (3 * totals) if metric == "ua" else np.full(3, 1 / totals.sum())
    part = (np.diagonal(first - second, axis1=1, axis2=2) * share).sum(1)
    part = part[np.any(first != second, axis=(1, 2))]
    twin = stats.permutation_test(
        (part,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert swap_test(first, second, metric)[0] == pytest.approx(twin.pvalue)
    assert part.sum() == pytest.approx(
        float(METRICS[metric](first.sum(0))) - float(METRICS[metric](second.sum(0)))
    )


def test_drawn_swaps_agree_with_all_swaps():
    first, second = two_systems(13, draw=2, gain=0.03)
    every = swap_test(first, second, "ua")[0]
    doubled = np.concatenate([first, np.zeros((3, 3, 3)) + np.eye(3)])
    same = np.concatenate([second, np.zeros((3, 3, 3)) + np.eye(3)])
    # speakers on whom both agree change nothing but the totals: still exact
    assert swap_test(doubled, same, "wa")[1]
    many, other = two_systems(30, draw=3, gain=0.02)
    p, exact, smallest = swap_test(many, other, "ua", seed=1)
    assert not exact
    assert smallest == 2**-14
    assert abs(p - swap_test(many, other, "ua", seed=2)[0]) < 0.02
    assert 0 < every <= 1


def test_the_order_of_the_systems_does_not_matter():
    first, second = two_systems(9)
    assert swap_test(first, second, "mf1")[0] == swap_test(second, first, "mf1")[0]


def test_equal_systems_do_not_differ():
    first, _ = two_systems(6)
    assert swap_test(first, first, "ua") == (1.0, True, 1.0)
    interval = paired_interval(first, first, "ua", 200, 0)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_is_level_under_the_null_hypothesis():
    values = [swap_test(*two_systems(8, draw, gain=0.0), "ua")[0] for draw in range(300)]
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09


def test_paired_interval_equals_a_naive_loop():
    first, second = two_systems(8)
    both = np.stack([first, second], axis=1).reshape(8, -1)
    order = np.lexsort(both.T[::-1])
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        counts = rng.multinomial(8, np.full(8, 1 / 8))
        left = sum(n * first[s] for n, s in zip(counts, order, strict=True))
        right = sum(n * second[s] for n, s in zip(counts, order, strict=True))
        found.append(METRICS["mf1"](left) - METRICS["mf1"](right))
    interval = paired_interval(first, second, "mf1", 300, 3)
    expected = np.quantile(found, [0.025, 0.975])
    np.testing.assert_allclose([interval.low, interval.high], expected)


def test_one_speaker_has_no_interval():
    first, second = two_systems(1)
    assert paired_interval(first, second, "ua", 10, 0).low is None


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 -> x4 .02, x3 .03, x2 .06, x1 .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_ordered_and_between_raw_and_bonferroni(values):
    found = holm(values)
    ranked = [found[place] for place in np.argsort(values, kind="stable")]
    assert ranked == sorted(ranked)
    for raw, corrected in zip(values, found, strict=True):
        assert raw <= corrected <= max(raw, min(1.0, raw * len(values))) or corrected in found
        assert corrected <= 1.0
