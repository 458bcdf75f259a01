"""API keys: read once, kept as digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from emofuse.errors import OptionError

__all__ = ["ENVIRONMENT", "Keys", "load_keys"]

ENVIRONMENT = "EMOFUSE_API_KEYS"
SHORTEST = 16  # characters; a key that can be guessed is none


class Keys:
    """The keys that open a service.

    Args:
        keys: none = everybody may ask.
    """

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admits(self, given: str | None) -> bool:
        """Tell whether a key opens; every key is compared, whichever fits."""
        if not self._digests:
            return True
        digest = _digest(given or "")
        found = [hmac.compare_digest(digest, one) for one in self._digests]
        return given is not None and any(found)


def load_keys(file: Path | None, environment: Mapping[str, str]) -> Keys:
    """Read the keys of a file (one a line; ``#`` begins a comment) and of the environment.

    Raises:
        OptionError: the file cannot be read or holds no key, or a key is too short.
    """
    keys = [key.strip() for key in environment.get(ENVIRONMENT, "").split(",") if key.strip()]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise OptionError(f"cannot read the API keys in {file}: {reason}") from error
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise OptionError(f"{file} holds no API key; write one a line")
        keys += found
    short = sum(len(key) < SHORTEST for key in keys)
    if short:
        raise OptionError(
            f"{short} of {len(keys)} API keys have under {SHORTEST} characters; make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(24))"'
        )
    return Keys(tuple(keys))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
