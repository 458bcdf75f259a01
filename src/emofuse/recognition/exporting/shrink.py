"""Smaller graphs: weights kept in 16 bits, products of matrices in 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import MissingExtraError
from emofuse.models.bundle_config import Precision

__all__ = ["HALF", "shrink"]

LARGE = 4096  # values of a tensor that is worth it
PRODUCTS = ("MatMul", "Gemm")
HALF = ".half"
"""What the name of a tensor that is kept in 16 bits ends in."""


def shrink(model: Any, precision: Precision) -> bytes:
    """Give a graph's bytes in a precision.

    Args:
        model: `onnx.ModelProto` in fp32; it is changed.
        precision: ``fp32``; ``fp16``: weights are kept in 16 bits and computed with in 32;
            ``int8``: products with weights are computed in 8 bits, scaled by what comes in and by
            each column of the weights (dynamic quantisation), and all other weights are kept in 16.
            Products within attention, which have no weights, stay in fp32.

    Raises:
        MissingExtraError: ONNX is not installed.
    """
    if precision == "int8":
        model = _quantised(model)
    if precision != "fp32":
        _halve(model)
    data: bytes = model.SerializeToString()
    return data


def _quantised(model: Any) -> Any:
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.quant_utils import add_pre_process_metadata
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder, "plain.onnx"), Path(folder, "small.onnx")
        add_pre_process_metadata(model)  # there is nothing to be prepared: no remark about it
        onnx.save(model, plain)
        quantize_dynamic(
            plain,
            small,
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        small_model = onnx.load(small)
    del small_model.metadata_props[:]
    return small_model


def _halve(model: Any) -> None:
    """Keep large fp32 tensors in fp16; a cast, done once when the graph is opened, undoes it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < LARGE:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}{HALF}"))
        casts.append(helper.make_node("Cast", [f"{name}{HALF}"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
