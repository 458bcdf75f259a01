"""The panels of a whole test set: contributions, gates, embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.clusters import Mean, mean_by_speaker, speaker_codes
from emofuse.explain.gates import RULE_OF, Gates
from emofuse.explain.gathered import Gathered
from emofuse.explain.options import ExplainOptions
from emofuse.explain.pairs import correlation_panel
from emofuse.explain.panel import NotApplicable, Panel, Picture, Sheet, make_panels
from emofuse.explain.projection import MOST_POINTS, project, silhouette
from emofuse.layers.fuzzy import MEMBERSHIPS

__all__ = ["SET_TITLES", "set_panels"]

Floats = NDArray[np.float64]
FEW = 8
SET_TITLES: Mapping[str, str] = {
    "modalities": "What each modality adds (Shapley values)",
    "gates": "Weights, gates and memberships",
    "embeddings": "Embeddings",
    "correlation": "Audio and text of the same utterance",
}


def set_panels(gathered: Gathered, options: ExplainOptions) -> list[Panel]:
    """Explain a test set in every way that is asked for; what does not apply says why."""
    makers: dict[str, Callable[[Gathered, ExplainOptions], Panel]] = {
        "modalities": _modalities,
        "gates": _gates,
        "embeddings": _embeddings,
        "correlation": correlation_panel,
    }
    return make_panels(makers, SET_TITLES, gathered, options)


def _groups(gathered: Gathered) -> dict[str, NDArray[np.bool_]]:
    """Give the groups that tables are split by: all, right, wrong, each gold class."""
    rows = gathered.rows
    golds = np.array(rows.golds)
    found = {
        "all": np.ones(len(rows), dtype=bool),
        "recognised": rows.right,
        "mistaken": ~rows.right,
    }
    found |= {f"gold {name}": golds == name for name in gathered.subject.classes}
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def _means(
    gathered: Gathered, columns: Mapping[str, Floats], options: ExplainOptions
) -> dict[str, list[Mean]]:
    """Give group -> mean of each column, with intervals by speaker."""
    table = np.stack(list(columns.values()), axis=1)
    speakers = np.array(gathered.rows.speakers)
    found = {}
    for name, chosen in _groups(gathered).items():
        _, codes = speaker_codes(speakers[chosen].tolist())
        found[name] = mean_by_speaker(table[chosen], codes, options.resamples, options.draw_seed)
    return found


def _table(title: str, columns: Sequence[str], means: Mapping[str, list[Mean]]) -> Table:
    rows = tuple((name, *(one.words() for one in found)) for name, found in means.items())
    return Table(f"{title}: mean (95 % by speaker)", ("utterances", *columns), rows)


def _numbers(columns: Sequence[str], means: Mapping[str, list[Mean]]) -> dict[str, object]:
    return {
        name: {c: one.numbers() for c, one in zip(columns, found, strict=True)}
        for name, found in means.items()
    }


def _bars(columns: Sequence[str], means: Mapping[str, list[Mean]], label: str) -> Figure:
    values = {
        c: [found[place].value for found in means.values()] for place, c in enumerate(columns)
    }
    ends = {
        c: [
            (
                found[place].value if found[place].low is None else float(found[place].low or 0.0),
                found[place].value
                if found[place].high is None
                else float(found[place].high or 0.0),
            )
            for found in means.values()
        ]
        for place, c in enumerate(columns)
    }
    return draw.bars(list(means), values, ends, label)


def _sheet(gathered: Gathered, name: str, columns: Mapping[str, Floats]) -> Sheet:
    rows = gathered.rows
    lines = zip(rows.ids, rows.folds, rows.golds, rows.predictions, *columns.values(), strict=True)
    return Sheet(name, ("id", "fold", "gold", "predicted", *columns), tuple(lines))


def _modalities(gathered: Gathered, options: ExplainOptions) -> Panel:
    each, scores, missed, words = gathered.worths()
    means = _means(gathered, each, options)
    subset_means = _means(gathered, scores, options) if scores else {}
    figure = _bars(list(each), means, "Shapley value")
    tables = [_table("Shapley value", list(each), means)]
    if scores:
        tables.append(
            _table(
                "probability of the predicted class with a subset",
                list(scores),
                {"all": subset_means["all"]},
            )
        )
    notes = [words, f"efficiency axiom: missed by {missed:.1g} at most"]
    if not gathered.subject.recipe.trainer.dropout_for(len(each)):
        notes.append(
            "the models were trained without modality dropout: fewer modalities are new to them"
        )
    return Panel(
        "modalities",
        SET_TITLES["modalities"],
        "Exact Shapley values of the probability of the predicted class, each utterance with the "
        "model of the fold in which it was test.",
        (
            Picture(
                "modalities", "What each modality adds to the probability of the answer", figure
            ),
        ),
        tuple(tables),
        (_sheet(gathered, "modalities", each),),
        {"shapley": _numbers(list(each), means), "efficiency": missed},
        tuple(notes),
    )


def _gates(gathered: Gathered, options: ExplainOptions) -> Panel:
    gates = gathered.gates()
    every = gates.columns()
    columns = {name: one for name, one in every.items() if np.abs(one).max() > 0}
    means = _means(gathered, columns, options)
    pictures = []
    plain = {n: c for n, c in columns.items() if n.startswith(("weight", "gate", "alpha"))}
    if plain:
        chosen = {name: list(means[name]) for name in means}
        places = [list(columns).index(name) for name in plain]
        cut = {name: [found[p] for p in places] for name, found in chosen.items()}
        figure = _bars(list(plain), cut, "mean")
        pictures.append(Picture("gates", "Weights and gates by group", figure))
    if gates.memberships:
        pictures.append(_rules(gates))
    notes = [
        f"gate on {name}: standard deviation over utterances {float(np.std(one)):.4f}, over its "
        f"dimensions {float(np.mean(gates.spread[name])):.4f}"
        for name, one in gates.openness.items()
    ]
    if gathered.reads_company():
        notes.append("the models read their batch: these are the figures in this company")
    never = [name for name in every if name not in columns]
    if never:
        notes.append(f"0 in every utterance: {', '.join(never)}")
    for name, shares in gates.memberships.items():
        chosen_share = np.bincount(shares.argmax(axis=1), minlength=len(MEMBERSHIPS)) / len(shares)
        most = int(chosen_share.argmax())
        if chosen_share[most] > 0.99:
            notes.append(
                f"{name}: {100 * chosen_share[most]:.1f} % of the utterances get the membership "
                f"{MEMBERSHIPS[most]!r}: the rule base does not choose"
            )
    return Panel(
        "gates",
        SET_TITLES["gates"],
        "What the models report of themselves over all test utterances: shares of the decision, "
        "gates (mean over their dimensions), and how often each fuzzy membership, and so each "
        "rule, was chosen.",
        tuple(pictures),
        tuple(_chunks(columns, means)),
        (_sheet(gathered, "gates", columns),),
        _numbers(list(columns), means),
        tuple(notes),
    )


def _chunks(columns: Mapping[str, Floats], means: Mapping[str, list[Mean]]) -> list[Table]:
    """Cut a wide table into tables of five columns."""
    names = list(columns)
    tables = []
    for start in range(0, len(names), 5):
        part = names[start : start + 5]
        cut = {name: found[start : start + 5] for name, found in means.items()}
        tables.append(_table("reported", part, cut))
    return tables


def _rules(gates: Gates) -> Picture:
    labels = [f"{kind} ({RULE_OF[kind]})" for kind in MEMBERSHIPS]
    groups = {name: shares.mean(axis=0).tolist() for name, shares in gates.memberships.items()}
    figure = draw.bars(labels, groups, None, "share of utterances")
    return Picture("rules", "How often each fuzzy membership was chosen", figure)


def _embeddings(gathered: Gathered, options: ExplainOptions) -> Panel:
    spaces = _spaces(gathered, options)
    if not spaces:
        raise NotApplicable(f"fewer than {FEW} test utterances: too few to lay out")
    rows = gathered.rows
    golds, speakers = np.array(rows.golds), np.array(rows.speakers)
    pictures, lines, notes, sheets = [], [], [], []
    numbers: dict[str, object] = {}
    for name, (values, places) in spaces.items():
        kept = _sample(len(places), options.draw_seed)
        plane = project(values[kept], options.projection, options.draw_seed)
        who = places[kept]
        colourings = {"emotion (gold)": golds[who].tolist()}
        if len(set(speakers[places].tolist())) > 1 and all(speakers[places]):
            colourings["speaker"] = speakers[who].tolist()
        figure = draw.scatter(plane.points, colourings)
        slug = "embeddings-" + re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
        pictures.append(Picture(slug, f"{name}: {plane.setting}", figure))
        cells, found = _silhouettes(values, golds[places], speakers[places], options)
        lines.append((name, f"{len(places):,}", str(values.shape[1]), *cells))
        numbers[name] = {"items": len(places), "dim": values.shape[1], **found}
        points = zip(
            np.array(rows.ids)[who], golds[who], speakers[who], *plane.points.T, strict=True
        )
        sheets.append(Sheet(slug, ("id", "gold", "speaker", "x", "y"), tuple(points)))
        if len(kept) < len(places):
            notes.append(f"{name}: {len(kept):,} of {len(places):,} points drawn, picked by seed")
    if gathered.subject.learned:
        notes.append("encoders learned on each fold: features of two folds come from two encoders")
    heads = ("space", "utterances", "size", "silhouette by emotion", "silhouette by speaker")
    return Panel(
        "embeddings",
        SET_TITLES["embeddings"],
        "Test utterances alone. The picture depends on the projection; the silhouettes are taken "
        "in the original space (columns standardised): 1 = tight and apart, 0 = mixed, below 0 = "
        "nearer to others.",
        tuple(pictures),
        (Table("silhouettes (95 % by speaker)", heads, tuple(lines)),),
        tuple(sheets),
        numbers,
        tuple(notes),
    )


def _spaces(
    gathered: Gathered, options: ExplainOptions
) -> dict[str, tuple[Floats, NDArray[np.int64]]]:
    """Give the spaces to lay out: a model's fused vectors of one fold, the features of all.

    Vectors of two folds come from two models and share no axes, so one fold alone is laid out: the
    one that is asked for, else the one with most test utterances.
    """
    rows = gathered.rows
    found: dict[str, tuple[Floats, NDArray[np.int64]]] = {}
    fold = options.fold or max(gathered.subject.folds, key=lambda one: len(one.test)).name
    gathered.subject.fold(fold)
    places = np.flatnonzero(np.array(rows.folds) == fold)
    for name, values in gathered.embeddings(fold).items():
        if len(places) >= FEW and (name == "fused" or len(gathered.subject.table.dims) > 1):
            found[f"model, {name}, fold {fold!r}"] = (values, places)
    for name, values in gathered.features().items():
        there = np.flatnonzero(np.isfinite(values).all(axis=1))
        if len(there) >= FEW:
            found[f"features, {name}"] = (values[there], there)
    return found


def _sample(count: int, seed: int) -> NDArray[np.int64]:
    if count <= MOST_POINTS:
        return np.arange(count)
    chosen = np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False)
    return np.sort(chosen)


def _silhouettes(
    values: Floats, golds: NDArray[np.str_], speakers: NDArray[np.str_], options: ExplainOptions
) -> tuple[tuple[str, str], dict[str, object]]:
    cells: list[str] = []
    numbers: dict[str, object] = {}
    for name, labels in (("emotion", golds), ("speaker", speakers)):
        one = None
        if name == "emotion" or all(speakers):
            one = silhouette(
                values, labels.tolist(), speakers.tolist(), options.resamples, options.draw_seed
            )
        cells.append("– (one group)" if one is None else one.words())
        numbers[f"silhouette_{name}"] = None if one is None else one.numbers()
    return (cells[0], cells[1]), numbers
