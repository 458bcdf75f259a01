"""An encoder that learns: its layers, their rates, and features that gradients go through."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from emofuse.encoders.batching import make_batches
from emofuse.errors import OptionError
from emofuse.models.contract import Sequences
from emofuse.training.finetuning.backbone import Backbone, Prepared
from emofuse.training.finetuning.lora import inject, merge
from emofuse.training.finetuning.options import LoraOptions
from emofuse.training.finetuning.pooling import pool_frames, thin_frames

__all__ = ["LearningEncoder"]

CPU_FRAMES = 1024  # frames of one pass, padding counted: what stays in a core's cache
GPU_FRAMES = 1 << 30


class LearningEncoder(nn.Module):
    """An encoder whose upper layers learn.

    What lies below the first layer (convolutions, projections, embeddings, positions) never does.
    All that is frozen stays in evaluation mode.

    Args:
        backbone: the encoder; changed in place.
        frozen: lowest layers that stay; None = all of them, and what lies above.
        start: weights to begin with, by their names in the folder; the rest are the folder's.
        lora: low-rank updates in the place of whole weights.
        checkpointing: keep no activations inside the layers, compute them again for the gradient.
        seed: of the updates' initial weights.

    Raises:
        OptionError: nothing would learn.
        MissingExtraError: ``lora`` without PEFT.
    """

    def __init__(
        self,
        backbone: Backbone,
        frozen: int | None,
        *,
        start: Mapping[str, Tensor] | None = None,
        lora: LoraOptions | None = None,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.module = backbone.module
        self.backbone = backbone
        self._start = dict(start or {})
        self._put(self._start)
        self._depths: list[nn.Module] = []
        self._above: list[nn.Module] = []
        if frozen is not None:
            self._choose(frozen, lora, seed)
        for layer in self._depths if checkpointing else ():
            _checkpoint(layer)
        kind = next(self.module.parameters()).device.type
        self._budget = CPU_FRAMES if kind == "cpu" else GPU_FRAMES
        self._most: Callable[[int, torch.device], int] | None = None
        self._anchors: list[Tensor] = []
        self.train(False)

    def _choose(self, frozen: int, lora: LoraOptions | None, seed: int) -> None:
        backbone = self.backbone
        layers, name = backbone.layers, backbone.encoder.spec.name
        if not layers:
            raise OptionError(f"{name}: hidden layer 0 lies below all that can learn")
        if frozen >= len(layers):
            raise OptionError(
                f"freeze_layers {frozen}: the features of {name} depend on {len(layers)} layers, "
                f"so that nothing would learn; legal: 0 to {len(layers) - 1}"
            )
        self._depths, self._above = layers[frozen:], list(backbone.above)
        if lora is not None:
            inject(self.module, self._depths, lora, seed)
            return
        for part in (*self._depths, *self._above):
            part.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what learns; the rest stays in evaluation mode."""
        super().train(False)
        self.training = mode
        for part in (*self._depths, *self._above):
            part.train(mode)
        return self

    def learnt(self) -> dict[str, nn.Parameter]:
        """Name the parameters that learn."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def rate_groups(self, decay: float) -> list[tuple[list[nn.Parameter], float]]:
        """Group what learns by layer, each with its share of the uppermost layer's rate."""
        groups = [([p for one in self._above for p in one.parameters()], 1.0)]
        for height, layer in enumerate(reversed(self._depths)):
            groups.append((list(layer.parameters()), decay**height))
        learning = [([p for p in params if p.requires_grad], share) for params, share in groups]
        return [(params, share) for params, share in learning if params]

    def forward(self, inputs: Sequence[Prepared | None]) -> Sequences:
        """Encode utterances; None = the utterance lacks the modality.

        Returns:
            ``(utterances, time, dim)``, as the features of a store are batched.
        """
        spec = self.backbone.encoder.spec
        places = [place for place, one in enumerate(inputs) if one is not None]
        found = self._encode([one for one in inputs if one is not None])
        device = next(self.module.parameters()).device
        if spec.granularity == "pooled":
            found = list(pool_frames(found, spec.pooling)[:, None]) if found else []
        else:
            found = [thin_frames(frames, spec.stride) for frames in found]
        lengths = torch.zeros(len(inputs), dtype=torch.long, device=device)
        if not found:
            empty = torch.zeros(len(inputs), 1, self.backbone.encoder.dim, device=device)
            return Sequences(empty, torch.zeros(len(inputs), 1, dtype=torch.bool, device=device))
        values = pad_sequence(found, batch_first=True)
        where = torch.tensor(places, device=device)
        lengths[where] = torch.tensor([len(one) for one in found], device=device)
        if len(places) < len(inputs):
            whole = values.new_zeros(len(inputs), *values.shape[1:])
            values = whole.index_copy(0, where, values)
        steps = torch.arange(values.shape[1], device=device)
        return Sequences(values, steps[None, :] < lengths[:, None])

    def _encode(self, inputs: Sequence[Prepared]) -> list[Tensor]:
        """Give ``(frames, dim)`` an utterance; units of like length go through together."""
        backbone = self.backbone
        owners = [place for place, units in enumerate(inputs) for _ in units]
        units = [unit for one in inputs for unit in one]
        found: dict[int, Tensor] = {}
        batches = make_batches([backbone.size(unit) for unit in units], self._budget)
        missing = self._missing(len(batches))  # known before the first pass, for all wait there
        with _quiet():
            for batch in batches:
                states = backbone.states([units[place] for place in batch])
                found |= dict(zip(batch, states, strict=True))
                self._anchor(states)
            for _ in range(missing):
                self._anchor(backbone.states([backbone.spare()]))
        joined: list[list[Tensor]] = [[] for _ in inputs]
        for place, owner in enumerate(owners):
            joined[owner].append(found[place])
        return [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in joined]

    def pass_together(self, most: Callable[[int, torch.device], int]) -> None:
        """Make as many passes as the process that makes most; the further ones count nothing.

        Args:
            most: gives the largest of the numbers that all processes say.
        """
        self._most = most

    def take_anchors(self) -> list[Tensor]:
        """Give a scalar of 0 for each pass since the last call, through which a gradient goes."""
        anchors, self._anchors = self._anchors, []
        return anchors

    def _missing(self, passes: int) -> int:
        if self._most is None:
            return 0
        return self._most(passes, next(self.module.parameters()).device) - passes

    def _anchor(self, states: Sequence[Tensor]) -> None:
        if self._most is not None and torch.is_grad_enabled():
            self._anchors.append(states[0][:0].sum())

    def merge(self) -> None:
        """Turn low-rank updates into plain weights."""
        merge(self.module)

    def state(self) -> dict[str, Tensor]:
        """Give all weights that may differ from the folder's, by their names there."""
        prefix = self.backbone.prefix
        learning = {id(p) for part in (*self._depths, *self._above) for p in part.parameters()}
        now = {f"{prefix}{name}": one for name, one in self.module.named_parameters()}
        changed = {name for name, one in now.items() if id(one) in learning} | self._start.keys()
        return {name: now[name].detach().cpu().clone() for name in sorted(changed)}

    def _put(self, state: Mapping[str, Tensor]) -> None:
        prefix = self.backbone.prefix
        now = {f"{prefix}{name}": one for name, one in self.module.named_parameters()}
        with torch.no_grad():
            for name, value in state.items():
                now[name].copy_(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """WavLM hands PyTorch a boolean mask beside a float bias, which works but is frowned on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*mismatched.*mask.*")
        yield


def _checkpoint(layer: nn.Module) -> None:
    """Let a layer keep no activations while it learns; hooks on it run once, as ever."""
    forward = layer.forward

    def quietly(*args: Any, **more: Any) -> Any:
        with _quiet():
            return forward(*args, **more)

    def again(*args: Any, **more: Any) -> Any:
        if not (layer.training and torch.is_grad_enabled()):
            return forward(*args, **more)
        return checkpoint(quietly, *args, use_reentrant=False, **more)

    layer.forward = again
