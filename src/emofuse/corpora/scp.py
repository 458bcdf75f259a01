"""Lists like Kaldi's: ``id path label``, or ``wav.scp`` with its sisters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import MEDIA_EXTENSIONS, VIDEO_EXTENSIONS, read_text
from emofuse.corpora.findings import Findings
from emofuse.corpora.lists import ListedFiles, native_label, own_word, root_of
from emofuse.errors import CorpusError
from emofuse.manifest import Utterance
from emofuse.options import Options

__all__ = ["CORPUS", "Scp", "ScpOptions", "parse_line"]

SISTERS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "speaker": ("utt2spk",),
    "emotion": ("utt2emo", "utt2emotion"),
    "gender": ("utt2gender",),
    "language": ("utt2lang",),
}
"""What the files beside a ``wav.scp`` tell about an utterance."""
GENDERS = {"f": "female", "m": "male"}

LabelMode = Literal["auto", "last", "none"]
Entry = tuple[str, str, str | None]


class ScpOptions(Options):
    """How to read the lists.

    Attributes:
        root: folder that paths start from; the first list's own unless told.
        label: ``last``: the last field of a line is its emotion; ``none``: there is none; ``auto``:
            it is, unless the line ends in a file name.
        fields: field of an utterance -> regular expression searched in its id; the groups, joined,
            are the value (``fields.session='^(Ses..)'``).
        labels: label in the list -> emotion.
        corpus: name to write; the first list's name unless told.
        language: of every utterance.
    """

    root: str | None = None
    label: LabelMode = "auto"
    fields: dict[Literal["speaker", "session", "dialogue", "gender"], str] = Field(
        default_factory=dict
    )
    labels: dict[str, str] = Field(default_factory=dict)
    corpus: str | None = None
    language: str | None = None

    @field_validator("fields")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            try:
                groups = re.compile(pattern).groups
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if not groups:
                raise ValueError(f"{pattern!r} has no group: put brackets around what to take")
        return value


def parse_line(line: str, label: LabelMode = "auto") -> Entry:
    """Take a line apart: the first field is the id, the last the label, the rest the path.

    >>> parse_line("u1 my recordings/a b.wav neu")
    ('u1', 'my recordings/a b.wav', 'neu')
    >>> parse_line("u1 my recordings/a b.wav")
    ('u1', 'my recordings/a b.wav', None)

    Raises:
        ValueError: what is wrong with the line.
    """
    name, _, rest = line.strip().replace("\t", " ").partition(" ")
    rest = rest.strip()
    if not rest:
        raise ValueError("a line needs an id and a path")
    if rest.endswith("|") or rest.startswith("|"):
        raise ValueError("a command, which is never run; write the audio to a file")
    if label == "none" or (label == "auto" and rest.lower().endswith(MEDIA_EXTENSIONS)):
        return name, rest, None
    path, _, last = rest.rpartition(" ")
    if path.strip():
        return name, path.strip(), last
    if label == "last":
        raise ValueError("a line needs an id, a path and a label")
    return name, rest, None


class Scp(Corpus[ScpOptions]):
    """Reads one or several lists, or a folder of them.

    Beside a list named ``wav.scp`` the files ``text``, ``utt2spk``, ``utt2emo``, ``spk2gender`` and
    ``segments`` are read too. Labels may be any words; the label scheme decides about them.
    """

    name = "scp"
    about = "lists like Kaldi's: id, path, label; or wav.scp with text, utt2spk, utt2emo"
    licence = "your own"
    scheme = "ekman7"
    layout = "lines like: id path label"
    takes_files: ClassVar[bool] = True
    options_type = ScpOptions

    def locate(self, sources: tuple[Path, ...], options: ScpOptions) -> Place:
        """Open up folders into their lists; start paths at ``root``, else at the first list."""
        lists: list[Path] = []
        for source in sources:
            if source.is_dir():
                kaldi = source / "wav.scp"
                lists.extend([kaldi] if kaldi.is_file() else sorted(source.glob("*.scp")))
            elif source.is_file():
                lists.append(source)
            else:
                raise CorpusError(f"{source} is missing; scp expects {self.layout}")
        if not lists:
            raise CorpusError(f"no *.scp in {sources[0] if sources else '(nothing)'}")
        return Place(root_of(options.root, lists[0]), tuple(lists))

    def read(
        self, place: Place, options: ScpOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a line; a line that several lists share counts once."""
        files = ListedFiles(place.root, findings)
        seen: dict[str, Entry] = {}
        for source in place.sources:
            sisters = _sisters(source, findings) if source.name == "wav.scp" else {}
            for where, entry, span in _entries(source, options, findings):
                known = seen.setdefault(entry[0], entry)
                if known is not entry:
                    same = known == entry
                    message = "line again" if same else "id again with another path or label"
                    findings.add("duplicate", message, where, serious=not same)
                    continue
                told = {f: values[entry[0]] for f, values in sisters.items() if entry[0] in values}
                corpus = options.corpus or place.sources[0].stem
                yield _utterance(
                    where, entry, span, told=told, corpus=corpus, options=options, files=files
                )
        files.check()


