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
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from emofuse.evaluation.metrics import scores
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.training.fit import Blueprint
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.trainer import Trainer

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


def our_fit(setting, table, labels, parts, seed):
    rows, dev_rows = parts
    blueprint = Blueprint("mlp", OPTIONS, ({"name": "cross-entropy"},), ("a", "b", "c", "d"))
    options = TrainerOptions(
        epochs=setting.epochs, batch_size=setting.batch, patience=None, device="cpu"
    )

    def part(places):
        index = torch.from_numpy(places)
        return Part(index, Targets(torch.from_numpy(labels)[index]), index)

    return Trainer(blueprint, options).fit(table, part(rows), part(dev_rows), seed=seed).dev


def measure(setting):
    arrays, labels = make_data(setting)
    table = FeatureTable(
        tuple(str(n) for n in range(setting.items)),
        {"audio": Ragged.from_arrays(arrays, setting.dim)},
        {},
    )
    seconds = {"emofuse": [], "plain": []}
    reached = {"emofuse": [], "plain": []}
    for fold in range(setting.folds):
        parts = cut(setting, fold)
        for seed in range(setting.seeds):
            # turn and turn about, so that a busy machine slows both
            for name in ("plain", "emofuse") if (fold + seed) % 2 else ("emofuse", "plain"):
                start = time.perf_counter()
                if name == "plain":
                    score = plain_fit(setting, arrays, labels, parts, seed)
                else:
                    score = our_fit(setting, table, labels, parts, seed)
                seconds[name].append(time.perf_counter() - start)
                reached[name].append(score)
    ratios = [p / e for p, e in zip(seconds["plain"], seconds["emofuse"], strict=True)]
    return {
        "setting": setting.name,
        "jobs": setting.folds * setting.seeds,
        "epochs": setting.epochs,
        "plain_jobs_per_s": len(ratios) / sum(seconds["plain"]),
        "emofuse_jobs_per_s": len(ratios) / sum(seconds["emofuse"]),
        "ratio": sum(seconds["plain"]) / sum(seconds["emofuse"]),
        "ratio_median": statistics.median(ratios),
        "dev_ua_plain": statistics.mean(reached["plain"]),
        "dev_ua_emofuse": statistics.mean(reached["emofuse"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--frames", action="store_true", help="sequences only")
    arguments = parser.parse_args()
    folds, seeds, epochs = (3, 1, 3) if arguments.quick else (5, 5, 10)
    settings = [
        Setting("pooled, 5,500 x 768", 5500, 768, 1, folds, seeds, epochs, 64),
        Setting("frames, 1,000 x 50 x 256", 1000, 256, 50, folds, min(seeds, 2), epochs, 32),
    ]
    found = [measure(s) for s in settings if s.frames > 1 or not arguments.frames]
    if arguments.json:
        json.dump({"threads": torch.get_num_threads(), "results": found}, sys.stdout, indent=2)
        return
    print(f"threads: {torch.get_num_threads()} of {os.cpu_count()} processors\n")
    print("| training (mlp) | folds x seeds/s, plain DataLoader | emofuse | ratio | dev UA |")
    print("|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one['setting']}, {one['jobs']} jobs of {one['epochs']} epochs "
            f"| {one['plain_jobs_per_s']:.3f} | {one['emofuse_jobs_per_s']:.3f} "
            f"| {one['ratio']:.2f} | {one['dev_ua_plain']:.3f} / {one['dev_ua_emofuse']:.3f} |"
        )


if __name__ == "__main__":
    main()
