"""IEMOCAP and MELD: tables, transcripts, parts, and copies that lack something."""

from __future__ import annotations

import pytest

from emofuse.corpora import CORPORA
from emofuse.errors import CorpusError, LabelError
from emofuse.labels import get_scheme
from emofuse.manifest import VAD, Utterance

IMPRO, SCRIPT = "Ses01F_impro01", "Ses01M_script01_1b"
EVALUATION = f"""% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\t{IMPRO}_F000\tneu\t[2.5000, 2.0000, 3.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral state; Anger;\t(curious; or not)
C-F1:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\t{IMPRO}_M000\texc\t[4.5000, 4.0000, 3.0000]
C-E2:\tExcited;\t()
C-E4:\tJoyful;\t()

[12.0 - 13.0]\t{IMPRO}_M001\txxx\t[2.0000, 2.0000, 2.0000]
[14.0 - broken]\t{IMPRO}_M002\tang\t[2.0000, 2.0000, 2.0000]
C-E2:\tAnger;\t()
"""
TRANSCRIPT = f"""{IMPRO}_F000 [006.2901-008.2357]: Excuse me. [LAUGHTER]
{IMPRO}_M000 [010.0100-011.3925]: Do you: have it?
{IMPRO}_M000 [010.0100-011.3925]: Do you have it?
M: Hm.
F:[BREATHING]
{IMPRO}_MXX0 [012.0100-013.3925]: Yeah.
no colon here
"""


@pytest.fixture
def iemocap(grow):
    session = "IEMOCAP_full_release/Session1"
    script = f"[1.0 - 2.0]\t{SCRIPT}_M000\tang\t[1.5, 4.0, 4.5]\nC-E1:\tAnger;\t()\n"
    return grow(
        f"{session}/sentences/wav/{IMPRO}/{IMPRO}_F000.wav",
        f"{session}/sentences/wav/{IMPRO}/._{IMPRO}_F000.wav",
        f"{session}/sentences/wav/{IMPRO}/{IMPRO}_M000.wav",
        f"{session}/sentences/wav/{SCRIPT}/{SCRIPT}_M000.wav",
        f"{session}/dialog/wav/{IMPRO}.wav",
        **{
            f"{session}/dialog/EmoEvaluation/{IMPRO}.txt": EVALUATION,
            f"{session}/dialog/EmoEvaluation/._{IMPRO}.txt": b"\x00ghost",
            f"{session}/dialog/EmoEvaluation/Categorical/{IMPRO}_e2_cat.txt": EVALUATION,
            f"{session}/dialog/EmoEvaluation/{SCRIPT}.txt": script,
            f"{session}/dialog/transcriptions/{IMPRO}.txt": TRANSCRIPT,
            f"{session}/dialog/transcriptions/{SCRIPT}.txt": f"{SCRIPT}_M000 [1-2]: No!\n",
        },
    )


def test_iemocap(iemocap, kinds) -> None:
    prepared = CORPORA.load("iemocap").prepare(iemocap)
    assert prepared.manifest.ids == (f"{IMPRO}_F000", f"{IMPRO}_M000", f"{SCRIPT}_M000")
    assert prepared.manifest[0] == Utterance(
        id=f"{IMPRO}_F000",
        corpus="iemocap",
        audio=f"IEMOCAP_full_release/Session1/sentences/wav/{IMPRO}/{IMPRO}_F000.wav",
        text="Excuse me. [LAUGHTER]",
        emotion="neutral",
        votes={"neutral": 0.75, "anger": 0.25},
        vad=VAD(valence=2.5, arousal=2.0, dominance=3.5),
        speaker="Ses01F",
        gender="female",
        session="Ses01",
        dialogue=IMPRO,
        language="en",
        extra={
            "native_emotion": "neu",
            "part": "improvised",
            "start_time": 6.2901,
            "end_time": 8.2357,
        },
    )
    male = prepared.manifest[1]
    assert (male.speaker, male.gender, male.text) == ("Ses01M", "male", "Do you: have it?")
    assert male.votes == {"excitement": 1.0}
    assert prepared.manifest[2].extra["part"] == "scripted"
    assert prepared.manifest[2].dialogue == SCRIPT
    assert kinds(prepared) == {
        "ghost": 2,
        "missing-audio": 1,  # xxx turn: neither audio nor text
        "missing-text": 1,
        "bad-line": 3,  # a broken head, a vote for an unknown word, a line without a colon
        "unlabelled": 3,
        "duplicate": 1,
    }
    counted = [f.line() for f in prepared.findings if f.kind == "count"]
    assert "count: exc: 1 of 1041 found, lacking x 1040" in counted
    assert "count: Ses01 exc: 1 of 143 evaluated turns, differing by x 142" in counted
    assert not any("Ses02" in line for line in counted)
    sessions = next(f for f in prepared.findings if f.kind == "missing-session")
    assert sessions.examples == ("Ses02", "Ses03", "Ses04", "Ses05")


