"""Full disk, read-only places, vanished files, no number, damaged files: one line, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import TrainingError, WorkError
from emofuse.features.encode import encode_manifest, load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest
from emofuse.options import apply_overrides
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

COMMAND = "from emofuse.cli.app import main; main()"
FILES = ("predictions.parquet", "bundle/model.safetensors", "bundle/config.json")


def made(data, *overrides):
    return parse_recipe(apply_overrides(data, overrides))


def emofuse(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def one_line(result, status, *words):
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    for word in words:
        assert word in lines[-1]


def same(one, two):
    for name in FILES:
        assert (Path(one) / name).read_bytes() == (Path(two) / name).read_bytes(), name
    notes = [json.loads((Path(folder) / "metrics.json").read_text()) for folder in (one, two)]
    assert notes[0]["summary"] == notes[1]["summary"]


def no_rubbish(folder):
    assert not list(Path(folder).rglob(".*.tmp"))


@pytest.mark.parametrize("share", [0.15, 0.4, 0.65, 0.9])
def test_a_disk_that_fills_up_at_any_write(recipe_data, tmp_path, monkeypatch, share):
    recipe = made(recipe_data, "seeds=[0]")
    real, count, limit = os.fsync, 0, None

    def fsync(handle):
        nonlocal count
        count += 1
        if limit is not None and count >= limit:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    train(recipe, tmp_path / "whole")
    limit, count = int(count * share), 0
    other = made(recipe_data, "seeds=[0]", f"data.store={tmp_path / 'other'}")
    with pytest.raises(WorkError, match=r"^cannot write .*: No space left on device; "):
        train(other, tmp_path / "full")
    no_rubbish(tmp_path / "full")
    limit = None
    train(other, tmp_path / "full")
    same(tmp_path / "whole", tmp_path / "full")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind")
def test_a_limit_of_the_system_in_the_middle_of_training(recipe_data, tmp_path):
    """What a checkpoint's own writer makes of it is one line too."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_data))
    train(made(recipe_data), tmp_path / "whole")  # features are there; a checkpoint is 60 kB
    size = 30_000
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    full = emofuse("train", path, "-o", tmp_path / "full", preexec_fn=limit)
    one_line(full, 1, "cannot write", "fit-head.safetensors", "free the disk")
    no_rubbish(tmp_path / "full")
    assert emofuse("train", path, "-o", tmp_path / "full").returncode == 0
    same(tmp_path / "whole", tmp_path / "full")


