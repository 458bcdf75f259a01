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
    "train",
    "report",
    "compare",
    "predict",
    "demo",
)
"""Every verb, in the order of work; ``cli/<verb>_.py`` holds ``register(app)``."""

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
    try:
        app()
    except EmofuseError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept, run the same command to go on")
        sys.exit(130)
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (for the last flush)
        sys.exit(0)
    except OSError as error:
        complain(f"{error.filename or 'system'}: {error.strerror or error}")
        sys.exit(1)
    except MemoryError:
        complain("out of memory; take smaller batches or fewer frames")
        sys.exit(1)
    except Exception as error:
        if os.environ.get("EMOFUSE_DEBUG"):
            raise
        detail = " ".join(str(error).split())[:300]
        complain(
            f"internal error, please report it: {type(error).__name__}: {detail} "
            "(EMOFUSE_DEBUG=1 shows where)"
        )
        sys.exit(1)
