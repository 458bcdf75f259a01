"""IEMOCAP: five sessions of two actors each, scripted and improvised."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import Tree, read_text
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance
from emofuse.media.text import strip_annotations
from emofuse.options import Options

__all__ = ["CORPUS", "Iemocap", "IemocapOptions"]

EVALUATION = re.compile(r"(?:^|/)dialog/EmoEvaluation/[^/]+\.txt$", re.IGNORECASE)
TRANSCRIPT = re.compile(r"(?:^|/)dialog/transcriptions/[^/]+\.txt$", re.IGNORECASE)
TURN = re.compile(r"(Ses\d\d)[FM]_((?:impro|script)\w*)_([FM])\w+")
HEAD = re.compile(
    r"\[([\d.]+)\s*-\s*([\d.]+)\]\s+(\S+)\s+(\S+)\s+\[([\d.]+),\s*([\d.]+),\s*([\d.]+)\]\s*$"
)
VOTE = re.compile(r"C-E\d*:\s*([^(\t]*)")
LINE = re.compile(r"(\S+?)\s*(?:\[[^\]]*\])?\s*:\s*(.*)$")
VOTE_WORDS: Mapping[str, str] = {
    "anger": "anger",
    "disgust": "disgust",
    "excited": "excitement",
    "fear": "fear",
    "frustration": "frustration",
    "happiness": "happiness",
    "neutral": "neutral",
    "neutral state": "neutral",
    "other": "other",
    "sadness": "sadness",
    "surprise": "surprise",
}
IMPROVISED = {"neu": 1099, "sad": 608, "ang": 289, "hap": 284}
SESSIONS: Mapping[str, Mapping[str, int]] = {
    "Ses01": {"ang": 229, "hap": 135, "sad": 194, "neu": 384, "exc": 143},
    "Ses02": {"ang": 137, "hap": 117, "sad": 197, "neu": 362, "exc": 210},
    "Ses03": {"ang": 240, "hap": 135, "sad": 305, "neu": 320, "exc": 151},
    "Ses04": {"ang": 327, "hap": 65, "sad": 143, "neu": 258, "exc": 238},
    "Ses05": {"ang": 170, "hap": 143, "sad": 245, "neu": 384, "exc": 299},
}


class IemocapOptions(Options):
    """What to read.

    Attributes:
        part: improvised dialogues, scripted ones, or all.
        annotations: keep bracketed notes such as ``[LAUGHTER]`` in the text, or strip them.
    """

    part: Literal["all", "improvised", "scripted"] = "all"
    annotations: Literal["keep", "strip"] = "keep"


@dataclass
class _Turn:
    """One block of an evaluation file."""

    name: str
    code: str
    start: float
    end: float
    vad: tuple[float, float, float]
    votes: dict[str, float] = field(default_factory=dict)
    where: str = ""


class Iemocap(Corpus[IemocapOptions]):
    """Reads ``Session1/dialog/EmoEvaluation``, ``transcriptions`` and ``sentences/wav``.

    Every label is kept; whether excitement counts as happiness is the label scheme's matter
    (``basic4`` merges, 5,531 utterances; ``basic4-hap`` does not, 4,490). The speaker is the letter
    in the last field of the id, not the one after the session.
    """

    name = "iemocap"
    about = "IEMOCAP: English, 10 actors in 5 sessions, scripted and improvised dialogue (10,039)"
    licence = "research, on signed request; cite Busso et al., IEMOCAP, LREV 2008"
    languages = ("en",)
    scheme = "basic4"
    labels: ClassVar[Mapping[str, str]] = {
        "ang": "anger",
        "hap": "happiness",
        "exc": "excitement",
        "sad": "sadness",
        "neu": "neutral",
        "fru": "frustration",
        "sur": "surprise",
        "fea": "fear",
        "dis": "disgust",
        "oth": "other",
        "xxx": "unknown",
    }
    expected: ClassVar[Mapping[str, int]] = {
        "ang": 1103,
        "hap": 595,
        "exc": 1041,
        "sad": 1084,
        "neu": 1708,
        "fru": 1849,
        "sur": 107,
        "fea": 40,
        "dis": 2,
        "oth": 3,
        "xxx": 2507,
    }
    speakers = tuple(f"{session}{gender}" for session in SESSIONS for gender in "FM")
    sessions = tuple(SESSIONS)
    layout = "Session1/dialog/EmoEvaluation/*.txt, dialog/transcriptions and sentences/wav"
    options_type = IemocapOptions

    def expected_counts(self, options: IemocapOptions) -> Mapping[str, int]:
        """All eleven labels; of a part, only the four usual ones are published."""
        if options.part == "all":
            return self.expected
        if options.part == "improvised":
            return IMPROVISED
        return {code: self.expected[code] - count for code, count in IMPROVISED.items()}

    def read(
        self, place: Place, options: IemocapOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance an evaluated turn."""
        tree = Tree(place.root, findings)
        turns = list(_turns(tree, findings))
        texts = _texts(tree, {turn.name for turn in turns}, findings)
        audio = _audio(tree)
        tally: Counter[tuple[str, str]] = Counter()
        for turn in turns:
            match = TURN.fullmatch(turn.name)
            if match is None:
                findings.add("bad-line", "no turn's name; left out", f"{turn.where} {turn.name}")
                continue
            tally[match[1], turn.code] += 1
            improvised = match[2].startswith("impro")
            if options.part != "all" and improvised != (options.part == "improvised"):
                findings.add("left-out", f"not of part={options.part}", turn.name, serious=False)
                continue
            text = texts.get(turn.name)
            if text is not None and options.annotations == "strip":
                text = strip_annotations(text)
            yield self._utterance(turn, match, text, audio.get(turn.name), findings)
        _check_sessions(tally, findings)

    def _utterance(
        self,
        turn: _Turn,
        match: re.Match[str],
        text: str | None,
        audio: PurePosixPath | None,
        findings: Findings,
    ) -> Utterance | None:
        if not text:
            findings.add("missing-text", "evaluated turn without a transcript", turn.name)
        if audio is None:
            kept = "text kept" if text else "left out"
            findings.add("missing-audio", f"evaluated turn without audio, {kept}", turn.name)
            if not text:
                return None
        total = sum(turn.votes.values())
        valence, arousal, dominance = turn.vad
        return findings.utterance(
            turn.where,
            id=turn.name,
            corpus=self.name,
            audio=audio and audio.as_posix(),
            text=text,
            emotion=findings.word(turn.code, self.labels),
            votes={word: share / total for word, share in turn.votes.items()} or None,
            vad={"valence": valence, "arousal": arousal, "dominance": dominance},
            speaker=f"{match[1]}{match[3]}",
            gender="female" if match[3] == "F" else "male",
            session=match[1],
            dialogue=turn.name.rpartition("_")[0],
            language="en",
            extra={
                "native_emotion": turn.code,
                "part": "improvised" if match[2].startswith("impro") else "scripted",
                "start_time": turn.start,
                "end_time": turn.end,
            },
        )


