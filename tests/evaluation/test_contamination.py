"""Encoders that knew the test: stamped on the run, by the ledger or by not being in it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.encoders.provenance import LEDGER, look_up
from emofuse.evaluation.contamination import contaminated_by, unknown_encoders
from emofuse.evaluation.runs import read_run


def described(name):
    return {"spec": {"name": name}, "provenance": asdict(look_up(name))}


@pytest.mark.parametrize(
    ("name", "corpus", "seen"),
    [
        ("emotion2vec/emotion2vec_plus_seed", "iemocap", True),
        ("iic/emotion2vec_plus_base", "ased", True),
        ("emotion2vec/emotion2vec_plus_large", "cremad", True),
        ("emotion2vec/emotion2vec_plus_large", "nemo", False),
        ("emotion2vec/emotion2vec_base", "iemocap", False),
        ("superb/hubert-large-superb-er", "iemocap", True),
        ("ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition", "ravdess", True),
        ("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", "msp-podcast", True),
        ("j-hartmann/emotion-english-distilroberta-base", "meld", True),
        ("facebook/wav2vec2-base", "iemocap", False),
        ("facebook/data2vec-audio-large", "emodb", False),
        ("microsoft/wavlm-large", "esd", False),
        ("openai/clip-vit-base-patch32", "cremad", False),
        ("openai/whisper-large-v3", "ravdess", False),
    ],
)
def test_the_ledger_decides(name, corpus, seen):
    encoders = {"audio": described(name)}
    found = contaminated_by(encoders, [corpus.upper(), "toy"])
    assert bool(found) == seen
    assert unknown_encoders(encoders) == ()
    if seen:
        assert f"the audio encoder saw {corpus} with labels (" in found[0]


def test_the_chain_of_pseudo_labels_is_told():
    (line,) = contaminated_by({"audio": described("iic/emotion2vec_plus_large")}, ["meld"])
    assert "its predecessor labelled" in line
    assert "seed from labels of EmoBox" in line


def test_what_is_not_in_the_ledger_is_unknown(make_run):
    encoders = {"audio": described("somebody/something"), "text": described("roberta-base")}
    assert contaminated_by(encoders, ["iemocap"]) == ()
    (line,) = unknown_encoders(encoders)
    assert "the audio encoder ('somebody/something')" in line
    folder = make_run()
    (folder / "bundle").mkdir()
    (folder / "bundle" / "config.json").write_text(json.dumps({"encoders": encoders}))
    run = read_run(folder)
    assert run.stamp.text == "speaker-independent, PROVENANCE UNKNOWN"
    result = CliRunner().invoke(app, ["report", str(folder), "--markdown"])
    assert "PROVENANCE UNKNOWN" in result.stdout
    assert "nobody wrote down what the audio encoder" in result.stderr


def test_a_folder_is_named_without_the_way_to_it():
    one = {"spec": {"name": "/home/someone/models/minilm/model"}, "provenance": {"known": False}}
    (line,) = unknown_encoders({"text": one})
    assert "('minilm/model')" in line
    assert "someone" not in line


def test_odd_descriptions_say_nothing():
    for odd in (None, 3, [], {"audio": 3}, {"audio": {"provenance": 3}}, {"audio": {}}):
        assert contaminated_by(odd, ["iemocap"]) == ()
        assert unknown_encoders(odd) == ()


def test_an_adaptation_counts_by_its_utterances():
    provenance = {"labelled_on": ["toy", "meld"], "adapted_on": ["toy"], "known": True}
    assert contaminated_by({"audio": {"provenance": provenance}}, ["toy"]) == ()
    assert contaminated_by({"audio": {"provenance": provenance}}, ["toy", "meld"]) != ()


def test_the_ledger_is_shown():
    result = CliRunner().invoke(app, ["list", "encoders", "--json"])
    listed = {one["name"]: one for one in json.loads(result.stdout)}
    assert set(LEDGER) <= set(listed)
    seed = listed["emotion2vec_plus_seed"]["provenance"]
    assert len(seed["labelled_on"]) == 32
    assert "EmoBox" in seed["source"]
    shown = CliRunner().invoke(app, ["list", "encoders"])
    assert "PROVENANCE UNKNOWN" in shown.stdout
    assert "arXiv:2110.13900" in shown.stdout
