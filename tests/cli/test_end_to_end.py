"""The whole way through the command line, from an empty directory."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ASSETS = os.environ.get("EMOFUSE_ASSETS", "")
needs_assets = pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")

FUSION = {
    "name": "tiny",
    "data": {"manifest": "tiny.jsonl", "scheme": "basic4", "store": "store"},
    "encoders": {"audio": "logmel:pooling=mean+std", "text": "ngrams:dim=64"},
    "model": {"name": "mlp", "hidden": 16},
    "protocol": {"name": "leave-one-speaker-out"},
    "trainer": {"epochs": 6},
    "seeds": [0, 1],
}


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**FUSION, **changes}))
    return path


def test_a_table_becomes_a_recogniser(run: Any, corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    with (tmp_path / "mine.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "audio", "text", "emotion", "speaker"])
        writer.writeheader()
        writer.writerows({k: row[k] for k in writer.fieldnames} for row in rows)
    corpus.unlink()
    done = run("prepare", "table", "mine.csv", "-o", "tiny.jsonl")
    assert done.status == 0, done
    assert "48 utterances in tiny.jsonl" in done.err

    done = run("doctor", "tiny.jsonl", "--json")
    assert json.loads(done.out)["summary"]["utterances"] == 48
    done = run("audit", "tiny.jsonl", "--protocol", "leave-one-speaker-out", "--json")
    assert json.loads(done.out)["speaker_independent"] == "yes"

    words = ("encode", "tiny.jsonl", "--audio", "logmel:pooling=mean+std", "--store", "store")
    first, again = run(*words, "--json"), run(*words, "--json")
    assert (first.status, again.status) == (0, 0)
    counts = [json.loads(done.out)["audio"] for done in (first, again)]
    assert [(c["done"], c["skipped"]) for c in counts] == [(48, 0), (0, 48)]

    done = run("train", recipe(tmp_path), "trainer.epochs=4", "-o", "out")
    assert done.status == 0, done
    assert "speaker-independent: yes" in done.out
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "recipe.yaml",
        "environment.json",
        "folds.json",
        "predictions.parquet",
        "metrics.json",
        "audit.json",
        "bundle",
    }
    assert yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["trainer"]["epochs"] == 4

    done = run("report", "out", "--json")
    told = json.loads(done.out)
    assert "leave-one-speaker-out" in json.dumps(told)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "http://" not in page.replace("http://www.w3.org", "")

    wave = "s0-anger-0.wav"
    for words, used in (
        ([wave, "--text", "this is take 2 of anger"], {"audio", "text"}),
        ([wave], {"audio"}),
        (["--text", "this is take 2 of anger"], {"text"}),
    ):
        done = run("predict", *words, "--model", "out", "--format", "json")
        assert done.status == 0, done
        answer = json.loads(done.out)
        assert set(answer["modalities"]) == used
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        assert sum(answer["weights"].values()) == pytest.approx(1.0, abs=1e-5)
    done = run("predict", ".", "--model", "out/bundle", "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(done.out)))) == 48


def test_the_same_command_gives_the_same_bytes(run: Any, corpus: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path)
    assert run("train", path, "-o", "a").status == 0
    shutil.rmtree(tmp_path / "store")
    assert run("train", path, "-o", "b").status == 0
    assert (tmp_path / "a/predictions.parquet").read_bytes() == (
        tmp_path / "b/predictions.parquet"
    ).read_bytes()


def test_a_leaky_split_is_named_and_stamped(run: Any, corpus: Path, tmp_path: Path) -> None:
    done = run("train", recipe(tmp_path), "protocol={name: random}", "-o", "leaky")
    assert done.status == 0, done
    assert "SPEAKER-DEPENDENT" in done.out
    for words in (["report", "leaky"], ["report", "leaky", "--markdown"]):
        assert "SPEAKER-DEPENDENT" in run(*words).out
    assert "speaker-dependent" in (tmp_path / "leaky/report.html").read_text().lower()
    card = (tmp_path / "leaky/bundle/README.md").read_text()
    assert "SPEAKER-DEPENDENT" in card


def test_undeclared_overlap_stops_the_run(run: Any, corpus: Path, tmp_path: Path) -> None:
    ids = [json.loads(line)["id"] for line in corpus.read_text().splitlines()]
    (tmp_path / "folds.json").write_text(json.dumps({"folds": [{"fold": 1, "test": ids[::4]}]}))
    given = "protocol={name: given, path: folds.json}"
    done = run("train", recipe(tmp_path), given, "-o", "out")
    assert done.status == 1
    assert "speaker" in done.complaint
    assert "allow=[speaker" in done.complaint
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_compare_pairs_runs_by_speaker(run: Any, corpus: Path, tmp_path: Path) -> None:
    assert run("train", recipe(tmp_path), "-o", "both").status == 0
    assert run("train", recipe(tmp_path, encoders={"text": "ngrams"}), "-o", "text").status == 0
    done = run("compare", "both", "text", "--json")
    assert done.status == 0, done
    told = json.dumps(json.loads(done.out))
    assert "holm" in told.lower()


def test_list_shows_every_room(run: Any) -> None:
    for kind in ("corpora", "encoders", "models", "losses", "protocols", "recipes", "schemes"):
        rows = json.loads(run("list", kind, "--json").out)
        assert rows
        assert all(row["name"] and row["about"] for row in rows), rows


@needs_assets
def test_emodb_from_its_folder_to_an_answer(run: Any, tmp_path: Path) -> None:
    root = Path(ASSETS) / "data" / "emodb"
    assert run("prepare", "emodb", root, "-o", "emodb.jsonl", "--strict").status == 0
    assert run("doctor", "emodb.jsonl").status == 0
    words = ["data.manifest=emodb.jsonl", "data.scheme=emodb7"]
    protocol = "protocol={name: group-kfold, by: speaker, k: 2, dev: 0.0}"
    done = run("train", "prosody-linear", *words, protocol, "-o", "run", "--json")
    assert done.status == 0, done
    scores = json.loads(run("report", "run", "--json").out)
    ua = _find(scores, "ua")
    assert (ua if ua > 1 else 100 * ua) > 60.0
    done = run("predict", root / "wav" / "03a01Wa.wav", "--model", "run", "--format", "json")
    assert json.loads(done.out)["emotion"] in {"anger", "happiness"}


def _find(value: Any, key: str) -> float:
    """The first number under a key, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get(key), int | float):
            return float(value[key])
        if isinstance(value.get(key), dict):
            return float(value[key]["mean"])
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        found = _find(part, key)
        if found == found:
            return found
    return float("nan")
