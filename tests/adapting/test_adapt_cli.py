"""Adaptation through the command line, and without PyTorch."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from tests.adapting.conftest import knowing
from tests.calls import call_emofuse
from tests.export.test_export import BLOCKED
from tests.timeline.conftest import RATE, make_bundle, recording

from emofuse.recognition.recognizer import Recognizer


@pytest.fixture
def emofuse(monkeypatch, capfd):
    """Call the command: status, output, errors."""
    monkeypatch.delenv("EMOFUSE_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*words, stdin=b""):
        return call_emofuse(capfd, *words, stdin=stdin)

    return call


def records(out):
    return [json.loads(line) for line in out.splitlines()]


def table(clips, place, speakers=("anna", "bert", "carl")):
    rows = [(p, p.parent.name) for p in sorted(clips.rglob("*.wav"))]
    with (place / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("audio", "speaker"), *((p, s if s in speakers else "") for p, s in rows)]
        )
    return place / "t.csv"


def test_a_folder_a_table_and_python_agree(emofuse, bundle, clips, tmp_path):
    status, out, _ = emofuse("predict", clips, "-m", bundle, "--adapt", "parent", "--json")
    assert status == 0
    by_folder = records(out)
    assert [one["adapted"]["utterances"] for one in by_folder] == [5.0] * 5 + [3.0] * 3 + [1.0]
    status, out, _ = emofuse(
        "predict", table(clips, tmp_path), "-m", bundle, "--adapt", "column", "--json"
    )
    by_column = records(out)
    assert [o["probabilities"] for o in by_column] == [o["probabilities"] for o in by_folder]
    assert {o["adapted"]["speaker"] for o in by_column} == {"anna", "bert", "carl"}
    status, out, err = emofuse(
        "predict", clips / "anna", "-m", bundle, "--adapt", "one", "--format", "csv"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(one["speaker"], one["adapted_from"]) for one in rows} == {("the speaker", "5")}
    assert [one["p:anger"] for one in rows] == [
        f"{one['probabilities']['anger']:.6f}" for one in by_folder[:5]
    ]
    assert "fewer than 8" in err
    _, out, _ = emofuse("predict", clips, "-m", bundle, "--json")
    assert all(one["adapted"] is None for one in records(out))


def test_a_table_that_names_some_speakers_says_whom_it_does_not(emofuse, bundle, clips, tmp_path):
    names = table(clips, tmp_path, ("anna",))
    status, out, err = emofuse("predict", names, "-m", bundle, "--adapt", "column", "--json")
    assert status == 0
    assert [one["adapted"] is not None for one in records(out)] == [True] * 5 + [False] * 4
    assert "nobody says who speaks" in err


def test_a_voice_is_kept_and_given_again(emofuse, bundle, clips, tmp_path):
    kept = tmp_path / "anna.json"
    status, out, err = emofuse(
        "predict", "--adapt-from", clips / "anna", "--save-voice", kept, "-m", bundle
    )
    assert (status, out) == (0, "")
    assert "the voice of anna, 5 utterances" in err
    clip = clips / "anna" / "0.wav"
    _, from_file, _ = emofuse("predict", clip, "--adapt-from", kept, "-m", bundle, "--json")
    _, from_clips, _ = emofuse(
        "predict", clip, "--adapt-from", clips / "anna", "-m", bundle, "--json"
    )
    one, other = records(from_file)[0], records(from_clips)[0]
    assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    assert one["adapted"] == {"speaker": "anna", "utterances": 5.0, "weight": 0.625, "moods": "any"}
    _, more, _ = emofuse(
        "predict", clip, "--adapt-from", kept, "--adapt", "one", "-m", bundle, "--json"
    )
    _, mixed, _ = emofuse(
        "predict", clip, "--adapt-from", kept, "--moods", "mixed", "-m", bundle, "--json"
    )
    assert records(mixed)[0]["probabilities"] != one["probabilities"]
    assert records(more)[0]["adapted"]["utterances"] == 6.0


def test_a_timeline_and_listen_adapt(emofuse, bundle, tmp_path):
    soundfile.write(tmp_path / "w.wav", recording((0.6, 3.0), (0.8, 2.0)), RATE, subtype="FLOAT")
    found = {}
    for how in ("recording", "causal"):
        words = ("predict", tmp_path / "w.wav", "-m", bundle, "--timeline", "--adapt", how)
        status, out, _ = emofuse(*words, "--set", "delay=0.5")
        assert status == 0
        found[how] = json.loads(out)["segments"]
        assert all(one["adapted"]["speaker"] == "recording" for one in found[how])
    assert found["recording"] != found["causal"]
    status, out, _ = emofuse(
        "listen", "--from", tmp_path / "w.wav", "--fast", "--json", "-m", bundle, "--adapt"
    )
    assert status == 0
    assert records(out) == found["causal"]
    (tmp_path / "t.rttm").write_text("SPEAKER w 1 0 4 <NA> <NA> ann <NA>\n")
    words = ("predict", tmp_path / "w.wav", "-m", bundle, "--timeline", "--adapt", "recording")
    _, out, _ = emofuse(*words, "--turns", tmp_path / "t.rttm")
    first, last = json.loads(out)["segments"][0], json.loads(out)["segments"][-1]
    assert first["adapted"]["speaker"] == first["speaker"] == "ann"
    assert last["adapted"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("CLIPS", "--adapt", "colum"), "did you mean 'column'"),
        (("CLIPS", "--adapt", "recording"), "goes with --timeline"),
        (("CLIPS", "--adapt", "column"), "nothing says who speaks; take parent or one"),
        (("CLIPS/anna/0.wav", "--timeline", "--adapt", "parent"), "goes without --timeline"),
        (("CLIPS", "--save-voice", "x.json"), "give --adapt-from"),
        (("CLIPS", "--moods", "mixed"), "goes with --adapt"),
        (("CLIPS", "--adapt", "parent", "--moods", "mix"), "did you mean 'mixed'"),
        (("CLIPS", "--adapt", "parent", "--adapt-from", "CLIPS/anna"), "voice of one speaker"),
        (("CLIPS", "--adapt-from", "missing.json"), "cannot read missing.json"),
        (("CLIPS", "--adapt-from", "a.json", "--adapt-from", "b.json"), "one voice at a time"),
        (("CLIPS", "--adapt-from", "EMPTY"), "holds no audio"),
        (("--text", "so sad", "--adapt", "parent"), "nothing says who speaks"),
        (("CLIPS/anna/0.wav", "--timeline", "--set", "adapt=later"), "adapt"),
    ],
)
def test_bad_calls_are_one_line(emofuse, bundle, clips, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    given = [
        word.replace("CLIPS", str(clips)).replace("EMPTY", str(tmp_path / "empty"))
        for word in words
    ]
    status, out, err = emofuse("predict", *given, "-m", bundle)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_bundle_that_cannot_is_refused_before_anything_is_heard(emofuse, clips, tmp_path):
    older = make_bundle(tmp_path / "older", "audio")
    status, out, err = emofuse("predict", clips, "-m", older, "--adapt", "parent")
    assert (status, out) == (2, "")
    assert "train it again" in err
    assert err.count("\n") == 1


def test_onnx_adapts_as_pytorch_does_and_without_it(emofuse, bundle, clips, tmp_path):
    words = ("export", bundle, "-o", tmp_path / "onnx", "--utterances", "3", "--audio", clips)
    assert emofuse(*words)[0] == 0
    _, out, _ = emofuse("predict", clips, "-m", bundle, "--adapt", "parent", "--json")
    torch_said = records(out)
    kept = tmp_path / "anna.json"
    emofuse("predict", "--adapt-from", clips / "anna", "--save-voice", kept, "-m", bundle)
    code = BLOCKED + "from emofuse.cli.app import main\nmain()\n"
    base = [
        sys.executable,
        "-c",
        code,
        "predict",
        str(clips),
        "-m",
        str(tmp_path / "onnx"),
        "--json",
    ]
    done = subprocess.run([*base, "--adapt", "parent"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for one, other in zip(records(done.stdout), torch_said, strict=True):
        assert one["adapted"] == other["adapted"]
        far = np.subtract(
            list(one["probabilities"].values()), list(other["probabilities"].values())
        )
        assert np.abs(far).max() < 1e-4
    # a voice that PyTorch's bundle took serves the ONNX bundle: they hear alike
    answers = Recognizer.load(tmp_path / "onnx").recognise_many([clips / "anna" / "0.wav"])
    assert answers[0].error is None
    done = subprocess.run(
        [*base, "--adapt-from", kept], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_export_of_a_half_known_bundle_keeps_its_voices(tmp_path):
    folder = knowing(tmp_path / "b", "audio", "text", half=7.5)
    assert Recognizer.load(folder).reference.half == 7.5
    shutil.rmtree(folder)
