"""``train``: the run directory, sealed test labels, resuming, refusing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from emofuse.errors import FeatureError, ProtocolError, TrainingError, UsageError
from emofuse.evaluation.metrics import scores
from emofuse.evaluation.openings import count_openings, read_openings
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.runs import read_run
from emofuse.labels import get_scheme
from emofuse.manifest import Manifest, Utterance
from emofuse.models.bundle import read_bundle
from emofuse.options import apply_overrides
from emofuse.training import data as run_data
from emofuse.training.folder import locked
from emofuse.training.parts import make_targets
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train
from emofuse.training.sealed import SealedTest


def made(recipe_data, *overrides):
    return parse_recipe(apply_overrides(recipe_data, overrides))


def results(folder):
    """Everything that must not depend on how a run came about."""
    return (
        (folder / "predictions.parquet").read_bytes(),
        (folder / "metrics.json").read_bytes(),
        (folder / "bundle" / "model.safetensors").read_bytes(),
    )


def test_the_run_directory(recipe_data, tmp_path):
    events = []
    run = train(made(recipe_data), tmp_path / "run", events.append)
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "recipe.yaml", "environment.json", "folds.json", "predictions.parquet", "metrics.json",
        "audit.json", "bundle", "jobs", "data.json",
    }  # fmt: skip
    frame, classes = read_predictions(run.predictions)
    assert classes == ("anger", "happiness", "sadness")
    assert len(frame) == 90 * 2
    assert set(frame["fold"].unique()) == {
        one["name"] for one in json.loads((run.folder / "folds.json").read_text())["folds"]
    }
    assert [(one.why, one.utterances) for one in read_openings(run.folder)] == [
        ("train: scores of 4 trainings", 90)
    ]
    train(made(recipe_data), run.folder)  # a finished run is only read
    assert count_openings(run.folder) == 1
    assert run.metrics["speaker_independent"] == "yes"
    per_seed = []
    for _, part in frame.groupby("seed"):
        gold, found = (part[n].map(classes.index).to_numpy() for n in ("gold", "predicted"))
        per_seed.append(scores(gold, found, 3).ua)
    mean = sum(per_seed) / len(per_seed)
    assert run.metrics["summary"]["metrics"]["ua"]["mean"] == pytest.approx(mean)
    assert mean > 0.6
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert read_run(run.folder).problems == ()
    assert len(read_run(run.folder).histories) == 4
    done = [event for event in events if event.stage == "train"]
    assert done[-1].done == done[-1].total == 4 * 6
    assert not list(run.folder.rglob("*.tmp"))
    assert not list(run.folder.rglob("fit.safetensors"))


def test_the_bundle_is_the_best_job(recipe_data, tmp_path):
    run = train(made(recipe_data), tmp_path / "run")
    model, config = read_bundle(run.bundle)
    assert config.scheme.classes == ("anger", "happiness", "sadness")
    assert config.encoders["text"]["spec"]["name"] == "ngrams"
    assert config.trained_with_dropout is False
    assert config.metrics["ua"] == run.metrics["summary"]["metrics"]["ua"]["mean"]
    jobs = run.metrics["jobs"]
    assert run.metrics["best"]["dev"] == max(job["dev"] for job in jobs)
    assert not model.training


def test_same_recipe_same_bytes(recipe_data, tmp_path):
    recipe = made(recipe_data)
    train(recipe, tmp_path / "one")
    train(recipe, tmp_path / "two")
    assert results(tmp_path / "one") == results(tmp_path / "two")


@pytest.mark.slow
def test_workers_change_nothing(recipe_data, tmp_path):
    train(made(recipe_data), tmp_path / "one")
    train(made(recipe_data, "trainer.workers=2"), tmp_path / "two")
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_the_trainer_cannot_reach_test_labels(recipe_data, tmp_path, monkeypatch):
    """Test labels that are wrong change the scores, and not one weight of a model."""
    recipe = made(recipe_data, "seeds=[0]")
    train(recipe, tmp_path / "honest")
    openings = []
    original = SealedTest.open
    wheel = {"anger": "happiness", "happiness": "sadness", "sadness": "anger"}

    def rotate(self, folder, jobs, why):
        openings.append(len(list((folder / "jobs").glob("*/result.json"))))
        tested = original(self, folder, jobs, why)
        return [[u.model_copy(update={"emotion": wheel[u.emotion]}) for u in one] for one in tested]

    monkeypatch.setattr(SealedTest, "open", rotate)
    train(recipe, tmp_path / "rotated")
    assert openings == [2]  # opened only when every training was over
    for path in (tmp_path / "honest" / "jobs").rglob("*.safetensors"):
        twin = tmp_path / "rotated" / path.relative_to(tmp_path / "honest")
        assert path.read_bytes() == twin.read_bytes()
    one, two = (
        json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("honest", "rotated")
    )
    assert one["summary"]["metrics"]["ua"] != two["summary"]["metrics"]["ua"]
    assert one["best"] == two["best"]


def test_labels_of_test_in_the_manifest_do_not_move_the_models(recipe_data, tmp_path):
    """The same from the outside: flip the labels of one fold's test part in the file itself."""
    recipe = made(recipe_data, "seeds=[0]", "protocol={name: official, dev: 0.0}")
    path = Path(recipe.data.manifest[0])
    manifest = Manifest.load(path)

    def save(flip):
        wheel = {"anger": "happiness", "happiness": "sadness", "sadness": "anger"}
        changed = []
        for u in manifest:
            split = "test" if u.speaker in ("s4", "s5") else "train"
            emotion = wheel[u.emotion] if flip and split == "test" else u.emotion
            changed.append(u.model_copy(update={"split": split, "emotion": emotion}))
        Manifest(changed, manifest.root).save(path)

    models = []
    for flip in (False, True):
        save(flip)
        run = train(recipe, tmp_path / f"flip-{flip}")
        models.append((run.bundle / "model.safetensors").read_bytes())
    assert models[0] == models[1]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 7, 8, 20])
