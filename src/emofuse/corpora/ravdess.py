"""RAVDESS: two sentences, 24 actors, eight emotions; speech or song, audio and video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import MEDIA_EXTENSIONS, VIDEO_EXTENSIONS, Tree
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance
from emofuse.media.audio import AUDIO_EXTENSIONS
from emofuse.options import Options

__all__ = ["CORPUS", "Ravdess", "RavdessOptions"]

NAME = re.compile(r"(0[123])-((0[12])-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d))")
SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
SPEECH = {"01": 96, **dict.fromkeys(("02", "03", "04", "05", "06", "07", "08"), 192)}
SONG = {"01": 92, **dict.fromkeys(("02", "03", "04", "05", "06"), 184)}


class RavdessOptions(Options):
    """What to read.

    Attributes:
        channel: speech, song or both.
    """

    channel: Literal["speech", "song", "all"] = "speech"


class Ravdess(Corpus[RavdessOptions]):
    """Reads ``Actor_01/03-01-05-01-02-01-01.wav``.

    The fields are modality (01 audio and video, 02 video, 03 audio), channel (01 speech, 02 song),
    emotion, intensity, statement, repetition, actor. Files of one take become one utterance, whose
    id is that of its audio file.
    """

    name = "ravdess"
    about = "RAVDESS: English, 24 actors, 8 acted emotions, 2 sentences, audio and video (1,440)"
    licence = "CC BY-NC-SA 4.0; cite Livingstone and Russo, RAVDESS, PLOS ONE 2018"
    languages = ("en",)
    scheme = "ravdess8"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "01": "neutral",
        "02": "calm",
        "03": "happiness",
        "04": "sadness",
        "05": "anger",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    }
    expected: ClassVar[Mapping[str, int]] = SPEECH
    speakers = tuple(f"ravdess-{actor:02d}" for actor in range(1, 25))
    layout = "files named like Actor_01/03-01-05-01-02-01-01.wav (or .mp4)"
    options_type = RavdessOptions

    def expected_counts(self, options: RavdessOptions) -> Mapping[str, int]:
        """Speech has 1,440 utterances, song 1,012 (five emotions and neutral)."""
        if options.channel == "all":
            return {code: SPEECH[code] + SONG.get(code, 0) for code in SPEECH}
        return SPEECH if options.channel == "speech" else SONG

    def expected_speakers(self, options: RavdessOptions) -> Sequence[str]:
        """All 24; actor 18 did not sing."""
        return [s for s in self.speakers if options.channel != "song" or s != "ravdess-18"]

    def read(
        self, place: Place, options: RavdessOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a take."""
        for take, files in self._takes(place, options, findings).items():
            audio = files.get("03")
            video = files.get("01") or files.get("02")
            if audio is None:
                findings.add("missing-audio", "take with video alone", str(video))
            channel, code, intensity, statement, repetition, actor = take.split("-")
            if statement not in SENTENCES:
                findings.add("missing-text", "no sentence of this code is known", take)
            yield findings.utterance(
                take,
                id=f"03-{take}",
                corpus=self.name,
                audio=audio and audio.as_posix(),
                video=video and video.as_posix(),
                text=SENTENCES.get(statement),
                emotion=findings.word(code, self.labels),
                speaker=f"ravdess-{actor}",
                gender="male" if int(actor) % 2 else "female",
                language="en",
                extra={
                    "native_emotion": code,
                    "intensity": {"01": "normal", "02": "strong"}.get(intensity, intensity),
                    "channel": "speech" if channel == "01" else "song",
                    "sentence": statement,
                    "repetition": repetition,
                },
            )

    def _takes(
        self, place: Place, options: RavdessOptions, findings: Findings
    ) -> dict[str, dict[str, PurePosixPath]]:
        """Group the files by take, then by modality."""
        takes: dict[str, dict[str, PurePosixPath]] = {}
        for path in Tree(place.root, findings).having(MEDIA_EXTENSIONS):
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like 03-01-05-01-02-01-01", str(path))
                continue
            modality, take, channel = match[1], match[2], match[3]
            if options.channel != "all" and (channel == "01") != (options.channel == "speech"):
                message = f"not of channel={options.channel}"
                findings.add("left-out", message, str(path), serious=False)
            elif path.suffix.lower() not in _suits(modality):
                message = f"extension {path.suffix} does not suit modality {modality}; left out"
                findings.add("conflict", message, str(path))
            elif modality in takes.setdefault(take, {}):
                findings.add("duplicate", "id seen before, first one kept", str(path))
            else:
                takes[take][modality] = path
        return {take: files for take, files in takes.items() if files}


def _suits(modality: str) -> Sequence[str]:
    return AUDIO_EXTENSIONS if modality == "03" else VIDEO_EXTENSIONS


CORPUS = Ravdess()
