"""Cross-modal emotion label matching: do the two halves of a pair carry the same emotion?

Li et al., "Enhancing Modal Fusion by Alignment and Label Matching for Multimodal Emotion
Recognition", Interspeech 2024. The pairs are drawn here, never in the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from emofuse.errors import OptionError
from emofuse.layers.alignment import cosines
from emofuse.layers.gather import gather_rows, own_rows, process_count
from emofuse.layers.share import Share, sharing
from emofuse.losses.avel import Aligned, aligned
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["MEM", "MEMOptions", "draw", "matching_loss"]

Negatives = Literal["sampled", "hardest", "uniform"]
OTHER, SAME = 0, 1


def draw(
    similarities: Tensor,
    allowed: Tensor,
    how: Negatives = "sampled",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose a partner for every row.

    Args:
        similarities: ``(rows, columns)``, temperature included; ``uniform`` does not look at them.
        allowed: ``(rows, columns)`` bool.
        how: ``sampled`` by the softmax over what is allowed, ``hardest`` (the most similar), or
            ``uniform``.
        generator: source of the draws; torch's own where there is none.

    Returns:
        ``(rows,)`` column numbers and ``(rows,)`` bool, False where nothing is allowed.

    >>> draw(torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[True, False, True]]), "hardest")
    (tensor([2]), tensor([True]))
    """
    found = allowed.any(dim=1)
    scores = torch.zeros_like(similarities) if how == "uniform" else similarities.detach()
    scores = scores.float().masked_fill(~allowed, float("-inf"))
    scores = scores.masked_fill(~found[:, None], 0.0)
    if how == "hardest":
        return scores.argmax(dim=1), found
    shares = torch.softmax(scores, dim=1)
    return torch.multinomial(shares, 1, generator=generator).squeeze(1), found


def matching_loss(same: Tensor, other: Tensor, extra: Tensor | None = None) -> Tensor:
    """Give the cross-entropy of matching, every anchor's positives together as one negative.

    Args:
        same: ``(anchors, 2)`` logits (other, same emotion) of the anchors' own pairs.
        other: ``(anchors, 2)`` logits of their negative pairs.
        extra: ``(anchors, 2)`` logits of second positives; rows of NaN where there is none.

    Returns:
        A scalar: the mean over anchors of half the positives' mean and half the negative.
    """
    ones = torch.full((len(same),), SAME, device=same.device)
    positive = cross_entropy(same.float(), ones, reduction="none")
    if extra is not None:
        there = torch.isfinite(extra).all(dim=1)
        safe = extra.float().masked_fill(~there[:, None], 0.0)
        second = cross_entropy(safe, ones, reduction="none")
        positive = torch.where(there, 0.5 * (positive + second), positive)
    negative = cross_entropy(other.float(), torch.full_like(ones, OTHER), reduction="none")
    return 0.5 * (positive + negative).mean()


class MEMOptions(Options):
    """Options of `MEM`.

    Attributes:
        negatives: how partners of another emotion are drawn (see `draw`).
        positives: ``own``: an item's own pair; ``own+same_label``: also one with another item of
            the same emotion, so that speaker, place and length do not give the answer away.
        reuse_positive: take the own pairs as the model fused them for its answer; otherwise they
            are fused again, which draws other dropout masks.
        legacy: as released: an anchor without a negative gets a partner of its own label, called
            a negative.
    """

    negatives: Negatives = "sampled"
    positives: Literal["own", "own+same_label"] = "own"
    reuse_positive: bool = True
    legacy: bool = False


@dataclass(frozen=True)
class _Direction:
    """One direction: the modality that asks, the one that is asked, who may be whose partner.

    The tables are of the items of all processes, ``own`` are the numbers of this one's.
    """

    query: str
    memory: str
    similarities: Tensor
    same: Tensor
    complete: Tensor
    own: Tensor


