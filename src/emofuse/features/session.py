"""One pass of an encoder over contents that the store lacks, a stretch of them at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from emofuse.encoders.contract import Encoder, FloatArray, Item
from emofuse.errors import EncoderError, ManifestError, MediaError
from emofuse.features.keys import FeatureKey, FeatureSpace
from emofuse.features.memory import give_back
from emofuse.features.plan import THREADS, Listing, Work
from emofuse.features.store import FeatureStore
from emofuse.media.audio import read_audio
from emofuse.progress import Progress, ProgressEvent

__all__ = ["Session", "make_windows"]

WINDOW_SECONDS = 60.0  # audio or video given to the encoder at once
WINDOW_CHARACTERS = 20_000.0
WINDOW_ITEMS = 256
AHEAD_SECONDS = 120.0  # audio read ahead of the encoder
FLUSH_SECONDS = 15.0  # work that a kill may cost
FLUSH_BYTES = 4 << 20
MANY_SHARDS = 64  # small shards that pile up during an encoding before they are merged


@dataclass
class Session:
    """One pass over the contents that are missing.

    Attributes:
        listing, encoder, store, space: what is encoded, by what, and where it goes.
        progress: told of stage ``encode <modality>``.
        strict: the first bad item ends the pass.
        done: contents stored so far.
        audio_seconds: length of the audio among them.
        seconds: wall-clock time of `run`.
        failed: content -> why it could not be encoded.
    """

    listing: Listing
    encoder: Encoder
    store: FeatureStore
    space: FeatureSpace
    progress: Progress
    strict: bool
    done: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    _buffer: list[tuple[FeatureKey, FloatArray]] = field(default_factory=list)
    _flushed: float = field(default_factory=time.perf_counter)
    _passed: int = 0

    def missing(self, works: Sequence[Work]) -> list[Work]:
        """Give one work for each content that was neither stored nor tried."""
        tried = {key.content for key, _ in self._buffer} | self.failed.keys()
        fresh = {work.content: work for work in works if work.content not in tried}
        return [w for w in fresh.values() if FeatureKey(self.space, w.content) not in self.store]

    def run(self, works: Sequence[Work], utterances: int) -> None:
        """Encode works; what is finished is stored every now and then (see `flush`).

        Args:
            works: what `missing` gave.
            utterances: for how many utterances of the manifest they stand.
        """
        self._passed += utterances - len(works)
        self.run_windows(make_windows(works, self.encoder.modality))

    def run_windows(self, windows: Sequence[Sequence[Work]]) -> None:
        """Encode windows as they are (see `make_windows`)."""
        before, started = self.seconds, time.perf_counter()
        self._report()
        for window, items in self._read_ahead(windows):
            self._encode_window(window, items)
            self._flush_if_due()
            del items
            give_back()
            self._passed += len(window)
            self.seconds = before + time.perf_counter() - started
            self._report()

    def _read_ahead(
        self, windows: Sequence[Sequence[Work]]
    ) -> Iterator[tuple[Sequence[Work], list[Item | MediaError]]]:
        """Read windows in order, a bounded stretch ahead of the one that is asked for."""
        waiting: deque[tuple[Sequence[Work], list[Future[Item | MediaError]]]] = deque()
        ahead = 0.0
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for window in windows:
                    size = sum(work.size for work in window)
                    while waiting and ahead + size > AHEAD_SECONDS:
                        ahead -= sum(work.size for work in waiting[0][0])
                        yield _collect(waiting.popleft())
                    waiting.append((window, [pool.submit(self._read, work) for work in window]))
                    ahead += size
                while waiting:
                    yield _collect(waiting.popleft())
            finally:
                for _, futures in waiting:
                    for future in futures:
                        future.cancel()

    def _read(self, work: Work) -> Item | MediaError:
        if self.encoder.modality == "text":
            return Item(work.id, text=work.source)
        try:
            path = self.listing.path(work.source)
            if self.encoder.modality == "video":  # too large to wait in memory: read as it goes
                return Item(work.id, video=path, start=work.start, end=work.end)
            wave = read_audio(path, self.encoder.sample_rate, work.start, work.end)
            return Item(work.id, waveform=wave)
        except (MediaError, ManifestError) as error:
            return MediaError(str(error))

    def _encode_window(self, window: Sequence[Work], items: Sequence[Item | MediaError]) -> None:
        good: list[tuple[Work, Item]] = []
        for work, item in zip(window, items, strict=True):
            if isinstance(item, Item):
                good.append((work, item))
            else:
                self._quarantine(work, item)
        for work, outcome in zip(
            (work for work, _ in good), self._encode([item for _, item in good]), strict=True
        ):
            if isinstance(outcome, EncoderError):
                self._quarantine(work, outcome)
                continue
            self._buffer.append((FeatureKey(self.space, work.content), outcome))
            self.done += 1
            if self.encoder.modality == "audio":
                self.audio_seconds += work.size

    def _encode(self, items: Sequence[Item]) -> list[FloatArray | EncoderError]:
        """Encode together; if that fails, one by one, to find the item to blame."""
        if not items:
            return []
        try:
            arrays = self.encoder.encode(items)
        except EncoderError as error:
            if len(items) == 1:
                return [error]
            return [outcome for item in items for outcome in self._encode([item])]
        return [_finite(item, array) for item, array in zip(items, arrays, strict=True)]

    def _quarantine(self, work: Work, error: MediaError | EncoderError) -> None:
        if self.strict:
            raise error
        self.failed[work.content] = str(error)

    def _flush_if_due(self) -> None:
        size = sum(array.nbytes for _, array in self._buffer)
        if size >= FLUSH_BYTES or time.perf_counter() - self._flushed >= FLUSH_SECONDS:
            self.flush()
            self.store.compact(self.space, MANY_SHARDS)

    def flush(self) -> None:
        """Store what is finished and not stored yet."""
        if self._buffer:
            self.store.put_many(self._buffer)
            self._buffer.clear()
        self._flushed = time.perf_counter()

    def _report(self) -> None:
        values: dict[str, float | str] = {}
        if self.encoder.modality == "audio" and self.seconds > 0:
            values["x real time"] = self.audio_seconds / self.seconds
        if self.failed:
            values["quarantined"] = str(len(self.failed))
        stage, total = f"encode {self.encoder.modality}", len(self.listing)
        self.progress(ProgressEvent(stage, self._passed, total, "utterances", values))


def _collect(
    entry: tuple[Sequence[Work], list[Future[Item | MediaError]]],
) -> tuple[Sequence[Work], list[Item | MediaError]]:
    return entry[0], [future.result() for future in entry[1]]


def _finite(item: Item, array: FloatArray) -> FloatArray | EncoderError:
    if np.isfinite(array).all():
        return array
    return EncoderError(f"{item.id}: the encoder gave NaN or infinity")


def make_windows(works: Sequence[Work], modality: str) -> list[list[Work]]:
    """Cut works into windows of like length, in a fixed mixed order: the time left is then true.

    What an encoder is given at once depends on the works alone, not on who encodes them.
    """
    limit = WINDOW_CHARACTERS if modality == "text" else WINDOW_SECONDS
    windows: list[list[Work]] = []
    size = limit
    for work in sorted(works, key=lambda w: (w.size, w.content)):
        if size + work.size > limit or len(windows[-1]) >= WINDOW_ITEMS:
            windows.append([])
            size = 0.0
        windows[-1].append(work)
        size += work.size
    order = np.random.default_rng(len(windows)).permutation(len(windows))
    return [windows[place] for place in order]
