"""What a trial tries and when it ends early: functions of the earlier trials and of a seed.

A trial looks at the trials of earlier batches alone (see `SearchOptions.batch`), and its draws come
from the search's seed and its own number. So it does not matter which process works on it, how many
work beside it, or how often it was begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from emofuse.errors import MissingExtraError
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.space import Interval, Range, Space, Value, active

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Verdicts", "draw", "need_optuna", "quiet_optuna", "suggest"]

STARTED_BEFORE_MEDIAN = 5
"""Complete trials without which no median is taken."""


def need_optuna() -> None:
    """Say at once where Optuna is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("optuna", "search") from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna say nothing inside the block."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def draw(
    options: SearchOptions, name: str, history: Sequence[FrozenTrial], number: int
) -> dict[str, Value]:
    """Draw the values of a trial.

    Args:
        options: the search.
        name: of the study; studies of one search draw differently.
        history: every trial of earlier batches, in order.
        number: of the trial.

    Returns:
        Key -> value, as a study stores it; keys that do not exist for it are left out.
    """
    study = _study(name, history)
    study.sampler = _sampler(options, _seed(options.seed, name, number))
    trial = study.ask()
    values: dict[str, Value] = {}
    for key, one in options.space.items():
        if active(key, options.space, values):
            values[key] = suggest(trial, key, one)
    return values


def suggest(trial: Any, key: str, one: Range) -> Value:
    """Ask a trial of Optuna for a value of a range."""
    found: Value
    if not isinstance(one, Interval):
        found = trial.suggest_categorical(key, one.corners)
    elif one.whole:
        found = trial.suggest_int(key, one.low, one.high, step=one.step or 1, log=one.log)
    else:
        found = trial.suggest_float(key, one.low, one.high, step=one.step, log=one.log)
    return found


def _study(name: str, history: Sequence[FrozenTrial]) -> Any:
    """Give a study in memory that holds the earlier trials under their own numbers."""
    import optuna

    study = optuna.create_study(study_name=name, direction="maximize")
    study.add_trials(history)
    return study


def _seed(seed: int, name: str, number: int) -> int:
    words = np.random.SeedSequence([seed, number, *name.encode()]).generate_state(1)
    return int(words[0])


def _sampler(options: SearchOptions, seed: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    if options.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=options.startup, seed=seed, constant_liar=False)


class Verdicts:
    """Decides, from step to step, whether a trial ends early.

    Args:
        options: the search.
        name: of the study.
        history: every trial of earlier batches, in order.
        number: of the trial.
        values: what the trial tries.
        steps: how many steps a trial has.
    """

    def __init__(
        self,
        options: SearchOptions,
        name: str,
        history: Sequence[FrozenTrial],
        *,
        number: int,
        values: Mapping[str, Value],
        steps: int,
    ) -> None:
        self._options, self._name, self._history = options, name, history
        self._number = number
        self._values, self._steps = dict(values), steps
        self._reported: dict[int, float] = {}
        self.notes: dict[str, Any] = {}

    def ends(self, step: int, score: float) -> bool:
        """Hear the score at a step; tell whether the trial ends here. The last step ends nothing.

        What Hyperband wants to remember of the trial is in ``notes`` afterwards.
        """
        self._reported[step] = score
        if self._options.pruner == "none" or step >= self._steps:
            return False
        import optuna

        states = optuna.trial.TrialState
        study = _study(self._name, self._history)
        for _ in range(len(self._history), self._number):  # of its own batch: not looked at
            study.add_trial(optuna.trial.create_trial(state=states.FAIL))
        study.add_trial(
            optuna.trial.create_trial(
                state=states.RUNNING,
                params=self._values,
                distributions=distributions(self._options.space, self._values),
                intermediate_values=self._reported,
                system_attrs=self.notes,
            )
        )
        ended = bool(self._pruner().prune(study, study.get_trials()[self._number]))
        self.notes = dict(study.get_trials()[self._number].system_attrs)
        return ended

    def _pruner(self) -> Any:
        from optuna.pruners import HyperbandPruner, MedianPruner

        if self._options.pruner == "median":
            return MedianPruner(n_startup_trials=STARTED_BEFORE_MEDIAN)
        return HyperbandPruner(min_resource=1, max_resource=self._steps)


def distributions(space: Space, values: Mapping[str, Value]) -> dict[str, Any]:
    """Give Optuna's form of the ranges of some keys."""
    import optuna

    trial = optuna.trial.FixedTrial(dict(values))
    for key in values:
        suggest(trial, key, space[key])
    return dict(trial.distributions)
