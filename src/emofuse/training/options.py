"""Options of the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from emofuse.augment.vectors import FeatureNoiseOptions, MixupOptions
from emofuse.errors import nearest_hint
from emofuse.manifest import Modality
from emofuse.options import Options
from emofuse.training.curriculum import CurriculumOptions
from emofuse.training.finetuning.options import AdaptMore, Frozen, Kind, LoraOptions, stage_mistake
from emofuse.training.trackers import TRACKERS

__all__ = ["Monitor", "SelectOptions", "StageOptions", "TrainerOptions"]

Monitor = Literal["ua", "wa", "wf1", "mf1", "loss"]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Decay = Annotated[float, Field(gt=0.0, lt=1.0)]
Schedule = Literal["constant", "cosine", "linear", "onecycle", "step", "plateau"]


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


class StageOptions(Options):
    """One stage of a training; a key left out is as the trainer says.

    Attributes:
        name: what to call it in the history.
        kind: ``features`` fits the model on cached features; ``finetune`` fits encoders and model
            together from raw audio and text; ``adapt`` adapts encoders on the fold's train part
            before anything else, and the later stages take the features of the adapted ones.
        epochs: most passes over the training items.
        freeze: parts of the model that do not learn and stay in evaluation mode: module names such
            as ``vggish``, or the beginning of such names.
        learning_rate, weight_decay, schedule, patience, batch_size, precision, accumulate, ema: as
            in `TrainerOptions`. With ``adapt``: as in `AdaptOptions`.
        encoders: ``adapt``, ``finetune``: modalities whose encoders learn; empty = all of them
            that can.
        freeze_layers: ``adapt``, ``finetune``: so many of their lowest transformer layers stay as
            they are, in evaluation mode, and so does all that lies below the first. One number, or
            one a modality. ``finetune``: 0 unless told; ``adapt``: the lower half.
        encoder_learning_rate: ``finetune``: of the encoders' uppermost layer; None = the model's.
        layer_decay: ``finetune``: each layer learns at this share of the rate of the one above.
        lora: ``finetune``: low-rank updates in the place of whole weights (extra ``lora``).
        gradient_checkpointing: ``finetune``: as in `TrainerOptions`.
        objective: ``adapt``: ``contrastive`` or ``supervised``.
        adapt: ``adapt``: its other options.
    """

    name: str = Field(min_length=1, max_length=40, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    kind: Kind = "features"
    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    freeze: tuple[str, ...] = ()
    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None
    schedule: Schedule | None = None
    patience: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    precision: Literal["no", "bf16"] | None = None
    accumulate: int | None = Field(default=None, ge=1, le=100_000)
    ema: Decay | None = None
    encoders: tuple[Modality, ...] = ()
    freeze_layers: Frozen | None = None
    encoder_learning_rate: Positive | None = None
    layer_decay: float | None = Field(default=None, gt=0.0, le=1.0)
    lora: LoraOptions | None = None
    gradient_checkpointing: bool | None = None
    objective: Literal["contrastive", "supervised"] = "contrastive"
    adapt: AdaptMore = AdaptMore()

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        empty = {name: field.default for name, field in type(self).model_fields.items()}
        given = {name: one for name in empty if (one := getattr(self, name)) != empty[name]}
        mistake = stage_mistake(self.kind, given)
        if mistake is not None:
            raise ValueError(f"stage {self.name!r}: {mistake}")
        return self

    def frozen_layers(self, modality: str) -> int | None:
        """Lowest layers of an encoder that stay; None where nothing is said."""
        if isinstance(self.freeze_layers, dict):
            known: dict[str, int] = {str(name): one for name, one in self.freeze_layers.items()}
            return known.get(modality)
        return self.freeze_layers


IN_FORCE = (
    "epochs",
    "learning_rate",
    "weight_decay",
    "schedule",
    "patience",
    "batch_size",
    "precision",
    "accumulate",
    "ema",
    "gradient_checkpointing",
)
"""Keys of a stage that take the place of the trainer's."""


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
        accumulate: so many batches make one step: the gradient is that of one batch of all their
            items (for losses that are means over items).
        ema: decay of an exponential moving average of the weights, which is then what is judged
            and kept; None = the weights themselves.
        gradient_checkpointing: compute the encoders' activations twice and keep none (stages of
            kind ``finetune``).
        batch_frames: most padded frames of a batch of raw audio and text (stages of kind
            ``finetune``); long utterances then come in smaller batches. None = no limit.
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
        centre: modalities whose training features lose their speaker's mean (see
            `centring.centre_groups`); what is recognised is taken as it is.
        feature_noise: disturb the features of training items (see `FeatureNoiseOptions`).
        mixup: learn from pairs of training items as one (see `MixupOptions`).
        curriculum: withhold some classes at first (see `CurriculumOptions`).
        select: hyper-parameters to choose within train and dev.
        device: ``auto`` (an accelerator where there is one), ``cpu``, ``cuda``, ``mps``.
        checkpoint_seconds: a checkpoint is written after the first epoch that ends this long
            after the last one; 0 = after every epoch.
        tracking: where the course of a training goes beside ``history.csv``: ``tensorboard``,
            ``wandb``, ``mlflow`` (extra ``tracking``), ``csv``; several at once if need be.
        threads: processor threads of a training; one is fastest for models of this size, and the
            numbers do not depend on how many processors there are.
        workers: processes that train folds and seeds side by side; ``auto`` = one for each
            processor where the time left is worth their start, 0 = this one alone.
        stack: train folds and seeds together as one batched computation where they can be:
            ``auto`` = on an accelerator.
        sharding: how processes that `torchrun` or `accelerate launch` started hold what learns:
            ``none`` = a copy each; ``fsdp`` = a share each of weights, gradients and optimiser
            (fully sharded data parallel); ``auto`` = as `accelerate launch` says (``--use_fsdp``),
            else ``none``. In one process there is nothing to share.
        deterministic: refuse operations that do not repeat; one thread; the same bytes again on
            the same processor.
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
    accumulate: int = Field(default=1, ge=1, le=100_000)
    ema: Decay | None = None
    gradient_checkpointing: bool = False
    batch_frames: int | None = Field(default=None, ge=1)
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    drop_last: bool = False
    objective_learning_rate: Positive | None = None
    objective_milestones: tuple[int, ...] = ()
    stages: tuple[StageOptions, ...] = Field(default=(), max_length=20)
    monitor: Monitor = "ua"
    patience: int | None = Field(default=10, ge=1)
    refit: bool = False
    modality_dropout: float | None = Field(default=None, ge=0.0, le=1.0)
    centre: tuple[Modality, ...] = ()
    feature_noise: FeatureNoiseOptions | None = None
    mixup: MixupOptions | None = None
    curriculum: CurriculumOptions | None = None
    select: SelectOptions | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    checkpoint_seconds: NotNegative = 1.0
    threads: int = Field(default=1, ge=1, le=1024)
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=256)] = "auto"
    stack: Literal["auto"] | bool = "auto"
    sharding: Literal["auto", "none", "fsdp"] = "auto"
    tracking: tuple[str, ...] = Field(default=(), max_length=20)
    deterministic: bool = False

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "tensorboard" not in data:
            return data
        if data["tensorboard"]:
            raise ValueError(
                "trainer.tensorboard is now trainer.tracking: write trainer.tracking=tensorboard"
            )
        return {key: value for key, value in data.items() if key != "tensorboard"}

    @field_validator("tracking", mode="before")
    @classmethod
    def _one_tracker(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("tracking", mode="after")
    @classmethod
    def _known_trackers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in TRACKERS:
                raise ValueError(f"no tracker {name!r}; {nearest_hint(name, TRACKERS.names())}")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _together(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        if self.stages and (self.select is not None or self.optimiser == "lbfgs"):
            raise ValueError("stages go with neither select nor lbfgs")
        if self.optimiser == "lbfgs" and (self.mixup or self.feature_noise or self.curriculum):
            raise ValueError("feature_noise, mixup and curriculum need batches, not lbfgs")
        if (self.mixup or self.feature_noise) and any(s.kind == "finetune" for s in self.stages):
            raise ValueError("feature_noise and mixup change features, which finetune has none of")
        if self.optimiser == "lbfgs" and self.sharding == "fsdp":
            raise ValueError("sharding fsdp goes with optimisers that take batches, not lbfgs")
        if self.deterministic and self.threads > 1:
            raise ValueError("deterministic goes with threads 1")
        order = [("adapt", "features", "finetune").index(stage.kind) for stage in self.stages]
        if order != sorted(order) or (order and order[-1] == 0):
            raise ValueError(
                "stages come in the order adapt, features, finetune, and the last fits the model"
            )
        if self.optimiser == "lbfgs" and (self.accumulate > 1 or self.ema is not None):
            raise ValueError("accumulate and ema go with optimisers that take batches, not lbfgs")
        if self.cycle_momentum and (self.schedule, self.optimiser) not in (
            ("onecycle", "adamw"),
            ("onecycle", "adam"),
        ):
            raise ValueError("cycle_momentum needs schedule onecycle and adam or adamw")
        return self

    @property
    def total_epochs(self) -> int:
        """Most passes over the training items, over all stages."""
        return sum(stage.epochs or self.epochs for stage in self.fitted) or self.epochs

    @property
    def fitted(self) -> tuple[StageOptions, ...]:
        """The stages that fit the model: all but those that adapt encoders beforehand."""
        return tuple(stage for stage in self.stages if stage.kind != "adapt")

    @property
    def adapted(self) -> tuple[StageOptions, ...]:
        """The stages that adapt encoders."""
        return tuple(stage for stage in self.stages if stage.kind == "adapt")

    @property
    def finetuned(self) -> bool:
        """Whether some stage fits encoders and model together."""
        return any(stage.kind == "finetune" for stage in self.stages)

    def for_stage(self, stage: StageOptions) -> Self:
        """Give the options in force in a stage."""
        given = {name: one for name in IN_FORCE if (one := getattr(stage, name)) is not None}
        return self.model_copy(update=given)

    def withholds(self, epoch: int) -> bool:
        """Whether patience waits after so many epochs, for a class is still to be learned."""
        plan = self.curriculum
        return plan is not None and not plan.legacy and bool(plan.withheld(epoch / self.epochs))

    def dropout_for(self, modalities: int) -> float:
        """Modality dropout in force for a model of so many modalities."""
        if modalities < 2:
            return 0.0
        return 0.2 if self.modality_dropout is None else self.modality_dropout
