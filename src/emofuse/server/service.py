"""What a service does with what it is asked, whatever way that came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from emofuse import __version__
from emofuse.encoders.workers import products_on_one_core
from emofuse.errors import EmofuseError, MediaError, OptionError, nearest_hint
from emofuse.media.video import has_sound_track
from emofuse.progress import ProgressEvent
from emofuse.recognition.loading import licence_line, model_line
from emofuse.recognition.query import Query, Sound
from emofuse.recognition.reading import AnswerLoaded, Loaded
from emofuse.recognition.recognizer import Recognition, Recognizer
from emofuse.recognition.timeline import Timeline, TimelineOptions
from emofuse.recognition.timeline_text import write_timeline
from emofuse.server.batching import Batcher
from emofuse.server.keys import Keys
from emofuse.server.limits import Places
from emofuse.server.logs import event
from emofuse.server.messages import TIMELINE_KEYS, Limits, ModelCard, Models
from emofuse.server.options import ServerOptions
from emofuse.server.problems import Problem
from emofuse.server.several import adapt_to_speakers, side_by_side
from emofuse.server.sound import (
    MOST_CHANNELS,
    MOST_SPEAKERS,
    decode,
    decode_each,
    read_header,
    shows_something,
)
from emofuse.server.watch import Watch

__all__ = ["Asked", "Service"]

STREAM_DELAY = 0.5  # seconds that a window of a stream may wait for others
TIMELINE_DELAY = 30.0  # the same in a recording: batches are full


@dataclass(frozen=True)
class Asked:
    """One utterance as it came in.

    Attributes:
        audio: the bytes of a file.
        text: what is said.
        id: what the client calls it.
        speaker: who speaks, among several utterances.
    """

    audio: bytes | None = None
    text: str | None = None
    id: str | None = None
    speaker: str | None = None


class Service:
    """A recogniser with its limits; it belongs to one event loop.

    Args:
        recognizer: answers.
        options: limits.
        keys: who may ask.
    """

    def __init__(
        self, recognizer: Recognizer, options: ServerOptions | None = None, keys: Keys | None = None
    ) -> None:
        self._settings = ExitStack()
        self.recognizer = recognizer
        self.options = o = options or ServerOptions()
        self.keys = keys or Keys()
        self.watch = Watch()
        self.model = model_line(recognizer.config)
        self.batcher = Batcher(
            self._answer,
            o.max_batch,
            o.batch_seconds,
            o.gather_ms / 1000,
            self.watch.batch,
            lanes=recognizer.lanes,
            coming=lambda: self.queue.taken - self._submitted,
        )
        self._submitted = 0
        self.queue = Places(o.queue, "the queue is full", self._wait)
        self.held = Places(round(o.held_mb * (1 << 20)), "too much is held in memory", self._wait)
        self.recordings = Places(o.timelines, "other long recordings are worked on", lambda: 5.0)
        self.streams = Places(o.streams, "as many streams as are taken are open", lambda: 5.0)
        self.stopping = asyncio.Event()
        self.decoders = ThreadPoolExecutor(o.decoders, "emofuse-decode")
        self.workers = ThreadPoolExecutor(o.timelines + o.streams, "emofuse-work")
        self.watch.model(self.model, recognizer.classes)
        self.watch.gauge("waiting", "Utterances that wait.", lambda: self.batcher.waiting)
        self.watch.gauge("taken", "Utterances accepted, not answered.", lambda: self.queue.taken)
        self.watch.gauge("streams", "Streams open.", lambda: self.streams.taken)
        self.watch.gauge("held_bytes", "Bytes of requests in memory.", lambda: self.held.taken)

    def start(self) -> None:
        """Warm up and begin.

        Raises:
            EmofuseError: the model cannot answer at all.
        """
        rate = self.recognizer.sample_rate
        hum = Sound(0.01 * np.sin(0.1 * np.arange(rate)).astype(np.float32), rate)
        first = self._answer([self._loaded(Query("warm-up", hum, text="warm up"), hum)])[0]
        if first.error is not None:
            event("warm_up", error=first.error)
        self._settings.enter_context(products_on_one_core())
        self.batcher.start()

    def stop(self) -> None:
        """Finish what was accepted, and end."""
        self.batcher.stop()
        self.decoders.shutdown(cancel_futures=True)
        self.workers.shutdown(cancel_futures=True)
        self._settings.close()

    @property
    def ready(self) -> bool:
        """Whether a request would be answered."""
        return self.batcher.alive and not self.stopping.is_set()

    async def recognise(
        self, asked: Asked, until: float, route: str, who: object = None
    ) -> Recognition:
        """Answer for one utterance.

        Args:
            asked: what came in.
            until: `time.monotonic` after which nobody waits.
            route: for the counters.
            who: with whom it takes turns; None = with everybody.

        Raises:
            Problem: there is no answer.
        """
        loaded = await self._read(asked, until)
        self.watch.heard(route, loaded.seconds or 0.0)
        return await self._answered(loaded, who)

    async def recognise_channels(self, asked: Asked, until: float, route: str) -> list[Recognition]:
        """Answer for each channel of one utterance by itself; see `recognise`.

        Raises:
            Problem: there is no answer for one of them.
        """
        text = self._text(asked)
        if asked.audio is None:
            raise Problem("bad_options", "channels 'each' needs audio; give a file")
        loop = asyncio.get_running_loop()
        rate, limit = self.recognizer.sample_rate, self.options.max_seconds
        sounds = await loop.run_in_executor(
            self.decoders, decode_each, asked.audio, rate, limit, until
        )
        name, several = asked.id or "utterance", len(sounds) > 1
        every = [
            self._loaded(Query(f"{name}#{n}" if several else name, sound, text=text), sound)
            for n, sound in enumerate(sounds)
        ]
        if several:
            for number, one in enumerate(every):
                one.query = replace(one.query, channel=number)
        self.watch.heard(route, sum(one.seconds or 0.0 for one in every))
        with self.queue.hold(len(every) - 1):
            who = object()
            return list(await asyncio.gather(*(self._answered(one, who) for one in every)))

    async def _answered(self, loaded: Loaded, who: object) -> Recognition:
        self._submitted += 1
        try:
            answer = await asyncio.wrap_future(self.batcher.submit(loaded, who))
        finally:
            self._submitted -= 1
        if answer.error is not None:
            raise Problem("no_answer", answer.error)
        return answer

    async def recognise_all(
        self, every: Sequence[Asked], until: float, route: str
    ) -> list[Recognition]:
        """Answer for several; one that cannot be answered says why.

        Where speakers are named all are heard first, so that each is adapted to its speaker.

        Raises:
            Problem: speakers are named, and the model cannot be adapted to one.
        """
        who = object()
        names = [asked.id or f"utterance {number}" for number, asked in enumerate(every)]
        if not any(asked.speaker for asked in every):
            return await side_by_side(
                every, lambda asked: self.recognise(asked, until, route, who), names
            )
        read = await side_by_side(every, lambda asked: self._read(asked, until), names)
        heard = [one for one in read if isinstance(one, Loaded)]
        self.watch.heard(route, sum(one.seconds or 0.0 for one in heard))
        work = partial(adapt_to_speakers, self.recognizer, heard, self.options.max_batch)
        await asyncio.get_running_loop().run_in_executor(self.decoders, work)

        async def answered(one: Loaded | Recognition) -> Recognition:
            return one if isinstance(one, Recognition) else await self._answered(one, who)

        return await side_by_side(read, answered, names)

    async def timeline(
        self, asked: Asked, settings: dict[str, object], form: str, until: float
    ) -> str:
        """Cut a recording into segments.

        Raises:
            Problem: it cannot be done, or not in time.
        """
        options = self.timeline_options(settings, TIMELINE_DELAY)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.workers, self._timeline, asked, options, form, until)

    def timeline_options(self, settings: dict[str, object], delay: float) -> TimelineOptions:
        """Read what a client says of how to cut up.

        Raises:
            Problem: a key or a value that is not legal.
        """
        for key in settings:
            if key not in TIMELINE_KEYS:
                hint = nearest_hint(key[:60], TIMELINE_KEYS)
                raise Problem("bad_options", f"settings: unknown key {key[:60]!r}; {hint}")
        try:
            return TimelineOptions.parse({"delay": delay, **settings}, "settings")
        except OptionError as error:
            raise Problem("bad_options", str(error)) from error

    def models(self) -> Models:
        """Say which model answers, and what is taken."""
        found, o = self.recognizer, self.options
        data = found.config.data
        heard = found.transcriber
        card = ModelCard(
            id=self.model,
            classes=found.classes,
            modalities=found.modalities,
            needs=tuple(sorted(found.needs)),
            sample_rate=found.sample_rate,
            scale=found.config.scheme.vad.get("valence", (-1.0, 1.0)),
            calibrated=found.scoring.calibrated,
            precision=found.precision,
            transcriber=None if heard is None else heard.name.rpartition("/")[2],
            licence=licence_line(found.config),
            corpora=tuple(data.corpora),
            languages=tuple(data.languages),
        )
        limits = Limits(
            max_upload_bytes=o.max_bytes,
            max_seconds=o.max_seconds,
            max_items=o.max_items,
            max_text=o.max_text,
            timeline_seconds=o.timeline_seconds,
            stream_seconds=o.stream_seconds,
        )
        return Models(version=__version__, models=(card,), limits=limits)

    def windows(self) -> AnswerLoaded:
        """Give what answers for the windows of one stream or recording, together with the rest."""
        return partial(self.batcher.answer, who=object())

    def _answer(self, asked: Sequence[Loaded]) -> list[Recognition]:
        self.recognizer.hear(asked)
        found = self.recognizer.answer_loaded(asked)
        cut = self.recognizer.take_warnings()
        if cut:
            event("warned", count=len(cut))  # not what of: it may name what somebody asked
        return found

    def _wait(self) -> float:
        """Seconds that the queue needs."""
        return self.queue.taken * self.batcher.seconds_each

    def _loaded(self, query: Query, sound: Sound) -> Loaded:
        if not self.recognizer.listens:
            return Loaded(query)
        samples = sound.samples
        seconds = len(samples) / sound.sample_rate
        return Loaded(query, seconds, waveform=samples, silent=not np.any(samples))

    async def _read(self, asked: Asked, until: float) -> Loaded:
        text = self._text(asked)
        name = asked.id or "utterance"
        if asked.audio is None:
            if text is None:
                raise Problem("bad_options", "there is neither audio nor text; give one or both")
            return Loaded(Query(name, text=text))
        loop = asyncio.get_running_loop()
        rate, limit = self.recognizer.sample_rate, self.options.max_seconds
        if "video" in self.recognizer.modalities and await loop.run_in_executor(
            self.decoders, shows_something, asked.audio, limit
        ):
            query = Query(
                name, asked.audio, end=limit, text=text, video=asked.audio, speaker=asked.speaker
            )
            return await loop.run_in_executor(self.decoders, self._watched, query, until)
        sound = await loop.run_in_executor(self.decoders, decode, asked.audio, rate, limit, until)
        query = Query(name, sound, text=text, speaker=asked.speaker)
        return self._loaded(query, sound)

    def _watched(self, query: Query, until: float) -> Loaded:
        """Read a video's sound where it has any; the encoder reads its picture."""
        data = query.video
        try:
            heard = isinstance(data, bytes) and has_sound_track(data)
        except MediaError as error:
            raise Problem("bad_audio", str(error)) from error
        if not isinstance(data, bytes) or not heard:
            return Loaded(replace(query, audio=None))
        rate, limit = self.recognizer.sample_rate, self.options.max_seconds
        return self._loaded(query, decode(data, rate, limit, until))

    def _text(self, asked: Asked) -> str | None:
        """What is said, if anything.

        Raises:
            Problem: too much.
        """
        text = asked.text if asked.text is not None and asked.text.strip() else None
        if text is not None and len(text) > self.options.max_text:
            raise Problem(
                "too_long",
                f"the text has {len(text)} characters; at most {self.options.max_text} are taken",
            )
        return text

    def _timeline(self, asked: Asked, options: TimelineOptions, form: str, until: float) -> str:
        limit = self.options.timeline_seconds
        if asked.audio is None:
            raise Problem("bad_options", "there is no audio; give a file")
        header = read_header(asked.audio, limit)
        most = MOST_SPEAKERS if options.channels == "each" else MOST_CHANNELS
        if header.channels > most:
            raise Problem("bad_audio", f"the audio has {header.channels} channels; at most {most}")

        def look(event: ProgressEvent) -> None:
            if event.done > limit:
                raise Problem("too_long", f"the audio is over {limit:g} seconds")
            if time.monotonic() > until:
                raise Problem("timeout", "the recording was not done within the time limit")

        try:
            found = self.recognizer.timeline(
                asked.audio, options, look, id=asked.id or "recording", answer=self.windows()
            )
        except EmofuseError as error:
            raise Problem(_code_of(error), str(error)) from error
        self.watch.heard("/v1/timeline", found.seconds)
        return _written(found, form)


def _written(found: Timeline, form: str) -> str:
    return found.model_dump_json() if form == "json" else write_timeline(found, form)


def _code_of(error: EmofuseError) -> str:
    return "bad_audio" if isinstance(error, MediaError) else "no_answer"
