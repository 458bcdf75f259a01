"""Utterances and manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.errors import LabelError, ManifestError
from emofuse.labels import get_scheme
from emofuse.manifest import VAD, Manifest, Utterance


def write(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    whole = Utterance(
        id="ü 1",
        corpus="c",
        audio="a b/ü.wav",
        start=0.5,
        end=1.25,
        text="Grüß dich",
        video="v.mp4",
        features={"audio": "mine"},
        emotion="hap",
        votes={"happy": 0.75, "neutral": 0.25},
        vad=VAD(valence=3.5, arousal=2.0),
        speaker="1",
        gender="female",
        session="s",
        dialogue="d",
        language="de",
        split="test",
        extra={"take": 2, "note": None},
    )
    Manifest([whole, Utterance(id="b", text="x")], tmp_path).save(tmp_path / "m.jsonl")
    again = Manifest.load(tmp_path / "m.jsonl")
    assert list(again) == [whole, Utterance(id="b", text="x")]
    assert again.root == tmp_path
    assert again["ü 1"].votes == {"happiness": 0.75, "neutral": 0.25}


def test_same_manifest_same_bytes(tmp_path: Path) -> None:
    manifest = Manifest([Utterance(id=str(n), text="x") for n in range(5)], tmp_path)
    manifest.save(tmp_path / "a.jsonl")
    Manifest.load(tmp_path / "a.jsonl").save(tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_file_without_header_is_rooted_where_it_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"id": "a", "audio": "a.wav"})
    assert Manifest.load(path).path("a.wav") == tmp_path / "a.wav"
    assert Manifest.load(path, root=tmp_path / "x").root == tmp_path / "x"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "m.jsonl:2: not a JSON object"),
        ("[1]", "m.jsonl:2: not a JSON object"),
        ("NaN", "m.jsonl:2: not a JSON object"),
        ({"id": "b"}, "needs audio, text, video or imported features"),
        ({"id": "b", "text": "  "}, "needs audio, text"),
        ({"text": "x"}, "m.jsonl:2: key 'id' is missing"),
        ({"id": "", "text": "x"}, "id = ''"),
        ({"id": "a\n", "text": "x"}, "control characters"),
        ({"id": "b", "text": "x", "emotoin": "y"}, "did you mean 'emotion'"),
        ({"id": "a", "text": "x"}, "m.jsonl:2: id 'a' is already on line 1"),
        ({"id": "b", "audio": "/etc/passwd"}, "absolute"),
        ({"id": "b", "audio": "C:\\x.wav"}, "absolute"),
        ({"id": "b", "audio": "\\\\host\\x.wav"}, "absolute"),
        ({"id": "b", "audio": "x/../../y.wav"}, "leaves the corpus root"),
        ({"id": "b", "audio": "..\\y.wav"}, "leaves the corpus root"),
        ({"id": "b", "audio": ""}, "not empty"),
        ({"id": "b", "audio": "a\x00b"}, "NUL"),
        ({"id": "b", "audio": 3}, "audio = 3"),
        ({"id": "b", "audio": "a.wav", "start": 2, "end": 1}, "end 1.0 s is not after start 2.0 s"),
        ({"id": "b", "audio": "a.wav", "start": -1}, "start = -1"),
        ('{"id": "b", "audio": "a.wav", "end": Infinity}', "end = inf"),
        ({"id": "b", "text": "x", "votes": {"a": 0.5}}, "sum to 1"),
        ({"id": "b", "text": "x", "votes": {}}, "shares"),
        ({"id": "b", "text": "x", "split": "valid"}, "split = 'valid'"),
        ({"id": "b", "text": "x", "vad": {"valence": "high"}}, "vad.valence = 'high'"),
        ({"id": "b", "text": "x", "extra": {"a": [1]}}, "extra.a"),
        ({"manifest": {"root": "/x"}}, "key 'id' is missing|unknown key 'manifest'"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "m.jsonl", {"id": "a", "text": "x"}, line)
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("header", [{"root": 3}, {"root": ""}, [], {"root": "/x", "version": 9}])
def test_a_bad_header_is_refused(tmp_path: Path, header: object) -> None:
    path = write(tmp_path / "m.jsonl", {"manifest": header}, {"id": "a", "text": "x"})
    with pytest.raises(ManifestError, match="m.jsonl:1: the header"):
        Manifest.load(path)


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        Manifest.load(tmp_path / "none.jsonl")
    with pytest.raises(ManifestError, match="lists no utterances"):
        Manifest.load(write(tmp_path / "empty.jsonl"))
    with pytest.raises(ManifestError, match="Is a directory"):
        Manifest.load(tmp_path)
    (tmp_path / "bin.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ManifestError, match="not UTF-8"):
        Manifest.load(tmp_path / "bin.jsonl")
    (tmp_path / "huge.jsonl").write_text('{"id": "' + "x" * (1 << 21))
    with pytest.raises(ManifestError, match="huge.jsonl:1: the line is over"):
        Manifest.load(tmp_path / "huge.jsonl")


def test_a_symbolic_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"x")
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    manifest = Manifest([Utterance(id="a", audio="link.wav")], root)
    with pytest.raises(ManifestError, match="leads out of the corpus root"):
        manifest.path("link.wav")


def test_duplicate_ids_and_unknown_ids(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="id 'a' occurs 2 times"):
        Manifest([Utterance(id="a", text="x"), Utterance(id="a", text="y")], tmp_path)
    with pytest.raises(ManifestError, match="no utterance 'z'"):
        Manifest([Utterance(id="a", text="x")], tmp_path)["z"]


def test_labelling_merges_drops_and_keeps_the_unlabelled(tmp_path: Path) -> None:
    labels = {"a": "excited", "b": "fear", "c": None, "d": "neu"}
    manifest = Manifest(
        [Utterance(id=name, text="x", emotion=label) for name, label in labels.items()], tmp_path
    )
    done = manifest.label(get_scheme("basic4"))
    assert {u.id: u.emotion for u in done} == {"a": "happiness", "c": None, "d": "neutral"}
    with pytest.raises(LabelError, match="'awe' x 1"):
        Manifest([Utterance(id="a", text="x", emotion="awe")], tmp_path).label(get_scheme("basic4"))


def test_joining_rebases_paths_and_separates_clashing_ids(tmp_path: Path) -> None:
    one = Manifest([Utterance(id="x", corpus="one", audio="x.wav")], tmp_path / "one")
    two = Manifest(
        [Utterance(id="x", corpus="two", audio="w/x.wav"), Utterance(id="y", text="t")],
        tmp_path / "two",
    )
    both = Manifest.concat([one, two])
    assert both.ids == ("one/x", "two/x", "y")
    assert [u.audio for u in both] == ["one/x.wav", "two/w/x.wav", None]
    assert both.root == tmp_path
    assert Manifest.concat([one]) is one
    with pytest.raises(ManifestError, match="no manifest"):
        Manifest.concat([])


def test_select_and_filter_keep_order(tmp_path: Path) -> None:
    manifest = Manifest([Utterance(id=str(n), text="x") for n in range(4)], tmp_path)
    assert manifest.select(["3", "1"]).ids == ("3", "1")
    assert manifest.filter(lambda u: int(u.id) > 1).ids == ("2", "3")


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
fields = st.sampled_from([*Utterance.model_fields, "bogus", "manifest"])
values = (
    plain | st.lists(plain, max_size=2) | st.dictionaries(st.text(max_size=4), plain, max_size=2)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(fields, values, max_size=6) | st.text(max_size=30), max_size=4))
def test_any_file_is_a_manifest_or_a_manifest_error(tmp_path: Path, lines: list[Any]) -> None:
    path = tmp_path / "fuzz.jsonl"
    text = "\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        manifest = Manifest.load(path)
    except ManifestError as error:
        assert "\n" not in str(error)
        return
    manifest.save(tmp_path / "again.jsonl")
    assert list(Manifest.load(tmp_path / "again.jsonl")) == list(manifest)
