"""Where the voices lie that a model learned from, for its bundle."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.features.table import FeatureTable
from emofuse.labels import LabelScheme
from emofuse.models.voices_note import VoicesNote, pack
from emofuse.training.centring import speaker_means
from emofuse.training.parts import Part

__all__ = ["voices_note"]

AUDIO = "audio"


def voices_note(table: FeatureTable, learnt: Part, scheme: LabelScheme) -> VoicesNote | None:
    """Sum up the pooled audio features of what a model learned from.

    The mean is that of the items, where `centring` moves each training speaker's mean. ``half`` is
    the variance of utterances around their speaker over that of speakers' means, each summed over
    the features: how many utterances tell as much of a speaker as is known beforehand.

    Args:
        table: features by the run's encoders.
        learnt: the items, with who said them.
        scheme: the classes.

    Returns:
        None where there is no audio, where it has several frames an utterance, or where there are
        not two speakers with two utterances to compare.
    """
    part = table.modalities.get(AUDIO)
    if part is None or (len(part.lengths) and int(part.lengths.max()) > 1):
        return None
    found = part.gather(learnt.rows)
    there = found.mask[:, 0]
    values = found.values[there, 0].double()
    groups, labels = learnt.groups[there], learnt.targets.labels[there]
    names, sizes = torch.unique(groups, return_counts=True)
    if len(names) < 2 or int(sizes.max()) < 2:
        return None
    means = speaker_means(values, groups, labels)
    between = means.var(dim=0, correction=0).sum()
    _, place = torch.unique(groups, return_inverse=True)
    own = values - means[place]
    return VoicesNote(
        dim=part.dim,
        mean=pack(values.mean(dim=0).numpy()),
        moods={name: pack(_mood(own, labels == n)) for n, name in enumerate(scheme.classes)},
        half=float(_within(values, groups) / between.clamp_min(1e-12)),
        utterances=len(values),
        speakers=len(names),
    )


def _mood(own: Tensor, mine: Tensor) -> NDArray[np.float64]:
    """Mean of what a class has beyond its speakers; zeros where nobody has it."""
    return np.asarray(own[mine].sum(dim=0).numpy() / max(int(mine.sum()), 1))


def _within(values: Tensor, groups: Tensor) -> Tensor:
    """Variance of items around their group's mean, the groups alike, summed over features."""
    spreads = [values[groups == group].var(dim=0, correction=0) for group in torch.unique(groups)]
    return torch.stack(spreads).mean(dim=0).sum()
