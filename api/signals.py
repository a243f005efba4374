"""In-process signals: who wants to know of a score in the very call that set it.

Source: edx-submissions, ``submissions.models`` (``score_set`` and ``score_reset``): sent
after the score is stored, synchronously; a receiver's exception reaches the caller. Other
processes hear of the same facts from the log.
"""

from collections.abc import Callable
from typing import Any

Receiver = Callable[..., Any]


class Signal:
    """Calls its receivers, in the order in which they were connected."""

    def __init__(self) -> None:
        self._receivers: list[Receiver] = []

    def connect(self, receiver: Receiver) -> Receiver:
        """Call the receiver with ``sender`` and the fields as keywords from now on."""
        if receiver not in self._receivers:
            self._receivers.append(receiver)
        return receiver

    def disconnect(self, receiver: Receiver) -> bool:
        """Call it no more; return whether it was connected."""
        if receiver not in self._receivers:
            return False
        self._receivers.remove(receiver)
        return True

    def send(self, sender: object, **fields: Any) -> list[tuple[Receiver, Any]]:
        """Call all receivers; return what each answered."""
        return [(receiver, receiver(sender=sender, **fields)) for receiver in self._receivers]


score_set = Signal()
"""Fields: points_possible, points_earned, anonymous_user_id, course_id, item_id, created_at."""

score_reset = Signal()
"""Fields: anonymous_user_id, course_id, item_id, created_at."""
