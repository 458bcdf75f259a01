"""Several batches at once, one core each.

Splitting one small matrix product over cores leaves them waiting for each other, and badly so on a
busy machine. Batches are independent, so each worker thread computes its own on a single core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

__all__ = ["parallel_map"]

Input = TypeVar("Input")
Output = TypeVar("Output")


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

    def quietly(value: Input) -> Output:
        with torch.inference_mode():
            return function(value)

    cores = torch.get_num_threads()
    count = min(cores, len(inputs))
    if count < 2 or torch.device(device).type != "cpu":
        return [quietly(value) for value in inputs]
    order = sorted(range(len(inputs)), key=lambda place: -cost(inputs[place]))
    with ThreadPoolExecutor(count) as pool:
        _take_one_core_each(pool, count, cores)
        futures = {place: pool.submit(quietly, inputs[place]) for place in order}
        return [futures[place].result() for place in range(len(inputs))]


def _take_one_core_each(pool: ThreadPoolExecutor, count: int, cores: int) -> None:
    """Tell every thread of the pool to compute on one core, and no other thread."""
    barrier = Barrier(count)

    def start() -> None:
        # Asking makes PyTorch set this thread up; else it would do so later, with the number that
        # holds then. Setting counts for the calling thread and for threads yet to come.
        torch.get_num_threads()
        torch.set_num_threads(1)
        barrier.wait()

    for future in [pool.submit(start) for _ in range(count)]:
        future.result()
    torch.set_num_threads(cores)
