"""emotion2vec and emotion2vec+ through FunASR (extra ``emotion2vec``), by hub name or folder.

Names: ``iic/emotion2vec_plus_large`` and its kin on ModelScope, ``emotion2vec/...`` on the Hugging
Face hub, or a local folder with their ``config.yaml`` and ``model.pt``. Frames are those of the
last layer, 50 a second; ``pooling=mean`` is what FunASR calls granularity ``utterance``.

The ``plus`` models were fine-tuned with emotion labels, and the mean of their frames is the very
input of that emotion classifier. `Provenance.labelled_on` names the corpora.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emofuse.encoders.batching import split_evenly
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.emotion2vec_folder import open_folder, read_model
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.provenance import look_up
from emofuse.encoders.settings import refuse_options, require_waveform
from emofuse.errors import EncoderError, OptionError, shorten

__all__ = ["Emotion2Vec"]

RATE, HOP, SHORTEST = 16_000, 320, 400
LONGEST = 60 * RATE


class Emotion2Vec(Encoder):
    """A frozen emotion2vec model. Each clip is encoded alone, so that no padding reaches it.

    A clip of over 60 s is cut into equal parts; one too short for a frame is filled up with zeros.

    Args:
        spec: ``granularity``, ``pooling``, ``stride`` and, for hub names, ``revision`` count.
        device: where it runs.

    Raises:
        OptionError: an option that it does not have.
        EncoderError: the model cannot be found, or is none.
        MissingExtraError: a model of ModelScope, and FunASR is not installed.
    """

    modality = "audio"
    sample_rate = RATE

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "dim", "precision", strides=True)
        if spec.pooling == "cls":
            raise OptionError(f"{spec.name} has no cls token; legal: mean, mean+std, max, stats")
        self.spec, self._device = spec, device
        self.folder = open_folder(spec)
        self.revision = self.folder.revision
        self.provenance = look_up(self.folder.name)
        pooled = spec.granularity == "pooled"
        self._width = self.folder.width
        self.dim = pooled_dim(spec.pooling, self._width) if pooled else self._width
        self.frame_rate = None if pooled else RATE / HOP / spec.stride
        self._model: Any = None

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, dim)`` or ``(1, dim)`` array an item (see `Encoder.encode`).

        Raises:
            EncoderError: also where the model gives something else than finite frames.
            MissingExtraError: FunASR is not installed.
        """
        waves = [require_waveform(item) for item in items]
        if self._model is None:
            self._model = read_model(self.folder, self._device)
        found = [self._frames(item.id, wave) for item, wave in zip(items, waves, strict=True)]
        return [reduced(frames, self.spec) for frames in found]

    def _frames(self, name: str, wave: FloatArray) -> FloatArray:
        if len(wave) < SHORTEST:
            wave = np.pad(wave, (0, SHORTEST - len(wave)))
        parts = [
            self._part(name, np.ascontiguousarray(wave[start:end], dtype=np.float32))
            for start, end in split_evenly(len(wave), LONGEST)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, name: str, wave: FloatArray) -> FloatArray:
        answer = self._model.generate(
            input=wave,
            key=name,
            fs=RATE,
            granularity="frame",
            extract_embedding=True,
            disable_pbar=True,
        )
        frames = np.asarray(answer[0].get("feats") if answer else None, dtype=np.float32)
        if frames.ndim != 2 or frames.shape[1] != self._width or not np.isfinite(frames).all():
            raise EncoderError(
                f"{shorten(name)}: {self.folder.name} gave {frames.shape} instead of finite "
                f"frames of {self._width} values"
            )
        return frames
