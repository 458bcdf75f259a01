"""Databases in audformat, made by audformat itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from emofuse.corpora import CORPORA
from emofuse.errors import CorpusError, EmofuseError, MissingExtraError, OptionError
from emofuse.manifest import Utterance

READER = CORPORA.load("audformat")


@pytest.fixture
def database(grow) -> Path:
    audformat = pytest.importorskip("audformat")
    root = grow("wav/a.wav", "wav/b.wav")
    db = audformat.Database("mydb", source="here", usage="research")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    people = {"s1": {"gender": "female", "age": 30}, "s2": {"gender": "male"}}
    db.schemes["speaker"] = audformat.Scheme(labels=people)
    db.schemes["transcription"] = audformat.Scheme("str")
    for split in ("train", "test"):
        db.splits[split] = audformat.Split(split)
    files = ["wav/a.wav", "wav/b.wav"]
    db["files"] = audformat.Table(audformat.filewise_index(files))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set(["s1", "s2"])
    db["files"]["transcription"] = audformat.Column(scheme_id="transcription")
    db["files"]["transcription"].set(["Hello", None])
    segments = audformat.segmented_index(
        ["wav/a.wav", "wav/a.wav", "wav/b.wav"], ["0s", "1.5s", "0s"], ["1.5s", "2s", pd.NaT]
    )
    db["emotion"] = audformat.Table(segments)
    db["emotion"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["emotion"]["emotion"].set(["anger", "neutral", "anger"])
    db["emotion"]["confidence"] = audformat.Column()
    db["emotion"]["confidence"].set([0.5, 1.0, 1.0])
    for split, name in (("train", files[0]), ("test", files[1])):
        db[f"part.{split}"] = audformat.Table(audformat.filewise_index([name]), split_id=split)
    db.save(str(root))
    return root


def test_segments_speakers_texts_and_parts(database: Path, kinds) -> None:
    prepared = READER.prepare(database)
    assert prepared.manifest[1] == Utterance(
        id="wav/a[1.5-2]",
        corpus="mydb",
        audio="wav/a.wav",
        start=1.5,
        end=2.0,
        text="Hello",
        emotion="neutral",
        speaker="s1",
        gender="female",
        split="train",
        extra={"native_emotion": "neutral", "confidence": 1.0, "age": 30},
    )
    assert prepared.manifest.ids == ("wav/a[0-1.5]", "wav/a[1.5-2]", "wav/b")
    last = prepared.manifest["wav/b"]
    assert (last.start, last.end, last.split, last.gender) == (None, None, "test", "male")
    assert kinds(prepared) == {}
    assert list(READER.prepare(database / "db.yaml").manifest) == list(prepared.manifest)


def test_nothing_in_the_folder_is_run(database: Path) -> None:
    (database / "db.emotion.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(CorpusError, match="never opened"):
        READER.prepare(database)
    (database / "db.emotion.pkl").unlink()
    header = database / "db.yaml"
    text = header.read_text()
    header.write_text(text + "evil: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(EmofuseError, match="not YAML"):
        READER.prepare(database)
    header.write_text(text.replace("  files:", "  ../files:"))
    with pytest.raises(CorpusError, match="no legal name"):
        READER.prepare(database)


def test_wrong_calls(database: Path) -> None:
    with pytest.raises(OptionError, match="no table 'x'; legal: emotion, files"):
        READER.prepare(database, table="x")
    with pytest.raises(OptionError, match="column 'mood' not found"):
        READER.prepare(database, column="mood")
    with pytest.raises(OptionError, match="no table 'y'"):
        READER.prepare(database, splits={"y": "train"})
    (database / "db.yaml").write_text("name: x\n")
    with pytest.raises(CorpusError, match="no audformat database"):
        READER.prepare(database)


def test_a_part_by_option(database: Path) -> None:
    manifest = READER.prepare(database, splits={"part.train": "dev"}).manifest
    assert [u.split for u in manifest] == ["dev", "dev", "test"]


def test_without_audformat_the_extra_is_named(
    grow, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(MissingExtraError, match=r"emofuse\[audformat\]"):
        READER.prepare(grow(**{"db.yaml": "name: x"}))
