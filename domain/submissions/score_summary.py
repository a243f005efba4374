"""Which score of a student item is the highest and which the latest.

Source: edx-submissions, the receiver that keeps ``ScoreSummary``. ``latest`` follows the
order of writing, whatever attempt a score belongs to; a reset starts both afresh.
"""

from typing import NamedTuple


class Points(NamedTuple):
    """What the summary needs to know of a score."""

    earned: int
    possible: int
    reset: bool = False

    @property
    def hidden(self) -> bool:
        """A score out of nothing is not shown, whatever was earned."""
        return self.possible == 0


def replaces_highest(highest: Points | None, new: Points) -> bool:
    """Whether a new score becomes the highest of its student item."""
    if highest is None or new.reset:
        return True
    if new.hidden:
        return False
    return highest.hidden or new.earned / new.possible > highest.earned / highest.possible
