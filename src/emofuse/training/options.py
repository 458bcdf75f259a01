"""Options of the trainer."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emofuse.options import Options

__all__ = ["Monitor", "SelectOptions", "TrainerOptions"]

Monitor = Literal["ua", "wa", "wf1", "mf1", "loss"]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class SelectOptions(Options):
    """Values to choose among, within train and dev only.

    Attributes:
        weight_decay, learning_rate: the candidates; empty = as the trainer says.
        folds: 0 judges each candidate on dev; 2 or more judges it on that many folds of
            train + dev, cut by group (speaker where known).
    """

    weight_decay: tuple[NotNegative, ...] = Field(default=(), max_length=100)
    learning_rate: tuple[Positive, ...] = Field(default=(), max_length=100)
    folds: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.weight_decay and not self.learning_rate:
            raise ValueError("give weight_decay or learning_rate a list of values to choose among")
        if self.folds == 1:
            raise ValueError("one fold judges nothing; give 0 (dev) or 2 and more")
        return self

    def candidates(self) -> list[dict[str, float]]:
        """Every combination, as updates of the trainer's options."""
        given = {
            name: values
            for name in ("weight_decay", "learning_rate")
            if (values := getattr(self, name))
        }
        return [dict(zip(given, one, strict=True)) for one in product(*given.values())]


class TrainerOptions(Options):
    """How a model is fitted.

    Attributes:
        optimiser: ``adamw`` in batches, or ``lbfgs`` on all items at once, for convex models.
        epochs: most passes over the training items (``lbfgs``: most iterations).
        batch_size: items a step (``adamw``).
        learning_rate: highest step size (``adamw``).
        weight_decay: ``adamw``: decoupled decay a step; ``lbfgs``: ``weight_decay / 2`` times the
            squared weights is added to the mean loss, so that scikit-learn's ``C`` is
            ``1 / (items * weight_decay)``. Biases are left alone.
        schedule: what becomes of the learning rate: ``constant``, ``cosine`` (to 0), ``linear``
            (to 0) or ``onecycle`` (up over 30 % of the steps, then down).
        warmup: share of the steps over which the rate first rises from 0.
        clip: largest norm of the gradient; None = as it comes.
        precision: ``no`` or ``bf16`` (autocast).
        monitor: dev metric that chooses the epoch and the best model.
        patience: epochs without a better dev metric before training stops; None = never.
        refit: once the epoch (and ``select``) is chosen on dev, train again on train + dev.
        modality_dropout: probability that a training item loses a modality (never all); None =
            0.2 with several modalities.
        select: hyper-parameters to choose within train and dev.
        device: ``auto`` (an accelerator where there is one), ``cpu``, ``cuda``, ``mps``.
        checkpoint_seconds: a checkpoint is written after the first epoch that ends this long
            after the last one; 0 = after every epoch.
        tensorboard: also write TensorBoard event files (extra ``tracking``).
        threads: processor threads of a training; one is fastest for models of this size, and the
            numbers do not depend on how many processors there are.
        workers: processes that train folds and seeds side by side; 0 = this one.
    """

    optimiser: Literal["adamw", "lbfgs"] = "adamw"
    epochs: int = Field(default=60, ge=1, le=1_000_000)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-2
    schedule: Literal["constant", "cosine", "linear", "onecycle"] = "cosine"
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    clip: Positive | None = 5.0
    precision: Literal["no", "bf16"] = "no"
    monitor: Monitor = "ua"
    patience: int | None = Field(default=10, ge=1)
    refit: bool = False
    modality_dropout: float | None = Field(default=None, ge=0.0, le=1.0)
    select: SelectOptions | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    checkpoint_seconds: NotNegative = 1.0
    tensorboard: bool = False
    threads: int = Field(default=1, ge=1, le=1024)
    workers: int = Field(default=0, ge=0, le=256)

    def dropout_for(self, modalities: int) -> float:
        """Modality dropout in force for a model of so many modalities."""
        if modalities < 2:
            return 0.0
        return 0.2 if self.modality_dropout is None else self.modality_dropout
