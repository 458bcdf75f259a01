"""The table of a transfer matrix, from the predictions of its settings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.evaluation.intervals import FEW, RESAMPLES, Interval, cluster_counts
from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.paired import paired_interval
from emofuse.evaluation.summary import summarise
from emofuse.evaluation.tables import Table, percent

__all__ = [
    "Gain",
    "Matrix",
    "Setting",
    "TransferRow",
    "gain_table",
    "make_matrix",
    "matrix_markdown",
    "matrix_table",
    "order",
]

ALONE = "–"
"""What tables show in place of a source where there is none."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Every seed of one source, target, method and number of shots.

    Attributes:
        source: name; empty for the shots alone.
        target: name.
        method: its label in the recipe.
        kind: its name, whatever the label.
        shots: as in the recipe.
        shown: the same, in words.
        labelled: mean number of labelled target items a fold.
        frame: predictions.
        stamp: how far they can be believed.
        notes: what the reader must know.
        folder: where the predictions lie, below the matrix.
    """

    source: str
    target: str
    method: str
    kind: str
    shots: str
    shown: str
    labelled: float
    frame: pd.DataFrame
    stamp: str
    notes: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True)
class Gain:
    """A paired difference of UA, with a 95 % interval over speakers."""

    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TransferRow:
    """One setting in figures.

    Attributes:
        source, target, method, kind, shots, shown, labelled, stamp, notes, folder: see `Setting`.
        ua: mean over seeds of the unweighted average recall, all folds at once.
        low, high: its 95 % bootstrap interval over speakers.
        std_seeds: standard deviation over seeds; None with one.
        wa, wf1, mf1: the other metrics.
        utterances, speakers, folds, seeds: what was judged.
        over_none: gain over the source model as it is; None where that is missing.
        over_target: gain over as many shots alone; None where that is missing.
    """

    source: str
    target: str
    method: str
    kind: str
    shots: str
    shown: str
    labelled: float
    stamp: str
    ua: float
    low: float | None
    high: float | None
    std_seeds: float | None
    wa: float
    wf1: float
    mf1: float
    utterances: int
    speakers: int | None
    folds: int
    seeds: int
    over_none: Gain | None = None
    over_target: Gain | None = None
    notes: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True)
class Matrix:
    """The whole matrix.

    Attributes:
        recipe: name.
        classes: the common classes.
        chance: UA of a blind guess.
        rows: targets together, then sources, methods, shots, in the recipe's order; shots alone
            first.
        sources, targets, methods: names, in the recipe's order.
        setup: protocol, standardisation, what chooses the epoch: key -> words.
        notes: what concerns every row.
    """

    recipe: str
    classes: tuple[str, ...]
    chance: float
    rows: tuple[TransferRow, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    methods: tuple[str, ...]
    setup: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Matrix:
        """Read what `to_json` gave."""
        rows = [
            TransferRow(
                **{
                    **one,
                    "over_none": _read_gain(one["over_none"]),
                    "over_target": _read_gain(one["over_target"]),
                    "notes": tuple(one["notes"]),
                }
            )
            for one in value["rows"]
        ]
        return cls(
            value["recipe"],
            tuple(value["classes"]),
            value["chance"],
            tuple(rows),
            tuple(value["sources"]),
            tuple(value["targets"]),
            tuple(value["methods"]),
            dict(value["setup"]),
            tuple(value["notes"]),
        )


def _read_gain(value: Mapping[str, Any] | None) -> Gain | None:
    return None if value is None else Gain(**value)


def make_matrix(
    recipe: str,
    classes: Sequence[str],
    settings: Sequence[Setting],
    setup: Mapping[str, str],
    notes: Sequence[str] = (),
    *,
    order: tuple[Sequence[str], Sequence[str], Sequence[str]],
    resamples: int = RESAMPLES,
) -> Matrix:
    """Score every setting, and compare it with doing nothing and with the shots alone.

    Differences are paired by speaker, on the same test utterances, over the mean of the seeds.

    Args:
        recipe: name of the recipe.
        classes: class names in order.
        settings: in the order of the recipe.
        setup: see `Matrix`.
        notes: see `Matrix`.
        order: sources, targets and methods in the order to show.
        resamples: bootstrap resamples.
    """
    sources, targets, methods = map(tuple, order)
    counts = [_counts(one.frame, classes) for one in settings]
    none = {(s.source, s.target): i for i, s in enumerate(settings) if s.kind == "none"}
    alone = {(s.target, s.shots): i for i, s in enumerate(settings) if s.kind == "target"}
    rows = []
    for place, one in enumerate(settings):
        first, second = none.get((one.source, one.target)), alone.get((one.target, one.shots))
        over_none, over_target = (
            None
            if other is None or other == place
            else _gain(counts[place], counts[other], resamples)
            for other in (first, second)
        )
        row = _scored(one, classes, resamples)
        rows.append(replace(row, over_none=over_none, over_target=over_target))
    places = {name: place for place, name in enumerate(("", *sources))}
    rows.sort(key=lambda r: (targets.index(r.target), places[r.source], methods.index(r.method)))
    few = sorted({row.target for row in rows if row.speakers is not None and row.speakers < FEW})
    said = "fewer than ten speakers, so that intervals are coarse and rather too narrow"
    told = [f"{', '.join(few)}: {said}"] if few else []
    return Matrix(
        recipe,
        tuple(classes),
        1.0 / len(classes),
        tuple(rows),
        sources,
        targets,
        methods,
        dict(setup),
        (*notes, *told),
    )


def _counts(frame: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.float64]:
    """Confusion counts ``(clusters, classes, classes)``, averaged over seeds."""
    counts: NDArray[np.float64] = cluster_counts(frame, classes).counts.mean(axis=1)
    return counts


def _gain(first: NDArray[np.float64], second: NDArray[np.float64], resamples: int) -> Gain | None:
    if first.shape != second.shape:
        return None
    measure = METRICS["ua"]
    difference = float(measure(first.sum(axis=0)) - measure(second.sum(axis=0)))
    interval: Interval = paired_interval(first, second, "ua", resamples, 0)
    return Gain(difference, interval.low, interval.high)


def _scored(one: Setting, classes: Sequence[str], resamples: int) -> TransferRow:
    found = summarise(one.frame, classes, resamples)
    ua = found.metrics["ua"]
    return TransferRow(
        source=one.source,
        target=one.target,
        method=one.method,
        kind=one.kind,
        shots=one.shots,
        shown=one.shown,
        labelled=one.labelled,
        stamp=one.stamp,
        ua=ua.mean,
        low=ua.interval.low,
        high=ua.interval.high,
        std_seeds=ua.std_seeds,
        wa=found.metrics["wa"].mean,
        wf1=found.metrics["wf1"].mean,
        mf1=found.metrics["mf1"].mean,
        utterances=found.utterances,
        speakers=found.speakers,
        folds=found.folds,
        seeds=found.seeds,
        notes=one.notes,
        folder=one.folder,
    )


def matrix_table(matrix: Matrix, lines: bool = False) -> Table:
    """Lay the matrix out: a row a source, target and method, a column a number of shots.

    Args:
        matrix: the figures.
        lines: intervals on a line of their own.
    """
    shots = list(dict.fromkeys(row.shots for row in matrix.rows))
    shots.sort(key=order)
    words = {row.shots: row.shown for row in matrix.rows}
    cells: dict[tuple[str, str, str], dict[str, TransferRow]] = {}
    for row in matrix.rows:
        cells.setdefault((row.target, row.source, row.method), {})[row.shots] = row
    rows = []
    for (target, source, method), by_shots in cells.items():
        stamps = {row.stamp for row in by_shots.values()} - {"speaker-independent"}
        name = f"{source or ALONE} → {target}" + "".join(f"\n{one}" for one in sorted(stamps))
        shown = [_cell(by_shots.get(one), lines) for one in shots]
        rows.append((name, method, *shown))
    title = (
        f"{matrix.recipe}: UA in % by shots, mean over seeds ± std (95 % interval over speakers); "
        f"chance {percent(matrix.chance)}"
    )
    return Table(title, ("source → target", "method", *(words[s] for s in shots)), tuple(rows), 2)


def order(shots: str) -> tuple[int, float]:
    """Counts before percentages, each from few to many."""
    return int(shots.endswith("%")), float(shots.rstrip("%"))


def _cell(row: TransferRow | None, lines: bool) -> str:
    if row is None:
        return ALONE
    spread = "" if row.std_seeds is None else f" ± {100 * row.std_seeds:.1f}"
    between = "\n" if lines else " "
    ends = f"{between}({percent(row.low)}–{percent(row.high)})" if row.low is not None else ""
    return f"{percent(row.ua)}{spread}{ends}"


def matrix_markdown(matrix: Matrix) -> str:
    """Write the table and the gains as Markdown, with what they rest on."""
    setup = "".join(f"\n* {key}: {value}" for key, value in matrix.setup.items())
    notes = "".join(f"\n* {note}" for note in matrix.notes)
    gains = gain_table(matrix).to_markdown()
    return f"{matrix_table(matrix).to_markdown()}\n{setup}{notes}\n\n{gains}\n"


def gain_table(matrix: Matrix) -> Table:
    """Paired differences: a row a setting that has anything to be compared with."""
    rows = [
        (
            f"{row.source or ALONE} → {row.target}",
            row.method,
            row.shown,
            f"{row.labelled:.0f}",
            _points(row.over_none),
            _points(row.over_target),
        )
        for row in matrix.rows
        if row.over_none is not None or row.over_target is not None
    ]
    heads = ("source → target", "method", "shots", "labelled items", "over none", "over target")
    return Table("UA gained, in points, paired by speaker (95 % interval)", heads, tuple(rows), 3)


def _points(gain: Gain | None) -> str:
    if gain is None:
        return ALONE
    if gain.low is None or gain.high is None:
        return f"{100 * gain.difference:+.1f}"
    return f"{100 * gain.difference:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
