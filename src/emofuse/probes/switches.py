"""Options that change nothing: dead switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic.fields import FieldInfo

from emofuse.models.build import parse_model_options
from emofuse.options import Options
from emofuse.probes.bench import Bench
from emofuse.probes.drawn import LENGTHS, LONG
from emofuse.probes.flipping import Flip, flip_option, results_of
from emofuse.probes.verdict import Verdict, shown_names

__all__ = ["PROBE", "probe"]

PROBE = "switches"
FEW = 6


def probe(bench: Bench) -> list[Verdict]:
    """Flip every option of the model."""
    options = parse_model_options(bench.model, bench.options).model_dump(mode="json")
    if not options:
        return [Verdict(PROBE, "not applicable", "", "the model has no options")]
    base = bench.fresh()
    wanted = results_of(bench, base)
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
    wanted = results_of(bench, base)
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
