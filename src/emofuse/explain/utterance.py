"""The panels of one utterance's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.errors import MissingExtraError
from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.attention import AttentionMap, entropy_share, read_maps
from emofuse.explain.attributions import frames_panel
from emofuse.explain.axes import band_hertz, time_axis
from emofuse.explain.gates import read_gates
from emofuse.explain.gradcam import Cam, cam_layers, choose_layer, grad_cam
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable, Panel, Picture, Sheet, refusal
from emofuse.explain.randomise import compare_redrawn
from emofuse.explain.scores import score_words
from emofuse.explain.shapley import subset_scores
from emofuse.explain.spoken import words_panel
from emofuse.explain.subject import Case
from emofuse.explain.trajectory import trace

__all__ = ["TITLES", "utterance_panels"]

Floats = NDArray[np.float64]
DECIBELS = 10.0 / np.log(10.0)
FLAT = 0.99
MOST_MAPS = 4
TITLES: Mapping[str, str] = {
    "grad-cam": "Where in the spectrogram (Grad-CAM)",
    "attention": "What looks at what (attention)",
    "frames": "Which frames (integrated gradients)",
    "words": "Which words",
    "modalities": "What each modality adds (Shapley values)",
    "gates": "Weights, gates and memberships",
    "trajectory": "Over time",
}


def utterance_panels(case: Case, options: ExplainOptions) -> list[Panel]:
    """Explain one utterance in every way that is asked for; what does not apply says why."""
    makers: dict[str, Callable[[Case, ExplainOptions], Panel]] = {
        "grad-cam": _grad_cam,
        "attention": _attention,
        "frames": frames_panel,
        "words": words_panel,
        "modalities": _modalities,
        "gates": _gates,
        "trajectory": _trajectory,
    }
    found = []
    for key, make in makers.items():
        if not options.wants(key):
            continue
        try:
            found.append(make(case, options))
        except (NotApplicable, MissingExtraError) as error:
            found.append(refusal(key, TITLES[key], error))
    return found


def _grad_cam(case: Case, options: ExplainOptions) -> Panel:
    layer = choose_layer(case.model, options.layer)
    hertz = band_hertz(case.description("audio"))
    cam = grad_cam(case.model, case.batch, layer, case.target, options.score)
    times = time_axis(case.description("audio")).centres(cam.fine.shape[1], cam.start)
    top = float(cam.fine.max())
    heat = cam.fine / top if top > 0 else cam.fine
    mel = case.batch.modalities["audio"].values[0].double().numpy()
    mel = DECIBELS * mel[cam.start : cam.start + cam.fine.shape[1]].T
    height, columns = cam.coarse.shape
    notes = [
        f"layer {layer.name}; legal: {', '.join(cam_layers(case.model))}",
        f"it has {height} x {columns} cells over frequency and time; an earlier layer has more",
    ]
    redrawn: list[float | None] = []
    if top <= 0:
        notes.append("the map is 0 everywhere: nothing in this layer speaks for the class")
    elif options.draws:
        drawn = compare_redrawn(
            case.model,
            lambda model: grad_cam(model, case.batch, layer, case.target, options.score).fine,
            options.draws,
            options.draw_seed,
        )
        notes.append(drawn.words())
        redrawn = list(drawn.correlations)
    row, column = np.unravel_index(int(cam.fine.argmax()), cam.fine.shape)
    numbers = {
        "layer": layer.name,
        "stride": layer.stride,
        "peak_seconds": float(times[column]),
        "peak_hertz": float(hertz[row]),
        "bands_hertz": _band_shares(cam.fine, hertz),
        "redrawn": redrawn,
    }
    rows = tuple(
        (round(float(times[t]), 4), *(round(float(v), 6) for v in cam.fine[:, t]))
        for t in range(len(times))
    )
    return Panel(
        "grad-cam",
        TITLES["grad-cam"],
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
        (Sheet("grad-cam", ("seconds", *(f"{one:.0f} Hz" for one in hertz)), rows),),
        numbers,
        tuple(notes),
    )


def _heat_rows(cam: Cam, times: Floats, hertz: Floats) -> tuple[tuple[str, str, str], ...]:
    """Give the strongest place, and the share of the heat in each range of frequencies."""
    row, column = np.unravel_index(int(cam.fine.argmax()), cam.fine.shape)
    areas = _band_shares(np.ones_like(cam.fine), hertz)
    shares = _band_shares(cam.fine, hertz)
    place = f"{times[column]:.2f} s, {hertz[row]:,.0f} Hz"
    return (
        (f"strongest at {place}", "", ""),
        *((n, f"{100 * share:.0f} %", f"{100 * areas[n]:.0f} %") for n, share in shares.items()),
    )


def _band_shares(heat: Floats, hertz: Floats) -> dict[str, float]:
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


def _attention(case: Case, options: ExplainOptions) -> Panel:
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
        TITLES["attention"],
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


def _modalities(case: Case, options: ExplainOptions) -> Panel:
    if len(case.batch.modalities) < 2:
        raise NotApplicable("there is one modality: the whole answer is its own")
    means = case.subject.training_mean(case.fold) if case.model.needs() else None
    prior = case.subject.class_shares(case.fold)
    worth = subset_scores(
        case.model,
        case.batch,
        torch.tensor([case.target]),
        kind="probability",
        prior=prior,
        means=means,
    )
    shares = {name: float(one[0]) for name, one in worth.shares.items()}
    scores = {"+".join(sorted(s)) or "nothing": float(v[0]) for s, v in worth.scores.items()}
    notes = [worth.words(), f"efficiency axiom: missed by {worth.efficiency:.1g}"]
    if worth.absent and not case.subject.recipe.trainer.dropout_for(len(case.subject.table.dims)):
        notes.append(
            "the model was trained without modality dropout: fewer modalities are new to it"
        )
    return Panel(
        "modalities",
        TITLES["modalities"],
        f"Exact Shapley values over all {len(scores)} subsets, of the probability of "
        f"{case.target_name}: what a modality adds, averaged over the orders in which they may "
        "come.",
        (
            Picture(
                "modalities",
                f"What each modality adds to the probability of {case.target_name}",
                draw.signed_bars(list(shares), np.array(list(shares.values())), "Shapley value"),
            ),
        ),
        (
            Table("Shapley values", ("modality", "adds"), _cells(shares)),
            Table("probability with a subset", ("subset", "probability"), _cells(scores)),
        ),
        (),
        {"shapley": shares, "subsets": scores, "efficiency": worth.efficiency},
        tuple(notes),
    )


def _cells(values: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{value:.3f}") for name, value in values.items())


def _gates(case: Case, options: ExplainOptions) -> Panel:
    del options
    gates = read_gates(case.output)
    values = {name: float(one[0]) for name, one in gates.columns().items()}
    spread = {name: float(one[0]) for name, one in gates.spread.items()}
    notes = [
        f"gate on {name}: standard deviation {value:.3f} over its dimensions"
        for name, value in spread.items()
    ]
    return Panel(
        "gates",
        TITLES["gates"],
        "What the model itself reports: shares of the decision, gates (mean over their "
        "dimensions), shares of the fuzzy memberships and the rule that chooses them.",
        (),
        (Table("figures", ("", "value"), _cells(values)),),
        (),
        {"values": values, "spread": spread},
        tuple(notes),
    )


def _trajectory(case: Case, options: ExplainOptions) -> Panel:
    found = trace(case, options.window, options.hop)
    classes = case.subject.classes
    lines = {name: found.probabilities[:, place] for place, name in enumerate(classes)}
    pictures = []
    notes = []
    if found.vad:
        figure = draw.curves(found.times, found.vad, "on the scheme's scale")
        pictures.append(Picture("vad", "Valence, arousal and dominance over time", figure))
    else:
        notes.append("no valence-arousal curve: the model gives no VAD, or its scheme has no scale")
    figure = draw.curves(found.times, lines, "probability")
    pictures.append(Picture("trajectory", "Probability of each class over time", figure))
    if found.kept:
        notes.append(f"{' and '.join(found.kept)} stayed whole in every window")
    heads = ("seconds", *found.vad, *classes)
    columns = [found.times, *found.vad.values(), *lines.values()]
    rows = tuple(tuple(round(float(one[r]), 6) for one in columns) for r in range(len(found.times)))
    return Panel(
        "trajectory",
        TITLES["trajectory"],
        f"Windows of {options.window:g} s every {options.hop:g} s, each encoded by itself and put "
        "to the model; a point stands at the middle of its window.",
        tuple(pictures),
        (),
        (Sheet("trajectory", heads, rows),),
        {"seconds": found.times.tolist(), **{n: v.tolist() for n, v in found.vad.items()}},
        tuple(notes),
    )
