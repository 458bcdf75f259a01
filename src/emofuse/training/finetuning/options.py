"""Options of a stage that learns encoders: which key belongs to which kind of stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from emofuse.manifest import Modality
from emofuse.options import Options

__all__ = ["AdaptMore", "Frozen", "Kind", "LoraOptions", "stage_mistake"]

Kind = Literal["features", "adapt", "finetune"]
Layers = Annotated[int, Field(ge=0, le=1000)]
Frozen = Layers | dict[Modality, Layers]
"""Lowest transformer layers that stay: one number for every encoder, or one a modality."""

BOTH = ("encoders", "freeze_layers")
ADAPT_ONLY = ("objective", "adapt")
FINETUNE_ONLY = ("encoder_learning_rate", "layer_decay", "lora", "gradient_checkpointing")
NOT_ADAPT = ("freeze", "schedule", "precision", "accumulate", "ema")


class LoraOptions(Options):
    """Low-rank updates in the place of whole weights (Hu et al. 2022, through PEFT).

    Attributes:
        rank: of each update.
        alpha: the update is scaled by ``alpha / rank``.
        dropout: share of an update's inputs dropped in training.
        targets: names of the linear maps that get one, such as ``q_proj``; empty = the
            architecture's query and value projections.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0.0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = ()


class AdaptMore(Options):
    """What a stage of kind ``adapt`` takes beside the keys that stages share.

    Attributes:
        crop_seconds, word_dropout, temperature, projection, copies, longest_seconds,
        class_weights, clip, seed: as in `AdaptOptions`; the seed is that of the adaptation, which
            all seeds of the run share.
    """

    crop_seconds: float | None = None
    word_dropout: float | None = None
    temperature: float | None = None
    projection: int | None = None
    copies: Literal["masked", "negatives"] | None = None
    longest_seconds: float | None = None
    class_weights: Literal["none", "balanced", "effective"] | None = None
    clip: float | None = 1.0
    seed: int = Field(default=0, ge=0, lt=1 << 32)


def stage_mistake(kind: Kind, given: Mapping[str, Any]) -> str | None:
    """Name the first key of a stage that its kind does not read; None where all is well.

    >>> stage_mistake("features", {"lora": {}})
    "kind 'features' does not read 'lora'; it belongs to kind finetune"
    """
    strange = {
        "features": (*BOTH, *ADAPT_ONLY, *FINETUNE_ONLY),
        "adapt": (*FINETUNE_ONLY, *NOT_ADAPT),
        "finetune": ADAPT_ONLY,
    }[kind]
    for key in strange:
        if key in given:
            owners = [name for name in ("adapt", "finetune") if key in _read_by(name)]
            belongs = " or ".join(owners or ["features"])
            return f"kind {kind!r} does not read {key!r}; it belongs to kind {belongs}"
    return None


def _read_by(kind: str) -> tuple[str, ...]:
    if kind == "adapt":
        return (*BOTH, *ADAPT_ONLY)
    return (*BOTH, *FINETUNE_ONLY, *NOT_ADAPT)
