"""Small trees made to the published layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from emofuse.corpora.contract import Prepared


@pytest.fixture
def grow(tmp_path: Path) -> Callable[..., Path]:
    """Make files under a folder: names alone are empty files, pairs hold text or bytes."""

    def make(*names: str, **contents: str | bytes) -> Path:
        root = tmp_path / "corpus"
        for name, content in {**dict.fromkeys(names, b""), **contents}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return make


@pytest.fixture
def kinds() -> Callable[[Prepared], dict[str, int]]:
    """Count findings by kind, the comparison with a complete copy left aside."""

    def count(prepared: Prepared) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for finding in prepared.findings:
            if finding.kind not in ("count", "missing-speaker", "missing-session"):
                counts[finding.kind] += finding.count
        return dict(counts)

    return count
