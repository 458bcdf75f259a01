"""Every tracker is read back by its own library, and changes nothing of what is trained."""

from __future__ import annotations

import json
import socket
import struct
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from emofuse.errors import MissingExtraError, OptionError
from emofuse.options import apply_overrides
from emofuse.training.judge import Recognised
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train
from emofuse.training.trackers.contract import Place, Seen
from emofuse.training.trackers.csv_files import CsvTracker
from emofuse.training.watch import seen_of


@pytest.fixture
def no_network(monkeypatch):
    """Any connection that leaves the machine is an error."""
    original = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise AssertionError(f"a tracker went out to {address}")
        return original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def run(recipe_data, folder, *overrides):
    return train(parse_recipe(apply_overrides(recipe_data, overrides)), folder)


def first_job(folder):
    return sorted((folder / "jobs").iterdir())[0]


def history(folder):
    return pd.read_csv(first_job(folder) / "history.csv")


def test_csv_holds_every_number_and_changes_no_byte(recipe_data, tmp_path):
    plain = run(recipe_data, tmp_path / "plain")
    tracked = run(recipe_data, tmp_path / "tracked", "trainer.tracking=csv")
    for name in ("predictions.parquet", "metrics.json", "bundle/model.safetensors"):
        assert (plain.folder / name).read_bytes() == (tracked.folder / name).read_bytes()
    table = pd.read_csv(first_job(tracked.folder) / "tracking" / "scalars.csv")
    fit = table[table["phase"] == "fit"].pivot_table(index="epoch", columns="name", values="value")
    expected = history(tracked.folder).set_index("epoch")
    for shown, column in {
        "loss/total": "loss",
        "loss/cross-entropy": "loss:cross-entropy",
        "loss/supcon": "loss:supcon",
        "learning_rate": "learning_rate",
        "gradient/norm": "grad_norm",
        "dev/ua": "dev_ua",
        "dev/loss": "dev_loss",
    }.items():
        np.testing.assert_allclose(fit[shown], expected[column], rtol=1e-6)
    rules = fit[[name for name in fit.columns if name.startswith("fuzzy/text/")]]
    assert rules.shape[1] == 5
    np.testing.assert_allclose(rules.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(fit["weight/text"], 1.0)
    bars = pd.read_csv(first_job(tracked.folder) / "tracking" / "histograms.csv")
    dev = len(json.loads((tracked.folder / "folds.json").read_text())["folds"][0]["dev"])
    assert (bars.groupby(["phase", "epoch", "name"])["count"].sum() == dev).all()
    counts = pd.read_csv(first_job(tracked.folder) / "tracking" / "confusion.csv")
    assert sorted(set(zip(counts["phase"], counts["epoch"], strict=True)))[-3:] == [
        ("fit", 1),
        ("fit", 2),
        ("fit", 5),
    ]
    last = counts[(counts["phase"] == "fit") & (counts["epoch"] == 5)]
    right = last[last["gold"] == last["recognised"]]["count"].sum()
    assert right / last["count"].sum() == pytest.approx(expected["dev_wa"].loc[5])


def test_tensorboard_events_are_read_back(recipe_data, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = run(recipe_data, tmp_path / "run", "trainer.tracking=tensorboard")
    folder = first_job(made.folder) / "tensorboard"
    everything = {"scalars": 0, "histograms": 0, "images": 0}
    events = EventAccumulator(str(folder / "fit"), size_guidance=everything).Reload()
    shown = [event.value for event in events.Scalars("dev/ua")]
    np.testing.assert_allclose(shown, history(made.folder)["dev_ua"], rtol=1e-6)
    assert [event.step for event in events.Scalars("gradient/norm")] == [1, 2, 3, 4, 5]
    assert len(events.Histograms("fuzzy/text")) == 5
    pictures = events.Images("dev/confusion")
    assert [picture.step for picture in pictures] == [1, 2, 5]
    assert pictures[0].width > 100
    assert EventAccumulator(str(folder / "best")).Reload().Images("dev/confusion")


def wandb_rows(path):
    """Read the history of an offline run: protocol buffers in a LevelDB log."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole, rows = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                rows.append(
                    {
                        (one.key or "/".join(one.nested_key)): json.loads(one.value_json)
                        for one in record.history.item
                    }
                )
    return rows


def test_wandb_offline_holds_the_history(recipe_data, tmp_path, no_network):
    pytest.importorskip("wandb")
    made = run(recipe_data, tmp_path / "run", "trainer.tracking=wandb")
    runs = sorted((made.folder / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    seen = [wandb_rows(next(folder.glob("run-*.wandb"))) for folder in runs]
    values = sorted([[row["fit/dev/ua"] for row in rows if "fit/dev/ua" in row] for rows in seen])
    expected = sorted(
        pd.read_csv(path)["dev_ua"].tolist() for path in made.folder.glob("jobs/*/history.csv")
    )
    np.testing.assert_allclose(values, expected)
    keys = {key for row in seen[0] for key in row}
    assert {"fit/loss/supcon", "best/dev/score"} <= keys
    kinds = {"fit/fuzzy/text": "histogram", "fit/dev/confusion": "table-file"}
    assert all(seen[0][0][f"{name}/_type"] == kind for name, kind in kinds.items())


def test_mlflow_local_folder_is_read_back(recipe_data, tmp_path, no_network, monkeypatch):
    pytest.importorskip("mlflow")
    made = run(recipe_data, tmp_path / "run", "trainer.tracking=mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(made.folder / "mlflow").resolve().as_uri())
    experiment = client.get_experiment_by_name("run")
    runs = client.search_runs([experiment.experiment_id])
    assert {one.info.run_name for one in runs} == {path.name for path in made.folder.glob("jobs/*")}
    assert {one.info.status for one in runs} == {"FINISHED"}
    first = next(one for one in runs if one.info.run_name == first_job(made.folder).name)
    found = client.get_metric_history(first.info.run_id, "fit/dev/ua")
    shown = [one.value for one in sorted(found, key=lambda one: one.step)]
    np.testing.assert_allclose(shown, history(made.folder)["dev_ua"])
    assert first.data.params["model"] == "fleser"
    kept = {one.path for one in client.list_artifacts(first.info.run_id, "confusion")}
    assert "confusion/fit-00001.json" in kept
    assert "confusion/fit-00001.png" in kept


def test_lines_that_come_again_after_a_kill_replace_the_old_ones(tmp_path):
    place = Place(tmp_path, tmp_path / "job", "run", "job")
    first = CsvTracker.open(place)
    for epoch in (1, 2, 3):
        first.show("fit", epoch, Seen({"loss": float(epoch)}))
    path = tmp_path / "job" / "tracking" / "scalars.csv"
    with path.open("a") as stream:
        stream.write("fit,4,lo")  # cut short by the kill
    again = CsvTracker.open(place)
    for epoch in (3, 4):
        again.show("fit", epoch, Seen({"loss": 10.0 * epoch}))
    again.show("refit", 1, Seen({"loss": 7.0}))
    table = pd.read_csv(path)
    assert table["value"].tolist() == [1.0, 2.0, 30.0, 40.0, 7.0]
    assert table["epoch"].tolist() == [1, 2, 3, 4, 1]


def test_gates_shares_and_rules_are_told_apart():
    shares = torch.eye(5)[[0, 0, 3, 4]]
    extras = {"fuzzy:audio": shares, "alpha": torch.tensor([0.25, 0.75, 0.5, 0.5])}
    weights = {"audio": torch.tensor([1.0, 0.0, 0.5, 0.5])}
    dev = Recognised(torch.eye(3)[[0, 1, 2, 0]], weights, None, extras)
    seen = seen_of(
        {"epoch": 1, "loss": 2.0}, dev, torch.tensor([0, 1, 2, 2]), ("a", "b", "c"), True
    )
    assert seen.scalars["fuzzy/audio/sigmoid"] == 0.5
    assert seen.scalars["fuzzy/audio/piecewise"] == 0.25
    assert seen.scalars["alpha/mean"] == 0.5
    assert seen.scalars["weight/audio"] == 0.5
    assert seen.histograms["fuzzy/audio"].tolist() == [0.0, 0.0, 3.0, 4.0]
    assert seen.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_the_old_key_names_the_new_one(recipe_data):
    with pytest.raises(OptionError, match=r"write trainer\.tracking=tensorboard"):
        parse_recipe(apply_overrides(recipe_data, ["trainer.tensorboard=true"]))
    old = parse_recipe(apply_overrides(recipe_data, ["trainer.tensorboard=false"]))
    assert old.trainer.tracking == ()
    with pytest.raises(OptionError, match="did you mean 'wandb'"):
        parse_recipe(apply_overrides(recipe_data, ["trainer.tracking=[wandd]"]))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_named_before_anything_is_trained(
    recipe_data, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[tracking\]'"):
        run(recipe_data, tmp_path / "run", f"trainer.tracking=[{name}]")
    assert not (tmp_path / "run" / "jobs").exists()
