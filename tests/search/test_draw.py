"""Draws and verdicts are functions of the earlier trials, the seed and the number."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from emofuse.training.searching.draw import Verdicts, distributions, draw, quiet_optuna
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.table import importances, study_found

SPACE = {
    "x": "0.0..1.0",
    "kind": ["a", "b"],
    "n": {"low": 1, "high": 64, "log": True, "when": {"kind": "b"}},
}


@pytest.fixture(autouse=True)
def quiet():
    with quiet_optuna():
        yield


def options(**changes):
    return SearchOptions.parse({"space": SPACE, "startup": 2, **changes})


def past(chosen, count, score=lambda values: 1.0 - (values["x"] - 0.3) ** 2, steps=3):
    """Finished trials whose score depends on x alone."""
    trials = []
    for number in range(count):
        values = draw(chosen, "study", trials, number)
        trials.append(
            create_trial(
                state=TrialState.COMPLETE,
                params=values,
                distributions=distributions(chosen.space, values),
                value=score(values),
                intermediate_values={step: score(values) for step in range(1, steps + 1)},
            )
        )
    return trials


def test_a_draw_depends_on_seed_number_study_and_history():
    history = past(options(), 12)
    same = draw(options(), "study", history, 12)
    assert draw(options(), "study", history, 12) == same
    assert draw(options(seed=1), "study", history, 12) != same
    assert draw(options(), "study", history, 13) != same
    assert draw(options(), "other", history, 12) != same
    assert draw(options(), "study", history[:4], 12) != same
    plain = options(sampler="random")
    assert draw(plain, "study", history, 12) == draw(plain, "study", [], 12)


def test_tpe_comes_near_the_optimum():
    chosen = options(startup=5)
    trials = past(chosen, 40)
    late = [abs(trial.params["x"] - 0.3) for trial in trials[20:]]
    early = [abs(trial.params["x"] - 0.3) for trial in trials[:5]]
    assert sum(late) / len(late) < 0.5 * sum(early) / len(early)


def test_values_stay_in_their_ranges_and_conditions_hold():
    kinds = set()
    for trial in past(options(), 20):
        assert 0.0 <= trial.params["x"] <= 1.0
        assert ("n" in trial.params) == (trial.params["kind"] == '"b"')
        if "n" in trial.params:
            assert isinstance(trial.params["n"], int)
            assert 1 <= trial.params["n"] <= 64
        kinds.add(trial.params["kind"])
    assert len(kinds) == 2


def verdict(pruner, score, step=1, number=8):
    chosen = options(pruner=pruner)
    history = past(chosen, 8)
    values = draw(chosen, "study", history, number)
    judge = Verdicts(chosen, "study", history, number=number, values=values, steps=3)
    return judge.ends(step, score), judge.notes


@pytest.mark.parametrize(("pruner", "ends"), [("median", True), ("none", False)])
def test_a_poor_trial_ends_early(pruner, ends):
    assert verdict(pruner, 0.0)[0] is ends
    assert verdict(pruner, 2.0)[0] is False
    assert verdict(pruner, 0.0, step=3)[0] is False  # the last step ends nothing


def test_hyperband_ends_the_poor_and_remembers():
    chosen = options(pruner="hyperband")
    history: list[optuna.trial.FrozenTrial] = []
    ended = []
    for number in range(20):
        values = draw(chosen, "study", history, number)
        judge = Verdicts(chosen, "study", history, number=number, values=values, steps=9)
        score = 1.0 - (values["x"] - 0.3) ** 2
        steps = {}
        for step in range(1, 10):
            steps[step] = score
            if judge.ends(step, score):
                ended.append((score, number))
                break
        history.append(
            create_trial(
                state=TrialState.COMPLETE if len(steps) == 9 else TrialState.PRUNED,
                params=values,
                distributions=distributions(chosen.space, values),
                value=score,
                intermediate_values=steps,
                system_attrs=judge.notes,
            )
        )
    assert ended
    kept = [trial.value for trial in history if trial.state == TrialState.COMPLETE]
    assert max(kept) > max(score for score, _ in ended)
    assert any("completed_rung" in key for trial in history for key in trial.system_attrs)


def test_importance_names_the_key_that_matters():
    chosen = options()
    found = importances(past(chosen, 20), chosen)
    assert found["x"] > 0.8
    assert set(found) == {"x", "kind"}
    assert found == importances(past(chosen, 20), chosen)
    assert importances(past(chosen, 3), chosen) == {}
    assert importances(past(chosen, 9, score=lambda _: 0.5), chosen) == {}


def test_the_best_is_the_first_among_equals():
    chosen = options()
    study = optuna.create_study(direction="maximize")
    study.add_trials(past(chosen, 5, score=lambda _: 0.5))
    found = study_found("study", None, study.trials, chosen)
    assert found.best is not None
    assert found.best.number == 0
