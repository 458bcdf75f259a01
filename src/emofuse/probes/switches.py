"""Options that change nothing: dead switches."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

import torch
from pydantic.fields import FieldInfo
from torch import Tensor

from emofuse.errors import EmofuseError
from emofuse.losses.contract import Targets
from emofuse.models.build import parse_model_options, seeded
from emofuse.models.contract import Batch, EmotionOutput, FusionModel
from emofuse.options import Options
from emofuse.probes.bench import RATE, Bench, answer
from emofuse.probes.drawn import LENGTHS, LONG
from emofuse.probes.flips import other_values
from emofuse.probes.verdict import Verdict, shown_names

__all__ = ["PROBE", "Flip", "flip_option", "probe"]

PROBE = "switches"
TRIES = 8
FEW = 6
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
    wanted = wanted or list(_results(bench, _filled(base)))
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


def probe(bench: Bench) -> list[Verdict]:
    """Flip every option of the model."""
    options = parse_model_options(bench.model, bench.options).model_dump(mode="json")
    if not options:
        return [Verdict(PROBE, "not applicable", "", "the model has no options")]
    base = bench.fresh()
    wanted = list(_results(bench, _filled(base)))
    flips = [flip_option(bench, name, base, options, wanted) for name in options]
    flips = _waiting(bench, flips, options)
    return [*(_finding(one) for one in flips if one.state in ("dead", "breaks")), *_fine(flips)]


def _waiting(bench: Bench, flips: Sequence[Flip], options: Mapping[str, Any]) -> list[Flip]:
    """Tell what is dead from what, at its default, only waits for sequences or longer ones."""
    kind = type(parse_model_options(bench.model, bench.options))
    usual = {name: one.get_default(call_default_factory=True) for name, one in _fields(kind)}
    suspects = [f for f in flips if f.state == "dead" and f.value == _plain(usual.get(f.name))]
    idle: set[str] = set()
    for lengths, items in ((LENGTHS, bench.size), (LONG, FEW)):
        names = [f.name for f in suspects if f.name not in idle]
        if names and (lengths is LONG or bench.pooled):
            idle |= _acting(bench.with_lengths(lengths, items), names, options)
    return [replace(f, state="idle") if f.name in idle else f for f in flips]


def _acting(bench: Bench, names: Sequence[str], options: Mapping[str, Any]) -> set[str]:
    base = bench.fresh()
    wanted = list(_results(bench, _filled(base)))
    flips = [flip_option(bench, name, base, options, wanted) for name in names]
    return {flip.name for flip in flips if flip.state == "acts"}


def _fields(kind: type[Options]) -> list[tuple[str, FieldInfo]]:
    return list(kind.model_fields.items())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _finding(flip: Flip) -> Verdict:
    numbers = {"value": flip.value, "tried": list(flip.tried), "extra_parameters": flip.extra}
    if flip.state == "breaks":
        why = f"another value than {flip.value!r} ends in {flip.message}"
        advice = "refuse it with an OptionError that names the legal values"
        return Verdict(PROBE, "finding", flip.name, why, advice, numbers)
    tried = shown_names([repr(one) for one in flip.tried], 3)
    why = f"dead: {flip.value!r} and {tried} give the same logits and losses, bit by bit"
    if flip.extra:
        why += f" (though {flip.extra:,} more parameters are built)"
    advice = "refuse it where it is not read; an ablation of it measures noise"
    return Verdict(PROBE, "finding", flip.name, why, advice, numbers)


def _fine(flips: Sequence[Flip]) -> list[Verdict]:
    states = ("acts", "refused", "idle")
    by_state = {state: [f.name for f in flips if f.state == state] for state in states}
    fixed = [f.name for f in flips if f.state == "fixed"]
    parts = []
    if by_state["acts"]:
        parts.append(f"{len(by_state['acts'])} act ({shown_names(by_state['acts'], 6)})")
    if by_state["refused"]:
        parts.append(f"{len(by_state['refused'])} refused here ({', '.join(by_state['refused'])})")
    if by_state["idle"]:
        parts.append(f"{', '.join(by_state['idle'])}: nothing to do here, acts on longer sequences")
    if fixed:
        parts.append(f"{len(fixed)} not tried ({', '.join(fixed)})")
    if not parts:
        return []
    numbers = {**by_state, "not_tried": fixed}
    return [Verdict(PROBE, "ok", "options", "; ".join(parts), numbers=numbers)]
