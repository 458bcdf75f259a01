"""Forward and backward of each system, against plain fusion of the same batch and stock parts.

A step is the forward pass in training mode, the objective, and the backward pass; no optimiser.
Ways take turns within a round, so that a busy machine slows all of them; medians over rounds.

    python benchmarks/systems.py [--json] [--rounds N] [--bf16]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn

from emofuse.layers import MultiHeadAttention
from emofuse.layers.batch_norm import MaskedBatchNorm
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences

CLASSES = ("anger", "happiness", "neutral", "sadness")
CE = {"name": "cross-entropy"}
PLAIN = "mlp, attention pooling"
SEQUENCES = {"audio": (384, 50), "text": (384, 12)}
MEL = {"audio": (64, 300), "text": (384, 12)}
SPEECH = {"audio": (64, 300)}
SYSTEMS = (
    (PLAIN, "mlp", {"pooling": "attention"}, (CE,), SEQUENCES),
    ("fleser", "fleser", {}, (CE,), SEQUENCES),
    (
        "four-m-ser",
        "four-m-ser",
        {},
        (CE, {"name": "contrastive-center", "weight": 0.5}),
        SEQUENCES,
    ),
    ("memocmt", "memocmt", {}, (CE,), SEQUENCES),
    (
        "vga-fusion",
        "vga-fusion",
        {},
        (CE, {"name": "vad", "weight": 0.3}, {"name": "micl", "weight": 0.2}),
        SEQUENCES,
    ),
    (
        "foal-net",
        "foal-net",
        {},
        (CE, {"name": "avel", "weight": 0.5}, {"name": "mem", "weight": 0.1}),
        SEQUENCES,
    ),
    (
        "copenhagen, cross-attention",
        "copenhagen",
        {"architecture": "cross-attention"},
        (CE,),
        MEL,
    ),
    ("copenhagen, resnet18", "copenhagen", {"architecture": "resnet18"}, (CE,), SPEECH),
)


def draw(sizes, items):
    parts = {}
    for name, (dim, longest) in sizes.items():
        lengths = torch.randint(longest // 2, longest + 1, (items,))
        mask = torch.arange(longest)[None] < lengths[:, None]
        parts[name] = Sequences(torch.randn(items, longest, dim) * mask[..., None], mask)
    return Batch(parts)


def make_step(model_name, options, terms, sizes, *, items, bf16):
    dims = {name: dim for name, (dim, _) in sizes.items()}
    batch = draw(sizes, items)
    targets = Targets(torch.arange(items) % len(CLASSES))
    model = build_model(model_name, options, ModelSpec(dims, len(CLASSES)))
    model.fit_normalisation(batch)
    with torch.no_grad():
        shown = model.eval()(batch)
    widths = {name: int(part.shape[-1]) for name, part in shown.embeddings.items()}
    counts = torch.bincount(targets.labels, minlength=len(CLASSES))
    objective = build_objective(terms, LossContext(counts, widths, CLASSES))
    model.train()

    def step():
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = objective(model(batch), targets)
        loss.backward()

    return step, sum(one.numel() for one in model.parameters())


def shared_parts():
    """Our attention and normalisation by masks against torch's own on the same tensors."""
    queries, memory = torch.randn(16, 50, 256), torch.randn(16, 60, 256)
    mask = torch.arange(60)[None] < torch.randint(30, 61, (16, 1))
    ours = MultiHeadAttention(256, heads=8, dropout=0.1)
    stock = nn.MultiheadAttention(256, 8, dropout=0.1, batch_first=True)
    maps = torch.randn(16, 64, 16, 75)
    columns = torch.arange(75)[None] < torch.randint(40, 76, (16, 1))
    norm, plain = MaskedBatchNorm(64), nn.BatchNorm2d(64)
    return {
        "attention, by masks": (
            lambda: stock(queries, memory, memory, key_padding_mask=~mask)[0].sum().backward(),
            lambda: ours(queries, memory, mask)[0].sum().backward(),
        ),
        "batch normalisation, by masks (torch's looks at padding)": (
            lambda: plain(maps).sum().backward(),
            lambda: norm(maps, columns).sum().backward(),
        ),
    }


def clock(ways, rounds):
    """Median seconds of each way; all take turns in every round."""
    seconds = {name: [] for name in ways}
    for step in ways.values():
        step()
    for _ in range(rounds):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--items", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = {
        name: make_step(model, options, terms, sizes, items=arguments.items, bf16=arguments.bf16)
        for name, model, options, terms, sizes in SYSTEMS
    }
    taken = clock({name: step for name, (step, _) in made.items()}, arguments.rounds)
    parts = shared_parts()
    stock = {f"stock {name}": pair[0] for name, pair in parts.items()}
    ours = {f"ours {name}": pair[1] for name, pair in parts.items()}
    beside = clock({**stock, **ours}, arguments.rounds)
    found = {
        "systems": {
            name: {"ms": 1e3 * taken[name], "ratio": taken[name] / taken[PLAIN], "parameters": size}
            for name, (_, size) in made.items()
        },
        "parts": {name: beside[f"ours {name}"] / beside[f"stock {name}"] for name in parts},
    }
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        return
    kind = "bf16" if arguments.bf16 else "fp32"
    print(
        f"| forward + backward, {arguments.items} items, {kind} | parameters | ms | times plain |"
    )
    print("|---|--:|--:|--:|")
    for name, one in found["systems"].items():
        print(f"| {name} | {one['parameters']:,} | {one['ms']:.1f} | {one['ratio']:.1f} |")
    print("\n| part | times torch's own |\n|---|--:|")
    for name, ratio in found["parts"].items():
        print(f"| {name} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
