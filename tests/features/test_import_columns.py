"""Features in the columns of a table, joined to the utterances of a manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import FeatureError, OptionError
from emofuse.features.encode import load_table
from emofuse.features.import_columns import join_rows, read_columns
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Utterance

ASSETS = os.environ.get("EMOFUSE_ASSETS")
ROWS = [
    {"smile_mean": "0.5", "smile_std": "1", "file": "01-05-01.mp4", "age": "30"},
    {"smile_mean": "-2", "smile_std": "", "file": "01-06-01.mp4", "age": "31"},
    {"smile_mean": "3", "smile_std": "4", "file": "01-07-09.mp4", "age": "32"},
]
PATTERNS = {"video": ["*_mean", "*_std"]}
COLUMNS = {"id": "file"}
MATCH = r"0\d-([\d-]+)"


def speech(folder):
    rows = [
        Utterance(id=name, corpus="c", text="hello", emotion="anger", speaker=name[-2:])
        for name in ("03-05-01", "03-06-01", "03-08-02")
    ]
    return Manifest(rows, folder)


def test_columns_become_vectors():
    source = read_columns(ROWS, PATTERNS, COLUMNS)
    np.testing.assert_array_equal(source.vectors["video"][0], [0.5, 1.0])
    assert np.isnan(source.vectors["video"][1][1])
    assert source.rows[2]["id"] == "01-07-09.mp4"
    assert source.findings[-1] == "video: 2 columns, smile_mean to smile_std"


def test_rows_find_their_utterances(tmp_path):
    source, owners = join_rows(read_columns(ROWS, PATTERNS, COLUMNS), speech(tmp_path), MATCH)
    assert [one.id for one in owners] == ["03-05-01", "03-06-01"]
    assert len(source.vectors["video"]) == 2
    assert source.findings[-2:] == [
        "1 rows fit no utterance: 2 (left out)",
        "1 utterances have no row (left out)",
    ]


def test_the_command_joins(tmp_path):
    table = tmp_path / "faces.csv"
    lines = [",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]
    table.write_text("\n".join(lines) + "\n")
    speech(tmp_path).save(tmp_path / "speech.jsonl")
    call = ["import", table, "--columns", "video=*_mean,*_std", "--column", "id=file"]
    call += ["--join", tmp_path / "speech.jsonl", "--match", MATCH, "--name", "faces"]
    call += ["-o", tmp_path / "both.jsonl", "--store", tmp_path / "s", "--json"]
    found = CliRunner().invoke(app, [str(part) for part in call])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["utterances"], told["dims"]) == (1, {"video": 2})  # the other has a NaN
    manifest = Manifest.load(tmp_path / "both.jsonl")
    (one,) = manifest
    assert (one.id, one.text, one.emotion, one.features) == (
        *("03-05-01", "hello", "anger"),
        {"video": "faces"},
    )
    specs = {
        "text": EncoderSpec(name="ngrams", dim=16),
        "video": EncoderSpec(name="imported:faces"),
    }
    both = load_table(manifest, specs, FeatureStore(tmp_path / "s"))
    np.testing.assert_array_equal(both.modalities["video"].values, [[0.5, 1.0]])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(OptionError, match=r"no column fits '\*_max'"):
        read_columns(ROWS, {"video": ["*_max"]})
    with pytest.raises(FeatureError, match="row 0, column file: '01-05-01.mp4' is no number"):
        read_columns(ROWS, {"video": ["f*"]})
    with pytest.raises(FeatureError, match="no rows"):
        read_columns([], PATTERNS)
    source, manifest = read_columns(ROWS, PATTERNS, COLUMNS), speech(tmp_path)
    for match, message in [
        ("[", "no regular expression"),
        ("01", "has no group"),
    ]:
        with pytest.raises(OptionError, match=message):
            join_rows(source, manifest, match)
    with pytest.raises(FeatureError, match="no row fits an utterance"):
        join_rows(source, manifest)
    with pytest.raises(FeatureError, match="'01' stands for several utterances"):
        join_rows(source, manifest, r"-(\d\d)(?:$|\.)")
    with pytest.raises(FeatureError, match="row 0 has no id"):
        join_rows(read_columns(ROWS, PATTERNS), manifest, MATCH)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--match", "(a)"], "--match belongs to --join"),
        (["--join", "x.jsonl", "--split", "test"], "come from the manifest"),
        (["--features", "video=a.npy"], "either --features"),
    ],
)
def test_the_command_names_mistakes(more, message, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("id,a_mean\nu,1\n")
    call = ["import", str(table), "--name", "n", "-o", str(tmp_path / "o.jsonl")]
    found = CliRunner().invoke(app, [*call, "--columns", "video=a_mean", *more])
    assert found.exit_code != 0
    assert message in str(found.exception) + found.output


@pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")
def test_the_faces_of_ravdess(tmp_path):
    from emofuse.corpora import CORPORA

    data = Path(str(ASSETS)) / "data"
    manifest = CORPORA.load("ravdess").prepare(data / "ravdess").manifest
    manifest.save(tmp_path / "ravdess.jsonl")
    call = ["import", data / "ravdess_faces" / "video_summary.csv", "--name", "faces"]
    call += ["--columns", "video=*_mean,*_std", "--column", "id=file"]
    call += ["--join", tmp_path / "ravdess.jsonl", "--match", r"0[13]-([\d-]{17})"]
    call += ["-o", tmp_path / "av.jsonl", "--store", tmp_path / "s", "--json"]
    found = CliRunner().invoke(app, [str(part) for part in call])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["utterances"], told["dims"]) == (360, {"video": 56})
    both = Manifest.load(tmp_path / "av.jsonl")
    assert len({one.speaker for one in both}) == 24
    assert both.path(str(both[0].audio)).is_file()
