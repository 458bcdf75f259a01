"""Corpora whose file names tell nearly everything: one utterance whole, and the odd cases."""

from __future__ import annotations

import pytest

from emofuse.corpora import CORPORA
from emofuse.errors import CorpusError, LabelError
from emofuse.manifest import Utterance


def test_emodb(grow, kinds) -> None:
    table = (
        "Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\xa0 \t03a01Fa.wav\t90,00\xa0\t75,00\xa0\nx\ty\tz\n"
    )
    root = grow("wav/03a01Fa.wav", "wav/16b10Wb.wav", **{"erkennung.txt": table.encode("latin-1")})
    prepared = CORPORA.load("emodb").prepare(root)
    assert prepared.manifest["03a01Fa"] == Utterance(
        id="03a01Fa",
        corpus="emodb",
        audio="wav/03a01Fa.wav",
        text="Der Lappen liegt auf dem Eisschrank.",
        emotion="happiness",
        speaker="emodb-03",
        gender="male",
        language="de",
        extra={
            "native_emotion": "F",
            "sentence": "a01",
            "version": "a",
            "age": 31,
            "recognised": 0.9,
            "natural": 0.75,
        },
    )
    assert kinds(prepared) == {"bad-line": 1, "missing-table": 1}


def test_ravdess_joins_the_modalities_of_a_take(grow, kinds) -> None:
    root = grow(
        "Actor_12/03-01-05-02-02-01-12.wav",
        "Actor_12/01-01-05-02-02-01-12.mp4",
        "Actor_12/02-01-05-02-02-01-12.mp4",
        "Actor_12/01-01-06-01-01-01-12.mp4",
        "Actor_12/03-02-05-02-02-01-12.wav",
        "Actor_12/01-01-06-01-01-02-12.wav",
        "readme.wav",
    )
    prepared = CORPORA.load("ravdess").prepare(root)
    assert prepared.manifest.ids == ("03-01-05-02-02-01-12", "03-01-06-01-01-01-12")
    assert prepared.manifest["03-01-05-02-02-01-12"] == Utterance(
        id="03-01-05-02-02-01-12",
        corpus="ravdess",
        audio="Actor_12/03-01-05-02-02-01-12.wav",
        video="Actor_12/01-01-05-02-02-01-12.mp4",
        text="Dogs are sitting by the door.",
        emotion="anger",
        speaker="ravdess-12",
        gender="female",
        language="en",
        extra={
            "native_emotion": "05",
            "intensity": "strong",
            "channel": "speech",
            "sentence": "02",
            "repetition": "01",
        },
    )
    assert kinds(prepared) == {
        "left-out": 1,
        "missing-audio": 1,
        "conflict": 1,
        "unknown-name": 1,
    }


def test_ravdess_song_expects_what_was_sung(grow) -> None:
    corpus = CORPORA.load("ravdess")
    prepared = corpus.prepare(grow("Actor_01/03-02-05-02-02-01-01.wav"), channel="song")
    assert sum(prepared.expected.values()) == 1012
    missing = next(f for f in prepared.findings if f.kind == "missing-speaker")
    assert missing.count == 22
    everything = corpus.prepare(grow(), channel="all")
    assert sum(everything.expected.values()) == 2452


def test_ravdess_copied_twice_counts_the_copy(grow, kinds) -> None:
    name = "Actor_01/03-01-05-02-02-01-01.wav"
    prepared = CORPORA.load("ravdess").prepare(grow(name, f"audio_speech/{name}"))
    assert len(prepared.manifest) == 1
    assert kinds(prepared) == {"duplicate": 1}


@pytest.mark.parametrize("layout", ["ALL/{0}_{1}.wav", "AudioData/{0}/{1}.wav", "{0}/{1}.wav"])
def test_savee_in_every_layout(grow, layout: str) -> None:
    codes = ("a01", "sa15", "su02", "n30", "d03", "f04", "h05")
    names = [layout.format(who, code) for who in ("DC", "KL") for code in codes]
    prepared = CORPORA.load("savee").prepare(grow(*names))
    assert len(prepared.manifest) == 14
    assert prepared.manifest["DC_sa15"] == Utterance(
        id="DC_sa15",
        corpus="savee",
        audio=layout.format("DC", "sa15"),
        emotion="sadness",
        speaker="savee-DC",
        gender="male",
        language="en",
        extra={"native_emotion": "sa", "sentence": "sa15"},
    )
    assert prepared.counts == dict.fromkeys(("a", "sa", "su", "n", "d", "f", "h"), 2)


def test_savee_without_a_speaker_is_counted(grow) -> None:
    with pytest.raises(CorpusError, match="not named like DC_a01 or DC/a01 x 1"):
        CORPORA.load("savee").prepare(grow("a01.wav"))


