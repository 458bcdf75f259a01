"""Encoders that are graphs of an ONNX bundle: what goes in is made with NumPy, PyTorch is not used.

A clip or a text runs by itself: nothing pads it, so that it gets the same vector in any company
(also in 8 bits, where the scale of a product is taken from all that goes in).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.onnx_graph import Graph, OnnxEncoderNote
from emofuse.encoders.pooling import reduced
from emofuse.encoders.settings import CutTexts, heard_waveform, require_text
from emofuse.encoders.waveforms import parts_of
from emofuse.encoders.whisper_mel import WhisperMel
from emofuse.errors import BundleError, EncoderError

__all__ = ["OnnxEncoder", "OnnxSpeech", "OnnxText"]

STATES = "states"


class OnnxEncoder(Encoder):
    """An encoder whose network is an ONNX graph.

    Args:
        description: of the encoder that was exported, as the bundle has it.
        spec: what it does.
        note: what its graph takes.
        graph: the network; its output ``states`` is ``(batch, frames, width)``, of the hidden layer
            that is wanted.
    """

    reentrant = True

    def __init__(
        self,
        description: Mapping[str, Any],
        spec: EncoderSpec,
        note: OnnxEncoderNote,
        graph: Graph,
    ) -> None:
        self.spec, self.note, self._graph = spec, note, graph
        self.revision = str(description.get("revision", ""))
        self.dim = int(description.get("dim", 0))
        rate = description.get("frame_rate")
        self.frame_rate = None if rate is None else float(rate)
        self.sample_rate = note.sample_rate
        known = description.get("provenance")
        self.provenance = Provenance(licence=str((known or {}).get("licence", "unknown")))

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, dim)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        return [reduced(self._frames(item), self.spec) for item in items]

    def _states(self, **inputs: NDArray[Any]) -> FloatArray:
        """Run the graph for one item."""
        return np.asarray(self._graph.run(**inputs)[STATES][0], np.float32)

    @abstractmethod
    def _frames(self, item: Item) -> FloatArray:
        """Give the hidden states ``(frames, width)`` of an item."""


class OnnxSpeech(OnnxEncoder):
    """A speech encoder: log-mel frames or samples into the graph; see `OnnxEncoder`."""

    modality = "audio"

    def __init__(
        self,
        description: Mapping[str, Any],
        spec: EncoderSpec,
        note: OnnxEncoderNote,
        graph: Graph,
    ) -> None:
        super().__init__(description, spec, note, graph)
        self._mel = WhisperMel(note.sample_rate, note.hop, note.n_fft, note.bands)

    def _frames(self, item: Item) -> FloatArray:
        note = self.note
        parts = parts_of(
            heard_waveform(item, self.spec, self.sample_rate),
            normalise=note.kind == "waveform" and note.normalise,
            shortest=note.shortest,
            longest=note.longest,
        )
        states = [self._part(part) for part in parts]
        return states[0] if len(states) == 1 else np.concatenate(states)

    def _part(self, wave: FloatArray) -> FloatArray:
        if self.note.kind == "whisper":
            mels = np.ascontiguousarray(self._mel(wave).T)
            return self._states(mels=mels[None])
        return self._states(waveforms=wave[None])


class OnnxText(OnnxEncoder):
    """A text encoder: token numbers into the graph; see `OnnxEncoder`.

    Args:
        description, spec, note, graph: see `OnnxEncoder`.
        tokenizer: ``tokenizer.json``, as the library ``tokenizers`` writes it.
    """

    modality = "text"

    def __init__(
        self,
        description: Mapping[str, Any],
        spec: EncoderSpec,
        note: OnnxEncoderNote,
        graph: Graph,
        tokenizer: bytes,
    ) -> None:
        super().__init__(description, spec, note, graph)
        self._whole, self._short = _read_tokenizers(tokenizer, note.longest)
        self._cut = CutTexts()

    def take_warnings(self) -> tuple[str, ...]:
        """Say which texts were cut at the model's length since the last call."""
        return self._cut.take(self.note.longest)

    def tokens(self, item: Item) -> list[int]:
        """Give the numbers of a text's tokens, the special ones among them.

        Raises:
            EncoderError: there is no text, or no token in it.
        """
        text = require_text(item, strip_events=self.spec.strip_events)
        ids: list[int] = self._whole.encode(text).ids
        if not ids:
            raise EncoderError(f"{item.id}: the tokenizer finds no token in the text")
        if len(ids) > self.note.longest:
            self._cut.note(item.id)
            ids = self._short.encode(text).ids
        return ids

    def _frames(self, item: Item) -> FloatArray:
        return self._states(tokens=np.array([self.tokens(item)], np.int64))


def _read_tokenizers(data: bytes, longest: int) -> tuple[Any, Any]:
    """Give the tokenizer that never cuts, and the one that cuts at the model's length."""
    from tokenizers import Tokenizer

    try:
        whole, short = Tokenizer.from_buffer(data), Tokenizer.from_buffer(data)
    except Exception as error:
        raise BundleError(f"the bundle's tokenizer cannot be read: {error}") from error
    for one in (whole, short):
        one.no_padding()
    whole.no_truncation()
    short.enable_truncation(longest)
    return whole, short
