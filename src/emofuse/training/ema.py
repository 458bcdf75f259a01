"""An exponential moving average of the weights (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from emofuse.training.together.tensors import spread

__all__ = ["Average"]


class Average:
    """Follows the parameters that learn; the average is judged and kept in their place.

    After step ``t`` (from 1) the average moves towards the weights by
    ``1 - min(decay, (1 + t) / (10 + t))``, so that it soon forgets the initial ones.

    Args:
        parameters: name -> parameter.
        decay: in (0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self.decay, self.steps = decay, 0
        self._mean = {name: one.detach().clone() for name, one in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, one in self._parameters.items():
            self._mean[name].lerp_(one, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights inside the block."""
        own = {name: one.detach().clone() for name, one in self._parameters.items()}
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(own)

    def state(self) -> dict[str, Tensor]:
        """Give what a checkpoint needs."""
        return {"steps": torch.tensor(self.steps)} | {
            f"mean.{name}": one for name, one in self._mean.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self.steps = int(tensors["steps"])
        for name, one in self._mean.items():
            one.copy_(spread(tensors[f"mean.{name}"], one))

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, one in self._parameters.items():
            one.copy_(values[name])
