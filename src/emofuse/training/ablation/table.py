"""The table of an ablation: each row against the full recipe, paired by speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from emofuse.errors import EmofuseError
from emofuse.evaluation.compare import Pair, compare_runs
from emofuse.evaluation.paired import holm
from emofuse.evaluation.predictions import PROBABILITY
from emofuse.evaluation.runs import RunFolder
from emofuse.evaluation.summary import summarise
from emofuse.evaluation.tables import SOUND, Table, p_value, percent

__all__ = [
    "Ablation",
    "AblationRow",
    "Outcome",
    "ablation_markdown",
    "ablation_table",
    "make_ablation",
]

NO_CHANGE = "no change at all: a dead switch"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one row.

    Attributes:
        name: of the row.
        overrides: what it changes.
        folder: of its run.
        run: the run; None where it failed.
        parameters: of its model.
        reason: why it failed.
    """

    name: str
    overrides: tuple[str, ...]
    folder: Path
    run: RunFolder | None
    parameters: int | None
    reason: str = ""


@dataclass(frozen=True)
class AblationRow:
    """One row of the table.

    Attributes:
        name: of the row.
        overrides: what it changes.
        folder: of its run.
        parameters: of its model; None where it failed.
        ua, low, high: UA and its 95 % interval.
        difference, difference_low, difference_high: to the full recipe (row minus full), paired.
        p, p_holm: of that difference; corrected over the rows.
        stamp: how far the run can be believed.
        notes: what the reader must know: a failure, equal predictions, utterances left out.
        failed: whether it failed.
    """

    name: str
    overrides: tuple[str, ...]
    folder: str
    parameters: int | None = None
    ua: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    stamp: str = ""
    notes: tuple[str, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class Ablation:
    """The whole table.

    Attributes:
        recipe: path or name.
        rows: the full recipe first.
        protocol: that the runs share; empty where none finished.
        unit: what was paired.
        notes: what concerns every row.
    """

    recipe: str
    rows: tuple[AblationRow, ...]
    protocol: str = ""
    unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Number of rows that failed."""
        return sum(row.failed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {
            "recipe": self.recipe,
            "protocol": self.protocol,
            "unit": self.unit,
            "failed": self.failed,
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
        }


def make_ablation(recipe: str, outcomes: Sequence[Outcome]) -> Ablation:
    """Compare every row with the first, which is the full recipe.

    Args:
        recipe: path or name, for the title.
        outcomes: the full recipe first.
    """
    full = outcomes[0].run
    rows = [_scored(one) for one in outcomes]
    pairs: dict[int, Pair] = {}
    for place, one in enumerate(outcomes):
        if not place or one.run is None or full is None:
            continue
        try:
            pairs[place] = compare_runs([one.run, full]).pairs[0]
        except EmofuseError as error:
            rows[place] = _noted(rows[place], f"not compared: {error}")
    shared = _shared_notes(pairs)
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    for place, pair in pairs.items():
        told = tuple(note for note in pair.notes if note not in shared)
        rows[place] = _compared(_noted(rows[place], *told), pair, corrected[place])
    _mark_equal(rows, outcomes)
    runs = [one.run for one in outcomes if one.run is not None]
    protocol = runs[0].stamp.protocol if runs else ""
    return Ablation(recipe, tuple(rows), protocol, _unit(pairs), shared)


def _shared_notes(pairs: dict[int, Pair]) -> tuple[str, ...]:
    """Give the notes that every comparison has: they are told once."""
    listed = [pair.notes for pair in pairs.values()]
    if not listed:
        return ()
    return tuple(note for note in listed[0] if all(note in notes for notes in listed))


def _unit(pairs: dict[int, Pair]) -> str:
    units = sorted({pair.unit for pair in pairs.values()})
    return " or ".join(units)


def _scored(one: Outcome) -> AblationRow:
    row = AblationRow(one.name, one.overrides, str(one.folder), one.parameters)
    if one.run is None:
        return replace(row, notes=(f"failed: {one.reason}",), failed=True)
    estimate = summarise(one.run.predictions, one.run.classes).metrics["ua"]
    return replace(
        row,
        ua=estimate.mean,
        low=estimate.interval.low,
        high=estimate.interval.high,
        stamp=one.run.stamp.text,
        notes=tuple(one.run.problems),
    )


def _noted(row: AblationRow, *notes: str) -> AblationRow:
    return replace(row, notes=(*row.notes, *notes))


def _compared(row: AblationRow, pair: Pair, corrected: float) -> AblationRow:
    return replace(
        row,
        difference=pair.difference,
        difference_low=pair.interval.low,
        difference_high=pair.interval.high,
        p=pair.p,
        p_holm=corrected,
    )


def _mark_equal(rows: list[AblationRow], outcomes: Sequence[Outcome]) -> None:
    """Mark rows whose predictions are those of an earlier row, bit by bit."""
    known: list[tuple[str, pd.DataFrame]] = []
    for place, one in enumerate(outcomes):
        if one.run is None:
            continue
        shares = _probabilities(one.run)
        twin = next((name for name, other in known if shares.equals(other)), None)
        if twin is None:
            known.append((one.name, shares))
        else:
            same = NO_CHANGE if twin == outcomes[0].name else f"{NO_CHANGE} (as {twin})"
            problems = tuple(one.run.problems)  # of the test there is nothing to say any more
            rows[place] = replace(rows[place], notes=(same, *problems))


def _probabilities(run: RunFolder) -> pd.DataFrame:
    frame = run.predictions
    columns = [name for name in frame.columns if str(name).startswith(PROBABILITY)]
    keys = ["corpus", "id", "fold", "seed"]
    return frame[[*keys, *columns]].sort_values(keys).reset_index(drop=True)


def ablation_table(ablation: Ablation) -> Table:
    """Lay the rows out as text."""
    rows = [
        (
            row.name if row.stamp in ("", SOUND) else f"{row.name}\n{row.stamp}",
            "\n".join(row.overrides) or "–",
            percent(row.ua),
            _ends(row.low, row.high, percent),
            "–" if row.difference is None else _points(row.difference),
            _ends(row.difference_low, row.difference_high, _points),
            "–" if row.p is None else p_value(row.p),
            "–" if row.p_holm is None else p_value(row.p_holm),
            "–" if row.parameters is None else f"{row.parameters:,}",
            "\n".join(row.notes),
        )
        for row in ablation.rows
    ]
    unit = f", differences paired by {ablation.unit}" if ablation.unit else ""
    title = f"{ablation.recipe}: UA in %{unit}, Holm over the rows"
    heads = ("row", "changes", "UA", "95 %", "Δ", "95 % of Δ", "p", "p Holm", "parameters", "note")
    return Table(title, heads, tuple(rows), 2)


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _ends(low: float | None, high: float | None, show: Any) -> str:
    return "–" if low is None or high is None else f"{show(low)} to {show(high)}"


def ablation_markdown(ablation: Ablation) -> str:
    """Write the table as Markdown, with what it rests on."""
    stamps = sorted({row.stamp for row in ablation.rows if row.stamp})
    below = f"Protocol: {ablation.protocol or 'none'}. Runs: {', '.join(stamps) or 'none'}."
    notes = "".join(f"\n\nEvery row: {note}." for note in ablation.notes)
    return f"{ablation_table(ablation).to_markdown()}\n\n{below}{notes}\n"
