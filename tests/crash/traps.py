"""Changes a process so that it kills itself at a point of `points.py`; the product has no hooks for it."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, NoReturn
from unittest import mock

from sirrd.store.sqlite import connections, store, upkeep
from sirrd.store.sqlite.inspection import Guarded
from tests.crash.points import Moment, Point

LINGER_SECONDS: Final = 0.02


def die() -> NoReturn:
    """End as by a power switch: nothing is flushed, closed or told."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def die_after(seconds: float) -> None:
    """End after a time, whatever the other threads do then."""
    time.sleep(seconds)
    die()


class Trap:
    """Kills this process at the n-th pass of a point.

    Args:
        point: Where.
        passes: At which pass, from 1.
        delay: How many seconds into a statement.
    """

    def __init__(self, point: Point, *, passes: int, delay: float) -> None:
        self._point = point
        self._left = passes
        self._delay = delay
        self._changes: int | None = None
        self._followed = False

    def around(self, connection: sqlite3.Connection, sql: str, run: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """Run a statement, or die before, within or after it."""
        statement = sql.lstrip()
        # What a statement that returns rows has changed is counted when they have been fetched: at the next one.
        self._followed |= self._changes is not None and connection.total_changes > self._changes
        follows = self._point.follows and statement.startswith(self._point.follows)
        self._changes = connection.total_changes if follows else None
        if self._is_hit(statement):
            self._spring(run)
        if statement in {"COMMIT", "ROLLBACK"}:
            self._followed = False
        return run()

    def _is_hit(self, statement: str) -> bool:
        point = self._point
        if not point.statement or not statement.startswith(point.statement) or (point.follows and not self._followed):
            return False
        self._left -= 1
        return not self._left

    def _spring(self, run: Callable[[], sqlite3.Cursor]) -> NoReturn:
        if self._point.moment == Moment.DURING:
            threading.Thread(target=die_after, args=(self._delay,), daemon=True).start()
        if self._point.moment == Moment.BEFORE:
            # As on a slow disk: what another thread tells too early has time to reach a client.
            time.sleep(LINGER_SECONDS)
        else:
            # A statement that returns rows is at its end only when they have been fetched.
            run().fetchall()
        die()


class Trapped(Guarded):
    """The writing connection of a daemon that is to die at a point."""

    trap: ClassVar[Trap]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement."""
        return self.trap.around(self, sql, functools.partial(super().execute, sql, parameters))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Literal[False]:
        """Commit by a statement, so that a point can be there, too."""
        if kind is None and self.in_transaction:
            self.execute("COMMIT")
        return super().__exit__(kind, error, trace)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """Run a statement for each of some parameters."""
        return self.trap.around(self, sql, functools.partial(super().executemany, sql, parameters))

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """Run a script."""
        return self.trap.around(self, sql_script, functools.partial(super().executescript, sql_script))


def set_trap(point: Point, *, passes: int, delay: float) -> None:
    """Let this process, from now on, die at a point."""
    Trapped.trap = Trap(point, passes=passes, delay=delay)

    def connect_writer(path: Path) -> sqlite3.Connection:
        with mock.patch.object(connections, "Guarded", Trapped):
            return connections.connect_writer(path)

    # Never undone: this process ends before anyone else could see it.
    mock.patch.object(store, "connect_writer", connect_writer).start()
    if point.spare_pages is not None:
        mock.patch.object(upkeep, "_SPARE_PAGES", point.spare_pages).start()
