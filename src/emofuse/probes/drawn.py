"""Drawn features of plausible sizes, for a recipe without data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.training.parts import DIMENSIONS, Part

__all__ = ["LENGTHS", "LONG", "drawn_items"]

LENGTHS: Mapping[str, int] = {"audio": 50, "text": 12, "video": 30}
"""Frames of a drawn utterance, where the encoder gives a sequence: one second, a dozen tokens."""
LONG: Mapping[str, int] = {"audio": 1100, "text": 140, "video": 200}
"""Longer than models look: for options that only act on what is cut."""
SPEAKERS = 8


def drawn_items(
    dims: Mapping[str, int],
    lengths: Mapping[str, int],
    classes: int,
    vad: Mapping[str, tuple[float, float]],
    *,
    items: int = 128,
    seed: int = 0,
) -> tuple[FeatureTable, Part]:
    """Draw features whose every modality tells the classes apart, to some degree.

    A frame is the modality's own offset and scale, plus a centre of the class, plus noise of
    standard deviation 1; an utterance has between half of ``lengths`` and all of it in frames.

    Args:
        dims: modality -> feature size.
        lengths: modality -> longest sequence; 1 = pooled vectors.
        classes: number of classes; every class is drawn equally often.
        vad: range of valence, arousal and dominance, whose targets are drawn evenly.
        items: number of utterances.
        seed: of the draws.

    Returns:
        the features, and all of them as a part to learn from.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(items) % classes)
    modalities: dict[str, Ragged] = {}
    for name, dim in dims.items():
        centres = rng.normal(scale=min(0.5, 2.0 / dim**0.5), size=(classes, dim))
        offset = rng.normal(scale=0.5, size=dim)
        scale = rng.uniform(0.5, 1.5, size=dim)
        longest = lengths.get(name, 1)
        sizes = rng.integers(-(-longest // 2), longest + 1, size=items)
        arrays = [
            (
                offset
                + scale
                * (
                    centres[label]
                    + rng.normal(scale=0.7, size=(1, dim))
                    + rng.normal(scale=0.7, size=(size, dim))
                )
            ).astype(np.float32)
            for label, size in zip(labels, sizes, strict=True)
        ]
        modalities[name] = Ragged.from_arrays(arrays, dim)
    table = FeatureTable(tuple(f"drawn-{row}" for row in range(items)), modalities, {})
    soft = np.full((items, classes), 0.2 / classes)
    soft[np.arange(items), labels] += 0.8
    ranges = [vad.get(name, (-1.0, 1.0)) for name in DIMENSIONS]
    points = np.stack([rng.uniform(low, high, size=items) for low, high in ranges], axis=1)
    targets = Targets(
        torch.from_numpy(labels).long(),
        torch.from_numpy(soft).float(),
        torch.from_numpy(points).float(),
    )
    groups = torch.from_numpy(rng.integers(0, SPEAKERS, size=items)).long()
    return table, Part(torch.arange(items), targets, groups)
