"""Paired comparison of runs: the same utterances, speakers as units, Holm's correction.

For two runs A and B the utterances that every seed of both judged are summed to one confusion
matrix a speaker and run, averaged over seeds (for UA and WA this equals the mean over seeds of the
metric; F1 is that of the averaged matrix). The difference of the metric gets

* a 95 % percentile interval from drawing speakers with replacement, the same for both runs;
* a two-sided p-value from swapping A and B within speakers: under the null hypothesis the two runs
  are exchangeable for every speaker. All swaps are tried up to 2^14, else as many drawn at random.

Beside it stand McNemar's exact test, which takes utterances for independent, the same test with
speakers as clusters, and the least difference in accuracy that this comparison can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.errors import OptionError, WorkError, nearest_hint, shorten
from emofuse.evaluation.intervals import (
    RESAMPLES,
    Interval,
    Unit,
    cluster_codes,
    interval_notes,
)
from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.paired import (
    clustered_mcnemar,
    holm,
    mcnemar,
    paired_interval,
    swap_test,
)
from emofuse.evaluation.power import design_effect, detectable
from emofuse.evaluation.runs import RunFolder
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["Comparison", "Pair", "compare_runs", "distinct_names"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two runs on their common utterances.

    Attributes:
        first, second: names of the runs.
        first_stamp, second_stamp: what every table says of them (`evaluation.runs.Stamp.text`).
        first_value, second_value: the metric of each, on the common utterances.
        difference: first minus second.
        interval: of the difference.
        p: two-sided p-value of the swap test.
        p_holm: the same, corrected for the number of pairs.
        exact: whether all swaps were tried.
        smallest_p: the least p-value that so few clusters can give.
        unit, clusters: what was drawn and swapped, and how many there are.
        common: utterances compared.
        left_out: utterances of either run that are not.
        notes: what the reader must know.
        only_first, only_second: utterances that just one of the runs gets right, in over half of
            its seeds.
        p_mcnemar, p_mcnemar_holm: McNemar's exact test of these, and corrected.
        p_clustered: the same test with speakers as clusters.
        noise, found: the least difference in WA that stands out at 5 %, and that is found four
            times in five, with this disagreement and these clusters.
    """

    first: str
    second: str
    first_stamp: str
    second_stamp: str
    first_value: float
    second_value: float
    difference: float
    interval: Interval
    p: float
    p_holm: float
    exact: bool
    smallest_p: float
    unit: Unit
    clusters: int
    common: int
    left_out: int
    notes: tuple[str, ...]
    only_first: int = 0
    only_second: int = 0
    p_mcnemar: float = 1.0
    p_mcnemar_holm: float = 1.0
    p_clustered: float = 1.0
    noise: float = 0.0
    found: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """All pairs of several runs.

    Attributes:
        metric: name of the metric.
        pairs: every pair, in the order of the runs.
        notes: what concerns the runs rather than a pair.
    """

    metric: str
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)


def compare_runs(
    runs: Sequence[RunFolder],
    metric: str = "ua",
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Compare every pair of runs.

    Args:
        runs: two or more.
        metric: a name in `evaluation.metrics.METRICS`.
        resamples: bootstrap resamples.
        seed: of all draws.
        progress: told of every pair.

    Raises:
        OptionError: fewer than two runs, or an unknown metric.
        WorkError: classes or gold labels differ, or no utterance is common.
    """
    if metric not in METRICS:
        raise OptionError(f"unknown metric {metric!r}; {nearest_hint(metric, METRICS)}")
    if len(runs) < 2:
        raise OptionError("a comparison needs two runs or more")
    names = distinct_names(runs)
    places = list(combinations(range(len(runs)), 2))
    pairs: list[Pair] = []
    for a, b in places:
        pairs.append(_compare(runs[a], runs[b], (names[a], names[b]), metric, (resamples, seed)))
        progress(ProgressEvent("compare", len(pairs), len(places), "pairs"))
    corrected = holm([pair.p for pair in pairs])
    plain = holm([pair.p_mcnemar for pair in pairs])
    return Comparison(
        metric,
        tuple(
            replace(pair, p_holm=p, p_mcnemar_holm=q)
            for pair, p, q in zip(pairs, corrected, plain, strict=True)
        ),
        _stamp_notes(runs, names),
    )


def distinct_names(runs: Sequence[RunFolder]) -> list[str]:
    """Name runs for a table: by recipe name, and by path where two recipes have one name."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.path})"
        for name, run in zip(names, runs, strict=True)
    ]


def _compare(
    a: RunFolder, b: RunFolder, names: tuple[str, str], metric: str, draw: tuple[int, int]
) -> Pair:
    if set(a.classes) != set(b.classes):
        raise WorkError(
            f"{names[0]} and {names[1]} have different classes ({', '.join(a.classes)} against "
            f"{', '.join(b.classes)}); compare runs of one label scheme"
        )
    resamples, seed = draw
    table, left_out = _common(a, b, names)
    unit, codes = cluster_codes(table)
    table = table.assign(cluster=codes)
    first = _matrices(a.predictions, table, a.classes)
    second = _matrices(b.predictions, table, a.classes)
    first_value = float(METRICS[metric](first.sum(axis=0)))
    second_value = float(METRICS[metric](second.sum(axis=0)))
    p, exact, smallest = swap_test(first, second, metric, seed=seed)
    notes = list(interval_notes(unit, len(first)))
    if smallest > 0.05:
        notes.append(f"too few {unit}s differ for a p-value under {smallest:.3g}")
    if left_out:
        notes.append(f"{left_out} utterances are not in every seed of both runs and are left out")
    return Pair(
        first=names[0],
        second=names[1],
        first_stamp=a.stamp.text,
        second_stamp=b.stamp.text,
        first_value=first_value,
        second_value=second_value,
        difference=first_value - second_value,
        interval=paired_interval(first, second, metric, resamples, seed),
        p=p,
        p_holm=p,
        exact=exact,
        smallest_p=smallest,
        unit=unit,
        clusters=len(first),
        common=len(table),
        left_out=left_out,
        notes=tuple(notes),
        **_plain_tests(table, (a, b)),
    )


