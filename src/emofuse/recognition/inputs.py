"""From what the user names to queries: files, folders, lists, tables, manifests, standard input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from emofuse.corpora.files import VIDEO_EXTENSIONS, Tree, decode_text, read_rows, read_text
from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError, ManifestError, MediaError, OptionError, shorten
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import AUDIO_EXTENSIONS
from emofuse.recognition.query import Query, is_video, looks_like_audio, path_id, video_query

__all__ = ["find_queries", "manifest_queries", "queries_from_bytes"]

AUDIO_COLUMNS = ("audio", "path", "file", "filename", "wav")
VIDEO_COLUMNS = ("video",)
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence")


def find_queries(
    inputs: Sequence[str],
    text: str | None = None,
    *,
    as_list: bool = False,
    stdin: Callable[[], bytes] | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Query]:
    """Find out what to recognise.

    Args:
        inputs: each an audio or video file, a folder (searched at every level), a manifest
            (``.jsonl``), a list (``.txt``: a path a line, or path, tab, text), a table (``.csv``,
            ``.tsv``), or
            ``-`` for standard input. Paths in a list or table start from its folder; those on
            standard input from the working directory.
        text: what is said in the one input; without inputs it is recognised by itself.
        as_list: every input is a list, whatever its name ends in.
        stdin: reads standard input.
        note: told of what was passed over in a folder.

    Raises:
        OptionError: nothing to recognise, or a text for several utterances.
        CorpusError, ManifestError, MediaError: an input that cannot be read at all.
    """
    queries = [query for name in inputs for query in _one(name, as_list, stdin, note)]
    if text is None:
        if not queries:
            raise OptionError("nothing to recognise: give an input, or --text TEXT")
        return queries
    if not text.strip():
        raise OptionError("the text is blank; give words, or leave it out")
    if not queries:
        return [Query("text", text=text)]
    if len(queries) > 1:
        raise OptionError(
            f"one text cannot go with {len(queries)} utterances; "
            "give a list whose lines are path, tab, text"
        )
    only = queries[0]
    return [replace(only, text=text)]


def _one(
    name: str,
    as_list: bool,
    stdin: Callable[[], bytes] | None,
    note: Callable[[str], None],
) -> Iterable[Query]:
    if name == "-":
        if stdin is None:
            raise OptionError("standard input ('-') is not to be had here")
        return queries_from_bytes(stdin())
    path = Path(name)
    suffix = path.suffix.lower()
    if _is_folder(path):
        return _from_folder(path, note)
    if as_list or suffix == ".txt":
        return list(_from_lines(read_text(path), path.parent, str(path)))
    if suffix == ".jsonl":
        return manifest_queries(Manifest.load(path))
    if suffix in (".csv", ".tsv"):
        return list(_from_table(path, "\t" if suffix == ".tsv" else ","))
    return [_ask(path)]


def _ask(audio: Path, text: str | None = None) -> Query:
    return video_query(audio, text) if is_video(audio) else Query(path_id(audio), audio, text=text)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that the system refuses: reading it will say why
        return False


def queries_from_bytes(data: bytes) -> list[Query]:
    """Read what came in on standard input: one audio file, or a list of paths.

    Raises:
        MediaError: neither.
    """
    if not data:
        raise MediaError("standard input is empty; pipe in an audio file or a list of paths")
    if looks_like_audio(data[:16]):
        return [Query("-", data)]
    if b"\0" in data[:4096]:
        kinds = ", ".join(kind.lstrip(".") for kind in AUDIO_EXTENSIONS)
        raise MediaError(f"standard input is neither audio ({kinds}) nor a list of paths")
    return list(_from_lines(decode_text(data), Path(), "standard input"))


def _from_folder(folder: Path, note: Callable[[str], None]) -> list[Query]:
    findings = Findings()
    tree = Tree(folder, findings)
    names = list(tree.having(AUDIO_EXTENSIONS))
    pictures = {name.with_suffix(""): folder / name for name in tree.having(VIDEO_EXTENSIONS)}
    for finding in findings.list():
        note(f"{folder}: {finding.line()}")
    if not names and not pictures:
        looked = " ".join((*AUDIO_EXTENSIONS, *VIDEO_EXTENSIONS))
        raise MediaError(
            f"{folder} holds no audio file at any level, nor a video; looked for {looked}"
        )
    queries = [
        Query(path_id(folder / name), folder / name, video=pictures.pop(name.with_suffix(""), None))
        for name in names
    ]
    return [*queries, *(video_query(path) for path in pictures.values())]


def _from_lines(content: str, folder: Path, where: str) -> Iterator[Query]:
    count = 0
    for line in content.split("\n"):
        name, tab, text = line.rstrip("\r").partition("\t")
        if not line.strip():
            continue
        count += 1
        if not name.strip():
            yield Query(f"{where}:{count}", text=text if tab else None)
            continue
        path, words = folder / name.strip(), text if text.strip() else None
        yield video_query(path, words) if is_video(path) else Query(path_id(path), path, text=words)
    if not count:
        raise MediaError(f"{where} lists nothing; write a path a line, or path, tab, text")


def manifest_queries(manifest: Manifest) -> list[Query]:
    """Ask about every utterance of a manifest."""
    return [_from_utterance(manifest, utterance) for utterance in manifest]


def _from_utterance(manifest: Manifest, utterance: Utterance) -> Query:
    try:
        audio = None if utterance.audio is None else manifest.path(utterance.audio)
        video = None if utterance.video is None else manifest.path(utterance.video)
    except ManifestError as error:
        return Query(utterance.id, error=str(error))
    return Query(
        utterance.id,
        audio,
        utterance.start,
        utterance.end,
        utterance.text,
        video=video,
        speaker=utterance.speaker,
    )


def _from_table(path: Path, delimiter: str) -> Iterator[Query]:
    count = 0
    findings = Findings()
    for number, row in read_rows(path, delimiter, findings):
        cells = {key.strip().lower(): value.strip() for key, value in row.items()}
        audio, text = _first(cells, AUDIO_COLUMNS), _first(cells, TEXT_COLUMNS)
        video = _first(cells, VIDEO_COLUMNS)
        if not count and not set(cells) & {*AUDIO_COLUMNS, *TEXT_COLUMNS, *VIDEO_COLUMNS}:
            raise CorpusError(
                f"{path} has neither a column for audio ({', '.join(AUDIO_COLUMNS)}) nor for text "
                f"({', '.join(TEXT_COLUMNS)}); columns: {', '.join(row)}"
            )
        count += 1
        place = None if audio is None else path.parent / audio
        picture = None if video is None else path.parent / video
        name = cells.get("id") or (f"{path}:{number}" if place is None else path_id(place))
        try:
            start, end = _seconds(cells, "start"), _seconds(cells, "end")
        except ValueError as error:
            yield Query(name, error=f"{path}:{number}: {error}")
            continue
        speaker = cells.get("speaker") or None
        named = [one for one in (place, picture) if one is not None]
        if len(named) == 1:
            found = replace(_ask(named[0], text), id=name, start=start, end=end)
        else:
            found = Query(name, place, start, end, text, video=picture)
        yield replace(found, speaker=speaker)
    for finding in findings.list():
        count += 1
        yield Query(str(path), error=finding.line())
    if not count:
        raise CorpusError(f"{path} lists nothing below its header")


def _first(cells: dict[str, str], names: Sequence[str]) -> str | None:
    return next((cells[name] for name in names if cells.get(name)), None)


def _seconds(cells: dict[str, str], name: str) -> float | None:
    """Read a time.

    Raises:
        ValueError: it is no number of seconds.
    """
    if not cells.get(name):
        return None
    try:
        value = float(cells[name])
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} {shorten(cells[name])} is no number of seconds")
    return value
