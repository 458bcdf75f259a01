"""Supervised contrast against a loop, in the sound and in the released form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.losses.supcon import supcon
from emofuse.models.contract import EmotionOutput

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
CONTEXT = LossContext(torch.tensor([3, 2, 1]), {})


def draw(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator, dtype=dtype)


def by_hand(rows, temperature, legacy):
    rows = rows.numpy() / np.linalg.norm(rows, axis=1, keepdims=True)
    scores, losses = rows @ rows.T / temperature, []
    for i in range(6):
        partners = [j for j in range(6) if j != i and LABELS[j] == LABELS[i]]
        total = sum(math.exp(scores[i, k]) for k in range(6) if k != i)
        total = math.log(total + (1e-8 if legacy else 0.0))
        if partners:
            losses.append(sum(total - scores[i, p] for p in partners) / len(partners))
        elif legacy:
            losses.append(0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("legacy", [False, True])
def test_equals_the_loop(temperature, legacy):
    rows = draw()
    found = float(supcon(rows, LABELS, temperature, legacy=legacy))
    assert found == pytest.approx(by_hand(rows, temperature, legacy))


def test_an_item_without_a_partner_thins_the_released_form():
    rows = draw()
    sound, released = (float(supcon(rows, LABELS, legacy=one)) for one in (False, True))
    assert released == pytest.approx(sound * 5 / 6, rel=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_gradients(legacy):
    rows = draw().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: supcon(r, LABELS, 0.5, legacy=legacy), (rows,))


@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.tensor([0, 1, 2])])
def test_without_partners_there_is_nothing_to_learn(labels):
    rows = draw()[: len(labels)].requires_grad_()
    loss = supcon(rows, labels)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not rows.grad.any()


def test_what_it_reads():
    rows = draw(torch.float32)
    there = torch.tensor([True, False, True, True, True, True])
    output = EmotionOutput(
        torch.zeros(6, 3),
        embeddings={"fused": rows.flip(0), "text": rows},
        extras={"supcon": rows, "present:text": there},
    )

    def ask(**options):
        objective = build_objective([{"name": "supcon", **options}], CONTEXT)
        return float(objective(output, Targets(LABELS))[0])

    assert ask() == pytest.approx(float(supcon(rows, LABELS)))
    assert ask(of="fused") == pytest.approx(float(supcon(rows.flip(0), LABELS)))
    assert ask(of="text") == pytest.approx(float(supcon(rows[there], LABELS[there])))
    assert ask(temperature=0.5) == pytest.approx(float(supcon(rows, LABELS, 0.5)))
    with pytest.raises(OptionError, match="gives no 'video'; it has projection, fused, text"):
        ask(of="video")
