"""Tests see tables as wide as where there is no terminal, however many processes run them."""

import os

import pytest

os.environ.pop("COLUMNS", None)

import emofuse.cli.console  # noqa: F401 (it measures its width when first imported)


@pytest.fixture(autouse=True)
def _one_process_unless_asked(monkeypatch):
    """On a busy machine `workers: auto` would start processes, which do not see what is patched."""
    monkeypatch.setattr("emofuse.training.schedule_jobs.START_SECONDS", 1e6)
