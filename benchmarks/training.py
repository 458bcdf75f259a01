"""Folds x seeds a second: emofuse's trainer against a plain DataLoader loop, in one run.

The same model, initial weights, features, number of epochs, batch size, optimiser settings and dev
check an epoch; the plain loop is the usual script: a Dataset that gives one item at a time, the
stock collate (padding for sequences), a DataLoader in the process, `loss.item()` every step, run
once a fold and seed. The machine may be busy: the ways take turns, job by job, and processor time
is given beside wall-clock time.

    python benchmarks/training.py [--model mlp|fleser] [--frames] [--stack] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
MODELS = {"mlp": ({"hidden": 256}, ("audio",)), "fleser": ({}, ("text", "audio"))}
PLAIN = "plain DataLoader loop"
LEAST = 4  # jobs in turns, however long they take


@dataclass(frozen=True)
class Setting:
    """What is trained: model, sizes of data, protocol and training."""

    name: str
    model: str
    items: int
    dim: int
    frames: int
    folds: int
    seeds: int
    epochs: int
    batch: int

    @property
    def options(self):
        """Of the model."""
        return MODELS[self.model][0]

    @property
    def dims(self):
        """Feature size of each modality."""
        return dict.fromkeys(MODELS[self.model][1], self.dim)


class Items(Dataset):
    """One item at a time, as scripts usually have it."""

    def __init__(self, arrays, labels, rows):
        self.arrays, self.labels, self.rows = arrays, labels, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        found = {name: torch.from_numpy(part[row]) for name, part in self.arrays.items()}
        return found, int(self.labels[row])


def collate(pairs):
    batch = {}
    for name in pairs[0][0]:
        values = [found[name] for found, _ in pairs]
        padded = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        lengths = torch.tensor([len(v) for v in values])
        batch[name] = Sequences(padded, torch.arange(padded.shape[1])[None] < lengths[:, None])
    return Batch(batch), torch.tensor([label for _, label in pairs])


def make_data(setting):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, setting.items)
    arrays = {}
    for name, dim in setting.dims.items():
        centres = random.normal(size=(CLASSES, dim)).astype(np.float32)
        arrays[name] = []
        for label in labels:
            length = 1 if setting.frames == 1 else int(random.integers(2, 2 * setting.frames))
            noise = random.standard_normal((length, dim), dtype=np.float32) * 8
            arrays[name].append(centres[label] + noise)
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
    model = build_model(setting.model, setting.options, ModelSpec(setting.dims, CLASSES), seed)
    sample = {
        name: torch.cat([torch.from_numpy(part[row]) for row in rows])[None]
        for name, part in arrays.items()
    }
    model.fit_normalisation(
        Batch(
            {n: Sequences(v, torch.ones(v.shape[:2], dtype=torch.bool)) for n, v in sample.items()}
        )
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, setting.epochs * len(train))
    best = 0.0
    for _ in range(setting.epochs):
        model.train()
        total = 0.0
        for batch, target in train:
            loss = torch.nn.functional.cross_entropy(model(batch).logits, target)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        model.eval()
        gold, found = [], []
        with torch.no_grad():
            for batch, target in dev:
                found += model(batch).logits.argmax(1).tolist()
                gold += target.tolist()
        best = max(best, scores(gold, found, CLASSES).ua)
    return best


def our_tasks(setting, labels, folder, jobs):
    def part(places):
        index = torch.from_numpy(places)
        return Part(index, Targets(torch.from_numpy(labels)[index]), index)

    parts = {fold: [part(places) for places in cut(setting, fold)] for fold, _ in jobs}
    tasks = []
    for fold, seed in jobs:
        train, dev = parts[fold]
        named = Fold(f"fold {fold}", ("a",), (), ("b",))
        job = Job(named, seed, folder / "jobs" / f"{fold}-{seed}")
        tasks.append(Task(job, train, dev, dev.rows[:1]))
    return tasks


def run_ours(setting, table, labels, jobs, device="cpu", **changes):
    """Train folds and seeds the way `train` does, checkpoints and histories included."""
    blueprint = Blueprint(
        setting.model, setting.options, ({"name": "cross-entropy"},), ("a", "b", "c", "d")
    )
    options = TrainerOptions(
        epochs=setting.epochs,
        batch_size=setting.batch,
        patience=None,
        modality_dropout=0.0,
        device=device,
        **changes,
    )
    with tempfile.TemporaryDirectory() as folder:
        tasks = our_tasks(setting, labels, Path(folder), jobs)
        start = clock()
        run_tasks(tasks, blueprint, options, table, lambda *_: None)
        spent = since(start)
        return spent, statistics.mean(task.job.result().note["dev"] for task in tasks)


def clock():
    """Wall-clock time, and processor time of this process and of those that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)


def since(start):
    return tuple(now - then for now, then in zip(clock(), start, strict=True))


