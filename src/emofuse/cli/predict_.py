"""``emofuse predict``: emotions of files, folders, lists, texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import typer

from emofuse.cli import adapting
from emofuse.cli import predict_options as given
from emofuse.cli.console import print_table, progress_bar, say
from emofuse.cli.encoders import encoder_places
from emofuse.cli.timeline import write_timeline_of
from emofuse.errors import MediaError, OptionError

if TYPE_CHECKING:
    from emofuse.recognition.adapting.profile import VoiceProfile
    from emofuse.recognition.how import How
    from emofuse.recognition.query import Query
    from emofuse.recognition.recognizer import Recognition, Recognizer
    from emofuse.recognition.transcribe import Transcriber

EXAMPLE = (
    "Example: emofuse predict call.wav --text 'you are late again'. "
    "Your own model: emofuse predict call.wav --model runs/fusion. "
    "A folder: emofuse predict recordings/ -m runs/fusion --format csv > emotions.csv. "
    "Standard input: cat call.wav | emofuse predict - -m runs/fusion"
)
Write = Callable[[Sequence["Recognition"]], None]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("predict", epilog=EXAMPLE)(predict)


def predict(
    inputs: given.Inputs = None,
    *,
    model: given.Model = None,
    text: given.Text = None,
    text_file: given.TextFile = None,
    form: given.Form = None,
    as_json: given.AsJson = False,
    as_list: given.AsList = False,
    encoder: given.Encoders = None,
    device: given.Device = "cpu",
    raw: given.Raw = False,
    corpus: given.Corpus = None,
    strict: given.Strict = False,
    channels: given.Channels = "mix",
    transcribe: given.Transcribe = None,
    asr: given.Asr = "auto",
    language: given.Language = None,
    timeline: given.AsTimeline = False,
    output: given.Output = None,
    settings: given.Settings = None,
    turns: given.Turns = None,
    adapt: adapting.Adapt = None,
    adapt_from: adapting.AdaptFrom = None,
    save_voice: adapting.SaveVoice = None,
    moods: adapting.AssumedMoods = None,
) -> None:
    """Recognise emotions with a trained model, with or without text.

    A bad file is named and counted, and the rest goes on.
    """
    from emofuse.recognition.inputs import find_queries
    from emofuse.recognition.output import check_format
    from emofuse.recognition.recognizer import Recognizer

    form = "json" if as_json else form
    ears = _ears(transcribe, asr, language, device)
    places = encoder_places(encoder or [])

    how = adapting.check_adapt(adapt, timeline)
    sort = adapting.check_moods(moods, how, adapt_from)

    def load() -> tuple[Recognizer, VoiceProfile | None]:
        found = Recognizer.load(model, device, places, raw=raw, corpus=corpus, transcriber=ears)
        if how is not None:
            _ = found.reference  # refuses what cannot be adapted before anything is heard
        return found, adapting.known_voice(found, adapt_from, save_voice)

    if timeline:
        name = _one(inputs or [], text, text_file)
        found, voice = load()
        write_timeline_of(
            found,
            name,
            form or "json",
            channels=channels,
            settings=settings or [],
            turns=turns,
            output=output,
            adapt={} if how is None and voice is None else {"adapt": how or "off", "moods": sort},
            voice=voice,
        )
        return
    if output or settings or turns:
        raise OptionError("--output, --set and --turns go with --timeline")
    form = check_format(form or "table")
    said = _text(text, text_file)
    if save_voice is not None and not inputs and said is None:
        load()
        return
    queries = find_queries(inputs or [], said, as_list=as_list, stdin=_standard_input, note=say)
    found, voice = load()
    if how is not None:
        queries = adapting.with_speakers(queries, how, voice)
    _answer(
        found,
        queries,
        form,
        strict=strict,
        channels=channels,
        adapt=how is not None,
        voice=voice,
        moods=sort,
    )


def _answer(
    recognizer: Recognizer, queries: Sequence[Query], form: str, **how: Unpack[How]
) -> None:
    """Write the answers as they come, and end with a status."""
    write = _writer(form, recognizer)
    failed = 0
    with progress_bar() as progress:
        for answers in _batches(recognizer.recognise_each(queries, progress, **how)):
            write(answers)
            failed += sum(answer.error is not None for answer in answers)
            _remark(answers, recognizer)
    if failed:
        say(f"{failed} of {len(queries)} could not be recognised")
        raise typer.Exit(1)


def _ears(name: str | None, backend: str, language: str | None, device: str) -> Transcriber | None:
    if name is None:
        if backend != "auto" or language is not None:
            raise OptionError("--asr and --language go with --transcribe MODEL")
        return None
    from emofuse.recognition.loading import check_device
    from emofuse.recognition.transcribe import load_transcriber

    return load_transcriber(name, backend, device=check_device(device), language=language)


def _one(inputs: list[str], text: str | None, text_file: Path | None) -> str:
    if text is not None or text_file is not None:
        raise OptionError("a timeline hears its words itself (--transcribe): leave the text out")
    if len(inputs) != 1:
        raise OptionError(f"a timeline is of one recording, not of {len(inputs)}")
    return inputs[0]


def _text(text: str | None, text_file: Path | None) -> str | None:
    if text_file is None:
        return text
    if text is not None:
        raise OptionError("give --text or --text-file, not both")
    from emofuse.corpora.files import read_text

    return read_text(text_file).strip()


def _standard_input() -> bytes:
    limit = 1 << 30
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise MediaError("standard input is over 1 GiB; give the name of the file instead")
    return data


def _batches(answers: Iterator[Recognition], size: int = 64) -> Iterator[list[Recognition]]:
    batch: list[Recognition] = []
    for answer in answers:
        batch.append(answer)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _writer(form: str, recognizer: Recognizer) -> Write:
    from emofuse.recognition.output import CsvWriter, JsonWriter, table_columns, table_rows

    if form == "json":
        return JsonWriter(sys.stdout).write
    if form == "csv":
        return CsvWriter(sys.stdout, recognizer.classes, recognizer.modalities).write
    classes = recognizer.classes

    def draw(answers: Sequence[Recognition]) -> None:
        print_table("", table_columns(classes), table_rows(answers, classes), numeric=3)

    return draw


def _remark(answers: Sequence[Recognition], recognizer: Recognizer) -> None:
    """Say on standard error what went wrong, and once each what to bear in mind."""
    for answer in answers:
        if answer.error is not None:
            known = answer.error.startswith(answer.id)
            say(f"quarantined {answer.error if known else f'{answer.id}: {answer.error}'}")
    unsure = sum(bool(answer.too_unsure) for answer in answers)
    if unsure:
        doubt = recognizer.scoring.doubt()
        say(f"note: {unsure} of {len(answers)} are too unsure, marked with ? ({doubt})")
    counts: dict[str, list[str]] = {}
    for answer in answers:
        for note in answer.notes:
            counts.setdefault(note, []).append(answer.id)
    for note, names in counts.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"note ({names[0]}{more}): {note}")
    for warning in recognizer.take_warnings():
        say(f"note: {warning}")
