"""The Copenhagen study: six networks over a log-mel spectrogram and BERT's tokens (Lian, 2025).

The study compares a ResNet-18, convolutions with an LSTM, and a Transformer over patches (speech
alone), a perceptron (text alone), early fusion, and cross-attention of patches and tokens. Audio
is ``(time, 64)`` log-mel frames, text the tokens of BERT or its [CLS] vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from emofuse.errors import FeatureError, OptionError
from emofuse.layers import Standardise
from emofuse.layers.clip import crop_frames
from emofuse.layers.copenhagen_cross import CrossAttention
from emofuse.layers.copenhagen_early import EarlyFusion
from emofuse.layers.copenhagen_reading import Found, Reading
from emofuse.layers.copenhagen_solo import Solo
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec, Sequences
from emofuse.models.parts import Taken, average_frames, fit_inputs, shares
from emofuse.options import Options

__all__ = ["Copenhagen", "CopenhagenOptions"]

Architecture = Literal[
    "resnet18", "cnn-bilstm", "audio-transformer", "text-mlp", "early-fusion", "cross-attention"
]
TAKES: Mapping[str, tuple[str, ...]] = {
    "resnet18": ("audio",),
    "cnn-bilstm": ("audio",),
    "audio-transformer": ("audio",),
    "text-mlp": ("text",),
    "early-fusion": ("audio", "text"),
    "cross-attention": ("audio", "text"),
}
READS: Mapping[str, frozenset[str]] = {
    "resnet18": frozenset({"masked_gap", "max_frames", "crop"}),
    "cnn-bilstm": frozenset({"pooling", "max_frames", "crop"}),
    "audio-transformer": frozenset({"patch", "positions", "max_frames", "crop"}),
    "text-mlp": frozenset(),
    "early-fusion": frozenset({"fusion", "masked_gap", "classifier", "max_frames", "crop"}),
    "cross-attention": frozenset(
        {"text_tokens", "special_tokens", "max_tokens", "direction", "audio_tokens", "positions"}
        | {"max_frames", "crop"}
    ),
}
"""Which options an architecture reads beside ``variant``, ``normalise`` and ``dropout``."""
FUSION_READS: Mapping[str, frozenset[str]] = {
    "resnet+cls": frozenset({"fusion", "masked_gap", "max_frames", "crop"}),
    "w2v2+cls": frozenset({"fusion", "classifier"}),
    "flatmel+cls": frozenset({"fusion", "max_frames", "crop"}),
}
RELEASED = ("resnet18", "text-mlp", "early-fusion")
"""Architectures whose code was committed; the others have no published variant."""
NOT_RELEASED = frozenset({"masked_gap", "crop", "normalise"})
"""What the committed code does not have."""
DROPOUT: Mapping[str, float] = {
    "resnet18": 0.3,
    "cnn-bilstm": 0.3,
    "audio-transformer": 0.1,
    "text-mlp": 0.3,
    "early-fusion": 0.5,
    "cross-attention": 0.1,
}
DEFAULTS: Mapping[str, object] = {
    "normalise": True,
    "max_frames": 998,
    "crop": "random",
    "masked_gap": True,
    "pooling": "attention",
    "patch": "64x4",
    "positions": "learned",
    "classifier": "hidden",
    "text_tokens": "sequence",
    "special_tokens": "keep",
    "max_tokens": 128,
    "direction": "both",
    "audio_tokens": "patch",
}


class CopenhagenOptions(Options):
    """Options of `Copenhagen`. None = the default in brackets; one that is not read is an error.

    Attributes:
        variant: ``described`` by the study's documents, or ``published``: what its code does, for
            ``resnet18``, ``text-mlp`` and ``early-fusion`` (the others were never committed).
        architecture: which of the six networks.
        normalise: z-score each band by the training items [true].
        dropout: share dropped [0.3; early fusion 0.5, the two Transformers 0.1].
        max_frames: longest clip, frames of 10 ms [998, which is 10 s].
        crop: how a longer clip is cut in training, ``random`` or ``centre`` [random]; otherwise
            its middle is taken.
        masked_gap: average the ResNet's maps over real columns alone [true]; false pads every clip
            to ``max_frames`` and averages over all, so that the network reads the clip's length.
        pooling: of the LSTM's steps, ``attention`` or ``mean`` [attention].
        patch: bands by frames of a patch of the Transformer, ``64x4`` or ``16x16`` [64x4, which
            means all bands].
        positions: ``learned`` or ``sinusoid`` [learned].
        fusion: which early fusion [resnet+cls; the published variant flatmel+cls].
        classifier: of w2v2+cls, one ``hidden`` layer or the ``mlp`` of text alone [hidden].
        text_tokens: text tokens to attend to, the ``sequence`` or ``cls`` alone [sequence].
        special_tokens: ``keep`` or ``drop`` the first and the last token of a text [keep].
        max_tokens: longest text [128].
        direction: ``both``, or one alone: ``text->audio`` lets text tokens look at audio [both].
        audio_tokens: ``patch``, or ``resnet_map``: cells of the third stage of a ResNet [patch].
    """

    variant: Literal["described", "published"] = "described"
    architecture: Architecture = "cross-attention"
    normalise: bool | None = None
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    max_frames: int | None = Field(default=None, ge=16, le=100_000)
    crop: Literal["random", "centre"] | None = None
    masked_gap: bool | None = None
    pooling: Literal["attention", "mean"] | None = None
    patch: Literal["64x4", "16x16"] | None = None
    positions: Literal["learned", "sinusoid"] | None = None
    fusion: Literal["resnet+cls", "w2v2+cls", "flatmel+cls"] | None = None
    classifier: Literal["hidden", "mlp"] | None = None
    text_tokens: Literal["sequence", "cls"] | None = None
    special_tokens: Literal["keep", "drop"] | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    direction: Literal["both", "text->audio", "audio->text"] | None = None
    audio_tokens: Literal["patch", "resnet_map"] | None = None

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        unread = given - READS[self.architecture] - {"variant", "architecture", "normalise"}
        if unread - {"dropout"}:
            name = min(unread - {"dropout"})
            raise ValueError(f"architecture {self.architecture!r} does not read {name!r}")
        self._check_fusion(given)
        if self.variant == "published":
            self._check_published(given)
        if self.text_tokens == "cls" and self.special_tokens is not None:
            raise ValueError("text_tokens 'cls' does not read 'special_tokens'")
        return self

    def _check_fusion(self, given: set[str]) -> None:
        if self.architecture != "early-fusion":
            return
        known = frozenset().union(*FUSION_READS.values())
        unread = (given & known) - FUSION_READS[self.fused]
        if unread:
            raise ValueError(f"fusion {self.fused!r} does not read {min(unread)!r}")

    def _check_published(self, given: set[str]) -> None:
        if self.architecture not in RELEASED:
            raise ValueError(f"the code of {self.architecture!r} was never released: described")
        if self.architecture == "early-fusion" and self.fused == "resnet+cls":
            raise ValueError("the code of fusion 'resnet+cls' was never released: described")
        if given & NOT_RELEASED:
            raise ValueError(f"the released code has no {min(given & NOT_RELEASED)!r}")

    @property
    def fused(self) -> str:
        """Which early fusion is in force."""
        default = "flatmel+cls" if self.variant == "published" else "resnet+cls"
        return self.fusion or default

    def reading(self) -> Reading:
        """Every option with its default in place."""
        found = {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in DEFAULTS.items()
        }
        usual = DROPOUT[self.architecture]
        if self.fused == "w2v2+cls" and self.architecture == "early-fusion":
            usual = 0.3
        return Reading(
            **found,  # type: ignore[arg-type]
            published=self.variant == "published",
            fusion=self.fused,
            dropout=usual if self.dropout is None else self.dropout,
        )


class Copenhagen(FusionModel):
    """The Copenhagen study: ResNet-18, CNN + BiLSTM, Transformers over patches, fusions with BERT.

    The ``described`` variant reads masks everywhere, and its fusions answer with either modality
    alone. Frames given to a network of sentence vectors are averaged first.
    """

    options_type = CopenhagenOptions

    def __init__(self, spec: ModelSpec, options: CopenhagenOptions) -> None:
        super().__init__(spec, options)
        wanted = TAKES[options.architecture]
        if set(spec.dims) != set(wanted):
            have = ", ".join(spec.dims)
            raise OptionError(
                f"architecture {options.architecture!r} takes {' and '.join(wanted)}; the encoders "
                f"give {have}"
            )
        self.reading = options.reading()
        self.vectors = {
            name
            for name in wanted
            if options.architecture == "text-mlp"
            or (options.architecture == "early-fusion" and name == "text")
            or (options.architecture == "early-fusion" and options.fused == "w2v2+cls")
        }
        normalise = self.reading.normalise and not self.reading.published
        self.standardise = torch.nn.ModuleDict(
            {name: Standardise(spec.dims[name]) for name in wanted if normalise}
        )
        self.network = _network(spec, options, self.reading)

    def needs(self) -> frozenset[str]:
        """The published variant needs all its modalities."""
        return frozenset(self.spec.dims) if self.reading.published else frozenset()

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation of each band over the training items' real frames."""
        fit_inputs(self.standardise, batch)

    def condense(self, batch: Batch) -> Batch:
        """Average the frames of what is read as one vector."""
        return average_frames(batch, self.vectors)

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or lacks one that the
                published variant needs.
        """
        known = {
            name: batch.modalities[name] for name in self.spec.dims if name in batch.modalities
        }
        if not known or not self.needs() <= set(known):
            names, held = ", ".join(self.spec.dims), ", ".join(batch.modalities) or "nothing"
            raise FeatureError(f"the model knows {names}; the batch holds {held}")
        parts = {
            name: self._take_in(name, part)
            for name, part in self.condense(Batch(known)).modalities.items()
        }
        found: Found = self.network(
            {name: (part.values, part.mask) for name, part in parts.items()}, batch.count
        )
        silent = self.training
        return EmotionOutput(
            found.logits,
            embeddings={**found.embeddings, "fused": found.fused},
            weights={} if silent else _weights(found, parts),
            attention={} if silent else found.attention,
            extras=found.extras,
        )

    def _take_in(self, name: str, part: Sequences) -> Sequences:
        values = part.values
        if name in self.standardise:
            values = self.standardise[name](values)
        values = values.masked_fill(~part.mask[..., None], 0.0)
        if name == "audio" and name not in self.vectors and not self.reading.published:
            random = self.training and self.reading.crop == "random"
            return Sequences(
                *crop_frames(values, part.mask, self.reading.max_frames, random=random)
            )
        return Sequences(values, part.mask)


def _weights(found: Found, parts: Mapping[str, Sequences]) -> dict[str, torch.Tensor]:
    taken = {name: Taken(part.values, part.present, None) for name, part in parts.items()}
    return shares(found.sizes, taken)


def _network(spec: ModelSpec, options: CopenhagenOptions, reading: Reading) -> torch.nn.Module:
    if options.architecture == "cross-attention":
        return CrossAttention(spec.dims, spec.classes, reading)
    if options.architecture == "early-fusion":
        return EarlyFusion(spec.dims, spec.classes, reading)
    dim = next(iter(spec.dims.values()))
    return Solo(options.architecture, dim, spec.classes, reading)
