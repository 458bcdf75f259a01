"""What readers of the user's own lists share: where paths start, which files are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError, shorten
from emofuse.labels import canonical
from emofuse.manifest import check_relative

__all__ = ["SPLITS", "ListedFiles", "native_label", "own_word", "root_of"]

SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "evaluation": "dev",
    "test": "test",
}
"""Names of parts in use, and what each is called here."""


def root_of(option: str | None, source: Path) -> Path:
    """Give the folder that listed paths start from: the option, else the list's own folder.

    Raises:
        CorpusError: it is no folder.
    """
    root = Path(option) if option is not None else source.parent
    if not root.is_dir():
        raise CorpusError(f"root {shorten(str(root))} is no folder")
    return root


def native_label(value: object) -> str | None:
    """Write a label as text; a blank one is none."""
    text = "" if value is None else str(value).strip()
    return text or None


def own_word(native: str | None, labels: Mapping[str, str]) -> str | None:
    """Give the word of a label of the user's own: through ``labels``, else as it is written.

    A word outside the vocabulary is kept; the label scheme decides about it.
    """
    return None if native is None else canonical(labels.get(native, native))


class ListedFiles:
    """Makes listed paths relative to the root, and looks whether the files are there.

    Args:
        root: folder that relative paths start from.
        findings: where missing and outside files are counted.

    Attributes:
        listed, missing: how many files were named, and how many of them are not there.
    """

    def __init__(self, root: Path, findings: Findings) -> None:
        self.root = root
        self.findings = findings
        self.listed = 0
        self.missing = 0
        self._first_missing = ""

    def find(self, text: str, where: str, has_text: bool) -> str | None:
        """Give the relative path of a listed file, or None, counted, where it cannot be used."""
        self.listed += 1
        try:
            relative = self._relative(text)
        except ValueError as error:
            self.findings.add("bad-line", f"{error}; left out", where)
            return None
        if not _is_file(self.root / relative):
            self.missing += 1
            self._first_missing = self._first_missing or relative
            kept = "text kept" if has_text else "left out"
            self.findings.add("missing-audio", f"listed file is not there, {kept}", relative)
            return None
        return relative

    def check(self) -> None:
        """Refuse a list of which no file is there.

        Raises:
            CorpusError: says where paths started.
        """
        if self.listed and self.missing == self.listed:
            raise CorpusError(
                f"none of the {self.listed:,} listed files is under {self.root} (first: "
                f"{shorten(self._first_missing)}); say where paths start: --option root=DIR"
            )

    def _relative(self, text: str) -> str:
        path = text.strip()
        if Path(path).is_absolute():
            path = self._from_absolute(Path(path))
        elif "\\" in path and "\0" not in path and not _is_file(self.root / path):
            path = path.replace("\\", "/")
        check_relative(path)
        return PurePosixPath(path).as_posix()

    def _from_absolute(self, path: Path) -> str:
        if "\0" in str(path):
            raise ValueError("a path holds no NUL")
        for base in (self.root.absolute(), self.root.resolve()):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        raise ValueError(
            f"the path lies outside the root {self.root} (say where paths start: --option root=DIR)"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
