"""The encoders a fold's model was fed by, where they learned along with it."""

from __future__ import annotations

from pathlib import Path

from emofuse.encoders.contract import EncoderSpec
from emofuse.manifest import Modality
from emofuse.training.finetune_export import Seen, export_encoder
from emofuse.training.fold_encoders import adapted_specs
from emofuse.training.jobs import Job
from emofuse.training.recipe import Recipe

__all__ = ["fold_specs"]


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
    """
    specs = adapted_specs(recipe, job, folder)
    for name, weights in job.learnt().items():
        modality: Modality = name  # type: ignore[assignment]
        target = place / job.folder.name / name
        seen = Seen(job.fold, (), classes, job.seed)
        export_encoder(target, specs[modality], name, weights, seen)
        specs[modality] = specs[modality].model_copy(
            update={"name": str(target), "revision": "main", "precision": "fp32"}
        )
    return specs
