"""An ONNX bundle in another precision: its own graphs, without the PyTorch that they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import MissingExtraError, WorkError
from emofuse.models.bundle_config import BundleConfig, OnnxNote, Precision, read_checked
from emofuse.recognition.exporting.shrink import HALF, shrink

__all__ = ["graphs_again"]


def graphs_again(
    folder: Path, config: BundleConfig, note: OnnxNote, precision: Precision
) -> dict[str, bytes]:
    """Give the files of an ONNX bundle with its encoders in another precision.

    Args:
        folder: of the bundle.
        config: its configuration.
        note: how it was exported.
        precision: wanted; weights kept in 16 bits stay what they were rounded to.

    Raises:
        WorkError: its encoders are in 8 bits already: what they were is lost.
        MissingExtraError: ONNX is not installed.
    """
    if note.precision == "int8":
        raise WorkError(
            f"{folder} is in 8 bits already, and what its weights were is lost; export the run, or "
            "an fp32 or fp16 bundle"
        )
    files = {note.file: read_checked(folder, config, note.file)}
    for about in note.encoders.values():
        model = _widened(read_checked(folder, config, about.file))
        files[about.file] = shrink(model, precision)
        if about.tokenizer is not None:
            files[about.tokenizer] = read_checked(folder, config, about.tokenizer)
    return files


def _widened(data: bytes) -> Any:
    """Give a graph with the weights in fp32 that `shrink` kept in 16 bits."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    model = onnx.load_from_string(data)
    kept = {one.name: one for one in model.graph.initializer if one.name.endswith(HALF)}
    nodes = []
    for node in model.graph.node:
        tensor = kept.get(node.input[0]) if node.op_type == "Cast" else None
        if tensor is None:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
