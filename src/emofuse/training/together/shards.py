"""Parameters that several processes hold a share of each (FSDP, `torch.distributed.fsdp`).

Every process keeps its rows of every weight, of its gradient and of what the optimiser knows of it.
A transformer layer of an encoder that learns is put together for its pass and forgotten again; all
else (the fusion model, embeddings, convolutions) is together from the forward pass to the end of
the backward pass.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from emofuse.layers.gather import process_count
from emofuse.models.contract import FusionModel
from emofuse.training.finetuning.network import FinetuneNetwork

__all__ = [
    "agreed",
    "is_sharded",
    "let_go",
    "reached",
    "shard",
]


def shard(model: FusionModel) -> None:
    """Keep a share of every parameter in place of the whole; each process must call it.

    Scalars stay whole in every process. Buffers do too.

    Args:
        model: the same in every process; changed in place.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (process_count(),))
    if isinstance(model, FinetuneNetwork):
        for layer in model.layers():
            fully_shard(layer, mesh=mesh, ignored_params=_scalars(layer))
        model.pass_together(_most)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=_scalars(model))
    # A share of the batch may lack a modality that others have.
    cast("Any", model).set_reduce_scatter_unused_params(True)


def _scalars(module: nn.Module) -> set[nn.Parameter]:
    return {one for one in module.parameters() if not one.ndim}


def _most(number: int, device: torch.device) -> int:
    told = torch.tensor([number], device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was called on a model."""
    return hasattr(model, "set_reduce_scatter_unused_params")


def let_go(model: nn.Module) -> None:
    """Forget what was put together for a pass that nothing is learned from."""
    if is_sharded(model):
        cast("Any", model).reshard()


def agreed(flag: bool) -> bool:
    """Whether any of the processes says yes."""
    if process_count() == 1:
        return flag
    told = torch.tensor([int(flag)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def reached(loss: Tensor) -> set[int]:
    """Give the identities of the leaves that a backward pass from a loss will reach."""
    found: set[int] = set()
    open_nodes = [loss.grad_fn] if loss.grad_fn is not None else []
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        for above, _ in node.next_functions:
            if above is not None and above not in seen:
                seen.add(above)
                open_nodes.append(above)
    return found
