"""What operators are told of an error that others than programmers may read."""

from typing import Final

import psycopg

LONGEST_ERROR: Final = 1000


def in_one_line(error: Exception, *, named: bool = True) -> str:
    """What is wrong. Of a server error only what it says itself: its details hold values of rows.

    ``named``: with the name of its class in front.
    """
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        text = error.diag.message_primary
    if named:
        text = f"{type(error).__name__}: {text}"
    return " ".join(text.split())[:LONGEST_ERROR]
