"""NT-Xent against a version in NumPy, with and without copies among the items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.nt_xent import nt_xent, same_items
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput

CONTEXT = LossContext(torch.tensor([2, 2]), {})
TARGETS = Targets(torch.zeros(6, dtype=torch.long))
KEYS = ["a", "b", "a", "c", "b", "d"]


def by_hand(first, second, temperature, keys=None):
    """Loop over views; a view of a copy of an item is in no sum but that of its partner."""
    views = np.concatenate([first, second]).astype(np.float64)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    items, losses = len(first), []
    for i in range(2 * items):
        partner = (i + items) % (2 * items)
        total = 0.0
        for k in range(2 * items):
            copy = keys is not None and keys[i % items] == keys[k % items]
            if k == i or (copy and k != partner):
                continue
            total += math.exp(views[i] @ views[k] / temperature)
        losses.append(math.log(total) - views[i] @ views[partner] / temperature)
    return sum(losses) / len(losses)


def draw(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, generator=generator, dtype=dtype) * 3 for _ in range(2)]


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize("keys", [None, KEYS])
def test_equals_the_loop(temperature, keys):
    first, second = draw()
    same = None if keys is None else same_items(keys)
    found = float(nt_xent(first, second, temperature, same))
    assert found == pytest.approx(by_hand(first.numpy(), second.numpy(), temperature, keys))


def test_gradients():
    first, second = (one.requires_grad_() for one in draw())
    for same in (None, same_items(KEYS)):
        assert torch.autograd.gradcheck(lambda a, b, s=same: nt_xent(a, b, 0.5, s), (first, second))


def test_copies_do_not_push_each_other_apart():
    views = torch.eye(4)[[0, 0, 1]]
    assert float(nt_xent(views, views, 0.07, same_items(["x", "x", "y"]))) < 1e-5
    assert float(nt_xent(views, views, 0.07)) > 0.5


def test_one_item_and_only_copies_have_no_negatives():
    first, second = draw()
    assert float(nt_xent(first[:1], second[:1])) == 0.0
    same = torch.ones(6, 6, dtype=torch.bool)
    assert float(nt_xent(first, second, 0.07, same)) == 0.0


def test_the_term_reads_two_embeddings_and_the_keys():
    first, second = draw(torch.float32)
    key = torch.tensor([0, 1, 0, 2, 1, 3])
    embeddings = {"audio": first, "text": second}
    output = EmotionOutput(torch.zeros(6, 2), embeddings=embeddings, extras={"key": key})

    def value(**options):
        terms = build_objective([{"name": "nt-xent", "temperature": 0.5, **options}], CONTEXT)
        return float(terms(output, TARGETS)[0])

    assert value() == pytest.approx(by_hand(first.numpy(), second.numpy(), 0.5, KEYS), abs=1e-5)
    assert value(legacy=True) == pytest.approx(
        by_hand(first.numpy(), second.numpy(), 0.5), abs=1e-5
    )
    with pytest.raises(OptionError, match="no embedding 'video'; it has audio, text"):
        value(views=["audio", "video"])
    short = EmotionOutput(torch.zeros(6, 2), embeddings={"audio": first, "text": second[:, :2]})
    terms = build_objective([{"name": "nt-xent"}], CONTEXT)
    with pytest.raises(OptionError, match="of one size"):
        terms(short, TARGETS)


def test_bf16_keeps_the_loss_exact():
    first, second = draw(torch.float32)
    exact = nt_xent(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(first, second), exact)
