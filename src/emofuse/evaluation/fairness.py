"""Who is served how well: every figure by speaker, gender, age, language, session and corpus.

Groups are scored over the classes that they have, each utterance counting once however many seeds
judged it. A group's interval draws its speakers, or its utterances where it is one speaker. Some
group always comes last: so the gap between best and worst is set against the gap that chance
makes, by dealing the same speakers (for speakers: utterances) to groups of the same sizes at
random, and the p-values are corrected for the number of attributes (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.errors import OptionError, nearest_hint
from emofuse.evaluation.honesty import gold_places
from emofuse.evaluation.intervals import Floats, Interval
from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.paired import holm
from emofuse.evaluation.resampling import percentile, resample_sums

__all__ = ["ATTRIBUTES", "Fairness", "Group", "fairness_of"]

ATTRIBUTES = ("speaker", "gender", "age", "language", "session", "corpus")
RESAMPLES, DEALS = 2000, 1000
CELLS = 4_000_000
FEW_SPEAKERS, FEW_UTTERANCES = 5, 30
LEADING = "ua"


@dataclass(frozen=True)
class Group:
    """One group of speakers.

    Attributes:
        name: such as ``female`` or ``20-29``.
        utterances, speakers: what the figures rest on; speakers None where some are unknown.
        metrics: metric -> value.
        intervals: metric -> 95 % interval; ends None where one utterance or speaker is all.
        unit: what was drawn for them.
        lacks: classes that the group has no utterance of; its UA leaves them out.
        small: whether it rests on fewer than five speakers or thirty utterances.
    """

    name: str
    utterances: int
    speakers: int | None
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    unit: str
    lacks: tuple[str, ...]
    small: bool


@dataclass(frozen=True)
class Fairness:
    """The groups of one attribute.

    Attributes:
        attribute: what they are cut by.
        groups: in order of name.
        unknown: utterances that do not say.
        worst, best: names of the groups with the lowest and highest UA; None with one group.
        gap: UA of the best minus UA of the worst.
        gap_interval: of that difference, these two groups given.
        gap_by_chance: the gap to expect where groups do not differ at all.
        p: how often chance makes a gap as large; None with one group.
        p_holm: the same, corrected for the number of attributes.
        notes: what the reader must know.
    """

    attribute: str
    groups: tuple[Group, ...]
    unknown: int
    worst: str | None = None
    best: str | None = None
    gap: float | None = None
    gap_interval: Interval | None = None
    gap_by_chance: float | None = None
    p: float | None = None
    p_holm: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)


def fairness_of(
    frame: pd.DataFrame,
    classes: Sequence[str],
    attributes: Sequence[str] = ATTRIBUTES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Fairness, ...]:
    """Score every group of every attribute that predictions know.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
        classes: class names in order.
        attributes: of `ATTRIBUTES`; those that no row knows are left out.
        resamples: of each interval.
        seed: of the draws.

    Raises:
        OptionError: an unknown attribute.
    """
    strange = [one for one in attributes if one not in ATTRIBUTES]
    if strange:
        raise OptionError(f"no groups by {strange[0]!r}; {nearest_hint(strange[0], ATTRIBUTES)}")
    table, matrices = _utterances(frame, classes)
    found = []
    for attribute in attributes:
        values = _values(table, attribute)
        if values is not None:
            known = values.notna().to_numpy(bool)
            rows = table[known].assign(group=values[known])
            found.append(_fairness(attribute, rows, matrices[known], classes, (resamples, seed)))
    tested = [place for place, one in enumerate(found) if one.p is not None]
    for place, p in zip(tested, holm([found[n].p or 0.0 for n in tested]), strict=True):
        found[place] = replace(found[place], p_holm=p)
    unknown = len(table)
    return tuple(
        replace(one, unknown=unknown - sum(group.utterances for group in one.groups))
        for one in found
    )


def _utterances(frame: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, Floats]:
    """One row an utterance, and its confusion matrix averaged over all its predictions."""
    keyed = frame.assign(corpus=frame["corpus"].fillna(""))
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(keyed[["corpus", "id"]]))
    copies = np.bincount(codes)
    places = {name: place for place, name in enumerate(classes)}
    predicted = np.asarray(frame["predicted"].map(places), np.int64)
    matrices = np.zeros((len(copies), len(classes), len(classes)))
    np.add.at(matrices, (codes, gold_places(frame, classes), predicted), 1.0 / copies[codes])
    return keyed[~keyed.duplicated(["corpus", "id"])].reset_index(drop=True), matrices


def _values(table: pd.DataFrame, attribute: str) -> pd.Series | None:
    """Group of every utterance, None where unknown; None where no utterance knows."""
    if attribute not in table.columns or not bool(table[attribute].notna().any()):
        return None
    if attribute == "corpus":
        values = table["corpus"].replace("", None)
    elif attribute == "age":
        decades = (table["age"] // 10 * 10).astype("Int64")
        values = decades.map(lambda low: f"{low}-{low + 9}", na_action="ignore").astype(object)
    elif attribute in ("speaker", "session"):
        several = table["corpus"].nunique() > 1
        values = table[attribute]
        values = table["corpus"] + "/" + values if several else values
    else:
        values = table[attribute]
    return values if bool(values.notna().any()) else None


def _fairness(
    attribute: str,
    rows: pd.DataFrame,
    matrices: Floats,
    classes: Sequence[str],
    draw: tuple[int, int],
) -> Fairness:
    names = sorted(rows["group"].unique())
    codes = rows["group"].map({name: place for place, name in enumerate(names)}).to_numpy(np.int64)
    units, unit = _units(attribute, rows)
    people = _people(rows)
    drawn: list[Floats] = []
    groups: list[Group] = []
    for place, name in enumerate(names):
        mine = codes == place
        sums = _sums(units[mine], matrices[mine])
        own_unit = unit
        if len(sums) == 1 and unit == "speaker":
            sums, own_unit = matrices[mine], "utterance"
        flat = sums.reshape(len(sums), -1)
        values = _measure(flat.sum(axis=0)[None])[0]
        if len(flat) > 1:
            drawn.append(resample_sums(flat, _measure, draw[0], draw[1] + place))
        else:
            drawn.append(np.full((draw[0], len(METRICS)), np.nan))
        support = matrices[mine].sum(axis=(0, 2))
        known = people[mine]
        speakers = None if (known < 0).any() else len(np.unique(known))
        groups.append(
            Group(
                str(name),
                int(mine.sum()),
                speakers,
                dict(zip(METRICS, values.tolist(), strict=True)),
                {m: percentile(drawn[-1][:, k]) for k, m in enumerate(METRICS)},
                own_unit,
                tuple(c for c, n in zip(classes, support, strict=True) if not n),
                _small(attribute, int(mine.sum()), speakers),
            )
        )
    if len(groups) < 2:
        return Fairness(attribute, tuple(groups), 0, notes=("one group only",))
    scores = np.array([one.metrics[LEADING] for one in groups])
    worst, best = int(scores.argmin()), int(scores.argmax())
    leading = tuple(METRICS).index(LEADING)
    gap = float(scores[best] - scores[worst])
    chance, p = _deal(units, codes, matrices, gap, draw[1])
    return Fairness(
        attribute,
        tuple(groups),
        0,
        groups[worst].name,
        groups[best].name,
        gap,
        percentile(drawn[best][:, leading] - drawn[worst][:, leading]),
        chance,
        p,
        p,
        _notes(groups, unit, codes, units),
    )


def _units(attribute: str, rows: pd.DataFrame) -> tuple[NDArray[np.int64], str]:
    """Number what is drawn and dealt: speakers, or utterances where groups are speakers."""
    if attribute == "speaker" or not bool(rows["speaker"].notna().all()):
        return np.arange(len(rows)), "utterance"
    keys = pd.MultiIndex.from_frame(rows[["corpus", "speaker"]])
    return np.asarray(pd.factorize(keys)[0], np.int64), "speaker"


def _sums(units: NDArray[np.int64], matrices: Floats) -> Floats:
    """Sum the matrices of each unit."""
    codes = np.unique(units, return_inverse=True)[1]
    sums = np.zeros((int(codes.max()) + 1, *matrices.shape[1:]))
    np.add.at(sums, codes, matrices)
    return sums


def _measure(flat: Floats) -> Floats:
    """``(draws, classes ^ 2)`` -> ``(draws, metrics)``."""
    width = round(flat.shape[1] ** 0.5)
    matrices = flat.reshape(len(flat), width, width)
    return np.stack([measure(matrices) for measure in METRICS.values()], axis=1)


def _deal(
    units: NDArray[np.int64], codes: NDArray[np.int64], matrices: Floats, gap: float, seed: int
) -> tuple[float, float]:
    """Deal units to groups of the same sizes at random: the mean gap, and how often it is as large.

    A unit that is in several groups is dealt once a group.
    """
    cells = np.unique(np.stack([codes, units], axis=1), axis=0, return_inverse=True)
    sums = _sums(cells[1].reshape(-1), matrices)
    starts = np.searchsorted(cells[0][:, 0], np.arange(int(codes.max()) + 1))
    flat = sums.reshape(len(sums), -1)
    rng = np.random.default_rng(seed)
    gaps: list[Floats] = []
    block = max(1, CELLS // flat.size)
    for first in range(0, DEALS, block):
        count = min(block, DEALS - first)
        orders = rng.permuted(np.tile(np.arange(len(flat)), (count, 1)), axis=1)
        dealt = np.add.reduceat(flat[orders], starts, axis=1)
        scores = METRICS[LEADING](dealt.reshape(count, -1, *matrices.shape[1:]))
        gaps.append(scores.max(axis=1) - scores.min(axis=1))
    drawn = np.concatenate(gaps)
    return float(drawn.mean()), (1 + int((drawn >= gap - 1e-12).sum())) / (1 + DEALS)


def _people(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Number the speaker of every row; -1 where it is unknown."""
    keys = pd.MultiIndex.from_frame(rows[["corpus", "speaker"]])
    codes = np.asarray(pd.factorize(keys)[0], np.int64)
    return np.where(rows["speaker"].isna().to_numpy(bool), -1, codes)


def _small(attribute: str, utterances: int, speakers: int | None) -> bool:
    few = attribute != "speaker" and (speakers or 0) < FEW_SPEAKERS
    return few or utterances < FEW_UTTERANCES


def _notes(
    groups: Sequence[Group], unit: str, codes: NDArray[np.int64], units: NDArray[np.int64]
) -> tuple[str, ...]:
    many = f"{len(groups)} groups are looked at and one of them always comes last"
    notes = [f"{many}: read the gap beside the gap by chance"]
    small = [one.name for one in groups if one.small]
    if small:
        notes.append(
            f"few speakers or utterances: {', '.join(small[:5])}"
            + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        )
    lacking = [one.name for one in groups if one.lacks]
    if lacking:
        notes.append(
            f"without some class, so that UA compares other things: {lacking[0]}"
            + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
        )
    cells = len(np.unique(np.stack([codes, units], axis=1), axis=0))
    if cells > len(np.unique(units)):
        notes.append(f"some {unit}s are in several groups")
    return tuple(notes)
