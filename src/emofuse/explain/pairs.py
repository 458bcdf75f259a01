"""The panel of audio and text: cosine, distance, CKA and CCA of what belongs together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from emofuse.evaluation.tables import Table
from emofuse.explain.clusters import Mean, mean_by_speaker, speaker_codes
from emofuse.explain.correlation import (
    Estimate,
    Kernels,
    held_out_cca,
    jackknife,
    pair_means,
    permutation,
    principal,
)
from emofuse.explain.gathered import Gathered
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable, Panel
from emofuse.explain.projection import standardised
from emofuse.media.text import normalise_text

__all__ = ["correlation_panel"]

Floats = NDArray[np.float64]
Order = NDArray[np.int64]
FEW = 12
COMPONENTS = 50
MOST_ROWS = 1500
TITLE = "Audio and text of the same utterance"


def correlation_panel(gathered: Gathered, options: ExplainOptions) -> Panel:
    """Measure how far audio and text of an utterance go together, in features and in the model.

    Raises:
        NotApplicable: the model does not read both.
    """
    if not {"audio", "text"} <= set(gathered.subject.table.dims):
        have = ", ".join(gathered.subject.table.dims)
        raise NotApplicable(f"audio and text are needed; the model reads {have}")
    lines: list[tuple[str, ...]] = []
    notes: list[str] = []
    numbers: dict[str, object] = {}
    for name, (sound, words, places) in _spaces(gathered, options).items():
        pick = _sample(len(places), options.draw_seed)
        audio, text, kept = sound[pick], words[pick], places[pick]
        if len(kept) < len(places):
            notes.append(f"{name}: {MOST_ROWS:,} of {len(places):,} utterances, picked by seed")
        if len(kept) < FEW:
            notes.append(f"{name}: {len(kept)} utterances are too few")
            continue
        found, rows, said = _measure(gathered, audio, text, kept, options)
        numbers[name] = found
        lines += [(name, *row) for row in rows]
        notes += [f"{name}: {line}" for line in said]
    if not lines:
        raise NotApplicable("; ".join(notes) or "no utterance has both audio and text")
    heads = ("space", "measure", "value (95 % by speaker)", "mismatched or chance", "p")
    return Panel(
        "correlation",
        TITLE,
        "Rows are utterances: the mean over time of audio and of text, columns centred. Matched: "
        "audio with its own text; mismatched: with the texts of other words. CKA is linear and "
        f"without bias; CCA is the first canonical correlation of at most {COMPONENTS} principal "
        "components a side, regularised, on speakers it was not fitted on. Chance is the 95 % "
        f"quantile of {options.permutations} permuted pairings. Intervals of cosine and distance "
        "draw speakers (bootstrap); those of CKA and CCA leave out one speaker after the other "
        "(jackknife), as a bootstrap would draw an utterance twice, and two equal rows raise both.",
        (),
        (Table("audio and text", heads, tuple(lines), 2),),
        (),
        numbers,
        tuple(notes),
    )


def _sample(count: int, seed: int) -> NDArray[np.int64]:
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_ROWS, replace=False))


def _spaces(
    gathered: Gathered, options: ExplainOptions
) -> dict[str, tuple[Floats, Floats, NDArray[np.int64]]]:
    features = gathered.features()
    there = np.isfinite(features["audio"]).all(axis=1) & np.isfinite(features["text"]).all(axis=1)
    places = np.flatnonzero(there)
    found = {"features": (features["audio"][places], features["text"][places], places)}
    fold = options.fold or max(gathered.subject.folds, key=lambda one: len(one.test)).name
    inside = np.flatnonzero(np.array(gathered.rows.folds) == fold)
    embeddings = gathered.embeddings(fold)
    if {"audio", "text"} <= set(embeddings):
        kept = np.isin(inside, places)
        both = (embeddings["audio"][kept], embeddings["text"][kept])
        found[f"model, fold {fold!r}"] = (*both, inside[kept])
    return found


def _measure(
    gathered: Gathered,
    audio: Floats,
    text: Floats,
    places: NDArray[np.int64],
    options: ExplainOptions,
) -> tuple[dict[str, object], list[tuple[str, ...]], list[str]]:
    rows = gathered.rows
    unit, codes = speaker_codes([rows.speakers[p] for p in places])
    texts = np.array([normalise_text(rows.texts[p]) for p in places])
    audio, text = audio - audio.mean(axis=0), text - text.mean(axis=0)
    found: dict[str, object] = {"utterances": len(places)}
    lines: list[tuple[str, ...]] = []
    notes: list[str] = []
    if unit != "speaker":
        notes.append("speakers are not all known: every utterance stands for itself")
    if len(set(texts.tolist())) < len(texts) / 2:
        notes.append(
            f"{len(set(texts.tolist()))} different texts for {len(texts)} utterances: text can "
            "only tell which sentence it is"
        )
    if audio.shape[1] == text.shape[1]:
        for name, table in _tables(audio, text).items():
            line, numbers = _pairs_line(name, table, texts, codes, options)
            lines.append(line)
            found[name] = numbers
    else:
        notes.append(
            f"audio has {audio.shape[1]} values and text {text.shape[1]}: cosine and distance are "
            "not defined between them; CKA and CCA compare rows, whatever the sizes"
        )
    for name, estimate in _relations(audio, text, codes, options).items():
        found[name] = vars(estimate)
        chance = f"{estimate.chance:.3f}"
        lines.append((name, estimate.words(), chance, f"{estimate.p:.3f}"))
    return found, lines, notes


def _tables(audio: Floats, text: Floats) -> dict[str, Floats]:
    """Give cosine and distance of every audio with every text."""
    one = audio / np.maximum(np.linalg.norm(audio, axis=1, keepdims=True), 1e-12)
    two = text / np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1e-12)
    cosine = one @ two.T
    squares = (audio**2).sum(axis=1)[:, None] + (text**2).sum(axis=1)[None]
    distance = np.sqrt(np.maximum(squares - 2 * audio @ text.T, 0.0))
    return {"cosine": cosine, "distance": distance}


def _pairs_line(
    name: str,
    table: Floats,
    texts: NDArray[np.str_],
    codes: NDArray[np.int64],
    options: ExplainOptions,
) -> tuple[tuple[str, ...], dict[str, object]]:
    matched, mismatched = pair_means(table, texts)
    sign = 1.0 if name == "cosine" else -1.0

    def measure(order: NDArray[np.int64]) -> float:
        return sign * float(table[np.arange(len(table)), order].mean())

    p, _ = permutation(measure, len(table), options.permutations, options.draw_seed)
    own = _mean(matched, codes, options)
    if not np.isfinite(mismatched).all():
        return (name, own.words(), "– (all texts are the same)", f"{p:.3f}"), {
            "matched": own.numbers(),
            "mismatched": None,
            "p": p,
        }
    other, gap = _mean(mismatched, codes, options), _mean(matched - mismatched, codes, options)
    cell = f"{other.words()}; difference {gap.words()}"
    return (name, own.words(), cell, f"{p:.3f}"), {
        "matched": own.numbers(),
        "mismatched": other.numbers(),
        "difference": gap.numbers(),
        "p": p,
    }


def _mean(values: Floats, codes: NDArray[np.int64], options: ExplainOptions) -> Mean:
    return mean_by_speaker(values, codes, options.resamples, options.draw_seed)[0]


def _relations(
    audio: Floats, text: Floats, codes: NDArray[np.int64], options: ExplainOptions
) -> dict[str, Estimate]:
    """Give CKA and CCA; the interval leaves out one speaker after the other."""
    seed, count = options.draw_seed, len(audio)
    kernels = Kernels(audio, text)
    one = principal(standardised(audio), COMPONENTS)
    two = principal(standardised(text), COMPONENTS)

    def paired(order: Order) -> float:
        return held_out_cca(one, two[order], codes, seed=seed)

    def of_part(kept: NDArray[np.bool_]) -> float:
        return held_out_cca(one[kept], two[kept], codes[kept], seed=seed)

    found = {"CKA": _estimate(kernels.paired, kernels.of_part, count, codes, options)}
    if len(np.unique(codes)) > 1:
        found["CCA, held out"] = _estimate(paired, of_part, count, codes, options)
    return found


def _estimate(
    paired: Callable[[Order], float],
    of_part: Callable[[NDArray[np.bool_]], float],
    count: int,
    codes: NDArray[np.int64],
    options: ExplainOptions,
) -> Estimate:
    p, drawn = permutation(paired, count, options.permutations, options.draw_seed)
    low, high = jackknife(of_part, codes)
    value = paired(np.arange(count))
    return Estimate(value, low, high, float(np.quantile(drawn, 0.95)), p)
