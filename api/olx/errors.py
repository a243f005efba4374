"""Why an archive is refused, what of it is broken, and what is told about it."""

from typing import Final

from domain.errors import InvalidCommandError

MOST_LINES: Final = 500
LONGEST_QUOTE: Final = 120


class CourseImportError(InvalidCommandError):
    """The archive is not taken; nothing was published. The message is one line."""


class BrokenPartError(Exception):
    """A part of the archive cannot be read; the rest can."""


class Report:
    """What was skipped or repaired, in the order in which it was met."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, line: str) -> None:
        """Note one thing once; beyond many only their number is kept."""
        if line in self._lines:
            return
        if len(self._lines) < MOST_LINES:
            self._lines.append(line)
        else:
            self._more += 1

    def lines(self) -> list[str]:
        """All of it."""
        return [*self._lines, *([f"and {self._more} more"] if self._more else [])]


def quoted(text: str) -> str:
    """What an archive says, fit for one line of a terminal."""
    cut = text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"
    return ascii(cut) if not cut.isprintable() else f"'{cut}'"
