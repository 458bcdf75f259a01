"""A source-filter voice: a glottal pulse train through the resonances of a vocal tract.

No recording is used and none is imitated: pitch, loudness, rate and voice quality follow a
`Manner`, the vowels follow the spelling of the sentence. It sounds like a toy, which it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from emofuse.media.audio import SAMPLE_RATE

__all__ = ["Manner", "Syllable", "Voice", "speak", "spell"]

FloatArray = NDArray[np.float32]
Track = NDArray[np.float64]

STEP = 0.005  # seconds between two points of a control track
SILENCE = 0.08  # seconds before the first and after the last syllable
SYLLABLE = 0.18  # seconds, at rate 1
BANDWIDTHS = (60.0, 90.0, 120.0, 180.0)  # hertz, of the four resonances

# Resonances of a grown man's vowels in hertz (after Peterson and Barney, 1952).
VOWELS: Mapping[str, tuple[float, float, float]] = {
    "ee": (270.0, 2290.0, 3010.0),
    "i": (390.0, 1990.0, 2550.0),
    "e": (530.0, 1840.0, 2480.0),
    "a": (660.0, 1720.0, 2410.0),
    "ah": (730.0, 1090.0, 2440.0),
    "o": (570.0, 840.0, 2410.0),
    "oo": (300.0, 870.0, 2240.0),
    "u": (640.0, 1190.0, 2390.0),
    "er": (490.0, 1350.0, 1690.0),
}
FOURTH = 3500.0
SPELLINGS: tuple[tuple[str, str], ...] = (
    ("[ei]r|ur|or", "er"),
    ("ee|ea|ie|ei|y", "ee"),
    ("oo|ou|ew|ue|ui", "oo"),
    ("ai|ay|ey", "e"),
    ("au|aw|ar", "ah"),
    ("oa|ow|oi|oy|oe", "o"),
    ("i", "i"),
    ("e", "e"),
    ("a", "a"),
    ("o", "o"),
    ("u", "u"),
)
_VOWEL = re.compile("|".join(f"({pattern})" for pattern, _ in SPELLINGS))
_FRICATIVES = "szfxhc"
_STOPS = "ptkbdgq"


@dataclass(frozen=True)
class Voice:
    """Who speaks.

    Attributes:
        pitch: resting fundamental frequency, hertz.
        tract: factor on all resonances; above 1 for a shorter vocal tract.
        tilt: pole of the low-pass that darkens the source, in [0, 1).
        breath: share of breath noise in the voice.
        rate: factor on the speed.
    """

    pitch: float
    tract: float
    tilt: float
    breath: float
    rate: float


@dataclass(frozen=True)
class Manner:
    """How something is said, relative to the voice at rest.

    Attributes:
        pitch: semitones above rest.
        span: semitones between the accents and the valleys of the melody.
        slope: semitones from the first syllable to the last.
        rate: factor on the speed.
        level: decibels above rest.
        tilt: added to the voice's tilt; below 0 is brighter and more pressed.
        breath: added share of breath noise.
        jitter: irregularity of the pitch periods, per cent.
        attack: how suddenly a syllable starts, in [0, 1].
    """

    pitch: float
    span: float
    slope: float
    rate: float
    level: float
    tilt: float
    breath: float
    jitter: float
    attack: float


@dataclass(frozen=True)
class Syllable:
    """A vowel and the consonant before it.

    Attributes:
        vowel: key of the vowel table.
        onset: ``fricative``, ``stop`` or ``soft``.
    """

    vowel: str
    onset: str


@dataclass(frozen=True)
class _Score:
    """Control tracks of one utterance, one point every `STEP` seconds.

    Attributes:
        pitch: hertz.
        loud: amplitude of the voice.
        hiss: amplitude of the consonants' noise.
        vowels: vowel -> its share; the shares sum to 1.
    """

    pitch: Track
    loud: Track
    hiss: Track
    vowels: Mapping[str, Track]


def spell(text: str) -> tuple[Syllable, ...]:
    """Guess the syllables of an English sentence from its letters.

    >>> [syllable.vowel for syllable in spell("See the moon")]
    ['ee', 'e', 'oo']
    """
    return tuple(
        syllable for word in re.findall(r"[a-z]+", text.lower()) for syllable in _spell_word(word)
    )


def _spell_word(word: str) -> list[Syllable]:
    body = word[:-1] if len(word) > 3 and word.endswith("e") and word[-2] not in "aeiou" else word
    found = list(_VOWEL.finditer(body))
    result = []
    end = 0
    for match in found:
        vowel = SPELLINGS[(match.lastindex or 1) - 1][1]
        result.append(Syllable(vowel, _onset(body[end : match.start()])))
        end = match.end()
    return result


def _onset(letters: str) -> str:
    if any(letter in _FRICATIVES for letter in letters):
        return "fricative"
    return "stop" if any(letter in _STOPS for letter in letters) else "soft"


def speak(text: str, voice: Voice, manner: Manner, draw: np.random.Generator) -> FloatArray:
    """Say a sentence.

    Args:
        text: English; a sentence without vowels is a hum.
        voice: who speaks.
        manner: how.
        draw: source of every random choice; the same state gives the same samples.

    Returns:
        ``(samples,)`` at 16 kHz; the level of a voice at rest is about 0.03 (root mean square).
    """
    syllables = spell(text) or (Syllable("u", "soft"),)
    score = _compose(syllables, voice, manner, draw)
    steps = len(score.pitch)
    times = np.arange(int(steps * STEP * SAMPLE_RATE)) / (STEP * SAMPLE_RATE)

    def at_rate(track: Track) -> Track:
        return np.interp(times, np.arange(steps), track)

    tilt = float(np.clip(voice.tilt + manner.tilt, 0.05, 0.97))
    breath = max(voice.breath + manner.breath, 0.0)
    source = _pulses(at_rate(score.pitch), tilt)
    source = source + breath * draw.standard_normal(len(source)) * np.std(source)
    voiced = np.zeros(len(source))
    for vowel, share in score.vowels.items():
        voiced += at_rate(share) * sosfilt(_resonances(vowel, voice.tract), source)
    voiced *= at_rate(score.loud) / max(float(np.std(voiced)), 1e-9)
    hiss = sosfilt(_HISS, draw.standard_normal(len(source))) * at_rate(score.hiss)
    gain = 0.045 * 10 ** (manner.level / 20)
    return np.asarray(gain * (voiced + 0.5 * hiss), dtype=np.float32)


_HISS = butter(2, (2500, 7000), btype="bandpass", fs=SAMPLE_RATE, output="sos")


def _compose(
    syllables: tuple[Syllable, ...], voice: Voice, manner: Manner, draw: np.random.Generator
) -> _Score:
    count = len(syllables)
    lengths = SYLLABLE / (voice.rate * manner.rate) * draw.uniform(0.85, 1.15, count)
    lengths[-1] *= 1.35  # the last syllable is drawn out
    ends = SILENCE + np.cumsum(lengths)
    starts = ends - lengths
    times = np.arange(0.0, ends[-1] + SILENCE, STEP)
    place = np.clip(np.searchsorted(ends, times), 0, count - 1)
    inside = np.clip((times - starts[place]) / lengths[place], 0.0, 1.0)
    speaking = (times >= SILENCE) & (times <= ends[-1])
    onset = np.array([s.onset for s in syllables])[place]
    closed = np.where(onset == "soft", 0.08, 0.24)
    body = np.clip((inside - closed) / (1 - closed), 0.0, 1.0)
    sharp = 0.5 - 0.42 * manner.attack
    loud = speaking * np.minimum(1.0, body / sharp) * np.minimum(1.0, (1 - body) / 0.35)
    loud = loud + speaking * np.where(onset == "soft", 0.25, 0.0) * (inside < closed)
    hiss = speaking * (onset == "fricative") * np.clip(1 - inside / closed, 0.0, 1.0)
    return _Score(
        pitch=_melody(times, (starts + ends) / 2, voice, manner, draw),
        loud=_smooth(loud, 3),
        hiss=_smooth(hiss, 3),
        vowels=_vowel_shares(syllables, place),
    )


def _melody(
    times: Track, centres: Track, voice: Voice, manner: Manner, draw: np.random.Generator
) -> Track:
    """Pitch in hertz: a slope, an accent or a valley on every syllable, and jitter."""
    count = len(centres)
    accents = np.where(np.arange(count) % 2 == 0, 0.5, -0.5) * draw.uniform(0.5, 1.5, count)
    slope = manner.slope * (np.linspace(0.0, 1.0, count) - 0.5) if count > 1 else np.zeros(1)
    semitones = manner.pitch + slope + manner.span * accents
    track = _smooth(np.interp(times, centres, semitones), 15)
    jitter = 1 + manner.jitter / 100 * draw.standard_normal(len(times))
    return np.clip(voice.pitch * 2 ** (track / 12) * jitter, 50.0, 600.0)


def _vowel_shares(syllables: tuple[Syllable, ...], place: NDArray[np.intp]) -> dict[str, Track]:
    names = np.array([s.vowel for s in syllables])[place]
    return {
        vowel: _smooth((names == vowel).astype(np.float64), 9)
        for vowel in sorted({s.vowel for s in syllables})
    }


def _smooth(track: Track, width: int) -> Track:
    """Moving average of ``width`` points, the ends held."""
    padded = np.pad(track, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _pulses(pitch: Track, tilt: float) -> Track:
    """Flow through the glottis (Rosenberg's pulse), differentiated, darkened by ``tilt``."""
    phase = np.cumsum(pitch / SAMPLE_RATE) % 1.0
    opening, closing = 0.40, 0.16
    rising = 0.5 * (1 - np.cos(np.pi * phase / opening))
    falling = np.cos(0.5 * np.pi * (phase - opening) / closing)
    flow = np.where(phase < opening, rising, np.where(phase < opening + closing, falling, 0.0))
    return np.asarray(lfilter([1 - tilt], [1, -tilt], np.diff(flow, prepend=0.0)))


def _resonances(vowel: str, tract: float) -> Track:
    """Second-order sections of four resonators, each with gain 1 at 0 Hz."""
    frequencies = [min(f * tract, 0.45 * SAMPLE_RATE) for f in (*VOWELS[vowel], FOURTH)]
    sections = []
    for frequency, width in zip(frequencies, BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        a1 = -2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
        a2 = radius**2
        sections.append([1 + a1 + a2, 0.0, 0.0, 1.0, a1, a2])
    return np.array(sections)
