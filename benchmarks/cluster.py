"""Encoding by two workers against one process, and what a step of the trainer costs.

Encoding: Whisper of the size of tiny.en with random weights, one thread a process, into an empty
store each time; this process alone, two processes, two Ray workers, taking turns; medians. Starting
the workers is told apart: it is paid once, however long the manifest.

A step: the `mlp` on pooled vectors, by `Fit`'s stepper and by a bare loop that does the same
arithmetic (indexing, forward pass, cross-entropy, backward pass, clipping, fused AdamW) and nothing
else; processor time, taking turns; medians.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py [--clips N] [--rounds N] [--only PART] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from emofuse.cluster.engine import Engine
from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import encode_manifest
from emofuse.features.spread import encode_spread
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.manifest import Manifest
from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Blueprint, Fit
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from encoding import make_clips, save_whisper

ENGINES = {
    "one process": None,
    "two processes": Engine(workers=2),
    "two Ray workers": Engine("ray", workers=2),
}
ITEMS, DIM, BATCH, HIDDEN, CLASSES = 5500, 768, 64, 256, 4


def encode(manifest, spec, engine):
    """Seconds of encoding, and seconds altogether."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        started = time.perf_counter()
        if engine is None:
            report = encode_manifest(manifest, "audio", spec, store)
        else:
            report = encode_spread(manifest, "audio", spec, store, engine=engine)
        return report.seconds, time.perf_counter() - started


def encoding(clips, rounds):
    found = {name: [] for name in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_clips(Path(folder), clips)
        spec = EncoderSpec(name=str(save_whisper(Path(folder) / "whisper")), pooling="mean+std")
        few = Manifest(list(manifest)[:8], manifest.root)
        encode(few, spec, None)  # warms up
        for number in range(rounds):
            names = list(ENGINES)
            for name in names[number % 3 :] + names[: number % 3]:
                found[name].append(encode(manifest, spec, ENGINES[name]))
    rows = {}
    for name, times in found.items():
        busy, whole = (statistics.median(part) for part in zip(*times, strict=True))
        rows[name] = {"seconds": busy, "with_start": whole}
    alone = rows["one process"]
    for one in rows.values():
        one["ratio"] = alone["seconds"] / one["seconds"]
        one["ratio_with_start"] = alone["with_start"] / one["with_start"]
    return {"clips": clips, "ways": rows}


def steps(rounds):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(ITEMS, DIM, generator=generator)
    labels = torch.randint(CLASSES, (ITEMS,), generator=generator)
    table = FeatureTable(
        tuple(map(str, range(ITEMS))),
        {"audio": Ragged.from_arrays([row[None] for row in values.numpy()], DIM)},
        {},
    )
    rows = torch.arange(ITEMS)
    blueprint = Blueprint("mlp", {"hidden": HIDDEN}, ({"name": "cross-entropy"},), tuple("abcd"))
    options = TrainerOptions(epochs=1000, batch_size=BATCH, device="cpu")
    part = Part(rows, Targets(labels), rows)
    fit = Fit(blueprint, options, table, part, None, seed=0, accelerator=Accelerator(cpu=True))
    bare = bare_loop(table, rows, labels)
    count = -(-ITEMS // BATCH)
    times = {"emofuse": [], "bare loop": []}
    for number in range(rounds + 1):
        for name, run in (("emofuse", lambda n=number: fit.stepper.epoch(n)), ("bare loop", bare)):
            started = time.process_time()
            run()
            if number:
                times[name].append((time.process_time() - started) / count)
    ours, theirs = (statistics.median(times[name]) for name in ("emofuse", "bare loop"))
    return {
        "emofuse_ms": 1e3 * ours,
        "bare_ms": 1e3 * theirs,
        "overhead_ms": 1e3 * (ours - theirs),
        "ratio": ours / theirs,
    }


def bare_loop(table, rows, labels):
    model = build_model("mlp", {"hidden": HIDDEN}, ModelSpec(table.dims, CLASSES), 0)
    feeder = Feeder(table, rows)
    model.fit_normalisation(feeder.statistics_batch())
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2, fused=True)

    def run():
        model.train()
        for items in torch.randperm(ITEMS).split(BATCH):
            output = model(feeder.batch(items))
            loss = torch.nn.functional.cross_entropy(output.logits, labels[items])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()

    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=["encoding", "step"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    if asked.only != "step":
        found["encoding"] = encoding(asked.clips, asked.rounds)
    if asked.only != "encoding":
        found["step"] = steps(10 * asked.rounds)
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for name, one in found.get("encoding", {"ways": {}})["ways"].items():
        print(
            f"{name}: {one['seconds']:.2f} s, {one['ratio']:.2f} x; with start "
            f"{one['with_start']:.2f} s, {one['ratio_with_start']:.2f} x"
        )
    print({key: round(value, 3) for key, value in found.get("step", {}).items()})


if __name__ == "__main__":
    main()
