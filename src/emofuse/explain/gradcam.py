"""Grad-CAM on networks that convolve a spectrogram (Selvaraju et al. 2017).

The maps ``A`` of a layer, ``(channels, height, columns)``, are averaged with the weights ``a_k``,
the mean over the map of the gradient of the class's score: ``relu(sum_k a_k A_k)``. What is left is
how much each place of the layer speaks *for* the class; what speaks against it is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emofuse.errors import OptionError, nearest_hint
from emofuse.explain.options import ScoreKind
from emofuse.explain.panel import NotApplicable
from emofuse.explain.scores import score_of
from emofuse.layers.conv_lstm import ConvLSTM
from emofuse.layers.resnet import ResNet18
from emofuse.models.contract import Batch, FusionModel
from emofuse.models.copenhagen import Copenhagen

__all__ = ["Cam", "CamLayer", "cam_layers", "choose_layer", "grad_cam", "seen_frames"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CamLayer:
    """A layer with maps over bands and frames.

    Attributes:
        name: of the module, as in `torch.nn.Module.named_modules`.
        stride: bands, and frames, from one cell of a map to the next.
        offset: band, and frame, at the centre of the first cell.
    """

    name: str
    stride: int
    offset: float

    def centres(self, cells: int) -> Floats:
        """Give the band or frame at the centre of each cell."""
        return self.offset + self.stride * np.arange(cells, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Cam:
    """A map.

    Attributes:
        layer: where it was taken.
        coarse: ``(height, columns)`` as the layer has it, 0 or more.
        fine: ``(bands, frames)``, interpolated between the centres of the cells.
        start: frame of the utterance at which the network begins to look.
        score: of the class.
    """

    layer: CamLayer
    coarse: Floats
    fine: Floats
    start: int
    score: float


def cam_layers(model: FusionModel) -> dict[str, CamLayer]:
    """Find the layers of a model that Grad-CAM can be taken at, first to last.

    They are the pooled stem and the blocks of a `ResNet18` (cells centred on every fourth frame,
    then every 8th, 16th and 32nd) and the activations of a `ConvLSTM` (every frame; then pairs,
    then fours, centred between them).
    """
    found: list[CamLayer] = []
    for name, module in model.named_modules():
        if isinstance(module, ResNet18):
            found.append(CamLayer(f"{name}.pool", 4, 0.0))
            for stage, blocks in enumerate(module.stages):
                count = len(blocks) if isinstance(blocks, nn.ModuleList) else 0
                found += [
                    CamLayer(f"{name}.stages.{stage}.{block}", 4 << stage, 0.0)
                    for block in range(count)
                ]
        elif isinstance(module, ConvLSTM):
            found += [
                CamLayer(f"{name}.activations.{place}", 1 << place, ((1 << place) - 1) / 2)
                for place in range(len(module.activations))
            ]
    return {layer.name: layer for layer in found}


def choose_layer(model: FusionModel, wanted: str | None) -> CamLayer:
    """Give the layer that is asked for, or the last.

    Raises:
        NotApplicable: the model has no layer with maps over bands and frames.
        OptionError: no layer of that name.
    """
    layers = cam_layers(model)
    if not layers:
        raise NotApplicable(
            "the model has no convolution over a spectrogram: Grad-CAM needs maps over frequency "
            "and time (copenhagen's resnet18 and cnn-bilstm have them)"
        )
    if wanted is None:
        return list(layers.values())[-1]
    if wanted not in layers:
        raise OptionError(f"no Grad-CAM layer {wanted!r}; {nearest_hint(wanted, layers)}")
    return layers[wanted]


def seen_frames(model: FusionModel, frames: int) -> tuple[int, int]:
    """Give the first frame that the network sees, and how many, of a clip of ``frames``."""
    if not isinstance(model, Copenhagen):
        return 0, frames
    count = min(frames, model.reading.max_frames)
    return (0 if model.reading.published else (frames - count) // 2), count


def grad_cam(
    model: FusionModel, batch: Batch, layer: CamLayer, target: int, kind: ScoreKind = "logit"
) -> Cam:
    """Compute the map of one utterance.

    Args:
        model: in evaluation mode.
        batch: a batch of one, with audio.
        layer: from `choose_layer`.
        target: place of the class.
        kind: whose gradient.

    Raises:
        NotApplicable: the utterance has no audio.
    """
    if "audio" not in batch.modalities:
        raise NotApplicable("the utterance has no audio")
    with _kept(model, layer.name) as maps, torch.enable_grad():
        score = score_of(model(batch).logits, target, kind)[0]
        if "maps" not in maps:
            raise NotApplicable(f"layer {layer.name} takes no part in this answer")
        (gradient,) = torch.autograd.grad(score, maps["maps"])
    coarse = weigh(maps["maps"].detach()[0], gradient[0])
    frames, bands = batch.modalities["audio"].values.shape[1:]
    start, count = seen_frames(model, frames)
    fine = spread(coarse, layer.centres(coarse.shape[0]), bands, 0)
    fine = spread(fine, layer.centres(coarse.shape[1]), count, 1)
    return Cam(layer, coarse, fine, start, float(score.detach()))


def weigh(maps: Tensor, gradient: Tensor) -> Floats:
    """Average maps ``(channels, height, columns)`` by their mean gradients, and cut at 0."""
    weights = gradient.mean(dim=(1, 2))
    found: Floats = (weights[:, None, None] * maps).sum(dim=0).relu().double().numpy()
    return found


def spread(values: Floats, centres: Floats, count: int, axis: int) -> Floats:
    """Interpolate along an axis from cells at ``centres`` to 0 ... count - 1; the ends are held."""
    places = np.arange(count, dtype=np.float64)
    found: Floats = np.apply_along_axis(lambda row: np.interp(places, centres, row), axis, values)
    return found


@contextmanager
def _kept(model: FusionModel, name: str) -> Iterator[Mapping[str, Tensor]]:
    """Keep the maps of a layer, as the start of a gradient."""
    found: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _given: object, result: object) -> None:
        maps = result[0] if isinstance(result, tuple) else result
        if isinstance(maps, Tensor):
            found["maps"] = maps

    parameters = [one for one in model.parameters() if not one.requires_grad]
    for one in parameters:  # of frozen layers, so that the maps are part of a graph
        one.requires_grad_(True)
    hook = model.get_submodule(name).register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()
        for one in parameters:
            one.requires_grad_(False)
