"""What a search found: its trials, the weight of each key, the best recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.evaluation.tables import Table
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.space import Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Found", "StudyFound", "TrialRow", "importances", "search_markdown", "study_found"]

SHOWN = 20
"""Trials in the printed table."""
FEWEST = 4
"""Complete trials below which no importance is told."""


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: from 0.
        state: ``complete``, ``pruned`` or ``fail``.
        score: dev metric; of a pruned trial, as far as it went.
        values: key -> value, of the keys that existed for it.
        folds: fold and seed -> dev metric.
        reason: why it failed.
    """

    number: int
    state: str
    score: float | None
    values: dict[str, Any]
    folds: dict[str, float]
    reason: str = ""


@dataclass(frozen=True)
class StudyFound:
    """What came of one study.

    Attributes:
        name: of the study.
        fold: the outer fold, where nested.
        trials: all, in order.
        best: the best complete one (the first among equals); None where none was completed.
        importance: key -> share of the variance of the scores that it explains (fANOVA); empty
            where too few trials say anything.
        recipe: path of its best recipe.
    """

    name: str
    fold: str | None
    trials: tuple[TrialRow, ...]
    best: TrialRow | None
    importance: dict[str, float]
    recipe: str | None = None


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        recipe: name of the recipe.
        metric: dev metric that was searched by.
        ranges: key -> its range, as text.
        studies: one, or one a fold.
        notes: what a reader of the scores should know.
        run: the final run, where asked for.
    """

    recipe: str
    metric: str
    ranges: dict[str, str]
    studies: tuple[StudyFound, ...]
    notes: tuple[str, ...]
    run: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        plain = asdict(self)
        plain["run"] = None if self.run is None else str(self.run)
        return plain


def study_found(
    name: str, fold: str | None, trials: Sequence[FrozenTrial], options: SearchOptions
) -> StudyFound:
    """Sum a study up."""
    rows = tuple(_row(trial, options.space) for trial in trials)
    complete = [row for row in rows if row.state == "complete" and row.score is not None]
    best = max(complete, key=lambda row: (row.score or 0.0, -row.number), default=None)
    return StudyFound(name, fold, rows, best, importances(trials, options))


def _row(trial: FrozenTrial, space: Space) -> TrialRow:
    values = {key: space[key].value(trial.params[key]) for key in space if key in trial.params}
    return TrialRow(
        trial.number,
        trial.state.name.lower(),
        trial.value,
        values,
        dict(trial.user_attrs.get("folds", {})),
        str(trial.user_attrs.get("reason", "")),
    )


def importances(trials: Sequence[FrozenTrial], options: SearchOptions) -> dict[str, float]:
    """Give the share of the scores' variance that each key explains (functional ANOVA).

    Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance",
    ICML 2014. Keys that do not exist for every trial are left out.

    Args:
        trials: of one study.
        options: the search; its seed draws the forest.
    """
    import optuna

    complete = [t for t in trials if t.state.name == "COMPLETE" and t.value is not None]
    if len(complete) < FEWEST or len({t.value for t in complete}) < 2:
        return {}
    shared = [key for key in options.space if all(key in t.params for t in complete)]
    moved = [key for key in shared if len({t.params[key] for t in complete}) > 1]
    if not moved:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=options.seed)
    found: Mapping[str, float] = optuna.importance.get_param_importances(
        study, evaluator=evaluator, params=moved
    )
    return {key: float(value) for key, value in found.items()}


def trial_table(found: Found, study: StudyFound, shown: int = SHOWN) -> Table:
    """Lay the best trials of a study out as text."""
    order = {"complete": 0, "pruned": 1, "fail": 2}
    rows = sorted(study.trials, key=lambda r: (order[r.state], -(r.score or 0.0), r.number))
    keys = [key for key in found.ranges if any(key in row.values for row in rows)]
    cells = tuple(
        (
            str(row.number),
            row.state if not row.reason else f"{row.state}: {row.reason[:60]}",
            "–" if row.score is None else f"{_shown_score(row.score, found.metric)}",
            *(_cell(row.values.get(key)) for key in keys),
        )
        for row in rows[:shown]
    )
    states = [row.state for row in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in order if state in states)
    where = "" if study.fold is None else f", {study.fold}"
    title = f"{found.recipe}{where}: {len(rows)} trials ({counts}), best first"
    return Table(title, ("trial", "state", f"dev {found.metric}", *keys), cells, 2)


def importance_table(study: StudyFound) -> Table:
    """Lay the importances out as text."""
    rows = tuple((key, f"{100 * share:.0f} %") for key, share in study.importance.items())
    return Table("importance (fANOVA)", ("key", "share"), rows, 1)


def _shown_score(score: float, metric: str) -> str:
    return f"{-score:.4f}" if metric == "loss" else f"{100 * score:.2f}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_markdown(found: Found) -> str:
    """Write what a search found as Markdown."""
    parts: list[str] = []
    for study in found.studies:
        parts.append(trial_table(found, study, len(study.trials)).to_markdown())
        if study.importance:
            parts.append(importance_table(study).to_markdown())
        if study.recipe:
            parts.append(f"Best recipe: `{study.recipe}`.")
    parts += [f"Note: {note}." for note in found.notes]
    return "\n\n".join(parts) + "\n"