def _utterance(
    where: str,
    entry: Entry,
    span: tuple[float, float] | None,
    *,
    told: Mapping[str, str],
    corpus: str,
    options: ScpOptions,
    files: ListedFiles,
) -> Utterance | None:  # fmt: skip
    name, listed, label = entry
    text = told.get("text")
    path = files.find(listed, where, has_text=bool(text))
    if path is None and not text:
        return None
    native = native_label(label or told.get("emotion"))
    kind = "video" if listed.lower().endswith(VIDEO_EXTENSIONS) else "audio"
    fields: dict[str, Any] = {
        "language": options.language,
        **{
            field: told.get(field) for field in ("speaker", "gender", "language") if told.get(field)
        },
        **_fields(name, options, files.findings),
    }
    return files.findings.utterance(
        where,
        id=name,
        corpus=corpus,
        **{kind: path},
        start=span and span[0],
        end=span and span[1],
        text=text,
        emotion=own_word(native, options.labels),
        **fields,
        extra={"native_emotion": native},
    )


def _fields(name: str, options: ScpOptions, findings: Findings) -> dict[str, str]:
    """Read what the id tells, by the user's expressions."""
    found: dict[str, str] = {}
    for field, pattern in options.fields.items():
        match = re.search(pattern, name)
        if match is None:
            findings.add("unknown-name", f"id without what fields.{field} looks for", name)
        else:
            found[field] = "".join(group or "" for group in match.groups())
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


def _entries(
    source: Path, options: ScpOptions, findings: Findings
) -> Iterator[tuple[str, Entry, tuple[float, float] | None]]:
    """Give the entries of a list; where ``segments`` cuts recordings, those of the segments."""
    entries: list[tuple[str, Entry]] = []
    for number, line in _lines(source):
        where = f"{source.name}:{number}"
        try:
            entries.append((where, parse_line(line, options.label)))
        except ValueError as error:
            findings.add("bad-line", f"{error}; left out", where)
    segments = source.parent / "segments"
    if source.name != "wav.scp" or not segments.is_file():
        for where, entry in entries:
            yield where, entry, None
        return
    paths = {entry[0]: entry for _, entry in entries}
    for number, line in _lines(segments):
        where, cells = f"segments:{number}", line.split()
        try:
            name, recording, start, end = cells
            span = (float(start), float(end))
        except ValueError:
            findings.add("bad-line", "not id, recording, start, end; left out", where)
            continue
        if recording in paths:
            yield where, (name, *paths[recording][1:]), span
        else:
            findings.add("missing-audio", "recording not in wav.scp; left out", where)


def _sisters(source: Path, findings: Findings) -> dict[str, dict[str, str]]:
    """Read the files beside a ``wav.scp``: field -> id -> value."""
    found: dict[str, dict[str, str]] = {}
    for field, names in SISTERS.items():
        for name in names:
            if (source.parent / name).is_file():
                found[field] = _pairs(source.parent / name, findings)
    genders = source.parent / "spk2gender"
    if genders.is_file() and "speaker" in found:
        by_speaker = _pairs(genders, findings)
        found["gender"] = {
            name: by_speaker[speaker]
            for name, speaker in found["speaker"].items()
            if speaker in by_speaker
        }
    if "gender" in found:
        found["gender"] = {k: GENDERS.get(v.lower(), v) for k, v in found["gender"].items()}
    return found


def _pairs(path: Path, findings: Findings) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, line in _lines(path):
        cells = line.split(maxsplit=1)
        if len(cells) == 2:
            pairs[cells[0]] = cells[1].strip()
        else:
            findings.add("bad-line", f"{path.name}: no value; left out", f"{path.name}:{number}")
    return pairs


CORPUS = Scp()
