"""The store's time: lives and minutes are counted by it, and it neither stops, nor jumps, nor runs back.

It began as Unix seconds when the database was made, and has gone on with the boot clock ever since, whatever became of
the system's clock. What has a life is stored in it, so that no row has to change when the system's clock is set: a
secret for a minute lives for a minute. What the outside sees is the same instant by the system's clock: the store's
time and an offset, which is 0 for as long as nobody has set the clock.

A mark of both, kept in the database, carries it over a restart. In the same boot of the machine the boot clock tells
how long nobody looked; after another one, or on another machine, only the system's clock can, and it is believed unless
it stands behind the mark: then no time has passed. Why, and what it cannot know, stands in docs/decisions/0018.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from sirrd.clock import NANOSECONDS, Clock
from sirrd.model import Terms
from sirrd.store.sqlite import statements

logger = logging.getLogger(__name__)

_MILLISECOND: Final = NANOSECONDS // 1000
_JUMP_NS: Final = 3 * NANOSECONDS // 2  # what is shown may be off by less; a leap second is no jump
_AT_ONCE_NS: Final = NANOSECONDS // 10
_TRIES: Final = 10


class Mark(NamedTuple):
    """An instant by all clocks, in milliseconds.

    Attributes:
        store: The store's time.
        shown: The same instant as it was shown: Unix time.
        elapsed: The same by the boot clock.
        boot: What the boot clock counted from, or an empty string.
    """

    store: int
    shown: int
    elapsed: int
    boot: str


class Timeline:
    """Tells the store's time, and how it is shown.

    Args:
        clock: Reads the clocks.
        mark: The last mark of this database, or None where there was none.
        seen: The latest time that its rows tell of, in seconds of the store's time.
        on_jump: Called, on any thread, when the system's clock was found to have jumped: a mark has to be kept.

    Attributes:
        jumps: How often it was.
    """

    def __init__(
        self, clock: Clock, *, mark: Mark | None = None, seen: int = 0, on_jump: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._elapsed_ns, self._system_ns = clock.elapsed_ns, clock.system_ns
        self._boot = clock.boot()
        self._lock = threading.Lock()
        self.on_jump = on_jump
        self.jumps = 0
        elapsed, system = self._read()
        store = system if mark is None else mark.store * _MILLISECOND + self._slept(mark, elapsed, system)
        self._base = max(store, seen * NANOSECONDS) - elapsed
        self._offset_ns = 0 if mark is None else _whole(mark.shown - mark.store) * NANOSECONDS
        self.now()

    def _slept(self, mark: Mark, elapsed: int, system: int) -> int:
        """Return how many nanoseconds have passed since a mark, as far as it can be told."""
        since = elapsed - mark.elapsed * _MILLISECOND
        if self._boot and mark.boot == self._boot and since >= 0:
            return since
        return max(0, system - mark.shown * _MILLISECOND)

    def now(self) -> int:
        """Return the store's time in whole seconds; never less than what an earlier call returned."""
        store = self._base + self._elapsed_ns()
        if not -_JUMP_NS < self._system_ns() - store - self._offset_ns < _JUMP_NS:
            self._follow()
        return store // NANOSECONDS

    @property
    def offset(self) -> int:
        """Seconds that make Unix seconds of the store's time, as the system's clock stands."""
        return self._offset_ns // NANOSECONDS

    def show(self, terms: Terms) -> Terms:
        """Return the terms of a secret as the outside knows them."""
        offset = self.offset
        if not offset:
            return terms
        until = terms.expires_at
        # Under a clock that stands at 1970, what is older than that was made when Unix time began.
        created_at = max(0, terms.created_at + offset)
        return terms._replace(created_at=created_at, expires_at=None if until is None else until + offset)

    def mark(self) -> Mark:
        """Return this instant by all clocks."""
        self.now()
        elapsed = self._elapsed_ns()
        store = (self._base + elapsed) // _MILLISECOND
        return Mark(store, store + self._offset_ns // _MILLISECOND, elapsed // _MILLISECOND, self._boot)

    def _follow(self) -> None:
        """Show time by the system's clock as it stands now, and say that it has jumped."""
        with self._lock:
            elapsed, system = self._read()
            apart = system - self._base - elapsed - self._offset_ns
            if -_JUMP_NS < apart < _JUMP_NS:
                return
            self._offset_ns += _whole(apart // _MILLISECOND) * NANOSECONDS
            self.jumps += 1
        seconds = _whole(apart // _MILLISECOND)
        logger.error(
            "CLOCK: the system clock jumped %s by %d s; lives and lock-outs go on by the boot clock",
            "ahead" if seconds > 0 else "back",
            abs(seconds),
        )
        self.on_jump()

    def _read(self) -> tuple[int, int]:
        """Read both clocks at one instant: whoever was suspended in between would see a jump that never was."""
        for _ in range(_TRIES):
            elapsed, system = self._elapsed_ns(), self._system_ns()
            if self._elapsed_ns() - elapsed < _AT_ONCE_NS:
                break
        return elapsed, system


def resume(connection: sqlite3.Connection, clock: Clock) -> Timeline:
    """Go on with the time of a database, and keep a mark of where it is now.

    What came after the last mark before a crash is in the newest row. A database that an earlier release made has no
    mark: its rows, and its audit trail, tell the latest time that it has seen.
    """
    marks = connection.execute(statements.MARK).fetchall()
    ((seen,),) = connection.execute(statements.NEWEST if marks else statements.LATEST).fetchall()
    timeline = Timeline(clock, mark=Mark(*marks[0]) if marks else None, seen=seen)
    connection.execute(statements.KEEP_MARK, timeline.mark())
    return timeline


def _whole(milliseconds: int) -> int:
    """Return the nearest whole number of seconds."""
    return (milliseconds + 500) // 1000
