"""Progress through a hook: the library reports, the caller draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Progress", "ProgressEvent", "silent"]


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a long work.

    Attributes:
        stage: what is going on, such as ``"encode audio"``; events of one stage form a bar.
        done: units finished so far.
        total: units in all, or None where it is not known.
        unit: what is counted, such as ``"utterances"``.
        values: figures to show beside the bar (a loss, a rate).
    """

    stage: str
    done: int
    total: int | None = None
    unit: str = "items"
    values: Mapping[str, float | str] = field(default_factory=dict)


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """Ignore progress: the default hook."""
