"""Focal loss against NumPy; the released form has the value and not the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.focal import focal
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput

GAMMAS = [0.0, 0.5, 1.0, 1.5, 2.0, 5.0]


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(9, 4)) * 3)
    return logits, torch.from_numpy(np.arange(9) % 4)


def twin(logits, labels, gamma):
    logits = logits.numpy()
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = chances[np.arange(len(labels)), labels.numpy()]
    return (-((1 - own) ** gamma) * np.log(own)).mean()


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("legacy", [False, True])
def test_value_is_the_formula(case, gamma, legacy):
    found = focal(*case, gamma, legacy=legacy)
    assert float(found) == pytest.approx(twin(*case, gamma), rel=1e-9)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_is_that_of_the_value(case, gamma):
    logits, labels = case
    logits = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: focal(one, labels, gamma), logits)


def test_without_gamma_it_is_cross_entropy(case):
    expected = torch.nn.functional.cross_entropy(*case)
    torch.testing.assert_close(focal(*case, 0.0), expected)


def test_the_released_gradient_is_another(case):
    logits, labels = case
    slopes = []
    for legacy in (False, True):
        leaf = logits.clone().requires_grad_()
        focal(leaf, labels, 1.5, legacy=legacy).backward()
        slopes.append(leaf.grad)
    assert float((slopes[0] - slopes[1]).abs().max()) > 0.01
    # Numerical slope of the value: the exact form has it, the released one has not.
    moved = logits.clone()
    moved[0, labels[0]] += 1e-6
    rise = (twin(moved, labels, 1.5) - twin(logits, labels, 1.5)) / 1e-6
    assert float(slopes[0][0, labels[0]]) == pytest.approx(rise, rel=1e-4)
    assert float(slopes[1][0, labels[0]]) != pytest.approx(rise, rel=0.05)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_certainty_either_way_is_finite(gamma):
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    loss = focal(logits, torch.tensor([0, 0]), gamma)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(logits.grad).all())


def test_as_a_term():
    context = LossContext(torch.ones(4).long(), {})
    made = build_objective([{"name": "focal", "gamma": 1.5}], context)
    logits, labels = torch.randn(5, 4), torch.arange(5) % 4
    total, values = made(EmotionOutput(logits), Targets(labels))
    torch.testing.assert_close(total, focal(logits, labels, 1.5))
    assert list(values) == ["focal"]
    with pytest.raises(OptionError, match="gamma"):
        build_objective([{"name": "focal", "gamma": -1}], context)
