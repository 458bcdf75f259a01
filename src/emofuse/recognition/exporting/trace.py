"""A module of PyTorch as an ONNX graph, by `torch.onnx` and ONNX Script."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.encoders.hf_folder import quiet_transformers
from emofuse.errors import MissingExtraError, WorkError, shorten

__all__ = ["OPSET", "trace"]

OPSET = 18


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
    what: str,
) -> Any:
    """Turn a module into an ONNX model.

    Args:
        module: takes ``inputs`` by position.
        inputs: name -> example, in order.
        outputs: names of what it gives.
        free: input -> axis -> name of an axis whose length is free.
        what: is exported, for messages.

    Returns:
        An `onnx.ModelProto` without traces of this machine.

    Raises:
        MissingExtraError: ONNX Script is not installed.
        WorkError: PyTorch cannot turn the module into a graph.
    """
    try:
        import onnxscript
    except ImportError as error:
        raise MissingExtraError("onnxscript", "onnx") from error
    del onnxscript
    axes = {name: torch.export.Dim(name) for each in free.values() for name in each.values()}
    shapes = tuple({a: axes[n] for a, n in free.get(name, {}).items()} or None for name in inputs)
    takes = inspect.signature(module.forward).parameters.values()
    many = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in takes)
    try:
        with _quiet(), quiet_transformers(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(shapes,) if many else shapes,
                verbose=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise WorkError(
            f"{what} cannot be exported: PyTorch makes no graph of it "
            f"({shorten(' '.join(reason.split()), 200)})"
        ) from error
    if program is None:
        raise WorkError(f"{what} cannot be exported: PyTorch makes no graph of it")
    return _clean(program.model_proto)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on packages that are not here from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _clean(model: Any) -> Any:
    """Take out stack traces and remarks: they name files of this machine."""
    for owner in (model, model.graph, *model.functions):
        owner.doc_string = ""
        del owner.metadata_props[:]
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    parts = (model.graph.value_info, model.graph.input, model.graph.output, model.graph.initializer)
    for values in parts:
        for value in values:
            value.doc_string = ""
            del value.metadata_props[:]
    del model.graph.value_info[:]
    return model
