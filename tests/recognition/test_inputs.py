from __future__ import annotations

from pathlib import Path

import pytest

from emofuse.errors import CorpusError, EmofuseError, ManifestError, MediaError, OptionError
from emofuse.manifest import Manifest, Utterance
from emofuse.recognition.inputs import find_queries, queries_from_bytes
from emofuse.recognition.query import Query, looks_like_audio


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def pairs(queries: list[Query]) -> list[tuple[object, str | None]]:
    return [(q.audio, q.text) for q in queries]


def test_a_file_and_a_text() -> None:
    assert pairs(find_queries(["a b/ü.wav"])) == [(Path("a b/ü.wav"), None)]
    assert pairs(find_queries(["a.wav"], "hello")) == [(Path("a.wav"), "hello")]
    assert pairs(find_queries([], "hello")) == [(None, "hello")]
    with pytest.raises(OptionError, match="nothing to recognise"):
        find_queries([])
    with pytest.raises(OptionError, match="blank"):
        find_queries(["a.wav"], "  ")
    with pytest.raises(OptionError, match="cannot go with 2 utterances"):
        find_queries(["a.wav", "b.wav"], "hello")
    with pytest.raises(OptionError, match="not to be had"):
        find_queries(["-"])


def test_a_folder_is_searched_at_every_level(tmp_path: Path) -> None:
    wanted = [tmp_path / "b" / "two words.WAV", tmp_path / "a.flac", tmp_path / "ü" / "ö.ogg"]
    for path in (*wanted, tmp_path / "notes.md"):
        touch(path)
    touch(tmp_path / "._a.flac")
    notes: list[str] = []
    found = find_queries([str(tmp_path)], note=notes.append)
    assert {q.audio for q in found} == set(wanted)
    assert [str(q.audio) for q in found] == sorted(str(q.audio) for q in found)
    assert len(notes) == 1
    assert "._a.flac" in notes[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no audio file"):
        find_queries([str(tmp_path / "empty")])


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(
        "\ufeffone two.wav\r\n\nsub/ü.wav\twhat a day\n\tonly words\n", encoding="utf-8"
    )
    expected = [
        (tmp_path / "one two.wav", None),
        (tmp_path / "sub" / "ü.wav", "what a day"),
        (None, "only words"),
    ]
    assert pairs(find_queries([str(path)])) == expected
    other = path.rename(tmp_path / "list.lst")
    assert pairs(find_queries([str(other)], as_list=True)) == expected
    path.write_text("\n\n")
    with pytest.raises(MediaError, match="lists nothing"):
        find_queries([str(path)])
    with pytest.raises(CorpusError, match="cannot read"):
        find_queries([str(tmp_path / "none.txt")])


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'id,Path,start,end,transcript\nu1,a.wav,0.5,1.5,"yes, ""please"""\n,b.wav,,,\n'
        "u3,,,,just words\nu4,c.wav,later,,\nu5\n"
    )
    found = find_queries([str(path)])
    assert [q.id for q in found] == ["u1", str(tmp_path / "b.wav"), "u3", "u4", str(path)]
    assert (found[0].start, found[0].end, found[0].text) == (0.5, 1.5, 'yes, "please"')
    assert (found[1].audio, found[1].text) == (tmp_path / "b.wav", None)
    assert (found[2].audio, found[2].text) == (None, "just words")
    assert "start 'later' is no number of seconds" in str(found[3].error)
    assert "1 cells under 5 columns" in str(found[4].error)
    tabs = tmp_path / "t.tsv"
    tabs.write_text("file\ttext\na.wav\thi\n")
    assert pairs(find_queries([str(tabs)])) == [(tmp_path / "a.wav", "hi")]
    path.write_text("name,label\na,b\n")
    with pytest.raises(CorpusError, match="neither a column for audio"):
        find_queries([str(path)])
    path.write_text("path\n")
    with pytest.raises(CorpusError, match="lists nothing"):
        find_queries([str(path)])


def test_a_manifest(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    touch(root / "a.wav")
    (root / "out.wav").symlink_to(touch(tmp_path / "outside.wav"))
    path = tmp_path / "m.jsonl"
    Manifest(
        [
            Utterance(id="one", audio="a.wav", start=1.0, end=2.0, text="hi"),
            Utterance(id="two", text="words"),
            Utterance(id="three", audio="out.wav"),
        ],
        root,
    ).save(path)
    one, two, three = find_queries([str(path)])
    assert (one.id, one.start, one.end, one.text) == ("one", 1.0, 2.0, "hi")
    assert one.audio == root / "a.wav"
    assert (two.audio, two.text) == (None, "words")
    assert "leads out of the corpus root" in str(three.error)
    path.write_text("{]\n")
    with pytest.raises(ManifestError):
        find_queries([str(path)])


def test_standard_input() -> None:
    assert pairs(queries_from_bytes(b"a.wav\nb c.wav\thello\n")) == [
        (Path("a.wav"), None),
        (Path("b c.wav"), "hello"),
    ]
    audio = b"RIFF\0\0\0\0WAVE"
    assert [q.audio for q in find_queries(["-"], stdin=lambda: audio)] == [audio]
    for data in (b"", b"\0" * 40, b"\n \n"):
        with pytest.raises(EmofuseError):
            queries_from_bytes(data)


def test_magic() -> None:
    heads = (b"RIFF", b"fLaC", b"OggS", b"ID3\x03", b"\xff\xfb\x90", b".snd", b"FORM")
    assert all(looks_like_audio(head + b"\0" * 12) for head in heads)
    assert not any(
        looks_like_audio(head) for head in (b"", b"\xff", b"\xff\xfe", b"a/b.wav", b"{}")
    )
