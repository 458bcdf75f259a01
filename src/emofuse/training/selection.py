"""Choosing hyper-parameters within train and dev."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.storage import read_json, write_json
from emofuse.training.fit import Fit
from emofuse.training.judge import better_is_higher, judge
from emofuse.training.options import SelectOptions, TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row

__all__ = ["Choice", "choose", "group_folds"]

FitOne = Callable[[TrainerOptions, Part, Part], Fit]
SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        values: option -> value.
        score: its metric, more is better; None where there was nothing to choose.
        notes: what a reader of the numbers should know.
    """

    values: dict[str, float]
    score: float | None
    notes: tuple[str, ...]


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
        fit_one: makes a fit of one part, judged on another.
        options: with ``select``.
        train: what to learn from.
        dev: what to choose by.
        cache: file that keeps what is judged already, for a run that was killed.
        hook: told after every fit, with phase ``select``.

    Raises:
        OptionError: there is nothing to choose by: no dev, or one group alone.
    """
    select = options.select or SelectOptions(weight_decay=(options.weight_decay,))
    cuts = _cuts(select, train, dev)
    candidates = select.candidates()
    known: dict[str, Any] = read_json(cache) if cache is not None and cache.exists() else {}
    saved = time.monotonic()
    scores: list[float] = []
    for place, candidate in enumerate(candidates):
        judged = []
        for number, (one, other) in enumerate(cuts):
            key = f"{place}/{number}"
            if key not in known:
                known[key] = _judge_fit(
                    fit_one(options.model_copy(update=candidate), one, other), other
                )
            judged.append(known[key])
            if cache is not None and time.monotonic() - saved >= SAVE_SECONDS:
                write_json(cache, known)
                saved = time.monotonic()
        labels = torch.cat([other.targets.labels for _, other in cuts])
        scores.append(_score(judged, labels, options.monitor))
        if hook is not None:
            hook("select", {"epoch": place + 1, **candidate, f"dev_{options.monitor}": scores[-1]})
    if cache is not None:
        write_json(cache, known)
    best = max(range(len(scores)), key=scores.__getitem__)
    return Choice(candidates[best], scores[best], _notes(select, candidates, best))


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


def _judge_fit(fit: Fit, held_out: Part) -> dict[str, Any]:
    fit.run()
    seen = fit.judge(held_out)
    return {
        "predicted": seen.logits.argmax(dim=1).tolist(),
        "classes": seen.logits.shape[1],
        "loss": seen.loss,
    }


def _score(judged: Iterable[dict[str, Any]], labels: Tensor, monitor: str) -> float:
    folds = list(judged)
    predicted = torch.tensor([one for fold in folds for one in fold["predicted"]])
    total = sum(fold["loss"] * len(fold["predicted"]) for fold in folds)
    found = judge(labels.cpu(), predicted, folds[0]["classes"])
    return better_is_higher({**found, "loss": total / max(len(predicted), 1)}, monitor)


def _notes(select: SelectOptions, candidates: list[dict[str, float]], best: int) -> tuple[str, ...]:
    notes: list[str] = []
    for name, value in candidates[best].items():
        values = sorted(getattr(select, name))
        if len(values) > 2 and value in (values[0], values[-1]):
            notes.append(f"the chosen {name} {value:g} is at the edge of its candidates")
    return tuple(notes)
