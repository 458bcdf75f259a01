"""A fusion model of PyTorch at work."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch

from emofuse.features.table import FeatureTable, Ragged
from emofuse.models.contract import EmotionOutput, FusionModel
from emofuse.recognition.fusion import Features, Floats, Said

__all__ = ["TorchFusion"]


class TorchFusion:
    """Lets a model answer in evaluation mode.

    Args:
        model: on any device.
        device: where it shall run.
    """

    def __init__(self, model: FusionModel, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._turn = threading.Lock()  # a model may keep what it saw until its pass is over

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that the model cannot do without."""
        return self._model.needs()

    def say(self, features: Sequence[Features]) -> Said:
        """Answer for utterances together (see `Fusion.say`)."""
        parts = {
            str(name): Ragged.from_arrays([one.get(name) for one in features], dim)
            for name, dim in self._model.spec.dims.items()
        }
        ids = tuple(str(row) for row in range(len(features)))
        with self._turn, torch.inference_mode():
            batch = FeatureTable(ids, parts, {}).batch(torch.arange(len(ids)))
            output: EmotionOutput = self._model(batch.to(self._device))
        return Said(
            _floats(output.logits),
            {name: _floats(weight) for name, weight in output.weights.items()},
            None if output.vad is None else _floats(output.vad),
        )


def _floats(values: torch.Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy(), np.float64)
