"""Hostile and mistaken input: each is one clear line and status 1 or 2, never a traceback."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from emofuse.options import apply_overrides

RECIPE: Mapping[str, Any] = {
    "name": "tiny",
    "data": {"manifest": "tiny.jsonl", "scheme": "basic4", "store": "store"},
    "encoders": {"audio": {"name": "logmel"}, "text": {"name": "ngrams", "dim": 64}},
    "model": {"name": "linear"},
    "protocol": {"name": "leave-one-speaker-out"},
    "trainer": {"epochs": 2},
    "seeds": [0],
}


def recipe(folder: Path, *overrides: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(apply_overrides(RECIPE, overrides)))
    return path


def check_refusal(done: Any, status: int, *parts: str) -> None:
    assert done.status == status, done
    line = done.complaint
    assert len(line) < 700
    for part in parts:
        assert part in line, line


TRAIN_CASES = {
    "unknown key": (["modle.name=linear"], 2, ["'modle'", "did you mean 'model'"]),
    "unknown nested key": (["trainer.epochz=3"], 2, ["trainer.epochz", "did you mean 'epochs'"]),
    "unknown model option": (["model.hiden=3"], 2, ["hiden"]),
    "unknown model": (["model.name=linaer"], 2, ["linaer", "did you mean 'linear'"]),
    "unknown loss": (["objective=[{name: croos-entropy}]"], 2, ["did you mean 'cross-entropy'"]),
    "unknown protocol": (["protocol.name=leave-one-speeker-out"], 2, ["leave-one-speaker-out"]),
    "unknown encoder key": (["encoders.audio.layr=3"], 2, ["layr", "did you mean 'layer'"]),
    "unknown modality": (["encoders.smell.name=x"], 2, ["smell"]),
    "no encoder": (["encoders={}"], 2, ["encoders"]),
    "unknown scheme": (["data.scheme=basic5"], 2, ["basic5", "did you mean"]),
    "negative epochs": (["trainer.epochs=-1"], 2, ["trainer.epochs", "-1"]),
    "epochs as text": (["trainer.epochs=many"], 2, ["trainer.epochs", "many"]),
    "seed as text": (["seeds=[a]"], 2, ["seeds"]),
    "no seeds": (["seeds=[]"], 2, ["seeds"]),
    "override without value": (["trainer.epochs"], 2, ["key=value"]),
    "override of a leaf": (["name.x.y=1"], 2, ["override"]),
    "override with a bomb": (["name=" + "[" * 500], 2, ["override"]),
    "missing manifest": (["data.manifest=none.jsonl"], 1, ["none.jsonl"]),
    "labels outside the scheme": (
        ["data.scheme={name: two, classes: [anger, sadness]}"],
        1,
        ["'happiness' x 12", "'neutral' x 12"],
    ),
    "imported features that are not there": (
        ["encoders.audio={name: 'imported:none'}"],
        1,
        ["none"],
    ),
    "encoder folder that is not there": (
        ["encoders.audio={name: ./no-such-folder}"],
        2,
        ["no-such"],
    ),
    "sessions unknown": (["protocol.name=leave-one-session-out"], 1, ["session"]),
    "one corpus only": (["protocol.name=leave-one-corpus-out"], 1, ["corpus"]),
    "folds that do not exist": (["protocol={name: given, path: none.json}"], 1, ["none.json"]),
}


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_train_refuses(run: Any, corpus: Path, tmp_path: Path, case: str) -> None:
    overrides, status, parts = TRAIN_CASES[case]
    done = run("train", recipe(tmp_path), *overrides, "-o", "out")
    check_refusal(done, status, *parts)
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def yaml_bomb(path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))


RECIPE_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bomb": (yaml_bomb, "100,000"),
    "python object": (lambda p: p.write_text("!!python/object/apply:os.system [ls]"), "not YAML"),
    "endless alias": (lambda p: p.write_text("a: &a [*a]"), "60 levels"),
    "binary": (lambda p: p.write_bytes(os.urandom(64) + b"\xff\xfe"), "not"),
    "empty": (lambda p: p.write_text(""), "expected keys and values"),
    "list": (lambda p: p.write_text("[1, 2]"), "expected keys and values"),
    "duplicate key": (lambda p: p.write_text("name: a\nname: b\n"), "given twice"),
    "huge": (lambda p: p.write_text("x" * (2 << 20)), "over"),
    "folder": (lambda p: p.mkdir(), "r.yaml"),
}


@pytest.mark.parametrize("case", RECIPE_FILES)
def test_train_refuses_a_recipe_file(run: Any, tmp_path: Path, case: str) -> None:
    make, part = RECIPE_FILES[case]
    make(tmp_path / "r.yaml")
    check_refusal(run("train", "r.yaml", "-o", "out"), 2, part)


def test_train_refuses_a_recipe_that_is_not_there(run: Any) -> None:
    check_refusal(run("train", "hubert-bert-mlpp", "-o", "out"), 2, "hubert-bert-mlpp")


MANIFESTS: dict[str, tuple[str | bytes, str]] = {
    "broken JSON": ('{"id": "a"', "m.jsonl:1: not a JSON object"),
    "no modality": ('{"id": "a"}', "m.jsonl:1: an utterance needs"),
    "duplicate id": ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "m.jsonl:2"),
    "path that climbs": ('{"id": "a", "audio": "../../../etc/passwd"}', "leaves the corpus root"),
    "absolute path": ('{"id": "a", "audio": "/etc/passwd"}', "absolute"),
    "unknown key": ('{"id": "a", "text": "x", "emotoin": "sad"}', "did you mean 'emotion'"),
    "binary": (b"\xff\xfe\x00\x01", "not UTF-8"),
    "empty": ("", "lists no utterances"),
    "deep": ('{"id": ' + "[" * 100_000, "m.jsonl:1"),
    "surrogate": ('{"id": "\\ud800", "text": "x"}', "m.jsonl:1"),
}


@pytest.mark.parametrize("verb", ["doctor", "audit", "encode"])
@pytest.mark.parametrize("case", MANIFESTS)
def test_verbs_refuse_a_manifest(run: Any, tmp_path: Path, case: str, verb: str) -> None:
    content, part = MANIFESTS[case]
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "m.jsonl").write_bytes(data)
    extra = {
        "doctor": [],
        "audit": ["--protocol", "random"],
        "encode": ["--audio", "logmel"],
    }[verb]
    check_refusal(run(verb, "m.jsonl", *extra), 1, part)


CALLS: dict[str, tuple[list[str], int, list[str]]] = {
    "unknown verb": (["predcit"], 2, ["predcit"]),
    "unknown option": (["list", "models", "--jsno"], 2, ["--jsno"]),
    "unknown list": (["list", "modles"], 2, ["did you mean 'models'"]),
    "unknown corpus": (["prepare", "emobd", ".", "-o", "m.jsonl"], 2, ["did you mean 'emodb'"]),
    "missing root": (["prepare", "emodb", "nowhere", "-o", "m.jsonl"], 1, ["nowhere"]),
    "wrong root": (["prepare", "iemocap", ".", "-o", "m.jsonl"], 1, ["Session"]),
    "unknown protocol": (["audit", "tiny.jsonl", "--protocol", "rndom"], 2, ["'random'"]),
    "unknown encoder option": (
        ["encode", "tiny.jsonl", "--audio", "logmel:poolin=mean"],
        2,
        ["did you mean 'pooling'"],
    ),
    "layer of an encoder without layers": (
        ["encode", "tiny.jsonl", "--audio", "logmel:layer=3"],
        2,
        ["layer"],
    ),
    "nothing to encode": (["encode", "tiny.jsonl"], 2, ["--audio"]),
    "hub name in bad form": (["encode", "tiny.jsonl", "--audio", "a/b/c/d"], 2, ["a/b/c/d"]),
    "no run": (["report", "nowhere"], 1, ["nowhere"]),
    "a folder that is no run": (["report", "."], 1, ["."]),
    "compare what is no run": (["compare", "nowhere", "."], 1, ["nowhere"]),
    "no model": (["predict", "s0-anger-0.wav", "--model", "nowhere"], 1, ["nowhere"]),
    "demo of an unknown corpus": (["demo", "--corpus", "ravdes", "--root", "."], 2, ["ravdess"]),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_are_refused(run: Any, corpus: Path, case: str) -> None:
    words, status, parts = CALLS[case]
    check_refusal(run(*words), status, *parts)


RANGE = "trainer.epochs=1..3"
CLIP = "s0-anger-0.wav"
NEWER_CALLS: dict[str, tuple[list[str], int, list[str]]] = {
    "samples that are NaN": (["predict", "nan.wav", "--strict"], 1, ["nan.wav", "NaN"]),
    "no samples": (["predict", "zero.wav", "--strict"], 1, ["no samples"]),
    "no audio in a folder": (["predict", "empty-folder"], 1, ["no audio file"]),
    "nothing piped in": (["predict", "-"], 1, ["standard input is empty"]),
    "a bundle of another make": (["predict", CLIP, "--model", "bundle"], 1, ["bundle format"]),
    "a bundle cut short": (["predict", CLIP, "--model", "cut"], 1, ["cut/config.json", "not JSON"]),
    "a list for a bundle": (["predict", CLIP, "--model", "tiny.jsonl"], 1, ["is a file"]),
    "two texts": (["predict", CLIP, "--text", "a", "--text-file", "b"], 2, ["not both"]),
    "one text for two clips": (["predict", CLIP, CLIP, "--text", "a"], 2, ["2 utterances"]),
    "an encoder of no modality": (["predict", CLIP, "--encoder", "smell=."], 2, ["smell=."]),
    "Whisper without weights": (["predict", CLIP, "--transcribe", "bert"], 1, ["no weights"]),
    "hearing without a Whisper": (["predict", CLIP, "--asr", "transformers"], 2, ["--transcribe"]),
    "timeline: unknown key": (
        ["predict", CLIP, "--timeline", "--set", "windo=3"],
        2,
        ["did you mean 'window'"],
    ),
    "timeline: below zero": (["predict", CLIP, "--timeline", "--set", "window=-3"], 2, ["-3"]),
    "timeline: no turns": (
        ["predict", CLIP, "--timeline", "--turns", "turns.rttm"],
        1,
        ["turns.rttm:1"],
    ),
    "timeline of an empty file": (["predict", "empty.wav", "--timeline"], 1, ["empty"]),
    "listening to noise": (["listen", "--from", "junk.wav"], 1, ["junk.wav is not audio"]),
    "listening by no steps": (["listen", "--from", CLIP, "--hop", "0"], 2, ["hop = 0.0"]),
    "serve nothing": (["serve", "nowhere"], 1, ["nowhere"]),
    "serve at no port": (["serve", "--port", "99999"], 2, ["99999"]),
    "serve to everybody": (["serve", "--host", "192.0.2.7"], 2, ["--keys-file"]),
    "serve with no keys": (["serve", "--keys-file", "blank"], 2, ["no API key"]),
    "serve with binary keys": (["serve", "--keys-file", "junk.wav"], 2, ["not UTF-8"]),
    "serve to a page that is none": (["serve", "--allow-origin", "x y"], 2, ["no origin"]),
    "serve to all pages": (["serve", "--allow-origin", "*"], 2, ["no origin", "https://"]),
    "serve under no name": (["serve", "--allow-host", ""], 2, ["no host name"]),
    "serve under a port": (["serve", "--allow-host", "a.example:80"], 2, ["without scheme, port"]),
    "serve without end": (["serve", "--time-limit", "nan"], 2, ["time_limit"]),
    "export nothing": (["export", "nowhere"], 1, ["nowhere"]),
    "export in 8 bits": (["export", "bundle", "-o", "out", "--precision", "fp8"], 2, ["'fp16'"]),
    "export as two": (["export", "cut", "--int8", "--precision", "fp16"], 2, ["contradict"]),
    "transfer without corpora": (["transfer", "r.yaml", "-o", "out"], 2, ["'sources'"]),
    "transfer by magic": (
        ["transfer", "r.yaml", "sources=[a]", "methods=[magic]", "-o", "out"],
        2,
        ["method 'magic'"],
    ),
    "transfer too much": (
        ["transfer", "r.yaml", "sources=[a]", "shots=[200%]", "-o", "out"],
        2,
        ["'200%'"],
    ),
    "search for nothing": (["search", "r.yaml", "-o", "out"], 2, ["nothing to search"]),
    "search backwards": (
        ["search", "r.yaml", "trainer.epochs=3..1", "-o", "out"],
        2,
        ["low end 3"],
    ),
    "search of seeds": (["search", "r.yaml", "seeds=1..3", "-o", "out"], 2, ["seeds"]),
    "search by dice": (["search", "r.yaml", RANGE, "-o", "o", "--sampler", "dice"], 2, ["dice"]),
    "search into a file": (["search", "r.yaml", RANGE, "-o", "tiny.jsonl"], 2, ["tiny.jsonl"]),
    "workers below zero": (
        ["train", "r.yaml", "trainer.workers=-1", "-o", "out"],
        2,
        ["trainer.workers = -1"],
    ),
    "centre what is not there": (
        ["train", "r.yaml", "trainer.centre=[video]", "-o", "out"],
        2,
        ["video"],
    ),
    "trim by less than nothing": (
        ["train", "r.yaml", "encoders.audio.trim=-3", "-o", "out"],
        2,
        ["encoders.audio.trim = -3"],
    ),
    "an option given twice": (
        ["encode", "tiny.jsonl", "--audio", "logmel:pooling=stats,pooling=mean"],
        2,
        ["'pooling' is given twice"],
    ),
    "noise for an array": (
        ["import", "tiny.jsonl", "--features", "audio=junk.wav", "--name", "x", "-o", "m"],
        1,
        ["junk.wav is no .npy array"],
    ),
    "a run of another make": (["report", "run"], 1, ["no whole Parquet file"]),
    "explain what is not finished": (["explain", "run", "a"], 1, ["not finished"]),
    "probe what is no recipe": (["probe", "run"], 2, ["not YAML"]),
}


@pytest.fixture
def clutter(corpus: Path, tmp_path: Path) -> None:
    """Put broken files of many kinds beside a corpus."""
    recipe(tmp_path)
    soundfile.write(tmp_path / "nan.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), 16_000)
    noise = b"\xff\xfe\x00" + np.random.default_rng(0).bytes(3000)
    for name, content in {
        "empty.wav": b"",
        "junk.wav": noise,
        "blank": b"\n\n",
        "turns.rttm": b"SPEAKER x 1 zero one <NA>\n",
        "bundle/config.json": b'{"model": {"name": "linear"}}',
        "cut/config.json": b"{",
        "bert/config.json": b'{"model_type": "bert"}',
        "run/recipe.yaml": b"a: [b",
        "run/predictions.parquet": b"PAR1junkPAR1",
        "empty-folder/notes.txt": b"nothing",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


@pytest.mark.usefixtures("clutter")
@pytest.mark.parametrize("case", NEWER_CALLS)
def test_newer_calls_are_refused(run: Any, case: str) -> None:
    words, status, parts = NEWER_CALLS[case]
    check_refusal(run(*words), status, *parts)


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


def test_a_malicious_pickle_is_never_executed(run: Any, tmp_path: Path) -> None:
    rows = [{"text_embed": np.zeros(3), "audio_embed": np.zeros(4), "label": 0, "x": _Evil()}]
    (tmp_path / "f.pkl").write_bytes(pickle.dumps(rows))
    done = run("import", "f.pkl", "--name", "old", "--classes", "anger,sadness", "-o", "m.jsonl")
    check_refusal(done, 1, "system")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"not a pickle", b"\x80\x04N."])
def test_a_file_that_is_no_feature_pickle(run: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.pkl").write_bytes(content)
    done = run("import", "f.pkl", "--name", "old", "--classes", "anger,sadness", "-o", "m.jsonl")
    check_refusal(done, 1, "f.pkl")


BAD_AUDIO: dict[str, bytes] = {
    "empty": b"",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "text": b"hello world, I am not audio",
    "half a header": b"RIFF\x24\x00\x00\x00WAVEfmt ",
}


@pytest.mark.parametrize("case", BAD_AUDIO)
def test_one_bad_file_is_quarantined_and_the_rest_goes_on(
    run: Any, corpus: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "s0-anger-0.wav").write_bytes(BAD_AUDIO[case])
    sick = run("doctor", "tiny.jsonl", "--json")
    assert sick.status == 1
    assert "s0-anger-0" in sick.out
    done = run("encode", "tiny.jsonl", "--audio", "logmel", "--store", "store", "--json")
    assert done.status == 1
    told = json.loads(done.out)
    assert "s0-anger-0" in json.dumps(told)
    strict = run("encode", "tiny.jsonl", "--audio", "logmel", "--store", "other", "--strict")
    check_refusal(strict, 1, "s0-anger-0")


def test_nan_samples_are_named(run: Any, corpus: Path, tmp_path: Path) -> None:
    wave = np.full(8000, np.nan, np.float32)
    soundfile.write(tmp_path / "s0-anger-0.wav", wave, 16_000, subtype="FLOAT")
    done = run("doctor", "tiny.jsonl")
    assert done.status == 1
    assert "nan" in done.out.lower()


def test_a_store_that_cannot_be_written_is_one_line(run: Any, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    check_refusal(run("encode", "tiny.jsonl", "--text", "ngrams", "--store", "store"), 1, "store")


def test_a_link_out_of_the_root_is_not_followed(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    soundfile.write(tmp_path / "secret.wav", np.zeros(8000), 16_000)
    (root / "a.wav").symlink_to(tmp_path / "secret.wav")
    (root / "m.jsonl").write_text('{"id": "a", "audio": "a.wav"}\n')
    done = run("doctor", root / "m.jsonl", "--json")
    assert done.status == 1
    assert "out of the corpus root" in done.out + done.err
