"""The options of ``emofuse predict``, those among them that ``listen`` has too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Audio or video files, folders, manifests (.jsonl), lists (.txt: a path a line, "
        "or path, tab, text), tables (.csv, .tsv), or - for standard input.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A run or a bundle; else the one that comes along."),
]
Text = Annotated[str | None, typer.Option(help="What is said; alone, or with one file.")]
TextFile = Annotated[Path | None, typer.Option(help="A file that holds the text.")]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="table, json (a line each) or csv; of a timeline json, csv, srt, vtt, rttm, "
        "audacity or html.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
AsList = Annotated[bool, typer.Option("--list", help="Every input is a list, whatever its name.")]
Encoders = Annotated[
    list[str] | None,
    typer.Option("--encoder", help="MODALITY=PATH, where an encoder of the bundle lies now."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Raw = Annotated[bool, typer.Option("--raw", help="Probabilities as the model gives them, no sets.")]
Corpus = Annotated[
    str | None, typer.Option(help="Calibrate as for speech of this corpus of the bundle.")
]
Strict = Annotated[bool, typer.Option("--strict", help="A bad utterance is fatal.")]
Channels = Annotated[str, typer.Option(help="mix, or each: one answer a channel.")]
Transcribe = Annotated[
    str | None, typer.Option(help="A Whisper model that hears the words: folder or hub name.")
]
Asr = Annotated[str, typer.Option("--asr", help="auto, transformers or faster-whisper.")]
Language = Annotated[
    str | None, typer.Option(help="What is spoken, where Whisper shall not find out.")
]
AsTimeline = Annotated[
    bool, typer.Option("--timeline", help="Cut one long recording into segments.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File of the timeline.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of the timeline, such as window=4.")
]
Turns = Annotated[Path | None, typer.Option(help="Who speaks when (RTTM), for the timeline.")]
