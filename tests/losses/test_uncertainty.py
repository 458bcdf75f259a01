"""Learned weights: the sound form finds its balance, the released one dies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.losses.uncertainty import weigh
from emofuse.models.contract import EmotionOutput


def test_value_is_the_formula_and_gradient_is_its():
    values = torch.tensor([1.3, 0.4], dtype=torch.float64)
    learned = torch.tensor([0.2, -0.7], dtype=torch.float64, requires_grad=True)
    expected = (np.exp([-0.2, 0.7]) * values.numpy() + np.array([0.1, -0.35])).sum()
    assert float(weigh(list(values), learned.detach())) == pytest.approx(expected)
    assert float(weigh(list(values), learned.detach(), legacy=True)) == pytest.approx(0.2 * 1.3)
    assert torch.autograd.gradcheck(lambda one: weigh(list(values), one), learned)


def test_weights_settle_where_each_loss_weighs_a_half():
    values = [torch.tensor(2.0), torch.tensor(0.1)]
    learned = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.Adam([learned], lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        weigh(values, learned).backward()
        optimiser.step()
    found = torch.exp(-learned.detach()) * torch.stack(values)
    torch.testing.assert_close(found, torch.full((2,), 0.5), atol=0.01, rtol=0)


def test_the_released_mix_dies_after_about_ten_thousand_steps():
    values = torch.tensor([1.2, 0.8])
    learned = torch.ones(2, requires_grad=True)
    optimiser = torch.optim.Adam([learned], lr=1e-4)
    step = 0
    while bool((learned > 0).any()):
        optimiser.zero_grad()
        weigh(list(values), learned, legacy=True).backward()
        optimiser.step()
        step += 1
    assert 9_900 < step < 10_100
    inside = torch.tensor(3.0, requires_grad=True)
    loss = weigh([inside, inside * 2], learned, legacy=True)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(inside.grad) == 0.0


def test_as_a_term_it_holds_its_terms():
    torch.manual_seed(0)
    context = LossContext(torch.ones(4).long(), {"fused": 6})
    entry = {
        "name": "uncertainty",
        "terms": [{"name": "cross-entropy"}, {"name": "center", "weight": 0.5}],
    }
    for legacy in (False, True):
        made = build_objective([entry | {"legacy": legacy}], context)
        output = EmotionOutput(torch.randn(3, 4), embeddings={"fused": torch.randn(3, 6)})
        total, _ = made(output, Targets(torch.arange(3)))
        inner = made.terms[0].inner
        values = [term(output, Targets(torch.arange(3))) for term in inner.terms]
        torch.testing.assert_close(total, values[0] + 0.5 * values[1])
        assert sorted(tuple(one.shape) for one in made.parameters()) == [(2,), (4, 6)]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"name": "cross-entropy"}], "terms"),
        ([{"name": "cross-entropy"}, {"name": "centre"}], "center"),
        ([{"name": "cross-entropy"}, {"name": "center", "lambda": 1}], "lambda"),
    ],
)
def test_mistakes_are_named(terms, message):
    with pytest.raises(OptionError, match=message):
        build_objective(
            [{"name": "uncertainty", "terms": terms}],
            LossContext(torch.ones(4).long(), {"fused": 6}),
        )
