"""What fine-tuning needs of a Hugging Face encoder, be it of speech or of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.hf_audio import HFSpeech
from emofuse.encoders.hf_folder import ModelFolder
from emofuse.encoders.hf_text import HFText
from emofuse.errors import OptionError
from emofuse.manifest import Modality

__all__ = ["Backbone", "Prepared", "can_learn", "open_backbone"]

SPARE_SAMPLES = 1600
Unit = Any
"""What one pass takes: a spectrogram, a waveform, or the numbers of tokens."""
Prepared = Sequence[Unit]
"""An utterance, ready for the encoder; a clip longer than the model takes is several units."""


@dataclass(frozen=True)
class Backbone:
    """An encoder with its weights open.

    Attributes:
        encoder: as the store's features were made with it, in fp32.
        folder: where its weights came from.
        module: the weights.
        layers: the transformer layers that the features depend on, the lowest first.
        above: what they depend on above the last layer.
        prefix: what the names of `module` begin with in the folder's weights.
        prepare: an utterance's waveform, or its text, in; units out.
        size: frames or tokens of a unit.
        states: units in, ``(frames, dim)`` of the chosen hidden layer each out; gradients pass.
        spare: gives a short unit of nothing.
    """

    encoder: Encoder
    folder: ModelFolder
    module: nn.Module
    layers: list[nn.Module]
    above: list[nn.Module]
    prefix: str
    prepare: Callable[[Item], Prepared]
    size: Callable[[Unit], int]
    states: Callable[[Sequence[Unit]], list[Tensor]]
    spare: Callable[[], Unit]


def can_learn(encoder: Encoder) -> bool:
    """Tell whether an encoder has weights that fine-tuning knows how to reach."""
    return isinstance(encoder, HFSpeech | HFText)


def open_backbone(modality: Modality, spec: EncoderSpec, device: str) -> Backbone:
    """Open an encoder for learning, in fp32 whatever the spec says.

    Raises:
        OptionError: it is no Hugging Face encoder of speech or text.
        EncoderError: it cannot be found or read.
    """
    encoder = load_encoder(modality, spec.model_copy(update={"precision": "fp32"}), device)
    if isinstance(encoder, HFSpeech):
        return _speech(encoder)
    if isinstance(encoder, HFText):
        return _text(encoder)
    raise OptionError(
        f"encoder {spec.name!r} cannot be fine-tuned; a stage of kind finetune takes Hugging Face "
        "encoders of speech and text (leave the modality out of the stage's encoders)"
    )


def _speech(encoder: HFSpeech) -> Backbone:
    model = encoder.open()

    def prepare(item: Item) -> list[FloatArray]:
        return [] if item.waveform is None else model.prepare(encoder.heard(item))

    return Backbone(
        encoder,
        encoder.folder,
        model.module,
        model.layers,
        model.above,
        model.prefix,
        prepare,
        model.frames,
        model.forward,
        lambda: model.prepare(np.zeros(SPARE_SAMPLES, np.float32))[0],
    )


def _text(encoder: HFText) -> Backbone:
    module = encoder.open()

    def prepare(item: Item) -> list[list[int]]:
        return [encoder.tokens(item)]

    return Backbone(
        encoder,
        encoder.folder,
        module,
        encoder.layers,
        [],
        encoder.prefix,
        prepare,
        len,
        encoder.states,
        lambda: encoder.tokens(Item("", text=".")),
    )
