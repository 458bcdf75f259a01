"""Which audio frames look at which words: attention maps, named, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.explain.axes import time_axis
from emofuse.explain.gradcam import seen_frames
from emofuse.explain.panel import NotApplicable
from emofuse.explain.scores import with_company
from emofuse.explain.subject import Case
from emofuse.explain.words import frame_tokens
from emofuse.models.contract import EmotionOutput, FusionModel
from emofuse.models.copenhagen import Copenhagen

__all__ = ["AttentionMap", "Side", "entropy_share", "read_maps"]

Floats = NDArray[np.float64]
JOINT = ("fused", "joint")
"""Sequences of text tokens followed by audio frames."""
MOVES = 1e-4
PATCH_FRAMES = 4


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a map.

    Attributes:
        modality: whose units these are.
        labels: of tokens; empty for frames.
        times: seconds (or frame numbers) at the centre of each unit; empty for tokens.
        unit: of the times.
    """

    modality: str
    labels: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    unit: str = "s"

    def __len__(self) -> int:
        return len(self.labels) or len(self.times)


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """A map of one utterance.

    Attributes:
        name: as the model calls it.
        queries, keys: what looks, and what is looked at; a pooling has one nameless query.
        weights: ``(queries, keys)``, averaged over heads. Each row sums to 1, or to the share that
            went to these keys where others are looked at as well.
        heads: how many were averaged.
    """

    name: str
    queries: Side
    keys: Side
    weights: Floats
    heads: int


def entropy_share(weights: Floats) -> float:
    """Give the mean entropy of the rows as a share of the largest possible: 1 = all the same.

    >>> round(entropy_share(np.full((2, 4), 0.25)), 6)
    1.0
    """
    if weights.shape[1] < 2:
        return 1.0
    rows = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    logs = np.log(np.maximum(rows, 1e-30))
    return float((-(rows * logs).sum(axis=1)).mean() / np.log(weights.shape[1]))


def read_maps(case: Case) -> tuple[list[AttentionMap], dict[str, str]]:
    """Give the maps of an utterance, and for each that is none the reason.

    Only the last layer's maps are read (the others have a number after ``#``).

    Raises:
        NotApplicable: the model gives no attention at all.
    """
    given = {name: one for name, one in case.output.attention.items() if "#" not in name}
    if not given:
        raise NotApplicable(
            f"model {case.subject.recipe.model['name']!r}, with these options, gives no attention"
        )
    maps: list[AttentionMap] = []
    refused: dict[str, str] = {}
    moved = _moved_by_company(case.model, case)
    for name, weights in given.items():
        try:
            _check(name, weights, moved)
            maps += _cut(case, name, weights)
        except NotApplicable as error:
            refused[name] = str(error)
    return maps, refused


def _check(name: str, weights: Tensor, moved: Mapping[str, float]) -> None:
    """Refuse what is no map of this utterance.

    Raises:
        NotApplicable: with the reason.
    """
    if weights.shape[0] != 1 or weights.ndim < 2:
        raise NotApplicable(
            f"its shape {tuple(weights.shape)} does not begin with one utterance: it is a map of "
            "a batch, not of an utterance"
        )
    seen = weights[0].reshape(-1, weights.shape[-1])
    keys = int((seen > 0).any(dim=0).sum())
    if keys <= 1:
        raise NotApplicable(
            "attention over one element: a softmax over one key is 1 whatever is asked, so the "
            "map means nothing (give the encoder granularity: frames)"
        )
    if moved.get(name, 0.0) > MOVES:
        raise NotApplicable(
            "the map changes with the company of the utterance in its batch (a weight by "
            f"{moved[name]:.2g}): it is a map of the batch, not of the utterance"
        )


def _moved_by_company(model: FusionModel, case: Case) -> dict[str, float]:
    with torch.no_grad():
        other: EmotionOutput = model(with_company(case.batch, 100.0))
    found = {}
    for name, one in case.output.attention.items():
        two = other.attention.get(name)
        if two is not None and two.shape[1:] == one.shape[1:] and len(two) == 2 and len(one) == 1:
            found[name] = float((two[0] - one[0]).abs().max())
    return found


def _cut(case: Case, name: str, weights: Tensor) -> list[AttentionMap]:
    """Name the sides of a map; one over text and audio end to end becomes its parts.

    Raises:
        NotApplicable: the units of a side are not known.
    """
    table, heads = _table(weights)
    asking, _, looked = name.partition("->")
    if not looked:  # a pooling: one weight a frame
        side = _side(case, name, table.shape[1])
        return [AttentionMap(name, Side("pooling", ("weight",)), side, table, heads)]
    if looked not in JOINT:
        rows, keys = _side(case, asking, table.shape[0]), _side(case, looked, table.shape[1])
        return [AttentionMap(name, rows, keys, table, heads)]
    return _joint(case, name, table, heads)


def _table(weights: Tensor) -> tuple[Floats, int]:
    one = weights[0].double()
    if one.ndim == 3:
        return one.mean(dim=0).numpy(), len(one)
    return (one[None] if one.ndim == 1 else one).numpy(), 1


def _joint(case: Case, name: str, table: Floats, heads: int) -> list[AttentionMap]:
    words = case.batch.modalities["text"].values.shape[1] if "text" in case.batch.modalities else 0
    if not 0 < words < table.shape[1]:
        raise NotApplicable("text or audio is absent: nothing looks across")
    audio = _side(case, "audio", table.shape[1] - words)
    text = _side(case, "text", words)
    if table.shape[0] == table.shape[1]:
        across = AttentionMap(f"{name}: text->audio", text, audio, table[:words, words:], heads)
        back = AttentionMap(f"{name}: audio->text", audio, text, table[words:, :words], heads)
        return [across, back]
    first = Side("first token", text.labels[:1] or ("first",))
    return [
        AttentionMap(f"{name}: first token->audio", first, audio, table[:1, words:], heads),
        AttentionMap(f"{name}: first token->text", first, text, table[:1, :words], heads),
    ]


def _side(case: Case, modality: str, count: int) -> Side:
    """Name ``count`` units of a modality.

    Raises:
        NotApplicable: they are no frames or tokens of the utterance.
    """
    part = case.batch.modalities.get(modality)
    if part is None:
        raise NotApplicable(f"the utterance has no {modality}: a learned vector stands in for it")
    frames = int(part.values.shape[1])
    if modality == "text":
        if count > frames:
            raise NotApplicable(f"{count} units made of {frames} text vectors are no tokens")
        encoder = case.encoder("text")
        tokens = frame_tokens(encoder, case.utterance.text or "", frames)
        return Side("text", tuple(one.piece for one in tokens[:count]))
    axis = time_axis(case.description(modality))
    if count == frames:
        return Side(modality, (), tuple(axis.centres(frames).tolist()), axis.unit)
    if isinstance(case.model, Copenhagen) and modality == "audio":
        start, seen = seen_frames(case.model, frames)
        by_map = case.model.reading.audio_tokens == "resnet_map"
        if not by_map and count == min(-(-seen // PATCH_FRAMES), seen):
            places = axis.centres(seen, start)
            middle = [
                float(places[a : a + PATCH_FRAMES].mean()) for a in range(0, seen, PATCH_FRAMES)
            ]
            return Side(modality, (), tuple(middle[:count]), axis.unit)
    raise NotApplicable(
        f"its {count} {modality} units are not the {frames} frames of the utterance (views, cells "
        "or a cut): they have no times"
    )
