"""Portable units of work: all of a unit or none, as its transaction says, and nobody waits for what it waits for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sirrd.errors import Gone, Unavailable
from sirrd.events import Action, Event
from sirrd.model import Caller
from sirrd.store.portable import Statement, Transaction, Unit
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import NOW, Opener

KEPT = Statement("SELECT count(*) FROM kept")
KEEP = Statement("INSERT INTO kept (number) VALUES (:number)")
BYS = Caller("bearer", "192.0.2.1")


@pytest.fixture
async def store(opened: Opener, tmp_path: Any) -> SqliteStore:
    """Return a store with a table to try things on."""
    found = await opened(tmp_path)
    await found.units.run(writing(lambda tx: tx.execute(Statement("CREATE TABLE kept (number INTEGER) STRICT"))))
    return found


def writing(work: Callable[[Transaction], Coroutine[Any, Any, Any]]) -> Unit[Any]:
    return Unit(work, writes=True)


async def count(store: SqliteStore) -> int:
    """Return how many rows there are, by a unit that reads."""
    ((found,),) = await store.units.run(Unit(lambda tx: tx.fetch(KEPT), writes=False))
    return int(found)


async def test_a_unit_reads_and_writes_in_one_transaction(store: SqliteStore) -> None:
    """It sees what it wrote, says how many rows it changed, and is there for others once it returns."""

    async def work(tx: Transaction) -> tuple[int, int, int]:
        changed = await tx.execute(KEEP, {"number": 7})
        ((found,),) = await tx.fetch(KEPT)
        return changed, found, tx.now

    assert await store.units.run(writing(work)) == (1, 1, NOW)
    assert await count(store) == 1


async def test_what_fails_leaves_nothing_and_takes_no_other_along(store: SqliteStore) -> None:
    """Of units that share a commit, one that fails after it has written is undone alone, its events too."""

    async def fails(tx: Transaction) -> None:
        await tx.execute(KEEP, {"number": 1})
        tx.events.append(Event(Action.DELETED, tx.now, BYS, "0" * 16))
        raise Gone(None)

    async def works(tx: Transaction) -> None:
        await tx.execute(KEEP, {"number": 2})
        tx.events.append(Event(Action.CREATED, tx.now, BYS, "1" * 16))

    outcomes = await asyncio.gather(
        *(store.units.run(writing(each)) for each in (works, fails, works)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Gone, type(None)]
    assert await count(store) == 2
    found = await store.units.run(Unit(lambda tx: tx.fetch(Statement("SELECT action FROM audit")), writes=False))
    assert [row[0] for row in found] == ["created", "created"]


async def test_a_unit_that_waits_for_something_else_is_a_bug(store: SqliteStore) -> None:
    """It raises at once, rather than hold up the writer, and what it had done is undone."""

    async def waits(tx: Transaction) -> None:
        await tx.execute(KEEP, {"number": 1})
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waits for something"):
        await store.units.run(writing(waits))
    assert await count(store) == 0


async def test_a_unit_that_reads_cannot_write(store: SqliteStore) -> None:
    """Neither by `execute`, nor by a statement that is called a query."""

    async def deceives(tx: Transaction) -> object:
        return await tx.fetch(Statement("INSERT INTO kept (number) VALUES (1) RETURNING number"))

    for work in (lambda tx: tx.execute(KEEP, {"number": 1}), deceives):
        with pytest.raises(Unavailable):
            await store.units.run(Unit(work, writes=False))
    assert await count(store) == 0


async def test_a_unit_that_reads_sees_one_state(store: SqliteStore) -> None:
    """What is committed between two of its queries is not there for the second, and it does not wait for the writer."""

    async def looks_twice(tx: Transaction) -> list[int]:
        ((before,),) = await tx.fetch(KEPT)
        await store.units.run(writing(lambda other: other.execute(KEEP, {"number": 1})))
        ((after,),) = await tx.fetch(KEPT)
        return [before, after]

    assert await store.units.run(Unit(looks_twice, writes=False)) == [0, 0]
    assert await count(store) == 1


async def test_an_error_of_the_engine_is_no_traceback_of_its(store: SqliteStore) -> None:
    """A statement that the engine refuses is `Unavailable` for the caller, whichever kind of unit it is in."""
    for writes in (False, True):
        with pytest.raises(Unavailable) as caught:
            await store.units.run(Unit(lambda tx: tx.fetch(Statement("SELECT * FROM nothing")), writes=writes))
        assert not isinstance(caught.value, sqlite3.Error)