def test_a_stopped_run_goes_on_to_the_same_numbers(recipe_data, tmp_path, moment):
    recipe = made(recipe_data)
    train(recipe, tmp_path / "whole")
    seen = 0

    def stop(event):
        nonlocal seen
        seen += event.stage == "train"
        if seen == moment:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, tmp_path / "stopped", stop)
    train(recipe, tmp_path / "stopped")
    assert results(tmp_path / "whole") == results(tmp_path / "stopped")


def test_a_finished_run_is_only_read(recipe_data, tmp_path):
    recipe = made(recipe_data)
    first = train(recipe, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*") if p.is_file()}
    again = train(recipe, tmp_path / "run")
    assert again.metrics == first.metrics
    assert before == {p: p.stat().st_mtime_ns for p in first.folder.rglob("*") if p.is_file()}


def test_another_recipe_in_the_same_folder_is_refused(recipe_data, tmp_path):
    train(made(recipe_data), tmp_path / "run")
    with pytest.raises(UsageError, match=r"trainer\.epochs is 6 there and 7 here"):
        train(made(recipe_data, "trainer.epochs=7"), tmp_path / "run")
    train(made(recipe_data, "trainer.checkpoint_seconds=9"), tmp_path / "run")


def test_a_folder_of_something_else_is_refused(recipe_data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        train(made(recipe_data), tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot use"):
        train(made(recipe_data), tmp_path / "file")


def test_changed_data_is_refused(recipe_data, tmp_path):
    recipe = made(recipe_data)
    train(recipe, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    path = Path(recipe.data.manifest[0])
    manifest = Manifest.load(path)
    changed = [manifest[0].model_copy(update={"text": "quite another text"}), *manifest[1:]]
    Manifest(changed, manifest.root).save(path)
    with pytest.raises(TrainingError, match="changed since this run began"):
        train(recipe, tmp_path / "run")


def test_two_runs_in_one_folder_are_refused(recipe_data, tmp_path):
    with locked(tmp_path / "run"), pytest.raises(TrainingError, match="in use"):
        train(made(recipe_data), tmp_path / "run")


def test_a_leaky_split_trains_only_by_its_name_and_is_stamped(recipe_data, tmp_path):
    # every speaker is in both parts of a split that declares nothing
    ids = Manifest.load(Path(recipe_data["data"]["manifest"])).ids
    split = {"folds": [{"fold": 1, "test": list(ids[::5])}]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    protocol = f"protocol={{name: given, path: {tmp_path / 'split.json'}}}"
    leaky = made(recipe_data, protocol, "seeds=[0]")
    with pytest.raises(ProtocolError, match="speaker"):
        train(leaky, tmp_path / "leaky")
    assert not (tmp_path / "leaky" / "jobs").exists()
    assert (tmp_path / "leaky" / "audit.json").exists()
    named = made(recipe_data, "protocol={name: random, k: 2}", "seeds=[0]")
    run = train(named, tmp_path / "random")
    assert run.metrics["speaker_independent"] == "no"
    assert "SPEAKER-DEPENDENT" in run.metrics["stamp"]


def test_utterances_without_features_are_counted_not_zeroed(recipe_data, tmp_path):
    path = Path(recipe_data["data"]["manifest"])
    manifest = Manifest.load(path)
    # no text, and an audio file that is not there: nothing to learn from
    broken = manifest[5].model_copy(update={"text": None, "audio": "gone.wav"})
    Manifest([*manifest[:5], broken, *manifest[6:]], manifest.root).save(path)
    run = train(made(recipe_data, "seeds=[0]"), tmp_path / "run")
    note = json.loads((run.folder / "data.json").read_text())
    assert note["without_features"] == ["u005"]
    assert note["used"] == 89
    frame = pd.read_parquet(run.predictions)
    assert "u005" not in set(frame["id"])
    assert len(frame) == 89


def test_features_that_are_no_numbers_are_named(recipe_data, tmp_path, monkeypatch):
    original = run_data.load_table

    def spoil(*arguments, **options):
        table = original(*arguments, **options)
        table.modalities["text"].values[7] = torch.nan
        return table

    monkeypatch.setattr(run_data, "load_table", spoil)
    with pytest.raises(FeatureError, match="'u007'"):
        train(made(recipe_data), tmp_path / "run")


def test_votes_become_soft_targets():
    scheme = get_scheme("basic4")
    utterances = [
        Utterance(
            id="a", text="x", emotion="anger", votes={"anger": 0.5, "fear": 0.25, "sad": 0.25}
        ),
        Utterance(id="b", text="x", emotion="neutral"),
        Utterance(id="c", text="x", emotion="sadness", votes={"fear": 1.0}),
    ]
    targets = make_targets(utterances, scheme)
    assert targets.labels.tolist() == [0, 2, 3]
    expected = torch.tensor([[2 / 3, 0, 0, 1 / 3], [0, 0, 1, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(targets.soft, expected)
    assert make_targets(utterances[1:2], scheme).soft is None


def test_left_over_temporary_files_are_swept(recipe_data, tmp_path):
    run = train(made(recipe_data, "seeds=[0]"), tmp_path / "run")
    stale = run.folder / "jobs" / ".fit.safetensors.abc.tmp"
    stale.write_bytes(b"half")
    train(made(recipe_data, "seeds=[0]"), tmp_path / "run")
    assert not stale.exists()
