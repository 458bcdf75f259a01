"""Other legal values of an option, read off its type."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from emofuse.options import Options

__all__ = ["other_values"]


def other_values(options: type[Options], name: str, value: Any) -> list[Any]:
    """Give values that an option could have instead, the likeliest to be legal first.

    Booleans are turned, literals exchanged, numbers doubled, halved and set to small ones; an
    option that may be None is also given None, and one that is None what its type allows. An
    option of another type (free text) has none.

    Args:
        options: the type of the options.
        name: of the option.
        value: the value in force, as JSON would hold it.
    """
    found: list[Any] = []
    for one in _of(options.model_fields[name].annotation, value):
        same = one == value and isinstance(one, bool) == isinstance(value, bool)
        if not same and not any(one is seen or one == seen for seen in found):
            found.append(one)
    return found


def _of(annotation: Any, value: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    inner = get_args(annotation)
    if origin in (Union, types.UnionType):
        for one in inner:
            yield from _of(one, value)
    elif origin is Literal:
        yield from inner
    elif origin is Annotated:
        yield from _of(inner[0], value)
    elif origin in (tuple, list, Sequence):
        yield from _lists(inner, value)
    elif origin in (dict, Mapping):
        yield from ({key: 2} for key in _of(inner[0], None) if inner[1] in (int, float))
    else:
        yield from _plain(annotation, value)


def _plain(annotation: Any, value: Any) -> Iterator[Any]:
    if annotation is type(None):
        yield None
    elif isinstance(annotation, type) and issubclass(annotation, Options):
        yield {}
    elif annotation is bool:
        yield from (True, False)
    elif annotation is int:
        yield from _integers(value)
    elif annotation is float:
        yield from _floats(value)


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield from (2 * value, value // 2, value + 1, value - 1)
    yield from (1, 2, 3, 4, 8, 0)


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from (value / 2, value + 0.1, 2 * value)
    yield from (0.5, 0.3, 0.1, 1.0, 2.0, 0.0)


def _lists(inner: tuple[Any, ...], value: Any) -> Iterator[list[Any]]:
    if isinstance(value, tuple | list) and value:
        kind = inner[0] if inner else type(value[0])
        for other in _of(kind, value[0]):
            yield [other, *value[1:]]
        yield list(value[:-1])
    elif inner:
        yield from ([other] for other in _of(inner[0], None))
