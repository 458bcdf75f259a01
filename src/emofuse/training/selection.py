"""Choosing hyper-parameters within train and dev."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.storage import read_json, write_json
from emofuse.training.fit import Fit
from emofuse.training.judge import HeldOut, better_is_higher, judge
from emofuse.training.options import SelectOptions, TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row

__all__ = ["Choice", "choose", "group_folds"]

FitOne = Callable[[TrainerOptions, Part, Part, Mapping[str, Tensor] | None], Fit]
"""Makes a fit of options and a part, judged on another part, from start weights or drawn ones."""
SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        values: option -> value.
        score: its metric, more is better; None where there was nothing to choose.
        notes: what a reader of the numbers should know.
        held_out: what the chosen one said of the items it was judged on; None where there was
            nothing to choose.
    """

    values: dict[str, float]
    score: float | None
    notes: tuple[str, ...]
    held_out: HeldOut | None = None


def group_folds(groups: Tensor, folds: int) -> list[Tensor]:
    """Cut items into folds that keep groups whole, the largest group to the smallest fold.

    Args:
        groups: ``(items,)`` long.
        folds: how many; fewer where there are fewer groups.

    Returns:
        The items of each fold, as indices.

    >>> [fold.tolist() for fold in group_folds(torch.tensor([0, 0, 1, 2]), 2)]
    [[0, 1], [2, 3]]
    """
    names, sizes = torch.unique(groups, return_counts=True)
    filled = torch.zeros(min(folds, len(names)), dtype=torch.long)
    fold_of = torch.empty(int(names.max()) + 1, dtype=torch.long)
    for place in torch.argsort(sizes, descending=True, stable=True).tolist():
        fold = int(filled.argmin())
        filled[fold] += sizes[place]
        fold_of[names[place]] = fold
    placed = fold_of[groups]
    return [torch.nonzero(placed == fold).flatten() for fold in range(len(filled))]


def choose(
    fit_one: FitOne,
    options: TrainerOptions,
    train: Part,
    dev: Part | None,
    *,
    cache: Path | None = None,
    hook: Callable[[str, Row], None] | None = None,
) -> Choice:
    """Fit every candidate and keep the best; among equals the first.

    Args:
        fit_one: see `FitOne`.
        options: with ``select``.
        train: what to learn from.
        dev: what to choose by.
        cache: file that keeps what is judged already, for a run that was killed.
        hook: told after every fit, with phase ``select`` and the number of fits as its epoch.

    Raises:
        OptionError: there is nothing to choose by: no dev, or one group alone.
    """
    select = options.select or SelectOptions(weight_decay=(options.weight_decay,))
    candidates = [options.model_copy(update=one) for one in select.candidates()]
    cuts = _cuts(select, train, dev)
    book = _Book(cache)
    for number, (one, other) in enumerate(cuts):
        told = None if hook is None else _teller(hook, number, len(candidates))
        _walk(fit_one, candidates, (one, other), book, number=number, told=told)
    book.close()
    labels = torch.cat([other.targets.labels for _, other in cuts])
    scores = [
        _score([book.known[f"{cut}/{place}"] for cut in range(len(cuts))], labels, options.monitor)
        for place in range(len(candidates))
    ]
    best = max(range(len(scores)), key=scores.__getitem__)
    held_out = _held_out([book.known[f"{cut}/{best}"] for cut in range(len(cuts))], cuts, select)
    return Choice(select.candidates()[best], scores[best], _notes(select, best), held_out)


class _Book:
    """What is judged already, on disk so that a run that was killed need not judge it again."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}
        self._saved = time.monotonic()

    def add(self, key: str, value: dict[str, Any]) -> None:
        self.known[key] = value
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.close()

    def close(self) -> None:
        if self.path is not None:
            write_json(self.path, self.known)
        self._saved = time.monotonic()


def _walk(
    fit_one: FitOne,
    candidates: Sequence[TrainerOptions],
    cut: tuple[Part, Part],
    book: _Book,
    *,
    number: int,
    told: Callable[[int], None] | None = None,
) -> None:
    """Fit every candidate on one cut.

    L-BFGS begins each candidate where the last one ended, which is many times faster; a path that
    was cut short is walked again from its start, so that a kill does not change where it leads.
    """
    one, other = cut
    warm = candidates[0].optimiser == "lbfgs"
    keys = [f"{number}/{place}" for place in range(len(candidates))]
    again = warm and not all(key in book.known for key in keys)
    start: Mapping[str, Tensor] | None = None
    for place, (key, options) in enumerate(zip(keys, candidates, strict=True)):
        if again or key not in book.known:
            fit = fit_one(options, one, other, start)
            fit.run()
            seen = fit.judge(other)
            predicted = seen.logits.argmax(dim=1).tolist()
            book.add(
                key,
                {
                    "predicted": predicted,
                    "classes": seen.logits.shape[1],
                    "loss": seen.loss,
                    "logits": base64.b64encode(seen.logits.numpy().tobytes()).decode("ascii"),
                },
            )
            start = fit.model.state_dict() if warm else None
        if told is not None:
            told(place)


def _teller(
    hook: Callable[[str, Row], None], number: int, candidates: int
) -> Callable[[int], None]:
    def told(place: int) -> None:
        hook("select", {"epoch": number * candidates + place + 1})

    return told


def _cuts(select: SelectOptions, train: Part, dev: Part | None) -> list[tuple[Part, Part]]:
    if not select.folds:
        if dev is None:
            raise OptionError(
                "trainer.select has no dev part to choose by; set protocol.dev above 0 or "
                "trainer.select.folds to 2 or more"
            )
        return [(train, dev)]
    whole = train if dev is None else train.join(dev)
    folds = group_folds(whole.groups, select.folds)
    if len(folds) < 2:
        raise OptionError(
            "trainer.select.folds cannot cut train + dev: all of it is of one group; "
            "set trainer.select.folds to 0"
        )
    everything = torch.arange(len(whole))
    return [
        (whole.take(everything[~torch.isin(everything, fold)]), whole.take(fold)) for fold in folds
    ]


def _score(judged: Iterable[dict[str, Any]], labels: Tensor, monitor: str) -> float:
    folds = list(judged)
    predicted = torch.tensor([one for fold in folds for one in fold["predicted"]])
    total = sum(fold["loss"] * len(fold["predicted"]) for fold in folds)
    found = judge(labels.cpu(), predicted, folds[0]["classes"])
    return better_is_higher({**found, "loss": total / max(len(predicted), 1)}, monitor)


def _held_out(
    judged: Sequence[dict[str, Any]], cuts: Sequence[tuple[Part, Part]], select: SelectOptions
) -> HeldOut | None:
    """Put together what one candidate said of the other side of every cut."""
    if not all("logits" in one for one in judged):
        return None  # a choice that an older emofuse began
    parts = [
        np.frombuffer(base64.b64decode(one["logits"]), np.float32).reshape(-1, one["classes"])
        for one in judged
    ]
    whole = cuts[0][1]
    for _, other in cuts[1:]:
        whole = whole.join(other)
    logits = torch.from_numpy(np.concatenate(parts))
    return HeldOut(whole, logits, "inner folds" if select.folds else "dev")


def _notes(select: SelectOptions, best: int) -> tuple[str, ...]:
    notes: list[str] = []
    for name, value in select.candidates()[best].items():
        values = sorted(getattr(select, name))
        if len(values) > 2 and value in (values[0], values[-1]):
            notes.append(f"the chosen {name} {value:g} is at the edge of its candidates")
    return tuple(notes)
