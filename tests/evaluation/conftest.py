"""Fabricated predictions and run directories whose numbers are known."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import yaml

from emofuse.evaluation.predictions import write_predictions

CLASSES = ("anger", "happiness", "neutral", "sadness")


def fabricate(
    speakers=12,
    per_speaker=20,
    seeds=2,
    recall=(0.8, 0.6, 0.7, 0.9),
    classes=CLASSES,
    folds=4,
    draw=0,
    spread=0.0,
    gold_draw=123,
):
    """Predictions: class ``c`` is hit with probability ``recall[c]`` (+- ``spread`` a speaker)."""
    rng, gold_rng = np.random.default_rng(draw), np.random.default_rng(gold_draw)
    gold = gold_rng.integers(0, len(classes), (speakers, per_speaker))
    rows = []
    for seed in range(seeds):
        for speaker in range(speakers):
            shift = rng.normal(0, spread) if spread else 0.0
            for item in range(per_speaker):
                g = int(gold[speaker, item])
                hit = rng.random() < recall[g] + shift
                p = g if hit else int((g + rng.integers(1, len(classes))) % len(classes))
                rows.append((f"s{speaker}-{item}", f"fold {speaker % folds}", seed, speaker, g, p))
    return frame_of(rows, classes)


def frame_of(rows, classes=CLASSES):
    """Rows of (id, fold, seed, speaker, gold index, predicted index) as predictions."""
    made = pd.DataFrame(rows, columns=["id", "fold", "seed", "speaker", "g", "p"])
    frame = pd.DataFrame(
        {
            "id": made["id"],
            "corpus": "toy",
            "fold": made["fold"],
            "seed": made["seed"],
            "speaker": made["speaker"].map(lambda s: None if s is None else f"speaker {s}"),
            "session": None,
            "dialogue": None,
            "gender": None,
            "gold": [classes[g] for g in made["g"]],
            "predicted": [classes[p] for p in made["p"]],
        }
    )
    rest = 0.3 / (len(classes) - 1)
    for place, name in enumerate(classes):
        frame[f"p:{name}"] = np.where(made["p"] == place, 0.7, rest)
    frame["w:audio"], frame["w:text"] = 0.4, 0.6
    return frame


def audit_of(independent="yes"):
    protocol = "leave-one-speaker-out" if independent == "yes" else "random"
    stamp = {"yes": "speaker-independent", "no": "SPEAKER-DEPENDENT", "unknown": "unknown"}
    return {
        "protocol": protocol,
        "speaker_independent": independent,
        "stamp": f"{protocol}: {stamp[independent]}",
        "folds": [{"name": "fold 0", "sizes": {"train": 180, "dev": 0, "test": 60}}],
        "text_cue": {"verdict": "none (scripted)", "note": "sentences recur under every emotion"},
        "violations": [],
        "warnings": ["two recordings are near-identical"],
    }


@dataclass
class RunMaker:
    """Writes run directories below ``root``."""

    root: object
    made: dict = field(default_factory=dict)

    def __call__(self, name="run", frame=None, classes=CLASSES, independent="yes", **arguments):
        folder = self.root / name
        folder.mkdir()
        frame = fabricate(classes=classes, **arguments) if frame is None else frame
        if independent == "no":
            frame = frame.assign(fold=[f"fold {int(i.split('-')[1]) % 4}" for i in frame["id"]])
        write_predictions(folder / "predictions.parquet", frame, classes)
        self._write_texts(folder, name, frame, audit_of(independent))
        self._write_jobs(folder, frame)
        return folder

    def _write_texts(self, folder, name, frame, audit):
        recipe = {"name": name, "model": {"name": "linear"}, "seeds": [0, 1]}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        everyone = list(dict.fromkeys(frame["id"]))
        folds = []
        for fold, part in frame.groupby("fold", sort=False):
            test = list(dict.fromkeys(part["id"]))
            inside = set(test)
            train = [one for one in everyone if one not in inside]
            folds.append({"name": fold, "train": train, "dev": [], "test": test})
        texts = {
            "environment.json": {"emofuse": "0.1", "python": "3.12", "torch": "2.9"},
            "folds.json": {"folds": folds},
            "metrics.json": {"ua": 0.123, "test_openings": 4},
            "audit.json": audit,
        }
        for file, value in texts.items():
            (folder / file).write_text(json.dumps(value))

    def _write_jobs(self, folder, frame):
        for fold in frame["fold"].unique():
            for seed in frame["seed"].unique():
                job = folder / "jobs" / f"{fold.replace(' ', '_')}-{seed}"
                job.mkdir(parents=True)
                lines = ["epoch,loss,lr,dev_ua"]
                lines += [f"{e},{1 / (e + 1)},0.001,{0.5 + e / 20}" for e in range(8)]
                (job / "history.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def make_run(tmp_path):
    """``make_run(name, independent="no", ...)`` fabricates a run directory."""
    return RunMaker(tmp_path)


@pytest.fixture
def make_frame():
    """``make_frame(...)`` fabricates predictions (see `fabricate`)."""
    return fabricate


@pytest.fixture
def rows_to_frame():
    """``rows_to_frame(rows)`` turns (id, fold, seed, speaker, gold, predicted) into a frame."""
    return frame_of
