"""Pictures of the page: reliability, curves of each class, groups, runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from emofuse.evaluation.plots import COLOURS, figure_png

__all__ = ["class_curves_png", "forest_png", "reliability_png", "risk_png"]

MOST_ROWS = 60
LONGEST = 28
STYLES = ("-", "--", ":")


def reliability_png(title: str, bins: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw a reliability diagram.

    Args:
        title: whose.
        bins: each with ``low``, ``high``, ``items`` and ``accuracy``.
    """
    figure = Figure(figsize=(3.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    most = max((one["items"] for one in bins), default=1) or 1
    for one in bins:
        if one["items"]:
            width, shade = one["high"] - one["low"], 0.25 + 0.75 * one["items"] / most
            axes.bar(
                one["low"],
                one["accuracy"] or 0.0,
                width,
                align="edge",
                color=COLOURS[0],
                alpha=shade,
            )
    axes.plot([0, 1], [0, 1], color="#6b6b6b", linewidth=1, linestyle="--")
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure_png(figure)


def risk_png(coverage: Sequence[float], risk: Sequence[float]) -> bytes:
    """Draw the share of mistakes against the share answered, surest first."""
    figure = Figure(figsize=(3.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(coverage, risk, color=COLOURS[1], linewidth=1.6)
    axes.set(xlabel="share answered, surest first", ylabel="share of them wrong", xlim=(0, 1))
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure_png(figure)


def class_curves_png(classes: Sequence[Mapping[str, Any]], kind: str) -> bytes | None:
    """Draw a curve of each class; None where there is none.

    Args:
        classes: each with its ``name`` and points.
        kind: ``roc`` (hits by false alarms) or ``precision_recall``.
    """
    drawn = [one for one in classes if one.get(kind)]
    if not drawn:
        return None
    figure = Figure(figsize=(3.5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for place, one in enumerate(drawn):
        axes.plot(
            *_columns(one[kind]),
            label=_short(str(one["name"])),
            color=COLOURS[place % len(COLOURS)],
            linestyle=STYLES[place // len(COLOURS) % len(STYLES)],
            linewidth=1.5,
        )
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color="#6b6b6b", linewidth=1, linestyle="--")
        axes.set(xlabel="false alarms", ylabel="hits")
    else:
        axes.set(xlabel="recall", ylabel="precision")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")
    return figure_png(figure)


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [float(one[0]) for one in points], [float(one[1]) for one in points]


def forest_png(
    rows: Sequence[tuple[str, float, float | None, float | None]], label: str, line: float | None
) -> bytes:
    """Draw figures with their intervals, one below the other.

    Args:
        rows: names, with value, low and high end in per cent; an end may be None.
        label: of the axis.
        line: where a line is drawn, in per cent.
    """
    shown = rows[:MOST_ROWS]
    figure = Figure(figsize=(5.0, max(1.5, 0.27 * len(shown) + 0.9)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, value, low, high) in enumerate(shown):
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2)
        axes.plot([value], [place], marker="o", markersize=5, color=COLOURS[0])
    if line is not None:
        axes.axvline(line, color="#444444", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(shown)), [_short(row[0]) for row in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(label, fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure_png(figure)


def _short(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
