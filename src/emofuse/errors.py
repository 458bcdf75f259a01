"""Every error emofuse raises on purpose.

::

    EmofuseError                 the root: catch this
    ├── UsageError               the call is wrong (exit status 2)
    │   ├── OptionError          an unknown key, name or value
    │   └── MissingExtraError    an optional dependency is not installed
    └── WorkError                the work failed (exit status 1)
        ├── ManifestError        a manifest or one of its lines
        ├── LabelError           a label outside the scheme
        ├── CorpusError          a corpus folder that lacks something
        ├── MediaError           an audio or video file that cannot be used
        ├── ProtocolError        folds that cannot be made, or that leak
        ├── FeatureError         stored or imported features
        ├── EncoderError         an encoder that cannot be loaded or run
        ├── TrainingError        a run that cannot go on
        └── BundleError          a model bundle that cannot be loaded

The message is one line: what was found, what is legal, what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BundleError",
    "CorpusError",
    "EmofuseError",
    "EncoderError",
    "FeatureError",
    "LabelError",
    "ManifestError",
    "MediaError",
    "MissingExtraError",
    "OptionError",
    "ProtocolError",
    "TrainingError",
    "UsageError",
    "WorkError",
    "nearest_hint",
    "shorten",
]


class EmofuseError(Exception):
    """Root of all errors raised on purpose; ``str(error)`` is one line."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UsageError(EmofuseError):
    """The call is wrong: a bad argument, option or recipe."""

    exit_code = 2


class OptionError(UsageError):
    """An unknown key, an unknown name or an illegal value."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed.

    Args:
        package: the import that failed.
        extra: the extra of emofuse that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'emofuse[{extra}]'")


class WorkError(EmofuseError):
    """The call is right but the work failed."""


class ManifestError(WorkError):
    """A manifest, or one of its lines, cannot be used."""


class LabelError(WorkError):
    """An emotion label that the scheme neither names, merges nor drops."""


class CorpusError(WorkError):
    """A corpus folder is not what its reader expects."""


class MediaError(WorkError):
    """An audio or video file cannot be used."""


class ProtocolError(WorkError):
    """Folds that cannot be made, or that overlap where they must not."""


class FeatureError(WorkError):
    """Stored or imported features that cannot be used."""


class EncoderError(WorkError):
    """An encoder that cannot be loaded or run."""


class TrainingError(WorkError):
    """A run that cannot go on."""


class BundleError(WorkError):
    """A model bundle that cannot be read."""


def shorten(value: object, limit: int = 80) -> str:
    """Show a value in a message: quoted, on one line, at most ``limit`` characters.

    >>> shorten("a" * 10, limit=6)
    "'aaa…'"
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    closing = text[-1] if text[-1] in "'\"" else ""
    return text[: limit - 1 - len(closing)] + "…" + closing


def nearest_hint(value: str, legal: Iterable[str], limit: int = 12) -> str:
    """Name the legal values, the nearest one first.

    >>> nearest_hint("angre", ["anger", "sadness"])
    "did you mean 'anger'? legal: anger, sadness"
    """
    names = sorted(legal)
    lower = {name.lower(): name for name in names}
    close = get_close_matches(value.lower(), list(lower), n=1, cutoff=0.6)
    listed = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    hint = f"did you mean {lower[close[0]]!r}? " if close else ""
    return f"{hint}legal: {listed or '(none)'}"
