"""What an answer loses when a piece is taken away: the check on gradients that needs none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from emofuse.explain.options import ScoreKind
from emofuse.explain.scores import masked_batch, score_of
from emofuse.models.contract import Batch, FusionModel

__all__ = ["delete_frames", "pieces_of", "rank_correlation"]

PIECES = 48
AT_ONCE = 32


def pieces_of(frames: int, most: int = PIECES) -> list[range]:
    """Cut frames into at most so many pieces of like length.

    >>> pieces_of(5, 2)
    [range(0, 2), range(2, 5)]
    """
    count = min(frames, most)
    edges = [round(place * frames / count) for place in range(count + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def delete_frames(
    model: FusionModel,
    batch: Batch,
    modality: str,
    pieces: Sequence[range],
    *,
    target: int,
    kind: ScoreKind,
) -> Tensor:
    """Score the utterance with all frames less its score without each piece: ``(pieces,)``.

    Frames are taken out of the mask and set to zero; the rest stays where it is. A piece that is
    all there is cannot be taken out: its drop is NaN.

    Args:
        model: in evaluation mode.
        batch: a batch of one.
        modality: whose frames.
        pieces: which of them.
        target: place of the class.
        kind: which score.
    """
    mask = batch.modalities[modality].mask
    left = mask.expand(len(pieces), -1).clone()
    for row, piece in enumerate(pieces):
        left[row, piece.start : piece.stop] = False
    drops = torch.full((len(pieces),), float("nan"))
    possible = left.any(dim=1).nonzero().flatten()
    with torch.no_grad():
        whole = score_of(model(batch).logits, target, kind)[0]
        for rows in torch.split(possible, AT_ONCE) if len(possible) else ():
            logits = model(masked_batch(batch, {modality: left[rows]})).logits
            drops[rows] = whole - score_of(logits, target, kind)
    return drops


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Give Spearman's correlation of two rows of numbers; None where one is constant or short."""
    from scipy.stats import rankdata

    one, two = (torch.as_tensor(row, dtype=torch.float64).flatten() for row in (first, second))
    known = torch.isfinite(one) & torch.isfinite(two)
    one, two = one[known], two[known]
    if len(one) < 3 or min(float(row.max() - row.min()) for row in (one, two)) == 0.0:
        return None
    ranks = torch.stack([torch.from_numpy(rankdata(row.numpy())) for row in (one, two)])
    return float(torch.corrcoef(ranks)[0, 1])
