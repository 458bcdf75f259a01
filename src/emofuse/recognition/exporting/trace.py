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
from emofuse.errors import BundleError, MissingExtraError, WorkError, shorten

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
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(shapes,) if many else shapes,
                verbose=False,
                optimize=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise WorkError(
            f"{what} cannot be exported: PyTorch makes no graph of it "
            f"({shorten(' '.join(reason.split()), 200)})"
        ) from error
    if program is None:
        raise WorkError(f"{what} cannot be exported: PyTorch makes no graph of it")
    model = _clean(_simplified(program))
    _check_free(model, free, what)
    return model


def _simplified(program: Any) -> Any:
    """Give the model with its constants folded; as it is where the result cannot be opened.

    ONNX Script 0.7 at times names an input that nothing makes.
    """
    from emofuse.encoders.onnx_graph import Graph

    plain = program.model_proto
    with _quiet():
        program.optimize()
    simple = program.model_proto
    try:
        Graph(simple.SerializeToString(), "the simplified graph")
    except BundleError:
        return plain
    return simple


def _check_free(model: Any, free: Mapping[str, Mapping[int, str]], what: str) -> None:
    """Refuse a graph in which a length that must be free took that of the example."""
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        fixed = [
            name for axis, name in free.get(value.name, {}).items() if not axes[axis].dim_param
        ]
        if fixed:
            raise WorkError(
                f"{what} cannot be exported: its graph takes {value.name} of one {fixed[0]} alone "
                "(somewhere that size is made a number); it answers in PyTorch, from the run itself"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks (packages that are not here, constants not folded) to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet_transformers():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


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
