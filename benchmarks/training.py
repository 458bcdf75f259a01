"""Folds x seeds a second: emofuse's trainer against a plain DataLoader loop, in one run.

The same model, initial weights, features, number of epochs, batch size, optimiser settings and dev
check an epoch; the plain loop is the usual script: a Dataset that gives one item at a time, the
stock collate (padding for sequences), a DataLoader in the process, `loss.item()` every step.

    python benchmarks/training.py [--frames] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from emofuse.evaluation.metrics import scores
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.protocols.contract import Fold
from emofuse.training.fit import Blueprint
from emofuse.training.jobs import Job
from emofuse.training.options import TrainerOptions
from emofuse.training.parallel import Task, run_tasks
from emofuse.training.parts import Part

CLASSES = 4
OPTIONS = {"hidden": 256}


@dataclass(frozen=True)
class Setting:
    """What is trained: sizes of data, protocol and training."""

    name: str
    items: int
    dim: int
    frames: int
    folds: int
    seeds: int
    epochs: int
    batch: int


class Items(Dataset):
    """One item at a time, as scripts usually have it."""

    def __init__(self, arrays, labels, rows):
        self.arrays, self.labels, self.rows = arrays, labels, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        return torch.from_numpy(self.arrays[row]), int(self.labels[row])


def collate(pairs):
    values = torch.nn.utils.rnn.pad_sequence([v for v, _ in pairs], batch_first=True)
    lengths = torch.tensor([len(v) for v, _ in pairs])
    mask = torch.arange(values.shape[1])[None] < lengths[:, None]
    return values, mask, torch.tensor([label for _, label in pairs])


def make_data(setting):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, setting.items)
    centres = random.normal(size=(CLASSES, setting.dim)).astype(np.float32)
    arrays = []
    for label in labels:
        length = 1 if setting.frames == 1 else int(random.integers(2, 2 * setting.frames))
        noise = random.standard_normal((length, setting.dim), dtype=np.float32) * 8
        arrays.append(centres[label] + noise)
    return arrays, labels


def cut(setting, fold):
    order = np.arange(setting.items)
    test = order % setting.folds == fold
    dev = order % setting.folds == (fold + 1) % setting.folds
    return order[~test & ~dev], order[dev]


def plain_fit(setting, arrays, labels, parts, seed):
    rows, dev_rows = parts
    torch.manual_seed(seed)
    train = DataLoader(Items(arrays, labels, rows), setting.batch, shuffle=True, collate_fn=collate)
    dev = DataLoader(Items(arrays, labels, dev_rows), setting.batch, collate_fn=collate)
    model = build_model("mlp", OPTIONS, ModelSpec({"audio": setting.dim}, CLASSES), seed)
    sample = torch.cat([torch.from_numpy(arrays[row]) for row in rows])
    model.fit_normalisation(
        Batch({"audio": Sequences(sample[None], torch.ones(1, len(sample), dtype=torch.bool))})
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, setting.epochs * len(train))
    best = 0.0
    for _ in range(setting.epochs):
        model.train()
        total = 0.0
        for values, mask, target in train:
            output = model(Batch({"audio": Sequences(values, mask)}))
            loss = torch.nn.functional.cross_entropy(output.logits, target)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        model.eval()
        gold, found = [], []
        with torch.no_grad():
            for values, mask, target in dev:
                output = model(Batch({"audio": Sequences(values, mask)}))
                found += output.logits.argmax(1).tolist()
                gold += target.tolist()
        best = max(best, scores(gold, found, CLASSES).ua)
    return best


def our_tasks(setting, labels, folder, jobs):
    def part(places):
        index = torch.from_numpy(places)
        return Part(index, Targets(torch.from_numpy(labels)[index]), index)

    tasks = []
    for fold, seed in jobs:
        train, dev = (part(places) for places in cut(setting, fold))
        named = Fold(f"fold {fold}", ("a",), (), ("b",))
        job = Job(named, seed, folder / f"{fold}-{seed}")
        tasks.append(Task(job, train, dev, dev.rows[:1]))
    return tasks


def run_ours(setting, table, labels, workers, jobs):
    """Train folds and seeds the way `train` does, checkpoints and histories included."""
    blueprint = Blueprint("mlp", OPTIONS, ({"name": "cross-entropy"},), ("a", "b", "c", "d"))
    options = TrainerOptions(
        epochs=setting.epochs,
        batch_size=setting.batch,
        patience=None,
        device="cpu",
        workers=workers,
    )
    with tempfile.TemporaryDirectory() as folder:
        tasks = our_tasks(setting, labels, Path(folder), jobs)
        start = time.perf_counter()
        run_tasks(tasks, blueprint, options, table, lambda *_: None)
        seconds = time.perf_counter() - start
        return seconds, statistics.mean(task.job.result().note["dev"] for task in tasks)


def run_plain(setting, arrays, labels, fold, seed):
    start = time.perf_counter()
    reached = plain_fit(setting, arrays, labels, cut(setting, fold), seed)
    return time.perf_counter() - start, reached


def measure(setting, workers):
    torch.set_num_threads(1)  # more is slower for either at this size, and noisier
    arrays, labels = make_data(setting)
    table = FeatureTable(
        tuple(str(n) for n in range(setting.items)),
        {"audio": Ragged.from_arrays(arrays, setting.dim)},
        {},
    )
    blank = {"seconds": 0.0, "dev_ua": 0.0}
    ways = {"plain DataLoader loop": dict(blank), "emofuse": dict(blank)}
    jobs = [(fold, seed) for fold in range(setting.folds) for seed in range(setting.seeds)]
    warm = replace(setting, epochs=1)
    run_plain(warm, arrays, labels, 0, 0)
    run_ours(warm, table, labels, 0, [(0, 0)])
    for place, (fold, seed) in enumerate(jobs):
        order = list(ways) if place % 2 else list(reversed(ways))  # a busy machine slows both
        for name in order:
            if name == "emofuse":
                found = run_ours(setting, table, labels, 0, [(fold, seed)])
            else:
                found = run_plain(setting, arrays, labels, fold, seed)
            ways[name]["seconds"] += found[0]
            ways[name]["dev_ua"] += found[1] / len(jobs)
    if workers > 1:
        seconds, reached = run_ours(setting, table, labels, workers, jobs)
        ways[f"emofuse, workers={workers}"] = {"seconds": seconds, "dev_ua": reached}
    plain = ways["plain DataLoader loop"]["seconds"]
    for one in ways.values():
        one["jobs_per_s"] = len(jobs) / one["seconds"]
        one["ratio"] = plain / one["seconds"]
    return {"setting": setting.name, "jobs": len(jobs), "epochs": setting.epochs, "ways": ways}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--frames", action="store_true", help="sequences only")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    folds, seeds, epochs = (3, 1, 3) if arguments.quick else (5, 5, 10)
    settings = [
        Setting("pooled, 5,500 x 768", 5500, 768, 1, folds, seeds, epochs, 64),
        Setting("frames, 1,000 x 50 x 256", 1000, 256, 50, folds, min(seeds, 2), epochs, 32),
    ]
    found = [
        measure(s, arguments.workers) for s in settings if s.frames > 1 or not arguments.frames
    ]
    if arguments.json:
        json.dump({"processors": os.cpu_count(), "results": found}, sys.stdout, indent=2)
        return
    print("| training (mlp), one thread a process | way | folds x seeds/s | ratio | dev UA |")
    print("|---|---|---|---|---|")
    for one in found:
        what = f"{one['setting']}, {one['jobs']} x {one['epochs']} epochs"
        for name, way in one["ways"].items():
            rate, ratio, score = way["jobs_per_s"], way["ratio"], way["dev_ua"]
            print(f"| {what} | {name} | {rate:.3f} | {ratio:.2f} | {score:.3f} |")


if __name__ == "__main__":
    main()
