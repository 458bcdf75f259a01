"""A bundle at work: files, samples and texts in, emotions out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from emofuse.errors import OptionError
from emofuse.manifest import Modality
from emofuse.models.bundle_config import read_config
from emofuse.progress import Progress, silent
from emofuse.recognition.adapting.many import Speakers, answer_adapted, enrol
from emofuse.recognition.adapting.meter import Meter
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.reference import check_moods
from emofuse.recognition.answer import Moods, Recognition, Transcript, Word
from emofuse.recognition.encoding import BundleEncoders, Wanted
from emofuse.recognition.hearer import Hearer
from emofuse.recognition.how import How
from emofuse.recognition.loading import find_bundle, load_fusion
from emofuse.recognition.query import (
    Audio,
    Query,
    as_source,
    check_channels,
    is_video,
    path_id,
    split_channels,
    video_query,
)
from emofuse.recognition.reading import AnswerLoaded
from emofuse.recognition.scoring import load_scoring

if TYPE_CHECKING:
    from emofuse.recognition.stream import Stream
    from emofuse.recognition.timeline import Timeline, TimelineOptions
    from emofuse.recognition.transcribe import Transcriber
    from emofuse.recognition.turns import Turn

__all__ = ["Query", "Recognition", "Recognizer", "Transcript", "Word"]


class Recognizer(Hearer):
    """Answers with a trained model; make one with `load`.

    One recogniser may be used from any number of threads: files are read side by side, encoding
    and the model's pass are taken in turn (each spreads over its own threads), or side by side in
    as many lanes as were asked for. A bundle of PyTorch and an ONNX bundle answer alike; the latter
    needs neither PyTorch nor transformers.
    """

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        device: str = "cpu",
        encoders: Mapping[Modality, str] | None = None,
        *,
        raw: bool = False,
        corpus: str | None = None,
        transcriber: Transcriber | str | None = None,
        precision: Wanted | None = None,
        lanes: int = 1,
    ) -> Recognizer:
        """Load a bundle.

        Args:
            path: a run directory, or the bundle inside one; None or ``"default"`` is the bundle
                that comes along.
            device: ``cpu``, ``cuda`` or ``auto``; an ONNX bundle runs on the processor.
            encoders: modality -> where its encoder lies now, if it was moved; the weights must be
                the ones that the bundle was trained with.
            raw: leave calibration, sets and silence aside.
            corpus: the speech is like that of this corpus: its own scaling is taken.
            transcriber: hears the words where none are given: a `Transcriber`, or the folder or hub
                name of a Whisper model (see `transcribe.load_transcriber`).
            precision: what encoders of PyTorch compute in: ``fp32``, ``bf16``, or ``auto`` (bf16
                where the device multiplies it natively); None = as they were trained with.
            lanes: threads that are answered at once, each on its share of the cores; one on another
                device than the processor.

        Raises:
            BundleError: no bundle there, a damaged one, or one trained on imported features.
            OptionError: no such device, no scaling for this corpus, or another precision than that
                of an ONNX bundle.
            EncoderError: the transcriber cannot be had.
        """
        folder = find_bundle(path)
        config = read_config(folder)
        fusion, device = load_fusion(folder, config, device)
        lanes = lanes if device == "cpu" else 1
        scoring = load_scoring(folder, config, raw=raw, corpus=corpus)
        ready = BundleEncoders(
            config, device, encoders or {}, folder, precision=precision, lanes=lanes
        )
        if isinstance(transcriber, str):
            from emofuse.recognition.transcribe import load_transcriber

            transcriber = load_transcriber(transcriber, device=device)
        return cls(fusion, config, ready, scoring, transcriber=transcriber, lanes=lanes)

    def recognise(
        self,
        audio: Audio | None = None,
        text: str | None = None,
        id: str | None = None,  # noqa: A002 (the field's name everywhere)
        video: Path | str | None = None,
    ) -> Recognition:
        """Recognise one utterance; the channels of its audio are mixed.

        Args:
            audio: a path (of a video file, its picture counts too), samples (``(samples,)`` or
                ``(samples, channels)``) and their rate in hertz, the bytes of an audio file, or a
                binary file that is open. Any format that libsndfile reads, or FFmpeg where PyAV is
                installed; any rate.
            text: what is said.
            id: for the answer; the path unless given.
            video: a video file; its sound track counts where ``audio`` is not given.

        Raises:
            WorkError: the audio cannot be used, or there is neither audio nor text that the model
                knows.
        """
        query = make_query(audio, text, id, video)
        return next(self.recognise_each([query], strict=True))

    def recognise_channels(
        self,
        audio: Audio,
        text: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> tuple[Recognition, ...]:
        """Recognise each channel by itself; arguments and errors are those of `recognise`."""
        query = make_query(audio, text, id)
        return tuple(self.recognise_each([query], strict=True, channels="each"))

    async def arecognise(
        self,
        audio: Audio | None = None,
        text: str | None = None,
        id: str | None = None,  # noqa: A002
        video: Path | str | None = None,
    ) -> Recognition:
        """Do as `recognise`, in a thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.recognise, audio, text, id, video)

    async def arecognise_many(
        self, items: Iterable[Query | Audio], progress: Progress = silent, **how: Unpack[How]
    ) -> list[Recognition]:
        """Do as `recognise_many`, in a thread; the hook is called from there."""
        return await asyncio.to_thread(self.recognise_many, items, progress, **how)

    def recognise_many(
        self, items: Iterable[Query | Audio], progress: Progress = silent, **how: Unpack[How]
    ) -> list[Recognition]:
        """Recognise many utterances; see `recognise_each`."""
        return list(self.recognise_each(items, progress, **how))

    def recognise_each(
        self,
        items: Iterable[Query | Audio],
        progress: Progress = silent,
        *,
        strict: bool = False,
        channels: str = "mix",
        adapt: bool = False,
        voice: VoiceProfile | None = None,
        moods: Moods = "any",
    ) -> Iterator[Recognition]:
        """Recognise utterances in order, giving answers as batches are finished.

        A query that cannot be answered gives a `Recognition` with its reason in ``error``, and the
        rest goes on.

        Args:
            items: what to recognise: queries, or anything that `recognise` takes as audio.
            progress: told of the stage ``recognise``, and of ``listen`` before where all are
                heard first.
            strict: the first query that cannot be answered is an error.
            channels: ``mix`` takes their mean, ``each`` gives one answer a channel.
            adapt: hear all of them first, then move each speaker's voice (`Query.speaker`) to
                where the voices of training lie. Features are kept meanwhile, not sound.
            voice: what is known of the one speaker of all of them: alone, all are moved by it;
                with ``adapt`` it is counted in.
            moods: what is taken for granted of what is heard of a speaker: ``any``, nothing;
                ``mixed``, that it holds all moods in like measure, which gains more where it does
                and errs far more where it does not.

        Raises:
            BundleError: an encoder that the queries need is not the bundle's.
            OptionError: ``channels`` is neither, or the model cannot be adapted to a speaker.
            WorkError: (strict) the first query that cannot be answered.
        """
        every = [one if isinstance(one, Query) else make_query(one) for one in items]
        if check_channels(channels) == "each":
            every = split_channels(every)
        if adapt or voice is not None:
            check_moods(self.config, self.needs, moods)
        if adapt:
            speakers = Speakers(self.reference, voice, moods)
            return answer_adapted(self, every, speakers, progress, strict)
        if voice is not None:
            known = Meter(self.reference, voice.speaker, voice).voice(moods)
            every = [replace(one, voice=known) for one in every]
        return self._answers(every, progress, strict)

    def enrol(
        self, items: Iterable[Query | Audio], speaker: str, progress: Progress = silent
    ) -> VoiceProfile:
        """Learn how a speaker sounds, for `recognise_each` and `stream`.

        Args:
            items: utterances of the speaker, best in many moods, at least 8.
            speaker: what to call the voice.
            progress: told of the stage ``listen``.

        Raises:
            OptionError: the model cannot be adapted to a speaker.
            WorkError: an utterance cannot be read, or there is none.
        """
        every = [one if isinstance(one, Query) else make_query(one) for one in items]
        return enrol(self, every, speaker, progress)

    def timeline(
        self,
        audio: Audio,
        options: TimelineOptions | None = None,
        progress: Progress = silent,
        *,
        id: str | None = None,  # noqa: A002
        turns: Sequence[Turn] | None = None,
        voice: VoiceProfile | None = None,
        answer: AnswerLoaded | None = None,
    ) -> Timeline:
        """Find who speaks when with which emotion in a recording of any length.

        The recording is read block by block and goes through `stream`: memory does not grow with
        its length but for the segments found.

        Args:
            audio: see `recognise`; an open file is read from where it stands.
            options: how it is cut up.
            progress: told of the stage ``timeline`` in seconds.
            id: for the timeline; the path unless given.
            turns: who speaks when, for ``options.adapt``; a voice each. (`turns.name_speakers`
                puts their names on the segments.)
            voice: what is known of a speaker already.
            answer: see `stream`.

        Raises:
            WorkError: the audio cannot be read, or the model cannot answer from it.
            OptionError: the model cannot be adapted to a speaker, and should be.
        """
        from emofuse.recognition.timeline_reading import read_timeline

        return read_timeline(
            self, audio, options, progress, id, turns=turns, voice=voice, answer=answer
        )

    def stream(
        self,
        rate: int,
        options: TimelineOptions | None = None,
        *,
        voice: VoiceProfile | None = None,
        answer: AnswerLoaded | None = None,
    ) -> Stream:
        """Open a stream: chunks of audio in, segments that will not change out.

        Args:
            rate: hertz of the chunks.
            options: how it is cut up; the same options give the segments of `timeline`.
            voice: what is known of the speaker already.
            answer: answers for windows, where they shall go together with those of others;
                `answer_loaded` unless given.

        Raises:
            OptionError: a rate that is none, or options that do not go with this model.
        """
        from emofuse.recognition.stream import Stream

        if options is not None and options.adapt == "recording":
            raise OptionError(
                "a stream hears no future: adapt = 'recording' is for files; 'causal'"
            )
        return Stream(self, rate, options, voice=voice, answer=answer)


def make_query(
    audio: Audio | None = None,
    text: str | None = None,
    id: str | None = None,  # noqa: A002
    video: Path | str | None = None,
) -> Query:
    """Ask about one utterance; see `Recognizer.recognise`.

    Raises:
        MediaError, OptionError: see `query.as_source`.
    """
    source = None if audio is None else as_source(audio)
    picture = None if video is None else Path(video)
    if picture is None and isinstance(source, Path) and is_video(source):
        picture, source = source, None
    named = source if isinstance(source, Path) else picture
    if picture is not None and source is None:
        query = video_query(picture, text)
    else:
        query = Query("", source, text=text, video=picture)
    return replace(query, id=id or ("utterance" if named is None else path_id(named)))
