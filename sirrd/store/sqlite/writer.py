"""The one writer: group commit over the only connection that writes and checkpoints.

Callers submit a function `(transaction) -> result`. All that waits becomes one batch: `BEGIN IMMEDIATE`, the functions
one after another, the audit rows of the whole batch, one `COMMIT`. Only then does any caller hear of it. A function
that fails before it has written anything leaves nothing to undo. If one fails later, which takes a damaged record or a
failing disk, the whole batch is undone and run again by the thread, each function in a savepoint of its own.

What long work writes is written back from the WAL by and by, for at most about a quarter of the time, so that a prune
does not end in a checkpoint that everyone has to wait for.

A batch has one owner at a time. The event loop runs the statements of a batch, which touch a few cached pages, and then
hands the connection to the writer thread for the part that waits for the disk: the commit. While the thread has it,
new work queues up and becomes the next batch. Long work (a prune, a large value) is run by the thread altogether, in
batches of its own.
Why the statements are not run by the thread as well stands in docs/decisions/0002.

What must never happen here: a caller hears of success before the commit, an error leaves half of a unit behind, or
two threads use the connection at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sirrd.errors import Busy, Unavailable
from sirrd.memory import Memory
from sirrd.store.sqlite.connections import checkpoint
from sirrd.store.sqlite.health import Health
from sirrd.store.sqlite.units import MustUndo, NeedsThread, Result, Times, Trail, Transaction, Unit

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 4096
SMALL_BYTES: Final = 4096
MAX_BATCH: Final = 128
MAX_LONG_BATCH: Final = 8
_PATIENCE_MS: Final = 5000
_WRITING_BACK_SHARE: Final = 0.3


class Writer:
    """Runs units of work in batches, each batch in one durable transaction."""

    def __init__(
        self, connection: sqlite3.Connection, *, trail: Trail, clock: Times, memory: Memory | None = None
    ) -> None:
        self._connection = connection
        self._memory = memory or Memory()
        self._connection.execute("PRAGMA busy_timeout=0")
        self._trail = trail
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._short: deque[Unit[Any]] = deque()
        self._long: deque[Unit[Any]] = deque()
        self._long_is_next = False
        self._chore_is_next = True
        self._changes = 0
        self._write_back_at = 0.0
        self.last_short_at = -math.inf
        self._chores: deque[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = deque()
        self._busy = False
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sirrd-writer", daemon=True)
        self._thread.start()
        self.health = Health()

    def submit(
        self,
        work: Callable[[Transaction], Result],
        *,
        long: bool = False,
        own: bool = False,
        gives: bool = False,
        size: int = 0,
    ) -> asyncio.Future[Result]:
        """Run a function inside a durable transaction; the future settles after the commit.

        A caller that is cancelled before its turn gets its way: the unit is not run. After that it does not undo
        anything.

        Args:
            work: Called on the event loop, or, if it takes long, on the thread, so it must not touch the event loop. It
                is called again, on the thread, if it raises `NeedsThread` or if its batch has to be undone.
            long: Whether it may take more than about a millisecond.
            own: Whether it is the daemon's own work, which no flood of requests may keep out of the queue.
            gives: Whether it gives a value: if that is a long one, it is not run while answers lie about unread.
            size: How many bytes it holds while it waits.

        Raises:
            Busy: Too much is waiting.
            Unavailable: The writer is closing, or the transaction failed; nothing of the unit was kept.
        """
        if self._closing:
            raise Unavailable
        if len(self._short) + len(self._long) >= MAX_WAITING and not own:
            raise Busy
        size = size if size > SMALL_BYTES else 0
        if not self._memory.waiting.take(size):
            raise Busy
        future: asyncio.Future[Result] = self._loop.create_future()
        (self._long if long else self._short).append(Unit(work, future, long=long, gives=gives, size=size))
        self._wake()
        return future

    def between(self, chore: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run a function on the writer thread between two batches, outside any transaction (a checkpoint, say).

        Raises:
            Unavailable: The writer is closing, or the function failed.
        """
        if self._closing:
            raise Unavailable
        future: asyncio.Future[Result] = self._loop.create_future()
        self._chores.append((chore, future))
        self._wake()
        return future

    def checkpoint(self) -> asyncio.Future[bool]:
        """Write the WAL back and truncate it; tell whether no reader was in the way. Errors as in `between`."""
        return self.between(self._checkpoint)

    async def close(self) -> None:
        """Take no more work, finish what was accepted, and end the thread; the connection stays open."""
        self._closing = True
        await self._idle.wait()
        self._jobs.put(None)
        # The thread has nothing left to do but to read the line above.
        await asyncio.to_thread(self._thread.join)

    def rests(self) -> bool:
        """Tell whether no batch and no chore is under way, or about to be."""
        return not self._busy

    # The event loop's side.

    def _wake(self) -> None:
        """Begin a turn at the end of this turn of the event loop, unless one is under way."""
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._chores and (self._chore_is_next or not (self._short or self._long)):
            self._chore_is_next = False
            chore, future = self._chores.popleft()
            self._jobs.put(lambda: self._run_chore(chore, future))
            return
        self._chore_is_next = True
        batch = self._next_batch()
        if not batch:
            self._rest()
        elif self.health.in_doubt or batch[0].long or not self._begin():
            self._jobs.put(lambda: self._run_long(batch))
        else:
            self.last_short_at = time.monotonic()
            try:
                finish = self._run(batch)
            except MustUndo:
                self._jobs.put(lambda: self._run_long(batch))
            else:
                self._jobs.put(lambda: self._commit(batch, finish))

    def _next_batch(self) -> list[Unit[Any]]:
        """Take from what waits: short units or long ones, never both, and in turns where both wait.

        So a read waits for the prune that is under way, and not for the one that would share its transaction.
        """
        is_long = bool(self._long) and (self._long_is_next or not self._short)
        self._long_is_next = not is_long
        waiting, most = (self._long, MAX_LONG_BATCH) if is_long else (self._short, MAX_BATCH)
        batch = [waiting.popleft() for _ in range(min(len(waiting), most))]
        return [unit for unit in batch if not self._is_over(unit)]

    def _is_over(self, unit: Unit[Any]) -> bool:
        """Tell whether a unit is not to be run, and settle it: its caller left, or what it gives would lie about."""
        if unit.gives and unit.long and self._memory.answers.is_full:
            unit.error = Busy()
        elif not unit.future.done():
            return False
        self._end(unit)
        return True

    def _end(self, unit: Unit[Any]) -> None:
        self._memory.waiting.give(unit.size)
        unit.settle()

    def _rest(self) -> None:
        """End a turn; begin the next one if there is work."""
        if self._short or self._long or self._chores:
            self._loop.call_soon(self._turn)
        else:
            self._busy = False
            self._idle.set()

    def _settle(self, batch: list[Unit[Any]]) -> None:
        for unit in batch:
            if isinstance(unit.error, NeedsThread) and not unit.long:
                unit.long, unit.error = True, None
                self._long.append(unit)
            else:
                self._end(unit)
        self._rest()

    # The side that has the connection: the event loop until the batch is handed over, the thread after that.

    def _begin(self) -> bool:
        """Begin the transaction of a batch; False if someone else has the database locked."""
        try:
            self._clear()
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            logger.warning("a transaction could not begin: %s", _name(error))
            return False
        return True

    def _clear(self) -> None:
        """Undo what a rollback that failed has left, so that it becomes part of nothing else."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _run(self, batch: list[Unit[Any]], *, on_thread: bool = False) -> Callable[[], None] | None:
        """Run the units and write their audit rows; return what the trail wants called after the commit.

        Raises:
            MustUndo: The batch has to be run again on the thread.
        """
        self._changes = self._connection.total_changes
        transaction = Transaction(self._connection, self._clock.now(), on_thread=on_thread)
        run_unit = self._run_apart if on_thread else self._run_unit
        try:
            for unit in batch:
                run_unit(unit, transaction)
            return self._trail.append(self._connection, transaction.events)
        except MustUndo:
            raise
        except Exception as error:  # noqa: BLE001 - the batch's edge: whatever it is, nobody may hear of success
            self._fail(batch, error)
            return None

    def _run_unit(self, unit: Unit[Any], transaction: Transaction) -> None:
        """Run a unit that is expected to fail, if at all, before it has written anything.

        Raises:
            MustUndo: It failed later than that.
        """
        changes, events = self._connection.total_changes, len(transaction.events)
        try:
            unit.result = unit.work(transaction)
        except Exception as error:  # noqa: BLE001 - what it is, its caller learns
            if isinstance(error, sqlite3.Error):
                logger.warning("a unit of work failed and is run again: %s", _name(error))
                self.health.write_failed(error)
                raise MustUndo from None
            if self._connection.total_changes != changes:
                raise MustUndo from None
            unit.error = error
            del transaction.events[events:]

    def _run_apart(self, unit: Unit[Any], transaction: Transaction) -> None:
        """Run a unit in a savepoint of its own, and undo what it has written if it fails."""
        execute, events, changes = self._connection.execute, len(transaction.events), self._connection.total_changes
        unit.error = None
        execute("SAVEPOINT unit")
        try:
            unit.result = unit.work(transaction)
        except Exception as error:
            unit.error = error
            del transaction.events[events:]
            if not self._connection.in_transaction:
                # Some errors destroy the whole transaction (a full disk, say): nobody in the batch has anything.
                raise
            execute("ROLLBACK TO unit")
            # What was undone goes on counting as a change.
            self._changes += self._connection.total_changes - changes
            if isinstance(error, sqlite3.Error):
                logger.error("a unit of work failed: %s", _name(error), exc_info=error)
                unit.error = Unavailable()
        execute("RELEASE unit")

    def _commit(self, batch: list[Unit[Any]], finish: Callable[[], None] | None) -> None:
        if finish is not None:
            try:
                self._connection.execute("COMMIT")
                finish()
                self._judge(batch)
            except Exception as error:  # noqa: BLE001 - the thread's edge: it must live on, and nobody may wait for ever
                self._fail(batch, error)
                finish = None
        if finish is not None and batch[0].long:
            self._write_back()
        self._loop.call_soon_threadsafe(self._settle, batch)

    def _write_back(self) -> None:
        """Write back what is in the WAL, unless that was done a moment ago."""
        began = time.monotonic()
        if began < self._write_back_at:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self.health.chore_failed(error)
            logger.error("the WAL could not be written back: %s", _name(error))
        ended = time.monotonic()
        self._write_back_at = ended + (ended - began) / _WRITING_BACK_SHARE

    def _judge(self, batch: list[Unit[Any]]) -> None:
        """Learn from a batch whether writing works; one that wrote nothing, a miss say, tells nothing."""
        if any(isinstance(unit.error, Unavailable) for unit in batch):
            self.health.write_failed()
        elif self._connection.total_changes > self._changes:
            self.health.wrote()

    def _run_long(self, batch: list[Unit[Any]]) -> None:
        """Run a batch on the thread, which can wait for a lock: the event loop never does."""
        finish = None
        failure: Exception = sqlite3.OperationalError("it could not begin")
        try:
            if self.health.in_doubt:
                self._checkpoint(self._connection)
            if self.health.in_doubt:
                failure, begun = sqlite3.OperationalError("a reader keeps the WAL from being truncated"), False
            else:
                self._connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
                begun = self._begin()
                self._connection.execute("PRAGMA busy_timeout=0")
        except sqlite3.Error as error:
            begun, failure = False, error
        if begun:
            finish = self._run(batch, on_thread=True)
        else:
            self._fail(batch, failure)
        self._commit(batch, finish)

    def _fail(self, batch: list[Unit[Any]], error: Exception) -> None:
        """Undo a batch and tell everyone in it.

        A refusal is undone, too: it may rest on what another unit of the batch did, and that did not happen.
        """
        self.health.write_failed(error)
        logger.error("a transaction failed: %s", _name(error), exc_info=error)
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                logger.exception("a rollback failed")
        for unit in batch:
            unit.result = None
            unit.error = Unavailable()

    def _run_chore(self, chore: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]) -> None:
        unit: Unit[Any] = Unit(lambda _: None, future, long=True)
        try:
            self._clear()
            unit.result = chore(self._connection)
        except Exception as error:
            self.health.chore_failed(error)
            logger.error("a chore failed: %s", _name(error), exc_info=error)
            unit.error = Unavailable()
        self._loop.call_soon_threadsafe(self._settle, [unit])

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        self._clear()
        is_empty = checkpoint(connection)
        self.health.checkpointed(is_empty=is_empty)
        return is_empty

    def _work(self) -> None:
        """Run what needs the disk, until told to end."""
        while (job := self._jobs.get()) is not None:
            job()


def _name(error: Exception) -> str:
    """Return what a log may say of an error: never its message."""
    return getattr(error, "sqlite_errorname", type(error).__name__)
