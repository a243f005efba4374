"""How far the event bus is written, and who writes: one row in PostgreSQL, under a lease."""

from consumers.leased import LeasedPosition


class OpenEdxStore(LeasedPosition):
    """The row, over a connection in autocommit mode."""

    TABLE = "openedx_relay"
    # Where nobody has written yet, it begins with what happens from now on.
    BEGIN = "coalesce(position, (SELECT coalesce(max(position), 0) FROM gradelog.events))"

    def save(self, position: int, *, well: bool = False) -> None:
        """Note that everything up to a position is stored, and keep the lease.

        Args:
            position: of the log.
            well: there is nothing to complain about, even if the position stays.

        Raises:
            LeaseLostError: somebody else has taken over; nothing was noted.
        """
        self._save(position, well=well)
