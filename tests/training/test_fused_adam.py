"""Adam without torch's optimiser class: the same steps to the bit, and no compiler loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from emofuse.training.checkpoint import pack_optimiser, unpack_optimiser
from emofuse.training.fused_adam import FusedAdam
from emofuse.training.optimisers import Optimisers
from emofuse.training.options import TrainerOptions

SHAPES = ((30, 20), (20,), (), (5, 1, 4))


def parameters():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def groups(given):
    matrices = [one for one in given if one.ndim >= 2]
    others = [one for one in given if one.ndim < 2]
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def give_gradients(step, *many):
    """Random ones; the second parameter has its first at the third step, and lacks some later."""
    for given in many:
        torch.manual_seed(step)
        for place, one in enumerate(given):
            gradient = torch.randn(one.shape)
            one.grad = None if place == 1 and (step < 3 or step % 4 == 0) else gradient


@pytest.mark.parametrize("decoupled", [True, False])
def test_steps_are_those_of_torch(decoupled):
    ours, theirs = parameters(), parameters()
    common = {"lr": 1e-2, "weight_decay": 0.1}
    mine = FusedAdam(groups(ours), decoupled=decoupled, **common)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    torchs = kind(groups(theirs), fused=True, **common)
    for step in range(12):
        give_gradients(step, ours, theirs)
        for one in (mine, torchs):
            for group in one.param_groups:
                group["lr"], group["betas"] = 1e-2 / (1 + step), (0.9 - 0.01 * step, 0.999)
            one.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    packed, expected = pack_optimiser(mine, ours), pack_optimiser(torchs, theirs)
    assert packed.keys() == expected.keys()
    assert all(torch.equal(packed[key], expected[key]) for key in packed)


def test_a_state_that_is_put_back_goes_on_alike():
    common = {"lr": 1e-2, "weight_decay": 0.1, "decoupled": True}
    whole, first = parameters(), parameters()
    one, other = FusedAdam(groups(whole), **common), FusedAdam(groups(first), **common)
    for step in range(5):
        give_gradients(step, whole, first)
        one.step()
        other.step()
    stored = {name: part.clone() for name, part in pack_optimiser(other, first).items()}
    again = [nn.Parameter(part.detach().clone()) for part in first]
    new = FusedAdam(groups(again), **common)
    unpack_optimiser(new, stored, again)
    for step in range(5, 9):
        give_gradients(step, whole, first, again)
        one.step()
        other.step()  # what was put back is a copy
        new.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_a_processor_gets_it(name):
    (weight, *_) = parameters()
    made = Optimisers(TrainerOptions(optimiser=name, device="cpu"), [([weight], 1.0)], [])
    assert isinstance(made.main, FusedAdam)


def test_training_loads_no_compiler():
    program = (
        "import sys, torch\n"
        "from emofuse.training.optimisers import Optimisers\n"
        "from emofuse.training.options import TrainerOptions\n"
        "import emofuse.training.crew\n"
        "weight = torch.nn.Parameter(torch.ones(2, 2))\n"
        "made = Optimisers(TrainerOptions(device='cpu'), [([weight], 1.0)], [])\n"
        "weight.grad = torch.ones(2, 2)\n"
        "made.step()\n"
        "loaded = {'torch._dynamo', 'sympy', 'scipy.signal'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
