"""The encoders that a run changed, as a part of its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emofuse.encoders.adapted import read_adapted
from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.manifest import Modality
from emofuse.training.data import RunData
from emofuse.training.finetuning.export import Seen, export_encoder
from emofuse.training.fold_encoders import adapted_specs
from emofuse.training.jobs import Job
from emofuse.training.recipe import Recipe

__all__ = ["bundle_encoders"]

FOLDER = "encoders"


def bundle_encoders(
    folder: Path, recipe: Recipe, data: RunData, job: Job
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Write the encoders that a job adapted or fine-tuned into a bundle.

    Args:
        folder: of the bundle.
        recipe: its encoders and stages.
        data: what the run rests on.
        job: whose encoders.

    Returns:
        Modality -> description, as in `BundleConfig.encoders`; and modality -> folder inside the
        bundle, of those that were written.
    """
    described = {str(name): dict(one) for name, one in data.table.encoders.items()}
    local: dict[str, str] = {}
    learnt = job.learnt()
    run = job.folder.parent.parent
    corpora = tuple(str(name) for name in data.note["corpora"])
    seen = Seen(job.fold, corpora, data.scheme.classes, job.seed)
    for modality, start in adapted_specs(recipe, job, run).items():
        own = recipe.encoders[modality]
        if modality not in learnt and start == own:
            continue
        place = f"{FOLDER}/{modality}"
        export_encoder(folder / place, start, modality, learnt.get(modality), seen)
        how = [stage.kind for stage in recipe.trainer.stages if stage.kind != "features"]
        described[modality] = _describe(folder / place, modality, own, how, modality in learnt)
        local[modality] = place
    return described, local


def _describe(
    folder: Path, modality: Modality, own: EncoderSpec, how: Sequence[str], tuned: bool
) -> dict[str, Any]:
    """Describe a written encoder under the name that it had before it learned."""
    spec = own.model_copy(update={"name": str(folder), "revision": "main"})
    if tuned:
        spec = spec.model_copy(update={"precision": "fp32"})
    adapted = read_adapted(folder)
    description = dict(describe_encoder(load_encoder(modality, spec)))
    description["spec"] = spec.model_copy(update={"name": own.name}).model_dump(mode="json")
    description["learnt"] = {
        "how": [one for one in dict.fromkeys(how) if tuned or one == "adapt"],
        "corpora": [] if adapted is None else list(adapted.corpora),
        "labels": adapted is not None and adapted.labels,
        "utterances": 0 if adapted is None else len(adapted.ids),
    }
    return description
