"""Upkeep of the database: free space, the WAL, the mark of the time, and whether anything can be written."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sirrd.errors import (
    StorageError,
    Unavailable,
)
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import FOREVER, Attempts
from sirrd.store.sqlite.connections import (
    VACUUM_PAGES,
    checkpoint,
    free_pages,
    vacuum_some,
)
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.timeline import Timeline
from sirrd.store.sqlite.units import Transaction
from sirrd.store.sqlite.writer import Writer

logger = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 10.0
_SPARE_PAGES: Final = 256
_LEAST_FREE_BYTES: Final = statements.PRUNE_BATCH_BYTES  # what the largest unit of work of the daemon's own may need
_MEASURE_SECONDS: Final = 1.0
_MEASURE_BYTES: Final = 1024 * 1024
_VACUUM_STEPS: Final = 64
_CHECKPOINT_TRIES: Final = 10
_CHECKPOINT_PAUSE_SECONDS: Final = 0.1


class Upkeep:
    """See `store.Store`, some of whose methods these are.

    Args:
        path: The database.
        writer: Commits.
        writing: The writer's connection, for when it has ended.
        queries: Reads.
        timeline: The store's time.
        attempts: What readers may be answered again.
        min_free_bytes: Below that much free space nothing new is stored.
    """

    def __init__(
        self,
        path: Path,
        *,
        writer: Writer,
        writing: sqlite3.Connection,
        queries: Queries,
        timeline: Timeline,
        attempts: Attempts,
        min_free_bytes: int,
    ) -> None:
        self._path = path
        self._writer = writer
        self._writing = writing
        self._queries = queries
        self._timeline = timeline
        self._attempts = attempts
        self._loop = asyncio.get_running_loop()
        self._marking: asyncio.Future[None] | None = None
        self._timeline.on_jump = self._note_jump
        self._min_free_bytes = min_free_bytes
        self._measured_at = 0.0
        self._free_bytes = 0
        self._promised_bytes = 0

    async def end_attempts(self) -> None:
        """End all that attempts have left: after a restore nobody gets anything again."""
        await self._writer.submit(lambda transaction: transaction.execute(statements.END_ALL, ()), long=True)
        await self._sweep(before=FOREVER)

    async def _sweep(self, *, before: int | None = None, seconds: float = math.inf) -> None:
        """End what attempts have left and is over by now, or by a time of the store; for so long at most."""
        count, ends_at = 1, time.monotonic() + seconds
        while count and time.monotonic() < ends_at:
            # What becomes due meanwhile waits for the next tick: with readers that never pause this would not end.
            count, before = await self._writer.submit(
                functools.partial(self._attempts.sweep, before=before), long=True, own=True
            )

    def has_room(self, needed: int = 0) -> bool:
        """See `Store.has_room`; measured each second, and again for each MiB that was asked about since."""
        self._promised_bytes += needed
        now = time.monotonic()
        if now - self._measured_at >= _MEASURE_SECONDS or self._promised_bytes > _MEASURE_BYTES:
            self._free_bytes = self._measure()
            self._measured_at, self._promised_bytes = now, needed
        return self._free_bytes - self._promised_bytes >= self._min_free_bytes

    def _measure(self) -> int:
        """Return how many bytes are free."""
        try:
            space = os.statvfs(self._path.parent)
        except OSError:
            raise Unavailable from None
        return space.f_bavail * space.f_frsize

    async def check(self) -> None:
        """See `Store.check`."""
        await self._queries.fetch("SELECT 1 FROM inner_keys", {})
        if (free := self._measure()) < _LEAST_FREE_BYTES:
            # A small write may still go into the slack of the WAL while larger ones fail: it would prove nothing.
            logger.error("the disk is full: %d bytes are free", free)
            raise Unavailable
        if self._writer.health.failing:
            # The failure may be over; only a checkpoint and a write can tell.
            await self._writer.checkpoint()
            await self._writer.submit(_probe, long=True, own=True)

    async def tidy(self) -> dict[str, Any]:
        """See `Store.tidy`: end what attempts have left, return some free pages, and in any case empty the WAL."""
        await self._keep_mark()
        try:
            await self._sweep(seconds=_SWEEP_SECONDS)
            free = await self._writer.between(free_pages)
            for _ in range(0, min(free - _SPARE_PAGES, _VACUUM_STEPS * VACUUM_PAGES), VACUUM_PAGES):
                await self._writer.between(vacuum_some)
        finally:
            is_empty = await self._truncate()
        return {"wal": "truncated" if is_empty else "held by a reader", **await self._chain_head()}

    async def _keep_mark(self) -> None:
        """Keep where the store's time is now, for the next start."""
        # Whatever hinders it, the writer has said so, and the next tick tries again.
        with contextlib.suppress(StorageError):
            await self._writer.submit(self._mark, long=True, own=True)

    def _mark(self, transaction: Transaction) -> None:
        transaction.change(statements.KEEP_MARK, self._timeline.mark())

    def _note_jump(self) -> None:
        """Keep a mark soon; a jump is found on either thread."""
        self._loop.call_soon_threadsafe(self._keep_mark_soon)

    def _keep_mark_soon(self) -> None:
        self._marking = asyncio.ensure_future(self._keep_mark())

    async def _truncate(self) -> bool:
        """Write the WAL back and truncate it; a reader in the way is waited for, but not for long at a time."""
        for _ in range(_CHECKPOINT_TRIES):
            if await self._writer.checkpoint():
                return True
            await asyncio.sleep(_CHECKPOINT_PAUSE_SECONDS)
        return False

    async def _chain_head(self) -> dict[str, Any]:
        rows = await self._queries.fetch("SELECT id, length, head FROM audit_chain ORDER BY id DESC LIMIT 1", {})
        return {"audit_chain": rows[0][0], "audit_length": rows[0][1], "audit_head": rows[0][2].hex()}

    async def close(self) -> None:
        """See `Store.close`."""
        try:
            await self._queries.close()
            await self._keep_mark()
        finally:
            await self._writer.close()
            await self._empty_wal_for_good()
            self._writing.close()

    async def _empty_wal_for_good(self) -> None:
        """Truncate the WAL after the last batch; nothing else uses the connection any more."""
        for _ in range(_CHECKPOINT_TRIES):
            try:
                if checkpoint(self._writing):
                    return
            except sqlite3.Error as error:
                logger.error("the last checkpoint failed: %s", error.sqlite_errorname)
                return
            await asyncio.sleep(_CHECKPOINT_PAUSE_SECONDS)
        logger.warning("the WAL could not be emptied: another process reads the database")


def _probe(transaction: Transaction) -> None:
    """Write, and change nothing."""
    for _ in range(2):
        transaction.change(statements.PROBE, ())
