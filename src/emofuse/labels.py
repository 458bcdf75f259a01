"""Label schemes: class names in order, merges, drops and the ranges of valence, arousal, dominance.

A corpus says what its annotators said (``excitement``); a scheme says what a model learns
(``happiness``). Labels are names everywhere; the integer of a class is its place in the scheme
that travels with the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from emofuse.errors import LabelError, OptionError, nearest_hint, shorten
from emofuse.options import Options, load_yaml

__all__ = ["ALIASES", "SCHEMES", "VOCABULARY", "LabelScheme", "canonical", "get_scheme"]

VOCABULARY = (
    "anger",
    "boredom",
    "calm",
    "contempt",
    "disgust",
    "excitement",
    "fear",
    "frustration",
    "happiness",
    "neutral",
    "other",
    "sadness",
    "surprise",
    "unknown",
)
"""The emotion words that corpus readers write; ``unknown`` = annotators did not agree."""

ALIASES: Mapping[str, str] = {
    "ang": "anger",
    "angry": "anger",
    "bored": "boredom",
    "bor": "boredom",
    "dis": "disgust",
    "disgusted": "disgust",
    "exc": "excitement",
    "excited": "excitement",
    "fea": "fear",
    "fearful": "fear",
    "fru": "frustration",
    "frustrated": "frustration",
    "hap": "happiness",
    "happy": "happiness",
    "joy": "happiness",
    "neu": "neutral",
    "oth": "other",
    "sad": "sadness",
    "sur": "surprise",
    "surprised": "surprise",
    "xxx": "unknown",
}
"""Other spellings in use, and the word of the vocabulary each stands for."""


def canonical(label: str) -> str:
    """Bring a label to its word in the vocabulary; an unknown word comes back in lower case.

    >>> canonical("Angry"), canonical("hap"), canonical("Nostalgia")
    ('anger', 'happiness', 'nostalgia')
    """
    word = label.strip().lower()
    return ALIASES.get(word, word)


class LabelScheme(Options):
    """What a model learns: classes in order, and what becomes of every other label.

    Attributes:
        name: what to call it.
        classes: class names; the place in this tuple is the integer of the class.
        merges: label -> class it is counted as (``excitement: happiness``).
        drops: labels left out on purpose.
        vad: lowest and highest value of ``valence``, ``arousal`` and ``dominance``.

    >>> scheme = get_scheme("basic4")
    >>> scheme.classes
    ('anger', 'happiness', 'neutral', 'sadness')
    >>> scheme.map("excited"), scheme.map("fear"), scheme.index("sadness")
    ('happiness', None, 3)
    """

    name: str = Field(min_length=1, max_length=60)
    classes: tuple[str, ...] = Field(min_length=2, max_length=200)
    merges: dict[str, str] = Field(default_factory=dict)
    drops: tuple[str, ...] = ()
    vad: dict[str, tuple[float, float]] = Field(
        default_factory=lambda: {
            "valence": (1.0, 5.0),
            "arousal": (1.0, 5.0),
            "dominance": (1.0, 5.0),
        }
    )

    @field_validator("classes", "drops", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        if not all(isinstance(word, str) and word.strip() for word in value):
            raise ValueError("every label must be a text that is not empty")
        return tuple(canonical(word) for word in value)

    @field_validator("merges", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if not all(isinstance(part, str) for pair in value.items() for part in pair):
            raise ValueError("a merge is label: class, both texts")
        return {canonical(label): canonical(target) for label, target in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        doubles = [name for name, count in Counter(self.classes).items() if count > 1]
        if doubles:
            raise ValueError(f"class {doubles[0]!r} is listed twice")
        for label, target in self.merges.items():
            if target not in self.classes:
                hint = nearest_hint(target, self.classes)
                raise ValueError(f"{label!r} is merged into {target!r}, which is no class; {hint}")
        for label in (*self.merges, *self.drops):
            if label in self.classes:
                raise ValueError(f"{label!r} is a class and also merged or dropped")
        both = sorted(set(self.merges) & set(self.drops))
        if both:
            raise ValueError(f"{both[0]!r} is merged and also dropped")
        for dimension, (low, high) in self.vad.items():
            if dimension not in ("valence", "arousal", "dominance") or not low < high:
                raise ValueError(
                    f"vad {dimension!r}: [{low}, {high}] is not a range of "
                    "valence, arousal or dominance"
                )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a scheme of one's own from YAML (keys: the attributes above)."""
        return cls.parse(load_yaml(path), str(path))

    def map(self, label: str) -> str | None:
        """Give the class of a label, or None where the scheme drops it.

        Raises:
            LabelError: the scheme neither names, merges nor drops the label.
        """
        word = canonical(label)
        if word in self.classes:
            return word
        if word in self.merges:
            return self.merges[word]
        if word in self.drops:
            return None
        raise LabelError(self._unmapped({word: 1}))

    def map_all(self, labels: Iterable[str]) -> list[str | None]:
        """Map many labels at once (see `map`).

        Raises:
            LabelError: some labels are not in the scheme; each is named with its count.
        """
        words = [canonical(label) for label in labels]
        known = {*self.classes, *self.merges, *self.drops}
        unmapped = Counter(word for word in words if word not in known)
        if unmapped:
            raise LabelError(self._unmapped(unmapped))
        return [self.map(word) for word in words]

    def index(self, name: str) -> int:
        """Give the integer of a class.

        Raises:
            LabelError: there is no such class.
        """
        if name not in self.classes:
            raise LabelError(f"no class {name!r} in {self.name}; legal: {', '.join(self.classes)}")
        return self.classes.index(name)

    def _unmapped(self, counts: Mapping[str, int]) -> str:
        found = ", ".join(f"{shorten(word, 40)} x {count}" for word, count in counts.items())
        return (
            f"scheme {self.name!r} has no place for {found}; add each to classes, merges or drops "
            f"(classes: {', '.join(self.classes)})"
        )


def _scheme(name: str, classes: str, **merges: str) -> LabelScheme:
    kept = {*classes.split(), *merges}
    drops = tuple(word for word in VOCABULARY if word not in kept)
    return LabelScheme(name=name, classes=tuple(classes.split()), merges=merges, drops=drops)


SCHEMES: Mapping[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        _scheme("basic4", "anger happiness neutral sadness", excitement="happiness"),
        _scheme("basic4-hap", "anger happiness neutral sadness"),
        _scheme("esd5", "anger happiness neutral sadness surprise"),
        _scheme("iemocap5", "happiness sadness neutral anger frustration", excitement="happiness"),
        _scheme("iemocap6", "happiness sadness neutral anger excitement frustration"),
        _scheme("cremad6", "anger disgust fear happiness neutral sadness"),
        _scheme("nemo6", "anger fear happiness neutral sadness surprise"),
        _scheme("ekman7", "anger disgust fear happiness neutral sadness surprise"),
        _scheme("emodb7", "anger boredom disgust fear happiness neutral sadness"),
        _scheme("ravdess8", "anger calm disgust fear happiness neutral sadness surprise"),
    )
}
"""The built-in schemes, by name; each drops the rest of the vocabulary on purpose."""


def get_scheme(name: str) -> LabelScheme:
    """Give a built-in scheme by name, or one's own by the path of a YAML file.

    Raises:
        OptionError: neither a built-in name nor a YAML file.
    """
    if name in SCHEMES:
        return SCHEMES[name]
    if name.endswith((".yaml", ".yml")):
        return LabelScheme.load(Path(name))
    hint = nearest_hint(name, SCHEMES)
    raise OptionError(f"unknown label scheme {name!r}; {hint}; or the path of a .yaml file")
