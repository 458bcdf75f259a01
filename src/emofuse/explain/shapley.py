"""What each modality contributes to an answer: exact Shapley values over all subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

from emofuse.explain.options import ScoreKind
from emofuse.explain.scores import score_of
from emofuse.models.contract import Batch, FusionModel, Sequences

__all__ = ["Worth", "shapley", "subset_scores", "subsets"]

Subset = frozenset[str]


def subsets(players: Sequence[str]) -> list[Subset]:
    """Give all subsets, the empty one first."""
    return [
        frozenset(chosen)
        for size in range(len(players) + 1)
        for chosen in combinations(players, size)
    ]


def shapley(values: Mapping[Subset, Tensor], players: Sequence[str]) -> dict[str, Tensor]:
    """Give the Shapley value of every player (Shapley 1953).

    The mean of what a player adds, over all orders in which the players may come: the sum over
    subsets ``S`` without it of ``|S|! (m - |S| - 1)! / m! (v(S + i) - v(S))``. The values sum to
    ``v(all) - v(none)``.

    Args:
        values: subset -> worth, of any shape, for all subsets.
        players: names.
    """
    total = len(players)
    found: dict[str, Tensor] = {}
    for player in players:
        gain = torch.zeros_like(values[frozenset()])
        for subset in subsets([one for one in players if one != player]):
            share = factorial(len(subset)) * factorial(total - len(subset) - 1) / factorial(total)
            gain = gain + share * (values[subset | {player}] - values[subset])
        found[player] = gain
    return found


@dataclass(frozen=True, eq=False)
class Worth:
    """The score of each subset of modalities.

    Attributes:
        scores: subset -> ``(batch,)``.
        players: modalities.
        absent: whether a modality outside the subset is absent; else it is set to the mean frame.
    """

    scores: Mapping[Subset, Tensor]
    players: tuple[str, ...]
    absent: bool

    @property
    def shares(self) -> dict[str, Tensor]:
        """Modality -> Shapley value, ``(batch,)``."""
        return shapley(self.scores, self.players)

    @property
    def efficiency(self) -> float:
        """Largest miss of the efficiency axiom, ``|sum of values - (v(all) - v(none))|``."""
        whole = self.scores[frozenset(self.players)] - self.scores[frozenset()]
        summed = torch.stack(list(self.shares.values())).sum(dim=0)
        return float((summed - whole).abs().max())

    def words(self) -> str:
        """Say how absence was made."""
        if self.absent:
            return (
                "a modality outside the subset is absent, as the model takes it; the worth of "
                "nothing is the score of the training part's class shares"
            )
        return (
            "the model cannot live without a modality: one outside the subset has the mean frame "
            "of the training part in place of each of its own"
        )


def subset_scores(
    model: FusionModel,
    batch: Batch,
    targets: Tensor,
    *,
    kind: ScoreKind,
    prior: Tensor,
    means: Mapping[str, Tensor] | None = None,
) -> Worth:
    """Score a batch with every subset of its modalities.

    Args:
        model: in evaluation mode.
        batch: utterances.
        targets: ``(batch,)`` place of the class of each.
        kind: which score.
        prior: ``(classes,)`` shares of the classes in the training part: the answer to nothing.
        means: modality -> mean frame, for a model that needs all its modalities; else None.
    """
    players = tuple(name for name in model.spec.dims if name in batch.modalities)
    nothing = prior.clamp_min(1e-12).log()[None].expand(len(batch), -1).double()
    scores: dict[Subset, Tensor] = {}
    for subset in subsets(players):
        if means is not None:
            logits = _logits(model, _with_means(batch, subset, means))
        elif not subset:
            logits = nothing
        else:
            given = batch.only(*sorted(subset))
            there = torch.stack([part.present for part in given.modalities.values()]).any(dim=0)
            logits = torch.where(there[:, None], _logits(model, given), nothing)
        scores[subset] = _of_each(logits, targets, kind)
    return Worth(scores, players, means is None)


def _logits(model: FusionModel, batch: Batch) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(batch).logits.double()
    return found


def _of_each(logits: Tensor, targets: Tensor, kind: ScoreKind) -> Tensor:
    rows = [score_of(logits[i : i + 1], int(targets[i]), kind) for i in range(len(logits))]
    return torch.cat(rows)


def _with_means(batch: Batch, subset: Subset, means: Mapping[str, Tensor]) -> Batch:
    parts: dict[str, Sequences] = {}
    for name, part in batch.modalities.items():
        values = part.values
        if name not in subset:
            values = means[name].expand_as(values) * part.mask[..., None]
        parts[name] = Sequences(values, part.mask)
    return Batch(parts)
