"""The manual: its table of options is made from the fields, its examples run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emofuse.server.options import ServerOptions
from emofuse.server.problems import CODES

MANUAL = Path(__file__).parents[2] / "docs" / "serve.md"


def options_table() -> str:
    """Write the options as the manual shows them."""
    rows = ["| option | default | |", "|---|---|---|"]
    for name, field in ServerOptions.model_fields.items():
        default = field.default
        shown = "none" if default in (None, ()) else f"{default:g}" if _number(default) else default
        shown = (
            {True: "on", False: "off"}.get(default, shown) if default in (True, False) else shown
        )
        rows.append(f"| `{name.replace('_', '-')}` | {shown} | {field.description} |")
    return "\n".join(rows)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_the_table_of_options_is_that_of_the_fields():
    assert options_table() in MANUAL.read_text()


def test_the_table_of_errors_is_that_of_the_codes():
    for code, (status, meaning) in CODES.items():
        assert f"| `{code}` | {status} | {meaning} |" in MANUAL.read_text()


@pytest.fixture
def home(tmp_path, clip, meeting, monkeypatch) -> Path:
    for name, data in {"call.wav": clip, "other.wav": clip, "meeting.wav": meeting}.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", MANUAL.read_text(), re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_examples_for_curl_run(address, home):
    lines = [line for one in examples("sh") for line in one.splitlines() if line.startswith("curl")]
    assert len(lines) == 5
    for line in lines:
        command = line.replace("http://127.0.0.1:8000", address).replace("curl", "curl -sf", 1)
        done = subprocess.run(
            ["/bin/bash", "-c", command], cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        assert "emotion" in done.stdout or "anger" in done.stdout


def test_the_example_for_python_runs(address, home, voices, capsys):
    code = examples("python")[0].replace("http://127.0.0.1:8000", address)
    exec(compile(code, "serve.md", "exec"), {"chunks": [voices["long"]]})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 4
