"""What a task gave, as a value: errors travel by name and message, and are raised again here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emofuse import errors
from emofuse.errors import EmofuseError, WorkError

__all__ = ["Outcome", "attempt"]


@dataclass(frozen=True)
class Outcome:
    """What a task gave.

    Attributes:
        value: its result, where it went well.
        error: name of the exception, where it did not.
        message: its message.
    """

    value: Any = None
    error: str = ""
    message: str = ""

    def get(self) -> Any:
        """Give the result.

        Raises:
            EmofuseError: the error of the task; one of another family comes as `WorkError`.
        """
        if not self.error:
            return self.value
        kind = getattr(errors, self.error, None)
        if isinstance(kind, type) and issubclass(kind, EmofuseError):
            raised = kind.__new__(kind)
            EmofuseError.__init__(raised, self.message)
            raise raised
        raise WorkError(f"a worker failed: {self.error}: {self.message}")


def attempt(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function; give its result, or its error."""
    try:
        return Outcome(function(*arguments))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is told to the caller)
        return Outcome(None, type(error).__name__, str(error))
