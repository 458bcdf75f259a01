"""Raw audio and text of a run: what fine-tuning learns from, in memory where it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.encoders.contract import EncoderSpec, FloatArray, Item
from emofuse.encoders.settings import require_text
from emofuse.errors import FeatureError
from emofuse.features.table import FeatureTable
from emofuse.layers import keep_modalities
from emofuse.manifest import Manifest, Modality
from emofuse.media.audio import probe, read_audio
from emofuse.models.contract import Batch, FusionModel
from emofuse.training.feeder import Feeder
from emofuse.training.finetuning.backbone import Backbone, Prepared

__all__ = ["Clip", "RawBatch", "RawFeeder", "RawItems", "Waves"]

THREADS = 4
HELD_BYTES = 2 << 30
"""Most memory for waveforms: 18 hours at 16 kHz. Beyond it they are read batch by batch."""
FULL_SCALE = 1 << 15
CHARACTERS = 4.0  # of a text, to a token, where only the order of lengths matters


@dataclass(frozen=True)
class Clip:
    """Where the audio of an utterance is.

    Attributes:
        path: the file.
        start, end: seconds, where it is a slice of its file.
        seconds: its length.
    """

    path: Path
    start: float | None
    end: float | None
    seconds: float


@dataclass(frozen=True)
class RawItems:
    """Where the raw audio and text of a run's utterances are, one row each as in its table.

    Attributes:
        clips: a clip a row; None = the utterance has no usable audio.
        texts: a text a row, or None.
        specs: modality -> the encoder that learns, as it is at the start.
    """

    clips: tuple[Clip | None, ...]
    texts: tuple[str | None, ...]
    specs: Mapping[Modality, EncoderSpec]

    @classmethod
    def of(
        cls, manifest: Manifest, table: FeatureTable, specs: Mapping[Modality, EncoderSpec]
    ) -> RawItems:
        """Find the media of the rows of a table; a row without features has none here either.

        Raises:
            MediaError: a file that was read when the features were made is gone.
        """
        there = {name: (part.lengths > 0).tolist() for name, part in table.modalities.items()}
        nobody = [False] * len(table.ids)
        audio, text = there.get("audio", nobody), there.get("text", nobody)

        def clip(row: int) -> Clip | None:
            utterance = manifest[table.ids[row]]
            if not audio[row] or utterance.audio is None:
                return None
            path = manifest.path(utterance.audio)
            end = probe(path).seconds if utterance.end is None else utterance.end
            return Clip(path, utterance.start, utterance.end, end - (utterance.start or 0.0))

        with ThreadPoolExecutor(THREADS) as pool:
            clips = tuple(pool.map(clip, range(len(table.ids))))
        strip = "text" in specs and specs["text"].strip_events

        def words(name: str) -> str | None:
            item = Item(name, text=manifest[name].text)
            return require_text(item, strip_events=True) if strip else item.text

        texts = tuple(
            words(name) if there_is else None
            for name, there_is in zip(table.ids, text, strict=True)
        )
        return cls(clips, texts, dict(specs))


class Waves:
    """Waveforms by row, each read once and held: as 16-bit integers where that loses nothing.

    Args:
        clips: where they are.
        rate: hertz that the encoder wants.
        most: bytes that may be held; where all together take more, none is held.
    """

    def __init__(self, clips: Sequence[Clip | None], rate: int, most: int = HELD_BYTES) -> None:
        self._clips, self.rate = clips, rate
        samples = sum(one.seconds * rate for one in clips if one is not None)
        self.holds = 4 * samples <= most or 2 * samples <= most
        self._narrow = 4 * samples > most
        self._held: dict[int, NDArray[np.int16] | FloatArray] = {}

    def get(self, rows: Sequence[int]) -> list[FloatArray | None]:
        """Give the waveforms of rows, ``(samples,)`` float32; None = there is none.

        Raises:
            MediaError: a file cannot be read.
        """
        fresh = [row for row in dict.fromkeys(rows) if row not in self._held]
        read: dict[int, NDArray[np.int16] | FloatArray] = {}
        wanted = [(row, clip) for row in fresh if (clip := self._clips[row]) is not None]
        if wanted:
            with ThreadPoolExecutor(THREADS) as pool:
                found = pool.map(lambda pair: self._read(pair[1]), wanted)
                read = dict(zip((row for row, _ in wanted), found, strict=True))
        if self.holds:
            self._held |= read
        known = self._held if self.holds else read
        return [None if row not in known else _widen(known[row]) for row in rows]

    def _read(self, clip: Clip) -> NDArray[np.int16] | FloatArray:
        wave = read_audio(clip.path, self.rate, clip.start, clip.end)
        return _narrow(wave, anyway=self._narrow and self.holds)


def _narrow(wave: FloatArray, *, anyway: bool = False) -> NDArray[np.int16] | FloatArray:
    """Give 16-bit integers where they say exactly the same, or where memory leaves no choice."""
    scaled = np.rint(wave * FULL_SCALE)
    whole = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    exact = bool(np.array_equal(whole.astype(np.float32) / FULL_SCALE, wave))
    return whole if exact or anyway else wave


def _widen(wave: NDArray[np.int16] | FloatArray) -> FloatArray:
    if wave.dtype == np.int16:
        return np.asarray(wave, np.float32) / np.float32(FULL_SCALE)
    return np.asarray(wave, np.float32)


@dataclass(frozen=True)
class RawBatch(Batch):
    """A batch of which some modalities are not encoded yet.

    Attributes:
        modalities: those that are: features of encoders that do not learn.
        raw: modality -> an entry an utterance, None where it lacks the modality.
        size: number of utterances.
    """

    raw: Mapping[str, tuple[Prepared | None, ...]] = field(default_factory=dict)
    size: int = 0

    @property
    def count(self) -> int:
        """Utterances."""
        return self.size


class RawFeeder(Feeder):
    """Some rows of a run, cut into batches of raw audio and text.

    Args:
        table: features of the modalities whose encoders do not learn.
        rows: ``(items,)`` the rows to feed.
        raw: where audio and text are.
        backbones: modality -> the encoder that learns.
        waves: waveforms, shared by all feeders of a training.
        order: modalities in the order of the model.
        most_frames: most padded frames of a batch.
        device: of the model.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: Tensor,
        raw: RawItems,
        backbones: Mapping[Modality, Backbone],
        *,
        waves: Waves | None,
        order: Sequence[str],
        most_frames: int | None,
        device: torch.device,
    ) -> None:
        kept = {n: part for n, part in table.modalities.items() if n not in backbones}
        super().__init__(FeatureTable(table.ids, kept, {}), rows.to(device))
        self._raw, self._backbones, self._waves = raw, backbones, waves
        self._model_order, self._most = tuple(order), most_frames
        self._by_length = True
        self._lengths = torch.maximum(self._lengths, self._raw_lengths())
        self._texts: dict[int, Prepared] = {}

    def batch(self, items: Tensor) -> RawBatch:
        """Give the batch of these items, prepared for their encoders."""
        rows = self.rows[items].tolist()
        found = super().batch(items).modalities if self._order else {}
        with torch.autocast("cpu", enabled=False):  # spectrograms keep their precision
            raw = {str(name): self._prepare(name, rows) for name in self._backbones}
        return RawBatch(found, raw, len(rows))

    def drawn(self, items: Tensor, share: float, generator: torch.Generator) -> Batch:
        """Give a batch with modalities hidden by chance; what is hidden is not encoded."""
        batch = self.batch(items)
        if not share or len(self._model_order) < 2:
            return batch
        present = torch.stack([self._present(batch, name) for name in self._model_order], dim=1)
        kept = dict(
            zip(self._model_order, keep_modalities(present, share, generator).T, strict=True)
        )
        raw = {
            name: tuple(
                one if stays else None
                for one, stays in zip(units, kept[name].tolist(), strict=True)
            )
            for name, units in batch.raw.items()
        }
        hidden = {
            name: type(part)(part.values, part.mask & kept[name].to(part.mask.device)[:, None])
            for name, part in batch.modalities.items()
        }
        return RawBatch(hidden, raw, batch.size)

    def _cut(self, order: Tensor, size: int) -> list[Tensor]:
        """Cut into batches of at most ``size`` items and ``most_frames`` padded frames."""
        if self._most is None:
            return super()._cut(order, size)
        batches: list[list[int]] = [[]]
        longest = 0
        for item in order.tolist():
            longer = max(longest, int(self._lengths[item]))
            count = len(batches[-1]) + 1
            if batches[-1] and (count > size or longer * count > self._most):
                batches.append([])
                longer = int(self._lengths[item])
            batches[-1].append(item)
            longest = longer
        return [torch.tensor(one, device=order.device) for one in batches if one]

    def condense(self, model: FusionModel) -> None:
        """Condense nothing: the features change with every step."""

    def _present(self, batch: RawBatch, name: str) -> Tensor:
        if name in batch.raw:
            return torch.tensor([one is not None for one in batch.raw[name]])
        return batch.modalities[name].present.cpu()

    def _prepare(self, name: Modality, rows: Sequence[int]) -> tuple[Prepared | None, ...]:
        backbone = self._backbones[name]
        if name == "text":
            return tuple(self._tokens(backbone, row) for row in rows)
        if self._waves is None:
            raise FeatureError("there is no audio to learn from")
        waves = self._waves.get(rows)
        return tuple(
            None if wave is None else backbone.prepare(Item("", waveform=wave)) for wave in waves
        )

    def _tokens(self, backbone: Backbone, row: int) -> Prepared | None:
        text = self._raw.texts[row]
        if text is None:
            return None
        if row not in self._texts:
            self._texts[row] = backbone.prepare(Item("", text=text))
        return self._texts[row]

    def _raw_lengths(self) -> Tensor:
        """Count the frames or tokens of each item, near enough to sort by."""
        lengths = torch.zeros(len(self), dtype=torch.long)
        for place, row in enumerate(self.rows.tolist()):
            clip, text = self._raw.clips[row], self._raw.texts[row]
            if "audio" in self._backbones and clip is not None:
                lengths[place] = max(int(lengths[place]), round(50 * clip.seconds))
            if "text" in self._backbones and text is not None:
                lengths[place] = max(int(lengths[place]), 2 + round(len(text) / CHARACTERS))
        return lengths
