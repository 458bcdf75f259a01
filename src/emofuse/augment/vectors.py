"""Changes of features that were encoded already: noise, dropped values, two items as one."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from emofuse.options import Options

__all__ = ["FeatureNoiseOptions", "MixupOptions", "blend", "disturb", "draw_share"]


class FeatureNoiseOptions(Options):
    """How features of training items are disturbed. The values are those of VGA-Fusion.

    Attributes:
        p: probability of each change of each modality, drawn for every item.
        dropout: share of the values of an item that are put to the mean of the training items.
        noise: standard deviation of what is added, in those of the training items.
        legacy: as released: drawn once for a whole batch; dropped values are 0 and the others
            grow to make up for them; noise is in units of the features, whatever their scale.
    """

    p: float = Field(default=0.5, ge=0.0, le=1.0)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    noise: float = Field(default=0.05, ge=0.0, le=100.0)
    legacy: bool = False


class MixupOptions(Options):
    """How pairs of training items become one (Zhang et al. 2018). The values are VGA-Fusion's.

    Attributes:
        p: probability that a batch is mixed.
        alpha: the share of an item is drawn from Beta(alpha, alpha), once a batch.
        legacy: as released: the loss `micl` gets the labels of the first item of each pair alone,
            and its share may be under a half.
    """

    p: float = Field(default=0.3, ge=0.0, le=1.0)
    alpha: float = Field(default=0.4, gt=0.0, le=100.0)
    legacy: bool = False


def draw_share(options: MixupOptions, rng: np.random.Generator) -> float | None:
    """Draw the share of the first item of each pair; None = this batch stays as it is.

    An item has at least half of its pair, which loses nothing, for pairs come in both orders, and
    lets a sequence keep its own length.
    """
    if rng.random() >= options.p:
        return None
    share = float(rng.beta(options.alpha, options.alpha))
    return share if options.legacy else max(share, 1.0 - share)


def blend(values: Tensor, mask: Tensor, partners: Tensor, share: float) -> Tensor:
    """Mix every item with a partner, frame by frame.

    Where the partner has no frame, an item's own stays as it is; it never gets longer, and never
    gets a modality that it lacks.

    Args:
        values: ``(batch, time, dim)``, zeros in the padding.
        mask: ``(batch, time)`` bool.
        partners: ``(batch,)`` item numbers.
        share: of the item itself, in [0, 1].

    Returns:
        ``(batch, time, dim)``, which goes with ``mask``.
    """
    both = (mask & mask[partners])[..., None]
    mixed = share * values + (1.0 - share) * values[partners]
    return torch.where(both, mixed, values)


def disturb(
    values: Tensor,
    mask: Tensor,
    options: FeatureNoiseOptions,
    *,
    mean: Tensor,
    spread: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Drop values and add noise.

    Args:
        values: ``(batch, time, dim)``, zeros in the padding.
        mask: ``(batch, time)`` bool.
        options: how.
        mean: ``(dim,)``, of the training items' frames; not read in the released form.
        spread: ``(dim,)``, their standard deviation; likewise.
        generator: of the draws, on the CPU.

    Returns:
        ``(batch, time, dim)``, zeros in the padding.
    """
    rows = 1 if options.legacy else len(values)

    def chosen() -> Tensor:
        drawn = torch.rand(rows, 1, 1, generator=generator) < options.p
        return drawn.to(values.device)

    found = values
    if options.dropout:
        kept = torch.rand(values.shape, generator=generator).to(values.device) >= options.dropout
        if options.legacy:
            dropped = values * kept / (1.0 - options.dropout)
        else:
            dropped = torch.where(kept, values, mean.to(values.dtype))
        found = torch.where(chosen(), dropped, found)
    if options.noise:
        added = torch.randn(values.shape, generator=generator).to(values) * options.noise
        louder = found + (added if options.legacy else added * spread.to(values.dtype))
        found = torch.where(chosen(), louder, found)
    return found * mask[..., None]
