"""Test labels are out of reach of training: shown by trying to reach them."""

from __future__ import annotations

import copy
import gc
import pickle
from dataclasses import dataclass
from types import FunctionType, ModuleType

import pytest
import torch
from tests.training.speech import make_corpus, save_encoder, toy_recipe

from emofuse.errors import TrainingError, WorkError
from emofuse.evaluation.openings import count_openings, read_openings
from emofuse.losses.contract import Targets
from emofuse.manifest import Manifest, Utterance
from emofuse.protocols.contract import Fold
from emofuse.training import fold_encoders
from emofuse.training import run as run_module
from emofuse.training.data import RunData
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train
from emofuse.training.sealed import SealedTest


@dataclass
class Ending:
    fold: Fold
    finished: bool


@pytest.fixture
def manifest(tmp_path):
    labels = ("anger", "happiness", "anger", "sadness")
    listed = [Utterance(id=f"u{n}", text="t", emotion=e) for n, e in enumerate(labels)]
    return Manifest(listed, tmp_path)


FOLDS = (Fold("a", ("u0",), (), ("u3", "u1")), Fold("b", ("u0",), (), ("u1", "u2")))


def test_sealed_labels_open_when_all_is_over_and_leave_a_record(manifest, tmp_path):
    sealed = SealedTest(manifest)
    jobs = [Ending(fold, True) for fold in FOLDS]
    tested = sealed.open(tmp_path, jobs, "train")
    assert [[u.emotion for u in one] for one in tested] == [
        ["sadness", "happiness"],
        ["happiness", "anger"],
    ]
    sealed.open(tmp_path, jobs, "train")
    first, second = read_openings(tmp_path)
    assert (first.why, first.utterances) == ("train", 3)
    assert second.why == "train, again (an earlier opening is on record)"


@pytest.mark.parametrize("done", [(True, False), (False, False), ()])
def test_sealed_labels_stay_sealed_while_a_training_is_open(manifest, tmp_path, done):
    jobs = [Ending(fold, finished) for fold, finished in zip(FOLDS, done, strict=False)]
    with pytest.raises(TrainingError, match="stay sealed"):
        SealedTest(manifest).open(tmp_path, jobs, "train")
    assert count_openings(tmp_path) == 0


def test_what_cannot_be_recorded_is_not_opened(manifest, tmp_path):
    jobs = [Ending(fold, True) for fold in FOLDS]
    with pytest.raises(WorkError, match="not opened without a record"):
        SealedTest(manifest).open(tmp_path / "none", jobs, "train")


def test_sealed_labels_are_not_shown_pickled_or_copied(manifest):
    sealed = SealedTest(manifest)
    assert "anger" not in repr(sealed)
    assert not hasattr(sealed, "__dict__")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(sealed)
    public = [name for name in dir(sealed) if not name.startswith("_")]
    assert public == ["open"]


def reachable(*roots):
    """Everything that can be reached from some objects, code and classes left aside."""
    seen, queue = {}, list(roots)
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, ModuleType | type | FunctionType):
            continue
        seen[id(one)] = one
        queue.extend(gc.get_referents(one))
    return list(seen.values())


def test_no_label_of_test_is_reachable_from_what_trains(recipe_data, tmp_path, monkeypatch):
    """Walk every object that the trainer is handed, in a whole run, and look for labels."""
    handed = []
    original = run_module.run_tasks

    def spy(tasks, *rest):
        handed.append((tasks, rest[:3]))
        return original(tasks, *rest)

    monkeypatch.setattr(run_module, "run_tasks", spy)
    train(parse_recipe(recipe_data), tmp_path / "run")
    ((tasks, setup),) = handed
    assert len(tasks) == 4
    table = setup[2]
    for task in tasks:
        tested = set(task.job.fold.test)
        assert {table.ids[row] for row in task.test_rows.tolist()} == tested
        found = reachable(task, *setup)
        assert len(found) > 100  # the walk goes somewhere
        kinds = (Utterance, Manifest, SealedTest, RunData)
        assert not [one for one in found if isinstance(one, kinds)]
        targets = [one for one in found if isinstance(one, Targets)]
        assert len(targets) == 2  # of train and of dev
        learnt = {table.ids[row] for part in (task.train, task.dev) for row in part.rows.tolist()}
        assert not learnt & tested
        assert sum(len(one.labels) for one in targets) == len(learnt)
        whole = [one for one in found if isinstance(one, torch.Tensor) and len(one.shape) == 1]
        longest = max(len(one) for one in whole if one.dtype == torch.long)
        assert longest <= max(len(learnt), len(table.ids) + 1)


def test_adaptation_and_fine_tuning_get_no_test_label_either(tmp_path, monkeypatch):
    """The same walk where encoders learn: adapted on each fold, then fine-tuned from raw audio."""
    make_corpus(tmp_path)
    save_encoder("hubert-group", tmp_path / "hubert")
    contrast = {"name": "contrast", "kind": "adapt", "encoders": ["audio"], "epochs": 1}
    contrast |= {"batch_size": 8, "objective": "supervised"}
    tune = {"name": "tune", "kind": "finetune", "epochs": 1, "learning_rate": 1e-3}
    stages = [contrast, {"name": "head", "epochs": 1}, tune]
    encoders = {"audio": {"name": str(tmp_path / "hubert"), "pooling": "mean"}}
    recipe = parse_recipe(toy_recipe(tmp_path, encoders, trainer={"stages": stages}, seeds=[0]))
    adapted, handed = [], []
    adapt, run_tasks = fold_encoders.adapt, run_module.run_tasks

    def watch_adapt(manifest, *rest, fold, **more):
        adapted.append((set(manifest.ids), fold))
        return adapt(manifest, *rest, fold=fold, **more)

    def watch_tasks(tasks, *rest):
        handed.append((tasks, rest[:3]))
        return run_tasks(tasks, *rest)

    monkeypatch.setattr(fold_encoders, "adapt", watch_adapt)
    monkeypatch.setattr(run_module, "run_tasks", watch_tasks)
    train(recipe, tmp_path / "run")
    assert adapted
    assert handed
    for ids, fold in adapted:
        assert set(fold.train) <= ids
        assert not ids & set(fold.test)
    for tasks, setup in handed:
        found = reachable(*tasks, *setup)
        kinds = (Utterance, Manifest, SealedTest, RunData)
        assert not [one for one in found if isinstance(one, kinds)]


def test_a_collection_that_was_cut_short_is_on_record(recipe_data, tmp_path, monkeypatch):
    """Stopped after test was opened and before the scores were written: opened twice, and told."""
    recipe = parse_recipe(recipe_data)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "summarise", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run")
    run = train(recipe, tmp_path / "run")
    whole = train(recipe, tmp_path / "whole")
    assert [one.why for one in read_openings(run.folder)] == [
        "train: scores of 4 trainings",
        "train: scores of 4 trainings, again (an earlier opening is on record)",
    ]
    assert count_openings(whole.folder) == 1
    for name in ("metrics.json", "predictions.parquet", "calibration.json"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_walk_finds_labels_where_there_are_any(manifest):
    assert [one for one in reachable(Ending(FOLDS[0], True), [manifest]) if one == "sadness"]
