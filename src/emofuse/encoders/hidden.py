"""Which hidden layer becomes the feature: one, several side by side, the last, the mean of all."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import OptionError

__all__ = ["LayerTap", "Wanted", "choose_layer", "layers_wide"]

Wanted = int | tuple[int, ...] | None
"""Number of a hidden layer, numbers of several, or None for the mean of all."""


def choose_layer(spec: EncoderSpec, count: int) -> Wanted:
    """Turn ``spec.layer`` into a number or several, None for the mean of all.

    Args:
        spec: what was asked for.
        count: transformer layers of the model; hidden layers are 0 (the input of the first
            transformer layer) to ``count`` (the output of the model, its last norm included).

    >>> choose_layer(EncoderSpec(name="a/b", layer=-2), 12)
    11

    Raises:
        OptionError: the model has no such layer, or one is listed twice.
    """
    if isinstance(spec.layer, tuple):
        found = tuple(_one_layer(spec.name, layer, count) for layer in spec.layer)
        if not found or len(set(found)) < len(found):
            raise OptionError(
                f"{spec.name}: layer {list(spec.layer)} lists none or one of them twice"
            )
        return found
    if spec.layer == "mean":
        return None
    if spec.layer == "last":
        return count
    return _one_layer(spec.name, spec.layer, count)


def _one_layer(name: str, wanted: int, count: int) -> int:
    layer = wanted if wanted >= 0 else count + 1 + wanted
    if not 0 <= layer <= count:
        raise OptionError(
            f"{name} has no hidden layer {wanted}; "
            f"legal: 0 to {count}, -{count + 1} to -1, last, mean"
        )
    return layer


def layers_wide(wanted: Wanted) -> int:
    """Count the hidden layers that stand side by side in a feature."""
    return len(wanted) if isinstance(wanted, tuple) else 1


class _State(threading.local):
    """What one thread has seen so far in its pass."""

    kept: Tensor | None = None

    def __init__(self) -> None:
        self.several: dict[int, Tensor] = {}


@dataclass
class LayerTap:
    """Watches a stack of layers and keeps the hidden state that is wanted.

    Attributes:
        layers: the transformer layers, in order; those above the wanted one are cut off.
        wanted: hidden layer, several (set side by side), or None for the mean of all.

    Layers that take no part are not run: for layer 6 of 12, half the work. Several threads may
    run passes at once.
    """

    layers: nn.ModuleList
    wanted: Wanted
    _count: int = field(init=False)
    _state: _State = field(init=False, default_factory=_State)

    def __post_init__(self) -> None:
        self._count = len(self.layers)
        if self._top < self._count:
            del self.layers[max(self._top, 1) :]
        if self.wanted != self._count:
            self.layers[0].register_forward_pre_hook(self._see_input, with_kwargs=True)
            for place, layer in enumerate(self.layers, start=1):
                if isinstance(self.wanted, tuple):
                    if place in self.wanted and place < self._count:
                        layer.register_forward_hook(partial(self._see_one, place))
                elif (self.wanted is None and place < self._count) or self.wanted == place:
                    layer.register_forward_hook(self._see_output)

    @property
    def _top(self) -> int:
        """The highest layer that the result depends on."""
        if isinstance(self.wanted, tuple):
            return max(self.wanted)
        return self._count if self.wanted is None else self.wanted

    @property
    def used(self) -> list[nn.Module]:
        """The layers that the result depends on."""
        return list(self.layers)[: self._top]

    @property
    def whole(self) -> bool:
        """Whether the result depends on what lies above the last layer."""
        return self._top == self._count

    def _see_input(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        state = args[0] if args else kwargs["hidden_states"]
        if self.wanted is None:
            self._state.kept = state.float().clone()
        elif isinstance(self.wanted, tuple):
            self._state.several = {0: state.clone()} if 0 in self.wanted else {}
        elif self.wanted == 0:
            self._state.kept = state.clone()

    def _see_one(self, place: int, module: nn.Module, args: Any, output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        self._state.several[place] = state

    def _see_output(self, module: nn.Module, args: Any, output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        if self.wanted is None and self._state.kept is not None:
            self._state.kept += state
        else:
            self._state.kept = state

    def result(self, last: Tensor) -> Tensor:
        """Give the hidden state of the pass that has just ended.

        Args:
            last: ``(batch, frames, dim)``, the output of the model.
        """
        if isinstance(self.wanted, tuple):
            found, self._state.several = self._state.several, {}
            found |= {self._count: last}
            return torch.cat([found[place].to(torch.float32) for place in self.wanted], dim=-1)
        kept, self._state.kept = self._state.kept, None
        if self.wanted == self._count or kept is None:
            return last.to(torch.float32)
        if self.wanted is None:
            return (kept + last) / (self._count + 1)
        return kept.to(torch.float32)
