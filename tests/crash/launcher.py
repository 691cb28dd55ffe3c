"""Starts one daemon after another on one folder, each in a process of its own, as it is told on standard input.

It imports sirrd once and forks, which saves most of the time that a start takes; the fork then runs the command
`sirrd serve`. Orders and answers are lines of JSON. When its input closes it kills its daemon and ends.

Where an order names a point, the fork alone is changed so that it kills itself there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn
from unittest import mock

import sirrd.server.process  # noqa: F401 - what a daemon imports when it starts
from sirrd.cli import program
from sirrd.store.sqlite import connections, store
from sirrd.store.sqlite.inspection import Guarded
from tests.crash.points import POINTS, Moment, Point

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
        mock.patch.object(store, "_SPARE_PAGES", point.spare_pages).start()


def serve(order: dict[str, Any]) -> int:
    """Become a daemon whose standard output and error go to the file that an order names."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if (name := order.get("point")) is not None:
        set_trap(POINTS[name], passes=order["passes"], delay=order["delay"])
    return program.run(["serve"])


class Launcher:
    """Has at most one daemon at a time."""

    def __init__(self) -> None:
        self._pid = 0
        self._daemon: int | None = None

    def work(self) -> None:
        """Obey until the input closes."""
        while True:
            watched = [0] if self._daemon is None else [0, self._daemon]
            ready, _, _ = select.select(watched, [], [])
            if self._daemon in ready:
                self._reap()
            if 0 in ready:
                orders = os.read(0, 65_536)
                if not orders:
                    self._signal(signal.SIGKILL)
                    return
                for order in orders.splitlines():
                    self._obey(json.loads(order))

    def _obey(self, order: dict[str, Any]) -> None:
        if "signal" in order:
            self._signal(order["signal"])
            return
        self._pid = os.fork()
        if not self._pid:
            code = program.FAILED
            try:
                code = serve(order)
            finally:
                os._exit(code)
        self._daemon = os.pidfd_open(self._pid)
        self._say(pid=self._pid)

    def _signal(self, number: int) -> None:
        """Send a signal to the daemon; one that has ended in the meantime does not mind."""
        if self._daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._daemon, number)

    def _reap(self) -> None:
        if self._daemon is not None:
            os.close(self._daemon)
            self._daemon = None
            _, status = os.waitpid(self._pid, 0)
            self._say(code=os.waitstatus_to_exitcode(status))

    def _say(self, **answer: int) -> None:
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    Launcher().work()
