"""Shots: few labelled items of the target, drawn by class and speaker from a seed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from emofuse.errors import OptionError, shorten
from emofuse.manifest import Utterance
from emofuse.protocols.contract import ProtocolOptions
from emofuse.protocols.dev import cut_dev
from emofuse.storage import sha256_text

__all__ = ["ShotCut", "Shots", "cut_shots", "draw_shots"]


@dataclass(frozen=True)
class Shots:
    """How many labelled target items there are.

    Attributes:
        value: items a class, or per cent of each class.
        percent: which of the two.

    >>> str(Shots.parse("10 %")), str(Shots.parse(5)), str(Shots.parse("0%")), Shots.parse(0).none
    ('10%', '5', '0', True)
    """

    value: float
    percent: bool

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read ``0``, ``5``, ``"10%"``.

        Raises:
            OptionError: neither a count nor a percentage up to 100.
        """
        written = str(text).strip() if isinstance(text, int | str) else ""
        number, percent = re.subn(r"\s*%$", "", written)
        pattern = r"\d{1,3}(\.\d{1,4})?" if percent else r"\d{1,7}"
        if isinstance(text, bool) or not re.fullmatch(pattern, number):
            raise OptionError(
                f"shots {shorten(text)}: give a number of items a class (5) or a share of target "
                "train ('10%')"
            )
        value = float(number)
        if percent and value > 100:
            raise OptionError(f"shots {shorten(text)}: a share of target train is 0% to 100%")
        return cls(value, bool(percent) and value > 0)

    @property
    def none(self) -> bool:
        """Whether there are no shots."""
        return self.value == 0

    def count(self, items: int) -> int:
        """Give the number of shots of a class that has so many items; at least one."""
        wanted = round(items * self.value / 100) if self.percent else int(self.value)
        return min(items, max(1, wanted))

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.percent else f"{int(self.value)}"

    @property
    def words(self) -> str:
        """What tables say: ``10 %``, ``5 a class``, ``0``."""
        if self.none:
            return "0"
        return f"{self.value:g} %" if self.percent else f"{int(self.value)} a class"

    @property
    def slug(self) -> str:
        """What folders are called."""
        return str(self).replace("%", "pct")


def draw_shots(
    pool: Sequence[Utterance], shots: Shots, seed: int, where: str = ""
) -> tuple[Utterance, ...]:
    """Draw shots, stratified by class and, within a class, by speaker.

    Each class has an order of its own, drawn from the seed, in which every speaker comes as often
    as the class has items of it; the shots are the first of that order. So the shots of a smaller
    number are among those of a larger one.

    Args:
        pool: target train, labelled.
        shots: how many.
        seed: of the draw.
        where: what the draw is for (a target and fold), which draw differently.

    Returns:
        The shots, by id.
    """
    if shots.none:
        return ()
    classes: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in sorted(pool, key=lambda u: u.id):
        classes[str(utterance.emotion)].append(utterance)
    drawn = [
        utterance
        for name, items in classes.items()
        for utterance in _ordered(items, _generator(seed, where, name))[: shots.count(len(items))]
    ]
    return tuple(sorted(drawn, key=lambda u: u.id))


def _generator(seed: int, *names: str) -> np.random.Generator:
    digest = sha256_text("\n".join(names))
    return np.random.default_rng([seed, int(digest[:16], 16)])


def _ordered(items: Sequence[Utterance], rng: np.random.Generator) -> list[Utterance]:
    """Deal the items of a class out so that every beginning has speakers in proportion."""
    speakers: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in items:
        speakers[f"{utterance.corpus}\n{utterance.speaker}"].append(utterance)
    keyed: list[tuple[float, str, Utterance]] = []
    for name in sorted(speakers):
        said = speakers[name]
        start = float(rng.random())
        order = rng.permutation(len(said))
        keyed += [
            ((rank + start) / len(said), said[int(place)].id, said[int(place)])
            for rank, place in enumerate(order)
        ]
    return [utterance for _, _, utterance in sorted(keyed, key=lambda one: one[:2])]


@dataclass(frozen=True)
class ShotCut:
    """Shots taken apart.

    Attributes:
        train, dev: utterances.
        by: what dev was cut by: ``speaker``, ``item``, or empty where there is no dev.
    """

    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    by: str


def cut_shots(shots: Sequence[Utterance], share: float, seed: int, where: str = "") -> ShotCut:
    """Cut dev from the shots: whole speakers if every class stays on both sides, else items.

    Args:
        shots: labelled.
        share: of dev.
        seed: of the cut.
        where: see `draw_shots`.

    Returns:
        The parts; no dev where some class has one shot alone.
    """
    classes = {str(u.emotion) for u in shots}
    counts = {name: sum(u.emotion == name for u in shots) for name in classes}
    if not counts or min(counts.values()) < 2:
        return ShotCut(tuple(shots), (), "")
    if all(u.speaker for u in shots):
        number = int(sha256_text(where)[:12], 16)
        options = ProtocolOptions(name="shots", dev=share, dev_by="speaker", seed=seed)
        cut = cut_dev(shots, options, number)
        sides = [[u for u in shots if u.id in set(ids)] for ids in (cut.train, cut.dev)]
        if cut.by == "speaker" and all({str(u.emotion) for u in s} == classes for s in sides):
            return ShotCut(tuple(sides[0]), tuple(sides[1]), "speaker")
    dev: set[str] = set()
    for name in sorted(classes):
        items = sorted((u for u in shots if u.emotion == name), key=lambda u: u.id)
        order = _ordered(items, _generator(seed, where, "dev", name))
        number = min(len(items) - 1, max(1, round(share * len(items))))
        dev |= {u.id for u in order[:number]}
    return ShotCut(
        tuple(u for u in shots if u.id not in dev), tuple(u for u in shots if u.id in dev), "item"
    )
