"""The parts of the store that are built where metrics are wanted: each does what it is named after, and counts.

They stand beside what they measure, so that the rest of the store is the same with and without them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sirrd.errors import StorageError
from sirrd.events import Event
from sirrd.measures import Measures, Vitals
from sirrd.memory import Memory
from sirrd.store.sqlite.attempts import Attempts
from sirrd.store.sqlite.census import Census
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.timeline import Timeline
from sirrd.store.sqlite.units import Times, Trail, Unit
from sirrd.store.sqlite.upkeep import Upkeep
from sirrd.store.sqlite.writer import Writer

_CENSUS_SECONDS: Final = 5.0


class MeasuredTrail:
    """See `Trail`; what it counts is committed. What strangers cause is counted elsewhere: its rows come late."""

    def __init__(self, trail: Trail, measures: Measures) -> None:
        self._trail = trail
        self._committed = measures.committed

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """See `Trail.append`."""
        committed = self._trail.append(connection, events)
        if not events:
            return committed

        def counted() -> None:
            committed()
            counts = self._committed
            for event in events:
                if event.action in counts:
                    counts[event.action] += event.times

        return counted


class MeasuredWriter(Writer):
    """See `Writer`.

    Attributes:
        measures: Where it counts.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        trail: Trail,
        clock: Times,
        memory: Memory | None = None,
        measures: Measures,
    ) -> None:
        self.measures = measures
        super().__init__(connection, trail=MeasuredTrail(trail, measures), clock=clock, memory=memory)

    @property
    def waiting(self) -> int:
        """How many units wait."""
        return len(self._short) + len(self._long)

    def _commit(self, batch: list[Unit[Any]], finish: Callable[[], None] | None) -> None:
        began = time.perf_counter()

        def measured() -> None:
            # What is to be called after the commit is called right after it.
            took = time.perf_counter() - began
            if finish is not None:
                finish()
            self.measures.commits.observe(took)
            self.measures.batches.observe(len(batch))

        super()._commit(batch, None if finish is None else measured)

    def _fail(self, batch: list[Unit[Any]], error: Exception) -> None:
        self.measures.failed_transactions += 1
        super()._fail(batch, error)

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        outcome = "failed"
        try:
            is_empty = super()._checkpoint(connection)
            outcome = "truncated" if is_empty else "blocked"
        finally:
            self.measures.checkpoints[outcome] += 1
        return is_empty


class MeasuredUpkeep(Upkeep):
    """See `Upkeep`; it also counts the secrets, by and by, and says how the storage is."""

    def __init__(
        self,
        path: Path,
        *,
        writer: MeasuredWriter,
        writing: sqlite3.Connection,
        queries: Queries,
        timeline: Timeline,
        attempts: Attempts,
        min_free_bytes: int,
    ) -> None:
        super().__init__(
            path,
            writer=writer,
            writing=writing,
            queries=queries,
            timeline=timeline,
            attempts=attempts,
            min_free_bytes=min_free_bytes,
        )
        self._measured_writer = writer
        self._measures = writer.measures
        self._census = Census(queries, timeline)
        self._measures.vitals = self._vitals

    async def tidy(self) -> dict[str, Any]:
        """See `Store.tidy`."""
        try:
            told = await super().tidy()
        except Exception:
            self._measures.ticks["failed"] += 1
            raise
        self._measures.ticks["done"] += 1
        # The reader has told the log what hinders it, and the tick has done what it must.
        with contextlib.suppress(StorageError):
            if (counted := await self._census.go_on(seconds=_CENSUS_SECONDS)) is not None:
                self._measures.secrets = counted
        return told

    def _vitals(self) -> Vitals:
        free_bytes = wal_bytes = 0
        with contextlib.suppress(StorageError):
            free_bytes = self._measure()
        with contextlib.suppress(OSError):
            wal_bytes = os.stat(f"{self._path}-wal").st_size  # noqa: PTH116 - the name is that of the file, and more
        writer = self._measured_writer
        return Vitals(writer.waiting, wal_bytes, free_bytes, writer.health.failing, self._timeline.jumps)
