"""Kaldi-like lists: lines, blanks in paths, sisters of wav.scp, any input at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.corpora import CORPORA
from emofuse.corpora.scp import parse_line
from emofuse.errors import CorpusError, EmofuseError, OptionError
from emofuse.manifest import Utterance

SCP = CORPORA.load("scp")


@pytest.mark.parametrize(
    ("line", "mode", "entry"),
    [
        ("u a.wav neu", "auto", ("u", "a.wav", "neu")),
        ("u\ta b/c d.wav\tneu", "auto", ("u", "a b/c d.wav", "neu")),
        ("u  a b.wav ", "auto", ("u", "a b.wav", None)),
        ("u a.FLAC", "auto", ("u", "a.FLAC", None)),
        ("u a.mp4 ang", "auto", ("u", "a.mp4", "ang")),
        ("u noextension", "auto", ("u", "noextension", None)),
        ("u a b", "none", ("u", "a b", None)),
        ("u a.wav b.wav", "last", ("u", "a.wav", "b.wav")),
    ],
)
def test_lines(line: str, mode, entry) -> None:
    assert parse_line(line, mode) == entry


@pytest.mark.parametrize("line", ["u", "", "u sox a.wav -t wav - |", "u | cat"])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match="id and a path|a command"):
        parse_line(line)
    with pytest.raises(ValueError, match="a label"):
        parse_line("u a.wav", "last")


WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


@given(name=WORD, path=st.lists(WORD, min_size=1, max_size=4).map(" ".join), label=WORD)
def test_what_is_written_is_read(name: str, path: str, label: str) -> None:
    assert parse_line(f"{name} {path}.wav {label}") == (name, f"{path}.wav", label)
    assert parse_line(f"{name} {path}.wav") == (name, f"{path}.wav", None)


def test_several_lists(grow, kinds) -> None:
    root = grow(
        "my wav/Ses03F_impro01_F002.wav",
        "my wav/Ses04M_impro01_M000.wav",
        **{
            "session3_train.scp": (
                "Ses03F_impro01_F002 my wav/Ses03F_impro01_F002.wav neu\n"
                "Ses09F_impro01_F002 my wav/gone.wav neu\n"
                "rubbish\n"
            ),
            "session3_valid.scp": (
                "Ses03F_impro01_F002 my wav/Ses03F_impro01_F002.wav neu\n"
                "Ses04M_impro01_M000 my wav/Ses04M_impro01_M000.wav exc\n"
                "Ses04M_impro01_M000 my wav/Ses04M_impro01_M000.wav ang\n"
            ),
        },
    )
    options = {
        "fields": {"session": "^(Ses..)", "speaker": "^(Ses..).*_([FM])"},
        "corpus": "iemocap",
    }
    lists = [root / "session3_train.scp", root / "session3_valid.scp"]
    prepared = SCP.prepare(lists, **options)
    assert list(prepared.manifest) == [
        Utterance(
            id="Ses03F_impro01_F002",
            corpus="iemocap",
            audio="my wav/Ses03F_impro01_F002.wav",
            emotion="neutral",
            speaker="Ses03F",
            session="Ses03",
            extra={"native_emotion": "neu"},
        ),
        Utterance(
            id="Ses04M_impro01_M000",
            corpus="iemocap",
            audio="my wav/Ses04M_impro01_M000.wav",
            emotion="excitement",
            speaker="Ses04M",
            session="Ses04",
            extra={"native_emotion": "exc"},
        ),
    ]
    assert kinds(prepared) == {"missing-audio": 1, "bad-line": 1, "duplicate": 2}
    assert list(SCP.prepare(root, **options).manifest) == list(prepared.manifest)


def test_kaldi_folder_with_segments(grow, kinds) -> None:
    root = grow(
        "data/rec.flac",
        **{
            "data/wav.scp": "rec rec.flac\npipe sox x |\n",
            "data/segments": "u1 rec 0.5 2.0\nu2 rec 2 3\nu3 other 0 1\nu4 rec x 1\nu5 rec 3 2\n",
            "data/text": "u1 hello there\nu2\n",
            "data/utt2spk": "u1 ann\nu2 bob\n",
            "data/spk2gender": "ann f\nbob M\n",
            "data/utt2emo": "u1 Happy\nu2 nostalgia\n",
            "data/feats.scp": "u1 raw.ark:12\n",
        },
    )
    prepared = SCP.prepare(root / "data", language="en")
    assert list(prepared.manifest) == [
        Utterance(
            id="u1",
            corpus="wav",
            audio="rec.flac",
            start=0.5,
            end=2.0,
            text="hello there",
            emotion="happiness",
            speaker="ann",
            gender="female",
            language="en",
            extra={"native_emotion": "Happy"},
        ),
        Utterance(
            id="u2",
            corpus="wav",
            audio="rec.flac",
            start=2.0,
            end=3.0,
            emotion="nostalgia",
            speaker="bob",
            gender="male",
            language="en",
            extra={"native_emotion": "nostalgia"},
        ),
    ]
    assert kinds(prepared) == {"bad-line": 4, "missing-audio": 1}


def test_wrong_calls(grow) -> None:
    root = grow(**{"a.scp": "u /elsewhere/a.wav neu\n", "b.scp": "u gone.wav neu\n"})
    with pytest.raises(CorpusError, match="outside the root .* root=DIR"):
        SCP.prepare(root / "a.scp")
    with pytest.raises(CorpusError, match="none of the 1 listed files"):
        SCP.prepare(root / "b.scp")
    with pytest.raises(OptionError, match="no regular expression"):
        SCP.prepare(root / "a.scp", fields={"speaker": "("})
    with pytest.raises(OptionError, match="no group"):
        SCP.prepare(root / "a.scp", fields={"speaker": "x"})
    with pytest.raises(CorpusError, match="missing"):
        SCP.prepare(root / "c.scp")


@settings(max_examples=150, deadline=None, database=None,
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from("ab ./\\|\t\n\r\0\u2028é~"), max_size=80).map(str.encode),
    ),
    segments=st.none() | st.text(st.sampled_from("ab 01.-\nne"), max_size=40),
    mode=st.sampled_from(["auto", "last", "none"]),
)
def test_any_bytes_give_a_manifest_or_one_of_our_errors(data, segments, mode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a").write_bytes(b"")
        (root / "wav.scp").write_bytes(data)
        if segments is not None:
            (root / "segments").write_text(segments)
        try:
            prepared = SCP.prepare(root, label=mode)
        except EmofuseError as error:
            assert "\n" not in str(error)
        else:
            prepared.manifest.save(root / "m.jsonl")
            assert list(prepared.manifest.load(root / "m.jsonl")) == list(prepared.manifest)
