"""Durable files and late-loading names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from emofuse.errors import OptionError, WorkError, nearest_hint, shorten
from emofuse.registry import Registry
from emofuse.storage import atomic_path, read_json, sha256_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="boom"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ValueError("boom")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkError, match="cannot write .*choose another place"):
        write_text(tmp_path / "file" / "below.txt", "x")


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    write_json(tmp_path / "j.json", {"ü": [1, 2.5, None]})
    assert read_json(tmp_path / "j.json") == {"ü": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "nan.json", float("nan"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(WorkError, match="is not JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(WorkError, match="cannot read"):
        read_json(tmp_path / "none.json")


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


def test_registry_names_the_nearest() -> None:
    registry = Registry("tool", {"join": "os.path:join"})
    assert registry.names() == ("join",)
    assert "join" in registry
    with pytest.raises(OptionError, match="unknown tool 'jion'; did you mean 'join'"):
        registry.load("jion")


def test_messages_are_short_and_name_the_nearest() -> None:
    assert len(shorten("x" * 500)) == 80
    assert nearest_hint("zzz", []) == "legal: (none)"
    assert nearest_hint("b", "abc") == "did you mean 'b'? legal: a, b, c"
