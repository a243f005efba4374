"""The vault: what learners wrote, encrypted with a key for each learner.

A sealed text is ``1:`` and the base64 of key id (16 bytes), nonce (12) and AES-256-GCM
ciphertext. The context (which submission, which score) is authenticated with it, so a
sealed text copied elsewhere does not open. Keys live in a table of their own, outside the
log, wrapped by the master key when there is one; without its key a sealed text is noise.
A key that was destroyed leaves a row that says so; one without a row was lost.
"""

import base64
import hashlib
import os
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)
from psycopg import AsyncConnection, Connection

from domain.errors import KeyDestroyedError, UnavailableError
from infra.batching import Batcher
from infra.postgres import Row, Session, fetch_all

_PREFIX: Final = "1:"
_KEY_ID, _NONCE = 16, 12
CACHED_KEYS: Final = 50_000

FIND_BY_SUBJECT: Final = """
SELECT subject, key_id, key, wrapped_by FROM gradelog.learner_keys WHERE subject = ANY (%s::text[])
"""
FIND_BY_ID: Final = """
SELECT subject, key_id, key, wrapped_by FROM gradelog.learner_keys WHERE key_id = ANY (%s::uuid[])
"""
# Finds the keys of subjects and makes those that are missing, at once. A key that another
# process makes at the same moment is in neither part.
FIND_OR_MAKE: Final = """
WITH made AS (
    INSERT INTO gradelog.learner_keys (subject, key_id, key, wrapped_by)
    SELECT * FROM unnest(%b::text[], %b::uuid[], %b::bytea[], %b::text[])
    ON CONFLICT (subject) DO NOTHING
    RETURNING subject, key_id, key, wrapped_by
)
SELECT * FROM made
UNION ALL
SELECT subject, key_id, key, wrapped_by FROM gradelog.learner_keys WHERE subject = ANY (%b::text[])
"""


class VaultError(Exception):
    """A sealed text or a key does not open as it should."""


class KeysMissingError(VaultError, UnavailableError):
    """Keys are neither there nor destroyed: they were lost, or are elsewhere.

    Its text names no learner, server or user: anybody may read it.
    """

    def __init__(self, key_ids: Iterable[UUID]) -> None:
        first, *others = sorted(key_ids)
        also = f" and {len(others)} more" if others else ""
        super().__init__(
            f"the learners' key {first}{also} is neither in the database of the keys nor was it"
            " destroyed: that is another database, or its keys were not restored"
        )


