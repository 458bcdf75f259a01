"""A fusion model that is an ONNX graph at work; PyTorch has no part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.onnx_graph import Graph
from emofuse.errors import FeatureError
from emofuse.manifest import Modality
from emofuse.models.bundle_config import OnnxNote
from emofuse.recognition.fusion import Features, Said

__all__ = ["OnnxFusion", "graph_inputs"]

SHORTEST = 2  # frames of a sequence in a graph, so that none has the special length of one


class OnnxFusion:
    """Lets a graph answer.

    Args:
        graph: of the fusion model.
        note: what it takes and gives.
        dims: modality -> feature size.
    """

    def __init__(self, graph: Graph, note: OnnxNote, dims: Mapping[Modality, int]) -> None:
        self._graph, self._note, self._dims = graph, note, dims

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that the model cannot do without."""
        return frozenset(self._note.needs)

    def say(self, features: Sequence[Features]) -> Said:
        """Answer for utterances together (see `Fusion.say`)."""
        found = self._graph.run(**graph_inputs(features, self._dims, self._note.frames))
        shares = found["weights"].astype(np.float64) if self._note.weights else None
        present = {name for one in features for name in one}
        return Said(
            found["logits"].astype(np.float64),
            {}
            if shares is None
            else {
                name: shares[:, place]
                for place, name in enumerate(self._note.weights)
                if name in present
            },
            found["vad"].astype(np.float64) if self._note.vad else None,
        )


def graph_inputs(
    features: Sequence[Features], dims: Mapping[Modality, int], frames: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Put utterances side by side as a graph takes them.

    Args:
        features: of each utterance.
        dims: modality -> feature size.
        frames: modalities that enter as sequences.

    Returns:
        ``<modality>``: ``(batch, dim)``, or ``(batch, time, dim)`` of a sequence;
        ``<modality>_mask``: ``(batch,)`` bool, or ``(batch, time)``.

    Raises:
        FeatureError: features of another size.
    """
    inputs: dict[str, NDArray[Any]] = {}
    for name, dim in dims.items():
        arrays = [one.get(name) for one in features]
        wrong = [a.shape for a in arrays if a is not None and a.shape[-1] != dim]
        if wrong:
            raise FeatureError(f"features of size {wrong[0][-1]} where {dim} was expected")
        longest = max([SHORTEST, *(len(a) for a in arrays if a is not None)])
        time = longest if name in frames else 1
        values = np.zeros((len(arrays), time, dim), np.float32)
        mask = np.zeros((len(arrays), time), np.bool_)
        for row, array in enumerate(arrays):
            if array is not None:
                values[row, : len(array)] = array
                mask[row, : len(array)] = True
        sequence = name in frames
        inputs[name] = values if sequence else values[:, 0]
        inputs[f"{name}_mask"] = mask if sequence else mask[:, 0]
    return inputs
