"""How a sequence of frames becomes one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from emofuse.encoders.contract import EncoderSpec, FloatArray
from emofuse.errors import OptionError

__all__ = ["pool", "pooled_dim", "reduced", "thin"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def _mean(frames: FloatArray) -> FloatArray:
    return np.asarray(frames.mean(axis=0, dtype=np.float64), np.float32)


def _std(frames: FloatArray) -> FloatArray:
    return np.asarray(frames.std(axis=0, dtype=np.float64), np.float32)


def _mean_std(frames: FloatArray) -> FloatArray:
    return np.concatenate([_mean(frames), _std(frames)])


def _max(frames: FloatArray) -> FloatArray:
    return np.asarray(frames.max(axis=0), np.float32)


def _cls(frames: FloatArray) -> FloatArray:
    return np.array(frames[0], np.float32)


def _stats(frames: FloatArray) -> FloatArray:
    step = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)
    quantiles = np.quantile(frames, QUANTILES, axis=0).astype(np.float32)
    return np.concatenate(
        [_mean_std(frames), quantiles.reshape(-1), _std(step), _mean(np.abs(step))]
    )


_POOLS: Mapping[str, tuple[int, Callable[[FloatArray], FloatArray]]] = {
    "mean": (1, _mean),
    "mean+std": (2, _mean_std),
    "max": (1, _max),
    "cls": (1, _cls),
    "stats": (4 + len(QUANTILES), _stats),
}


def _entry(how: str) -> tuple[int, Callable[[FloatArray], FloatArray]]:
    if how not in _POOLS:
        raise OptionError(f"unknown pooling {how!r}; legal: {', '.join(_POOLS)}")
    return _POOLS[how]


def pooled_dim(how: str, dim: int) -> int:
    """Size of the pooled vector of frames of size ``dim``.

    >>> pooled_dim("mean+std", 64)
    128
    """
    return _entry(how)[0] * dim


def thin(frames: FloatArray, stride: int) -> FloatArray:
    """Average every ``stride`` successive frames of ``(frames, dim)``; the last may have fewer.

    >>> thin(np.array([[1.0], [3.0], [8.0]], np.float32), 2).tolist()
    [[2.0], [8.0]]
    """
    if stride == 1:
        return frames
    starts = np.arange(0, len(frames), stride)
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float64)
    sizes = np.minimum(stride, len(frames) - starts)
    return np.asarray(sums / sizes[:, None], np.float32)


def pool(frames: FloatArray, how: str) -> FloatArray:
    """Reduce ``(frames, dim)`` to ``(1, k * dim)``.

    Args:
        frames: at least one frame; the standard deviation of a single frame is 0.
        how: ``mean``; ``mean+std`` (population standard deviation); ``max``; ``cls`` (the first
            frame); ``stats``: mean, std, the 5, 25, 50, 75 and 95 % quantiles, then the std and
            the mean size of the step from frame to frame.

    >>> pool(np.array([[1.0], [3.0]], np.float32), "mean+std").tolist()
    [[2.0, 1.0]]

    Raises:
        OptionError: an unknown way of pooling.
    """
    return _entry(how)[1](frames)[None, :]


def reduced(frames: FloatArray, spec: EncoderSpec) -> FloatArray:
    """Reduce ``(frames, dim)`` as a spec says: thinned out, or pooled into one."""
    if spec.granularity == "frames":
        return thin(frames, spec.stride)
    return pool(frames, spec.pooling)
