"""What was drawn for one view of one utterance: plain records that can be written and replayed."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field

from emofuse.options import Options
from emofuse.storage import sha256_text

__all__ = [
    "VERSION",
    "Band",
    "Clip",
    "Codec",
    "Colour",
    "Draw",
    "Echo",
    "Gain",
    "Mask",
    "Noise",
    "Pitch",
    "Reverb",
    "Speed",
    "Step",
    "Stretch",
    "Talker",
    "Telephone",
    "Truncate",
    "Voices",
    "steps_digest",
]

VERSION = 1  # raised when the same record gives other samples

Colour = Literal["white", "pink", "gaussian", "babble", "file"]


class Stretch(Options):
    """Other tempo, same pitch.

    Attributes:
        rate: above 1 is faster and shorter.
    """

    kind: Literal["stretch"] = "stretch"
    rate: float = Field(gt=0.1, lt=10.0)


class Pitch(Options):
    """Other pitch, same tempo.

    Attributes:
        semitones: above 0 is higher.
    """

    kind: Literal["pitch"] = "pitch"
    semitones: float = Field(ge=-24.0, le=24.0)


class Speed(Options):
    """Played faster or slower: tempo and pitch together.

    Attributes:
        rate: above 1 is faster, shorter and higher.
    """

    kind: Literal["speed"] = "speed"
    rate: float = Field(gt=0.1, lt=10.0)


class Noise(Options):
    """Noise laid over.

    Attributes:
        colour: ``white`` (even over [-1, 1]), ``gaussian``, ``pink`` (power falls as 1 / f),
            ``babble`` (voice-like murmur), or ``file``.
        snr: decibels between the signal's power and the noise's; None where ``level`` is given.
        level: root mean square of the noise, whatever the signal.
        seed: of a generated noise.
        file: path below the noise folder, with ``/``.
        sha256: hash of the file, its first 16 hexadecimal digits.
        offset: where in the file it starts, a share of its length; a short file is looped.
        by: the signal's power is that of the ``whole`` utterance, or that of its ``active`` speech
            (see `augment.activity`).
    """

    kind: Literal["noise"] = "noise"
    colour: Colour
    snr: float | None = Field(default=None, ge=-60.0, le=120.0)
    level: float | None = Field(default=None, gt=0.0, le=1.0)
    seed: int = Field(default=0, ge=0)
    file: str | None = None
    sha256: str | None = None
    offset: float = Field(default=0.0, ge=0.0, lt=1.0)
    by: Literal["whole", "active"] = "whole"


class Talker(Options):
    """One voice of a babble.

    Attributes:
        file: path below the folder of voices, with ``/``.
        sha256: hash of the file, its first 16 hexadecimal digits.
        start, end: seconds, where the utterance is a slice of its file.
        offset: where in the utterance it starts, a share of its length; it is looped.
    """

    file: str
    sha256: str
    start: float | None = None
    end: float | None = None
    offset: float = Field(default=0.0, ge=0.0, lt=1.0)


class Voices(Options):
    """Babble of recorded utterances, each voice equally loud, laid over.

    Attributes:
        talkers: the voices.
        snr: decibels between the signal's power and the babble's.
        by: as in `Noise`.
    """

    kind: Literal["voices"] = "voices"
    talkers: tuple[Talker, ...] = Field(min_length=1)
    snr: float = Field(ge=-60.0, le=120.0)
    by: Literal["whole", "active"] = "active"


class Reverb(Options):
    """A room.

    Attributes:
        rt60: seconds in which a simulated room's sound falls by 60 dB; None with a file.
        seed: of a simulated room.
        file, sha256: an impulse response, as in `Noise`.
    """

    kind: Literal["reverb"] = "reverb"
    rt60: float | None = Field(default=None, gt=0.0, le=20.0)
    seed: int = Field(default=0, ge=0)
    file: str | None = None
    sha256: str | None = None


class Gain(Options):
    """Louder or softer.

    Attributes:
        decibels: above 0 is louder.
    """

    kind: Literal["gain"] = "gain"
    decibels: float = Field(ge=-60.0, le=60.0)


class Echo(Options):
    """One repetition.

    Attributes:
        seconds: how much later.
        gain: how loud, as a factor.
    """

    kind: Literal["echo"] = "echo"
    seconds: float = Field(gt=0.0, le=10.0)
    gain: float = Field(gt=0.0, le=1.0)


class Band(Options):
    """Some frequencies made louder or softer.

    Attributes:
        low, high: hertz.
        gain: factor on their amplitude.
    """

    kind: Literal["band"] = "band"
    low: float = Field(ge=0.0)
    high: float = Field(gt=0.0)
    gain: float = Field(ge=0.0, le=100.0)


class Telephone(Options):
    """A telephone line: band-pass, 8 kHz, and the 8-bit companding of ITU-T G.711.

    Attributes:
        law: ``mu`` (North America, Japan), ``a`` (elsewhere), or ``linear``: the band alone.
        low, high: hertz.
    """

    kind: Literal["telephone"] = "telephone"
    law: Literal["mu", "a", "linear"] = "mu"
    low: float = Field(default=300.0, gt=0.0)
    high: float = Field(default=3400.0, gt=0.0, lt=4000.0)


class Codec(Options):
    """Coded and decoded with loss, at 16 kHz.

    Attributes:
        name: ``opus`` or ``mp3``.
        kbits: thousand bits a second; MP3 knows 8, 16, 24, 32, 40, 48, 56, 64, 80, 96 ... 160.
    """

    kind: Literal["codec"] = "codec"
    name: Literal["opus", "mp3"]
    kbits: float = Field(ge=6.0, le=256.0)


class Clip(Options):
    """Overdriven: everything above a level is cut flat.

    Attributes:
        decibels: how far below the highest peak that level lies.
    """

    kind: Literal["clip"] = "clip"
    decibels: float = Field(ge=0.0, le=60.0)


class Truncate(Options):
    """Only a part of it is there.

    Attributes:
        keep: share of the length.
        place: where the part lies, from 0 (the beginning) to 1 (the end).
    """

    kind: Literal["truncate"] = "truncate"
    keep: float = Field(gt=0.0, le=1.0)
    place: float = Field(default=0.0, ge=0.0, le=1.0)


Step = Annotated[
    Stretch
    | Pitch
    | Speed
    | Noise
    | Voices
    | Reverb
    | Gain
    | Echo
    | Band
    | Telephone
    | Codec
    | Clip
    | Truncate,
    Field(discriminator="kind"),
]


def steps_digest(steps: tuple[Step, ...]) -> str:
    """Name what steps make of a waveform: equal digests give equal samples."""
    plain = [step.model_dump(mode="json") for step in steps]
    for step in plain:
        if step["kind"] == "noise" and step["by"] == "whole":
            del step["by"]  # named as before there was a choice
    return sha256_text(json.dumps([VERSION, plain], sort_keys=True))[:32]


class Mask(Options):
    """Neighbouring frames or bands of a spectrogram to be hidden.

    Attributes:
        axis: ``time`` or ``band``.
        size: how many; frames are cut at a share of the clip.
        place: where, from 0 (the first, or the lowest) to 1 (the last).
        share: largest share of a clip that a mask in time hides.
    """

    axis: Literal["time", "band"]
    size: int = Field(ge=0)
    place: float = Field(ge=0.0, le=1.0)
    share: float = Field(default=0.2, ge=0.0, le=1.0)


class Draw(Options):
    """All that was drawn for one view of one utterance.

    Attributes:
        utterance, view, seed: what the draws come from.
        policy, style: which policy, and which of its styles.
        steps: changes of the waveform, in order.
        masks: masks on its spectrogram.
        words: places of the words left out of its text.
        version: of the transforms.
    """

    utterance: str
    view: int = Field(ge=0)
    seed: int = Field(ge=0)
    policy: str
    style: str
    steps: tuple[Step, ...] = ()
    masks: tuple[Mask, ...] = ()
    words: tuple[int, ...] = ()
    version: int = VERSION

    def audio_digest(self) -> str:
        """Name what becomes of the waveform: equal digests give equal samples."""
        return steps_digest(self.steps)

    def text_digest(self) -> str:
        """Name what becomes of the text."""
        return sha256_text(json.dumps([self.version, list(self.words)]))[:32]
