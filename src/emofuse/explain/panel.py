"""What an explanation is made of: panels of pictures and numbers, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emofuse.errors import WorkError
from emofuse.evaluation.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NotApplicable", "Panel", "Picture", "Sheet", "refusal"]


class NotApplicable(WorkError):  # noqa: N818 (no mistake of anybody's: it says what does not apply)
    """An explanation that has no meaning here; the message says why."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One figure.

    Attributes:
        name: of its files, without suffix.
        caption: what it shows, in a line.
        figure: the drawing.
    """

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Sheet:
    """Numbers too many for the page: one CSV file.

    Attributes:
        name: of the file, without suffix.
        columns: heads.
        rows: values, as many a row as there are heads.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, eq=False)
class Panel:
    """One explanation.

    Attributes:
        key: short name, as on the command line (``grad-cam``).
        title: of its part of the page.
        about: what it is and how it was computed, in a sentence or two.
        pictures, tables, sheets: what is shown, and what is written beside.
        numbers: what goes into the JSON file.
        notes: what the reader must bear in mind.
        spans: a text in pieces, each with its attribution (None = none), to be coloured.
        refused: why there is nothing; empty where there is.
    """

    key: str
    title: str
    about: str = ""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spans: tuple[tuple[str, float | None], ...] = ()
    refused: str = ""


def refusal(key: str, title: str, reason: object) -> Panel:
    """Give the panel of an explanation that does not apply."""
    return Panel(key, title, refused=str(reason), numbers={"not_applicable": str(reason)})
