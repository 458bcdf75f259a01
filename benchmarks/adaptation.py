"""What speaker adaptation gives on corpora that a model never heard, through the recogniser.

    python benchmarks/adaptation.py RUN [--halves 0 1 2 4 8] [--json FILE] [--keep DIR]

RUN is `default/cross-corpus`, trained (leave-one-corpus-out): each corpus is answered by the model
that never heard it, with answer rules fitted on what the run said of the other corpora. Features
come from the run; everything after them is the recogniser's own path (`Speakers`, `Meter`,
`answer_loaded`). Each utterance is answered from itself and ``n - 1`` others of its speaker, drawn
at random. UA in per cent, 95 % intervals over speakers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.evaluation.calibration import calibration_error
from emofuse.evaluation.intervals import bootstrap, cluster_counts
from emofuse.evaluation.rules import AnswerRules, HeldOutItems, ScoreOptions, fit_rules
from emofuse.recognition.adapting.meter import Meter
from emofuse.recognition.adapting.reference import Reference
from emofuse.recognition.query import Query
from emofuse.recognition.reading import Loaded
from emofuse.recognition.recognizer import Recognizer
from emofuse.training.again.examine import OpenedRun, open_run
from emofuse.training.collect import write_best
from emofuse.training.jobs import Job

JUDGED = ("emodb", "ravdess", "nemo")
COUNTS = (1, 2, 4, 8, 16, None)
RULES = ScoreOptions(scaling="temperature", sets_by="speaker", risk=0.3)
Floats = NDArray[np.float64]
Groups = Iterator[tuple[int, list[int]]]


@dataclass(frozen=True, eq=False)
class Bench:
    """A corpus and the recogniser that never heard it."""

    corpus: str
    recognizer: Recognizer
    features: NDArray[np.float32]
    speakers: tuple[str, ...]
    gold: tuple[str, ...]
    heard: tuple[Loaded, ...]

    def mates(self, item: int, same_mood: bool = False) -> NDArray[np.int64]:
        """Items of the same speaker, this one left out."""
        own = np.array([one == self.speakers[item] for one in self.speakers])
        own[item] = False
        if same_mood:
            own &= np.array([one == self.gold[item] for one in self.gold])
        return np.flatnonzero(own)


def benches(run: OpenedRun, home: Path) -> list[Bench]:
    """Give a bench a fold."""
    found = []
    for job in run.jobs:
        corpus = str(run.data.manifest[job.fold.test[0]].corpus)
        folder = home / corpus
        rules = rules_without(run, corpus)
        write_best(folder, run.recipe, run.data, job, run.metrics, rules=rules)
        found.append(bench(run, job, corpus, Recognizer.load(folder)))
    return found


def rules_without(run: OpenedRun, corpus: str) -> AnswerRules:
    """Fit answer rules on what the run said of the other corpora, each left out by its model."""
    table = pd.read_parquet(run.folder / "predictions.parquet")
    table = table[table["corpus"] != corpus]
    classes = list(run.scheme.classes)
    return fit_rules(HeldOutItems.of_predictions(table, classes), classes, RULES)


def bench(run: OpenedRun, job: Job, corpus: str, recognizer: Recognizer) -> Bench:
    """Put the features of a fold's test part before its model."""
    table = run.data.table
    part = table.modalities["audio"].gather(table.rows(job.fold.test))
    features = part.values[:, 0].numpy()
    utterances = [run.data.manifest[name] for name in job.fold.test]
    heard = [
        Loaded(Query(u.id, speaker=u.speaker), 1.0, features={"audio": row[None]})
        for u, row in zip(utterances, features, strict=True)
    ]
    for first in range(0, len(heard), 256):
        recognizer.listen_loaded(heard[first : first + 256])
    return Bench(
        corpus,
        recognizer,
        features,
        tuple(str(u.speaker) for u in utterances),
        tuple(str(u.emotion) for u in utterances),
        tuple(heard),
    )


def sets_of(one: Bench, count: int | None, mood: bool, seed: int = 0) -> Groups:
    """Give each item with those it is adapted from, itself among them."""
    random = np.random.default_rng(seed)
    for item in range(len(one.gold)):
        mates = random.permutation(one.mates(item, mood))
        yield item, [item, *mates[: None if count is None else count - 1].tolist()]


def neutral_of(one: Bench, count: int, seed: int = 0) -> Groups:
    """Give each item with up to ``count`` neutral clips of its speaker, itself not among them."""
    random = np.random.default_rng(seed)
    for item in range(len(one.gold)):
        mates = random.permutation(one.mates(item))
        yield item, [mate for mate in mates.tolist() if one.gold[mate] == "neutral"][:count]


def stream_of(one: Bench, seed: int = 0) -> Groups:
    """Give each item with those heard before it, in a random order."""
    random = np.random.default_rng(seed)
    before: dict[str, list[int]] = {}
    for item in random.permutation(len(one.gold)).tolist():
        mine = before.setdefault(one.speakers[item], [])
        mine.append(item)
        yield item, list(mine)


