"""Losses between two corpora against NumPy, finite differences and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.layers.reversal import reverse_gradient
from emofuse.losses.alignment import ALIGNMENTS
from emofuse.losses.coral import coral
from emofuse.losses.domain import domain_loss, ramp
from emofuse.losses.mmd import MULTIPLIERS, mmd


def draw(n, m, dim=4, shift=0.0):
    generator = torch.Generator().manual_seed(n + m)
    one = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return one, torch.randn(m, dim, generator=generator, dtype=torch.float64) + shift


def mmd_twin(x, y, multipliers, unbiased):
    rows = np.concatenate([x, y])
    pairs = [((rows[i] - rows[j]) ** 2).sum() for i in range(len(rows)) for j in range(len(rows))]
    table = np.array(pairs).reshape(len(rows), -1)
    others = np.sort(table[~np.eye(len(rows), dtype=bool)])
    median = others[(len(others) - 1) // 2]

    def kernel(i, j):
        return np.mean([math.exp(-table[i, j] / (2 * a * median)) for a in multipliers])

    n, m = len(x), len(y)
    source, target = range(n), range(n, n + m)
    total = 0.0
    for side in (source, target):
        kept = [kernel(i, j) for i in side for j in side if i != j or not unbiased]
        total += sum(kept) / len(kept)
    return total - 2 * np.mean([kernel(i, j) for i in source for j in target])


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("multipliers", [MULTIPLIERS, (1.0,)])
@pytest.mark.parametrize(("n", "m"), [(5, 7), (6, 2)])
def test_mmd_equals_the_loop(n, m, multipliers, unbiased):
    x, y = draw(n, m, shift=0.7)
    found = float(mmd(x, y, multipliers, unbiased=unbiased))
    assert found == pytest.approx(mmd_twin(x.numpy(), y.numpy(), multipliers, unbiased), rel=1e-9)


def test_mmd_is_symmetric_and_zero_on_itself():
    x, y = draw(6, 6, shift=1.0)
    assert float(mmd(x, y)) == pytest.approx(float(mmd(y, x)))
    assert float(mmd(x, x, unbiased=False)) == pytest.approx(0.0, abs=1e-12)
    assert float(mmd(x, y + 3)) > float(mmd(x, y)) > 0


def test_the_unbiased_estimate_of_alike_samples_is_zero_on_average():
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 8, 3, generator=generator) for _ in range(400)]
    unbiased = [float(mmd(*pair)) for pair in pairs]
    biased = [float(mmd(*pair, unbiased=False)) for pair in pairs]
    assert abs(np.mean(unbiased)) < 3 * np.std(unbiased) / 20
    assert min(unbiased) < 0 < min(biased)
    assert np.mean(biased) > 0.05


def test_coral_equals_numpy():
    x, y = draw(6, 9)
    apart = np.cov(x.numpy().T) - np.cov(y.numpy().T)
    assert float(coral(x, y)) == pytest.approx((apart**2).sum() / (4 * 4**2))
    assert float(coral(x, x + 5.0)) == pytest.approx(0.0, abs=1e-12)  # means do not matter


def test_domain_loss_equals_binary_cross_entropy():
    x, y = draw(3, 5, 1)
    a, b = x[:, 0], y[:, 0]

    def bce(logits, goal):
        p = 1 / (1 + np.exp(-logits.numpy()))
        return -np.mean(goal * np.log(p) + (1 - goal) * np.log(1 - p))

    assert float(domain_loss(a, b)) == pytest.approx((bce(a, 0) + bce(b, 1)) / 2)


def test_the_standard_schedule():
    assert ramp(0.0) == 0.0
    assert ramp(0.5) == pytest.approx(0.98661, abs=1e-5)
    steps = [ramp(p / 10) for p in range(11)]
    assert steps == sorted(steps)


def frozen_median(source, target):
    """The discrepancy with a bandwidth that does not move, as its gradient sees it."""
    with torch.no_grad():
        rows = torch.cat([source, target])
        distances = torch.cdist(rows, rows) ** 2
        median = distances[~torch.eye(len(rows), dtype=torch.bool)].median()

    def value(x, y):
        rows = torch.cat([x, y])
        table = ((rows[:, None] - rows[None]) ** 2).sum(-1)
        kernel = torch.stack([(-table / (2 * a * median)).exp() for a in MULTIPLIERS]).mean(0)
        n, m = len(x), len(y)
        inner = (kernel[:n, :n].sum() - n) / (n * (n - 1))
        outer = (kernel[n:, n:].sum() - m) / (m * (m - 1))
        return inner + outer - 2 * kernel[:n, n:].mean()

    return value


def test_mmd_gradient_by_finite_differences():
    x, y = draw(5, 4, shift=0.5)
    value, step = frozen_median(x, y), 1e-6
    x.requires_grad_()
    mmd(x, y).backward()
    numeric = torch.zeros_like(x)
    with torch.no_grad():
        for place in np.ndindex(*x.shape):
            moved = [x.clone(), x.clone()]
            for one, sign in zip(moved, (1, -1), strict=True):
                one[place] += sign * step
            numeric[place] = (value(moved[0], y) - value(moved[1], y)) / (2 * step)
    assert torch.allclose(x.grad, numeric, atol=1e-7)
    assert float(x.grad.abs().max()) > 1e-3


@pytest.mark.parametrize("loss", [coral, lambda a, b: domain_loss(a[:, 0], b[:, 0])])
def test_gradients_by_finite_differences(loss):
    x, y = (part.requires_grad_() for part in draw(5, 4))
    assert torch.autograd.gradcheck(loss, (x, y))


@pytest.mark.parametrize("loss", [mmd, coral])
def test_a_lone_item_gives_zero_and_a_gradient(loss):
    x, y = draw(1, 4)
    x.requires_grad_()
    found = loss(x, y)
    found.backward()
    assert float(found.detach()) == 0.0
    assert bool((x.grad == 0).all())


def test_equal_items_give_no_nan():
    x = torch.ones(4, 3, requires_grad=True)
    mmd(x, torch.ones(3, 3)).backward()
    assert bool(torch.isfinite(x.grad).all())


def test_reversal():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.3), x)
    (reverse_gradient(x, 0.3).square().sum()).backward()
    assert torch.allclose(x.grad, -0.3 * 2 * x.detach())


@pytest.mark.parametrize("name", ALIGNMENTS.names())
def test_modules(name):
    kind = ALIGNMENTS.load(name)
    x, y = (part.float() for part in draw(8, 6, shift=1.0))

    def gradient(done, **options):
        torch.manual_seed(0)
        module = kind(kind.options_type(**options), 4)
        module.advance(done)
        rows = x.clone().requires_grad_()
        module(rows, y).backward()
        for parameter in module.parameters():
            assert float(parameter.grad.abs().sum()) > 0
        return rows.grad

    assert bool((gradient(0.0) == 0).all())  # the ramp starts at 0
    assert bool((gradient(0.9, weight=0.0) == 0).all())
    full = gradient(0.9, schedule="constant")
    assert float(full.abs().max()) > 0
    assert torch.allclose(gradient(0.5), full * ramp(0.5), atol=1e-7)
    assert torch.allclose(gradient(0.1, schedule="constant", weight=2.0), 2 * full, atol=1e-7)
    with pytest.raises(OptionError, match="unknown key 'wieght'; did you mean 'weight'"):
        kind.options_type.parse({"wieght": 1.0})


def test_the_adversary_moves_corpora_together():
    """Following the reversed gradient, the discriminator gets worse at telling corpora apart."""
    torch.manual_seed(0)
    kind = ALIGNMENTS.load("dann")
    module = kind(kind.options_type(schedule="constant"), 4)
    x, y = (part.float() for part in draw(64, 64, shift=2.0))
    offset = torch.zeros(4, requires_grad=True)
    judge = torch.optim.Adam(module.parameters(), 1e-2)
    mover = torch.optim.SGD([offset], 2.0)
    for _ in range(300):
        for one in (judge, mover):
            one.zero_grad()
        module(x + offset, y).backward()
        judge.step()
        mover.step()
    assert float((x.mean(0) + offset.detach() - y.mean(0)).norm()) < 1.0
    assert float((x.mean(0) - y.mean(0)).norm()) > 3.0
