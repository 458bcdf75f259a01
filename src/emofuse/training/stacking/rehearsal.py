"""The first batch in a stack and alone: the losses must be the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

from emofuse.training.stacking.both import Both, check_alike
from emofuse.training.stacking.fits import orders_of
from emofuse.training.stacking.items import one_row
from emofuse.training.stacking.tensors import NotStackable
from emofuse.training.steppers import cut_epoch

if TYPE_CHECKING:
    from emofuse.training.stacking.stacked import Stack

__all__ = ["rehearse"]


def rehearse(stack: Stack) -> None:
    """Check that the first batch has the same loss in the stack as alone.

    Raises:
        NotStackable: it has not, or the model takes a way that a stack cannot.
    """
    check_alike([Both(fit.fusion, fit.objective) for fit in stack.fits])
    before = torch.get_rng_state()
    try:
        _rehearse(stack)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise NotStackable(f"{type(error).__name__}: {error}") from error
    if not torch.equal(before, torch.get_rng_state()):
        raise NotStackable("it draws random numbers outside of its dropouts")


def _rehearse(stack: Stack) -> None:
    items = {
        p: cut_epoch(stack.works[p], copied_generator(orders_of(stack.fits[p])[0]), 0)
        for p in stack.alive
    }
    size = min(len(batches[0]) for batches in items.values())
    rows = list(range(min(2, len(stack.alive))))
    chosen = {p: items[stack.alive[p]][0][:size] for p in rows}
    stack.base.train()
    noise = stack.noise(
        [copied_generator(stack.dropout[p]) for p in rows], stack.example(chosen, size)
    )
    index = torch.tensor(rows, device=stack.device)
    batch = stack.items.batch([stack.alive[p] for p in rows], [chosen[p] for p in rows], None)
    state = stack.tensors.parameters(index), stack.tensors.buffers_of(index)
    copied = {name: part.clone() for name, part in state[1].items()}
    together, _, _ = stack.passed((state[0], copied), batch, noise)
    for row in rows:
        one = [{n: part[row] for n, part in half.items()} for half in state]
        one[1] = {n: part.clone() for n, part in one[1].items()}
        stack.feed.begin([part[row] for part in noise])
        with stack.works[0].autocast():
            alone, _, _ = functional_call(
                stack.base, (one[0], one[1]), tuple(one_row(part, row) for part in batch)
            )
        if not torch.allclose(together[row], alone, rtol=1e-3, atol=1e-5):
            raise NotStackable("its loss is another one in a stack")


def copied_generator(generator: torch.Generator) -> torch.Generator:
    made = torch.Generator(generator.device)
    made.set_state(generator.get_state())
    return made
