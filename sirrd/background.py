"""Periodic work: pruning, flushing counts, emptying the WAL. A job that fails is logged and tried again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
from collections.abc import AsyncIterator
from typing import Final

from sirrd.deaddrop.usecases import DeadDrop
from sirrd.errors import StorageError
from sirrd.model import Caller

CHECKPOINT_SECONDS: Final = 60.0
PRUNE_SECONDS: Final = 10.0
FIRST_PRUNE_SECONDS: Final = 2.0
logger = logging.getLogger(__name__)


async def tick(drop: DeadDrop, *, prune: bool = True, gently: bool = True) -> bool:
    """Do once what is due from time to time: after it, what is gone is gone from the files, too (I8).

    Returns:
        Whether nothing is left to prune; what is must not keep the rest waiting.
    """
    pruned, is_done = 0, True
    try:
        if prune:
            pruned, is_done = await drop.prune(by=Caller("daemon"), seconds=PRUNE_SECONDS, gently=gently)
        await drop.flush()
    finally:
        # Whatever hinders the rest must not keep what has burned in the files.
        kept = await drop.tidy()
    logger.info("tick", extra={"fields": {"pruned": pruned, **kept}})
    return is_done


async def prune_first(drop: DeadDrop) -> None:
    """Remove at a start what has expired by the latest time that the store has seen, for a bounded time.

    Nobody could read it, whatever the clock says; but what is gone from the file depends on no clock. What takes longer
    than that goes with the ticks.
    """
    try:
        await drop.prune(by=Caller("daemon"), seconds=FIRST_PRUNE_SECONDS, gently=False)
    except StorageError as error:
        logger.error("what had expired could not be removed at the start: %s", type(error).__name__)


async def _run(drop: DeadDrop, stopping: asyncio.Event, *, prune_interval_seconds: float) -> None:
    interval = prune_interval_seconds or CHECKPOINT_SECONDS
    ticks_per_prune = math.ceil(interval / CHECKPOINT_SECONDS)
    keeps_up = True
    for number in itertools.count(1):
        await asyncio.sleep(interval / ticks_per_prune)
        try:
            is_due = prune_interval_seconds > 0 and (number % ticks_per_prune == 0 or not keeps_up)
            keeps_up = await tick(drop, prune=is_due, gently=keeps_up)
        except Exception as error:  # noqa: BLE001 - the job's edge: the next tick must come whatever this one met
            logger.error("a tick failed: %s", type(error).__name__)
        if stopping.is_set():
            # What failed while the tick was cancelled has taken the cancellation's place.
            return


@contextlib.asynccontextmanager
async def ticking(drop: DeadDrop, *, prune_interval_seconds: float) -> AsyncIterator[None]:
    """Tick in the background, at least once a minute.

    Args:
        drop: What to keep tidy.
        prune_interval_seconds: Seconds between two prunes; 0 stops them, never the checkpoints.
    """
    stopping = asyncio.Event()
    task = asyncio.create_task(_run(drop, stopping, prune_interval_seconds=prune_interval_seconds))
    try:
        yield
    finally:
        stopping.set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Mover:
    """Moves records to the first master key in the background, one move at a time."""

    def __init__(self, drop: DeadDrop) -> None:
        self._drop = drop
        self._task: asyncio.Task[None] | None = None

    def start(self, *, by: Caller) -> None:
        """Begin, unless it is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(by))

    async def stop(self) -> None:
        """End between two batches; the next start of a move goes on from there."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, by: Caller) -> None:
        try:
            remaining = await self._drop.rotate(by=by)
            logger.info("records moved to the first master key", extra={"fields": {"remaining": remaining}})
        except Exception as error:  # noqa: BLE001 - the job's edge: it is begun again by whoever asked for it
            logger.error("moving records to the first master key failed: %s", type(error).__name__)
