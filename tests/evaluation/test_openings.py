"""The record of openings of test: appended, counted, never lost."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from emofuse.errors import WorkError
from emofuse.evaluation.openings import count_openings, read_openings, record_opening


def test_each_opening_is_a_line_with_time_reason_and_size(tmp_path):
    assert count_openings(tmp_path) == 0
    assert read_openings(tmp_path) == ()
    assert record_opening(tmp_path, "train: scores\nof 4 trainings", 90) == 1
    assert record_opening(tmp_path, "explain u001", 1) == 2
    first, second = read_openings(tmp_path)
    assert (first.why, first.utterances) == ("train: scores of 4 trainings", 90)
    assert (second.why, second.utterances) == ("explain u001", 1)
    assert datetime.fromisoformat(first.at) <= datetime.fromisoformat(second.at)
    assert datetime.fromisoformat(first.at).utcoffset().total_seconds() == 0
    assert (tmp_path / "openings.jsonl").read_bytes().count(b"\n") == 2


def test_a_line_cut_short_counts_and_spoils_no_other(tmp_path):
    record_opening(tmp_path, "one", 5)
    with (tmp_path / "openings.jsonl").open("ab") as stream:
        stream.write(b'{"at": "2026-')
    assert record_opening(tmp_path, "three", 5) == 3
    assert [one.why for one in read_openings(tmp_path)] == ["one", "damaged line", "three"]


def test_many_at_once_lose_none(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: record_opening(tmp_path, f"look {n}", n), range(40)))
    found = read_openings(tmp_path)
    assert sorted(one.utterances for one in found) == list(range(40))
    assert all(one.why == f"look {one.utterances}" for one in found)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_keeps_test_closed(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkError, match="not opened without a record"):
        record_opening(tmp_path, "one", 5)


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(WorkError, match=r"openings\.jsonl: No such file"):
        record_opening(tmp_path / "none", "one", 5)
