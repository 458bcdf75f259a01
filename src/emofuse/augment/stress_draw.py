"""What a stress condition does to one utterance: drawn from a seed, recorded, replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from emofuse.augment.draw import (
    VERSION,
    Clip,
    Codec,
    Gain,
    Noise,
    Reverb,
    Speed,
    Step,
    Talker,
    Telephone,
    Truncate,
    Voices,
    steps_digest,
)
from emofuse.augment.sources import Sources
from emofuse.augment.stress import ANY_FILE, Condition, StressOptions
from emofuse.augment.words import Edit, apply_edits, draw_edits, word_list
from emofuse.errors import OptionError, nearest_hint
from emofuse.manifest import Modality, Utterance
from emofuse.options import Options

__all__ = ["StressDraw", "Surroundings", "draw_stress"]

BIGGEST_SEED = 1 << 32


class StressDraw(Options):
    """All that was drawn for one utterance under one condition.

    Attributes:
        utterance, fold, condition, seed: what the draws come from.
        steps: changes of the waveform, in order.
        edits: errors in its transcript.
        text: another utterance's transcript in place of its own.
        text_of: id of that utterance.
        hidden: modalities that are taken away.
        version: of the transforms.
    """

    utterance: str
    fold: str
    condition: str
    seed: int
    steps: tuple[Step, ...] = ()
    edits: tuple[Edit, ...] = ()
    text: str | None = None
    text_of: str | None = None
    hidden: tuple[Modality, ...] = ()
    version: int = VERSION

    def audio_digest(self) -> str:
        """Name what becomes of the waveform: equal digests give equal samples."""
        return steps_digest(self.steps)

    def read(self, text: str | None) -> str | None:
        """Give the transcript as it is under the condition."""
        if self.text is not None:
            return self.text
        return None if text is None else apply_edits(text, self.edits)


@dataclass(frozen=True)
class Surroundings:
    """What draws are made from, the same for every condition of a fold.

    Attributes:
        options: the stress.
        sources: folders of noises, responses and voices.
        fold: name of the fold.
        voices: utterances of its train part, for babble and for the words that others are
            confused with.
        others: utterances whose transcripts may be swapped in.
        words: the different words of their transcripts.
    """

    options: StressOptions
    sources: Sources
    fold: str
    voices: Sequence[Utterance] = ()
    others: Sequence[Utterance] = ()
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        texts = [u.text for u in (*self.voices, *self.others) if u.text]
        object.__setattr__(self, "words", word_list(texts))


def draw_stress(condition: Condition, utterance: Utterance, around: Surroundings) -> StressDraw:
    """Draw what a condition does to an utterance.

    Draws come from seed, utterance and kind of condition, not from its level: at 20 dB and at 0 dB
    an utterance has the same noise from the same place on.

    Raises:
        OptionError: a noise that the folder does not have, or no voices for a babble.
        MediaError: a folder without audio.
    """
    random = _random(around.options.seed, utterance.id, condition.family)
    record = StressDraw(
        utterance=utterance.id,
        fold=around.fold,
        condition=condition.label,
        seed=around.options.seed,
    )
    if condition.group == "missing":
        return record.model_copy(update={"hidden": (condition.modality,)})
    if condition.group == "swap":
        return record.model_copy(update=_swap(utterance, around, random))
    if condition.group == "transcript":
        rate = condition.level or 0.0
        edits = draw_edits(utterance.text or "", rate, around.words, random)
        return record.model_copy(update={"edits": edits})
    return record.model_copy(
        update={"steps": (_STEPS[condition.group](condition, around, random),)}
    )


def _random(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8])])


def _swap(
    utterance: Utterance, around: Surroundings, random: np.random.Generator
) -> dict[str, str | None]:
    """Choose another utterance that says something else."""
    pool = [u for u in around.others if u.text and u.text.strip() and u.text != utterance.text]
    if not pool or not utterance.text:
        return {}
    other = pool[int(random.integers(len(pool)))]
    return {"text": other.text, "text_of": other.id}


def _noise(condition: Condition, around: Surroundings, random: np.random.Generator) -> Step:
    options = around.options.noise
    snr, by = float(condition.level or 0.0), options.level
    if condition.kind == "babble":
        talkers = _talkers(around, random)
        return Voices(talkers=talkers, snr=snr, by=by)
    seed, offset = int(random.integers(BIGGEST_SEED)), float(random.random())
    if options.offset == "start":
        offset = 0.0
    colour: Literal["white", "pink"] | None = None
    if condition.kind in ("white", "pink"):
        colour = "white" if condition.kind == "white" else "pink"
        return Noise(colour=colour, snr=snr, seed=seed, by=by)
    names = _files(condition.kind, around.sources.noises)
    name = names[seed % len(names)]
    digest = around.sources.digest("noise", name)
    return Noise(colour="file", snr=snr, file=name, sha256=digest, offset=offset, by=by)


def _files(kind: str, names: Sequence[str]) -> list[str]:
    """Files of a kind: all, those in a folder of that name, or one file of that name."""
    if kind == ANY_FILE:
        return list(names)
    paths = [PurePosixPath(name) for name in names]
    found = [str(path) for path in paths if kind in (*path.parent.parts, path.stem)]
    if not found:
        legal = {path.parent.name or path.stem for path in paths} | {ANY_FILE}
        raise OptionError(f"noise.folder has no {kind!r}; {nearest_hint(kind, legal)}")
    return found


def _talkers(around: Surroundings, random: np.random.Generator) -> tuple[Talker, ...]:
    """Draw utterances of the train part, of different speakers as long as there are any."""
    pool = [u for u in around.voices if u.audio is not None]
    if not pool:
        raise OptionError("noise babble needs a train part with audio; take noise.types without it")
    order = [pool[int(place)] for place in random.permutation(len(pool))]
    offsets = random.random(around.options.noise.talkers)
    chosen: list[Utterance] = []
    while len(chosen) < min(len(offsets), len(pool)):
        taken = {u.id for u in chosen}
        heard: set[str | None] = set()
        for u in order:
            if len(chosen) < len(offsets) and u.id not in taken and u.speaker not in heard:
                chosen.append(u)
                heard.add(u.speaker)
    return tuple(
        Talker(
            file=str(u.audio),
            sha256=around.sources.digest("voices", str(u.audio)),
            start=u.start,
            end=u.end,
            offset=0.0 if around.options.noise.offset == "start" else float(offset),
        )
        for u, offset in zip(chosen, offsets, strict=False)
    )


def _reverb(condition: Condition, around: Surroundings, random: np.random.Generator) -> Step:
    seed = int(random.integers(BIGGEST_SEED))
    if condition.level is not None:
        return Reverb(rt60=condition.level, seed=seed)
    name = around.sources.responses[seed % len(around.sources.responses)]
    return Reverb(file=name, sha256=around.sources.digest("responses", name))


_LAWS: Mapping[str, Literal["mu", "a", "linear"]] = {"mu": "mu", "a": "a", "linear": "linear"}

_STEPS: Mapping[str, Callable[[Condition, Surroundings, np.random.Generator], Step]] = {
    "noise": _noise,
    "reverb": _reverb,
    "telephone": lambda c, _, __: Telephone(law=_LAWS[c.kind]),
    "codec": lambda c, _, __: Codec(
        name="opus" if c.kind == "opus" else "mp3", kbits=float(c.level or 0.0)
    ),
    "clipping": lambda c, _, __: Clip(decibels=float(c.level or 0.0)),
    "gain": lambda c, _, __: Gain(decibels=float(c.level or 0.0)),
    "speed": lambda c, _, __: Speed(rate=float(c.level or 1.0)),
    "truncation": lambda c, _, __: Truncate(keep=float(c.level or 1.0)),
}
