"""What becomes of gradients between the backward pass and the optimiser's step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from emofuse.layers.gather import process_count
from emofuse.models.contract import FusionModel
from emofuse.models.shared import average_gradients
from emofuse.training.finetuning.network import FinetuneNetwork
from emofuse.training.together.shards import is_sharded, reached
from emofuse.training.together.tensors import is_shard, whole

__all__ = ["Gradients", "make_gradients"]


EPSILON = 1e-6
"""What `torch.nn.utils.clip_grads_with_norm_` adds to a norm before it divides by it."""


class Gradients:
    """Gradients of one process, or of several that hold a copy of the model each.

    Args:
        parameters: everything that learns.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def settle(self) -> None:
        """Make every gradient that of the whole batch; after all backward passes of a step."""
        average_gradients(self.parameters)

    def clip(self, limit: float) -> Tensor:
        """Scale all gradients together so that their norm is at most ``limit``; give the norm."""
        found = [one.grad for one in self.parameters if one.grad is not None]
        norm = nn.utils.get_total_norm(found)
        # On a processor asking costs nothing, and a factor of 1 need not be multiplied by.
        if norm.device.type != "cpu" or not float(limit / (norm + EPSILON)) >= 1.0:
            nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)
        return norm


class ShardedGradients(Gradients):
    """Gradients of a model that `shard` was called on: FSDP averages them in the backward pass.

    What no process's loss depends on keeps no gradient, as in one process. The losses' own
    parameters and scalars are whole, and averaged afterwards.

    Args:
        model: the sharded one.
        parameters: everything that learns, those of the losses too.
    """

    def __init__(self, model: FusionModel, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters)
        self._model = model
        self._whole = [one for one in self.parameters if not is_shard(one)]
        self._shares = [one for one in self.parameters if is_shard(one)]
        self._anchors: list[Tensor] = []
        self._used: dict[str, bool] = {}
        model.register_forward_hook(self._keep_anchor)

    def _keep_anchor(self, model: nn.Module, args: Any, output: Any) -> None:
        """The backward pass of every process goes through every pass of the model."""
        if torch.is_grad_enabled():
            self._anchors.append(output.logits[:0].sum())
            if isinstance(model, FinetuneNetwork):
                self._anchors += model.take_anchors()

    def backward(self, loss: Tensor) -> None:
        """See `Gradients.backward`."""
        together = {
            name: one
            for name, one in self._model.named_parameters()
            if one.requires_grad and not is_shard(one)
        }
        leaves = reached(loss)
        told = [id(one) in leaves for one in together.values()]
        flags = torch.tensor(told, device=loss.device).int()
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        for name, used in zip(together, flags.tolist(), strict=True):
            self._used[name] = self._used.get(name, False) or bool(used)
        anchors, self._anchors = self._anchors, []
        super().backward(loss + torch.stack([one.float() for one in anchors]).sum())

    def settle(self) -> None:
        """See `Gradients.settle`."""
        for name, one in self._model.named_parameters():
            if not self._used.get(name, True):
                one.grad = None
        self._used.clear()
        average_gradients(self._whole)

    def clip(self, limit: float) -> Tensor:
        """See `Gradients.clip`."""
        norms: list[Tensor] = []
        for part in (self._shares, self._whole):
            found = {"": nn.utils.get_total_norm([p.grad for p in part if p.grad is not None])}
            norms.append(whole(found)[""])
        total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        for part in (self._shares, self._whole):
            nn.utils.clip_grads_with_norm_(part, limit, total)
        return total


def make_gradients(model: FusionModel, parameters: Sequence[nn.Parameter]) -> Gradients:
    """Give the gradients of a model as this process and the others hold it."""
    if process_count() > 1 and is_sharded(model):
        return ShardedGradients(model, parameters)
    return Gradients(parameters)