def answers(one: Bench, groups: Groups | None, moods: str, half: float | None) -> pd.DataFrame:
    """Answer every item, adapted from its group, or not at all."""
    reference = one.recognizer.reference
    if half is not None:
        reference = replace(reference, half=half)
    asked: list[Loaded] = []
    items: list[int] = []
    for item, group in groups or ((n, []) for n in range(len(one.gold))):
        voice = None if groups is None else meter(one, reference, group).voice(moods)  # type: ignore[arg-type]
        query = replace(one.heard[item].query, voice=voice)
        asked.append(Loaded(query, 1.0, features={"audio": one.features[item][None]}))
        items.append(item)
    said = []
    for first in range(0, len(asked), 256):
        said += one.recognizer.answer_loaded(asked[first : first + 256])
    classes = one.recognizer.classes
    columns: dict[str, Any] = {
        "speaker": [one.speakers[n] for n in items],
        "gold": [one.gold[n] for n in items],
        "predicted": [answer.emotion for answer in said],
        "set": [answer.emotion_set for answer in said],
        "unsure": [bool(answer.too_unsure) for answer in said],
    }
    columns |= {f"p:{n}": [answer.probabilities[n] for answer in said] for n in classes}
    frame = pd.DataFrame(columns)
    return frame.assign(id=frame.index, corpus=one.corpus, fold=one.corpus, seed=0, dialogue=None)


def meter(one: Bench, reference: Reference, group: Sequence[int]) -> Meter:
    """Hear a group."""
    found = Meter(reference, "speaker")
    for item in group:
        found.hear(one.features[item][None], one.heard[item].shares)
    return found


def figures(frame: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """UA with its interval, recalls, and how far the probabilities can be trusted."""
    right = frame["gold"] == frame["predicted"]
    recalls = right.groupby(frame["gold"]).mean()
    interval = bootstrap(cluster_counts(frame, classes), ["ua"], 2000)["ua"]
    shares = frame[[f"p:{name}" for name in classes]].to_numpy(np.float64)
    labels = frame["gold"].map({n: i for i, n in enumerate(classes)}).to_numpy(np.int64)
    inside = [gold in found for gold, found in zip(frame["gold"], frame["set"], strict=True)]
    held = pd.Series(inside).groupby(frame["speaker"].to_numpy()).mean()
    sure = ~frame["unsure"]
    return {
        "ua": 100 * float(recalls.mean()),
        "low": 100 * float(interval.low or 0.0),
        "high": 100 * float(interval.high or 0.0),
        "recalls": {name: round(100 * float(recalls[name]), 1) for name in classes},
        "ece": 100 * calibration_error(shares, labels),
        "covered": 100 * float(held.mean()),
        "set": float(frame["set"].map(len).mean()),
        "answered": 100 * float(sure.mean()),
        "wrong": 100 * float((~right)[sure].mean()),
    }


def conditions() -> Iterator[tuple[str, str, Callable[[Bench], Groups] | None]]:
    """Name, moods taken for granted, and how groups are made."""
    yield "off", "any", None
    for moods in ("any", "mixed"):
        for count in COUNTS:
            name = "all" if count is None else str(count)
            yield name, moods, lambda one, c=count: sets_of(one, c, False)
        yield "stream", moods, stream_of
        for count in (8, None):
            name = "one mood, " + ("all of it" if count is None else str(count))
            yield name, moods, lambda one, c=count: sets_of(one, c, True)
        yield "4 neutral, enrolled", moods, lambda one: neutral_of(one, 4)


def table(every: Sequence[Bench]) -> list[dict[str, Any]]:
    """Judge every condition on every corpus, and print rows."""
    rows = []
    judged = [one for one in every if one.corpus in JUDGED]
    for name, moods, make in conditions():
        row: dict[str, Any] = {"adapted from": name, "moods": moods}
        for one in judged:
            frame = answers(one, None if make is None else make(one), moods, None)
            row[one.corpus] = figures(frame, one.recognizer.classes)
        row["mean"] = float(np.mean([row[one.corpus]["ua"] for one in judged]))
        shown = "  ".join(
            f"{n} {row[n]['ua']:.1f} ({row[n]['low']:.1f} to {row[n]['high']:.1f})"
            for n in (one.corpus for one in judged)
        )
        trust = " ".join(
            f"{key} {np.mean([row[one.corpus][key] for one in judged]):.1f}"
            for key in ("ece", "covered", "set", "answered", "wrong")
        )
        print(f"{moods:6} {name:20} {shown}  mean {row['mean']:.1f}  | {trust}", flush=True)
        rows.append(row)
    return rows


def choose_half(every: Sequence[Bench], halves: Sequence[float], counts: Sequence[int]) -> None:
    """Print the mean UA over the run's corpora for each value of ``half``."""
    for moods in ("any", "mixed"):
        for count in counts:
            for half in halves:
                found = [
                    figures(
                        answers(one, sets_of(one, count, False), moods, half),
                        one.recognizer.classes,
                    )["ua"]
                    for one in every
                ]
                print(f"{moods:6} {count} clips, half {half:g}: {np.mean(found):.1f}", flush=True)
    print("half of the bundles:", [round(one.recognizer.reference.half, 2) for one in every])


def main() -> None:
    """Judge a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--halves", type=float, nargs="*")
    parser.add_argument("--clips", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="keep the bundles, one a corpus, in this folder")
    given = parser.parse_args()
    run = open_run(given.run)
    with tempfile.TemporaryDirectory() as home:
        every = benches(run, given.keep or Path(home))
    if given.halves:
        choose_half(every, given.halves, given.clips)
        return
    rows = table(every)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
