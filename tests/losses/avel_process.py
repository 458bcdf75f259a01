"""One of several processes that compute AVEL together: ``RANK WORLD MEETING SIZES OUT``.

The global batch is drawn from a seed; each process owns a stretch of it. ``SIZES`` are cases,
``GATHER:ITEMS,ITEMS`` with ``;`` between them. Written of each: this process's value, and the
gradient of a shared map, averaged over the processes as a distributed trainer does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from emofuse.losses.avel import Aligned, avel

ITEMS, DIM = 8, 5


def measure(start: int, end: int, gather: str) -> tuple[float, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(2, ITEMS, DIM, generator=generator, dtype=torch.float64)
    shared = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0])
    present = torch.ones(2, ITEMS, dtype=torch.bool)
    present[0, 2] = present[1, 5] = False
    rows = torch.nn.functional.normalize(values @ shared, dim=-1)
    parts = {
        name: Aligned(rows[place, start:end], present[place, start:end])
        for place, name in enumerate(("audio", "video"))
    }
    scale = torch.tensor(3.0, dtype=torch.float64)
    loss = avel(parts, labels[start:end], scale, differentiable=gather == "differentiable")
    loss.backward()
    assert shared.grad is not None
    return float(loss.detach()), shared.grad


if __name__ == "__main__":
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world
    )
    found = {}
    for case in sys.argv[4].split(";"):
        gather, _, listed = case.partition(":")
        sizes = [int(size) for size in listed.split(",")]
        start = sum(sizes[:rank])
        value, gradient = measure(start, start + sizes[rank], gather)
        dist.all_reduce(gradient)
        found[case] = {"value": value, "gradient": (gradient / world).tolist()}
    Path(sys.argv[5]).write_text(json.dumps(found))
    dist.destroy_process_group()
