"""What a model is put through: options, and the conditions that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from emofuse.errors import OptionError, nearest_hint
from emofuse.manifest import Modality
from emofuse.options import Options

__all__ = ["GROUPS", "Condition", "Group", "StressOptions", "choose_groups", "conditions_of"]

Group = Literal[
    "noise",
    "reverb",
    "telephone",
    "codec",
    "clipping",
    "gain",
    "speed",
    "truncation",
    "transcript",
    "missing",
    "swap",
]
GROUPS: tuple[Group, ...] = get_args(Group)
GENERATED = ("white", "pink", "babble")
ANY_FILE = "files"


class NoiseStress(Options):
    """Noise laid over.

    Attributes:
        types: ``white``, ``pink``, ``babble`` (utterances of the train part, of several speakers),
            ``files`` (any file of ``folder``), or the name of a folder or file in ``folder``.
        snr: decibels.
        folder: of noise files.
        level: the signal's power is that of its ``active`` speech (ITU-T P.56), or of the
            ``whole`` utterance.
        talkers: voices of a babble.
        offset: ``random``: a place in the noise drawn for each utterance; ``start``: always its
            first sample.
    """

    types: tuple[str, ...] = GENERATED
    snr: tuple[float, ...] = (20.0, 10.0, 5.0, 0.0)
    folder: str | None = None
    level: Literal["active", "whole"] = "active"
    talkers: int = Field(default=6, ge=1, le=32)
    offset: Literal["random", "start"] = "random"

    @model_validator(mode="after")
    def _folder_given(self) -> Self:
        named = [one for one in self.types if one not in GENERATED]
        if named and self.folder is None:
            legal = ", ".join(GENERATED)
            raise ValueError(f"noise type {named[0]!r} needs noise.folder; without one: {legal}")
        return self


class StressOptions(Options):
    """Everything that decides what a model is put through.

    Attributes:
        groups: kinds of conditions, in the order of the table.
        seed: of every draw.
        noise: see `NoiseStress`.
        rt60: seconds of reverberation of simulated rooms.
        responses: folder of impulse responses: one more condition, in which each utterance is put
            into one of these rooms.
        telephone: companding: ``mu``, ``a``, or ``linear`` (the band alone).
        opus, mp3: thousand bits a second.
        clipping: decibels below the peak at which the signal is cut flat.
        gain: decibels.
        speed: factors on tempo and pitch.
        keep: shares of the utterance that are left, from its beginning.
        words: word error rates.
        missing: modalities that are taken away, one at a time.
    """

    groups: tuple[Group, ...] = GROUPS
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    noise: NoiseStress = NoiseStress()
    rt60: tuple[float, ...] = (0.3, 0.6, 1.0)
    responses: str | None = None
    telephone: tuple[Literal["mu", "a", "linear"], ...] = ("mu", "a")
    opus: tuple[float, ...] = (24.0, 12.0, 6.0)
    mp3: tuple[float, ...] = (64.0, 32.0, 16.0)
    clipping: tuple[float, ...] = (6.0, 12.0, 20.0)
    gain: tuple[float, ...] = (-20.0, -6.0, 6.0, 20.0)
    speed: tuple[float, ...] = (0.8, 0.9, 1.1, 1.25)
    keep: tuple[float, ...] = (0.75, 0.5, 0.25)
    words: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    missing: tuple[Modality, ...] = ("audio", "text", "video")

    @field_validator("words", "keep")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0.0 <= one <= 1.0 for one in value):
            raise ValueError("a share lies between 0 and 1")
        return value


@dataclass(frozen=True)
class Condition:
    """One way to make it hard for a model.

    Attributes:
        group: which group of the options.
        kind: which of its kinds: a noise, a codec, a modality.
        level: how much, in the unit of the group; None where there is no more or less.
        label: for tables: ``noise babble 10 dB``.
        modality: what is changed.
    """

    group: Group
    kind: str
    level: float | None
    label: str
    modality: Modality

    @property
    def family(self) -> str:
        """Conditions of one family differ in level alone, and share their draws."""
        return f"{self.group} {self.kind}".strip()

    @property
    def slug(self) -> str:
        """Name for files."""
        plain = self.label.replace(" -", " minus ")
        safe = "".join(c if c.isalnum() or c in "-." else "-" for c in plain)
        return "-".join(part for part in safe.split("-") if part)


def conditions_of(options: StressOptions) -> tuple[Condition, ...]:
    """Give the conditions, in the order of the options.

    Raises:
        OptionError: two of them are the same.
    """
    found = [one for group in options.groups for one in _MAKERS[group](options)]
    labels = [one.label for one in found]
    doubles = [label for label in labels if labels.count(label) > 1]
    if doubles:
        raise OptionError(f"the stress condition {doubles[0]!r} is listed twice")
    return tuple(found)


def choose_groups(options: StressOptions, text: str) -> StressOptions:
    """Keep the groups that a comma-separated list names; ``all`` keeps every one.

    Raises:
        OptionError: a name that is no group.
    """
    if text == "all":
        return options
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GROUPS:
            hint = nearest_hint(name, GROUPS)
            raise OptionError(f"unknown stress {name!r}; {hint}; or all, or the path of a .yaml")
    kept = tuple(group for group in GROUPS if group in names)
    return options.model_copy(update={"groups": kept})


def _levels(
    group: Group, kind: str, levels: Iterable[float | None], unit: str, modality: Modality = "audio"
) -> list[Condition]:
    found = []
    for level in levels:
        scale = 100.0 if unit == "%" else 1.0
        amount = "" if level is None else f"{scale * level:g}{'' if unit in 'x' else ' '}{unit}"
        label = " ".join(part for part in (group, kind, amount.strip()) if part)
        found.append(Condition(group, kind, level, label, modality))
    return found


def _noise(options: StressOptions) -> list[Condition]:
    kinds: Sequence[str] = options.noise.types
    return [one for kind in kinds for one in _levels("noise", kind, options.noise.snr, "dB")]


def _reverb(options: StressOptions) -> list[Condition]:
    rooms = _levels("reverb", "", options.rt60, "s")
    return rooms if options.responses is None else [*rooms, *_levels("reverb", "rooms", [None], "")]


def _codec(options: StressOptions) -> list[Condition]:
    opus = _levels("codec", "opus", options.opus, "kbit/s")
    return [*opus, *_levels("codec", "mp3", options.mp3, "kbit/s")]


def _telephone(options: StressOptions) -> list[Condition]:
    return [one for law in options.telephone for one in _levels("telephone", law, [None], "")]


def _missing(options: StressOptions) -> list[Condition]:
    return [one for m in options.missing for one in _levels("missing", m, [None], "", m)]


_MAKERS: Mapping[Group, Callable[[StressOptions], list[Condition]]] = {
    "noise": _noise,
    "reverb": _reverb,
    "telephone": _telephone,
    "codec": _codec,
    "clipping": lambda o: _levels("clipping", "", o.clipping, "dB"),
    "gain": lambda o: _levels("gain", "", o.gain, "dB"),
    "speed": lambda o: _levels("speed", "", o.speed, "x"),
    "truncation": lambda o: _levels("truncation", "", o.keep, "%"),
    "transcript": lambda o: _levels("transcript", "", o.words, "%", "text"),
    "missing": _missing,
    "swap": lambda o: _levels("swap", "transcript", [None], "", "text"),
}
