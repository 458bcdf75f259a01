"""Drawings: each function gives a figure; `picture_files` turns one into PNG and SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from emofuse.evaluation.plots import COLOURS, figure_png

__all__ = [
    "bars",
    "curves",
    "heatmap",
    "mel_map",
    "picture_files",
    "scatter",
    "signed_bars",
    "wave_and_curve",
]

Floats = NDArray[np.float64]
FOR, AGAINST = COLOURS[1], COLOURS[0]
MOST_LABELS = 40
HERTZ = (100, 250, 500, 1000, 2000, 4000, 8000)


def picture_files(figure: Figure) -> dict[str, bytes]:
    """Render a figure: suffix -> bytes; equal figures give equal bytes."""
    png = figure_png(figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "emofuse", "svg.fonttype": "none"}):
        canvas = FigureCanvasSVG(figure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            canvas.print_figure(stream, format="svg", metadata={"Date": None, "Creator": None})
    return {"png": png, "svg": stream.getvalue()}


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _mel_ticks(axes: Any, hertz: Floats) -> None:
    shown = [one for one in HERTZ if hertz[0] <= one <= hertz[-1]]
    places = np.interp(shown, hertz, np.arange(len(hertz)))
    axes.set_yticks(places, [f"{one:,}" for one in shown])
    axes.set_ylabel("frequency in Hz")


def mel_map(
    decibels: Floats, times: Floats, hertz: Floats, heat: Floats | None = None, label: str = ""
) -> Figure:
    """Draw a mel spectrogram, and over it a map of 0 to 1.

    Args:
        decibels: ``(bands, frames)``.
        times: seconds at the centre of each frame.
        hertz: at the centre of each band.
        heat: ``(bands, frames)`` over the same axes, or None.
        label: of the map.
    """
    rows = 1 if heat is None else 2
    figure = Figure(figsize=(7.2, 2.3 * rows), layout="constrained")
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.005
    extent = (times[0] - half, times[-1] + half, -0.5, len(hertz) - 0.5)
    common: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent}
    top = float(decibels.max())
    for row in range(rows):
        axes = figure.add_subplot(rows, 1, row + 1)
        image = axes.imshow(decibels, cmap="gray", vmin=top - 80.0, vmax=top, **common)
        if row and heat is not None:
            image = axes.imshow(
                heat, cmap="inferno", vmin=0.0, vmax=1.0, alpha=0.25 + 0.65 * heat, **common
            )
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.01)
        bar.set_label(label if row else "dB", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        _mel_ticks(axes, hertz)
        axes.tick_params(labelsize=8)
    axes.set_xlabel("time in s")
    return figure


def wave_and_curve(
    wave: Floats,
    rate: int,
    times: Floats,
    values: Floats | None,
    *,
    unit: str = "s",
    label: str = "",
) -> Figure:
    """Draw a waveform, and below it signed values over time."""
    rows = 1 if values is None else 2
    figure = Figure(figsize=(7.2, 1.5 + 1.6 * (rows - 1)), layout="constrained")
    axes = figure.add_subplot(rows, 1, 1)
    points = max(1, len(wave) // 4000)
    seconds = np.arange(len(wave))[::points] / rate
    axes.plot(seconds, wave[::points], color="#555555", linewidth=0.4)
    axes.set_ylabel("amplitude", fontsize=8)
    axes.margins(x=0)
    if values is not None:
        below = figure.add_subplot(rows, 1, 2, sharex=axes if unit == "s" else None)
        _signed(below, times, values)
        below.set_ylabel(label, fontsize=8)
        axes = below
    axes.set_xlabel("time in s" if unit == "s" else unit)
    for one in figure.axes:
        one.tick_params(labelsize=8)
        one.spines[["top", "right"]].set_visible(False)
    return figure


def _signed(axes: Any, places: Floats, values: Floats) -> None:
    width = (places[1] - places[0]) if len(places) > 1 else 1.0
    colours = [FOR if one >= 0 else AGAINST for one in values]
    axes.bar(places, values, width=width, color=colours)
    axes.axhline(0.0, color="#888888", linewidth=0.6)


def signed_bars(labels: Sequence[str], values: Floats, label: str) -> Figure:
    """Draw named values as bars to the right (for) and to the left (against)."""
    labels, values = list(labels)[:MOST_LABELS], values[:MOST_LABELS]
    figure, axes = _axes(6.4, 0.8 + 0.24 * len(labels))
    places = np.arange(len(labels))
    axes.barh(places, values, color=[FOR if one >= 0 else AGAINST for one in values])
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0.0, color="#888888", linewidth=0.6)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    return figure


def heatmap(
    weights: Floats,
    rows: tuple[Sequence[str], Floats],
    columns: tuple[Sequence[str], Floats],
    names: tuple[str, str],
) -> Figure:
    """Draw an attention map.

    Args:
        weights: ``(rows, columns)``, 0 or more.
        rows: labels (empty for frames) and times (empty for tokens).
        columns: the same.
        names: of the two axes.
    """
    height = 1.4 + min(5.0, 0.2 * weights.shape[0])
    figure, axes = _axes(7.2, max(2.0, height))
    image = axes.imshow(
        weights, cmap="viridis", origin="upper", aspect="auto", vmin=0.0, interpolation="nearest"
    )
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.01)
    bar.set_label("weight, mean over heads", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _ticks(axes.set_yticks, *rows)
    _ticks(axes.set_xticks, *columns, rotation=60 if columns[0] else 0)
    axes.set_ylabel(names[0])
    axes.set_xlabel(names[1])
    axes.tick_params(labelsize=8)
    return figure


def _ticks(setter: Any, labels: Sequence[str], times: Floats, rotation: int = 0) -> None:
    count = len(labels) or len(times)
    every = max(1, -(-count // (MOST_LABELS if labels else 8)))
    places = range(0, count, every)
    shown = [labels[p] for p in places] if labels else [f"{times[p]:.4g}" for p in places]
    setter(places, shown, rotation=rotation)


def curves(times: Floats, lines: Mapping[str, Floats], label: str, unit: str = "s") -> Figure:
    """Draw lines over time."""
    figure, axes = _axes(7.2, 2.4)
    styles = ("-", "--", ":")
    for place, (name, values) in enumerate(lines.items()):
        axes.plot(
            times,
            values,
            color=COLOURS[place % len(COLOURS)],
            linestyle=styles[place // len(COLOURS) % 3],
            marker="o",
            markersize=2.5,
            label=name,
        )
    axes.set_xlabel("time in s" if unit == "s" else unit)
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, ncols=2, framealpha=0.8, edgecolor="none")
    return figure


def bars(
    labels: Sequence[str],
    groups: Mapping[str, Sequence[float]],
    errors: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    label: str = "",
) -> Figure:
    """Draw bars side by side, with intervals where there are any.

    Args:
        labels: along the axis.
        groups: name -> one value a label.
        errors: name -> low and high end a label.
        label: of the values.
    """
    figure, axes = _axes(max(4.2, 0.62 * len(labels) * max(1, len(groups) / 2) + 1.6), 2.9)
    width = 0.8 / max(len(groups), 1)
    for place, (name, values) in enumerate(groups.items()):
        where = np.arange(len(labels)) + (place - (len(groups) - 1) / 2) * width
        colour = COLOURS[place % len(COLOURS)]
        axes.bar(where, values, width=width * 0.92, color=colour, label=name)
        ends = (errors or {}).get(name)
        if ends:
            spans = [[v - a for v, (a, _) in zip(values, ends, strict=True)]]
            spans.append([b - v for v, (_, b) in zip(values, ends, strict=True)])
            axes.errorbar(
                where, values, yerr=np.maximum(spans, 0), fmt="none", ecolor="#333333", capsize=2
            )
    axes.set_xticks(np.arange(len(labels)), labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.axhline(0.0, color="#888888", linewidth=0.6)
    axes.set_ylabel(label)
    axes.tick_params(labelsize=8)
    if len(groups) > 1:
        figure.legend(loc="outside upper left", fontsize=8, ncols=4, edgecolor="none")
    return figure


def scatter(points: Floats, colourings: Mapping[str, Sequence[str]]) -> Figure:
    """Draw points once for each way of colouring them."""
    figure = Figure(figsize=(4.4 * len(colourings) + 0.4, 4.2), layout="constrained")
    palette = mpl.colormaps["tab20"]
    for place, (title, names) in enumerate(colourings.items(), start=1):
        axes = figure.add_subplot(1, len(colourings), place)
        kinds = sorted(set(names))
        for number, kind in enumerate(kinds):
            chosen = np.array([one == kind for one in names])
            axes.scatter(
                points[chosen, 0],
                points[chosen, 1],
                s=9,
                alpha=0.75,
                color=palette(number % 20),
                label=kind if len(kinds) <= 12 else None,
                linewidths=0,
            )
        axes.set_title(title if len(kinds) <= 12 else f"{title} ({len(kinds)})", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        if len(kinds) <= 12:
            axes.legend(fontsize=7, framealpha=0.7, edgecolor="none")
    return figure
