"""Giving an option other values, until one makes a difference."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import torch
from torch import Tensor

from emofuse.errors import EmofuseError
from emofuse.losses.contract import Targets
from emofuse.models.build import seeded
from emofuse.models.contract import Batch, EmotionOutput, FusionModel
from emofuse.probes.bench import RATE, Bench, answer
from emofuse.probes.flips import other_values

__all__ = ["Flip", "flip_option", "results_of"]

TRIES = 8
BROKEN = (RuntimeError, TypeError, ValueError, IndexError, KeyError, ArithmeticError)
FlipState = Literal["acts", "refused", "dead", "idle", "breaks", "fixed"]


@dataclass(frozen=True)
class Flip:
    """What became of an option that was given other values.

    Attributes:
        name: of the option.
        state: ``acts``; ``refused`` (no other value is legal here, and the model says so);
            ``dead`` (every legal value gives the same results, bit by bit); ``idle`` (dead on
            these features, at its default, and acts on sequences or longer ones); ``breaks`` (an
            error that is not the model's own); ``fixed`` (its type gives nothing to choose from).
        value: the value in force.
        tried: the values that were tried.
        extra: parameters that another value builds although nothing changes.
        message: of the error.
    """

    name: str
    state: FlipState
    value: Any
    tried: tuple[Any, ...] = ()
    extra: int = 0
    message: str = ""


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(
        ((first == second) | (first.isnan() & second.isnan())).all()
    )


def flip_option(
    bench: Bench,
    name: str,
    base: FusionModel,
    options: Mapping[str, Any],
    wanted: Sequence[Tensor] = (),
) -> Flip:
    """Give one option other values until one makes a difference.

    A model with another value is compared twice: with its own initial weights, and with those of
    the base where names and shapes agree. An option that acts through the initial weights alone
    acts, and so does one that decides what learns; one that only builds what nothing reads does
    not.

    Args:
        bench: the recipe.
        name: of the option.
        base: the model as it is; not changed.
        options: all options in force, as JSON would hold them.
        wanted: what the base gives, where that is known already.
    """
    value = options[name]
    values = other_values(type(base.options), name, value)[:TRIES]
    if not values:
        return Flip(name, "fixed", value)
    wanted = wanted or results_of(bench, base)
    learned = _after_a_step(bench, base)
    tried: list[Any] = []
    extra, message, broken = 0, "", False
    for other in values:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a value that nobody chose
                model = bench.fresh({**options, name: other})
                acts = _differs(bench, wanted, model) and _acts(bench, wanted, base, model)
                acts = acts or not _same(learned, _after_a_step(bench, model))
        except EmofuseError as error:
            message = str(error)
        except BROKEN as error:
            broken, message = True, f"{type(error).__name__}: {error}"
        else:
            if acts:
                return Flip(name, "acts", value, (*tried, other))
            tried.append(other)
            extra = max(extra, _size(model) - _size(base))
    message = " ".join(message.split())[:200]
    if _dead(value, tried):
        return Flip(name, "dead", value, tuple(tried), extra)
    if not message:
        return Flip(name, "fixed", value, tuple(tried))
    return Flip(name, "breaks" if broken else "refused", value, tuple(tried), message=message)


def _dead(value: Any, tried: Sequence[Any]) -> bool:
    """Say whether equal results mean anything: None and the value it stands for are one value."""
    told = [one for one in tried if one is not None]
    return len(told) > (1 if value is None else 0)


def _differs(bench: Bench, wanted: Sequence[Tensor], model: FusionModel) -> bool:
    """Compare until the first difference."""
    found = _results(bench, _filled(model))
    return any(not _same(one, next(found, one)) for one in wanted)


def _acts(bench: Bench, wanted: Sequence[Tensor], base: FusionModel, model: FusionModel) -> bool:
    """Tell a difference of the network from one of the draws it began with."""
    mine, theirs = dict(base.named_parameters()), dict(model.named_parameters())
    same_shapes = {n: p.shape for n, p in mine.items()} == {n: p.shape for n, p in theirs.items()}
    if same_shapes:
        return True  # same draws, or initial weights that the option sets
    with torch.no_grad():
        for name, one in theirs.items():
            if name in mine and mine[name].shape == one.shape:
                one.copy_(mine[name])
    return _differs(bench, wanted, model)


def results_of(bench: Bench, model: FusionModel) -> list[Tensor]:
    """Give everything that another value of an option would have to leave as it is."""
    return list(_results(bench, _filled(model)))


def _after_a_step(bench: Bench, model: FusionModel) -> Tensor:
    """Give the logits after one step of training: what learns otherwise answers otherwise."""
    copied = copy.deepcopy(model)
    objective = bench.terms(copied)
    batch, targets = bench.batch(0)
    optimiser = torch.optim.SGD(copied.parameters(), lr=RATE)
    copied.train()
    with seeded(bench.seed):
        loss, _ = objective(copied(batch), targets)
        if loss.requires_grad:
            loss.backward()
            optimiser.step()
    return answer(copied, batch).logits


def _filled(model: FusionModel) -> FusionModel:
    """Give a copy whose matrices of zeros are drawn: a head that begins at 0 hides all else."""
    if all(one.ndim < 2 or bool(one.any()) for one in model.parameters()):
        return model
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, one in copied.named_parameters():
            if one.ndim >= 2 and not bool(one.any()):
                generator = torch.Generator().manual_seed(crc32(name.encode()))
                one.copy_(0.1 * torch.randn(one.shape, generator=generator))
    return copied


def _results(bench: Bench, model: FusionModel) -> Iterator[Tensor]:
    """Give everything that must be equal: logits and losses, in evaluation and in training."""
    batch, targets = bench.batch(0)
    objective = bench.terms(model)
    for number in range(2 if _may_lack(model) else 1):
        one = bench.lacking(batch, number) if number else batch
        for training in (False, True):
            output = _in_training(bench, model, one) if training else answer(model, one)
            yield output.logits
            yield _loss(bench, output, objective, targets)


def _may_lack(model: FusionModel) -> bool:
    return len(model.spec.dims) > 1 and len(model.needs()) < len(model.spec.dims)


def _in_training(bench: Bench, model: FusionModel, batch: Batch) -> EmotionOutput:
    model.train()
    kept = {name: part.clone() for name, part in model.named_buffers()}
    with seeded(bench.seed), torch.no_grad():
        output: EmotionOutput = model(batch)
        for name, part in model.named_buffers():  # running statistics
            part.copy_(kept[name])
    model.eval()
    return output


def _loss(bench: Bench, output: EmotionOutput, objective: Any, targets: Targets) -> Tensor:
    with seeded(bench.seed), torch.no_grad():
        total, _ = objective(output, targets)
    return torch.as_tensor(total)


def _size(model: FusionModel) -> int:
    return sum(one.numel() for one in model.parameters())
