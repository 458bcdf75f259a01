"""Encoders and fusion model as one network: raw audio and text in, emotions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from emofuse.models.contract import Batch, EmotionOutput, FusionModel
from emofuse.training.finetuning.data import RawBatch
from emofuse.training.finetuning.encoder import LearningEncoder

__all__ = ["FinetuneNetwork", "kept_state", "put_state", "rate_groups"]


class FinetuneNetwork(FusionModel):
    """A fusion model behind encoders that learn with it.

    Args:
        fusion: takes the features of all modalities.
        encoders: modality -> the encoder that learns; the features of other modalities are given.
        encoder_rate: rate of the encoders' uppermost layers, as a share of the model's.
        layer_decay: share of a layer's rate that the layer below learns at.
    """

    def __init__(
        self,
        fusion: FusionModel,
        encoders: Mapping[str, LearningEncoder],
        *,
        encoder_rate: float = 1.0,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(fusion.spec, fusion.options)
        self.fusion = fusion
        self.encoders = nn.ModuleDict(dict(encoders))
        self._rates = (encoder_rate, layer_decay)

    def forward(self, batch: Batch) -> EmotionOutput:
        """Encode what is raw, then recognise."""
        output: EmotionOutput = self.fusion(self.encode(batch))
        return output

    def encode(self, batch: Batch) -> Batch:
        """Give the batch of features that a raw one comes to."""
        if not isinstance(batch, RawBatch):
            return batch
        found = dict(batch.modalities)
        for name, inputs in batch.raw.items():
            found[name] = self.encoders[name](inputs)
        return Batch({name: found[name] for name in self.spec.dims if name in found})

    def needs(self) -> frozenset[str]:
        """Modalities that the fusion model cannot live without."""
        return self.fusion.needs()

    def merge(self) -> None:
        """Turn low-rank updates into plain weights."""
        for encoder in self.encoders.values():
            if isinstance(encoder, LearningEncoder):
                encoder.merge()

    def encoder_states(self) -> dict[str, dict[str, Tensor]]:
        """Give modality -> weights that may differ from its folder's, by their names there."""
        return {
            name: encoder.state()
            for name, encoder in self.encoders.items()
            if isinstance(encoder, LearningEncoder)
        }

    def kept(self) -> dict[str, Tensor]:
        """Give what a checkpoint must hold: all but the encoders' weights that never change."""
        learnt = {name for name, one in self.encoders.named_parameters() if one.requires_grad}
        return {
            name: one
            for name, one in self.state_dict().items()
            if not name.startswith("encoders.") or name.removeprefix("encoders.") in learnt
        }

    def layers(self) -> list[nn.Module]:
        """Give the transformer layers of all encoders."""
        encoders = [one for one in self.encoders.values() if isinstance(one, LearningEncoder)]
        return [layer for one in encoders for layer in one.backbone.layers]

    def pass_together(self, most: Callable[[int, torch.device], int]) -> None:
        """Let each encoder make as many passes as in the process that makes most.

        Args:
            most: gives the largest of the numbers that all processes say.
        """
        for encoder in self.encoders.values():
            if isinstance(encoder, LearningEncoder):
                encoder.pass_together(most)

    def take_anchors(self) -> list[Tensor]:
        """Give a scalar of 0 for each pass of an encoder since the last call."""
        return [
            anchor
            for encoder in self.encoders.values()
            if isinstance(encoder, LearningEncoder)
            for anchor in encoder.take_anchors()
        ]

    def rate_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Group what learns by its rate, as a share of the model's."""
        rate, decay = self._rates
        groups = [([p for p in self.fusion.parameters() if p.requires_grad], 1.0)]
        for encoder in self.encoders.values():
            if isinstance(encoder, LearningEncoder):
                groups += [(part, rate * share) for part, share in encoder.rate_groups(decay)]
        return [(params, share) for params, share in groups if params]


def rate_groups(model: FusionModel) -> list[tuple[list[nn.Parameter], float]]:
    """Group what learns of a model by its rate, as a share of the trainer's."""
    if isinstance(model, FinetuneNetwork):
        return model.rate_groups()
    return [([one for one in model.parameters() if one.requires_grad], 1.0)]


def kept_state(model: FusionModel) -> dict[str, Tensor]:
    """Give the weights that a checkpoint of a model must hold."""
    return model.kept() if isinstance(model, FinetuneNetwork) else model.state_dict()


def put_state(model: FusionModel, state: Mapping[str, Tensor]) -> None:
    """Put back what `kept_state` gave."""
    model.load_state_dict(dict(state), strict=not isinstance(model, FinetuneNetwork))
