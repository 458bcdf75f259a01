"""The panels of maps: Grad-CAM over a spectrogram, attention between modalities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.attention import AttentionMap, entropy_share, read_maps
from emofuse.explain.axes import band_hertz, time_axis
from emofuse.explain.gradcam import Cam, CamLayer, cam_layers, choose_layer, grad_cam
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable, Panel, Picture, Sheet
from emofuse.explain.randomise import compare_redrawn
from emofuse.explain.scores import score_words
from emofuse.explain.subject import Case

__all__ = ["ATTENTION_TITLE", "CAM_TITLE", "attention_panel", "band_shares", "grad_cam_panel"]

Floats = NDArray[np.float64]
DECIBELS = 10.0 / np.log(10.0)
FLAT = 0.99
MOST_MAPS = 4
CAM_TITLE = "Where in the spectrogram (Grad-CAM)"
ATTENTION_TITLE = "What looks at what (attention)"


def grad_cam_panel(case: Case, options: ExplainOptions) -> Panel:
    """Lay Grad-CAM over the log-mel spectrogram.

    Raises:
        NotApplicable: no convolution over mel bands, or no audio.
        OptionError: no such layer.
    """
    layer = choose_layer(case.model, options.layer)
    hertz = band_hertz(case.description("audio"))
    cam = grad_cam(case.model, case.batch, layer, case.target, options.score)
    times = time_axis(case.description("audio")).centres(cam.fine.shape[1], cam.start)
    top = float(cam.fine.max())
    heat = cam.fine / top if top > 0 else cam.fine
    mel = case.batch.modalities["audio"].values[0].double().numpy()
    mel = DECIBELS * mel[cam.start : cam.start + cam.fine.shape[1]].T
    notes, redrawn = _cam_notes(case, options, layer, cam)
    row, column = np.unravel_index(int(cam.fine.argmax()), cam.fine.shape)
    numbers = {
        "layer": layer.name,
        "stride": layer.stride,
        "peak_seconds": float(times[column]),
        "peak_hertz": float(hertz[row]),
        "bands_hertz": band_shares(cam.fine, hertz),
        "redrawn": redrawn,
    }
    return Panel(
        "grad-cam",
        CAM_TITLE,
        f"What in the maps of {layer.name} raises the "
        f"{score_words(options.score, case.target_name)}, laid over the log-mel "
        f"spectrogram; 1 = the strongest place. One cell of the layer is "
        f"{layer.stride} frames by {layer.stride} bands.",
        (
            Picture(
                "grad-cam",
                f"Log-mel spectrogram, and Grad-CAM at {layer.name} over it",
                draw.mel_map(mel, times, hertz, heat, "Grad-CAM"),
            ),
        ),
        (
            Table(
                "where the heat lies",
                ("", "share of the heat", "of the area"),
                _heat_rows(cam, times, hertz),
            ),
        ),
        (_cam_sheet(cam, times, hertz),),
        numbers,
        notes,
    )


def _cam_notes(
    case: Case, options: ExplainOptions, layer: CamLayer, cam: Cam
) -> tuple[tuple[str, ...], list[float | None]]:
    """Say how coarse a map is, and how like those of networks with other weights."""
    legal = list(cam_layers(case.model))
    height, columns = cam.coarse.shape
    more = "" if layer.name == legal[0] else "; an earlier layer has more"
    notes = [
        f"layer {layer.name}; legal: {', '.join(legal)}",
        f"it has {height} x {columns} cells over frequency and time{more}",
    ]
    if float(cam.fine.max()) <= 0:
        notes.append("the map is 0 everywhere: nothing in this layer speaks for the class")
        return tuple(notes), []
    if not options.draws:
        return tuple(notes), []
    drawn = compare_redrawn(
        case.model,
        lambda model: grad_cam(model, case.batch, layer, case.target, options.score).fine,
        options.draws,
        options.draw_seed,
    )
    return (*notes, drawn.words()), list(drawn.correlations)


def _cam_sheet(cam: Cam, times: Floats, hertz: Floats) -> Sheet:
    rows = tuple(
        (round(float(times[t]), 4), *(round(float(v), 6) for v in cam.fine[:, t]))
        for t in range(len(times))
    )
    return Sheet("grad-cam", ("seconds", *(f"{one:.0f} Hz" for one in hertz)), rows)


def _heat_rows(cam: Cam, times: Floats, hertz: Floats) -> tuple[tuple[str, str, str], ...]:
    """Give the strongest place, and the share of the heat in each range of frequencies."""
    row, column = np.unravel_index(int(cam.fine.argmax()), cam.fine.shape)
    areas = band_shares(np.ones_like(cam.fine), hertz)
    shares = band_shares(cam.fine, hertz)
    place = f"{times[column]:.2f} s, {hertz[row]:,.0f} Hz"
    return (
        (f"strongest at {place}", "", ""),
        *((n, f"{100 * share:.0f} %", f"{100 * areas[n]:.0f} %") for n, share in shares.items()),
    )


def band_shares(heat: Floats, hertz: Floats) -> dict[str, float]:
    """Give the share of ``(bands, frames)`` of heat in each of five ranges of frequency."""
    total = float(heat.sum())
    edges = ((0.0, 500.0), (500.0, 1000.0), (1000.0, 2000.0), (2000.0, 4000.0), (4000.0, 8001.0))
    return {
        f"{low:,.0f} to {min(high, 8000):,.0f} Hz": float(
            heat[(hertz >= low) & (hertz < high)].sum() / total
        )
        if total > 0
        else 0.0
        for low, high in edges
    }


def attention_panel(case: Case, options: ExplainOptions) -> Panel:
    """Draw the attention maps that mean something, and say why the others do not.

    Raises:
        NotApplicable: there is none that does.
    """
    del options
    maps, refused = read_maps(case)
    notes = [f"{name} is not drawn: {reason}" for name, reason in refused.items()]
    if not maps:
        raise NotApplicable("; ".join(notes))
    across = [m for m in maps if {m.queries.modality, m.keys.modality} == {"audio", "text"}]
    inside = [m for m in maps if m not in across]
    if not across:
        notes.append("no map is of audio against text: the model's attention stays in a modality")
    chosen = (across + inside)[:MOST_MAPS]
    rows = []
    for one in maps:
        share = entropy_share(one.weights)
        rows.append(
            (one.name, f"{len(one.queries)} x {len(one.keys)}", str(one.heads), f"{share:.3f}")
        )
        if share > FLAT and len(one.keys) > 1:
            notes.append(
                f"{one.name} is nearly flat (entropy {share:.3f} of the largest): it averages"
            )
    notes.append(
        "attention says what was mixed, not what decided (Jain and Wallace 2019): compare with the "
        "attributions"
    )
    return Panel(
        "attention",
        ATTENTION_TITLE,
        "Weights of the last layer, averaged over its heads; each row is one query. Audio units "
        "are at the seconds of their centre, text units are the encoder's own tokens.",
        tuple(_map_picture(one) for one in chosen),
        (Table("maps", ("map", "queries x keys", "heads", "entropy / largest"), tuple(rows)),),
        tuple(_map_sheet(one) for one in chosen),
        {
            "maps": {m.name: {"entropy_share": entropy_share(m.weights)} for m in maps},
            "refused": refused,
        },
        tuple(notes),
    )


def _map_name(name: str) -> str:
    return "attention-" + "".join(c if c.isalnum() else "-" for c in name).strip("-")


def _map_picture(one: AttentionMap) -> Picture:
    def side(which: str) -> tuple[tuple[tuple[str, ...], np.ndarray], str]:
        part = getattr(one, which)
        name = part.modality if part.labels else f"{part.modality}, {part.unit}"
        return (part.labels, np.array(part.times)), name

    (rows, row_name), (columns, column_name) = side("queries"), side("keys")
    figure = draw.heatmap(one.weights, rows, columns, (row_name, column_name))
    return Picture(_map_name(one.name), f"Attention {one.name}", figure)


def _map_sheet(one: AttentionMap) -> Sheet:
    heads = one.keys.labels or tuple(f"{t:.4f}" for t in one.keys.times)
    names = one.queries.labels or tuple(f"{t:.4f}" for t in one.queries.times)
    rows = tuple(
        (name, *(round(float(v), 8) for v in row))
        for name, row in zip(names, one.weights, strict=True)
    )
    return Sheet(_map_name(one.name), ("query", *heads), rows)
