"""One of several processes that compute MEM together: ``RANK WORLD MEETING CASES OUT``.

The global batch is drawn from a seed; each process owns a stretch of it, padded to its own longest
clip. ``CASES`` are ``NEGATIVES/POSITIVES/REUSE:ITEMS,ITEMS`` with ``;`` between them. Written of
each: this process's value, and the gradient of every parameter of a small Foal-Net, averaged over
the processes as a distributed trainer does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.mem import MEM, MEMOptions
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences

DIMS = {"audio": 8, "video": 12}
LABELS = (0, 1, 2, 0, 1, 1, 2, 0)
LENGTHS = {"audio": (5, 2, 3, 4, 1, 2, 0, 3), "video": (2, 6, 0, 1, 3, 4, 4, 1)}


def measure(start: int, end: int, case: str) -> tuple[float, dict[str, torch.Tensor]]:
    negatives, positives, reuse = case.split("/")
    generator = torch.Generator().manual_seed(7)
    parts = {}
    for name, dim in DIMS.items():
        whole = torch.randn(len(LABELS), 6, dim, generator=generator, dtype=torch.float64)
        lengths = torch.tensor(LENGTHS[name])[start:end]
        longest = max(int(lengths.max()), 1)
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        parts[name] = Sequences(whole[start:end, :longest] * mask[..., None], mask)
    options = {"normalise": False, "heads": 2, "projection": 6, "fusion_dropout": 0.0}
    model = build_model("foal-net", options, ModelSpec(DIMS, 3), seed=0).double().eval()
    options = {"negatives": negatives, "positives": positives, "reuse_positive": reuse == "reuse"}
    term = MEM(MEMOptions.parse(options), LossContext(torch.tensor([3, 3, 2]), {}))
    loss = term.eval()(model(Batch(parts)), Targets(torch.tensor(LABELS[start:end])))
    loss.backward()
    named = model.named_parameters()
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named}
    return float(loss.detach()), found


if __name__ == "__main__":
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world
    )
    told = {}
    for case in sys.argv[4].split(";"):
        kind, _, listed = case.partition(":")
        sizes = [int(size) for size in listed.split(",")]
        first = sum(sizes[:rank])
        value, gradients = measure(first, first + sizes[rank], kind)
        for gradient in gradients.values():
            dist.all_reduce(gradient)
        shared = {name: (one / world).tolist() for name, one in gradients.items()}
        told[case] = {"value": value, "gradients": shared}
    Path(sys.argv[5]).write_text(json.dumps(told))
    dist.destroy_process_group()
