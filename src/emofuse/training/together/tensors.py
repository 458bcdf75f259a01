"""Tensors of which every process holds a share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["is_shard", "spread", "whole"]


def is_shard(one: Tensor) -> bool:
    """Whether a tensor is this process's share of a larger one."""
    return hasattr(one, "full_tensor")


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the shares of all processes together; each must call it, with the same names."""
    return {
        name: cast("Any", one).full_tensor() if is_shard(one) else one
        for name, one in tensors.items()
    }


def spread(value: Tensor, like: Tensor) -> Tensor:
    """Take of a whole tensor the share that ``like`` is of its own."""
    if not is_shard(like) or is_shard(value) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    shares = cast("DTensor", like)
    found: Tensor = distribute_tensor(
        value.to(shares.device), shares.device_mesh, shares.placements, src_data_rank=None
    )
    return found
