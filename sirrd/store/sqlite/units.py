"""Units of work: what the writer runs, the transaction that it runs them in, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from sirrd.errors import Unavailable
from sirrd.events import Event

Result = TypeVar("Result")
logger = logging.getLogger(__name__)
LONG_VALUE_BYTES: Final = 64 * 1024
_ANY_LENGTH: Final = 2**62


class NeedsThread(Exception):
    """A unit of work finds that it would take too long on the event loop; it is undone and run on the thread."""


class MustUndo(Exception):
    """A unit of work failed after it had written, so that its batch cannot be committed as it is."""


class Transaction:
    """What a unit of work is given.

    Attributes:
        execute: Runs a statement.
        now: Seconds of the store's time, taken when the batch began: after any earlier batch had been committed.
        on_thread: Whether it runs on the thread, where it may take its time.
        longest: The longest sealed value that a statement may give it here, in bytes.
        events: What was done, for the audit trail; a unit adds to it, and what it added is kept only if it succeeds.
    """

    __slots__ = ("events", "execute", "longest", "now", "on_thread")

    def __init__(self, connection: sqlite3.Connection, now: int, *, on_thread: bool) -> None:
        self.execute = connection.execute
        self.now = now
        self.on_thread = on_thread
        self.longest = _ANY_LENGTH if on_thread else LONG_VALUE_BYTES
        self.events: list[Event] = []

    def change(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any], *, rows: int = 1) -> sqlite3.Cursor:
        """Run a statement that must change exactly so many rows.

        Raises:
            Unavailable: It changed more, or fewer; the unit is undone.
        """
        cursor = self.execute(sql, arguments)
        if cursor.rowcount != rows:
            raise miscounted(cursor.rowcount, rows)
        return cursor


def miscounted(found: int, due: int) -> Unavailable:
    """Return the error of a statement that changed more or fewer rows than it must, and tell the operator's log.

    The database is damaged then, or somebody meddles with it.
    """
    logger.error("MISCOUNTED: a statement changed %d rows instead of %d: its work is undone", found, due)
    return Unavailable()


class Times(Protocol):
    """Tells the store's time."""

    def now(self) -> int:
        """Return seconds; never less than what an earlier call returned."""
        ...


class Trail(Protocol):
    """Writes the events of a batch, as its last statements."""

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """Write the rows; return what is to be called once they are committed."""
        ...


class Unit(Generic[Result]):
    """A function that waits to be run, and who waits for it."""

    __slots__ = ("error", "future", "gives", "long", "result", "size", "work")

    def __init__(
        self,
        work: Callable[[Transaction], Result],
        future: asyncio.Future[Result],
        *,
        long: bool,
        gives: bool = False,
        size: int = 0,
    ) -> None:
        self.work = work
        self.future = future
        self.long = long
        self.gives = gives
        self.size = size
        self.result: Result | None = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell the caller, if it still listens."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # a unit without error has its result
        else:
            self.future.set_exception(self.error)
