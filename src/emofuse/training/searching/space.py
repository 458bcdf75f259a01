"""What a search may change: a range or a list of choices for each key of a recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from emofuse.errors import OptionError, shorten
from emofuse.options import Options, apply_overrides, parse_yaml
from emofuse.training.recipe import parse_recipe

__all__ = [
    "Choices",
    "Interval",
    "Range",
    "Space",
    "Value",
    "active",
    "check_space",
    "overrides_of",
    "parse_range",
    "read_space",
    "split_overrides",
]

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
SHORT = re.compile(rf"^\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*(?::\s*(log|{NUMBER})\s*)?$")
FIXED = {
    "data": "it would change the task",
    "protocol": "scores on other folds cannot be compared",
    "seeds": "scores over other seeds cannot be compared",
    "trainer.monitor": "it is the metric that the search compares",
    "name": "it decides no number",
    "about": "it decides no number",
    "published": "it decides no number",
    "ablations": "it decides no number",
    "trainer.device": "it decides no number",
    "trainer.workers": "it decides no number",
    "trainer.checkpoint_seconds": "it decides no number",
    "trainer.refit": "it is what happens after the choice",
}
"""Keys that no search may change, and why."""

Value = float | int | str
"""Of a parameter: a number, or a choice written as JSON."""


class Interval(Options):
    """Numbers from ``low`` to ``high``, both ends included.

    Attributes:
        low, high: the ends; whole numbers where both are written as such.
        log: evenly spaced in the logarithm.
        step: distance of the values; None = any (whole numbers: 1).
        when: other key of the search -> the choice, or choices, for which this key exists.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the low end {self.low} is not below the high end {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range begins above 0, not at {self.low}")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError("a step is above 0, and does not go with log")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        ends = (self.low, self.high, 1 if self.step is None else self.step)
        return all(isinstance(end, int) for end in ends)

    @property
    def corners(self) -> tuple[Value, ...]:
        """Values whose legality speaks for all."""
        return self.low, self.high

    def value(self, stored: Value) -> Any:
        """Turn what a study stores into what a recipe holds."""
        return int(stored) if self.whole else float(stored)

    def stored(self, value: Any) -> Value:
        """Turn what a recipe holds into what a study stores."""
        return int(value) if self.whole else float(value)

    def __str__(self) -> str:
        tail = ":log" if self.log else "" if self.step is None else f":{self.step}"
        return f"{self.low}..{self.high}{tail}"


class Choices(Options):
    """Some values of any kind, mappings and lists included.

    Attributes:
        choices: the values.
        when: as in `Interval`.
    """

    choices: tuple[Any, ...] = Field(min_length=1, max_length=1000)
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(set(self.corners)) < len(self.choices):
            raise ValueError("a choice is listed twice")
        return self

    @property
    def corners(self) -> tuple[Value, ...]:
        """Every choice, written as JSON."""
        return tuple(json.dumps(one, sort_keys=True) for one in self.choices)

    def value(self, stored: Value) -> Any:
        """Turn what a study stores into what a recipe holds."""
        return json.loads(str(stored))

    def stored(self, value: Any) -> Value:
        """Turn what a recipe holds into what a study stores."""
        return json.dumps(value, sort_keys=True)

    def __str__(self) -> str:
        return " | ".join(map(str, self.corners))


Range = Interval | Choices
Space = Mapping[str, Range]


def parse_range(key: str, given: Any) -> Range:
    """Read a range: ``1e-4..1e-2:log``, ``32..512:32``, ``[mean, max]``, or written out.

    >>> str(parse_range("trainer.learning_rate", "1e-4..1e-2:log"))
    '0.0001..0.01:log'

    Raises:
        OptionError: it is none.
    """
    where = f"search range {key}"
    if isinstance(given, str) and (found := SHORT.match(given)):
        low, high, tail = found.groups()
        written: dict[str, Any] = {"low": _number(low), "high": _number(high)}
        if tail == "log":
            written["log"] = True
        elif tail:
            written["step"] = _number(tail)
        return Interval.parse(written, where)
    if isinstance(given, list | tuple):
        return Choices.parse({"choices": given}, where)
    if isinstance(given, Mapping) and ("choices" in given or "low" in given or "high" in given):
        return (Choices if "choices" in given else Interval).parse(given, where)
    raise OptionError(
        f"{where}: {shorten(given)} is no range; write LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP "
        "or a list of choices"
    )


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def active(key: str, space: Space, values: Mapping[str, Value]) -> bool:
    """Whether a key exists, given the values of the keys before it."""
    for other, wanted in space[key].when.items():
        if other not in values:
            return False
        found = space[other].value(values[other])
        if found not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def overrides_of(space: Space, values: Mapping[str, Value]) -> list[str]:
    """Write values as ``key=value`` overrides of a recipe."""
    return [f"{key}={json.dumps(space[key].value(value))}" for key, value in values.items()]


def check_space(recipe: Mapping[str, Any], space: Space) -> None:
    """Try both ends of every range and every choice in the recipe.

    Raises:
        OptionError: a key that the recipe does not have, with the nearest one that it has, a value
            that is not legal there, or a key that a search may not change.
    """
    for place, (key, one) in enumerate(space.items()):
        _refuse_fixed(key)
        earlier = list(space)[:place]
        for other in one.when:
            if other not in earlier:
                raise OptionError(
                    f"search range {key}: when names {other!r}, which is no key declared before it"
                )
    for key in space:
        for values in _corners(key, space):
            shown = overrides_of(space, {key: values[key]})[0]
            parse_recipe(
                apply_overrides(recipe, overrides_of(space, values)), f"search range {shown}"
            )


def _refuse_fixed(key: str) -> None:
    for fixed, reason in FIXED.items():
        if f"{key}.".startswith(f"{fixed}."):
            raise OptionError(f"search range {key}: a search does not change {fixed}: {reason}")


def _corners(key: str, space: Space) -> Iterator[dict[str, Value]]:
    """Give the values under which a key exists, the key at each of its corners."""
    for corner in space[key].corners:
        values: dict[str, Value] = {}
        for name, one in space.items():
            if not active(name, space, values):
                continue
            values[name] = corner if name == key else _wanted(name, key, space, one)
        if key in values:
            yield values


def _wanted(name: str, key: str, space: Space, one: Range) -> Value:
    """The value of ``name`` that lets ``key`` exist; its first where any does."""
    for reader in (key, *space[key].when):
        if name in space[reader].when:
            wanted = space[reader].when[name]
            first = wanted[0] if isinstance(wanted, list) else wanted
            return one.stored(first)
    return one.corners[0]


def read_space(given: Mapping[str, Any]) -> dict[str, Range]:
    """Read every range.

    Raises:
        OptionError: one that is none.
    """
    return {str(key): parse_range(str(key), one) for key, one in given.items()}


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, Range]]:
    """Tell ranges (``a..b``, ``x|y``) of the command line from ordinary overrides.

    >>> split_overrides(["trainer.epochs=5", "model.hidden=16..64"])[0]
    ['trainer.epochs=5']
    """
    plain: list[str] = []
    ranges: dict[str, Range] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if equals and SHORT.match(text):
            ranges[key.strip()] = parse_range(key.strip(), text)
        elif equals and "|" in text:
            ranges[key.strip()] = parse_range(key.strip(), _several(text, key))
        else:
            plain.append(argument)
    return plain, ranges


def _several(text: str, key: str) -> list[Any]:
    return [parse_yaml(part.strip(), f"choice of {key}") for part in text.split("|")]
