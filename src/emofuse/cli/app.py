"""The command ``emofuse``: one thin module a verb."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import typer

from emofuse.cli.console import complain
from emofuse.errors import EmofuseError

VERBS = (
    "list",
    "prepare",
    "import",
    "doctor",
    "audit",
    "encode",
    "adapt",
    "train",
    "search",
    "transfer",
    "ablate",
    "reproduce",
    "probe",
    "evaluate",
    "report",
    "compare",
    "explain",
    "predict",
    "listen",
    "export",
    "serve",
    "demo",
)
"""Every verb, in the order of work; ``cli/<verb>_.py`` holds ``register(app)``."""

# Typer brings click along or depends on it, by version: take the root from what it exports.
ClickException: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)

app = typer.Typer(
    name="emofuse",
    help="Multimodal speech emotion recognition: numbers that can be believed, "
    "models that run on your file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and leave."),
) -> None:
    if version:
        from emofuse import __version__

        typer.echo(f"emofuse {__version__}")
        raise typer.Exit


for _verb in VERBS:
    if find_spec(f"emofuse.cli.{_verb}_") is not None:
        import_module(f"emofuse.cli.{_verb}_").register(app)


def main() -> None:
    """Run the command line; a mistake is one clear line and a status, never a traceback."""
    sys.exit(_run())


def _run() -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except EmofuseError as error:
        return _fail(str(error), error.exit_code)
    except ClickException as error:
        return _misuse(error)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; what is finished is kept, run the same command to go on", 130)
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (for the last flush)
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except MemoryError:
        return _fail("out of memory; take smaller batches or fewer frames", 1)
    except Exception as error:
        if os.environ.get("EMOFUSE_DEBUG"):
            raise
        detail = " ".join(str(error).split())[:300]
        where = "EMOFUSE_DEBUG=1 shows where"
        return _fail(
            f"internal error, please report it: {type(error).__name__}: {detail} ({where})", 1
        )


def _fail(message: str, status: int) -> int:
    complain(message)
    return status


def _misuse(error: Exception) -> int:
    message = str(getattr(error, "format_message", error.__str__)())
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return 2
    return _fail(f"{' '.join(message.split()).rstrip('.')} ({_help_hint()})", 2)


def _help_hint() -> str:
    verb = next((word for word in sys.argv[1:] if word in VERBS), "")
    return f"see: emofuse {verb} --help" if verb else "see: emofuse --help"
