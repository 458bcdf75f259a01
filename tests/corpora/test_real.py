"""The readers on real corpora, complete ones and parts; needs a folder of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from emofuse.corpora import CORPORA

pytestmark = pytest.mark.skipif(
    not os.environ.get("EMOFUSE_ASSETS"), reason="EMOFUSE_ASSETS names no folder"
)
ROOT = Path(os.environ.get("EMOFUSE_ASSETS", "")) / "data"


@pytest.mark.parametrize(
    ("name", "total", "speakers"),
    [("emodb", 535, 10), ("ravdess", 1440, 24), ("ased", 2474, 65), ("meld", 13_708, 304)],
)
def test_complete_copies_lack_nothing(name: str, total: int, speakers: int) -> None:
    prepared = CORPORA.load(name).prepare(ROOT / name)
    assert len(prepared.manifest) == total
    assert prepared.counts == dict(prepared.expected)
    assert len({u.speaker for u in prepared.manifest}) == speakers
    assert [finding for finding in prepared.findings if finding.serious] == []


def test_the_readable_parts() -> None:
    for name in ("emodb", "ravdess", "nemo", "ased"):
        manifest = CORPORA.load(name).prepare(ROOT / name).manifest
        assert all(manifest.path(str(u.audio)).is_file() for u in manifest)


def test_nemo_part() -> None:
    prepared = CORPORA.load("nemo").prepare(ROOT / "nemo")
    assert len(prepared.manifest) == 1117
    assert {finding.kind for finding in prepared.findings} == {"count"}
    assert sum(f.count for f in prepared.findings) == 4481 - 1117


def test_meld_parts() -> None:
    manifest = CORPORA.load("meld").prepare(ROOT / "meld").manifest
    splits = Counter(u.split for u in manifest)
    assert splits == {"train": 9989, "dev": 1109, "test": 2610}
    trained = {u.speaker for u in manifest if u.split == "train"}
    seen = [u for u in manifest if u.split == "test" and u.speaker in trained]
    assert len(seen) / 2610 == pytest.approx(0.958, abs=5e-4)


def test_ased_gender() -> None:
    manifest = CORPORA.load("ased").prepare(ROOT / "ased").manifest
    people = {(u.speaker, u.gender) for u in manifest}
    assert Counter(gender for _, gender in people) == {"female": 25, "male": 40}
