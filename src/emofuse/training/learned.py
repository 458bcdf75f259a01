"""The encoders behind a fold's model, where they learned along with it, and their features."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import WorkError
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Manifest, Modality
from emofuse.progress import Progress, silent
from emofuse.training.finetuning.export import Seen, export_encoder
from emofuse.training.finetuning.stage import learning_modalities
from emofuse.training.fold_encoders import adapted_specs
from emofuse.training.jobs import Job
from emofuse.training.recipe import Recipe

__all__ = ["fold_specs", "learned_table", "own_encoders"]


def fold_specs(
    recipe: Recipe, job: Job, folder: Path, classes: tuple[str, ...], place: Path
) -> dict[Modality, EncoderSpec]:
    """Give the encoders of a job: the recipe's, those adapted on its fold, or fine-tuned ones.

    Fine-tuned weights are written as a folder that the encoder code reads like any other.

    Args:
        recipe: of the run.
        job: whose encoders.
        folder: of the run.
        classes: class names.
        place: where fine-tuned encoders are written to.

    Raises:
        EncoderError: an encoder cannot be found.
        WorkError: weights that were learned are gone.
    """
    specs = adapted_specs(recipe, job, folder)
    learnt = job.learnt()
    stages = recipe.trainer.stages
    if stages and stages[-1].kind == "finetune":
        gone = [name for name in learning_modalities(stages, recipe.encoders) if name not in learnt]
        if gone:
            raise WorkError(
                f"{job.folder} lacks encoder-{gone[0]}.safetensors; delete the folder to train "
                "that part again"
            )
    for name, weights in learnt.items():
        modality: Modality = name  # type: ignore[assignment]
        target = place / job.folder.name / name
        seen = Seen(job.fold, (), classes, job.seed)
        export_encoder(target, specs[modality], name, weights, seen)
        specs[modality] = specs[modality].model_copy(
            update={"name": str(target), "revision": "main", "precision": "fp32"}
        )
    return specs


@contextmanager
def own_encoders(
    recipe: Recipe, job: Job, folder: Path, classes: tuple[str, ...]
) -> Iterator[dict[Modality, EncoderSpec]]:
    """Give the encoders of a job (see `fold_specs`), fine-tuned ones as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="emofuse-encoders-") as place:
        yield fold_specs(recipe, job, folder, classes, Path(place))


def learned_table(
    recipe: Recipe,
    specs: Mapping[Modality, EncoderSpec],
    manifest: Manifest,
    table: FeatureTable,
    progress: Progress = silent,
    *,
    device: str = "cpu",
) -> FeatureTable:
    """Give the features of utterances as a job's own encoders make them, from the store if there.

    Args:
        recipe: of the run; its store keeps what is encoded, under each encoder's fingerprint.
        specs: of the job.
        manifest: the utterances, in the order of the table's rows.
        table: features of the recipe's encoders; what lacks them there lacks them here.
        progress: told of encoding.
        device: ``cpu`` or ``cuda``.

    Raises:
        EncoderError, FeatureError: see `load_table`.
    """
    parts, described = dict(table.modalities), dict(table.encoders)
    for modality, spec in specs.items():
        if spec == recipe.encoders[modality]:
            continue
        before = parts[modality]
        ids = [n for n, there in zip(table.ids, before.lengths.tolist(), strict=True) if there]
        if not ids:
            continue
        store = FeatureStore(Path(recipe.data.store))
        own = {modality: spec}
        made = load_table(manifest.select(ids), own, store, progress, device=device)
        part = made.modalities[modality]
        lengths = before.lengths.clone()
        lengths[before.lengths > 0] = part.lengths
        offsets = before.offsets.new_zeros(len(lengths) + 1)
        offsets[1:] = lengths.cumsum(0)
        parts[modality] = Ragged(part.values, offsets)
        described[modality] = made.encoders[modality]
    return FeatureTable(table.ids, parts, described, table.quarantined)
