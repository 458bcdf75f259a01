"""Policies: which style an item gets, drawn from (seed, utterance, view)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from emofuse.augment.draw import Draw, Mask, Step
from emofuse.augment.sources import Sources
from emofuse.augment.style_draw import BIGGEST_SEED, draw_steps
from emofuse.augment.styles import BASIC, CODE, CODE_COMMON, DOCUMENTED, MaskOptions, Style
from emofuse.errors import OptionError, ProtocolError
from emofuse.labels import canonical
from emofuse.options import Options

__all__ = ["AugmentOptions", "draw_view"]

MOST_VIEWS = 64


class AugmentOptions(Options):
    """How training items are augmented. Test and dev items, and inference, never are.

    Attributes:
        policy: ``off``; ``basic``, one mild style for all; ``random``, any style of ``class``
            whatever the label; ``class``, by the item's label, as the Copenhagen study documents;
            ``class-code``, by the label, as its code does. The last two leave traces by which the
            label can be read: compare them with ``random``, and test on clean items.
        p: probability that a training item is replaced by one of its views in an epoch.
        views: changed copies made of each training item.
        balanced: make more copies of items of rarer classes (see `views_of`), each drawn as ever; a
            label decides how many, never how.
        seed: of every draw of a view.
        styles: class -> style, instead of those of ``class``.
        specaugment: hide frames and bands of spectrograms, drawn anew for every batch.
        masks: how (``specaugment``).
        noise: folder of noises, for ``environment``.
        responses: folder of impulse responses, for every room.
        word_dropout: probability that a word is left out of a view's text (never all of them).
    """

    policy: Literal["off", "basic", "random", "class", "class-code"] = "off"
    p: float = Field(default=0.5, ge=0.0, le=1.0)
    views: int = Field(default=2, ge=1, le=MOST_VIEWS)
    balanced: bool = False
    seed: int = Field(default=0, ge=0, lt=BIGGEST_SEED)
    styles: dict[str, Style] | None = None
    specaugment: bool = False
    masks: MaskOptions = MaskOptions()
    noise: str | None = None
    responses: str | None = None
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @field_validator("policy", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare `off` as false

    @field_validator("styles", mode="after")
    @classmethod
    def _names(cls, value: dict[str, Style] | None) -> dict[str, Style] | None:
        return None if value is None else {canonical(name): one for name, one in value.items()}

    @model_validator(mode="after")
    def _read(self) -> Self:
        if self.styles is not None and self.policy not in ("random", "class"):
            raise ValueError(f"policy {self.policy!r} does not read 'styles'")
        if self.styles is not None and not self.styles:
            raise ValueError("styles is empty; leave it out, or name a style for a class")
        if self.balanced and not self.makes_views:
            raise ValueError("balanced is about views: give a policy or word_dropout")
        return self

    @property
    def makes_views(self) -> bool:
        """Whether training items get changed copies."""
        return self.policy != "off" or self.word_dropout > 0

    def views_of(self, count: int, most: int) -> int:
        """Give the number of views of each item of a class.

        With ``balanced`` every class gets about as many views as the largest one, at most 64 an
        item.

        Args:
            count: items of the class.
            most: items of the largest class.

        >>> AugmentOptions(policy="basic", views=2, balanced=True).views_of(10, 35)
        7
        """
        if not self.balanced:
            return self.views
        return min(MOST_VIEWS, round(self.views * most / max(count, 1)))

    @property
    def reads_labels(self) -> bool:
        """Whether what is done to an item depends on its label."""
        return self.policy in ("class", "class-code")

    def sources(self) -> Sources:
        """Give the folders."""
        return Sources(self.noise, self.responses)

    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers should know."""
        if not self.reads_labels:
            return ()
        note = (
            f"augment.policy={self.policy} changes training items by their label, so that a model "
            "may learn the change and not the emotion; compare with augment.policy=random"
        )
        return (note,)


def draw_view(
    options: AugmentOptions,
    utterance: str,
    view: int,
    label: str | None,
    *,
    text: str | None = None,
    part: str = "train",
    sources: Sources | None = None,
) -> Draw:
    """Draw what one view of a training item is.

    Args:
        options: the policy.
        utterance: its id.
        view: number of the view, from 0.
        label: its class; read by ``class`` and ``class-code`` alone.
        text: its text, for ``word_dropout``.
        part: which part of the fold it is in.
        sources: folders, where already listed.

    Returns:
        The record; the same arguments give the same one.

    Raises:
        ProtocolError: an item of any part but ``train``.
        OptionError: the policy is off, or reads labels and there is none.
        MediaError: a folder holds no audio.
    """
    if part != "train":
        raise ProtocolError(f"{utterance!r} is in {part}: augmentation is for training items alone")
    if not options.makes_views:
        raise OptionError("augment.policy is off: there is nothing to draw")
    digest = hashlib.sha256(utterance.encode("utf-8", "surrogatepass")).digest()
    random = np.random.default_rng([options.seed, int.from_bytes(digest[:8]), view])
    name, styles = _choose(options, label, random)
    folders = options.sources() if sources is None else sources
    steps: list[Step] = []
    masks: list[Mask] = []
    for style in styles:
        steps += draw_steps(style, random, folders)
        masks += style.masks.draw(random) if style.masks is not None else ()
    return Draw(
        utterance=utterance,
        view=view,
        seed=options.seed,
        policy=options.policy,
        style=name,
        steps=tuple(steps),
        masks=tuple(masks),
        words=_words(text, options.word_dropout, random),
    )


def _choose(
    options: AugmentOptions, label: str | None, random: np.random.Generator
) -> tuple[str, tuple[Style, ...]]:
    """Give the name of a style and what it is made of; a class without a style gets nothing."""
    if options.policy == "off":
        return "words", ()
    if options.policy == "basic":
        return "basic", (BASIC,)
    styles: Mapping[str, Style] = options.styles or DOCUMENTED
    if options.policy == "random":
        names = sorted(styles)
        name = names[int(random.integers(len(names)))]
        return name, (styles[name],)
    if label is None:
        raise OptionError(f"augment.policy={options.policy} needs a label for every training item")
    name = canonical(label)
    if options.policy == "class-code":
        return name, (CODE_COMMON, *([CODE[name]] if name in CODE else []))
    return name, (styles[name],) if name in styles else ()


def _words(text: str | None, rate: float, random: np.random.Generator) -> tuple[int, ...]:
    count = len(text.split()) if text else 0
    if not rate or not count:
        return ()
    draws = random.random(count)
    kept = int(draws.argmax())  # one word stays
    return tuple(place for place in range(count) if draws[place] < rate and place != kept)
