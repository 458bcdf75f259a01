"""Areas under curves and dimensions against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from emofuse.errors import WorkError
from emofuse.evaluation.curves import discrimination_of, weighted_areas
from emofuse.evaluation.vad_metrics import agreement, dimensions_of


@pytest.mark.parametrize("levels", [0, 5])
def test_areas_against_scikit_learn_with_weights_and_ties(levels):
    random = np.random.default_rng(levels)
    scores = random.random(200)
    if levels:
        scores = np.floor(scores * levels) / levels
    positive = random.random(200) < 0.3 + 0.4 * scores
    weights = random.integers(0, 4, (6, 200)).astype(float)
    weights[0] = 1.0
    found = weighted_areas(scores, positive, weights)
    for row, weight in zip(found, weights, strict=True):
        auc = roc_auc_score(positive, scores, sample_weight=weight)
        ap = average_precision_score(positive, scores, sample_weight=weight)
        np.testing.assert_allclose(row, [auc, ap], atol=1e-12)


def test_areas_that_are_undefined():
    found = weighted_areas(np.array([0.2, 0.8]), np.array([True, True]), np.ones((1, 2)))
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 1.0
    assert np.isnan(weighted_areas(np.array([0.2]), np.array([False]), np.ones((1, 1)))).all()


def noisy(frame, classes, seed=0):
    """Give every row probabilities of its own, so that thresholds differ."""
    random = np.random.default_rng(seed)
    names = [f"p:{name}" for name in classes]
    shares = frame[names].to_numpy() * random.uniform(0.6, 1.4, (len(frame), len(names)))
    shares /= shares.sum(axis=1, keepdims=True)
    predicted = [classes[n] for n in shares.argmax(axis=1)]
    return frame.assign(**dict(zip(names, shares.T, strict=True)), predicted=predicted)


def test_a_run_against_scikit_learn(make_frame):
    classes = ("anger", "happiness", "neutral", "sadness")
    frame = noisy(make_frame(seeds=3), classes)
    found = discrimination_of(frame, classes, resamples=200)
    areas = []
    for curve in found.classes:
        gold = frame["gold"] == curve.name
        scores = frame[f"p:{curve.name}"]
        per_seed = [
            (
                roc_auc_score(gold[part.index], scores[part.index]),
                average_precision_score(gold[part.index], scores[part.index]),
            )
            for _, part in frame.groupby("seed")
        ]
        auc, ap = np.mean(per_seed, axis=0)
        assert curve.auc.value == pytest.approx(auc)
        assert curve.ap.value == pytest.approx(ap)
        assert curve.auc.interval.low < auc < curve.auc.interval.high
        assert curve.share == pytest.approx(gold.mean())
        areas.append((auc, ap))
        alarms, hits, _ = roc_curve(gold, scores, drop_intermediate=False)
        places = np.array(curve.roc)
        np.testing.assert_allclose(
            [np.abs(alarms - a).min() + np.abs(hits - h).min() for a, h in places], 0, atol=1e-9
        )
        precision, recall, _ = precision_recall_curve(gold, scores)
        known = set(zip(recall.round(9), precision.round(9), strict=True))
        assert {(round(r, 9), round(p, 9)) for r, p in curve.precision_recall} <= known
    assert found.mean.auc.value == pytest.approx(np.mean(areas, axis=0)[0])
    assert found.mean.ap.value == pytest.approx(np.mean(areas, axis=0)[1])


def test_a_class_that_gold_lacks_has_no_curve(make_frame):
    classes = ("anger", "happiness", "neutral", "sadness")
    frame = make_frame(seeds=1)
    found = discrimination_of(frame[frame["gold"] != "anger"], classes, resamples=50)
    assert (found.classes[0].auc, found.classes[0].ap, found.classes[0].roc) == (None, None, ())
    others = [one.auc.value for one in found.classes[1:]]
    assert found.mean.auc.value == pytest.approx(np.mean(others))
    alone = discrimination_of(frame[frame["speaker"] == "speaker 1"], classes, resamples=50)
    assert alone.mean.auc.interval.low is None


def lin(x, y):
    """Concordance as Lin wrote it, with variances over the number of items."""
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_dimensions_against_scipy():
    random = np.random.default_rng(0)
    y = random.normal(3.0, 0.8, 300)
    x = 1000.0 + 0.6 * y + random.normal(0.0, 0.4, 300)
    for one, two in ((x, y), (y, y), (-y, y), (x - 1000.0, y)):
        found = agreement(one, two)
        assert found["ccc"] == pytest.approx(lin(one, two), abs=1e-9)
        assert found["pearson"] == pytest.approx(pearsonr(one, two).statistic, abs=1e-9)
        assert found["mae"] == pytest.approx(mean_absolute_error(one, two))


def test_dimensions_that_never_vary_or_are_nothing():
    assert agreement([2.0, 2.0], [1.0, 3.0]) == {"ccc": 0.0, "pearson": None, "mae": 1.0}
    assert agreement([2.0, 2.0], [2.0, 2.0])["ccc"] is None
    with pytest.raises(WorkError, match="two lists"):
        agreement([1.0], [1.0, 2.0])
    with pytest.raises(WorkError, match="NaN"):
        agreement([np.nan], [1.0])


def test_dimensions_of_a_run(make_frame):
    frame = make_frame(seeds=2, speakers=20)
    random = np.random.default_rng(1)
    assert dimensions_of(frame) is None
    gold = random.normal(3, 1, len(frame) // 2)
    frame = frame.assign(**{"gold_vad:valence": np.tile(gold, 2)})
    said = 0.7 * frame["gold_vad:valence"] + random.normal(1, 0.5, len(frame))
    frame["vad:valence"] = said
    frame.loc[frame["id"] == "s0-0", "gold_vad:valence"] = np.nan
    found = dimensions_of(frame, resamples=300).dimensions["valence"]
    assert found.utterances == 399
    known = frame.dropna(subset=["gold_vad:valence"])
    per_seed = [
        lin(part["vad:valence"].to_numpy(), part["gold_vad:valence"].to_numpy())
        for _, part in known.groupby("seed")
    ]
    assert found.ccc.value == pytest.approx(np.mean(per_seed))
    assert found.ccc.interval.low < found.ccc.value < found.ccc.interval.high
    assert found.mae.interval.low < found.mae.value < found.mae.interval.high
