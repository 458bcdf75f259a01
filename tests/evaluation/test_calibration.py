"""Calibration, conformal sets and abstention against independent twins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

from emofuse.errors import OptionError, WorkError
from emofuse.evaluation.abstention import risk_coverage
from emofuse.evaluation.calibration import (
    Calibration,
    brier_score,
    calibration_error,
    fit_calibration,
    negative_log_likelihood,
    reliability,
)
from emofuse.evaluation.confidence import confidence_of
from emofuse.evaluation.conformal import conformal_sets, conformal_threshold, set_coverage


def overconfident(items=4000, classes=4, heat=3.0, seed=0):
    """Logits ``heat`` times too large for the labels drawn from them."""
    random = np.random.default_rng(seed)
    honest = random.normal(scale=1.5, size=(items, classes))
    shares = softmax(honest, axis=1)
    labels = np.array([random.choice(classes, p=row) for row in shares])
    return honest * heat, labels


def test_the_temperature_is_found_again():
    logits, labels = overconfident()
    found = fit_calibration(logits, labels)
    assert found.scale[0] == pytest.approx(1 / 3, rel=0.05)

    def loss(scale):
        return log_loss(labels, softmax(logits * scale, axis=1))

    twin = minimize_scalar(loss, bounds=(0.01, 10), method="bounded").x
    assert found.scale[0] == pytest.approx(twin, rel=1e-3)
    assert found.before == pytest.approx(loss(1.0))
    assert found.after == pytest.approx(loss(twin), rel=1e-6)
    assert found.after == pytest.approx(negative_log_likelihood(found.apply(logits), labels))
    assert np.array_equal(found.apply(logits).argmax(1), logits.argmax(1))


def test_vector_scaling_takes_back_a_bias():
    logits, labels = overconfident(seed=1)
    tilted = logits + np.array([2.0, 0.0, 0.0, -2.0])
    temperature = fit_calibration(tilted, labels)
    vector = fit_calibration(tilted, labels, "vector")
    assert vector.after < temperature.after - 0.01
    error = calibration_error(vector.apply(tilted), labels)
    assert error < calibration_error(temperature.apply(tilted), labels)
    assert error < 0.03
    np.testing.assert_allclose(vector.apply(tilted).sum(axis=1), 1.0)


def test_scaling_lowers_the_error_on_other_items():
    logits, labels = overconfident(seed=2)
    found = fit_calibration(logits[:2000], labels[:2000])
    before = calibration_error(softmax(logits[2000:], axis=1), labels[2000:])
    after = calibration_error(found.apply(logits[2000:]), labels[2000:])
    assert before > 0.15
    assert after < 0.04


def test_error_by_hand():
    shares = np.array([[0.95, 0.05], [0.85, 0.15], [0.4, 0.6], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 1])
    # bins of ten: 0.95 right, 0.85 wrong, 0.6 right (0.5 to 0.6), 0.55 wrong (0.5 to 0.6)
    expected = (0.05 + 0.85 + 2 * abs(0.5 - 0.575)) / 4
    assert calibration_error(shares, labels, 10) == pytest.approx(expected)
    assert [one.items for one in reliability(shares, labels, 10)] == [0] * 5 + [2, 0, 0, 1, 1]
    assert brier_score(shares, labels) == pytest.approx(
        2 * np.mean([0.05**2, 0.85**2, 0.4**2, 0.55**2])
    )


def test_nothing_to_fit_on():
    with pytest.raises(WorkError, match="at least one"):
        fit_calibration(np.zeros((0, 3)), [])
    with pytest.raises(WorkError, match="NaN"):
        fit_calibration([[np.nan, 0.0]], [0])
    assert Calibration().apply([[0.0, 0.0]]).tolist() == [[0.5, 0.5]]
    with pytest.raises(OptionError, match="one scale"):
        Calibration.parse({"kind": "temperature", "scale": [1.0, 2.0]}, "calibration")


def test_one_sided_dev_parts_stay_finite():
    found = fit_calibration([[5.0, 0.0], [4.0, 0.0]], [0, 0])
    assert np.isfinite(found.scale).all()
    vector = fit_calibration([[5.0, 0.0], [4.0, 0.0]], [0, 0], "vector")
    assert np.isfinite(vector.apply([[0.0, 3.0]])).all()


@pytest.mark.parametrize("miss", [0.05, 0.1, 0.3])
def test_sets_cover_what_they_promise(miss):
    logits, labels = overconfident(items=12_000, seed=3)
    shares = softmax(logits, axis=1)
    threshold = conformal_threshold(shares[:6000], labels[:6000], miss)
    covered, size = set_coverage(conformal_sets(shares[6000:], threshold), labels[6000:])
    assert covered == pytest.approx(1 - miss, abs=0.02) or covered > 1 - miss
    assert 1.0 <= size <= 4.0


def test_the_quantile_by_hand_and_too_few_items():
    shares = np.array([[p, 1 - p] for p in (0.9, 0.8, 0.7, 0.6)])
    labels = np.zeros(4, int)
    assert conformal_threshold(shares, labels, 0.4) == pytest.approx(0.7)
    assert conformal_threshold(shares, labels, 0.1) == 0.0
    assert conformal_sets([[0.3, 0.7]], 0.0).all()
    assert conformal_sets([[0.4, 0.35, 0.25]], 0.9).tolist() == [[True, False, False]]
    with pytest.raises(OptionError, match="between 0 and 1"):
        conformal_threshold(shares, labels, 1.0)
    with pytest.raises(WorkError, match="held-out"):
        conformal_threshold(np.zeros((0, 2)), [], 0.1)


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.9]), st.booleans()), min_size=1))
@settings(max_examples=60, deadline=None)
def test_risk_and_coverage_whatever_the_order(pairs):
    shares = np.array([[p, 1 - p] for p, _ in pairs])
    labels = np.array([int(wrong) for _, wrong in pairs])
    curve = risk_coverage(shares, labels)
    turned = risk_coverage(shares[::-1], labels[::-1])
    np.testing.assert_allclose(curve.risk, turned.risk)
    assert curve.coverage[-1] == 1.0
    assert curve.risk[-1] == pytest.approx((shares.argmax(1) != labels).mean())
    for confidence, risk in zip(curve.confidence, curve.risk, strict=True):
        answered = shares.max(1) >= confidence
        assert risk == pytest.approx((shares.argmax(1) != labels)[answered].mean())


def test_widest_coverage_at_a_risk():
    curve = risk_coverage([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 1, 0])
    assert curve.at_risk(0.25) == (1.0, 0.6)
    assert curve.at_risk(0.0) == (0.5, 0.8)
    assert risk_coverage([[0.9, 0.1]], [1]).at_risk(0.5) is None


def test_figures_of_a_run_come_from_its_predictions():
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    frame = pd.DataFrame({"gold": ["a", "b", "b", "b"], "p:a": shares[:, 0], "p:b": shares[:, 1]})
    found = confidence_of(frame, ("a", "b"))
    labels = [0, 1, 1, 1]
    assert found.brier == brier_score(shares, labels)
    assert found.likelihood == pytest.approx(log_loss(labels, shares))
    assert found.answered == {0.05: 0.75, 0.1: 0.75, 0.2: 0.75}
    assert found.to_json()["reliability"][13]["items"] == 1