def _plain_tests(table: pd.DataFrame, runs: tuple[RunFolder, RunFolder]) -> dict[str, Any]:
    """McNemar's tests, and what this comparison can tell."""
    first, second = (_hits(run.predictions, table) for run in runs)
    codes = table["cluster"].to_numpy(np.int64)
    only_first, only_second, p = mcnemar(first, second)
    disagreement = float((first + second - 2 * first * second).mean())
    effect = design_effect(codes, first - second)
    return {
        "only_first": only_first,
        "only_second": only_second,
        "p_mcnemar": p,
        "p_mcnemar_holm": p,
        "p_clustered": clustered_mcnemar(first, second, codes),
        "noise": detectable(len(table), disagreement, effect),
        "found": detectable(len(table), disagreement, effect, power=0.8),
    }


def _hits(frame: pd.DataFrame, table: pd.DataFrame) -> Floats:
    """How often each utterance of the table is right, 0 to 1, in its order."""
    keyed = _keys(frame).assign(right=frame["gold"] == frame["predicted"])
    means = keyed.groupby(["corpus", "id"])["right"].mean()
    index = pd.MultiIndex.from_frame(table[["corpus", "id"]])
    return np.asarray(means.loc[index], np.float64)


def _keys(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(corpus=frame["corpus"].fillna(""))


def _judged(run: RunFolder) -> pd.DataFrame:
    """Utterances that every seed of a run judged, once each, indexed by corpus and id."""
    frame = _keys(run.predictions)
    seeds = frame.groupby(["corpus", "id"])["seed"].nunique()
    whole = seeds.index[seeds == frame["seed"].nunique()]
    return frame.drop_duplicates(["corpus", "id"]).set_index(["corpus", "id"]).loc[whole]


def _common(a: RunFolder, b: RunFolder, names: tuple[str, str]) -> tuple[pd.DataFrame, int]:
    """One row a common utterance, and how many utterances are not common."""
    first, second = _judged(a), _judged(b)
    shared = first.index.intersection(second.index)
    if not len(shared):
        raise WorkError(
            f"{names[0]} and {names[1]} have no test utterance in common; "
            "compare runs on the same manifest"
        )
    first, second = first.loc[shared], second.loc[shared]
    differ = (first["gold"] != second["gold"]).to_numpy(bool)
    if differ.any():
        place = int(differ.argmax())
        raise WorkError(
            f"{names[0]} and {names[1]} differ in gold of {int(differ.sum())} utterances, for one "
            f"{shorten(shared[place][1])}: {first['gold'].iloc[place]} against "
            f"{second['gold'].iloc[place]}; compare runs on the same manifest and scheme"
        )
    either = {
        pair
        for run in (a, b)
        for pair in zip(_keys(run.predictions)["corpus"], run.predictions["id"], strict=True)
    }
    return first.reset_index(), len(either) - len(shared)


def _matrices(frame: pd.DataFrame, table: pd.DataFrame, classes: Sequence[str]) -> Floats:
    """Confusion of each cluster, averaged over seeds: ``(clusters, classes, classes)``.

    An utterance that several folds test counts as one, each fold's answer as a part of it.
    """
    rows = _keys(frame).merge(table[["corpus", "id", "cluster"]], on=["corpus", "id"])
    copies = rows.groupby(["corpus", "id"])["id"].transform("size").to_numpy(np.float64)
    places = {name: place for place, name in enumerate(classes)}
    gold, predicted = (rows[n].map(places).to_numpy(np.int64) for n in ("gold", "predicted"))
    matrices = np.zeros((int(table["cluster"].max()) + 1, len(classes), len(classes)))
    np.add.at(matrices, (rows["cluster"].to_numpy(np.int64), gold, predicted), 1.0 / copies)
    return matrices


def _stamp_notes(runs: Sequence[RunFolder], names: Sequence[str]) -> tuple[str, ...]:
    notes = [
        f"{name} is {run.stamp.text} (protocol {run.stamp.protocol})"
        for name, run in zip(names, runs, strict=True)
        if not run.stamp.sound
    ]
    if len({run.stamp.protocol for run in runs}) > 1:
        listed = ", ".join(f"{n}: {r.stamp.protocol}" for n, r in zip(names, runs, strict=True))
        notes.append(f"protocols differ, a difference may come from them ({listed})")
    if len({run.stamp.independent for run in runs}) > 1:
        notes.append(
            "speaker-dependent and speaker-independent runs stand side by side: "
            "a gain of the former is no gain on new speakers"
        )
    return tuple(notes)
