"""``explain``: a run in, pages out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emofuse.errors import EmofuseError, OptionError, UsageError, WorkError
from emofuse.evaluation.openings import record_opening
from emofuse.evaluation.predictions import PROBABILITY
from emofuse.evaluation.runs import read_run
from emofuse.explain import draw
from emofuse.explain.gathered import Gathered
from emofuse.explain.opening import open_run, read_recipe
from emofuse.explain.options import ExplainOptions
from emofuse.explain.page import SET_FOLDER, slugs_of, write_index, write_panels, write_utterance
from emofuse.explain.panel import Panel, Picture
from emofuse.explain.subject import AGREES, Case, Subject
from emofuse.explain.testset import set_panels
from emofuse.explain.unpooled import item_of
from emofuse.explain.utterance import utterance_panels
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["Explained", "explain"]

RATE = 16_000
LONGEST_AUDIO = 60.0


@dataclass(frozen=True)
class Explained:
    """What was written.

    Attributes:
        index: the page over everything.
        utterances: one entry an utterance: ``id``, ``gold``, ``predicted``, ``confidence``,
            ``page`` and the panels' ``numbers``.
        whole: numbers of the set's panels; None where the set was not looked at.
        openings: how often test has been opened so far.
    """

    index: Path
    utterances: tuple[dict[str, Any], ...]
    whole: dict[str, Any] | None
    openings: int


def explain(
    folder: Path,
    ids: Sequence[str] = (),
    options: ExplainOptions | None = None,
    *,
    errors: int = 0,
    whole: bool | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> Explained:
    """Explain utterances of a run's test parts, and the test set as a whole.

    Args:
        folder: of a finished run.
        ids: utterances.
        options: how.
        errors: so many of the most certain mistakes, and of the least certain, besides.
        whole: whether to explain the set; unless told, where no utterance is named.
        out: where to; ``explanations`` in the run unless told.
        progress: told of every utterance.

    Raises:
        UsageError: nothing to explain, or an option that does not exist here.
        WorkError: an utterance that every model learnt from; an unfinished run.
    """
    options = options or ExplainOptions()
    out = folder / "explanations" if out is None else out
    chosen = [*dict.fromkeys(ids)]
    if errors:
        chosen += [one for one in _mistakes(folder, errors, options) if one not in chosen]
    whole = not chosen if whole is None else whole
    if not chosen and not whole:
        raise UsageError("nothing to explain: name utterances, or take --errors N or --set")
    subject = open_run(folder, options.seed, None if whole else chosen, progress)
    cases = [subject.case(name, options.fold, options.target) for name in chosen]
    count = len(subject.table.ids)
    opened = record_opening(folder, "explain", count)
    slugs = slugs_of(chosen)
    entries = []
    for done, case in enumerate(cases, start=1):
        entries.append(_explain_one(case, options, out / slugs[case.id]))
        progress(ProgressEvent("explain", done, len(cases), "utterances"))
    numbers = _explain_set(subject, options, out) if whole else None
    note = (
        f"seed {subject.seed}; every utterance is explained by the model of the fold in which it "
        f"was test; test has been opened {opened} times"
    )
    index = write_index(out, f"{subject.recipe.name}: explanations", [note])
    return Explained(index, tuple(entries), numbers, opened)


def _mistakes(folder: Path, count: int, options: ExplainOptions) -> list[str]:
    """Give the most certain mistakes, then the least certain."""
    _, seed = read_recipe(folder, options.seed)
    frame = read_run(folder).predictions
    frame = frame[(frame["seed"] == seed) & (frame["gold"] != frame["predicted"])]
    if options.fold is not None:
        frame = frame[frame["fold"] == options.fold]
    if not len(frame):
        raise WorkError(f"{folder} made no mistake with seed {seed}: there is none to explain")
    sure = np.array(
        [row[PROBABILITY + str(row["predicted"])] for _, row in frame.iterrows()], dtype=float
    )
    order = np.argsort(-sure, kind="stable")
    names = [str(frame["id"].iloc[place]) for place in order]
    return [*dict.fromkeys([*names[:count], *names[::-1][:count]])]


def _explain_one(case: Case, options: ExplainOptions, folder: Path) -> dict[str, Any]:
    wave = _waveform(case)
    panels = utterance_panels(case, options)
    if wave is not None:
        panels = [_sound_panel(wave), *panels]
    confidence = case.probabilities[case.predicted]
    notes = _notes(case)
    facts: dict[str, Any] = {
        "id": case.id,
        "gold": case.gold,
        "predicted": case.predicted,
        "confidence": confidence,
        "title": f"{case.id}: {case.predicted} ({confidence:.0%}), gold {case.gold}",
        "target": case.target_name,
        "fold": case.fold.name,
        "seed": case.subject.seed,
        "model": case.subject.recipe.model["name"],
        "speaker": case.utterance.speaker or "unknown",
        "text": case.utterance.text or "",
        "probabilities": sorted(case.probabilities.items(), key=lambda pair: -pair[1]),
        "notes": notes,
    }
    write_utterance(folder, facts, panels, None if wave is None else _wav(wave))
    return {
        "id": case.id,
        "gold": case.gold,
        "predicted": case.predicted,
        "confidence": confidence,
        "target": case.target_name,
        "fold": case.fold.name,
        "page": str(folder / "index.html"),
        "numbers": {panel.key: panel.numbers for panel in panels},
        "notes": [*notes, *(note for panel in panels for note in panel.notes)],
    }


def _notes(case: Case) -> list[str]:
    notes = []
    if case.drift > AGREES:
        notes.append(
            f"alone, the model's probabilities differ from the run's by up to {case.drift:.3f}: "
            "it reads something of the batch, or the features changed"
        )
    if case.target_name != case.predicted:
        notes.append(f"explained is {case.target_name}, not the answer {case.predicted}")
    lacking = [name for name in case.subject.table.dims if name not in case.batch.modalities]
    if lacking:
        notes.append(f"the utterance has no {' and no '.join(lacking)}")
    return notes


def _waveform(case: Case) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    try:
        wave = item_of(case, "audio", RATE).waveform
    except EmofuseError:
        return None
    return None if wave is None else wave.astype(np.float64)


def _sound_panel(wave: np.ndarray[Any, np.dtype[np.float64]]) -> Panel:
    figure = draw.wave_and_curve(wave, RATE, np.zeros(0), None)
    pictures = [Picture("waveform", "Waveform", figure)]
    from emofuse.encoders.contract import EncoderSpec, Item
    from emofuse.encoders.logmel import LogMel, mel_edges
    from emofuse.explain.axes import TimeAxis

    encoder = LogMel(EncoderSpec(name="logmel", granularity="frames"))
    (mel,) = encoder.encode([Item("sound", waveform=wave.astype(np.float32))])
    times = TimeAxis(100.0, 0.0125).centres(len(mel))
    decibels = 10.0 / np.log(10.0) * mel.astype(np.float64).T
    pictures.append(
        Picture("mel", "Log-mel spectrogram", draw.mel_map(decibels, times, mel_edges()[1:-1]))
    )
    return Panel(
        "sound",
        "Sound",
        "",
        tuple(pictures),
        numbers={"seconds": len(wave) / RATE},
    )


def _wav(wave: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    stream = io.BytesIO()
    cut = np.clip(wave[: int(LONGEST_AUDIO * RATE)], -1.0, 1.0)
    soundfile.write(stream, cut, RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _explain_set(subject: Subject, options: ExplainOptions, out: Path) -> dict[str, Any]:
    if options.target is not None:
        raise OptionError("a set is explained for each utterance's own answer: leave --target out")
    panels = set_panels(Gathered(subject), options)
    write_panels(out / SET_FOLDER, panels)
    return {panel.key: panel.numbers for panel in panels}
