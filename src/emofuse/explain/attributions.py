"""Integrated gradients over what the model reads: frames, tokens, or features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.encoders.hf_text import Token
from emofuse.encoders.prosody import NAMES as PROSODY
from emofuse.errors import EmofuseError
from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.axes import time_axis
from emofuse.explain.deletion import delete_frames, pieces_of, rank_correlation
from emofuse.explain.integrated import Attributed, integrate
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import Panel, Picture, Sheet
from emofuse.explain.randomise import Randomised, compare_redrawn
from emofuse.explain.scores import Scorer, company_effect, score_words
from emofuse.explain.subject import Case
from emofuse.explain.unpooled import Reading, item_of, read_inputs
from emofuse.explain.words import frame_tokens
from emofuse.models.contract import FusionModel

__all__ = ["attribute", "frames_panel"]

Floats = NDArray[np.float64]
MOVES = 1e-4
MOST_FEATURES = 15
TITLE = "Which frames (integrated gradients)"


def attribute(
    case: Case,
    readings: Sequence[Reading],
    options: ExplainOptions,
    model: FusionModel | None = None,
) -> Attributed:
    """Integrate gradients over every modality at once.

    Args:
        case: the utterance.
        readings: what it is read as.
        options: baseline, steps, tolerance, score.
        model: another model than the case's.
    """
    model = case.model if model is None else model
    names = [one.modality for one in readings]
    scorer = Scorer(model, case.batch, case.target, options.score, names)

    def score(*values: Tensor) -> Tensor:
        return scorer(*(r.reduce(one) for r, one in zip(readings, values, strict=True)))

    means = case.subject.training_mean(case.fold) if options.baseline == "mean" else {}
    starts = [one.baseline(means.get(one.modality)) for one in readings]
    alone = company_effect(model, case.batch) > MOVES
    return integrate(score, [one.values for one in readings], starts, options, alone=alone)


def frames_panel(case: Case, options: ExplainOptions) -> Panel:
    """Attribute the score to the frames, tokens or features of every modality."""
    readings = read_inputs(case)
    found = attribute(case, readings, options)
    notes = [found.words(), *(one.note for one in readings if one.note)]
    if not found.closed:
        notes.append(_why_open(case))
    by_frame = {r.modality: v.double().sum(dim=1) for r, v in _pairs(readings, found)}
    totals = {name: float(one.sum()) for name, one in by_frame.items()}
    pictures: list[Picture] = []
    tables = [
        Table(
            "sum over each modality",
            ("modality", "frames", "attribution"),
            tuple((r.modality, f"{r.frames:,}", f"{totals[r.modality]:.4g}") for r in readings),
        )
    ]
    sheets: list[Sheet] = []
    numbers: dict[str, object] = {**found.numbers(), "baseline": options.baseline, "sums": totals}
    for reading, values in _pairs(readings, found):
        if reading.frames > 1:
            pictures += _frame_pictures(case, reading, by_frame[reading.modality])
            sheets.append(_frame_sheet(case, reading, by_frame[reading.modality]))
            agreement = _agreement(case, reading, by_frame[reading.modality], options)
            if agreement is not None:
                numbers[f"deletion_agreement_{reading.modality}"] = agreement
                notes.append(
                    f"{reading.modality}: taking pieces out agrees with the gradients with rank "
                    f"correlation {agreement:.2f}"
                )
        else:
            tables.append(_feature_table(reading, values[0]))
    if options.draws:
        drawn = _redrawn(case, readings, options)
        numbers["redrawn"] = list(drawn.correlations)
        notes.append(drawn.words())
    return Panel(
        "frames",
        TITLE,
        f"Integrated gradients of the {score_words(options.score, case.target_name)} over what the "
        f"model reads of each modality, from {_baseline_words(options, readings)}. Above 0 speaks "
        "for the class, below against it.",
        tuple(pictures),
        tuple(tables),
        tuple(sheets),
        numbers,
        tuple(notes),
    )


def _pairs(readings: Sequence[Reading], found: Attributed) -> list[tuple[Reading, Tensor]]:
    return list(zip(readings, found.values, strict=True))


def _baseline_words(options: ExplainOptions, readings: Sequence[Reading]) -> str:
    if options.baseline == "zeros":
        return "a baseline of zeros"
    odd = [r.modality for r in readings if r.pooling in ("max", "cls")]
    plain = "a baseline in which every frame is the mean frame of the fold's training part"
    return (
        plain if not odd else f"{plain} (zeros for {' and '.join(odd)}, whose pooling has no mean)"
    )


def _why_open(case: Case) -> str:
    if any(name.startswith("fuzzy:") for name in case.output.extras):
        return (
            "the gap stays because memberships are chosen by figures that pass no gradient: on the "
            "way from the baseline the choice may jump. Trust the pieces taken out instead"
        )
    return (
        "the score bends sharply between baseline and input: more steps (--steps) may close the gap"
    )


def _frame_pictures(case: Case, reading: Reading, values: Tensor) -> list[Picture]:
    name, numbers = reading.modality, values.numpy()
    if name == "text":
        labels = [one.piece for one in _tokens(case, reading)]
        figure = draw.signed_bars(labels, numbers, "attribution")
        return [Picture("frames-text", "Attribution to each text token", figure)]
    axis = time_axis(reading.description)
    times = axis.centres(len(numbers))
    if name == "audio" and axis.unit == "s":
        try:
            item = item_of(case, "audio", 16_000)
        except EmofuseError:
            item = None
        if item is not None and item.waveform is not None:
            wave = item.waveform.astype(np.float64)
            figure = draw.wave_and_curve(wave, 16_000, times, numbers, label="attribution")
            return [Picture("frames-audio", "Waveform, and attribution to each frame", figure)]
    figure = draw.curves(times, {name: numbers}, "attribution", axis.unit)
    return [Picture(f"frames-{name}", f"Attribution to each {name} frame", figure)]


def _tokens(case: Case, reading: Reading) -> list[Token]:
    encoder = case.encoder("text")
    return frame_tokens(encoder, case.utterance.text or "", reading.frames)


def _frame_sheet(case: Case, reading: Reading, values: Tensor) -> Sheet:
    name = reading.modality
    if name == "text":
        places: list[object] = [one.piece for one in _tokens(case, reading)]
        head = "token"
    else:
        axis = time_axis(reading.description)
        places = [round(float(one), 4) for one in axis.centres(len(values))]
        head = "seconds" if axis.unit == "s" else axis.unit
    rows = tuple((p, float(v)) for p, v in zip(places, values, strict=True))
    return Sheet(f"frames-{name}", (head, "attribution"), rows)


def _agreement(
    case: Case, reading: Reading, values: Tensor, options: ExplainOptions
) -> float | None:
    """Compare attributions, piece by piece, with what is lost when the piece is taken out."""
    pieces = pieces_of(reading.frames)
    if len(pieces) < 3:
        return None
    if reading.pooling is None:
        drops = delete_frames(
            case.model,
            case.batch,
            reading.modality,
            pieces,
            target=case.target,
            kind=options.score,
        )
    else:
        drops = _drops_through_pooling(case, reading, pieces, options)
    sums = [float(values[piece.start : piece.stop].sum()) for piece in pieces]
    return rank_correlation(sums, drops.tolist())


def _drops_through_pooling(
    case: Case, reading: Reading, pieces: Sequence[range], options: ExplainOptions
) -> Tensor:
    scorer = Scorer(case.model, case.batch, case.target, options.score, [reading.modality])
    with torch.no_grad():
        whole = scorer(reading.reduce(reading.values))[0]
        drops = []
        for piece in pieces:
            left = [*range(piece.start), *range(piece.stop, reading.frames)]
            drops.append(whole - scorer(reading.reduce(reading.values[:, left]))[0])
    return torch.stack(drops)


def _feature_table(reading: Reading, values: Tensor) -> Table:
    """Name the features that count most of a vector."""
    order = values.abs().argsort(descending=True)[:MOST_FEATURES].tolist()
    spec = reading.description.get("spec", {})
    names = PROSODY if spec.get("name") == "prosody" and len(PROSODY) == len(values) else None
    rows = tuple(
        (names[place] if names else f"feature {place}", f"{float(values[place]):.4g}")
        for place in order
    )
    title = f"{reading.modality}: the features that count most ({len(values):,} in all)"
    return Table(title, ("feature", "attribution"), rows)


def _redrawn(case: Case, readings: Sequence[Reading], options: ExplainOptions) -> Randomised:
    quick = options.model_copy(update={"most_steps": options.steps})

    def make(model: FusionModel) -> Floats:
        found = attribute(case, readings, quick, model)
        parts = [v.double().sum(dim=1 if r.frames > 1 else 0) for r, v in _pairs(readings, found)]
        map_: Floats = torch.cat([one.flatten() for one in parts]).numpy()
        return map_

    return compare_redrawn(case.model, make, options.draws, options.draw_seed)
