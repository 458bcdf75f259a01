"""The work of one process on a search: take a trial, judge it, until there is none left."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.cluster.crew import open_crew
from emofuse.cluster.engine import Engine
from emofuse.errors import EmofuseError, EncoderError, OptionError, TrainingError
from emofuse.options import apply_overrides, load_yaml
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.protocols.contract import Fold
from emofuse.training.recipe import Recipe, parse_recipe
from emofuse.training.searching.bench import Bench, steps_of
from emofuse.training.searching.book import DATABASE, Book, Claim, open_storage
from emofuse.training.searching.draw import Verdicts, quiet_optuna
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.space import Value, active, overrides_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["SETTINGS", "Setup", "Study", "read_setup", "work", "work_together"]

SETTINGS = "search.yaml"
PLAIN = "search"
"""Name of the study of a search that is not nested."""
POLL_SECONDS = 0.1
BROKEN = (TrainingError, OptionError, EncoderError, RuntimeError, TypeError, ValueError)
"""What fails a trial and not the search."""


class _Ended(Exception):  # noqa: N818 (no error: the pruner says so)
    """The trial ends early."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score


@dataclass(frozen=True)
class Study:
    """One set of trials.

    Attributes:
        name: in the database.
        fold: the outer fold whose train and dev it sees; None = the dev of every fold.
    """

    name: str
    fold: str | None


@dataclass(frozen=True)
class Setup:
    """What a search is about.

    Attributes:
        recipe: keys and values of the recipe, the ranges not yet applied.
        options: how to search.
    """

    recipe: Mapping[str, Any]
    options: SearchOptions

    def with_values(self, values: Mapping[str, Value]) -> Recipe:
        """Give the recipe of a trial.

        Raises:
            OptionError: the values do not go together.
        """
        changes = overrides_of(self.options.space, values)
        return parse_recipe(apply_overrides(self.recipe, changes), "trial")

    def example(self) -> Recipe:
        """Give the recipe with the first value of every range: data and folds are those of all."""
        values: dict[str, Value] = {}
        for key, one in self.options.space.items():
            if active(key, self.options.space, values):
                values[key] = one.corners[0]
        return self.with_values(values)

    def studies(self, folds: Sequence[Fold]) -> list[Study]:
        """Give the studies, in order: one, or one an outer fold."""
        if not self.options.nested:
            return [Study(PLAIN, None)]
        return [
            Study(f"fold-{place + 1:03d}-{_slug(fold.name)}", fold.name)
            for place, fold in enumerate(folds)
        ]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")[:60] or "fold"


def read_setup(folder: Path) -> Setup:
    """Read what a folder searches.

    Raises:
        UsageError: the folder holds no search.
    """
    stored = load_yaml(folder / SETTINGS)
    if not isinstance(stored, Mapping) or {"recipe", "search"} - stored.keys():
        raise OptionError(f"{folder / SETTINGS} describes no search; take another folder")
    return Setup(stored["recipe"], SearchOptions.parse(stored["search"], str(folder / SETTINGS)))


def work(folder: Path, progress: Progress = silent) -> None:
    """Work on the search in a folder until every trial is over.

    Several processes may do so at once, on one machine or on several that share the folder. A trial
    whose process was killed is taken over and goes on from its last finished fold or checkpoint.

    Args:
        folder: with a `SETTINGS` file.
        progress: told of encoding, and of trials (stage ``search``).

    Raises:
        OptionError: there is nothing to choose by.
        EmofuseError: what reading manifests, auditing and encoding can raise.
    """
    setup = read_setup(folder)
    bench = Bench(setup.example(), progress)
    with quiet_optuna():
        storage = open_storage(folder)
        try:
            _Worker(folder, setup, bench, storage, progress).run()
        finally:
            storage.engine.dispose()


def work_together(folder: Path, engine: Engine, progress: Progress = silent) -> None:
    """Let the workers of an engine work on the search in a folder, which all of them see.

    Raises:
        EmofuseError: see `work`.
        WorkError: the workers fail.
    """
    if engine.alone:
        work(folder, progress)
        return
    with open_crew(engine) as crew:
        size = min(crew.size, read_setup(folder).options.batch)
        crew.map(_work_once, [str(folder)] * size, tick=partial(_look, folder, progress))


