"""The panels of one utterance's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.attributions import frames_panel
from emofuse.explain.gates import read_gates
from emofuse.explain.maps import (
    ATTENTION_TITLE,
    CAM_TITLE,
    attention_panel,
    grad_cam_panel,
)
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable, Panel, Picture, Sheet, make_panels
from emofuse.explain.shapley import subset_scores
from emofuse.explain.spoken import words_panel
from emofuse.explain.subject import Case
from emofuse.explain.trajectory import trace

__all__ = ["TITLES", "utterance_panels"]

TITLES: Mapping[str, str] = {
    "grad-cam": CAM_TITLE,
    "attention": ATTENTION_TITLE,
    "frames": "Which frames (integrated gradients)",
    "words": "Which words",
    "modalities": "What each modality adds (Shapley values)",
    "gates": "Weights, gates and memberships",
    "trajectory": "Over time",
}


def utterance_panels(case: Case, options: ExplainOptions) -> list[Panel]:
    """Explain one utterance in every way that is asked for; what does not apply says why."""
    makers: dict[str, Callable[[Case, ExplainOptions], Panel]] = {
        "grad-cam": grad_cam_panel,
        "attention": attention_panel,
        "frames": frames_panel,
        "words": words_panel,
        "modalities": _modalities,
        "gates": _gates,
        "trajectory": _trajectory,
    }
    return make_panels(makers, TITLES, case, options)


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
