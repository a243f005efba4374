"""Opens what identifies people in their events, for read models that find people by it.

In the log it is sealed with the person's own key. A read model holds it open, because it is
searched; whoever is erased is folded anew, without it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from psycopg import Connection

from domain.errors import KeyDestroyedError
from domain.events import Event, Recorded, made
from domain.learners.user import (
    UserProfileChanged,
    UserRegistered,
    email_context,
    full_name_context,
)
from infra.postgres import Row
from infra.vault import Vault

_PERSONAL: Final[frozenset[type[Event]]] = frozenset({UserRegistered, UserProfileChanged})


def is_personal(event: Event) -> bool:
    """Whether something in an event is to be opened."""
    return type(event) in _PERSONAL


def with_personal(
    db: Connection[Row], events: Sequence[Recorded], vault: Vault | None
) -> Sequence[Recorded]:
    """The same events with addresses and names opened; None where they cannot be."""
    found = [n for n, recorded in enumerate(events) if is_personal(recorded.event)]
    if not found:
        return events
    opened = list(events)
    sealed = []
    for n in found:
        event = events[n].event
        assert isinstance(event, UserRegistered | UserProfileChanged)
        sealed += [text for text in (event.email, event.full_name) if text is not None]
    if vault is not None and sealed:
        vault.load_sync(db, sealed)
    for n in found:
        opened[n] = replace(events[n], event=_opened(events[n].event, vault))
    return opened


def _opened(event: Event, vault: Vault | None) -> Event:
    assert isinstance(event, UserRegistered | UserProfileChanged)
    values = {
        **vars(event),
        "email": _open(vault, event.email, email_context(event.user_id)),
        "full_name": _open(vault, event.full_name, full_name_context(event.user_id)),
    }
    return made(type(event), values)


def _open(vault: Vault | None, sealed: str | None, context: str) -> str | None:
    if vault is None or sealed is None:
        return None
    try:
        return vault.open(sealed, context)
    except KeyDestroyedError:
        return None
