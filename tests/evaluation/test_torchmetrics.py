"""Figures that scikit-learn and SciPy do not have, against torchmetrics."""

import numpy as np
import pytest

from emofuse.evaluation.calibration import calibration_error
from emofuse.evaluation.metrics import scores
from emofuse.evaluation.vad_metrics import agreement

torch = pytest.importorskip("torch")
twins = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is not installed")


def answers(seed, items=400, classes=6):
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(classes, 0.4), items)
    gold = [int(random.choice(classes, p=one)) for one in shares]
    return shares, np.array(gold)


@pytest.mark.parametrize("bins", [5, 15, 40])
@pytest.mark.parametrize("seed", range(3))
def test_expected_calibration_error(bins, seed):
    shares, gold = answers(seed)
    twin = twins.classification.multiclass_calibration_error(
        torch.from_numpy(shares), torch.from_numpy(gold), num_classes=6, n_bins=bins, norm="l1"
    )
    assert calibration_error(shares, gold, bins) == pytest.approx(float(twin), abs=1e-6)


def test_expected_calibration_error_of_overconfidence_and_empty_bins():
    shares = np.array([[0.97, 0.03]] * 10 + [[0.6, 0.4]] * 10)
    gold = np.array([0, 1] * 10)
    twin = twins.classification.multiclass_calibration_error(
        torch.from_numpy(shares), torch.from_numpy(gold), num_classes=2, n_bins=15, norm="l1"
    )
    assert calibration_error(shares, gold) == pytest.approx(float(twin), abs=1e-6)
    assert float(twin) == pytest.approx(0.285, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_concordance_pearson_and_error(shift):
    """Lin divides second moments by n, torchmetrics by n - 1: alike where the means are equal."""
    random = np.random.default_rng(7)
    gold = random.normal(3.0, 1.0, 300)
    found = 0.8 * gold + random.normal(0.0, 0.5, 300)
    found += gold.mean() - found.mean() + shift
    ours = agreement(found, gold)
    x, y = torch.from_numpy(found), torch.from_numpy(gold)
    assert ours["pearson"] == pytest.approx(float(twins.pearson_corrcoef(x, y)), abs=1e-6)
    assert ours["mae"] == pytest.approx(float(twins.mean_absolute_error(x, y)), abs=1e-6)
    covariance = np.cov(found, gold, bias=True)[0, 1]
    expected = 1.0 / (1.0 / ours["ccc"] - shift**2 / (2 * covariance * len(gold)))
    assert float(twins.concordance_corrcoef(x, y)) == pytest.approx(expected, abs=1e-6)
    if not shift:
        assert ours["ccc"] == pytest.approx(expected, abs=1e-12)


def test_recall_accuracy_and_f1():
    shares, gold = answers(11)
    found, guess = scores(gold, shares.argmax(axis=1), 6), torch.from_numpy(shares)
    wanted, part = torch.from_numpy(gold), twins.classification
    assert found.ua == pytest.approx(float(part.multiclass_recall(guess, wanted, 6)), abs=1e-6)
    micro = part.multiclass_accuracy(guess, wanted, 6, average="micro")
    assert found.wa == pytest.approx(float(micro), abs=1e-6)
    for ours, average in ((found.wf1, "weighted"), (found.mf1, "macro")):
        twin = part.multiclass_f1_score(guess, wanted, 6, average=average)
        assert ours == pytest.approx(float(twin), abs=1e-6)