def _turns(tree: Tree, findings: Findings) -> Iterator[_Turn]:
    """Read every evaluation file: a line in brackets opens a turn, votes follow it."""
    for name in tree.files:
        if not EVALUATION.search(name):
            continue
        turn: _Turn | None = None
        for number, line in enumerate(read_text(tree.root / name).splitlines(), start=1):
            where = f"{name}:{number}"
            if line.startswith("["):
                if turn is not None:
                    yield turn
                turn = _head(line, where, findings)
            elif turn is not None and (vote := VOTE.match(line)):
                _count(turn, vote[1], where, findings)
        if turn is not None:
            yield turn


def _head(line: str, where: str, findings: Findings) -> _Turn | None:
    match = HEAD.match(line)
    try:
        if match is None:
            raise ValueError(line)
        start, end, *vad = (float(match[place]) for place in (1, 2, 5, 6, 7))
    except ValueError:
        findings.add("bad-line", "not [start - end] turn label [v, a, d]; left out", where)
        return None
    return _Turn(match[3], match[4], start, end, (vad[0], vad[1], vad[2]), where=where)


def _count(turn: _Turn, words: str, where: str, findings: Findings) -> None:
    """Count one annotator, whose several choices share one vote."""
    chosen = [word.strip().lower() for word in words.split(";") if word.strip()]
    known = [VOTE_WORDS[word] for word in chosen if word in VOTE_WORDS]
    if len(known) < len(chosen):
        findings.add("bad-line", "a vote for an unknown word; not counted", where)
    for word in known:
        turn.votes[word] = turn.votes.get(word, 0.0) + 1 / len(known)


def _texts(tree: Tree, wanted: Iterable[str], findings: Findings) -> dict[str, str]:
    """Read every transcript, without its time stamps."""
    texts: dict[str, str] = {}
    known = set(wanted)
    for name in tree.files:
        if not TRANSCRIPT.search(name):
            continue
        for number, line in enumerate(read_text(tree.root / name).splitlines(), start=1):
            where, match = f"{name}:{number}", LINE.match(line.strip())
            if not line.strip():
                continue
            if match is None:
                findings.add("bad-line", "no turn and text; left out", where)
            elif match[1] in ("M", "F"):
                message = "interjection without a turn's name; left out"
                findings.add("unlabelled", message, where, serious=False)
            elif match[1] not in known:
                message = "transcript without an evaluation; left out"
                findings.add("unlabelled", message, match[1], serious=False)
            elif match[1] in texts:
                message = "second transcript of a turn; left out"
                findings.add("duplicate", message, match[1], serious=False)
            else:
                texts[match[1]] = match[2].strip()
    return texts


def _audio(tree: Tree) -> dict[str, PurePosixPath]:
    """Find the audio of every turn, in ``sentences/wav`` before anywhere else."""
    found: dict[str, PurePosixPath] = {}
    for path in sorted(tree.having(), key=lambda p: "sentences/wav" not in p.as_posix()):
        if TURN.fullmatch(path.stem):
            found.setdefault(path.stem, path)
    return found


def _check_sessions(tally: Mapping[tuple[str, str], int], findings: Findings) -> None:
    """Name the sessions that are there but lack turns of the five usual labels."""
    present = {session for session, _ in tally}
    for session in SESSIONS:
        for code, wanted in SESSIONS[session].items() if session in present else ():
            found = tally.get((session, code), 0)
            if found != wanted:
                message = f"{session} {code}: {found} of {wanted} evaluated turns, differing by"
                findings.add("count", message, count=abs(wanted - found))


CORPUS = Iemocap()
