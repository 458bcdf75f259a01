"""Overlapping windows over a stretch of speech, each as soon as it is settled."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Window", "WindowPlan"]


@dataclass(frozen=True)
class Window:
    """What the model sees at once, and what it speaks for.

    Attributes:
        start, end: samples that are seen.
        first, until: samples that it speaks for: up to half-way between its middle and the next
            one's, so that the windows of a stretch speak for all of it, once.
        last: whether the stretch ends with it.
        cut: whether the next stretch goes straight on.
    """

    start: int
    end: int
    first: int
    until: int
    last: bool = False
    cut: bool = False


class WindowPlan:
    """Windows over one stretch.

    A window is held back until the next is known, because that decides how far it speaks. The last
    one ends with the stretch and so may overlap more.

    Args:
        start: sample where the stretch begins.
        window: samples of a window.
        hop: samples from one window to the next.
    """

    def __init__(self, start: int, window: int, hop: int) -> None:
        self.start, self._window, self._hop = start, window, hop
        self._next = start
        self._held: int | None = None  # start of the window that is held back
        self._spoken = start

    @property
    def needed(self) -> int:
        """First sample that is still needed, whatever comes."""
        return max(self.start, self._next - self._hop - self._window)

    def reach(self, end: int) -> list[Window]:
        """Give the windows that are settled now that the stretch reaches ``end``."""
        found: list[Window] = []
        while self._next + self._window <= end:
            if self._held is not None:
                found.append(self._speak(self._held, self._middle(self._held, self._next)))
            self._held = self._next
            self._next += self._hop
        return found

    def close(self, end: int, *, cut: bool = False) -> list[Window]:
        """Give the windows that are left now that the stretch ends at ``end``."""
        found = self.reach(end)
        held = self._held
        if held is None:
            found.append(Window(self.start, end, self.start, end, last=True, cut=cut))
        elif held + self._window >= end:
            found.append(self._speak(held, end, last=True, cut=cut))
        else:
            final = end - self._window
            found.append(self._speak(held, self._middle(held, final)))
            found.append(self._speak(final, end, last=True, cut=cut))
        return found

    def _middle(self, one: int, other: int) -> int:
        return (one + other + self._window) // 2

    def _speak(self, start: int, until: int, *, last: bool = False, cut: bool = False) -> Window:
        first, self._spoken = self._spoken, until
        return Window(start, start + self._window, first, until, last, cut)
