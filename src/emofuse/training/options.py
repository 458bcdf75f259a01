"""Options of the trainer."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emofuse.options import Options

__all__ = ["Monitor", "SelectOptions", "StageOptions", "TrainerOptions"]

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


Schedule = Literal["constant", "cosine", "linear", "onecycle", "step", "plateau"]


class StageOptions(Options):
    """One stage of a training; a key left out is as the trainer says.

    Attributes:
        name: what to call it in the history.
        epochs: most passes over the training items.
        freeze: parts of the model that do not learn and stay in evaluation mode: module names such
            as ``vggish``, or the beginning of such names.
        learning_rate, weight_decay, schedule, patience: as in `TrainerOptions`.
    """

    name: str = Field(min_length=1, max_length=40, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    freeze: tuple[str, ...] = ()
    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None
    schedule: Schedule | None = None
    patience: int | None = Field(default=None, ge=1)


class TrainerOptions(Options):
    """How a model is fitted.

    Attributes:
        optimiser: ``adamw``, ``adam`` (decay added to the gradient) or ``sgd`` in batches, or
            ``lbfgs`` on all items at once, for convex models.
        epochs: most passes over the training items (``lbfgs``: most iterations).
        batch_size: items a step (all but ``lbfgs``).
        learning_rate: highest step size (all but ``lbfgs``).
        momentum: of ``sgd``.
        weight_decay: ``adamw``: decoupled decay a step; ``adam``, ``sgd``: added to the gradient;
            ``lbfgs``: ``weight_decay / 2`` times the
            squared weights is added to the mean loss, so that scikit-learn's ``C`` is
            ``1 / (items * weight_decay)``. Biases are left alone.
        schedule: what becomes of the learning rate: ``constant``, ``cosine`` (to 0), ``linear``
            (to 0), ``onecycle`` (up, then down), ``step`` (times ``factor`` every ``step_epochs``)
            or ``plateau`` (times ``factor`` when the dev loss has not fallen for more than
            ``plateau_patience`` epochs; the training loss counts where there is no dev).
        step_epochs, factor, plateau_patience: of ``step`` and ``plateau``.
        rise: share of ``onecycle`` that goes up.
        cycle_momentum: with ``onecycle`` and Adam, the first momentum goes 0.95, 0.85, 0.95.
        warmup: share of the steps over which the rate first rises from 0.
        clip: largest norm of the gradient; None = as it comes.
        precision: ``no`` or ``bf16`` (autocast).
        sampler: ``shuffle`` (each item once an epoch) or ``balanced`` (as many draws with
            replacement, every class equally likely).
        drop_last: leave out a last batch that is not full (never the only one).
        objective_learning_rate: the losses' own parameters (centres, margins) get an Adam of their
            own with this rate; None = they learn as the model does.
        objective_milestones: epochs at which that rate falls to a tenth.
        stages: fit in stages, one after the other, each from the best weights of the last.
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

    optimiser: Literal["adamw", "adam", "sgd", "lbfgs"] = "adamw"
    epochs: int = Field(default=60, ge=1, le=1_000_000)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: Positive = 1e-3
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    weight_decay: NotNegative = 1e-2
    schedule: Schedule = "cosine"
    step_epochs: int = Field(default=30, ge=1)
    factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    plateau_patience: int = Field(default=2, ge=0)
    rise: float = Field(default=0.3, gt=0.0, lt=1.0)
    cycle_momentum: bool = False
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    clip: Positive | None = 5.0
    precision: Literal["no", "bf16"] = "no"
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    drop_last: bool = False
    objective_learning_rate: Positive | None = None
    objective_milestones: tuple[int, ...] = ()
    stages: tuple[StageOptions, ...] = Field(default=(), max_length=20)
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

    @model_validator(mode="after")
    def _together(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        if self.stages and (self.select is not None or self.optimiser == "lbfgs"):
            raise ValueError("stages go with neither select nor lbfgs")
        if self.cycle_momentum and (self.schedule, self.optimiser) not in (
            ("onecycle", "adamw"),
            ("onecycle", "adam"),
        ):
            raise ValueError("cycle_momentum needs schedule onecycle and adam or adamw")
        return self

    @property
    def total_epochs(self) -> int:
        """Most passes over the training items, over all stages."""
        return sum(stage.epochs or self.epochs for stage in self.stages) or self.epochs

    def for_stage(self, stage: StageOptions) -> Self:
        """Give the options in force in a stage."""
        given = stage.model_dump(exclude_none=True, exclude={"name", "freeze"})
        return self.model_copy(update=given)

    def dropout_for(self, modalities: int) -> float:
        """Modality dropout in force for a model of so many modalities."""
        if modalities < 2:
            return 0.0
        return 0.2 if self.modality_dropout is None else self.modality_dropout
