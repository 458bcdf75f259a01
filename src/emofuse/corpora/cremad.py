"""CREMA-D: 91 actors, twelve sentences, six emotions, votes of the crowd."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import VIDEO_EXTENSIONS, Tree, read_rows, whole_number
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance
from emofuse.options import Options

__all__ = ["CORPUS", "CremaD", "CremaDOptions"]

NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(XX?|LO|MD|HI)")
SENTENCES: Mapping[str, str] = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
LEVELS = {"X": "unspecified", "XX": "unspecified", "LO": "low", "MD": "medium", "HI": "high"}
VOTES = {
    "A": "anger",
    "D": "disgust",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
}
MODES = {"voice": 1, "face": 2, "multimodal": 3}
SUMMARY = {"voice": "VoiceVote", "face": "FaceVote", "multimodal": "MultiModalVote"}

Votes = dict[str, dict[str, float]]


class CremaDOptions(Options):
    """What to read.

    Attributes:
        votes: what the crowd judged by: voice alone, face alone, or both.
    """

    votes: Literal["voice", "face", "multimodal"] = "voice"


class CremaD(Corpus[CremaDOptions]):
    """Reads ``AudioWAV/1001_DFA_ANG_XX.wav``, demographics and votes.

    The emotion is the acted one; ``votes`` holds what the crowd heard.
    """

    name = "cremad"
    about = "CREMA-D: English, 91 actors, 6 acted emotions, 12 sentences, crowd votes (7,442)"
    licence = "ODbL 1.0; cite Cao et al., CREMA-D, IEEE Trans. Affective Computing 2014"
    languages = ("en",)
    scheme = "cremad6"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    }
    expected: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("ANG", "DIS", "FEA", "HAP", "SAD"), 1271),
        "NEU": 1087,
    }
    speakers = tuple(f"cremad-{number}" for number in range(1001, 1092))
    known_bad: ClassVar[Mapping[str, str]] = {"1076_MTI_SAD_XX": "the recording holds no sound"}
    layout = "files named like AudioWAV/1001_DFA_ANG_XX.wav"
    options_type = CremaDOptions

    def read(
        self, place: Place, options: CremaDOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance an audio file, with the video of the same name."""
        tree = Tree(place.root, findings)
        actors = _demographics(tree, findings)
        votes = _votes(tree, options, findings)
        video = {path.stem: path for path in tree.having(VIDEO_EXTENSIONS)}
        for path in tree.having():
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like 1001_DFA_ANG_XX", str(path))
                continue
            if path.stem in self.known_bad:
                findings.known_bad(path.stem, self.known_bad[path.stem], match[3])
                continue
            actor, sentence, code, level = match.groups()
            if sentence not in SENTENCES:
                findings.add("missing-text", "no sentence of this code is known", str(path))
            if actors and actor not in actors:
                findings.add("missing-table", "actor not in VideoDemographics.csv", actor)
            shares = votes.get(f"{actor}_{sentence}_{code}_{'XX' if level == 'X' else level}")
            if votes and shares is None:
                findings.add("missing-table", "no votes for this clip", path.stem)
            person = actors.get(actor, {})
            clip = video.get(path.stem)
            yield findings.utterance(
                str(path),
                id=path.stem,
                corpus=self.name,
                audio=path.as_posix(),
                video=clip and clip.as_posix(),
                text=SENTENCES.get(sentence),
                emotion=findings.word(code, self.labels),
                votes=shares,
                speaker=f"cremad-{actor}",
                gender=person.get("sex"),
                language="en",
                extra={
                    "native_emotion": code,
                    "sentence": sentence,
                    "level": LEVELS[level],
                    **{key: value for key, value in person.items() if key != "sex"},
                },
            )


def _demographics(tree: Tree, findings: Findings) -> dict[str, dict[str, Any]]:
    """Read ``VideoDemographics.csv``: actor -> sex, age, race, ethnicity."""
    tables = tree.named("VideoDemographics.csv")
    if not tables:
        findings.add("missing-table", "no VideoDemographics.csv: genders and ages unknown")
        return {}
    people: dict[str, dict[str, Any]] = {}
    for _, row in read_rows(tables[0], ",", findings, ("ActorID", "Age", "Sex")):
        people[row["ActorID"].strip()] = {
            "sex": row["Sex"].strip().lower() or None,
            "age": whole_number(row["Age"]),
            "race": row.get("Race", "").strip() or None,
            "ethnicity": row.get("Ethnicity", "").strip() or None,
        }
    return people


def _votes(tree: Tree, options: CremaDOptions, findings: Findings) -> Votes:
    """Read the crowd's votes: clip -> emotion -> share.

    ``tabulatedVotes.csv`` counts them; without it ``summaryTable.csv`` names the winners.
    """
    tables = tree.named("tabulatedVotes.csv")
    if tables:
        return _tabulated(tables[0], MODES[options.votes], findings)
    tables = tree.named("summaryTable.csv")
    if tables:
        findings.add("note", "no tabulatedVotes.csv: votes are the winners of summaryTable.csv")
        return _summarised(tables[0], SUMMARY[options.votes], findings)
    findings.add("missing-table", "neither tabulatedVotes.csv nor summaryTable.csv: no votes")
    return {}


def _tabulated(path: Path, mode: int, findings: Findings) -> Votes:
    """Read counts; the first column is 100,000 times the mode, plus the clip's number."""
    votes: Votes = {}
    for number, row in read_rows(path, ",", findings, ("fileName", *VOTES)):
        try:
            if int(next(iter(row.values()))) // 100_000 != mode:
                continue
            counts = {word: float(row[letter]) for letter, word in VOTES.items()}
        except ValueError:
            findings.add("bad-line", "no counts; left out", f"{path.name}:{number}")
            continue
        total = sum(counts.values())
        if total > 0:
            name = row["fileName"].strip()
            votes[name] = {word: count / total for word, count in counts.items() if count}
    return votes


def _summarised(path: Path, column: str, findings: Findings) -> Votes:
    """Read winners; equal ones, written ``A:D``, share the vote."""
    votes: Votes = {}
    for number, row in read_rows(path, ",", findings, ("FileName", column)):
        winners = [VOTES.get(letter.strip()) for letter in row[column].split(":")]
        if None in winners:
            findings.add("bad-line", "no vote; left out", f"{path.name}:{number}")
            continue
        votes[row["FileName"].strip()] = {str(word): 1 / len(winners) for word in winners}
    return votes


CORPUS = CremaD()
