"""Options of encoder adaptation."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from emofuse.encoders.contract import EncoderSpec
from emofuse.options import Options

__all__ = ["AdaptOptions"]

RATES = {"audio": 1e-4, "text": 2e-5}
READ_BY = {
    "crop_seconds": ("contrastive", "audio"),
    "word_dropout": ("contrastive", "text"),
    "temperature": ("contrastive", None),
    "projection": ("contrastive", None),
    "copies": ("contrastive", None),
    "longest_seconds": ("supervised", "audio"),
    "class_weights": ("supervised", None),
}
"""Option -> the objective and the modality that read it."""
DEFAULTS: dict[str, Any] = {
    "crop_seconds": 1.0,
    "word_dropout": 0.15,
    "temperature": 0.07,
    "projection": 256,
    "copies": "masked",
    "longest_seconds": 10.0,
    "class_weights": "none",
}


class AdaptOptions(Options):
    """What to adapt, on what, and how. None = the default in brackets; one not read is an error.

    Attributes:
        encoder: a Hugging Face hub name or a local folder; of its options only ``revision`` and
            ``pooling`` (``mean``; for text also ``cls``) count.
        modality: ``audio`` (HuBERT, wav2vec 2.0, WavLM) or ``text`` (BERT, RoBERTa).
        objective: ``contrastive`` (NT-Xent of two views of an utterance, no labels) or
            ``supervised`` (cross-entropy).
        scheme: label scheme; ``supervised`` needs one.
        protocol: ``name`` and options; None = the manifest's own ``split``.
        fold: which fold of the protocol; may be left out where there is one only.
        freeze_layers: so many of the lowest transformer layers stay as they are [the lower half].
            What lies below them always does: convolutions, projections, embeddings, positions.
        crop_seconds: length of the two crops of a recording [1].
        word_dropout: probability that a word of a text is dropped from a view [0.15].
        temperature: of NT-Xent [0.07].
        projection: size of what the head gives to NT-Xent [256].
        copies: ``masked``: utterances of the same content are no negatives; ``negatives``: they
            are, as in the released FleSER [masked].
        longest_seconds: longest stretch of a recording that is looked at, drawn anew each time
            [10].
        class_weights: ``none``, ``balanced`` or ``effective``, as in cross-entropy [none].
        learning_rate: of AdamW [audio 1e-4, text 2e-5].
        weight_decay: of AdamW.
        epochs: most passes over the training utterances.
        batch_size: utterances a step.
        patience: epochs without a lower dev loss before the end; None = never.
        clip: largest norm of the gradient.
        seed: of every draw.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    encoder: EncoderSpec
    modality: Literal["audio", "text"]
    objective: Literal["contrastive", "supervised"] = "contrastive"
    scheme: str | None = None
    protocol: dict[str, Any] | None = None
    fold: str | None = None
    freeze_layers: int | None = Field(default=None, ge=0, le=1000)
    crop_seconds: float | None = Field(default=None, gt=0.0, le=60.0)
    word_dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    temperature: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    projection: int | None = Field(default=None, ge=2, le=1 << 14)
    copies: Literal["masked", "negatives"] | None = None
    longest_seconds: float | None = Field(default=None, gt=0.0, le=60.0)
    class_weights: Literal["none", "balanced", "effective"] | None = None
    learning_rate: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0.0, allow_inf_nan=False)
    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: int = Field(default=32, ge=1)
    patience: int | None = Field(default=3, ge=1)
    clip: float | None = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("encoder", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return EncoderSpec.from_text(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        for name, (objective, modality) in READ_BY.items():
            if getattr(self, name) is None:
                continue
            if self.objective != objective:
                raise ValueError(f"objective {self.objective!r} does not read {name!r}")
            if modality not in (None, self.modality):
                raise ValueError(f"modality {self.modality!r} does not read {name!r}")
        spare = EncoderSpec(
            name=self.encoder.name, revision=self.encoder.revision, pooling=self.encoder.pooling
        )
        legal = ("mean", "cls") if self.modality == "text" else ("mean",)
        if self.encoder != spare or self.encoder.pooling not in legal:
            raise ValueError(
                "adaptation trains the pooled last layer: of an encoder's options it reads "
                f"revision and pooling ({', '.join(legal)})"
            )
        if self.objective == "supervised" and self.scheme is None:
            raise ValueError("objective 'supervised' needs a label scheme")
        if self.objective == "contrastive" and self.batch_size < 2:
            raise ValueError("objective 'contrastive' needs a batch_size of 2 and more")
        if self.fold is not None and self.protocol is None:
            raise ValueError("a fold needs the protocol that it is of")
        return self

    def value(self, name: str) -> Any:
        """Give an option with its default in place."""
        given = getattr(self, name)
        if given is not None:
            return given
        return RATES[self.modality] if name == "learning_rate" else DEFAULTS[name]