def test_tess(grow, kinds) -> None:
    root = grow(
        "OAF_Pleasant_surprise/OAF_back_ps.wav",
        "OAF_neutral/OA_bite_neutral.wav",
        "YAF_happy/YAF_back_happy.wav",
        "YAF_happy/notes.wav",
    )
    prepared = CORPORA.load("tess").prepare(root)
    assert prepared.manifest.ids == ("OAF_back_ps", "OAF_bite_neutral", "YAF_back_happy")
    assert prepared.manifest[0] == Utterance(
        id="OAF_back_ps",
        corpus="tess",
        audio="OAF_Pleasant_surprise/OAF_back_ps.wav",
        text="Say the word back.",
        emotion="surprise",
        speaker="tess-OAF",
        gender="female",
        language="en",
        extra={"native_emotion": "ps", "sentence": "back", "age": 64},
    )
    assert {u.speaker for u in prepared.manifest} == {"tess-OAF", "tess-YAF"}
    assert kinds(prepared) == {"note": 1, "unknown-name": 1}


def test_nemo(grow, kinds) -> None:
    header = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    table = header + (
        "EB0_surprised_3.wav\tsurprised\tTak, rzekł.\ttak rzekł\tEB0\tfemale\t27\n"
        "KS0_anger_4.wav\tanger\tNie.\tnie\tKS0\tmale\t23\n"
        "KS0_anger_5.wav\tanger\n"
    )
    root = grow("samples/EB0_surprised_3.flac", "samples/XX0_fear_1.wav", **{"data.tsv": table})
    prepared = CORPORA.load("nemo").prepare(root)
    assert list(prepared.manifest) == [
        Utterance(
            id="EB0_surprised_3",
            corpus="nemo",
            audio="samples/EB0_surprised_3.flac",
            text="Tak, rzekł.",
            emotion="surprise",
            speaker="nemo-EB0",
            gender="female",
            language="pl",
            extra={
                "native_emotion": "surprised",
                "sentence": "3",
                "normalized_text": "tak rzekł",
                "age": 27,
            },
        )
    ]
    assert kinds(prepared) == {"missing-audio": 1, "unlisted": 1, "bad-line": 1}


def test_nemo_with_another_table_says_which_column_is_lacking(grow) -> None:
    with pytest.raises(CorpusError, match="no column 'file_id'; legal: a, b"):
        CORPORA.load("nemo").prepare(grow(**{"data.tsv": "a\tb\n1\t2\n"}))


def test_ased(grow, kinds) -> None:
    root = grow(
        "04Sad/S4-04-02-02-29.opus",
        "04Sad/s4-06-01-02-29.opus",
        "04Sad/s4-07-01-01-29.opus",
        "04Sad/a5-07-01-02-29.opus",
    )
    prepared = CORPORA.load("ased").prepare(root)
    assert prepared.manifest["S4-04-02-02-29"] == Utterance(
        id="S4-04-02-02-29",
        corpus="ased",
        audio="04Sad/S4-04-02-02-29.opus",
        emotion="sadness",
        speaker="ased-29",
        gender="male",
        language="am",
        extra={"native_emotion": "s4", "sentence": "s4-04", "repetition": "02"},
    )
    assert [u.extra["sentence"] for u in prepared.manifest] == ["s4-04", "07", "06", "07"]
    assert {u.gender for u in prepared.manifest} == {"male"}
    assert kinds(prepared) == {"conflict": 2}


def test_cremad(grow, kinds) -> None:
    votes = (
        '"","A","D","F","H","N","S","fileName","numResponses"\n'
        '"100001",6,0,0,0,2,0,"1001_DFA_ANG_XX",8\n'
        '"200001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9\n'
        '"103213",0,0,0,0,0,4,"1040_ITH_SAD_XX",4\n'
        '"1000x",0,0,0,0,0,4,"1001_IEO_HAP_HI",4\n'
    )
    people = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
    root = grow(
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioMP3/1001_DFA_ANG_XX.mp3",
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "AudioWAV/1040_ITH_SAD_X.wav",
        "AudioWAV/1076_MTI_SAD_XX.wav",
        "AudioWAV/extra.wav",
        **{
            "processedResults/tabulatedVotes.csv": votes,
            "VideoDemographics.csv": people,
        },
    )
    prepared = CORPORA.load("cremad").prepare(root)
    assert set(prepared.manifest.ids) == {"1001_DFA_ANG_XX", "1040_ITH_SAD_X"}
    assert prepared.manifest["1001_DFA_ANG_XX"] == Utterance(
        id="1001_DFA_ANG_XX",
        corpus="cremad",
        audio="AudioWAV/1001_DFA_ANG_XX.wav",
        video="VideoFlash/1001_DFA_ANG_XX.flv",
        text="Don't forget a jacket.",
        emotion="anger",
        votes={"anger": 0.75, "neutral": 0.25},
        speaker="cremad-1001",
        gender="male",
        language="en",
        extra={
            "native_emotion": "ANG",
            "sentence": "DFA",
            "level": "unspecified",
            "age": 51,
            "race": "Caucasian",
            "ethnicity": "Not Hispanic",
        },
    )
    assert prepared.manifest["1040_ITH_SAD_X"].votes == {"sadness": 1.0}
    assert prepared.counts == {"ANG": 1, "SAD": 2}
    assert kinds(prepared) == {
        "missing-table": 1,
        "known-bad": 1,
        "unknown-name": 1,
        "duplicate": 1,
        "bad-line": 1,
    }
    face = CORPORA.load("cremad").prepare(root, votes="face").manifest["1001_DFA_ANG_XX"]
    assert face.votes == {"disgust": 1.0}