def _work_once(state: None, folder: str) -> None:
    del state
    work(Path(folder))


def _look(folder: Path, progress: Progress) -> None:
    """Tell how many trials are over, as the database says."""
    if progress is silent or not (folder / DATABASE).exists():
        return
    with quiet_optuna(), suppress(EmofuseError):
        storage = open_storage(folder)
        try:
            studies = storage.get_all_studies()
            trials = [t for s in studies for t in storage.get_all_trials(s._study_id, False)]
        finally:
            storage.engine.dispose()
        done = sum(trial.state.is_finished() for trial in trials)
        total = read_setup(folder).options.trials * max(len(studies), 1)
        progress(ProgressEvent("search", min(done, total), total, "trials"))


class _Worker:
    def __init__(
        self, folder: Path, setup: Setup, bench: Bench, storage: Any, progress: Progress
    ) -> None:
        self._folder, self._setup, self._bench, self._progress = folder, setup, bench, progress
        self._books = {
            study: Book(storage, folder, study.name, setup.options)
            for study in setup.studies(bench.folds)
        }

    def run(self) -> None:
        for study in self._books:  # says at once where there is nothing to choose by
            self._cuts(self._setup.example(), study)
        while waiting := [study for study, book in self._books.items() if not book.done]:
            for study in waiting:
                claim = self._books[study].claim()
                if claim is not None:
                    self._try(study, claim)
                    break
            else:
                time.sleep(POLL_SECONDS)
            self._tell()

    def _cuts(self, recipe: Recipe, study: Study) -> Any:
        return self._bench.cuts(recipe, study.fold, self._setup.options.inner)

    def _tell(self) -> None:
        done = sum(book.finished() for book in self._books.values())
        total = self._setup.options.trials * len(self._books)
        self._progress(ProgressEvent("search", done, total, "trials"))

    def _try(self, study: Study, claim: Claim) -> None:
        book = self._books[study]
        folder = self._folder / "trials" / f"{study.name}-{claim.number}"
        try:
            state, score = self._judge(study, claim, folder)
        except BROKEN as error:
            kind = "" if isinstance(error, TrainingError | OptionError) else type(error).__name__
            claim.note("reason", " ".join(f"{kind} {error}".split())[:500])
            state, score = "FAIL", None
        except BaseException:
            claim.lock.release()  # another process, or the next call, takes it over
            raise
        book.finish(claim, score, state)
        shutil.rmtree(folder, ignore_errors=True)

    def _judge(self, study: Study, claim: Claim, folder: Path) -> tuple[str, float | None]:
        twin = _twin(claim)
        if twin is not None:
            claim.note("folds", twin.user_attrs["folds"])
            claim.note("same_as", twin.number)
            return "COMPLETE", twin.value
        options = self._setup.options
        by_epoch = options.prune_by == "epoch"
        recipe = self._setup.with_values(claim.values)
        cuts = self._cuts(recipe, study)
        steps = steps_of(recipe.trainer, len(cuts), by_epoch)
        verdicts = Verdicts(
            options,
            study.name,
            claim.history,
            number=claim.number,
            values=claim.values,
            steps=steps,
        )
        told = _Told(claim, verdicts)
        try:
            judged = self._bench.judge(recipe, cuts, folder, told, by_epoch)
        except _Ended as ended:
            return "PRUNED", ended.score
        claim.note("folds", judged.folds)
        return "COMPLETE", judged.score


class _Told:
    """Hears the scores of a trial, those from before a kill first, and ends it where told to."""

    def __init__(self, claim: Claim, verdicts: Verdicts) -> None:
        self._claim, self._verdicts = claim, verdicts
        self._heard = 0

    def __call__(self, step: int, score: float) -> None:
        earlier = sorted(s for s in self._claim.known if self._heard < s < step)
        for before in earlier:
            self._verdicts.ends(before, self._claim.known[before])
        ends = self._verdicts.ends(step, score)
        self._claim.report(step, score, self._verdicts.notes)
        self._heard = step
        if ends:
            raise _Ended(score)


def _twin(claim: Claim) -> FrozenTrial | None:
    """Find an earlier trial of the same values, which need not be trained again."""
    return next(
        (
            trial
            for trial in claim.history
            if trial.state.name == "COMPLETE" and trial.params == claim.values
        ),
        None,
    )
