"""The bundle that comes along: found without a name, missed in one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from emofuse.cli.app import main
from emofuse.errors import BundleError
from emofuse.recognition import loading
from emofuse.recognition.recognizer import Recognizer


@pytest.fixture
def shipped(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle where the one that comes along lies."""
    place = tmp_path / "default_bundle"
    shutil.copytree(trained.bundle, place)
    monkeypatch.setattr(loading, "_DEFAULT_FOLDER", place)
    return place


def run(words: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["emofuse", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_no_path_and_default_mean_the_bundle_that_comes_along(shipped: Path, trained: Any) -> None:
    assert loading.find_bundle(None) == loading.find_bundle("default") == shipped
    named = Recognizer.load(trained.bundle).recognise(trained.audio(0))
    assert Recognizer.load().recognise(trained.audio(0)) == named
    assert Recognizer.load("default").recognise(trained.audio(0)) == named


def test_a_folder_called_default_is_reached_by_its_path(
    shipped: Path, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.bundle, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    assert loading.find_bundle("./default") == Path("default")
    assert loading.find_bundle(Path("default")) == Path("default")
    assert loading.find_bundle("default") == shipped


def test_predict_needs_no_model(
    shipped: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", trained.audio(0), "--format", "json"], monkeypatch) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["emotion"] == Recognizer.load(trained.bundle).recognise(trained.audio(0)).emotion


def test_listen_needs_no_model(
    shipped: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["listen", "--from", trained.audio(0), "--fast", "--json"]
    assert run(words, monkeypatch) == 0
    assert "heard" in capfd.readouterr().err


def test_without_a_bundle_that_is_one_line(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "_DEFAULT_FOLDER", tmp_path / "nothing")
    with pytest.raises(BundleError, match="no default bundle in this installation; name a run"):
        Recognizer.load()
    assert run(["predict", trained.audio(0)], monkeypatch) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == ("error: no default bundle in this installation; name a run or bundle\n")