def test_iemocap_excitement_is_the_schemes_matter(iemocap) -> None:
    manifest = CORPORA.load("iemocap").prepare(iemocap).manifest
    merged = [u.emotion for u in manifest.label(get_scheme("basic4"))]
    assert merged == ["neutral", "happiness", "anger"]
    plain = [u.emotion for u in manifest.label(get_scheme("basic4-hap"))]
    assert plain == ["neutral", "anger"]


@pytest.mark.parametrize(
    ("part", "count", "total"), [("improvised", 2, 2280), ("scripted", 1, 2210)]
)
def test_iemocap_parts(iemocap, kinds, part: str, count: int, total: int) -> None:
    prepared = CORPORA.load("iemocap").prepare(iemocap, part=part, annotations="strip")
    assert len(prepared.manifest) == count
    assert sum(prepared.expected.values()) == total
    assert sum(kinds(prepared).get(kind, 0) for kind in ("left-out",)) == 4 - count - (
        part == "improvised"
    )
    assert not any("[" in str(u.text) for u in prepared.manifest)


def test_iemocap_from_a_session_and_without_audio(iemocap, kinds) -> None:
    session = iemocap / "IEMOCAP_full_release" / "Session1"
    inside = CORPORA.load("iemocap").prepare(session)
    assert inside.manifest[0].audio == f"sentences/wav/{IMPRO}/{IMPRO}_F000.wav"
    for path in session.rglob("*.wav"):
        path.unlink()
    silent = CORPORA.load("iemocap").prepare(session)
    assert len(silent.manifest) == 3
    assert silent.manifest[0].modalities == {"text"}
    assert kinds(silent)["missing-audio"] == 4


def test_iemocap_refuses_an_unknown_code(grow) -> None:
    name = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    line = f"[1.0 - 2.0]\t{IMPRO}_F000\tbor\t[1.5, 4.0, 4.5]\n"
    with pytest.raises(LabelError, match="'bor' x 1; legal: ang, hap, exc"):
        CORPORA.load("iemocap").prepare(grow(f"{IMPRO}_F000.wav", **{name: line}))


HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime\n"
)


def meld_row(text: str, emotion: str = "joy", dialogue: int = 0, number: int = 0) -> str:
    times = '"0:20:57,256","00:21:00,049"'
    return f'1,"{text}",Phoebe,{emotion},positive,{dialogue},{number},4,7,{times}\n'


def test_meld(grow, kinds) -> None:
    train = HEADER + meld_row("I\x92m fine\x85") + meld_row("Broken", "neutral", 125, 3)
    root = grow(
        "train_splits/dia0_utt0.mp4",
        "train_splits/dia0_utt0.wav",
        "train_splits/dia125_utt3.mp4",
        "output_repeated_splits_test/dia0_utt0.mp4",
        "output_repeated_splits_test/._dia0_utt0.mp4",
        "output_repeated_splits_test/final_videos_testdia0_utt0.mp4",
        "clips/dia0_utt1.mp4",
        **{
            "train_sent_emo.csv": train,
            "test_sent_emo.csv": HEADER + meld_row("Why?") + meld_row("No clip.", number=1),
        },
    )
    prepared = CORPORA.load("meld").prepare(root)
    assert prepared.manifest["train-dia0_utt0"] == Utterance(
        id="train-dia0_utt0",
        corpus="meld",
        audio="train_splits/dia0_utt0.wav",
        video="train_splits/dia0_utt0.mp4",
        text="I\u2019m fine\u2026",
        emotion="happiness",
        speaker="meld-Phoebe",
        dialogue="meld-train-dia0",
        language="en",
        split="train",
        extra={
            "native_emotion": "joy",
            "sentiment": "positive",
            "season": "4",
            "episode": "7",
            "start_time": 1257.256,
            "end_time": 1260.049,
        },
    )
    assert prepared.manifest["test-dia0_utt0"].dialogue == "meld-test-dia0"
    assert prepared.manifest["train-dia125_utt3"].modalities == {"text"}
    assert kinds(prepared) == {
        "ghost": 1,
        "unknown-name": 2,
        "known-bad": 1,
        "missing-audio": 1,
        "missing-table": 1109,
        "note": 1,
    }


def test_meld_in_windows_1252(grow) -> None:
    table = (HEADER + meld_row("I\u2019m fine\u2026")).encode("cp1252")
    prepared = CORPORA.load("meld").prepare(grow(**{"MELD/train/train_sent_emo.csv": table}))
    assert prepared.manifest[0].text == "I\u2019m fine\u2026"


def test_meld_without_tables(grow) -> None:
    with pytest.raises(CorpusError, match="no \\*_sent_emo.csv"):
        CORPORA.load("meld").prepare(grow("train_splits/dia0_utt0.mp4"))
