"""The verb ``prepare``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emofuse.cli.app import app
from emofuse.errors import LabelError, OptionError
from emofuse.manifest import Manifest


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["prepare", *map(str, words)])


def test_a_manifest_a_table_and_the_findings(grow, tmp_path: Path) -> None:
    root, output = grow("wav/03a01Fa.wav", "wav/03a01La.wav", "wav/x.wav"), tmp_path / "m.jsonl"
    result = call("emodb", root, "-o", output, "--scheme", "basic4")
    assert result.exit_code == 0, result.output
    assert [u.emotion for u in Manifest.load(output)] == ["happiness"]
    assert "127" in result.stdout
    assert "unknown-name: not named like 03a01Fa x 1 (wav/x.wav)" in result.stderr
    assert "dropped by scheme basic4: boredom x 1" in result.stderr
    assert call("emodb", root, "-o", output, "--strict").exit_code == 1


def test_json(grow, tmp_path: Path) -> None:
    output = tmp_path / "m.jsonl"
    result = call("emodb", grow("03a01Fa.wav"), "-o", output, "--json", "--scheme", "emodb7")
    report = json.loads(result.stdout)
    assert report["utterances"] == 1
    assert {"native": "F", "emotion": "happiness", "found": 1, "expected": 71} in report["classes"]
    assert report["after_scheme"] == {"happiness": 1}
    assert any(finding["kind"] == "missing-speaker" for finding in report["findings"])


def test_strict_passes_over_remarks(grow, tmp_path: Path) -> None:
    root = grow("a.wav", "._a.wav", **{"t.csv": "audio,label\na.wav,sad\n"})
    assert call("table", root / "t.csv", "-o", tmp_path / "m.jsonl", "--strict").exit_code == 0


def test_options_and_several_lists(grow, tmp_path: Path) -> None:
    root = grow("wav/a.wav", "wav/b.wav", **{"1.scp": "a a.wav x\n", "2.scp": "b b.wav y\n"})
    output = tmp_path / "m.jsonl"
    result = call(
        "scp", root / "1.scp", root / "2.scp", "-o", output,
        "--option", f"root={root / 'wav'}", "--option", "labels.x=sad",
        "--option", "labels.y=fru",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [(u.id, u.emotion) for u in Manifest.load(output)] == [
        ("a", "sadness"),
        ("b", "frustration"),
    ]


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("emodbb",), OptionError, "did you mean 'emodb'"),
        (("emodb", "--scheme", "basic5"), OptionError, "unknown label scheme"),
        (("emodb", "--option", "a"), OptionError, "key=value"),
        (("ravdess", "--option", "channel=sing"), OptionError, "'speech'"),
    ],
)
def test_wrong_calls(grow, tmp_path: Path, words, error, message: str) -> None:
    name, *rest = words
    result = call(name, grow("03a01Fa.wav"), "-o", tmp_path / "m.jsonl", *rest)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (tmp_path / "m.jsonl").exists()


def test_a_label_outside_the_scheme_is_an_error_with_counts(grow, tmp_path: Path) -> None:
    root = grow("a.wav", "b.wav", **{"t.csv": "audio,label\na.wav,joyous\nb.wav,joyous\n"})
    result = call("table", root / "t.csv", "-o", tmp_path / "m.jsonl", "--scheme", "basic4")
    assert isinstance(result.exception, LabelError)
    assert "'joyous' x 2" in str(result.exception)
