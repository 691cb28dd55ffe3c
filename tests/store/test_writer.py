"""The writer: one durable transaction per batch, and nobody hears of success before it is durable."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sirrd.errors import Busy, Gone, Unavailable
from sirrd.events import Action, Event
from sirrd.model import Caller
from sirrd.store.sqlite import writer as module
from sirrd.store.sqlite.units import NeedsThread, Transaction
from sirrd.store.sqlite.writer import Writer
from tests.conftest import NOW, SetClock

Unit = Callable[[Transaction], Any]


class Ledger:
    """A trail that writes the name of every event into a table."""

    def __init__(self) -> None:
        self.committed = 0

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """See `Trail.append`."""
        connection.executemany("INSERT INTO trail VALUES (?)", [(event.action.value,) for event in events])

        def committed() -> None:
            self.committed += 1

        return committed


class Bench:
    """A writer over a database with a table of numbers, and a second connection that sees only what was committed."""

    def __init__(self, path: Path) -> None:
        self.writing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.writing.execute("PRAGMA journal_mode=WAL")
        self.writing.execute("CREATE TABLE number (n INTEGER PRIMARY KEY)")
        self.writing.execute("CREATE TABLE trail (action TEXT)")
        self.other = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.ledger = Ledger()
        self.writer = Writer(self.writing, trail=self.ledger, clock=SetClock())

    def numbers(self) -> list[int]:
        """Return what is committed."""
        return [n for (n,) in self.other.execute("SELECT n FROM number ORDER BY n")]

    def trail(self) -> list[str]:
        """Return the committed audit rows."""
        return [action for (action,) in self.other.execute("SELECT action FROM trail")]

    def refuse(self, statement: str) -> None:
        """Let the database refuse a statement of transactions from now on."""

        def decide(action: int, name: str | None, *_: object) -> int:
            is_it = action == sqlite3.SQLITE_TRANSACTION and name == statement
            return sqlite3.SQLITE_DENY if is_it else sqlite3.SQLITE_OK

        self.writing.set_authorizer(decide)

    def allow_all(self) -> None:
        """Undo `refuse`."""
        self.writing.set_authorizer(None)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A writer and a witness."""
    found = Bench(tmp_path / "numbers.db")
    yield found
    await found.writer.close()
    found.writing.close()
    found.other.close()


def insert(n: int) -> Unit:
    """Return a unit that writes a number and an event, and returns the number."""

    def unit(transaction: Transaction) -> int:
        transaction.execute("INSERT INTO number VALUES (?)", (n,))
        transaction.events.append(Event(Action.CREATED, transaction.now, Caller("open"), None))
        return n

    return unit


async def test_success_is_heard_of_only_after_the_commit(bench: Bench) -> None:
    """When a future settles, another connection already sees the write and its audit row."""
    assert await bench.writer.submit(insert(7)) == 7
    assert bench.numbers() == [7]
    assert bench.trail() == ["created"]


async def test_what_waits_together_is_committed_together(bench: Bench) -> None:
    """A hundred units that were submitted in one turn cost one commit, not a hundred."""
    assert await asyncio.gather(*(bench.writer.submit(insert(n)) for n in range(100))) == list(range(100))
    assert bench.numbers() == list(range(100))
    assert bench.ledger.committed == 1


