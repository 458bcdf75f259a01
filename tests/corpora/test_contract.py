"""Every reader: registered, described, strict about folders and options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emofuse.corpora import CORPORA
from emofuse.corpora.contract import Corpus
from emofuse.corpora.files import Tree, decode_text, read_rows
from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError, LabelError, OptionError, UsageError
from emofuse.labels import SCHEMES, VOCABULARY
from emofuse.progress import ProgressEvent

READERS = tuple(name for name in CORPORA.names() if name != "synthetic")
PUBLISHED = tuple(name for name in READERS if name not in ("table", "scp", "audformat"))
TOTALS = {
    "ased": 2474,
    "cremad": 7442,
    "emodb": 535,
    "esd": 35_000,
    "iemocap": 10_039,
    "meld": 13_708,
    "nemo": 4481,
    "ravdess": 1440,
    "savee": 480,
    "tess": 2800,
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_describes_itself(name: str) -> None:
    corpus = CORPORA.load(name)
    assert isinstance(corpus, Corpus)
    assert corpus.name == name
    assert corpus.scheme in SCHEMES
    assert set(corpus.labels.values()) <= set(VOCABULARY)
    assert set(corpus.expected) <= set(corpus.labels)
    described = json.loads(json.dumps(corpus.describe()))
    assert described["name"] == name
    assert described["licence"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_expected_counts_sum_to_the_published_total(name: str) -> None:
    assert CORPORA.load(name).describe()["total"] == TOTALS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_corpus_scheme_has_a_place_for_every_label(name: str) -> None:
    corpus = CORPORA.load(name)
    placed = SCHEMES[corpus.scheme].map_all(corpus.labels.values())
    assert len(set(placed) - {None}) >= 2


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_folder_says_what_is_expected(name: str, tmp_path: Path) -> None:
    corpus = CORPORA.load(name)
    (tmp_path / "holiday.wav").write_bytes(b"")
    with pytest.raises(CorpusError) as caught:
        corpus.prepare(tmp_path)
    assert name in str(caught.value) or "scp" in str(caught.value)
    with pytest.raises(CorpusError, match="missing|no db.yaml"):
        corpus.prepare(tmp_path / "nowhere")


@pytest.mark.parametrize("name", READERS)
def test_an_unknown_option_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown key 'colour'"):
        CORPORA.load(name).prepare(tmp_path, colour="red")


def test_two_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes one folder"):
        CORPORA.load("emodb").prepare([tmp_path, tmp_path])


def test_an_unknown_label_is_an_error_with_counts(grow) -> None:
    root = grow("03a01Fa.wav", "03a01Xa.wav", "03a02Xa.wav")
    with pytest.raises(LabelError, match="'X' x 2; legal: W, L, E"):
        CORPORA.load("emodb").prepare(root)


def test_the_lossless_copy_is_kept_and_a_second_copy_is_counted(grow) -> None:
    root = grow("a/03a01Fa.mp3", "b/03a01Fa.FLAC", "c/03a01Fa.flac", "b/08a01Wa.wav")
    prepared = CORPORA.load("emodb").prepare(root)
    assert prepared.manifest.ids == ("03a01Fa", "08a01Wa")
    assert prepared.manifest["03a01Fa"].audio == "b/03a01Fa.FLAC"
    found = {f.message: (f.count, f.serious) for f in prepared.findings if f.kind == "duplicate"}
    assert found == {
        "also in another format": (1, False),
        "id seen before, first one kept": (1, True),
    }


def test_ghosts_links_and_strange_names_are_counted(grow) -> None:
    root = grow("wav/03a01Fa.wav", "wav/._03a01Fa.wav", "wav/03a01Fa (1).wav")
    (root / "more").symlink_to(root / "wav")
    findings = {f.kind: f for f in CORPORA.load("emodb").prepare(root).findings}
    assert findings["ghost"].count == 1
    assert not findings["ghost"].serious
    assert findings["link"].examples == ("more",)
    assert findings["unknown-name"].examples == ("wav/03a01Fa (1).wav",)


def test_a_partial_copy_says_what_it_lacks(grow) -> None:
    prepared = CORPORA.load("emodb").prepare(grow("03a01Fa.wav"))
    lines = [finding.line() for finding in prepared.findings]
    assert "count: W: 0 of 127 found, lacking x 127" in lines
    assert "count: F: 1 of 71 found, lacking x 70" in lines
    missing = next(f for f in prepared.findings if f.kind == "missing-speaker")
    assert missing.count == 9
    assert prepared.counts == {"F": 1}


def test_progress_is_reported(grow) -> None:
    root = grow(*(f"{a:02d}a01F{chr(97 + b)}.wav" for a in range(40) for b in range(26)))
    events: list[ProgressEvent] = []
    CORPORA.load("emodb").prepare(root, progress=events.append)
    assert [event.done for event in events] == [500, 1000]


def test_the_manifest_holds_however_the_root_is_given(grow, tmp_path: Path) -> None:
    root = grow("wav/03a01Fa.wav")
    (tmp_path / "link").symlink_to(root)
    for given in (root, root / "wav", root.parent, tmp_path / "link"):
        manifest = CORPORA.load("emodb").prepare(given).manifest
        assert manifest.ids == ("03a01Fa",)
        assert manifest.path(str(manifest[0].audio)).is_file()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_text_is_decoded_whatever_its_encoding(encoding: str) -> None:
    text = "0001_000001\t打远一看，它们的确很是美丽，\t中立\n" * 3
    assert decode_text(text.encode(encoding), ("gb18030", "cp1252")).lstrip("\ufeff") == text


def test_a_ragged_row_is_counted_and_a_double_column_refused(tmp_path: Path) -> None:
    path, findings = tmp_path / "t.csv", Findings()
    path.write_text('a,b\n1,2\n1\n"x\ny",3\n1,2,3\n\n')
    assert list(read_rows(path, ",", findings)) == [
        (2, {"a": "1", "b": "2"}),
        (5, {"a": "x\ny", "b": "3"}),
    ]
    assert sum(f.count for f in findings.list()) == 2
    path.write_text("a,a\n1,2\n")
    with pytest.raises(CorpusError, match="twice"):
        list(read_rows(path, ",", findings))
    path.write_text("")
    with pytest.raises(CorpusError, match=r"no column 'a'; legal: \(none\)"):
        list(read_rows(path, ",", findings, ("a",)))


def test_the_tree_is_listed_in_a_fixed_order(grow) -> None:
    root = grow("b/x.wav", "a/Y.WAV", "a/notes.txt", "z.flac")
    tree = Tree(root, Findings())
    assert [str(p) for p in tree.having()] == ["a/Y.WAV", "b/x.wav", "z.flac"]
    assert tree.named("NOTES.txt") == [root / "a/notes.txt"]
