"""A network as an ONNX graph: what it takes, and how it is opened. PyTorch has no part in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.workers import cores
from emofuse.errors import BundleError
from emofuse.options import Options

__all__ = ["FileName", "Graph", "OnnxEncoderNote"]

SMALL = 64 << 20  # bytes of a graph that may lie in memory twice
FileName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{1,80}$")]


class OnnxEncoderNote(Options):
    """An encoder that is a graph of a bundle.

    Attributes:
        kind: ``whisper`` (log-mel frames in), ``waveform`` (samples in) or ``text`` (tokens in).
        file: of the graph.
        sample_rate: hertz.
        longest: samples, or tokens, of one pass.
        shortest: samples that one pass needs (``waveform``).
        normalise: whether a clip gets mean 0 and variance 1 (``waveform``).
        hop, n_fft, bands: of the spectrogram, in samples (``whisper``).
        tokenizer: file of the tokenizer (``text``).
    """

    kind: Literal["whisper", "waveform", "text"]
    file: FileName
    sample_rate: int = Field(default=0, ge=0)
    longest: int = Field(ge=1)
    shortest: int = Field(default=1, ge=1)
    normalise: bool = False
    hop: int = Field(default=160, ge=1)
    n_fft: int = Field(default=400, ge=2)
    bands: int = Field(default=80, ge=1)
    tokenizer: FileName | None = None


class Graph:
    """An ONNX graph, ready to run on the processor; any number of threads may run it.

    A session has its number of cores for life. For callers side by side a small graph is opened
    twice, for one core and for all, and a run takes the session that `cores` allows.

    Args:
        data: the graph.
        where: what it is, for messages.
        lanes: callers at once.

    Raises:
        BundleError: ONNX Runtime cannot read it.
    """

    def __init__(self, data: bytes, where: str, lanes: int = 1) -> None:
        self._where = where
        self._wide: Any = _opened(data, where, cores())
        twice = lanes > 1 and cores() > 1 and len(data) <= SMALL
        self._narrow: Any = _opened(data, where, 1) if twice else self._wide
        self.outputs = tuple(one.name for one in self._wide.get_outputs())

    def run(self, **inputs: NDArray[Any]) -> dict[str, FloatArray]:
        """Give every output by name.

        Raises:
            BundleError: the graph does not take these inputs.
        """
        session = self._narrow if cores() == 1 else self._wide
        try:
            found = session.run(None, inputs)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BundleError(f"{self._where} cannot be run: {reason}") from error
        return {
            name: np.asarray(one, np.float32) for name, one in zip(self.outputs, found, strict=True)
        }


def _opened(data: bytes, where: str, threads: int) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.enable_cpu_mem_arena = False  # it keeps the most that was ever needed
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{where} is no graph that ONNX Runtime reads: {reason}") from error
