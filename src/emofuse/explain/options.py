"""What to explain, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from emofuse.errors import nearest_hint
from emofuse.options import Options

__all__ = ["SET_PANELS", "UTTERANCE_PANELS", "BaselineKind", "ExplainOptions", "ScoreKind"]

ScoreKind = Literal["logit", "probability"]
BaselineKind = Literal["zeros", "mean"]

UTTERANCE_PANELS = (
    "grad-cam",
    "attention",
    "frames",
    "words",
    "modalities",
    "gates",
    "trajectory",
)
"""Explanations of one utterance, in the order of the page."""
SET_PANELS = ("modalities", "gates", "embeddings", "correlation")
"""Explanations of a whole test set."""


class ExplainOptions(Options):
    """How utterances and test sets are explained.

    Attributes:
        seed: which of the run's seeds; its first unless told.
        fold: which fold, where an utterance was test in several; the first unless told.
        target: the class that is explained; the one that was predicted unless told.
        score: what is attributed: the class's ``logit`` less the mean of all logits (a constant
            added to every logit changes nothing), or its ``probability``.
        layer: of Grad-CAM; the last one with maps unless told.
        baseline: what integrated gradients start from: ``zeros``, or the ``mean`` frame of the
            fold's training part.
        steps: of integrated gradients, at first; they are doubled until the gap is closed.
        most_steps: where doubling ends.
        tolerance: largest completeness gap, as a share of the difference it should explain.
        window, hop: seconds of the sliding windows of a trajectory.
        projection: ``auto`` takes UMAP where it is installed, else t-SNE.
        resamples: bootstrap draws by speaker.
        permutations: mismatched pairings for the reference of audio and text.
        draws: networks with other weights, to see whether a map follows the weights; 0 = none.
        only: some panels alone; empty = all.
        draw_seed: of every draw made here.
    """

    seed: int | None = None
    fold: str | None = None
    target: str | None = None
    score: ScoreKind = "logit"
    layer: str | None = None
    baseline: BaselineKind = "mean"
    steps: int = Field(default=32, ge=2, le=4096)
    most_steps: int = Field(default=512, ge=2, le=65_536)
    tolerance: float = Field(default=0.01, gt=0.0, lt=1.0)
    window: float = Field(default=1.0, gt=0.05, le=60.0)
    hop: float = Field(default=0.25, gt=0.01, le=60.0)
    projection: Literal["auto", "umap", "tsne"] = "auto"
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    permutations: int = Field(default=200, ge=10, le=100_000)
    draws: int = Field(default=4, ge=0, le=100)
    only: tuple[str, ...] = ()
    draw_seed: int = Field(default=0, ge=0, lt=1 << 32)

    @field_validator("only", mode="after")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        legal = {*UTTERANCE_PANELS, *SET_PANELS}
        for name in value:
            if name not in legal:
                raise ValueError(f"no explanation is called {name!r}; {nearest_hint(name, legal)}")
        return value

    def wants(self, key: str) -> bool:
        """Say whether a panel is asked for."""
        return not self.only or key in self.only
