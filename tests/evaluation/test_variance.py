"""Where spread comes from, and what a test set of a size can tell: against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from emofuse.evaluation.compare import compare_runs
from emofuse.evaluation.paired import clustered_mcnemar, mcnemar
from emofuse.evaluation.power import design_effect, detectable, power_of
from emofuse.evaluation.runs import read_run
from emofuse.evaluation.variance import components_of, variance_components

TRUTH = {"seed": 0.5, "fold": 1.5, "speaker": 2.0, "seed x fold": 0.8, "rest": 1.2}


def drawn(random, seeds, folds, truth=None):
    truth = truth or TRUTH
    std = {name: value**0.5 for name, value in truth.items()}
    many = int(folds.max()) + 1
    return (
        3.0
        + random.normal(0, std["seed"], (seeds, 1))
        + random.normal(0, std["fold"], many)[folds]
        + random.normal(0, std["speaker"], len(folds))
        + random.normal(0, std["seed x fold"], (seeds, many))[:, folds]
        + random.normal(0, std["rest"], (seeds, len(folds)))
    )


def test_components_are_found_again_from_unequal_folds():
    folds = np.repeat(np.arange(6), (2, 3, 4, 5, 2, 4))
    random = np.random.default_rng(0)
    found = [variance_components(drawn(random, 4, folds), folds) for _ in range(1500)]
    for name, true in TRUTH.items():
        values = np.array([one[name] for one in found])
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - true) < 4 * error, name
        assert error < 0.1 * true + 0.02


def test_one_speaker_a_fold_puts_speaker_into_fold():
    folds = np.arange(12)
    random = np.random.default_rng(1)
    found = [variance_components(drawn(random, 5, folds), folds) for _ in range(1000)]
    assert all(one["speaker"] is None and one["rest"] is None for one in found)
    mean = {n: np.mean([one[n] for one in found]) for n in ("seed", "fold", "seed x fold")}
    assert mean["fold"] == pytest.approx(TRUTH["fold"] + TRUTH["speaker"], rel=0.06)
    assert mean["seed x fold"] == pytest.approx(TRUTH["seed x fold"] + TRUTH["rest"], rel=0.06)
    assert mean["seed"] == pytest.approx(TRUTH["seed"], rel=0.15)


def test_one_seed_and_one_fold_cannot_tell():
    folds = np.zeros(8, np.int64)
    scores = drawn(np.random.default_rng(2), 1, folds)
    found = variance_components(scores, folds)
    assert [name for name, value in found.items() if value is not None] == ["speaker"]
    assert found["speaker"] == pytest.approx(scores[0].var(ddof=1))


def test_components_of_a_run(make_frame):
    steady = components_of(make_frame(speakers=24, per_speaker=60, seeds=3, spread=0.0), CLASSES)
    moody = components_of(make_frame(speakers=24, per_speaker=60, seeds=3, spread=0.2), CLASSES)
    assert (steady.seeds, steady.folds, steady.speakers) == (3, 4, 24)
    assert sum(steady.share.values()) == pytest.approx(1.0)
    assert sum(v for v in moody.variance.values()) > 2 * sum(v for v in steady.variance.values())
    one = components_of(make_frame(seeds=1), CLASSES)
    assert one.variance["seed"] is None
    assert any("one seed" in note for note in one.notes)
    assert components_of(make_frame().assign(speaker=None), CLASSES) is None


CLASSES = ("anger", "happiness", "neutral", "sadness")


def test_a_difference_is_found_as_often_as_promised():
    """McNemar's test at the difference that `detectable` names: half the time, and 4 in 5."""
    random = np.random.default_rng(0)
    items, disagreement = 551, 0.2
    for power in (None, 0.8):
        gap = detectable(items, disagreement, power=power)
        only_first = (disagreement + gap) / 2
        shares = (only_first, disagreement - only_first, 1 - disagreement)
        counts = random.multinomial(items, shares, size=4000)
        above = np.square(counts[:, 0] - counts[:, 1])
        below = np.maximum(counts[:, 0] + counts[:, 1], 1)
        found = (chi2.sf(above / below, 1) < 0.05).mean()
        assert found == pytest.approx(power or 0.5, abs=0.03)


def test_the_note_of_551_items():
    assert 100 * detectable(551, 0.2) == pytest.approx(3.73, abs=0.01)
    assert detectable(551, 0.2, effect=4.0) == pytest.approx(2 * detectable(551, 0.2))
    assert detectable(3, 1.0, effect=9.0) == 1.0


def test_the_design_effect_of_equal_speakers():
    random = np.random.default_rng(0)
    clusters, size, share = 200, 20, 0.3
    speaker = random.normal(0, share**0.5, (clusters, 1))
    values = speaker + random.normal(0, (1 - share) ** 0.5, (clusters, size))
    codes = np.repeat(np.arange(clusters), size)
    found = design_effect(codes, values.ravel())
    assert found == pytest.approx(1 + (size - 1) * share, rel=0.2)  # Kish
    alone = design_effect(codes, random.normal(size=clusters * size))
    assert 1.0 <= alone < 1.25
    assert design_effect([0, 0], [1.0, 0.0]) == 1.0


def test_power_of_a_run(make_frame):
    several = power_of(make_frame(seeds=3))
    assert several.measured
    assert several.utterances == 240
    assert several.noise < several.found
    assert "with 240 items of 12 speakers a difference in WA under" in several.note
    alone = power_of(make_frame(seeds=1))
    assert not alone.measured
    assert "assumed" in alone.note


def test_mcnemar_against_scipy_and_by_hand():
    first = np.array([1.0] * 10 + [0.0] * 4 + [1.0] * 6 + [0.4, 0.6])
    second = np.array([0.0] * 10 + [1.0] * 4 + [1.0] * 6 + [0.6, 0.4])
    only_first, only_second, p = mcnemar(first, second)
    assert (only_first, only_second) == (11, 5)
    assert p == pytest.approx(binomtest(11, 16, 0.5).pvalue)
    assert mcnemar(first, first) == (0, 0, 1.0)
    # clusters of one: (b - c)^2 / (b + c), McNemar's own statistic
    plain = clustered_mcnemar(np.round(first), np.round(second), np.arange(22))
    assert plain == pytest.approx(chi2.sf((11 - 5) ** 2 / 16, 1))
    pairs = clustered_mcnemar(np.array([1.0, 1, 0, 1]), np.zeros(4), np.array([0, 0, 1, 1]))
    assert pairs == pytest.approx(chi2.sf(9 / 5, 1))
    assert clustered_mcnemar(first, first, np.arange(22)) == 1.0


def test_compare_carries_mcnemar_and_power(make_run):
    good = read_run(make_run("good", recall=(0.9, 0.9, 0.9, 0.9), seeds=1, draw=1))
    poor = read_run(make_run("poor", recall=(0.6, 0.6, 0.6, 0.6), seeds=1, draw=2))
    (pair,) = compare_runs([good, poor], resamples=100).pairs
    right = [run.predictions["gold"] == run.predictions["predicted"] for run in (good, poor)]
    assert pair.only_first == int((right[0] & ~right[1]).sum())
    assert pair.only_second == int((right[1] & ~right[0]).sum())
    assert pair.p_mcnemar == pytest.approx(
        binomtest(pair.only_first, pair.only_first + pair.only_second, 0.5).pvalue
    )
    assert pair.p_mcnemar_holm == pair.p_mcnemar
    assert pair.p_clustered < 0.05
    assert 0 < pair.noise < pair.found < 1
