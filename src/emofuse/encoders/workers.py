"""Several batches at once, one core each.

Splitting one small matrix product over cores leaves them waiting for each other, and badly so on a
busy machine. Batches are independent, so each worker thread computes its own on a single core.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, local
from typing import TypeVar

__all__ = ["cores", "on_cores", "parallel_map", "processors", "products_on_one_core", "thread_map"]

Input = TypeVar("Input")
Output = TypeVar("Output")


class _Told(local):
    """What a thread was told by `on_cores`."""

    cores: int | None = None


_told = _Told()


def processors() -> int:
    """Processors that the system lets this process run on, whatever its libraries are told."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Let the calling thread compute on so many cores for a while.

    `cores` says so, and PyTorch keeps to it where it is loaded.
    """
    before, _told.cores = _told.cores, count
    try:
        if "torch" in sys.modules:
            import torch

            if torch.get_num_threads() != count:
                torch.set_num_threads(count)
        yield
    finally:
        _told.cores = before


def cores() -> int:
    """Cores that this thread may use.

    What `on_cores` told it, else PyTorch's setting where it is loaded, else the system's.
    """
    if _told.cores is not None:
        return _told.cores
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    return processors()


@contextmanager
def products_on_one_core() -> Iterator[None]:
    """Let NumPy's products of matrices take one core each for a while, in every thread.

    OpenBLAS spreads small ones over all cores and spins until all are done, which costs more than
    it gains where other threads compute. PyTorch and ONNX Runtime keep their own settings.
    """
    from threadpoolctl import ThreadpoolController

    with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        yield


def thread_map(function: Callable[[Input], Output], inputs: Sequence[Input]) -> list[Output]:
    """Apply a function that computes with NumPy or ONNX Runtime to every input, in order.

    >>> thread_map(lambda x: x + 1, [1, 2, 3])
    [2, 3, 4]
    """
    count = min(cores(), len(inputs))
    if count < 2:
        return [function(value) for value in inputs]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, inputs))


def parallel_map(
    function: Callable[[Input], Output],
    inputs: Sequence[Input],
    device: str = "cpu",
    cost: Callable[[Input], float] = lambda _: 0.0,
) -> list[Output]:
    """Apply a function that computes with PyTorch, without gradients, to every input.

    As many threads as PyTorch may use cores; on another device than the processor, and for a
    single input, everything runs in the calling thread.

    Args:
        function: safe to call from several threads at once.
        inputs: what to apply it to.
        device: where it computes.
        cost: the dearest inputs are begun first, so that the threads end together.

    Returns:
        One result an input, in order.

    >>> parallel_map(lambda x: x + 1, [1, 2, 3])
    [2, 3, 4]
    """
    import torch

    def quietly(value: Input) -> Output:
        with torch.inference_mode():
            return function(value)

    allowed = torch.get_num_threads()
    count = min(allowed, len(inputs))
    if count < 2 or torch.device(device).type != "cpu":
        return [quietly(value) for value in inputs]
    order = sorted(range(len(inputs)), key=lambda place: -cost(inputs[place]))
    with ThreadPoolExecutor(count) as pool:
        _take_one_core_each(pool, count, allowed)
        futures = {place: pool.submit(quietly, inputs[place]) for place in order}
        return [futures[place].result() for place in range(len(inputs))]


def _take_one_core_each(pool: ThreadPoolExecutor, count: int, allowed: int) -> None:
    """Tell every thread of the pool to compute on one core, and no other thread."""
    import torch

    barrier = Barrier(count)

    def start() -> None:
        # Asking makes PyTorch set this thread up; else it would do so later, with the number that
        # holds then. Setting counts for the calling thread and for threads yet to come.
        torch.get_num_threads()
        torch.set_num_threads(1)
        barrier.wait()

    for future in [pool.submit(start) for _ in range(count)]:
        future.result()
    torch.set_num_threads(allowed)
