"""The encoders that a fold's trainings start from: the recipe's, or those adapted on the fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.encoders.adapted import read_adapted
from emofuse.encoders.contract import EncoderSpec
from emofuse.encoders.hf_folder import find_folder
from emofuse.errors import OptionError, ProtocolError, shorten
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.manifest import Modality
from emofuse.progress import Progress
from emofuse.protocols.contract import Fold
from emofuse.training.adaptation.adapt import adapt
from emofuse.training.adaptation.network import AUDIO, TEXT, check_kind
from emofuse.training.adaptation.options import AdaptOptions
from emofuse.training.data import RunData
from emofuse.training.finetuning.data import RawItems
from emofuse.training.finetuning.lora import require_peft
from emofuse.training.finetuning.stage import learning_modalities
from emofuse.training.jobs import Job
from emofuse.training.options import StageOptions
from emofuse.training.recipe import Recipe

__all__ = ["FoldEncoders", "adapted_specs", "check_stages", "raw_items", "rounds"]

ADAPTED_FOLDER = "encoders"


@dataclass(frozen=True)
class FoldEncoders:
    """What the trainings of some folds rest on.

    Attributes:
        table: features of the encoders.
        raw: where raw audio and text are; None where no stage wants them.
    """

    table: FeatureTable
    raw: RawItems | None


def check_stages(recipe: Recipe) -> None:
    """Refuse stages that the encoders of a recipe cannot have, before anything is done.

    Raises:
        OptionError: an encoder that cannot be adapted or fine-tuned.
        MissingExtraError: low-rank updates without PEFT.
        EncoderError: an encoder cannot be found.
    """
    if any(stage.lora is not None for stage in recipe.trainer.stages):
        require_peft()
    learning_modalities(recipe.trainer.stages, recipe.encoders)
    for stage in recipe.trainer.adapted:
        for modality in _adapted_modalities(stage, recipe):
            options = _adapt_options(stage, modality, recipe.encoders[modality], recipe)
            check_kind(find_folder(options.encoder), AUDIO if modality == "audio" else TEXT)


def rounds(
    recipe: Recipe, data: RunData, jobs: Sequence[Job], folder: Path, progress: Progress
) -> Iterator[tuple[Sequence[Job], FoldEncoders]]:
    """Give jobs in groups that share their encoders, each with what they start from.

    Where encoders are adapted, a group is the jobs of a fold: the encoders learn from its train
    part, once for all seeds, and the features of the adapted ones go into the store under their
    own fingerprint, so that an encoder is never run twice on the same content.

    Raises:
        TrainingError, EncoderError, FeatureError: see `adapt` and `load_table`.
    """
    if not recipe.trainer.adapted:
        if jobs:
            yield jobs, FoldEncoders(data.table, raw_items(recipe, data))
        return
    for name in dict.fromkeys(job.fold.name for job in jobs):
        group = [job for job in jobs if job.fold.name == name]
        if all(job.finished for job in group):
            continue
        specs = _adapt_fold(recipe, data, group[0], folder, progress)
        table = load_table(
            data.manifest,
            specs,
            FeatureStore(Path(recipe.data.store)),
            progress,
            device=_device(recipe),
        )
        yield group, FoldEncoders(table, _raw(recipe, data, table, specs))


def raw_items(recipe: Recipe, data: RunData) -> RawItems | None:
    """Give the raw audio and text that a recipe's own encoders learn from; None = none learns.

    Raises:
        MediaError: a file that was read when the features were made is gone.
    """
    return _raw(recipe, data, data.table, recipe.encoders)


def adapted_specs(recipe: Recipe, job: Job, folder: Path) -> dict[Modality, EncoderSpec]:
    """Give the encoders that a job started from: the recipe's, or those adapted on its fold."""
    specs = dict(recipe.encoders)
    for stage in recipe.trainer.adapted:
        for modality in _adapted_modalities(stage, recipe):
            place = _place(folder, job, stage, modality)
            specs[modality] = _moved(specs[modality], place)
    return specs


def _adapt_fold(
    recipe: Recipe, data: RunData, job: Job, folder: Path, progress: Progress
) -> dict[Modality, EncoderSpec]:
    specs = dict(recipe.encoders)
    for stage in recipe.trainer.adapted:
        for modality in _adapted_modalities(stage, recipe):
            options = _adapt_options(stage, modality, specs[modality], recipe)
            place = _place(folder, job, stage, modality)
            seen = data.without_test(job.fold)
            adapt(seen, options, place, progress, fold=job.fold, scheme=data.scheme)
            _check_unseen(place, job.fold)
            specs[modality] = _moved(specs[modality], place)
    return specs


def _check_unseen(place: Path, fold: Fold) -> None:
    """Make sure, from what the adapted encoder itself says, that it saw no test utterance."""
    adapted = read_adapted(place)
    seen = set() if adapted is None else adapted.ids & set(fold.test)
    if seen:
        raise ProtocolError(
            f"{place} was adapted on test utterances of fold {fold.name!r} (e.g. "
            f"{shorten(min(seen))}); delete it"
        )


def _adapted_modalities(stage: StageOptions, recipe: Recipe) -> tuple[Modality, ...]:
    strange = [name for name in stage.encoders if name not in recipe.encoders]
    if strange:
        raise OptionError(
            f"stage {stage.name!r}: the recipe has no {strange[0]} encoder; "
            f"legal: {', '.join(recipe.encoders)}"
        )
    found = stage.encoders or tuple(m for m in recipe.encoders if m in ("audio", "text"))
    if not found or "video" in found:
        raise OptionError(
            f"stage {stage.name!r}: kind adapt knows encoders of audio ({', '.join(AUDIO)}) and "
            f"text ({', '.join(TEXT)})"
        )
    return found


def _adapt_options(
    stage: StageOptions, modality: Modality, spec: EncoderSpec, recipe: Recipe
) -> AdaptOptions:
    pooling = "cls" if modality == "text" and spec.pooling == "cls" else "mean"
    given: dict[str, Any] = {
        "encoder": {"name": spec.name, "revision": spec.revision, "pooling": pooling},
        "modality": modality,
        "objective": stage.objective,
        "freeze_layers": stage.frozen_layers(modality),
        "device": _device(recipe),
        **stage.adapt.model_dump(),
    }
    if stage.objective == "supervised":
        given["scheme"] = recipe.data.label_scheme.name
    for name in ("epochs", "learning_rate", "weight_decay", "batch_size", "patience"):
        if getattr(stage, name) is not None:
            given[name] = getattr(stage, name)
    return AdaptOptions.parse(given, f"stage {stage.name!r} ({modality})")


def _moved(spec: EncoderSpec, place: Path) -> EncoderSpec:
    return spec.model_copy(update={"name": str(place), "revision": "main"})


def _raw(
    recipe: Recipe,
    data: RunData,
    table: FeatureTable,
    specs: Mapping[Modality, EncoderSpec],
) -> RawItems | None:
    names = learning_modalities(recipe.trainer.stages, specs)
    if not names:
        return None
    return RawItems.of(data.manifest, table, {name: specs[name] for name in names})


def _device(recipe: Recipe) -> str:
    return recipe.trainer.device if recipe.trainer.device != "mps" else "cpu"


def _place(folder: Path, job: Job, stage: StageOptions, modality: Modality) -> Path:
    """Where a fold's adapted encoder lies: beside the jobs, one for all seeds."""
    fold = job.folder.name.removesuffix(f"-{job.seed}")
    return folder / ADAPTED_FOLDER / fold / f"{stage.name}-{modality}"