class MEM(LossTerm):
    """Matching of labels across modalities, averaged over both directions.

    Negatives come from the items of the batch, those of other processes included; the gradient
    reaches them there, so that the average over the processes is the value and the gradient of one
    process. Anchors that lack a modality, or for which the batch has no negative, are left out. In
    training the draws come from torch's own generator, which the run seeds; in evaluation mode from
    a seed of their own, the same each time.
    """

    options_type = MEMOptions
    gathers = True

    def __init__(self, options: MEMOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.chosen = options

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch; 0 where no anchor has a negative.

        Raises:
            OptionError: the model cannot fuse other pairs, or gives no projections to draw by.
        """
        if output.rematch is None:
            raise OptionError(
                "the loss 'mem' needs a model that fuses other pairs (foal-net with mem: true)"
            )
        device = targets.labels.device
        generator = None if self.training else torch.Generator(device).manual_seed(0)
        values = [
            self._one(direction, output, generator)
            for direction in self._directions(output, targets.labels)
        ]
        return torch.stack(values).mean()

    def _directions(self, output: EmotionOutput, labels: Tensor) -> list[_Direction]:
        prefix = "present:"
        present = {k[len(prefix) :]: v for k, v in output.extras.items() if k.startswith(prefix)}
        first, second = present
        complete = gather_rows(present[first] & present[second])
        everyone = gather_rows(labels)
        same = everyone[:, None] == everyone[None, :]
        if self.chosen.negatives == "uniform":
            flat = torch.zeros_like(same, dtype=torch.float32)
        else:
            parts = aligned(output, "mem")
            flat = _similarities(parts[first], parts[second], output.extras["scale"])
        own = own_rows(labels)
        return [
            _Direction(first, second, flat, same, complete, own),
            _Direction(second, first, flat.T, same, complete, own),
        ]

    def _one(
        self, at: _Direction, output: EmotionOutput, generator: torch.Generator | None
    ) -> Tensor:
        options = self.chosen
        usable = at.complete[None, :].expand_as(at.same)
        allowed = ~at.same & usable
        if options.legacy:
            allowed = torch.where(allowed.any(dim=1, keepdim=True), allowed, usable)
        # Every process draws for all of them: what one may be asked for is known to the others.
        partners, found = draw(at.similarities, allowed, options.negatives, generator)
        anchors = found & at.complete
        matches = output.extras[f"match:{at.query}"]
        if not bool(anchors.any()):
            return matches.sum() * 0.0
        mine = anchors[at.own]
        rows = at.own[mine]
        positive = (
            matches[mine] if options.reuse_positive else _matches(output, at, rows, rows, anchors)
        )
        negative = _matches(output, at, rows, partners[rows], anchors)
        second = self._second(at, output, anchors, generator)
        if not len(rows):  # no anchor here, some elsewhere: the gradient of theirs is waited for
            return (positive.sum() + negative.sum()) * 0.0
        share = len(rows) * process_count() / anchors.sum()
        return matching_loss(positive, negative, second) * share

    def _second(
        self,
        at: _Direction,
        output: EmotionOutput,
        anchors: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor | None:
        """Logits of pairs with another item of the same label; rows of NaN where there is none."""
        if self.chosen.positives == "own":
            return None
        others = ~torch.eye(len(at.same), dtype=torch.bool, device=at.same.device)
        allowed = at.same & others & at.complete[None, :]
        partners, found = draw(at.similarities, allowed, "uniform", generator)
        if not bool((found & anchors).any()):
            return None
        mine = at.own[anchors[at.own]]
        there = found[mine]
        rows = mine[there]
        logits = _matches(output, at, rows, partners[rows], anchors & found)
        full = logits.new_full((len(mine), 2), float("nan"))
        return full.index_put((there.nonzero().squeeze(1),), logits)


def _similarities(first: Aligned, second: Aligned, scale: Tensor) -> Tensor:
    rows = [gather_rows(part.rows.detach(), differentiable=False) for part in (first, second)]
    return cosines(*rows) * scale.detach()


def _matches(
    output: EmotionOutput, at: _Direction, queries: Tensor, memories: Tensor, asked: Tensor
) -> Tensor:
    """Fuse pairs of this process; ``asked`` marks the queries of all, who draw dropout as one."""
    if output.rematch is None:
        raise OptionError("the loss 'mem' needs a model that fuses other pairs")
    pairs = {at.query: queries, at.memory: memories}
    if process_count() == 1:
        return output.rematch(pairs)[f"match:{at.query}"]
    before = int(asked[: int(at.own[0])].sum()) if len(at.own) else int(asked.sum())
    with sharing(Share(before, len(queries), int(asked.sum()))):
        return output.rematch(pairs)[f"match:{at.query}"]
