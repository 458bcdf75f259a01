"""What the plain models share: how they take in a batch, and shares as weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.errors import FeatureError
from emofuse.layers import ModalityInput, Standardise, masked_mean
from emofuse.layers.pooling import PoolingKind
from emofuse.layers.sequence_input import SequenceInput
from emofuse.models.contract import Batch, FusionModel, ModelSpec, Sequences
from emofuse.options import Options

__all__ = [
    "PooledModel",
    "PooledOptions",
    "Taken",
    "attention_maps",
    "average_frames",
    "fit_inputs",
    "shares",
]


class PooledOptions(Options):
    """Options of every model that turns each modality into one vector first.

    Attributes:
        pooling: how frames become a vector (``mean``, ``max``, ``attention``); a pooled feature
            stays as it is.
        normalise: standardise by the mean and standard deviation of the training items.
    """

    pooling: PoolingKind = "mean"
    normalise: bool = True


@dataclass(frozen=True)
class Taken:
    """One modality of a batch, taken in.

    Attributes:
        vectors: ``(batch, dim)``, zeros where absent.
        present: ``(batch,)`` bool.
        attention: ``(batch, time)`` pooling weights, or None.
    """

    vectors: Tensor
    present: Tensor
    attention: Tensor | None


class PooledModel(FusionModel):
    """A model that standardises and pools each modality before anything else."""

    options_type = PooledOptions

    def __init__(self, spec: ModelSpec, options: PooledOptions) -> None:
        super().__init__(spec, options)
        self.inputs = nn.ModuleDict(
            {
                name: ModalityInput(dim, options.pooling, options.normalise)
                for name, dim in spec.dims.items()
            }
        )

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation over the real frames of the training items."""
        fit_inputs(self.inputs, batch)

    def condense(self, batch: Batch) -> Batch:
        """Pool in advance, unless the pooling is learned."""
        found: dict[str, Sequences] = dict(batch.modalities)
        for name, layer in self.inputs.items():
            if not isinstance(layer, ModalityInput) or layer.pooling.attention is not None:
                continue
            if name in found:
                part = found[name]
                vectors, _ = layer.pooling(part.values, part.mask)
                found[name] = Sequences(vectors[:, None], part.present[:, None])
        return Batch(found)

    def take_in(self, batch: Batch) -> dict[str, Taken]:
        """Give a vector an item for each modality that the batch has, in the model's order.

        Raises:
            FeatureError: the batch has none of the model's modalities.
        """
        taken: dict[str, Taken] = {}
        for name, layer in self.inputs.items():
            if name in batch.modalities:
                part = batch.modalities[name]
                taken[name] = Taken(*layer(part.values, part.mask))
        if not taken:
            known, found = ", ".join(self.spec.dims), ", ".join(batch.modalities) or "nothing"
            raise FeatureError(f"the model knows {known}; the batch holds {found}")
        return taken


def fit_inputs(layers: nn.ModuleDict, batch: Batch) -> None:
    """Let every layer that standardises take the statistics of its modality's real frames."""
    for name, layer in layers.items():
        if name in batch.modalities and isinstance(
            layer, ModalityInput | SequenceInput | Standardise
        ):
            part = batch.modalities[name]
            layer.fit(part.values, part.mask)


def average_frames(batch: Batch, names: Iterable[str]) -> Batch:
    """Give the batch with one averaged frame an item in these modalities; presence stays."""
    found: dict[str, Sequences] = dict(batch.modalities)
    for name in set(names) & set(found):
        part = found[name]
        pooled = masked_mean(part.values, part.mask)
        found[name] = Sequences(pooled[:, None], part.present[:, None])
    return Batch(found)


def attention_maps(taken: Mapping[str, Taken]) -> dict[str, Tensor]:
    """Collect the pooling weights, by modality."""
    return {name: one.attention for name, one in taken.items() if one.attention is not None}


def shares(sizes: Mapping[str, Tensor], taken: Mapping[str, Taken]) -> dict[str, Tensor]:
    """Turn sizes of 0 or more into shares over the modalities that each item has.

    Args:
        sizes: modality -> ``(batch,)``.
        taken: says which items have which modality.

    Returns:
        Modality -> ``(batch,)``: 0 where absent, summing to 1 where anything is present; equal
        shares where every size is 0.
    """
    present = torch.stack([taken[name].present for name in sizes], dim=1)
    stacked = torch.stack([size.detach().float() for size in sizes.values()], dim=1) * present
    total = stacked.sum(dim=1, keepdim=True)
    count = present.sum(dim=1, keepdim=True).clamp_min(1)
    shared = torch.where(total > 0, stacked / total.clamp_min(1e-30), present / count)
    return dict(zip(sizes, shared.unbind(dim=1), strict=True))