class Vault:
    """Seals and opens; keys are cached, so most calls need no database.

    Sealing is for the tasks of one event loop; opening is for any thread.
    """

    def __init__(self, dsn: str, *, master_key: bytes | None = None, timeout: float = 10.0) -> None:
        """Make a vault.

        Args:
            dsn: database of the keys.
            master_key: 32 bytes that wrap every key; keys are stored bare when None.
            timeout: seconds for one look-up.
        """
        self._session = Session(dsn, statement_timeout=timeout, application_name="gradelog vault")
        self._timeout = timeout
        self._master = master_key
        self._master_id = hashlib.sha256(master_key).hexdigest()[:16] if master_key else None
        self._by_subject: OrderedDict[str, UUID] = OrderedDict()
        self._by_id: OrderedDict[bytes, AESGCM] = OrderedDict()
        self._subject_batches = Batcher(self._keys_of)

    async def close(self) -> None:
        """Close the connection to the keys."""
        await self._session.close()

    async def seal(self, subject: str, text: str, context: str) -> str:
        """Encrypt text with the subject's key, which is made when there is none.

        Raises:
            UnavailableError: the keys cannot be reached.
        """
        key_id = self._by_subject.get(subject)
        if key_id is None or key_id.bytes not in self._by_id:
            key_id = await self._subject_batches(subject)
        nonce = os.urandom(_NONCE)
        ciphertext = self._by_id[key_id.bytes].encrypt(nonce, text.encode(), context.encode())
        return _PREFIX + base64.b64encode(key_id.bytes + nonce + ciphertext).decode()

    def open(self, sealed: str, context: str) -> str:
        """Decrypt a text whose key was loaded before with ``load`` or ``load_sync``.

        Raises:
            KeyDestroyedError: there is no such key any more.
            VaultError: the text was changed, or belongs to another context.
        """
        raw = base64.b64decode(sealed[len(_PREFIX) :])
        key = self._by_id.get(raw[:_KEY_ID])
        if key is None:
            raise KeyDestroyedError("the key of this text was destroyed")
        try:
            plain = key.decrypt(
                raw[_KEY_ID : _KEY_ID + _NONCE], raw[_KEY_ID + _NONCE :], context.encode()
            )
        except InvalidTag:
            raise VaultError(f"a sealed text does not belong to {context}") from None
        return plain.decode()

    def missing(self, sealed: Iterable[str]) -> list[UUID]:
        """Which keys have to be loaded before these texts can be opened."""
        found = set()
        for text in sealed:
            key_id = base64.b64decode(text[2:26])[:_KEY_ID]  # 24 characters hold 18 bytes
            try:
                # Used last: what is loaded for the others must not push it out.
                self._by_id.move_to_end(key_id)
            except KeyError:
                found.add(key_id)
        return [UUID(bytes=key_id) for key_id in found]

    async def load(self, sealed: Iterable[str]) -> None:
        """Load the keys of these texts; destroyed ones stay missing.

        Raises:
            KeysMissingError: some are not there, although nobody destroyed them.
            UnavailableError: the keys cannot be reached.
        """
        if wanted := self.missing(sealed):

            async def ask(connection: AsyncConnection[Row]) -> list[Row]:
                return await fetch_all(connection, FIND_BY_ID, (wanted,))

            self._take_in(wanted, await self._session.run(ask, within=self._timeout))

    def load_sync(self, db: Connection[Row], sealed: Iterable[str]) -> None:
        """The same over a connection of the calling thread."""
        if wanted := self.missing(sealed):
            self._take_in(wanted, db.execute(FIND_BY_ID, (wanted,)).fetchall())

    async def _keys_of(self, subjects: Sequence[str]) -> Sequence[UUID]:
        wanted = sorted(set(subjects))  # in one order: two processes must not wait in a ring

        async def ask(connection: AsyncConnection[Row]) -> list[Row]:
            keys = [self._wrapped(AESGCM.generate_key(256)) for _ in wanted]
            ids = [uuid.uuid4() for _ in wanted]
            wrapped_by = [self._master_id] * len(wanted)
            rows = await fetch_all(
                connection, FIND_OR_MAKE, (wanted, ids, keys, wrapped_by, wanted)
            )
            found = {row[0] for row in rows}
            if missed := [subject for subject in wanted if subject not in found]:
                rows += await fetch_all(connection, FIND_BY_SUBJECT, (missed,))
            return rows

        self._remember(await self._session.run(ask, within=self._timeout))
        return [self._by_subject[subject] for subject in subjects]

    def _take_in(self, wanted: Iterable[UUID], rows: Sequence[Sequence[Any]]) -> None:
        """Remember what was found of what was looked for by id, without what was destroyed."""
        self._remember(row for row in rows if row[2] is not None)
        if lost := set(wanted).difference(row[1] for row in rows):
            raise KeysMissingError(lost)

    def _remember(self, rows: Iterable[Sequence[Any]]) -> None:
        for subject, key_id, key, wrapped_by in rows:
            self._by_subject[subject] = key_id
            self._by_id[key_id.bytes] = AESGCM(self._bare(key, wrapped_by))
        while len(self._by_id) > CACHED_KEYS:
            self._by_id.popitem(last=False)
        while len(self._by_subject) > CACHED_KEYS:
            self._by_subject.popitem(last=False)

    def _wrapped(self, key: bytes) -> bytes:
        return aes_key_wrap(self._master, key) if self._master else key

    def _bare(self, key: bytes, wrapped_by: str | None) -> bytes:
        if wrapped_by is None:
            return key
        if self._master is None or wrapped_by != self._master_id:
            raise VaultError(
                f"the learners' keys are wrapped by the master key {wrapped_by};"
                " set GRADELOG_MASTER_KEY to that key"
            )
        try:
            return aes_key_unwrap(self._master, key)
        except InvalidUnwrap:
            raise VaultError("a learner's key is damaged") from None
