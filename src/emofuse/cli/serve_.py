"""``emofuse serve``: a recogniser behind HTTP and WebSocket, and its page."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from emofuse.cli.console import say
from emofuse.cli.encoders import encoder_places
from emofuse.errors import MissingExtraError
from emofuse.server.options import ServerOptions

EXAMPLE = (
    "Example: emofuse serve runs/fusion, then open http://127.0.0.1:8000. For other machines: "
    "emofuse serve runs/fusion --host 0.0.0.0 --keys-file keys.txt"
)
Model = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="A run or a bundle; else the default one.")
]
Transcribe = Annotated[
    str | None, typer.Option(help="A Whisper model that hears the words: folder or hub name.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Encoder = Annotated[
    list[str] | None, typer.Option(help="MODALITY=PATH, where an encoder of the bundle lies now.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve", epilog=EXAMPLE)(_command())


def serve(
    model: str | None,
    transcribe: str | None,
    device: str,
    encoder: list[str] | None,
    **given: object,
) -> None:
    """Answer over HTTP and WebSocket, and show a page to try it on.

    It listens on this machine alone unless told. SIGTERM or Ctrl-C ends it after it has answered
    what it accepted.
    """
    options = ServerOptions.parse(given, "serve")
    try:
        from emofuse.server.keys import load_keys
        from emofuse.server.logs import write_logs
        from emofuse.server.running import check_open, run
        from emofuse.server.service import Service
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "server") from error
    from emofuse.encoders.workers import processors
    from emofuse.recognition.recognizer import Recognizer

    keys = load_keys(options.keys_file, os.environ)
    check_open(options, keys)
    found = Recognizer.load(
        model,
        device,
        encoder_places(encoder or []),
        transcriber=transcribe,
        precision=options.precision,
        lanes=options.lanes or processors(),
    )
    write_logs()
    run(Service(found, options, keys), lambda address: say(f"listening at {address}"))


def _command() -> Callable[..., None]:
    """Give `serve` one option a field of `ServerOptions`, with its default and its help."""

    def command(**given: Any) -> None:
        many = {key: tuple(value or ()) for key, value in given.items() if key in _LISTS}
        serve(**{**given, **many})

    kinds: dict[str, tuple[Any, object]] = {
        "model": (Model, None),
        "transcribe": (Transcribe, None),
        "device": (Device, "cpu"),
        "encoder": (Encoder, None),
    }
    kinds |= {name: _option(name, one) for name, one in ServerOptions.model_fields.items()}
    command.__doc__ = serve.__doc__
    command.__annotations__ = {name: kind for name, (kind, _) in kinds.items()}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in kinds.items()
        ]
    )
    return command


_LISTS = tuple(
    name for name, one in ServerOptions.model_fields.items() if one.annotation == tuple[str, ...]
)


def _option(name: str, field: FieldInfo) -> tuple[Any, object]:
    dashed = f"--{name.replace('_', '-')}"
    if name in _LISTS:
        many = typer.Option(dashed, help=f"{field.description} May be repeated.")
        return Annotated[list[str] | None, many], None
    if field.annotation is bool and field.default is True:
        dashed = f"{dashed}/--no-{name}"
    return Annotated[field.annotation, typer.Option(dashed, help=field.description)], field.default
