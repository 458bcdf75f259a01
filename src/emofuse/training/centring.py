"""Features of training items without what is their speaker's own: their speaker's mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.training.parts import Part

__all__ = ["centre_groups", "speaker_means"]


def centre_groups(
    table: FeatureTable, train: Part, names: Sequence[str]
) -> tuple[FeatureTable, Part]:
    """Move every training speaker's mean onto the mean of all.

    A model then learns how a voice changes with the emotion and not who is likely to speak with
    which. Items that are recognised later are taken as they are, so that nothing need be known of
    their speaker. A speaker's mean weighs the emotions alike; the mean of all is that of the items.

    Args:
        table: features, one frame an item in the modalities named.
        train: its items move, and so do their views, by as much.
        names: modalities.

    Returns:
        A table in which the training items' rows are replaced, and the part with its views.

    Raises:
        OptionError: a modality that is not there, or that has sequences of frames.
    """
    parts = dict(table.modalities)
    views = train.views
    for name in names:
        if name not in parts:
            raise OptionError(f"trainer.centre names {name!r}; there is {', '.join(parts)}")
        part = parts[name]
        if int(part.lengths.max()) > 1:
            raise OptionError(f"trainer.centre: {name} has sequences; it takes pooled features")
        shift = _shifts(part, train)
        parts[name] = _moved(part, train.rows, shift)
        if views is not None and name in views.features:
            there = views.rows >= 0
            items = torch.arange(len(train)).to(shift.device)[:, None].expand_as(views.rows)
            moved = _moved(views.features[name], views.rows[there], shift[items[there]])
            views = replace(views, features={**views.features, name: moved})
    return replace(table, modalities=parts), replace(train, views=views)


def speaker_means(values: Tensor, groups: Tensor, labels: Tensor) -> Tensor:
    """Give each group's mean ``(groups, dim)``, its labels weighing alike, in order of its number.

    Args:
        values: ``(items, dim)``.
        groups: ``(items,)`` long, who said it.
        labels: ``(items,)`` long, what it should be.
    """
    found = []
    for group in torch.unique(groups).tolist():
        mine = groups == group
        kinds = torch.unique(labels[mine]).tolist()
        means = torch.stack([values[mine & (labels == kind)].mean(dim=0) for kind in kinds])
        found.append(means.mean(dim=0))
    return torch.stack(found)


def _shifts(part: Ragged, train: Part) -> Tensor:
    """Give ``(items, dim)``: from each item's speaker's mean to the mean of all."""
    found = part.gather(train.rows)
    values, there = found.values[:, 0], found.mask[:, 0]
    shift = torch.zeros_like(values)
    if not bool(there.any()):
        return shift
    whole = values[there].mean(dim=0)
    groups, labels = train.groups.to(values.device), train.targets.labels.to(values.device)
    means = speaker_means(values[there], groups[there], labels[there])
    _, place = torch.unique(groups[there], return_inverse=True)
    shift[there] = whole - means[place]
    return shift


def _moved(part: Ragged, rows: Tensor, shift: Tensor) -> Ragged:
    """Add to the only frame of each of these items."""
    rows = rows.to(part.values.device)
    there = part.lengths[rows] > 0
    values = part.values.clone()
    values.index_add_(0, part.offsets[rows[there]], shift[there])
    return Ragged(values, part.offsets)
