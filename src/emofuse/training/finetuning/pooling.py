"""Pooling that gradients go through: the twins of `encoders.pooling`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from emofuse.encoders.pooling import QUANTILES

__all__ = ["pool_frames", "thin_frames"]

SMALLEST_VARIANCE = 1e-12  # below it the root has no gradient


def _mean(frames: Tensor) -> Tensor:
    return frames.mean(dim=0)


def _std(frames: Tensor) -> Tensor:
    variance = frames.var(dim=0, correction=0)
    return torch.where(
        variance > SMALLEST_VARIANCE, variance.clamp_min(SMALLEST_VARIANCE).sqrt(), 0.0
    )


def _mean_std(frames: Tensor) -> Tensor:
    return torch.cat([_mean(frames), _std(frames)])


def _max(frames: Tensor) -> Tensor:
    return frames.amax(dim=0)


def _cls(frames: Tensor) -> Tensor:
    return frames[0]


def _stats(frames: Tensor) -> Tensor:
    step = frames.diff(dim=0) if len(frames) > 1 else torch.zeros_like(frames)
    places = torch.tensor(QUANTILES, device=frames.device, dtype=frames.dtype)
    quantiles = torch.quantile(frames, places, dim=0).flatten()
    return torch.cat([_mean_std(frames), quantiles, _std(step), _mean(step.abs())])


_POOLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": _mean,
    "mean+std": _mean_std,
    "max": _max,
    "cls": _cls,
    "stats": _stats,
}


def pool_frames(sequences: Sequence[Tensor], how: str) -> Tensor:
    """Reduce sequences of ``(frames, dim)`` to ``(sequences, k * dim)`` (see `encoders.pooling`).

    >>> pool_frames([torch.tensor([[1.0], [3.0]])], "mean+std").tolist()
    [[2.0, 1.0]]
    """
    reduce = _POOLS[how]
    return torch.stack([reduce(frames) for frames in sequences])


def thin_frames(frames: Tensor, stride: int) -> Tensor:
    """Average every ``stride`` successive frames of ``(frames, dim)``; the last may have fewer.

    >>> thin_frames(torch.tensor([[1.0], [3.0], [8.0]]), 2).tolist()
    [[2.0], [8.0]]
    """
    if stride == 1:
        return frames
    whole = len(frames) // stride
    parts = [frames[: whole * stride].reshape(whole, stride, frames.shape[1]).mean(dim=1)]
    if len(frames) % stride:
        parts.append(frames[whole * stride :].mean(dim=0, keepdim=True))
    return torch.cat(parts)