def run_plain(setting, arrays, labels, fold, seed):
    start = clock()
    reached = plain_fit(setting, arrays, labels, cut(setting, fold), seed)
    return since(start), reached


def measure(setting, workers, stack, minutes):
    torch.set_num_threads(1)  # more is slower for either at this size, and noisier
    arrays, labels = make_data(setting)
    table = FeatureTable(
        tuple(str(n) for n in range(setting.items)),
        {name: Ragged.from_arrays(part, setting.dim) for name, part in arrays.items()},
        {},
    )
    jobs = [(fold, seed) for fold in range(setting.folds) for seed in range(setting.seeds)]
    ours = "emofuse, one process"
    times = {PLAIN: [], ours: []}
    reached = {PLAIN: [], ours: []}
    warm = replace(setting, epochs=1)
    run_plain(warm, arrays, labels, 0, 0)
    run_ours(warm, table, labels, [(0, 0)], workers=0)
    end = time.monotonic() + 60 * minutes
    for place, (fold, seed) in enumerate(jobs):
        if place >= LEAST and time.monotonic() > end:
            break
        order = list(times) if place % 2 else list(reversed(times))  # a busy machine slows both
        for name in order:
            if name == ours:
                found = run_ours(setting, table, labels, [(fold, seed)], workers=0)
            else:
                found = run_plain(setting, arrays, labels, fold, seed)
            times[name].append(found[0])
            reached[name].append(found[1])
    jobs = jobs[: len(times[ours])]
    more = {}
    if workers > 1:
        more[f"emofuse, {workers} processes"] = {"workers": workers}
        more["emofuse, workers: auto"] = {"workers": "auto"}
    if stack:
        more["emofuse, stacked"] = {"stack": True, "device": "cuda" if cuda() else "cpu"}
    for name, changes in more.items():
        found = run_ours(setting, table, labels, jobs, **changes)
        times[name], reached[name] = [found[0]], [found[1]]
    return {
        "setting": setting.name,
        "jobs": len(jobs),
        "epochs": setting.epochs,
        "ways": {name: summary(times, reached, name, len(jobs)) for name in times},
    }


def summary(times, reached, name, jobs):
    """Sums over all jobs; for ways that take turns, the median of the ratios job by job too."""
    wall, used = (sum(one[kind] for one in times[name]) for kind in (0, 1))
    plain = [sum(one[kind] for one in times[PLAIN]) for kind in (0, 1)]
    by_job = None
    if len(times[name]) == len(times[PLAIN]):
        pairs = zip(times[PLAIN], times[name], strict=True)
        by_job = statistics.median(one[1] / two[1] for one, two in pairs)
    return {
        "seconds": wall,
        "processor_seconds": used,
        "jobs_per_s": jobs / wall,
        "ratio": plain[0] / wall,
        "processor_ratio": plain[1] / used,
        "median_processor_ratio": by_job,
        "dev_ua": statistics.mean(reached[name]),
    }


def cuda():
    return torch.cuda.is_available()


def settings(arguments):
    folds, seeds, epochs = (3, 1, 3) if arguments.quick else (5, 5, 10)
    epochs = arguments.epochs or epochs
    pooled = [
        Setting(f"{name}, 5,500 x {len(MODELS[name][1])} x 768", name, 5500, 768, 1, *rest)
        for name in arguments.model
        for rest in [(folds, seeds, epochs, 64)]
    ]
    sequences = Setting(
        "mlp, 1,000 x 50 x 256", "mlp", 1000, 256, 50, folds, min(seeds, 2), epochs, 32
    )
    return [sequences] if arguments.frames else pooled


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=["mlp", "fleser"])
    parser.add_argument("--frames", action="store_true", help="sequences alone")
    parser.add_argument("--stack", action="store_true", help="also as one batched computation")
    parser.add_argument(
        "--minutes", type=float, default=1e6, help="to take turns; the jobs done by then count"
    )
    parser.add_argument("--epochs", type=int, help="of each training [10]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    found = [
        measure(one, arguments.workers, arguments.stack, arguments.minutes)
        for one in settings(arguments)
    ]
    if arguments.json:
        json.dump({"processors": os.cpu_count(), "results": found}, sys.stdout, indent=2)
        return
    print("| training | way | folds x seeds/s | ratio | ratio of processor time | dev UA |")
    print("|---|---|--:|--:|--:|--:|")
    for one in found:
        what = f"{one['setting']}, {one['jobs']} x {one['epochs']} epochs"
        for name, way in one["ways"].items():
            numbers = [way[key] for key in ("jobs_per_s", "ratio", "processor_ratio", "dev_ua")]
            rate, ratio, used, score = numbers
            print(f"| {what} | {name} | {rate:.3f} | {ratio:.2f} | {used:.2f} | {score:.3f} |")


if __name__ == "__main__":
    main()
