"""What a reader noticed: every file or line that it left out or could not complete, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from emofuse.errors import LabelError, shorten
from emofuse.manifest import Utterance
from emofuse.options import Options

__all__ = ["Finding", "Findings", "Kind"]

Kind = Literal[
    "count",
    "missing-speaker",
    "missing-session",
    "missing-audio",
    "missing-text",
    "missing-table",
    "known-bad",
    "ghost",
    "link",
    "unknown-name",
    "unlisted",
    "unlabelled",
    "duplicate",
    "conflict",
    "bad-line",
    "left-out",
    "note",
]
"""What a finding is about."""

MAX_EXAMPLES = 5
NUMBER = re.compile(
    r"\d+(?:\.\d+)?"
)  # taken out of messages, so that equal mistakes count together


class Finding(Options):
    """One kind of thing that was noticed.

    Attributes:
        kind: what it is about.
        message: one line.
        count: how often.
        examples: the first few, by name.
        serious: False for a remark that a complete copy brings too (a file that is known to be
            broken in the published corpus, a part left out on request).
    """

    kind: Kind
    message: str
    count: int
    examples: tuple[str, ...] = ()
    serious: bool = True

    def line(self) -> str:
        """Give the finding on one line.

        >>> Finding(kind="ghost", message="not audio", count=7, examples=("._a.wav",)).line()
        'ghost: not audio x 7 (._a.wav, ...)'
        """
        shown = ", ".join(self.examples)
        more = ", ..." if self.examples and self.count > len(self.examples) else ""
        where = f" ({shown}{more})" if shown else ""
        return f"{self.kind}: {self.message} x {self.count}{where}"


class Findings:
    """Collects findings while a corpus is read; equal ones are counted together."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str], tuple[bool, int, list[str]]] = {}
        self._unknown: Counter[str] = Counter()
        self.bad_classes: Counter[str] = Counter()

    def add(
        self,
        kind: Kind,
        message: str,
        example: str = "",
        *,
        serious: bool = True,
        count: int = 1,
    ) -> None:
        """Count one thing.

        Args:
            kind: what it is about.
            message: one line; things with the same kind and message are counted together.
            example: the name of the file or line.
            serious: see `Finding`.
            count: how many at once.
        """
        _, known, examples = self._found.get((kind, message), (serious, 0, []))
        if example and len(examples) < MAX_EXAMPLES:
            examples.append(_printable(example))
        self._found[kind, message] = (serious, known + count, examples)

    def known_bad(self, name: str, reason: str, native: str | None = None) -> None:
        """Count a file that is broken as published; its class still counts as present."""
        self.add("known-bad", f"{reason}; left out", name, serious=False)
        if native is not None:
            self.bad_classes[native] += 1

    def word(self, native: str, labels: Mapping[str, str]) -> str | None:
        """Give the vocabulary's word of a native label; an unknown one is remembered (None)."""
        if native not in labels:
            self._unknown[native] += 1
            return None
        return labels[native]

    def utterance(self, where: str, **fields: Any) -> Utterance | None:
        """Make an utterance; one that breaks a rule is counted as a bad line (None)."""
        try:
            return Utterance.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = NUMBER.sub("…", first["msg"].removeprefix("Value error, "))
            place = ".".join(str(part) for part in first["loc"])
            self.add("bad-line", f"{place + ': ' if place else ''}{reason}; left out", where)
            return None

    def check_labels(self, corpus: str, labels: Mapping[str, str]) -> None:
        """Refuse native labels that the reader does not know.

        Raises:
            LabelError: names each with its count.
        """
        if self._unknown:
            found = ", ".join(f"{shorten(name, 40)} x {n}" for name, n in self._unknown.items())
            raise LabelError(
                f"{corpus} has no native label {found}; legal: {', '.join(labels)}; "
                "repair the names, or list the files in a table of your own"
            )

    def check_counts(self, counts: Mapping[str, int], expected: Mapping[str, int]) -> None:
        """Compare what was found with what a complete copy has, class by class."""
        for native, wanted in expected.items():
            found = counts.get(native, 0)
            if found < wanted:
                message = f"{native}: {found} of {wanted} found, lacking"
                self.add("count", message, count=wanted - found)
            elif found > wanted:
                message = f"{native}: {found} found, more than the published {wanted} by"
                self.add("count", message, count=found - wanted)

    def check_members(
        self, kind: Literal["missing-speaker", "missing-session"], have: Iterable[str | None],
        wanted: Iterable[str],
    ) -> None:  # fmt: skip
        """Name the speakers or sessions of the published corpus that were not found."""
        present = set(have)
        for name in wanted:
            if name not in present:
                self.add(kind, "not in this copy", name)

    def list(self) -> tuple[Finding, ...]:
        """Every finding, the serious ones first."""
        found = [
            Finding(kind=kind, message=message, count=n, examples=tuple(examples), serious=serious)
            for (kind, message), (serious, n, examples) in self._found.items()
        ]
        return tuple(sorted(found, key=lambda finding: not finding.serious))


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