def test_cremad_takes_the_winners_where_the_counts_are_missing(grow, kinds) -> None:
    table = '"","FileName","VoiceVote","FaceVote"\n1,1001_IEO_HAP_HI,A:D,H\n2,1001_IEO_SAD_LO,,S\n'
    root = grow("AudioWAV/1001_IEO_HAP_HI.wav", **{"processedResults/summaryTable.csv": table})
    prepared = CORPORA.load("cremad").prepare(root)
    assert prepared.manifest[0].votes == {"anger": 0.5, "disgust": 0.5}
    assert prepared.manifest[0].extra["level"] == "high"
    assert kinds(prepared) == {"missing-table": 1, "note": 1, "bad-line": 1}


def test_esd(grow, kinds) -> None:
    chinese = "0001_000001\t打远一看，它们的确很是美丽，\t中立\r\n"
    english = (
        "0011_000351\tThe nine the eggs, I keep.\tAngry\n"
        "0011_000352 Stay here. Happy\n"
        "0011_000353\tNo emotion word\n"
        "junk\n"
    )
    root = grow(
        "0001/Neutral/train/0001_000001.wav",
        "0011/Angry/evaluation/0011_000351.wav",
        "0011/Angry/0011_000352.wav",
        "0011/Angry/test/0011_000353.wav",
        "0011/Angry/test/0011_000354.wav",
        "0011/Angry/test/x.wav",
        **{"0001/0001.txt": chinese.encode("utf-16"), "0011/0011.txt": english},
    )
    prepared = CORPORA.load("esd").prepare(root)
    assert prepared.manifest["0011_000351"] == Utterance(
        id="0011_000351",
        corpus="esd",
        audio="0011/Angry/evaluation/0011_000351.wav",
        text="The nine the eggs, I keep.",
        emotion="anger",
        speaker="esd-0011",
        gender="male",
        language="en",
        split="dev",
        extra={"native_emotion": "Angry", "sentence": "en-1"},
    )
    assert prepared.manifest["0001_000001"].text == "打远一看，它们的确很是美丽，"
    assert prepared.manifest["0001_000001"].gender == "female"
    assert prepared.manifest["0011_000352"].text == "Stay here."
    assert prepared.manifest["0011_000352"].split is None
    assert prepared.manifest["0011_000353"].text == "No emotion word"
    assert kinds(prepared) == {
        "unknown-name": 1,
        "missing-text": 1,
        "bad-line": 1,
        "conflict": 1,
    }
    english_only = CORPORA.load("esd").prepare(root, language="English")
    assert len(english_only.manifest) == 4
    assert kinds(english_only)["left-out"] == 1
    assert english_only.expected == dict.fromkeys(english_only.expected, 3500)
    missing = next(f for f in english_only.findings if f.kind == "missing-speaker")
    assert missing.count == 9


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le"])
def test_esd_lists_in_every_encoding(grow, encoding: str) -> None:
    line = "0004_000001\t打远一看，它们的确很是美丽，\t中立\n" * 2
    root = grow("0004/0004_000001.wav", **{"0004/0004.txt": line.encode(encoding)})
    prepared = CORPORA.load("esd").prepare(root)
    assert prepared.manifest[0].text == "打远一看，它们的确很是美丽，"
    assert prepared.manifest[0].emotion == "neutral"


def test_an_unknown_code_is_named_by_every_reader_of_names(grow) -> None:
    root = grow(
        "03-01-09-01-01-01-01.wav", "OAF_back_calm.wav", "1001_DFA_SUR_XX.wav", "b2-01-01-01-01.wav"
    )
    for name, code in {"ravdess": "09", "tess": "calm", "cremad": "SUR", "ased": "b2"}.items():
        with pytest.raises(LabelError, match=f"'{code}' x 1"):
            CORPORA.load(name).prepare(root)
