"""From finished jobs to predictions, metrics and the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emofuse.corpora import CORPORA
from emofuse.evaluation.contamination import contaminated_by, unknown_encoders
from emofuse.evaluation.predictions import DIMENSIONS, GOLD_VAD, PROBABILITY, VAD, WEIGHT
from emofuse.evaluation.rules import AnswerRules
from emofuse.evaluation.summary import Summary
from emofuse.labels import LabelScheme
from emofuse.manifest import Utterance
from emofuse.models.build import build_model
from emofuse.models.bundle import BundleConfig, write_bundle
from emofuse.models.contract import ModelSpec
from emofuse.protocols.audit import Audit
from emofuse.training.bundle_encoders import bundle_encoders
from emofuse.training.data import RunData
from emofuse.training.jobs import Job, JobResult
from emofuse.training.recipe import Recipe
from emofuse.training.scores import calibrated_columns
from emofuse.training.voices import voices_note

__all__ = [
    "Answers",
    "answer_columns",
    "best_job",
    "metrics_note",
    "predictions_frame",
    "write_best",
]


class Answers(Protocol):
    """What a model said of utterances: a job's result, or a model that was asked again."""

    @property
    def logits(self) -> torch.Tensor:
        """``(items, classes)``."""

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """Modality -> ``(items,)``."""

    @property
    def vad(self) -> torch.Tensor | None:
        """``(items, 3)`` in [-1, 1]."""


def predictions_frame(
    jobs: Sequence[Job],
    results: Sequence[JobResult],
    data: RunData,
    folder: Path,
    rules: Sequence[AnswerRules | None] | None = None,
) -> pd.DataFrame:
    """Join what the models said with the sealed labels: the one place where `train` opens test.

    Args:
        jobs: every training of the run, finished.
        results: of each.
        data: features, folds and the sealed labels.
        folder: of the run, whose record of openings gets a line.
        rules: of each job, how its logits become answers.
    """
    classes = data.scheme.classes
    frames: list[pd.DataFrame] = []
    tested = data.test.open(folder, jobs, f"train: scores of {len(jobs)} trainings")
    fitted = [None] * len(jobs) if rules is None else rules
    for job, result, utterances, rule in zip(jobs, results, tested, fitted, strict=True):
        columns = answer_columns(job, utterances, result, data.scheme)
        if any(one is not None for one in fitted):
            logits = result.logits.double().numpy()
            columns |= calibrated_columns(rule, logits, columns["corpus"], classes)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def answer_columns(
    job: Job, utterances: Sequence[Utterance], answers: Answers, scheme: LabelScheme
) -> dict[str, Any]:
    """Join what one model said of utterances with what is known of them, calibration aside.

    Args:
        job: the training that gave the model.
        utterances: in the order of the answers.
        answers: logits, weights and dimensions.
        scheme: the label scheme.
    """
    classes = scheme.classes
    shares = torch.softmax(answers.logits.double(), dim=1)
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
        "predicted": [classes[place] for place in shares.argmax(dim=1).tolist()],
    }
    columns |= {f"{PROBABILITY}{n}": shares[:, i].numpy() for i, n in enumerate(classes)}
    columns |= {f"{WEIGHT}{name}": part.numpy() for name, part in answers.weights.items()}
    return columns | _about(utterances) | _vad(answers, utterances, scheme)


def _about(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Age and language of the speakers, where any is known."""
    found: dict[str, Any] = {}
    ages = [_age(u.extra.get("age")) for u in utterances]
    if any(age is not None for age in ages):
        found["age"] = np.array(ages, np.float64)
    if any(u.language for u in utterances):
        found["language"] = [u.language for u in utterances]
    return found


def _age(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 130 else None


def _vad(
    result: Answers, utterances: Sequence[Utterance], scheme: LabelScheme
) -> dict[str, NDArray[np.float64]]:
    """Valence, arousal and dominance on the scheme's scale, beside what annotators said."""
    found: dict[str, NDArray[np.float64]] = {}
    for place, name in enumerate(DIMENSIONS):
        gold = [getattr(u.vad, name, None) for u in utterances]
        if any(value is not None for value in gold):
            found[GOLD_VAD + name] = np.array(gold, np.float64)
        if result.vad is not None and name in scheme.vad:
            low, high = scheme.vad[name]
            found[VAD + name] = low + (result.vad[:, place].double().numpy() + 1) / 2 * (high - low)
    return found


def metrics_note(
    summary: Summary,
    audit: Audit,
    data: RunData,
    jobs: Sequence[Job],
    results: Sequence[JobResult],
) -> dict[str, Any]:
    """Give what goes into ``metrics.json``: the figures, and how far they can be believed."""
    best = best_job(results)
    said = (str(note) for result in results for note in result.note["notes"])
    notes = dict.fromkeys((*data.remarks, *said))
    return {
        "protocol": audit.protocol,
        "stamp": audit.stamp,
        "speaker_independent": audit.speaker_independent,
        "contaminated": list(contaminated_by(data.table.encoders, data.note["corpora"])),
        "unknown_encoders": list(unknown_encoders(data.table.encoders)),
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
    *,
    rules: AnswerRules | None = None,
) -> None:
    """Write the bundle of a job's model, with the rules by which it answers."""
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
            "calibration": None if rules is None else rules.model_dump(mode="json"),
            "voices": _voices(recipe, data, job),
            "trained_with_dropout": recipe.trainer.dropout_for(len(data.table.dims)) > 0,
        },
        "bundle",
    )
    write_bundle(folder, model, config)


def _voices(recipe: Recipe, data: RunData, job: Job) -> dict[str, Any] | None:
    """Say where the voices lie that a job learned from; None where encoders learned along."""
    if any(stage.kind != "features" for stage in recipe.trainer.stages):
        return None
    train, dev = data.parts(job.fold)
    whole = train if dev is None or not recipe.trainer.refit else train.join(dev)
    note = voices_note(data.table, whole, data.scheme)
    return None if note is None else note.model_dump(mode="json")


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