def test_a_real_small_disk(recipe_data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted here")
    try:
        recipe = made(recipe_data)
        with pytest.raises(WorkError, match="No space left on device"):
            train(recipe, disk / "run")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607


def read_only(monkeypatch, folder):
    real = tempfile.mkstemp

    def refuse(*arguments, dir=None, **options):  # noqa: A002 (as the library calls it)
        if dir is not None and Path(dir).is_relative_to(folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(*arguments, dir=dir, **options)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)


def test_a_read_only_store_serves_what_it_has_and_names_itself(recipe_data, tmp_path, monkeypatch):
    recipe = made(recipe_data, "seeds=[0]")
    whole = train(recipe, tmp_path / "whole")
    read_only(monkeypatch, tmp_path / "store")
    served = train(recipe, tmp_path / "served")
    same(whole.folder, served.folder)
    more = made(recipe_data, "seeds=[0]", "encoders.text.dim=128")
    with pytest.raises(WorkError, match=r"cannot write .*store.*: Read-only file system"):
        train(more, tmp_path / "more")


def test_a_read_only_run_directory(recipe_data, tmp_path, monkeypatch):
    recipe = made(recipe_data, "seeds=[0]")
    read_only(monkeypatch, tmp_path / "run")
    with pytest.raises(WorkError, match=r"cannot write .*recipe.yaml: Read-only file system"):
        train(recipe, tmp_path / "run")


def test_a_file_that_vanishes_before_encoding_is_counted_and_the_rest_goes_on(sounds, tmp_path):
    path = sounds()
    whole = emofuse("encode", path, "--audio", "logmel", "--store", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "003.wav").unlink()
    found = emofuse("encode", path, "--audio", "logmel", "--store", tmp_path / "store")
    assert "Traceback" not in found.stderr
    assert "003.wav" in found.stderr + found.stdout
    table = load_table(
        Manifest.load(path),
        {"audio": EncoderSpec.from_text("logmel")},
        FeatureStore(tmp_path / "store"),
    )
    assert list(table.quarantined["audio"]) == ["a003"]
    assert (table.modalities["audio"].lengths > 0).sum() == 11
    strict = emofuse("encode", path, "--audio", "logmel", "--store", tmp_path / "other", "--strict")
    one_line(strict, 1, "003.wav")


def test_files_that_vanish_while_it_encodes(sounds, tmp_path, monkeypatch):
    manifest = Manifest.load(sounds(24))
    monkeypatch.setattr("emofuse.features.session.WINDOW_SECONDS", 1.0)
    monkeypatch.setattr("emofuse.features.session.AHEAD_SECONDS", 1.0)
    gone = {}

    def vanish(event):
        if event.stage == "encode audio" and event.done >= 8 and not gone:
            gone.update({path: path.read_bytes() for path in tmp_path.glob("*.wav")})
            for path in gone:
                path.unlink()

    spec, store = EncoderSpec.from_text("logmel"), FeatureStore(tmp_path / "store")
    report = encode_manifest(manifest, "audio", spec, store, vanish)
    assert gone
    assert report.done + len(report.quarantined) == 24
    assert report.done >= 8
    assert report.quarantined
    for path, data in gone.items():
        path.write_bytes(data)
    again = encode_manifest(manifest, "audio", spec, FeatureStore(tmp_path / "store"))
    assert again.skipped == report.done  # nothing of what was finished is lost
    assert again.done == len(report.quarantined)


@pytest.mark.slow
def test_a_training_whose_corpus_has_lost_a_file(sounds, recipe_data, tmp_path):
    path = sounds(24)
    (tmp_path / "005.wav").unlink()
    data = {**recipe_data, "encoders": {"audio": {"name": "logmel", "pooling": "mean"}}}
    data["data"] = {**recipe_data["data"], "manifest": str(path)}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    found = emofuse("train", tmp_path / "recipe.yaml", "-o", tmp_path / "run")
    assert found.returncode == 0, found.stderr
    assert "005.wav" in found.stderr
    note = json.loads((tmp_path / "run" / "data.json").read_text())
    assert note["used"] == 23
    assert list(note["quarantined"]["audio"]) == ["a005"]


def test_a_loss_that_is_no_number_keeps_what_is_finished(recipe_data, tmp_path, monkeypatch):
    recipe = made(recipe_data)
    whole = train(recipe, tmp_path / "whole")
    from emofuse.training import steppers

    real, calls = steppers.check_losses, 0

    def spoil(losses, epoch, rate):
        nonlocal calls
        calls += 1
        if calls == 20:  # in the second job
            losses[0] = losses[0] * np.nan
        real(losses, epoch, rate)

    monkeypatch.setattr(steppers, "check_losses", spoil)
    with pytest.raises(
        TrainingError, match=r"^fold .*, seed 1: the loss is nan in epoch \d+, batch 1 .*lower"
    ):
        train(recipe, tmp_path / "broken")
    assert len(list((tmp_path / "broken" / "jobs").glob("*/result.json"))) == 1
    monkeypatch.setattr(steppers, "check_losses", real)
    again = train(recipe, tmp_path / "broken")
    same(whole.folder, again.folder)


def test_a_diverging_training_is_one_line_of_the_command(recipe_data, tmp_path):
    trainer = {**recipe_data["trainer"], "learning_rate": 1e30, "clip": None, "stages": []}
    trainer |= {"schedule": "constant"}
    model = {**recipe_data["model"], "normalise": False}
    data = {**recipe_data, "trainer": trainer, "model": model}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    found = emofuse("train", tmp_path / "recipe.yaml", "-o", tmp_path / "run")
    one_line(found, 1, "seed 0", "the loss is", "lower trainer.learning_rate")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("result.json", "cut"),
        ("outputs.safetensors", "nonsense"),
        ("outputs.safetensors", "gone"),
        ("model.safetensors", "cut"),
        ("model.safetensors", "gone"),
        ("fit-whole.safetensors", "cut"),
    ],
)
def test_a_damaged_file_of_a_job_is_named_and_trained_again(recipe_data, tmp_path, name, how):
    recipe = made(recipe_data, "seeds=[0]")
    whole = train(recipe, tmp_path / "run").folder
    kept = {n: (whole / n).read_bytes() for n in FILES}
    best = json.loads((whole / "metrics.json").read_text())["best"]["job"]
    (whole / "metrics.json").unlink()
    job = whole / "jobs" / best
    damaged = job / name
    if name.startswith("fit"):  # of a training that was stopped
        (job / "result.json").unlink()
        damaged.write_bytes((job / "model.safetensors").read_bytes())
    if how == "gone":
        damaged.unlink()
    else:
        data = damaged.read_bytes()
        damaged.write_bytes(data[: len(data) // 2] if how == "cut" else b"nonsense" * 20)
    if how != "gone" or name in ("outputs.safetensors", "model.safetensors"):
        with pytest.raises(WorkError, match=name) as error:
            train(recipe, whole)
        assert "\n" not in str(error.value)
        for path in job.iterdir():
            path.unlink()
    train(recipe, whole)
    assert {n: (whole / n).read_bytes() for n in FILES} == kept