async def test_a_unit_that_fails_leaves_nothing_and_harms_nobody(bench: Bench) -> None:
    """Of three units in a batch the one that raises is undone with its event; the others are kept."""

    def failing(transaction: Transaction) -> None:
        insert(2)(transaction)
        raise Gone

    results = await asyncio.gather(
        bench.writer.submit(insert(1)),
        bench.writer.submit(failing),
        bench.writer.submit(insert(3)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, Gone, int]
    assert bench.numbers() == [1, 3]
    assert bench.trail() == ["created", "created"]


async def test_an_error_of_the_database_in_a_unit_is_unavailable(bench: Bench) -> None:
    """A constraint that fails inside a unit is its caller's 503, and undoes only that unit."""
    results = await asyncio.gather(
        bench.writer.submit(insert(1)), bench.writer.submit(insert(1)), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, Unavailable]
    assert bench.numbers() == [1]


@pytest.mark.parametrize("is_long", [False, True])
async def test_a_failed_commit_fails_all(bench: Bench, is_long: bool) -> None:
    """Nobody in a batch whose commit fails hears of success, nor of a refusal that may rest on what was undone."""

    def refusing(_: Transaction) -> None:
        raise Gone

    bench.refuse("COMMIT")
    results = await asyncio.gather(
        bench.writer.submit(insert(1), long=is_long), bench.writer.submit(refusing), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert bench.numbers() == []
    assert bench.writer.health.failing
    bench.allow_all()
    assert await bench.writer.submit(insert(1)) == 1
    assert bench.numbers() == [1]
    assert bench.trail() == ["created"]
    assert not bench.writer.health.failing


async def test_a_full_disk_fails_the_unit_and_recovers(bench: Bench) -> None:
    """Where the database cannot grow a unit is refused whole; once it can, writing goes on."""
    (pages,) = bench.writing.execute("PRAGMA page_count").fetchone()
    bench.writing.execute("CREATE TABLE blob (b BLOB)")
    bench.writing.execute(f"PRAGMA max_page_count={pages + 2}")

    def large(transaction: Transaction) -> None:
        insert(5)(transaction)
        transaction.execute("INSERT INTO blob VALUES (zeroblob(1000000))")

    with pytest.raises(Unavailable):
        await bench.writer.submit(large)
    assert bench.numbers() == []
    bench.writing.execute("PRAGMA max_page_count=1000000")
    await bench.writer.submit(large)
    assert bench.numbers() == [5]


async def test_a_locked_database_is_waited_for_off_the_event_loop(bench: Bench) -> None:
    """While another process holds the lock the event loop goes on, and the unit is done when the lock is released."""
    bench.other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(bench.writer.submit(insert(1)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    bench.other.execute("COMMIT")
    assert await waiting == 1


async def test_a_lock_that_stays_is_unavailable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays locked is a 503, and nothing of the unit is kept."""
    monkeypatch.setattr(module, "_PATIENCE_MS", 10)
    bench.other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await bench.writer.submit(insert(1))
    bench.other.execute("COMMIT")
    assert await bench.writer.submit(insert(2)) == 2
    assert bench.numbers() == [2]


async def test_a_full_queue_is_busy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the queue is refused at once; what was accepted is done."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    accepted = [bench.writer.submit(insert(n)) for n in range(3)]
    with pytest.raises(Busy):
        bench.writer.submit(insert(3))
    assert await asyncio.gather(*accepted) == [0, 1, 2]
    assert bench.numbers() == [0, 1, 2]


async def test_a_caller_who_left_before_its_turn_spends_nothing(bench: Bench) -> None:
    """A unit whose caller was cancelled while it waited is not run."""
    await_first = bench.writer.submit(insert(1))
    left = bench.writer.submit(insert(2))
    left.cancel()
    await await_first
    assert bench.numbers() == [1]


async def test_a_caller_who_leaves_during_its_turn_undoes_nothing(bench: Bench) -> None:
    """A unit that is under way is committed, whoever still listens."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        begun.set()
        assert go_on.wait(10)
        insert(1)(transaction)

    future = bench.writer.submit(slow, long=True)
    assert await asyncio.to_thread(begun.wait, 10)
    future.cancel()
    go_on.set()
    await bench.writer.submit(insert(2))
    assert bench.numbers() == [1, 2]


async def test_closing_drains(tmp_path: Path) -> None:
    """What was accepted before closing is done; what comes after is refused."""
    bench = Bench(tmp_path / "numbers.db")
    accepted = [bench.writer.submit(insert(n)) for n in range(300)]
    await bench.writer.close()
    assert [future.result() for future in accepted] == list(range(300))
    with pytest.raises(Unavailable):
        bench.writer.submit(insert(1000))
    assert bench.numbers() == list(range(300))
    bench.writing.close()
    bench.other.close()


async def test_chores_and_batches_take_turns(bench: Bench) -> None:
    """However many chores follow one another, a unit of work waits for one of them at most."""
    order: list[str] = []

    async def chores() -> None:
        for _ in range(10):
            await bench.writer.between(lambda _: order.append("chore"))

    async def work() -> None:
        await bench.writer.submit(lambda _: order.append("unit"))

    await asyncio.gather(chores(), work(), work())
    assert order.index("unit") <= 1
    assert order.count("chore") == 10


async def test_the_daemons_own_work_is_never_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood that fills the queue does not keep the prune out of it."""
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    first = bench.writer.submit(insert(1))
    with pytest.raises(Busy):
        bench.writer.submit(insert(2))
    assert await bench.writer.submit(insert(3), own=True) == 3
    assert await first == 1


async def test_a_unit_can_ask_for_the_thread(bench: Bench) -> None:
    """What would take too long on the event loop is undone and run again on the thread, once."""
    runs: list[str] = []

    def unit(transaction: Transaction) -> str:
        insert(1)(transaction)
        runs.append(threading.current_thread().name)
        if not transaction.on_thread:
            raise NeedsThread
        return "done"

    results = await asyncio.gather(bench.writer.submit(unit), bench.writer.submit(insert(2)))
    assert list(results) == ["done", 2]
    assert runs == ["MainThread", "sirrd-writer"]
    assert bench.trail() == ["created", "created"]


async def test_a_unit_that_asks_for_the_thread_on_the_thread_is_refused(bench: Bench) -> None:
    """A unit that is never content is not run for ever."""
    runs: list[None] = []

    def unit(_: Transaction) -> None:
        runs.append(None)
        raise NeedsThread

    with pytest.raises(NeedsThread):
        await bench.writer.submit(unit)
    assert len(runs) == 2


async def test_what_a_failed_rollback_left_becomes_part_of_nothing(bench: Bench) -> None:
    """A transaction that was left open is undone before the next batch or chore."""
    bench.writing.execute("BEGIN IMMEDIATE")
    bench.writing.execute("INSERT INTO number VALUES (99)")
    assert await bench.writer.submit(insert(1)) == 1
    bench.writing.execute("BEGIN IMMEDIATE")
    bench.writing.execute("INSERT INTO number VALUES (98)")
    await bench.writer.between(lambda connection: connection.executescript("SELECT 1"))
    assert bench.numbers() == [1]


async def test_a_closed_writer_runs_no_chore(tmp_path: Path) -> None:
    """After closing, nothing waits for ever."""
    bench = Bench(tmp_path / "numbers.db")
    await bench.writer.close()
    with pytest.raises(Unavailable):
        bench.writer.between(lambda _: None)
    bench.writing.close()
    bench.other.close()


async def test_a_unit_gets_the_time_of_its_batch(bench: Bench) -> None:
    """Time is taken inside the unit of work, when its batch begins."""
    assert await bench.writer.submit(lambda transaction: transaction.now) == NOW


async def test_a_unit_that_fails_before_it_writes_undoes_nobody(bench: Bench) -> None:
    """A refusal is no reason to run a batch again: every unit runs once, on the event loop."""
    ran: list[tuple[str, bool]] = []

    def noted(name: str, unit: Unit) -> Unit:
        def noting(transaction: Transaction) -> Any:
            ran.append((name, transaction.on_thread))
            return unit(transaction)

        return noting

    def refusing(transaction: Transaction) -> None:
        transaction.events.append(Event(Action.DELETED, transaction.now, Caller("open"), None))
        raise Gone

    await asyncio.gather(
        bench.writer.submit(noted("first", insert(1))),
        bench.writer.submit(noted("refused", refusing)),
        bench.writer.submit(noted("last", insert(2))),
        return_exceptions=True,
    )
    assert ran == [("first", False), ("refused", False), ("last", False)]
    assert bench.numbers() == [1, 2]
    assert bench.trail() == ["created", "created"]


async def test_a_unit_that_fails_after_it_wrote_has_its_batch_run_again(bench: Bench) -> None:
    """Nothing of the first attempt stays, whoever it was from, and all are told of the second only."""
    attempts: list[bool] = []

    def failing(transaction: Transaction) -> None:
        attempts.append(transaction.on_thread)
        insert(2)(transaction)
        raise Gone if transaction.on_thread else KeyError

    results = await asyncio.gather(bench.writer.submit(insert(1)), bench.writer.submit(failing), return_exceptions=True)
    assert attempts == [False, True]
    assert [type(result) for result in results] == [int, Gone]
    assert bench.numbers() == [1]
    assert bench.trail() == ["created"]


async def test_doubt_ends_only_when_the_wal_is_empty(bench: Bench) -> None:
    """A checkpoint that a reader cut short is none: what came after the reader's state is in the WAL alone."""
    await bench.writer.submit(insert(1))
    bench.other.execute("BEGIN")
    assert bench.numbers() == [1]
    await bench.writer.submit(insert(2))
    bench.writer.health.in_doubt = True
    with pytest.raises(Unavailable):
        await bench.writer.submit(insert(3))
    assert bench.writer.health.failing
    bench.other.execute("COMMIT")
    await bench.writer.submit(insert(4))
    assert not bench.writer.health.failing
    assert bench.numbers() == [1, 2, 4]


async def test_an_i_o_error_of_a_statement_on_the_event_loop_is_a_doubt(bench: Bench) -> None:
    """The batch is run again, but not before a checkpoint."""
    checkpoints: list[str] = []
    bench.writing.set_trace_callback(lambda sql: checkpoints.append(sql) if "checkpoint" in sql else None)

    def unit(transaction: Transaction) -> bool:
        if transaction.on_thread:
            return bench.writer.health.in_doubt
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error

    assert await bench.writer.submit(unit) is False
    assert len(checkpoints) == 1


async def test_long_units_have_batches_of_their_own(bench: Bench) -> None:
    """What is short never waits for what is long in its own transaction; both have their turns."""
    batches: list[list[str]] = []

    def named(name: str) -> Unit:
        def unit(transaction: Transaction) -> None:
            if transaction.events == []:
                batches.append([])
            transaction.events.append(Event(Action.CREATED, transaction.now, Caller("open"), None))
            batches[-1].append(name)

        return unit

    long = [bench.writer.submit(named("long"), long=True) for _ in range(module.MAX_LONG_BATCH + 1)]
    short = [bench.writer.submit(named("short")) for _ in range(module.MAX_BATCH + 1)]
    await asyncio.gather(*long, *short)
    assert batches == [
        ["short"] * module.MAX_BATCH,
        ["long"] * module.MAX_LONG_BATCH,
        ["short"],
        ["long"],
    ]


async def test_what_long_work_writes_is_written_back_at_once(bench: Bench) -> None:
    """So that no commit ends in a checkpoint of all that a prune has left; short work is left to SQLite's own bound."""
    seen: list[str] = []
    bench.writing.set_trace_callback(seen.append)
    await bench.writer.submit(insert(1))
    assert not any("wal_checkpoint" in text for text in seen)
    await bench.writer.submit(insert(2), long=True)
    assert [text for text in seen if "COMMIT" in text or "wal_checkpoint" in text][-2:] == [
        "COMMIT",
        "PRAGMA wal_checkpoint(PASSIVE)",
    ]


async def test_writing_back_takes_a_share_of_the_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes long, it is done less often."""
    seen: list[str] = []
    bench.writing.set_trace_callback(seen.append)
    monkeypatch.setattr(module, "_WRITING_BACK_SHARE", 1e-9)
    for n in range(5):
        await bench.writer.submit(insert(n), long=True)
    assert sum("wal_checkpoint" in text for text in seen) == 1


async def test_a_failure_to_write_back_is_no_failure_of_the_work(bench: Bench) -> None:
    """It is committed already; but the storage is not sound, and `/ready` says so."""

    def refuse_checkpoints(action: int, name: str | None, *_: object) -> int:
        is_it = action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_it else sqlite3.SQLITE_OK

    bench.writing.set_authorizer(refuse_checkpoints)
    assert await bench.writer.submit(insert(1), long=True) == 1
    assert bench.numbers() == [1]
    assert bench.writer.health.failing
    bench.allow_all()
    assert await bench.writer.checkpoint()
    assert not bench.writer.health.failing
