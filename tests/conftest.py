"""Tests see tables as wide as where there is no terminal, however many processes run them."""

import os

os.environ.pop("COLUMNS", None)

import emofuse.cli.console  # noqa: F401 (it measures its width when first imported)
