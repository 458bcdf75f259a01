from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.calls import call_emofuse

from emofuse.demo import Demo, Step
from emofuse.errors import OptionError
from emofuse.evaluation.predictions import read_predictions
from emofuse.manifest import Manifest, Utterance
from emofuse.options import load_yaml
from emofuse.recognition.query import Query
from emofuse.recognition.recognizer import Recognizer
from emofuse.storage import read_json

Call = Callable[..., tuple[int, str, str]]


def write_manifest(demo: Demo, **changes: Any) -> None:
    """Save a manifest as the first step would."""
    rows = [
        {
            "id": f"{speaker}-{emotion}-{take}",
            "corpus": demo.corpus,
            "audio": f"{speaker}-{emotion}-{take}.wav",
            "text": f"take {take}",
            "emotion": emotion,
            "speaker": f"s{speaker}",
            "dialogue": f"d{speaker}",
        }
        for speaker in range(changes.pop("speakers", 4))
        for emotion in ("anger", "happiness", "neutral", "sadness")
        for take in range(2)
    ]
    Manifest([Utterance(**{**row, **changes}) for row in rows], demo.root).save(demo.manifest)


def planned(demo: Demo) -> list[Step]:
    """Steps up to the last training, without doing any."""
    steps: list[Step] = []
    for step in demo.steps():
        steps.append(step)
        if step.words[0] == "train" and step.title.endswith(list(recipes(demo))[-1]):
            return steps
    return steps


def recipes(demo: Demo) -> dict[str, Any]:
    return demo._models(demo.labelled())


def verbs(steps: list[Step]) -> list[str]:
    return [step.words[0] for step in steps]


def test_plan_of_the_synthetic_corpus(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "out put")
    write_manifest(demo)
    steps = planned(demo)
    assert verbs(steps) == ["prepare", "doctor", "audit", "encode", "train", "train", "train"]
    assert "means nothing" in demo.remarks()[0] or "mean nothing" in demo.remarks()[0]
    for step in steps:
        assert shlex.split(step.command) == ["emofuse", *step.words]
    recipe = load_yaml(demo.folder / "recipes" / "synthetic-fusion.yaml")
    assert list(recipe["encoders"]) == ["audio", "text"]
    assert recipe["trainer"]["modality_dropout"] > 0
    assert recipe["protocol"] == {"name": "leave-one-speaker-out"}


def test_plan_of_a_scripted_corpus(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "ravdess", tmp_path / "there")
    write_manifest(demo, speakers=24)
    steps = planned(demo)
    assert verbs(steps) == ["prepare", "doctor", "audit", "encode", "train"]
    assert "--text" not in steps[3].words
    assert "carry no emotion by design" in demo.remarks()[0]
    recipe = load_yaml(tmp_path / "recipes" / "ravdess-audio.yaml")
    assert recipe["protocol"] == {"name": "group-kfold", "by": "speaker", "k": 5}
    assert recipe["data"]["scheme"] == "ravdess8"


def test_plan_without_text_or_without_speakers(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "iemocap", tmp_path)
    write_manifest(demo, text=None)
    assert list(recipes(demo)) == ["audio"]
    assert "too few utterances have words" in demo.remarks()[0]
    write_manifest(demo, speaker=None)
    planned(demo)
    recipe = load_yaml(tmp_path / "recipes" / "iemocap-audio.yaml")
    assert recipe["protocol"] == {"name": "group-kfold", "by": "dialogue", "k": 4}
    write_manifest(demo, speaker=None, dialogue=None, audio=None)
    planned(demo)
    recipe = load_yaml(tmp_path / "recipes" / "iemocap-text.yaml")
    assert recipe["protocol"] == {"name": "random"}


def test_mistakes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match="did you mean 'ravdess'"):
        Demo(tmp_path, "ravdes")
    for words, message in (
        (("--corpus", "ravdess"), "where does ravdess lie"),
        (("--root", "x"), "leave --root out"),
        (("--corpus", "ravdes", "--root", "x"), "unknown corpus"),
    ):
        status, _, err = call_emofuse(capfd, "demo", "-o", tmp_path / "d", *words)
        assert status == 2
        assert message in err
    words = ("demo", "-o", tmp_path / "d", "--corpus", "ravdess", "--root", tmp_path / "none")
    status, _, err = call_emofuse(capfd, *words)
    assert status == 1
    assert "is missing" in err


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_every_step_in_a_row_and_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    status, out, _ = call_emofuse(capfd, "demo", "-o", "d", "--quick")
    assert status == 0
    for part in (
        "$ emofuse prepare synthetic d/corpus",
        "$ emofuse doctor",
        "$ emofuse audit",
        "$ emofuse encode",
        "$ emofuse train d/recipes/synthetic-fusion.yaml",
        "$ emofuse report",
        "$ emofuse predict d/corpus/",
        "mean nothing about real speech",
        "speaker-independent: yes",
        "95 % interval",
    ):
        assert part in out
    status, out, err = call_emofuse(capfd, "demo", "-o", "d", "--quick", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["synthetic"] is True
    assert [row["model"] for row in found["results"]] == ["audio", "text", "fusion"]
    scores = {row["model"]: row["ua"] for row in found["results"]}
    assert min(scores.values()) > 0.35  # chance is 0.25
    assert scores["fusion"] > scores["text"]
    assert "$ emofuse predict" in err
    assert len(found["commands"]) == 12
    assert Path("d/runs/synthetic-fusion/report.html").is_file()


def test_predict_says_what_the_run_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle, on the files of the fold it did not learn from, repeats the run's predictions."""
    monkeypatch.chdir(home)
    for model in ("audio", "text", "fusion"):
        run = Path("d/runs") / f"synthetic-{model}"
        frame, classes = read_predictions(run / "predictions.parquet")
        best = read_json(run / "metrics.json")["best"]
        mine = frame[(frame.fold == best["fold"]) & (frame.seed == best["seed"])]
        manifest = Manifest.load(Path("d/synthetic.jsonl"))
        queries = [
            Query(
                name,
                None if model == "text" else manifest.path(str(manifest[name].audio)),
                text=None if model == "audio" else manifest[name].text,
            )
            for name in mine["id"]
        ]
        for kind, raw in (("p", True), ("c", False)):
            answers = Recognizer.load(run, raw=raw).recognise_many(queries)
            told = [[answer.probabilities[c] for c in classes] for answer in answers]
            np.testing.assert_allclose(told, mine[[f"{kind}:{c}" for c in classes]], atol=1e-5)
            if raw:
                assert [a.emotion for a in answers] == list(mine["predicted"])


@pytest.mark.slow
def test_full_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call_emofuse(capfd, "demo", "-o", tmp_path / "d", "--json")
    assert status == 0
    scores = {row["model"]: row["ua"] for row in json.loads(out)["results"]}
    assert min(scores["audio"], scores["text"]) > 0.5
    assert scores["fusion"] > max(scores["audio"], scores["text"]) + 0.08
