"""What the trainer is given to learn from: rows of the feature table, targets, groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.features.augmented import Views
from emofuse.labels import LabelScheme
from emofuse.losses.contract import Targets
from emofuse.manifest import Utterance

__all__ = ["Part", "group_numbers", "make_targets"]

DIMENSIONS = ("valence", "arousal", "dominance")


@dataclass(frozen=True)
class Part:
    """Items to learn from or to choose by. Items to be judged on never come in this form.

    Attributes:
        rows: ``(items,)`` long, their rows in the feature table.
        targets: what each should be.
        groups: ``(items,)`` long, who said it: items of one group are never on both sides of a cut.
        views: changed copies of the items, to be learned from in their place; None = none.
    """

    rows: Tensor
    targets: Targets
    groups: Tensor
    views: Views | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Tensor) -> Part:
        """Select items."""
        views = None if self.views is None else self.views.take(index)
        return Part(self.rows[index], self.targets.take(index), self.groups[index], views)

    def join(self, other: Part) -> Part:
        """Put two parts together."""
        targets = Targets(
            torch.cat([self.targets.labels, other.targets.labels]),
            _cat(self.targets.soft, other.targets.soft),
            _cat(self.targets.vad, other.targets.vad),
        )
        views = None
        if self.views is not None and other.views is not None:
            views = self.views.join(other.views)
        return Part(
            torch.cat([self.rows, other.rows]),
            targets,
            torch.cat([self.groups, other.groups]),
            views,
        )


def _cat(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    return None if one is None or two is None else torch.cat([one, two])


def make_targets(utterances: Sequence[Utterance], scheme: LabelScheme) -> Targets:
    """Turn the labels of utterances into tensors.

    Votes go through the scheme: shares of labels that it drops are left out and the rest is scaled
    to sum to 1; an utterance without votes, or without any that the scheme keeps, gets its label.

    Args:
        utterances: labelled by the scheme (`Manifest.label`), each with an emotion.
        scheme: the classes.

    Raises:
        LabelError: a label or a vote outside the scheme.
    """
    labels = torch.tensor([scheme.index(str(u.emotion)) for u in utterances], dtype=torch.long)
    soft: Tensor | None = None
    if any(u.votes for u in utterances):
        soft = torch.nn.functional.one_hot(labels, len(scheme.classes)).float()
        for row, utterance in enumerate(utterances):
            shares = _shares(utterance.votes or {}, scheme)
            if shares is not None:
                soft[row] = shares
    vad: Tensor | None = None
    if any(u.vad is not None for u in utterances):
        vad = torch.tensor(
            [[_number(getattr(u.vad, name, None)) for name in DIMENSIONS] for u in utterances],
            dtype=torch.float32,
        ).reshape(-1, 3)
    return Targets(labels, soft, vad)


def _shares(votes: dict[str, float], scheme: LabelScheme) -> Tensor | None:
    shares = torch.zeros(len(scheme.classes))
    for name, (_, share) in zip(scheme.map_all(votes), votes.items(), strict=True):
        if name is not None:
            shares[scheme.index(name)] += share
    total = float(shares.sum())
    return shares / total if total > 0 else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def group_numbers(utterances: Sequence[Utterance], by: str = "auto") -> Tensor:
    """Number the groups that a cut within train and dev keeps whole.

    Args:
        utterances: the items.
        by: ``speaker``, ``session``, ``dialogue``, ``text`` or ``none``; ``auto`` takes the first
            of speaker, session and dialogue that every utterance has.

    Raises:
        OptionError: some utterances do not say which group they belong to.
    """
    kinds = ("speaker", "session", "dialogue")
    if by == "auto":
        known = [kind for kind in kinds if all(getattr(u, kind) for u in utterances)]
        by = known[0] if known else "none"
    if by == "none":
        return torch.arange(len(utterances))
    missing = [u.id for u in utterances if not getattr(u, by)]
    if missing:
        raise OptionError(f"{missing[0]!r} has no {by} to cut by ({len(missing)} such)")
    names = [(u.corpus or "", str(getattr(u, by))) for u in utterances]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([places[name] for name in names], dtype=torch.long)
