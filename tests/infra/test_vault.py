"""The vault: a key that was destroyed, and one that is only missing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import pytest

from domain.errors import KeyDestroyedError, UnavailableError
from infra.log.reader import connect
from infra.vault import KeysMissingError, Vault
from tests.school import PATIENCE, school

T = TypeVar("T")

CONTEXT = "answer:1"


def use(dsn: str, work: Callable[[Vault], Awaitable[T]]) -> T:
    """Work with a vault that remembers nothing from before."""

    async def main() -> T:
        vault = Vault(dsn, timeout=PATIENCE)
        try:
            return await work(vault)
        finally:
            await vault.close()

    return asyncio.run(main())


def seal(dsn: str, subject: str, text: str = "a secret") -> str:
    return use(dsn, lambda vault: vault.seal(subject, text, CONTEXT))


def read(dsn: str, sealed: str) -> str:
    async def work(vault: Vault) -> str:
        await vault.load([sealed])
        return vault.open(sealed, CONTEXT)

    return use(dsn, work)


def read_in_a_thread(dsn: str, sealed: str) -> str:
    vault = Vault(dsn, timeout=PATIENCE)
    with connect(dsn) as db:
        vault.load_sync(db, [sealed])
    return vault.open(sealed, CONTEXT)


def execute(dsn: str, statement: str, *arguments: object) -> object:
    with psycopg.connect(dsn) as db:
        cursor = db.execute(statement.encode(), arguments)
        return cursor.fetchone() if cursor.description else None


def key_id(dsn: str, subject: str) -> str:
    found = execute(
        dsn, "SELECT key_id::text FROM gradelog.learner_keys WHERE subject = %s", subject
    )
    assert isinstance(found, tuple)
    return str(found[0])


@pytest.mark.parametrize("reading", [read, read_in_a_thread])
def test_what_a_destroyed_key_sealed_cannot_be_read(
    dsn: str, reading: Callable[[str, str], str]
) -> None:
    anna, ben = seal(dsn, "anna"), seal(dsn, "ben")
    assert execute(dsn, "SELECT gradelog.destroy_key('anna')") == (True,)
    with pytest.raises(KeyDestroyedError):
        reading(dsn, anna)
    assert reading(dsn, ben) == "a secret"
    assert execute(dsn, "SELECT gradelog.destroy_key('anna')") == (False,)
    left = (
        "SELECT subject, key, wrapped_by FROM gradelog.learner_keys WHERE destroyed_at IS NOT NULL"
    )
    assert execute(dsn, left) == (None, None, None)


def test_whoever_writes_again_gets_another_key(dsn: str) -> None:
    before = seal(dsn, "anna")
    execute(dsn, "SELECT gradelog.destroy_key('anna')")
    after = seal(dsn, "anna", "back again")
    assert read(dsn, after) == "back again"
    with pytest.raises(KeyDestroyedError):
        read(dsn, before)


@pytest.mark.parametrize("reading", [read, read_in_a_thread])
def test_a_key_that_was_lost_does_not_pass_for_destroyed(
    dsn: str, reading: Callable[[str, str], str]
) -> None:
    sealed = seal(dsn, "anna")
    lost = key_id(dsn, "anna")
    execute(dsn, "DELETE FROM gradelog.learner_keys")
    with pytest.raises(KeysMissingError, match=lost) as caught:
        reading(dsn, sealed)
    assert isinstance(caught.value, UnavailableError)


def test_keys_of_a_wrong_database_do_not_pass_for_destroyed(
    dsn: str, new_database: Callable[[], str]
) -> None:
    sealed, strangers = seal(dsn, "anna"), new_database()
    seal(strangers, "anna")
    with pytest.raises(KeysMissingError, match="another database"):
        read(strangers, sealed)


def test_keys_that_are_lost_for_good_can_be_given_up(dsn: str) -> None:
    with school(dsn) as opened:
        opened.register("anna", email="anna@example.org", full_name="Anna")
        opened.register("ben", email="ben@example.org")
        opened.score("ben", "p1", 1, 5)
        opened.register("cleo")
    sealed = execute(
        dsn,
        "SELECT data::jsonb ->> 'full_name' FROM gradelog.events"
        " WHERE data::jsonb ->> 'username' = 'anna'",
    )
    assert isinstance(sealed, tuple)
    kept = seal(dsn, "dora")
    execute(dsn, "DELETE FROM gradelog.learner_keys WHERE subject <> 'dora'")
    with pytest.raises(KeysMissingError):
        read(dsn, sealed[0])
    # Of Anna, of Ben as a user, and of Ben as who answered.
    assert execute(dsn, "SELECT gradelog.give_up_missing_keys()") == (3,)
    with pytest.raises(KeyDestroyedError):
        read(dsn, sealed[0])
    assert read(dsn, kept) == "a secret"
    assert execute(dsn, "SELECT gradelog.give_up_missing_keys()") == (0,)
