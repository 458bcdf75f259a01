"""Clipping by the norm of all gradients: to the bit what torch makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from emofuse.training.together.gradients import Gradients


def with_gradients(scale, lacks=False):
    torch.manual_seed(0)
    parts = [nn.Parameter(torch.randn(size)) for size in ((40, 30), (30,), (), (7, 1, 3))]
    for one in parts:
        one.grad = scale * torch.randn(one.shape)
    if lacks:
        parts[1].grad = None
    return parts


@pytest.mark.parametrize("limit", [1e-3, 1.0, 30.0, 1e6, math.inf])
@pytest.mark.parametrize("scale", [1e-4, 1.0, math.nan])
def test_clipping_is_that_of_torch(limit, scale):
    for lacks in (False, True):
        ours, theirs = with_gradients(scale, lacks), with_gradients(scale, lacks)
        found = Gradients(ours).clip(limit)
        expected = nn.utils.clip_grad_norm_(theirs, limit)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        for one, other in zip(ours, theirs, strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0, equal_nan=True)


def test_something_is_clipped_and_something_is_not():
    small, large = with_gradients(1e-4), with_gradients(1.0)
    before = [one.grad.clone() for one in small]
    Gradients(small).clip(5.0)
    assert all(torch.equal(one.grad, was) for one, was in zip(small, before, strict=True))
    norm = Gradients(large).clip(5.0)
    assert float(norm) > 30
    after = torch.linalg.vector_norm(torch.cat([one.grad.flatten() for one in large]))
    assert float(after) == pytest.approx(5.0, rel=1e-5)
