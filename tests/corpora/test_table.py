"""Tables of one's own: formats, columns, paths; any input gives a manifest or an EmofuseError."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.corpora import CORPORA
from emofuse.errors import CorpusError, EmofuseError, OptionError, UsageError
from emofuse.manifest import VAD, Utterance

TABLE = CORPORA.load("table")


def test_a_table_with_its_own_column_names(grow, kinds) -> None:
    text = (
        "clip;said;what;who;v;a;d;p_ang;p_neu;part;age\n"
        "wav/a b.wav;Hello;1;ann;2,5;;;3;1;valid;31\n"
    ).replace("2,5", "2.5")
    root = grow("wav/a b.wav", **{"calls.csv": text})
    prepared = TABLE.prepare(
        root / "calls.csv",
        columns={
            "audio": "clip",
            "text": "said",
            "emotion": "what",
            "speaker": "who",
            "valence": "v",
            "split": "part",
        },
        votes={"anger": "p_ang", "neutral": "p_neu"},
        labels={"1": "Angry"},
        language="en",
    )
    assert list(prepared.manifest) == [
        Utterance(
            id="wav/a b",
            corpus="calls",
            audio="wav/a b.wav",
            text="Hello",
            emotion="anger",
            votes={"anger": 0.75, "neutral": 0.25},
            vad=VAD(valence=2.5),
            speaker="ann",
            language="en",
            split="dev",
            extra={"native_emotion": "1", "a": None, "d": None, "age": "31"},
        )
    ]
    assert prepared.counts == {"1": 1}
    assert kinds(prepared) == {"note": 1}


ROWS = [
    {"id": "u1", "path": "a.wav", "transcript": "Hi", "label": "happy", "start": 0.5, "end": 2.0},
    {"id": "u2", "path": "a.wav", "transcript": None, "label": "nostalgia", "start": 2.0, "end": 3},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_reads_alike(grow, suffix: str) -> None:
    root = grow("a.wav")
    path, frame = root / f"t{suffix}", pd.DataFrame(ROWS)
    if suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(row) for row in ROWS))
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="," if suffix == ".csv" else "\t", index=False)
    first, second = TABLE.prepare(path).manifest
    assert (first.id, first.text, first.emotion) == ("u1", "Hi", "happiness")
    assert (first.start, first.end, second.start, second.text) == (0.5, 2.0, 2.0, None)
    assert second.emotion == "nostalgia"
    assert second.extra["native_emotion"] == "nostalgia"


def test_paths_stay_under_the_root(grow, kinds, tmp_path: Path) -> None:
    (tmp_path / "outside.wav").write_bytes(b"")
    root = grow("wav/a.wav", "wav/b.wav", "wav/c.wav")
    paths = [
        "a.wav",
        str(root / "wav" / "b.wav"),
        ".\\c.wav",
        str(tmp_path / "outside.wav"),
        "../outside.wav",
        "C:\\a.wav",
        "gone.wav",
        "x\0.wav",
        "",
        "n" * 5000,
    ]
    path = root / "t.csv"
    path.write_text("audio\n" + "".join(f'"{name}"\n' for name in paths))
    prepared = TABLE.prepare(path, root=str(root / "wav"))
    assert [u.audio for u in prepared.manifest] == ["a.wav", "b.wav", "c.wav"]
    assert kinds(prepared)["bad-line"] == 5
    assert kinds(prepared)["missing-audio"] == 2
    assert prepared.manifest.root == root / "wav"


def test_a_list_of_which_no_file_is_there_asks_for_the_root(grow) -> None:
    root = grow("wav/a.wav", **{"t.csv": "audio,text\na.wav,Hello\n"})
    with pytest.raises(CorpusError, match="say where paths start: --option root=DIR"):
        TABLE.prepare(root / "t.csv")
    assert len(TABLE.prepare(root / "t.csv", root=str(root / "wav")).manifest) == 1


def test_text_stays_where_a_file_is_missing(grow, kinds) -> None:
    root = grow("a.wav", **{"t.csv": "audio,text\na.wav,Hello\nb.wav,Hello\n"})
    prepared = TABLE.prepare(root / "t.csv")
    assert [u.modalities for u in prepared.manifest] == [{"audio", "text"}, {"text"}]
    assert kinds(prepared)["missing-audio"] == 1


def test_bad_rows_are_left_out_and_named(grow) -> None:
    text = (
        "id,text,start,end,split,p_a,p_b,emotion\n"
        "1,ok,,,,1,3,sad\n"
        "2,ok,late,,,1,1,sad\n"
        "3,ok,3,2,,1,1,sad\n"
        "4,ok,,,sometimes,1,1,sad\n"
        "5,ok,,,,-1,2,sad\n"
        "6,ok,,,,x,2,sad\n"
        "7,,,,,1,2,sad\n"
        "1,again,,,,1,2,sad\n"
        "8,ok,,,,,,\n"
    )
    prepared = TABLE.prepare(
        grow(**{"t.csv": text}) / "t.csv",
        columns={"id": "id"},
        votes={"anger": "p_a", "fear": "p_b"},
    )
    assert prepared.manifest.ids == ("1", "8")
    assert prepared.manifest["8"].emotion is None
    assert sum(f.count for f in prepared.findings if f.kind == "bad-line") == 6
    assert sum(f.count for f in prepared.findings if f.kind == "duplicate") == 1
    places = {place for f in prepared.findings for place in f.examples if f.kind == "bad-line"}
    assert places == {f"t.csv:{line}" for line in range(3, 9)}


def test_a_guessed_id_that_is_not_unique_is_not_used(grow, kinds) -> None:
    root = grow(**{"t.csv": "Utterance_ID,Utterance,Emotion\n0,Hi,joy\n0,Ho,anger\n"})
    prepared = TABLE.prepare(root / "t.csv")
    assert prepared.manifest.ids == ("row-1", "row-2")
    assert [u.extra["Utterance_ID"] for u in prepared.manifest] == ["0", "0"]
    assert kinds(prepared) == {"note": 2}


def test_wrong_calls_say_what_is_legal(grow) -> None:
    root = grow(
        **{
            "t.csv": "file_name,x\na,b\n",
            "t.xlsx": b"PK",
            "bad.parquet": b"PAR1",
            "e.jsonl": "[]\n",
        }
    )
    with pytest.raises(OptionError, match="no column holds audio, video or text"):
        TABLE.prepare(root / "t.csv")
    with pytest.raises(OptionError, match="no column 'y'; legal: file_name, x"):
        TABLE.prepare(root / "t.csv", columns={"audio": "y"})
    with pytest.raises(OptionError, match="columns"):
        TABLE.prepare(root / "t.csv", columns={"colour": "x"})
    with pytest.raises(CorpusError, match="legal extensions: .csv"):
        TABLE.prepare(root / "t.xlsx")
    with pytest.raises(CorpusError, match="not Parquet"):
        TABLE.prepare(root / "bad.parquet")
    with pytest.raises(CorpusError, match="not a JSON object"):
        TABLE.prepare(root / "e.jsonl")
    with pytest.raises(CorpusError, match="is no folder"):
        TABLE.prepare(root / "t.csv", root=str(root / "nowhere"))
    with pytest.raises(UsageError, match="one file"):
        TABLE.prepare([root / "t.csv", root / "t.csv"])


QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@QUICK
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
def test_any_bytes_give_a_manifest_or_one_of_our_errors(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        path.write_bytes(data)
        try:
            TABLE.prepare(path)
        except EmofuseError as error:
            assert "\n" not in str(error)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.lists(st.integers(), max_size=2),
)


@QUICK
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"text": st.text(max_size=8)},
            optional=dict.fromkeys(
                ("id", "audio", "start", "end", "emotion", "split", "speaker", "p", "z"), CELLS
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_cells_give_a_manifest_or_one_of_our_errors(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        votes = {"anger": "p"} if "p" in rows[0] else {}
        try:
            prepared = TABLE.prepare(path, votes=votes)
        except EmofuseError as error:
            assert "\n" not in str(error)
        else:
            prepared.manifest.save(Path(folder) / "m.jsonl")
            assert list(prepared.manifest.load(Path(folder) / "m.jsonl")) == list(prepared.manifest)
