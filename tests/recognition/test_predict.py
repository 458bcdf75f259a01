"""The verb ``predict``, through the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.calls import call_emofuse

from emofuse.recognition.output import table_columns, table_rows
from emofuse.recognition.recognizer import Recognition, Recognizer

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def predict(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Call ``emofuse predict WORDS... --model RUN``: status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("EMOFUSE_DEBUG", raising=False)

    def call(*words: object, stdin: bytes = b"", model: Path | None = None) -> tuple[int, str, str]:
        run = str(model or trained.bundle.parent)
        return call_emofuse(capfd, "predict", *words, "--model", run, stdin=stdin)

    return call


@pytest.fixture
def folder(trained: Any, tmp_path: Path) -> Path:
    """Three files under names with blanks, commas, quotes and letters beyond ASCII."""
    place = tmp_path / "aufnahmen, neu"
    (place / "tief").mkdir(parents=True)
    names = ("ein ton.wav", 'das "zweite", ü.wav', "tief/трetí.wav")
    for row, name in enumerate(names):
        shutil.copy(trained.audio(row), place / name)
    return place


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_json_and_csv_and_library_agree(trained: Any, folder: Path, predict: Call) -> None:
    status, out, err = predict(folder, "--format", "json")
    answers = records(out)
    assert status == 0
    assert "text missing: answered from audio alone" in err
    assert len(answers) == 3
    recognizer = Recognizer.load(trained.bundle)
    for answer in answers:
        alone = recognizer.recognise(answer["id"])
        assert answer["emotion"] == alone.emotion
        assert answer["probabilities"] == pytest.approx(alone.probabilities, abs=1e-4)
        assert answer["weights"] == {"audio": 1.0}
        assert answer["missing"] == ["text"]
    status, out, _ = predict(folder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["id"] for row in rows] == [answer["id"] for answer in answers]
    for row, answer in zip(rows, answers, strict=True):
        found = {name: float(row[f"p:{name}"]) for name in recognizer.classes}
        assert found == pytest.approx(answer["probabilities"], abs=1e-6)
        assert (row["emotion"], row["modalities"], row["missing"]) == (
            answer["emotion"],
            "audio",
            "text",
        )
        assert float(row["w:audio"]) == 1.0
        assert row["w:text"] == row["error"] == ""


def test_table(trained: Any, predict: Call) -> None:
    status, out, _ = predict(trained.audio(0), "--text", "so it goes")
    assert status == 0
    assert "rests on" in out
    assert "audio " in out
    assert " + text " in out


def test_table_of_many_classes_names_the_first() -> None:
    classes = ("anger", "calm", "disgust", "fear", "happiness", "neutral")
    shares = dict(zip(classes, (0.1, 0.05, 0.5, 0.05, 0.25, 0.05), strict=True))
    answer = Recognition(id="a", emotion="disgust", probabilities=shares, modalities=("audio",))
    bad = Recognition(id="b", error="no audio")
    head, rows = table_columns(classes), table_rows([answer, bad], classes)
    assert [len(row) for row in rows] == [len(head)] * 2
    assert rows[0][-1] == "disgust 50.0, happiness 25.0, anger 10.0"


def test_text_alone_and_text_file(predict: Call, tmp_path: Path) -> None:
    status, out, err = predict("--text", "this makes me furious", "--json")
    assert (status, records(out)[0]["emotion"]) == (0, "anger")
    assert "audio missing: answered from text alone" in err
    (tmp_path / "t.txt").write_text("this makes me furious\n", encoding="utf-8")
    assert predict("--text-file", "t.txt", "--json")[1] == out


def test_standard_input_is_audio_or_a_list(trained: Any, folder: Path, predict: Call) -> None:
    path = trained.audio(0)
    piped = records(predict("-", "--json", stdin=path.read_bytes())[1])[0]
    named = records(predict(path, "--json")[1])[0]
    assert piped["id"] == "-"
    assert piped["probabilities"] == named["probabilities"]
    spoken = f"{path}\tso it goes\n{folder / 'ein ton.wav'}\n".encode()
    first, second = records(predict("-", "--json", stdin=spoken)[1])
    assert (first["modalities"], second["modalities"]) == (["audio", "text"], ["audio"])


def test_manifest_and_list_agree(trained: Any, predict: Call, tmp_path: Path) -> None:
    some = trained.manifest.select(trained.manifest.ids[:5])
    some.save(tmp_path / "m.jsonl")
    lines = [f"{trained.audio(row)}\t{some[row].text}" for row in range(5)]
    (tmp_path / "list.of.files").write_text("\n".join(lines), encoding="utf-8")
    from_manifest = records(predict("m.jsonl", "--json")[1])
    from_list = records(predict("list.of.files", "--list", "--json")[1])
    assert [a["id"] for a in from_manifest] == list(some.ids)
    for one, other in zip(from_manifest, from_list, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert one["missing"] == other["missing"] == []


def test_a_bad_file_is_counted_and_the_rest_goes_on(trained: Any, predict: Call) -> None:
    good = trained.audio(0)
    Path("noise.wav").write_bytes(b"no audio at all")
    status, out, err = predict("noise.wav", good, "gone.wav", "--json")
    answers = records(out)
    assert status == 1
    assert [a["emotion"] is None for a in answers] == [True, False, True]
    assert "not audio that can be read" in answers[0]["error"]
    assert "2 of 3 could not be recognised" in err
    assert [answers[place]["calibrated"] for place in (0, 2)] == [None, None]
    status, out, _ = predict("noise.wav", good, "--format", "csv")
    bad, fine = csv.DictReader(io.StringIO(out))
    assert (status, fine["calibrated"] in ("yes", "no")) == (1, True)
    assert {name for name, value in bad.items() if value} == {"id", "error"}
    status, out, err = predict("noise.wav", good, "--json", "--strict")
    assert (status, out) == (1, "")
    assert err.startswith("error: noise.wav")
    assert predict("noise.wav", good)[0] == 1


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "nothing": ((), 2, "nothing to recognise"),
    "format": (("a.wav", "--format", "xml"), 2, "unknown format 'xml'"),
    "blank text": (("--text", " "), 2, "blank"),
    "two texts": (("--text", "a", "--text-file", "b"), 2, "not both"),
    "no text file": (("--text-file", "none.txt"), 1, "cannot read none.txt"),
    "encoder": (("a.wav", "--encoder", "audio"), 2, "is not audio=PATH"),
    "device": (("a.wav", "--device", "warp"), 2, "unknown device"),
    "empty stdin": (("-",), 1, "standard input is empty"),
    "no table": (("none.csv",), 1, "cannot read none.csv"),
    "long name": (("a" * 5000 + ".wav",), 1, "could not be recognised"),
    "NUL": (("-", "--list"), 1, "standard input is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_clear_line(predict: Call, case: str) -> None:
    words, status, message = WRONG[case]
    found, _, err = predict(*words)
    assert found == status
    assert message in err


def test_no_model(predict: Call, tmp_path: Path) -> None:
    status, out, err = predict("a.wav", model=tmp_path / "none")
    assert (status, out) == (1, "")
    assert "error: " in err
    assert "is missing" in err
