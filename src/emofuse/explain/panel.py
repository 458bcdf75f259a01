"""What an explanation is made of: panels of pictures and numbers, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from emofuse.errors import MissingExtraError, WorkError
from emofuse.evaluation.tables import Table
from emofuse.explain.options import ExplainOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NotApplicable", "Panel", "Picture", "Sheet", "make_panels", "refusal"]

Of = TypeVar("Of")


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


def make_panels(
    makers: Mapping[str, Callable[[Of, ExplainOptions], Panel]],
    titles: Mapping[str, str],
    of: Of,
    options: ExplainOptions,
) -> list[Panel]:
    """Explain something in every way that is asked for; what does not apply says why.

    Args:
        makers: key of a panel -> what makes it.
        titles: key -> title, for a panel that is refused.
        of: what is explained.
        options: of the explanations; they say which are asked for.
    """
    found = []
    for key, make in makers.items():
        if not options.wants(key):
            continue
        try:
            found.append(make(of, options))
        except (NotApplicable, MissingExtraError) as error:
            found.append(refusal(key, titles[key], error))
    return found
