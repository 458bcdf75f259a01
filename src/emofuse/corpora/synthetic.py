"""The synthetic corpus: made on the spot by a program, free of any licence, nobody's voice.

Four emotions, several speakers. The voice tells high arousal (anger, happiness) from low (neutral,
sadness) and little more; the words tell bad (anger, sadness) from fair (happiness, neutral) and
not much more, and sometimes mislead. So neither suffices, and both together do better. A figure
measured on it says that the machinery works, and nothing about real speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.signal import lfilter

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.findings import Findings
from emofuse.corpora.sentences import Sentences
from emofuse.corpora.voice import FloatArray, Manner, Voice, speak
from emofuse.errors import CorpusError, shorten
from emofuse.manifest import Utterance
from emofuse.media.audio import SAMPLE_RATE, write_wav
from emofuse.options import Options
from emofuse.storage import read_json, write_json

__all__ = ["CORPUS", "Synthetic", "SyntheticOptions"]

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
STAMP_NAME = "synthetic.json"
VERSION = 1  # raised when the same seed gives other samples

# pitch, span, slope (semitones), rate, level (decibels), tilt, breath, jitter (per cent), attack
PROTOTYPES: Mapping[str, Manner] = {
    "anger": Manner(3.5, 3.0, -2.0, 1.18, 5.5, -0.16, 0.02, 1.6, 0.8),
    "happiness": Manner(5.0, 4.5, 0.5, 1.14, 4.5, -0.09, 0.02, 0.8, 0.5),
    "neutral": Manner(0.0, 1.6, -2.0, 1.0, 0.0, 0.0, 0.02, 0.6, 0.4),
    "sadness": Manner(-1.0, 1.0, -2.6, 0.86, -2.5, 0.06, 0.06, 0.9, 0.2),
}
"""How each emotion is said, at full strength."""
SPREAD = Manner(1.2, 0.8, 1.0, 0.07, 1.3, 0.035, 0.015, 0.3, 0.15)
"""Standard deviation of each figure from one utterance to the next."""


class SyntheticOptions(Options):
    """What to make.

    Attributes:
        seed: the same seed gives the same bytes.
        speakers: how many; women and men in turn, two a session.
        per_emotion: utterances of each emotion, a speaker.
    """

    seed: int = Field(default=0, ge=0)
    speakers: int = Field(default=8, ge=2, le=99)
    per_emotion: int = Field(default=12, ge=1, le=99)


@dataclass(frozen=True)
class _Speaker:
    """A voice, how vividly it shows emotion, and the noise in its room (root mean square)."""

    name: str
    gender: str
    session: str
    voice: Voice
    vivid: float
    noise: float


class Synthetic(Corpus[SyntheticOptions]):
    """Makes the corpus in a folder, then reads it; what is there already is not made again."""

    name: ClassVar[str] = "synthetic"
    about: ClassVar[str] = "made by a program: toy voices, 4 emotions; proves nothing about speech"
    licence: ClassVar[str] = "CC0-1.0"
    languages: ClassVar[tuple[str, ...]] = ("en",)
    scheme: ClassVar[str] = "basic4"
    labels: ClassVar[Mapping[str, str]] = {emotion: emotion for emotion in EMOTIONS}
    layout: ClassVar[str] = "an empty folder, or a synthetic corpus made with the same options"
    options_type = SyntheticOptions

    def expected_counts(self, options: SyntheticOptions) -> Mapping[str, int]:
        """Give the utterances an emotion that these options ask for."""
        return dict.fromkeys(EMOTIONS, options.speakers * options.per_emotion)

    def expected_speakers(self, options: SyntheticOptions) -> Sequence[str]:
        """Give the names of the speakers that these options ask for."""
        return [_speaker_name(place) for place in range(options.speakers)]

    def locate(self, sources: tuple[Path, ...], options: SyntheticOptions) -> Place:
        """Make or claim the folder.

        Raises:
            CorpusError: the folder holds something else.
        """
        if len(sources) == 1 and not sources[0].exists():
            _claim(sources[0], options)
        place = super().locate(sources, options)
        _claim(place.root, options)
        return place

    def read(
        self, place: Place, options: SyntheticOptions, findings: Findings
    ) -> Iterable[Utterance | None]:
        """Make what is lacking and give the utterances."""
        findings.add(
            "note",
            "made by a program, no human voice; figures on it mean nothing about real speech",
            serious=False,
        )
        yield from _make(place.root, options, findings)


CORPUS = Synthetic()


def _speaker_name(place: int) -> str:
    return f"s{place + 1:02d}"


def _claim(root: Path, options: SyntheticOptions) -> None:
    """Write down what the folder is for, or check that it is for the same."""
    stamp: dict[str, Any] = {"corpus": "synthetic", "version": VERSION, **options.model_dump()}
    path = root / STAMP_NAME
    if path.is_file():
        found = read_json(path)
        if found != stamp:
            raise CorpusError(
                f"{root} holds a synthetic corpus made otherwise ({shorten(found, 120)}); "
                "choose another folder or the same options"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise CorpusError(f"{root} is not empty; the synthetic corpus needs a folder of its own")
    elif not root.exists() or root.is_dir():
        write_json(path, stamp)


def _make(root: Path, options: SyntheticOptions, findings: Findings) -> Iterator[Utterance | None]:
    sentences = Sentences(np.random.default_rng([options.seed, 0]))
    for place in range(options.speakers):
        speaker = _cast(place, np.random.default_rng([options.seed, 1, place]))
        for number, emotion in enumerate(EMOTIONS):
            for take, text in enumerate(sentences.deal(emotion, options.per_emotion)):
                name = f"{speaker.name}_{emotion}_{take + 1:02d}"
                audio = f"{speaker.name}/{name}.wav"
                if not (root / audio).is_file():
                    draw = np.random.default_rng([options.seed, 2, place, number, take])
                    write_wav(root / audio, _record(text, emotion, speaker, draw), SAMPLE_RATE)
                yield findings.utterance(
                    name,
                    id=name,
                    corpus="synthetic",
                    audio=audio,
                    text=text,
                    emotion=emotion,
                    speaker=speaker.name,
                    gender=speaker.gender,
                    session=speaker.session,
                    language="en",
                    extra={"native_emotion": emotion, "synthetic": True, "seed": options.seed},
                )


def _cast(place: int, draw: np.random.Generator) -> _Speaker:
    """Draw a speaker: women speak about an octave higher, with a shorter vocal tract."""
    female = place % 2 == 0
    low, high, tract = (175.0, 235.0, 1.14) if female else (92.0, 135.0, 0.98)
    voice = Voice(
        pitch=draw.uniform(low, high),
        tract=tract * draw.uniform(0.95, 1.05),
        tilt=draw.uniform(0.45, 0.62),
        breath=draw.uniform(0.01, 0.06),
        rate=draw.uniform(0.92, 1.08),
    )
    return _Speaker(
        name=_speaker_name(place),
        gender="female" if female else "male",
        session=f"{place // 2 + 1}",
        voice=voice,
        vivid=draw.uniform(0.8, 1.2),
        noise=draw.uniform(0.001, 0.003),
    )


def _manner(emotion: str, vivid: float, draw: np.random.Generator) -> Manner:
    """Draw how an utterance is said: between neutral and beyond the prototype, with spread."""
    strength = vivid * draw.uniform(0.85, 1.2)
    rest, full = vars(PROTOTYPES["neutral"]), vars(PROTOTYPES[emotion])
    values = {
        name: rest[name]
        + strength * (full[name] - rest[name])
        + spread * float(draw.standard_normal())
        for name, spread in vars(SPREAD).items()
    }
    values["jitter"] = max(values["jitter"], 0.1)
    values["rate"] = min(max(values["rate"], 0.7), 1.45)
    values["attack"] = min(max(values["attack"], 0.0), 1.0)
    return Manner(**values)


def _record(text: str, emotion: str, speaker: _Speaker, draw: np.random.Generator) -> FloatArray:
    """Say a sentence in the speaker's room, at a distance that varies a little."""
    dry = speak(text, speaker.voice, _manner(emotion, speaker.vivid, draw), draw)
    noise = lfilter([1.0], [1.0, -0.9], draw.standard_normal(len(dry)))
    gain = 10 ** (draw.normal(0.0, 1.5) / 20)
    wet = gain * dry + speaker.noise * noise / np.std(noise)
    return np.asarray(np.clip(wet, -0.99, 0.99), dtype=np.float32)
