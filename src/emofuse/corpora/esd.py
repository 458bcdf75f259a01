"""ESD: 350 parallel sentences, ten Mandarin and ten English speakers, five emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import Tree, read_text
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance
from emofuse.options import Options

__all__ = ["CORPUS", "Esd", "EsdOptions"]

NAME = re.compile(r"(\d{4})_(\d{6})")
MEN = {"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"}
SPLITS = {"train": "train", "evaluation": "dev", "test": "test"}
SENTENCES = 350
WORDS: Mapping[str, str] = {
    "angry": "Angry",
    "happy": "Happy",
    "neutral": "Neutral",
    "sad": "Sad",
    "surprise": "Surprise",
    "生气": "Angry",
    "愤怒": "Angry",
    "快乐": "Happy",
    "高兴": "Happy",
    "开心": "Happy",
    "中立": "Neutral",
    "伤心": "Sad",
    "悲伤": "Sad",
    "惊喜": "Surprise",
    "惊讶": "Surprise",
}
"""What the transcript lists call the emotions, and the folder each stands for."""

Line = tuple[str, str | None]


class EsdOptions(Options):
    """What to read.

    Attributes:
        language: Mandarin (speakers 0001 to 0010), English (0011 to 0020) or all.
    """

    language: Literal["all", "English", "Mandarin"] = "all"


class Esd(Corpus[EsdOptions]):
    """Reads ``0011/Angry/train/0011_000351.wav`` (or without the part) and ``0011/0011.txt``.

    The transcript lists are tab-separated (name, text, emotion), in UTF-8, UTF-16 or GBK.
    """

    name = "esd"
    about = "ESD: Mandarin and English, 10 speakers each, 5 acted emotions, 350 sentences (35,000)"
    licence = "research only; cite Zhou et al., Emotional Voice Conversion and ESD, 2021 and 2022"
    languages = ("zh", "en")
    scheme = "esd5"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "Angry": "anger",
        "Happy": "happiness",
        "Neutral": "neutral",
        "Sad": "sadness",
        "Surprise": "surprise",
    }
    expected: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("Angry", "Happy", "Neutral", "Sad", "Surprise"), 7000
    )
    speakers = tuple(f"esd-{number:04d}" for number in range(1, 21))
    layout = "files named like 0011/Angry/train/0011_000351.wav, and 0011/0011.txt"
    options_type = EsdOptions

    def expected_counts(self, options: EsdOptions) -> Mapping[str, int]:
        """7,000 a class, half of them in each language."""
        if options.language == "all":
            return self.expected
        return {name: count // 2 for name, count in self.expected.items()}

    def expected_speakers(self, options: EsdOptions) -> Sequence[str]:
        """Ten a language."""
        return [
            speaker
            for speaker in self.speakers
            if options.language in ("all", _language(speaker.removeprefix("esd-"))[1])
        ]

    def read(
        self, place: Place, options: EsdOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a file; the emotion is the folder's, else the list's."""
        tree = Tree(place.root, findings)
        lines = _transcripts(tree, findings)
        for path in tree.having():
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like 0011_000351", str(path))
                continue
            speaker, number = match.groups()
            code, language = _language(speaker)
            if options.language not in ("all", language):
                message = f"not of language={options.language}"
                findings.add("left-out", message, str(path), serious=False)
                continue
            text, listed = lines.get(path.stem, (None, None))
            if text is None:
                findings.add("missing-text", "no line in the speaker's list", path.stem)
            native = _emotion(path, listed, self.labels, findings)
            if native is None:
                findings.add("unknown-name", "neither folder nor list names an emotion", str(path))
                continue
            yield findings.utterance(
                str(path),
                id=path.stem,
                corpus=self.name,
                audio=path.as_posix(),
                text=text,
                emotion=findings.word(native, self.labels),
                speaker=f"esd-{speaker}",
                gender="male" if speaker in MEN else "female",
                language=code,
                split=next((SPLITS[p.lower()] for p in path.parts if p.lower() in SPLITS), None),
                extra={
                    "native_emotion": native,
                    "sentence": f"{code}-{(int(number) - 1) % SENTENCES + 1}",
                },
            )


def _language(speaker: str) -> tuple[str, str]:
    return ("zh", "Mandarin") if int(speaker) <= 10 else ("en", "English")


def _emotion(
    path: PurePosixPath, listed: str | None, labels: Mapping[str, str], findings: Findings
) -> str | None:
    """Read the emotion off the nearest folder that names one; the list may only confirm it."""
    folders = {name.lower(): name for name in labels}
    named = [folders[p.lower()] for p in path.parent.parts if p.lower() in folders]
    folder = named[-1] if named else None
    if folder and listed and folder != listed:
        findings.add("conflict", "folder and list tell different emotions, folder taken", str(path))
    return folder or listed


def _transcripts(tree: Tree, findings: Findings) -> dict[str, Line]:
    """Read every ``NNNN.txt``: utterance -> text and, where known, emotion."""
    lines: dict[str, Line] = {}
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix.lower() != ".txt" or not re.fullmatch(r"\d{4}", path.stem):
            continue
        text = read_text(tree.root / name, ("gb18030", "cp1252"))
        for number, line in enumerate(text.splitlines(), start=1):
            parsed = _parse(line)
            if parsed is not None:
                lines.setdefault(parsed[0], (parsed[1], parsed[2]))
            elif line.strip():
                findings.add("bad-line", "no name and text; left out", f"{name}:{number}")
    return lines


def _parse(line: str) -> tuple[str, str, str | None] | None:
    r"""Take a line of a list apart, whether tabs or blanks stand between its fields.

    >>> _parse("0011_000351\tThe nine the eggs, I keep.\tAngry")
    ('0011_000351', 'The nine the eggs, I keep.', 'Angry')
    """
    match = re.match(r"\ufeff?\s*(\d{4}_\d{6})\s+(.*\S)\s*$", line)
    if match is None:
        return None
    name, rest = match[1], match[2]
    text, separator, last = rest.rpartition("\t")
    if not separator:
        text, _, last = rest.rpartition(" ")
    word = WORDS.get(last.strip().lower())
    if word is None and not separator:
        text = rest
    text = text.strip() or (rest if word is None else "")
    return (name, text, word) if text else None


CORPUS = Esd()
