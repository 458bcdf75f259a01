"""The command line, called in this process."""

from __future__ import annotations

import io
import sys

import pytest

from emofuse.cli.app import main

Answer = tuple[int, str, str]


def call_emofuse(capfd: pytest.CaptureFixture[str], *words: object, stdin: bytes = b"") -> Answer:
    """Call ``emofuse WORDS...``: status, output, errors; whatever happens, never a traceback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["emofuse", *map(str, words)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        sys.stdout.flush()
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert "internal error" not in err
    return int(caught.value.code or 0), out, err
