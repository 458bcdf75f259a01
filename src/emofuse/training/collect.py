"""From finished jobs to predictions, metrics and the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emofuse.corpora import CORPORA
from emofuse.evaluation.predictions import PROBABILITY, WEIGHT
from emofuse.evaluation.summary import Summary
from emofuse.models.build import build_model
from emofuse.models.bundle import BundleConfig, write_bundle
from emofuse.models.contract import ModelSpec
from emofuse.protocols.audit import Audit
from emofuse.training.bundle_encoders import bundle_encoders
from emofuse.training.data import RunData
from emofuse.training.jobs import Job, JobResult
from emofuse.training.recipe import Recipe

__all__ = ["best_job", "metrics_note", "predictions_frame", "write_best"]


def predictions_frame(
    jobs: Sequence[Job], results: Sequence[JobResult], data: RunData, folder: Path
) -> pd.DataFrame:
    """Join what the models said with the sealed labels: the one place where `train` opens test.

    Args:
        jobs: every training of the run, finished.
        results: of each.
        data: features, folds and the sealed labels.
        folder: of the run, whose record of openings gets a line.
    """
    classes = data.scheme.classes
    frames: list[pd.DataFrame] = []
    tested = data.test.open(folder, jobs, f"train: scores of {len(jobs)} trainings")
    for job, result, utterances in zip(jobs, results, tested, strict=True):
        shares = torch.softmax(result.logits.double(), dim=1)
        predicted = shares.argmax(dim=1).tolist()
        columns: dict[str, Any] = {
            "id": [u.id for u in utterances],
            "corpus": [u.corpus for u in utterances],
            "fold": job.fold.name,
            "seed": job.seed,
            "speaker": [u.speaker for u in utterances],
            "session": [u.session for u in utterances],
            "dialogue": [u.dialogue for u in utterances],
            "gender": [u.gender for u in utterances],
            "gold": [u.emotion for u in utterances],
            "predicted": [classes[place] for place in predicted],
        }
        columns |= {f"{PROBABILITY}{n}": shares[:, i].numpy() for i, n in enumerate(classes)}
        columns |= {f"{WEIGHT}{name}": part.numpy() for name, part in result.weights.items()}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def metrics_note(
    summary: Summary,
    audit: Audit,
    data: RunData,
    jobs: Sequence[Job],
    results: Sequence[JobResult],
) -> dict[str, Any]:
    """Give what goes into ``metrics.json``: the summary, and how far it can be believed."""
    best = best_job(results)
    said = (str(note) for result in results for note in result.note["notes"])
    notes = dict.fromkeys((*data.remarks, *said))
    return {
        "protocol": audit.protocol,
        "stamp": audit.stamp,
        "speaker_independent": audit.speaker_independent,
        "summary": summary.to_json(),
        "best": {"job": jobs[best].folder.name, **results[best].note},
        "jobs": [dict(result.note) for result in results],
        "notes": list(notes),
    }


def best_job(results: Sequence[JobResult]) -> int:
    """Place of the job with the best dev metric (the first among equals, or without dev)."""
    known = [-float("inf") if r.note["dev"] is None else r.note["dev"] for r in results]
    return known.index(max(known))


def write_best(
    folder: Path,
    recipe: Recipe,
    data: RunData,
    job: Job,
    metrics: Mapping[str, Any],
) -> None:
    """Write the bundle of a job's model."""
    spec = ModelSpec(data.table.dims, len(data.scheme.classes))
    model = build_model(recipe.model["name"], recipe.model_options, spec)
    model.load_state_dict(dict(job.weights()))
    estimates = metrics["summary"]["metrics"]
    figures = {name: one["mean"] for name, one in estimates.items()}
    figures |= _intervals(estimates)
    encoders, local = bundle_encoders(folder, recipe, data, job)
    learnt = [data.manifest[name] for name in (*job.fold.train, *job.fold.dev)]
    refit = recipe.trainer.refit
    config = BundleConfig.parse(
        {
            "model": {"name": recipe.model["name"], "options": recipe.model_options},
            "dims": data.table.dims,
            "scheme": data.scheme,
            "encoders": encoders,
            "encoders_local": local,
            "protocol": {key: metrics[key] for key in ("stamp", "speaker_independent")}
            | {"name": metrics["protocol"]},
            "metrics": figures,
            "data": {
                "corpora": data.note["corpora"],
                "licences": _licences(data.note["corpora"]),
                "utterances": len(job.fold.train) + (len(job.fold.dev) if refit else 0),
                "languages": sorted({u.language for u in learnt if u.language}),
            },
            "trained_with_dropout": recipe.trainer.dropout_for(len(data.table.dims)) > 0,
        },
        "bundle",
    )
    write_bundle(folder, model, config)


def _intervals(estimates: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, one in estimates.items():
        for end in ("low", "high"):
            value = one["interval"].get(end)
            if value is not None:
                found[f"{name}_{end}"] = value
    return found


def _licences(corpora: Sequence[str]) -> dict[str, str]:
    return {name: CORPORA.load(name).licence for name in corpora if name in CORPORA}
