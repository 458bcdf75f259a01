"""Parameters and buffers of many models of one shape, side by side; one step for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.training.options import TrainerOptions

__all__ = ["NotStackable", "Rates", "StackTensors"]

EPSILON = 1e-8
BETAS = (0.9, 0.999)


class NotStackable(Exception):  # noqa: N818 (it is no mistake of anyone)
    """A model that cannot be trained in a stack; ``str`` says why."""


@dataclass(frozen=True)
class Rates:
    """What is in force for each model in one step.

    Attributes:
        rate: ``(models, 1)`` learning rates.
        first: ``(models, 1)`` first momentum of Adam.
    """

    rate: Tensor
    first: Tensor


class StackTensors:
    """The state of a stack.

    All learned numbers of a model are one row of ``flat``, in the order of its parameters, so that
    clipping and the optimiser are a few operations on one matrix. Formulas are those of
    `torch.optim` (AdamW, Adam, SGD with momentum); biases and norms do not decay.

    Args:
        modules: one a model, of the same structure, on one device.
        options: optimiser, decay, clipping.
        late: names of parameters that take part in some batches alone; in the others they are
            passed over, as an optimiser passes over a gradient of None.
    """

    def __init__(
        self, modules: Sequence[nn.Module], options: TrainerOptions, late: Sequence[str] = ()
    ) -> None:
        self._options = options
        named = dict(modules[0].named_parameters())
        parameters = {n: named[n] for n in (*(n for n in named if n not in late), *late)}
        self._shapes = {name: part.shape for name, part in parameters.items()}
        self._late = torch.tensor([self._shapes[name].numel() for name in late], dtype=torch.long)
        self.flat = torch.stack([self.row_of(one) for one in modules])
        self.buffers = {
            name: torch.stack([dict(m.named_buffers())[name] for m in modules])
            for name in dict(modules[0].named_buffers())
        }
        decays = [
            torch.full((p.numel(),), options.weight_decay if p.ndim >= 2 else 0.0)
            for p in parameters.values()
        ]
        self._decay = torch.cat(decays).to(self.flat)
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps = torch.zeros(
            len(modules), 1 + len(late), dtype=torch.float64, device=self.flat.device
        )
        self._learned: tuple[bool, ...] | None = None

    def __len__(self) -> int:
        return len(self.flat)

    def row_of(self, module: nn.Module) -> Tensor:
        """Give the learned numbers of a module as one row."""
        named = dict(module.named_parameters())
        return torch.cat([named[name].detach().flatten() for name in self._shapes])

    def fill(self, module: nn.Module, row: Tensor) -> None:
        """Give a module the learned numbers of a row."""
        named, start = dict(module.named_parameters()), 0
        with torch.no_grad():
            for name, shape in self._shapes.items():
                end = start + shape.numel()
                named[name].copy_(row[start:end].view(shape))
                start = end

    def parameters(self, rows: Tensor | None) -> dict[str, Tensor]:
        """Give the parameters of all or some models, ``(models, *shape)`` each, by name."""
        flat = self.flat if rows is None else self.flat[rows]
        found, start = {}, 0
        for name, shape in self._shapes.items():
            end = start + shape.numel()
            found[name] = flat[:, start:end].view(len(flat), *shape).detach()
            start = end
        return found

    def buffers_of(self, rows: Tensor | None) -> dict[str, Tensor]:
        """Give the buffers of all or some models."""
        if rows is None:
            return dict(self.buffers)
        return {name: part[rows] for name, part in self.buffers.items()}

    def keep_buffers(self, rows: Tensor | None, found: Mapping[str, Tensor]) -> None:
        """Put back buffers of some models that a pass has changed in place."""
        if rows is not None:
            for name, part in found.items():
                self.buffers[name][rows] = part

    def step(
        self,
        rows: Tensor | None,
        gradients: Sequence[Tensor | None],
        rates: Rates,
        there: Tensor | None = None,
    ) -> Tensor | None:
        """Clip and take one step of some models.

        Args:
            rows: which models; None = all.
            gradients: ``(models, *shape)`` in the order of the parameters; None = it has none.
            rates: of these models.
            there: ``(models, late)`` bool, which late parameters take part; None = all.

        Returns:
            ``(models,)`` norms before clipping, where it clips.

        Raises:
            NotStackable: a parameter has a gradient in one step and none in another.
        """
        models = len(rates.rate)
        gradient = self._joined(gradients, models)
        norm: Tensor | None = None
        if self._options.clip is not None:
            norm = gradient.norm(dim=1)
            gradient *= (self._options.clip / (norm + 1e-6)).clamp_max(1.0)[:, None]
        state = [self.flat, self.first, self.second, self.steps]
        taken = state if rows is None else [part[rows] for part in state]
        cut = gradient.shape[1] - int(self._late.sum())
        self._move([part[:, :cut] for part in taken[:3]], taken[3][:, :1], gradient[:, :cut], rates)
        if len(self._late):
            if there is None:
                there = torch.ones_like(taken[3][:, 1:], dtype=torch.bool)
            late = [part[:, cut:] for part in taken[:3]]
            self._move_late(late, taken[3], gradient[:, cut:], rates, there)
        if rows is not None:
            for whole, part in zip(state, taken, strict=True):
                whole[rows] = part
        return norm

    def narrow(self, rows: Tensor) -> None:
        """Go on with some models alone."""
        self.flat, self.first, self.second, self.steps = (
            part[rows] for part in (self.flat, self.first, self.second, self.steps)
        )
        self.buffers = {name: part[rows] for name, part in self.buffers.items()}

    def state(self) -> dict[str, Tensor]:
        """Give everything a checkpoint needs, by name."""
        own = {"flat": self.flat, "first": self.first, "second": self.second, "steps": self.steps}
        return own | {f"buffer:{name}": part for name, part in self.buffers.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        device = self.flat.device
        self.flat, self.first, self.second, self.steps = (
            tensors[name].to(device) for name in ("flat", "first", "second", "steps")
        )
        self.buffers = {name: tensors[f"buffer:{name}"].to(device) for name in self.buffers}

    def _joined(self, gradients: Sequence[Tensor | None], models: int) -> Tensor:
        parts, there = [], []
        for shape, found in zip(self._shapes.values(), gradients, strict=True):
            size = shape.numel()
            parts.append(self.flat.new_zeros(models, size) if found is None else found.flatten(1))
            there.append(found is not None)
        if self._learned is None:
            self._learned = tuple(there)
            sizes = [shape.numel() for shape in self._shapes.values()]
            learned = torch.repeat_interleave(torch.tensor(there), torch.tensor(sizes))
            self._decay = self._decay * learned.to(self._decay)
        elif self._learned != tuple(there):
            raise NotStackable("a parameter has a gradient in some steps alone")
        return torch.cat(parts, dim=1)

    def _move_late(
        self,
        state: Sequence[Tensor],
        steps: Tensor,
        gradient: Tensor,
        rates: Rates,
        there: Tensor,
    ) -> None:
        """Move the late parameters that take part, each with steps of its own."""
        columns = torch.repeat_interleave(self._late).to(there.device)
        moved = [part.clone() for part in state]
        counts = steps[:, 1:] + 1.0
        self._move(moved, counts[:, columns], gradient, rates, counted=True)
        for part, new in zip(state, moved, strict=True):
            part.copy_(torch.where(there[:, columns], new, part))
        steps[:, 1:] += there

    def _move(
        self,
        state: Sequence[Tensor],
        steps: Tensor,
        gradient: Tensor,
        rates: Rates,
        counted: bool = False,
    ) -> None:
        if not counted:
            steps += 1.0
        decay = self._decay[-gradient.shape[1] :] if counted else self._decay[: gradient.shape[1]]
        if self._options.optimiser == "sgd":
            self._sgd(state, gradient, rates, decay)
        else:
            self._adam((*state, steps), gradient, rates, decay)

    def _adam(self, taken: Sequence[Tensor], gradient: Tensor, rates: Rates, decay: Tensor) -> None:
        weights, first, second, steps = taken
        if self._options.optimiser == "adamw":
            weights.mul_(1.0 - rates.rate * decay)
        else:
            gradient.add_(weights * decay)
        first.lerp_(gradient, (1.0 - rates.first).expand_as(first))
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
        size = rates.rate / (1.0 - rates.first.double() ** steps).to(weights)
        share = (1.0 - torch.full_like(steps, BETAS[1]) ** steps).sqrt().to(weights)
        root = second.sqrt().div_(share).add_(EPSILON)
        weights.sub_(first.div(root).mul_(size))

    def _sgd(self, state: Sequence[Tensor], gradient: Tensor, rates: Rates, decay: Tensor) -> None:
        weights, first, _ = state
        gradient.add_(weights * decay)
        first.mul_(self._options.momentum).add_(gradient)
        weights.sub_(first * rates.rate)
