"""The trials of a search on disk: an SQLite database that several processes may work on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.errors import TrainingError
from emofuse.training.searching.draw import draw, suggest
from emofuse.training.searching.locks import FileLock, held
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.space import Value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

__all__ = ["DATABASE", "Book", "Claim", "open_storage"]

DATABASE = "study.db"
BUSY_SECONDS = 120


def open_storage(folder: Path) -> Any:
    """Open the database of a search, or make it.

    Raises:
        TrainingError: the file is no database of Optuna.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    path = (folder / DATABASE).resolve()
    with held(folder / "locks" / "database.lock"):
        try:
            return RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}}
            )
        except (SQLAlchemyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"{path} is no database of a search ({reason}); take another folder"
            ) from error


@dataclass
class Claim:
    """A trial that this process works on.

    Attributes:
        number: of the trial.
        values: what it tries.
        history: the trials that it may look at.
        known: scores that it had reported before it was killed, by step.
        trial: Optuna's.
        lock: held while this process works on it.
    """

    number: int
    values: dict[str, Value]
    history: tuple[FrozenTrial, ...]
    known: dict[int, float]
    trial: Trial
    lock: FileLock

    def report(self, step: int, score: float, notes: Mapping[str, Any]) -> None:
        """Store a score and what the pruner wants to remember."""
        if step not in self.known:
            self.trial.report(score, step)
            self.known[step] = score
        storage = self.trial.storage
        for key, value in notes.items():
            storage.set_trial_system_attr(self.trial._trial_id, key, value)

    def note(self, key: str, value: Any) -> None:
        """Store something about the trial."""
        self.trial.set_user_attr(key, value)


class Book:
    """The trials of one study.

    Args:
        storage: see `open_storage`.
        folder: of the search.
        name: of the study.
        options: the search.
    """

    def __init__(self, storage: Any, folder: Path, name: str, options: SearchOptions) -> None:
        import optuna

        self.name, self.options, self._folder = name, options, folder
        with self._alone():
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )

    def trials(self) -> list[FrozenTrial]:
        """Give every trial, in order."""
        return list(self._study.get_trials(deepcopy=False))

    @property
    def done(self) -> bool:
        """Whether every trial is over."""
        trials = self.trials()[: self.options.trials]
        return len(trials) >= self.options.trials and all(t.state.is_finished() for t in trials)

    def finished(self) -> int:
        """Count the trials that are over."""
        return sum(trial.state.is_finished() for trial in self.trials()[: self.options.trials])

    def claim(self) -> Claim | None:
        """Take a trial: one whose process was killed, or the next; None where there is none now."""
        with self._alone():
            trials = self.trials()
            return self._orphan(trials) or self._next(trials)

    def _orphan(self, trials: Sequence[FrozenTrial]) -> Claim | None:
        for trial in trials[: self.options.trials]:
            if trial.state.is_finished():
                continue
            lock = FileLock.take(self._lock_path(trial.number))
            if lock is None:
                continue
            if self.trials()[trial.number].state.is_finished():  # a moment ago
                lock.release()
                continue
            return self._make(trials, trial.number, lock, self._revive(trial))
        return None

    def _next(self, trials: Sequence[FrozenTrial]) -> Claim | None:
        number = len(trials)
        earlier = trials[: self._looks_at(number)]
        if number >= self.options.trials or not all(t.state.is_finished() for t in earlier):
            return None
        lock = FileLock.take(self._lock_path(number))
        if lock is None:
            return None
        return self._make(trials, number, lock, self._study.ask())

    def _looks_at(self, number: int) -> int:
        return number // self.options.batch * self.options.batch

    def _make(
        self, trials: Sequence[FrozenTrial], number: int, lock: FileLock, trial: Trial
    ) -> Claim:
        history = tuple(trials[: self._looks_at(number)])
        values = draw(self.options, self.name, history, number)
        self._study.sampler = _given(values)
        for key in values:
            suggest(trial, key, self.options.space[key])
        known = dict(self.trials()[number].intermediate_values)
        return Claim(number, values, history, known, trial, lock)

    def _revive(self, frozen: FrozenTrial) -> Trial:
        import optuna

        self._study.sampler = _given({})
        return optuna.trial.Trial(self._study, frozen._trial_id)

    def finish(self, claim: Claim, score: float | None, state: str = "COMPLETE") -> None:
        """Store the end of a trial: ``COMPLETE``, ``PRUNED`` or ``FAIL``."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(
                claim.number,
                score if state == "COMPLETE" else None,
                state=optuna.trial.TrialState[state],
            )
        claim.lock.release()

    def _alone(self) -> Any:
        return held(self._folder / "locks" / f"{self.name}.lock")

    def _lock_path(self, number: int) -> Path:
        return self._folder / "locks" / f"{self.name}-{number}.lock"


def _given(values: Mapping[str, Value]) -> Any:
    """Make a sampler that says what was drawn already."""
    from optuna.samplers import BaseSampler

    class Given(BaseSampler):  # type: ignore[misc]
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, kind: Any) -> Any:
            return values[name]

    return Given()
