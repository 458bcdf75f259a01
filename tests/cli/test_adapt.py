"""``emofuse adapt``: a folder that other verbs take for an encoder, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.encoders.conftest import save_speech, save_text

SMALL = ("--epochs", 1, "--batch-size", 8, "--set", "projection=8", "--device", "cpu")
FOLD = ("--protocol", "leave-one-speaker-out", "--fold", "speaker s1", "--scheme", "basic4")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_text("bert", tmp_path / "bert")


def test_adapt_then_train_on_the_fold_it_was_adapted_for(run, corpus, bert):
    words = ("adapt", corpus, "dev=0.3", "--encoder", bert, "--modality", "text", *SMALL, *FOLD)
    done = run(*words, "-o", "new")
    assert done.status == 0, done.err
    assert "train loss" in done.out
    assert "2 layers" not in done.err
    assert "1 layers frozen" in done.err
    assert "encoders.text=new" in done.err
    told = json.loads(run(*words, "-o", "new", "--json").out)
    assert told["fold"] == "speaker s1"
    assert told["folder"] == "new"
    assert not any(name.startswith("s1-") for name in told["utterances"]["train"])

    data = (f"data.manifest={corpus}", "data.scheme=basic4", "encoders={text: new}")
    rest = ("trainer.epochs=1", "trainer.device=cpu", "-o", "run")
    refused = run("train", "ngrams-linear", *data, *rest, "protocol={name: leave-one-speaker-out}")
    assert refused.status == 1
    assert "was adapted on" in refused.complaint
    own = "protocol={name: given, path: new/fold.json, allow: [text]}"
    done = run("train", "ngrams-linear", *data, *rest[:-1], "own", own)
    assert done.status == 0, done.err


def test_recordings_and_labels(run, corpus, tmp_path):
    base = save_speech("hubert-group", tmp_path / "hubert")
    (tmp_path / "s0-anger-0.wav").write_bytes(b"")
    words = ("adapt", corpus, "dev=0.3", "--encoder", base, "--modality", "audio", *FOLD)
    done = run(*words, "--objective", "supervised", *SMALL[:4], "-o", "new", "--freeze-layers", 2)
    assert done.status == 1
    assert "quarantined s0-anger-0" in done.err
    assert (tmp_path / "new" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ((), 1, "name a protocol and a fold"),
        (("dev=0.3",), 2, "'dev=0.3' is an option of a protocol: give --protocol"),
        (("--modality", "video"), 2, "modality"),
        (("--set", "patiense=3"), 2, "did you mean 'patience'?"),
        (("--set", "crop_seconds=2"), 2, "modality 'text' does not read 'crop_seconds'"),
        (("--protocol", "leave-one-speaker-out"), 1, "name one with --fold"),
    ],
)
def test_mistakes(run, corpus, bert, words, status, complaint):
    done = run("adapt", corpus, "--encoder", bert, "--modality", "text", *words, "-o", "new")
    assert done.status == status
    assert complaint in done.complaint
    assert not Path("new/config.json").exists()
