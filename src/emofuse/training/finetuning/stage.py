"""A stage that fits encoders and model together: what it learns from, and through what."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable
from emofuse.manifest import Modality
from emofuse.models.contract import FusionModel
from emofuse.training.finetuning.backbone import Backbone, can_learn, open_backbone
from emofuse.training.finetuning.data import RawFeeder, RawItems, Waves
from emofuse.training.finetuning.encoder import LearningEncoder
from emofuse.training.finetuning.network import FinetuneNetwork
from emofuse.training.options import StageOptions, TrainerOptions

__all__ = ["Finetuning", "Learnt", "WaveShelf", "learning_modalities"]

Learnt = Mapping[str, Mapping[str, Tensor]]
"""Modality -> weights of its encoder that were learned, by their names in the encoder's folder."""


@dataclass
class WaveShelf:
    """The waveforms that all trainings of a process share."""

    waves: Waves | None = None

    def get(self, raw: RawItems, rate: int) -> Waves:
        """Give the waveforms at a rate; those that were read are not read again."""
        if self.waves is None or self.waves.rate != rate:
            self.waves = Waves(raw.clips, rate)
        return self.waves


def learning_modalities(
    stages: tuple[StageOptions, ...], encoders: Mapping[Modality, EncoderSpec], device: str = "cpu"
) -> tuple[Modality, ...]:
    """Name the modalities whose encoders some stage of kind ``finetune`` learns.

    Raises:
        OptionError: a stage names a modality that the recipe has not, or none of the encoders can
            learn.
        EncoderError: an encoder cannot be found.
    """
    found: dict[Modality, None] = {}
    for stage in stages:
        if stage.kind != "finetune":
            continue
        strange = [name for name in stage.encoders if name not in encoders]
        if strange:
            raise OptionError(
                f"stage {stage.name!r}: the recipe has no {strange[0]} encoder; "
                f"legal: {', '.join(encoders)}"
            )
        able = [name for name, spec in encoders.items() if _can_learn(name, spec, device)]
        unable = [name for name in stage.encoders if name not in able]
        if unable:
            raise OptionError(
                f"stage {stage.name!r}: encoder {encoders[unable[0]].name!r} cannot be fine-tuned; "
                "kind finetune takes Hugging Face encoders of speech and text"
            )
        chosen = stage.encoders or able
        if not chosen:
            raise OptionError(
                f"stage {stage.name!r}: none of the encoders can be fine-tuned "
                f"({', '.join(spec.name for spec in encoders.values())}); kind finetune takes "
                "Hugging Face encoders of speech and text"
            )
        found |= dict.fromkeys(chosen)
    return tuple(found)


def _can_learn(modality: Modality, spec: EncoderSpec, device: str) -> bool:
    return not spec.name.startswith(IMPORTED) and can_learn(load_encoder(modality, spec, device))


class Finetuning:
    """One stage of kind ``finetune`` of one training.

    Args:
        stage: which encoders, how deep, how fast.
        options: the trainer's, as in force in the stage.
        raw: where audio and text are.
        table: features of the encoders as they are at the start of the run.
        learnt: what earlier stages learned of the encoders.
        shelf: the waveforms.
        seed: of low-rank updates.
        device: where the network is.

    Raises:
        OptionError: an encoder that cannot learn, or nothing of it would.
        EncoderError: an encoder that cannot be read.
    """

    def __init__(
        self,
        stage: StageOptions,
        options: TrainerOptions,
        raw: RawItems,
        table: FeatureTable,
        *,
        learnt: Learnt,
        shelf: WaveShelf,
        seed: int,
        device: torch.device,
    ) -> None:
        self._stage, self._options = stage, options
        self._raw, self._table, self._device = raw, table, device
        self._learnt, self._seed = learnt, seed
        chosen = [name for name in raw.specs if not stage.encoders or name in stage.encoders]
        later = [name for name in learnt if name not in chosen]  # learned before, frozen now
        self._chosen = tuple(chosen)
        self._backbones: dict[Modality, Backbone] = {
            name: open_backbone(name, raw.specs[name], str(device))
            for name in raw.specs
            if name in chosen or name in later
        }
        audio = self._backbones.get("audio")
        self._waves = None if audio is None else shelf.get(raw, audio.encoder.sample_rate)

    def opened_again(self) -> Finetuning:
        """Give the same stage around encoders that are read again."""
        again = copy(self)
        again._backbones = {
            name: open_backbone(name, self._raw.specs[name], str(self._device))
            for name in self._backbones
        }
        return again

    def network(self, fusion: FusionModel) -> FinetuneNetwork:
        """Put the encoders before a fusion model."""
        encoders = {
            str(name): LearningEncoder(
                backbone,
                (self._stage.frozen_layers(name) or 0) if name in self._chosen else None,
                start=self._learnt.get(name),
                lora=self._stage.lora,
                checkpointing=self._options.gradient_checkpointing,
                seed=self._seed,
            ).to(self._device)
            for name, backbone in self._backbones.items()
        }
        rate = self._stage.encoder_learning_rate or self._options.learning_rate
        return FinetuneNetwork(
            fusion,
            encoders,
            encoder_rate=rate / self._options.learning_rate,
            layer_decay=self._stage.layer_decay or 1.0,
        )

    def feeder(self, rows: Tensor) -> RawFeeder:
        """Feed rows of the run."""
        return RawFeeder(
            self._table,
            rows,
            self._raw,
            self._backbones,
            waves=self._waves,
            order=tuple(self._table.modalities),
            most_frames=self._options.batch_frames,
            device=self._device,
        )
