"""Cross-entropy against NumPy, scikit-learn and torch; the objective as a weighted sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from emofuse.errors import OptionError
from emofuse.losses import LOSSES
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.cross_entropy import class_weights, cross_entropy
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput

CLASSES = ("anger", "happiness", "neutral", "sadness")


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(12, 4)).astype(np.float32) * 3)
    labels = torch.from_numpy(np.arange(12) % 4)
    soft = torch.from_numpy(random.dirichlet(np.ones(4), 12).astype(np.float32))
    return logits, labels, soft


def twin(logits, targets, weights=None, smoothing=0.0):
    """The formula, written out."""
    logits, targets = logits.numpy().astype(float), targets.numpy().astype(float)
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = (1 - smoothing) * targets + smoothing / logits.shape[1]
    weights = np.ones(logits.shape[1]) if weights is None else weights.numpy()
    return -(targets * weights * logp).sum(axis=1).mean()


def test_plain_is_scikit_learns_log_loss(case):
    logits, labels, _ = case
    expected = log_loss(labels.numpy(), torch.softmax(logits.double(), dim=1).numpy())
    assert float(cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_balanced_is_scikit_learns_weighted_log_loss(case):
    logits, _, _ = case
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3])
    weights = class_weights(torch.bincount(labels), "balanced")
    reference = compute_class_weight("balanced", classes=np.arange(4), y=labels.numpy())
    np.testing.assert_allclose(weights, reference, rtol=1e-6)
    probabilities = torch.softmax(logits.double(), dim=1).numpy()
    expected = log_loss(labels.numpy(), probabilities, sample_weight=reference[labels.numpy()])
    assert float(cross_entropy(logits, labels, weights=weights)) == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("use_soft", [False, True])
def test_all_together_is_the_formula(case, smoothing, weighted, use_soft):
    logits, labels, soft = case
    weights = torch.tensor([0.5, 1.0, 2.0, 0.0]) if weighted else None
    targets = soft if use_soft else functional.one_hot(labels, 4)
    found = cross_entropy(logits, labels, soft if use_soft else None, weights, smoothing)
    assert float(found) == pytest.approx(twin(logits, targets, weights, smoothing), rel=1e-5)


def test_torch_agrees_where_it_means_the_same(case):
    logits, labels, soft = case
    weights = torch.tensor([0.5, 1.0, 2.0, 0.3])
    torch.testing.assert_close(
        cross_entropy(logits, labels, smoothing=0.1),
        functional.cross_entropy(logits, labels, label_smoothing=0.1),
    )
    torch.testing.assert_close(
        cross_entropy(logits, labels, soft, weights, 0.1),
        functional.cross_entropy(logits, soft, weight=weights, label_smoothing=0.1),
    )


def test_batches_add_up_to_the_whole(case):
    logits, labels, _ = case
    weights = torch.tensor([0.5, 1.0, 2.0, 0.3])
    parts = [
        cross_entropy(logits[a:b], labels[a:b], weights=weights) * (b - a)
        for a, b in ((0, 5), (5, 12))
    ]
    torch.testing.assert_close(sum(parts) / 12, cross_entropy(logits, labels, weights=weights))


def test_effective_number():
    counts = torch.tensor([1000, 10, 1, 0])
    weights = class_weights(counts, "effective", beta=0.99)
    raw = (1 - 0.99) / (1 - 0.99 ** np.array([1000, 10, 1.0]))
    expected = raw * 1011 / (raw * np.array([1000, 10, 1])).sum()
    np.testing.assert_allclose(weights[:3], expected, rtol=1e-5)
    assert weights[3] == 1.0
    assert class_weights(counts, "none") is None


def test_a_perfect_answer_costs_nothing_and_a_hopeless_one_stays_finite():
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0]])
    assert float(cross_entropy(logits, torch.tensor([0]))) == 0.0
    assert np.isfinite(float(cross_entropy(logits, torch.tensor([1]), weights=torch.ones(4))))


def term(**options):
    kind = LOSSES.load("cross-entropy")
    context = LossContext(torch.tensor([6, 3, 2, 1]), {}, CLASSES)
    return kind(kind.options_type.parse(options), context)


def test_weights_by_name_know_aliases(case):
    logits, labels, _ = case
    named = term(weights={"angry": 3.0, "sadness": 0.5})
    expected = cross_entropy(logits, labels, weights=torch.tensor([3.0, 1.0, 1.0, 0.5]))
    torch.testing.assert_close(named(EmotionOutput(logits), Targets(labels)), expected)
    with pytest.raises(OptionError, match="did you mean 'sadness'"):
        term(weights={"sadnes": 1.0})


def test_votes_are_used_only_when_asked_for(case):
    logits, labels, soft = case
    targets = Targets(labels, soft)
    output = EmotionOutput(logits)
    torch.testing.assert_close(term()(output, targets), cross_entropy(logits, labels))
    torch.testing.assert_close(
        term(soft=True)(output, targets), cross_entropy(logits, labels, soft)
    )
    with pytest.raises(OptionError, match="votes"):
        term(soft=True)(output, Targets(labels))


def test_objective_is_the_weighted_sum(case):
    logits, labels, _ = case
    entries = [
        {"name": "cross-entropy", "weight": 0.25},
        {"name": "cross-entropy", "weight": 2.0, "smoothing": 0.2},
    ]
    objective = build_objective(entries, LossContext(torch.ones(4).long(), {}, CLASSES))
    total, values = objective(EmotionOutput(logits), Targets(labels))
    assert list(values) == ["cross-entropy", "cross-entropy#2"]
    one, two = cross_entropy(logits, labels), cross_entropy(logits, labels, smoothing=0.2)
    torch.testing.assert_close(total, 0.25 * one + 2.0 * two)
    torch.testing.assert_close(values["cross-entropy#2"], two)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "no term"),
        ([{"name": "cross-entropi"}], "cross-entropy"),
        ([{"name": "cross-entropy", "smothing": 0.1}], "did you mean 'smoothing'"),
        ([{"name": "cross-entropy", "weight": -1}], "weight"),
        ([{"weight": 1}], "name"),
    ],
)
def test_mistakes_are_named(entries, message):
    with pytest.raises(OptionError, match=message):
        build_objective(entries, LossContext(torch.ones(4).long(), {}, CLASSES))


def test_the_gradient_is_that_of_the_value():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels, weights = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([0.5, 1.0, 2.0])
    soft = torch.softmax(torch.randn(5, 3, generator=generator), dim=1)
    for given in ({}, {"soft": soft}, {"weights": weights, "smoothing": 0.1}):
        assert torch.autograd.gradcheck(
            lambda one, given=given: cross_entropy(one, labels, **given).double(),
            logits,
            eps=1e-2,  # the loss is computed in 32 bits
            atol=1e-3,
            rtol=1e-2,
        )
