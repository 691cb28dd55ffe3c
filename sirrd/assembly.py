"""Opens what the use cases stand on: data folder, keys, store. The daemon and the command line share it."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable

from sirrd.clock import Clock
from sirrd.config.settings import Settings
from sirrd.deaddrop.usecases import DeadDrop
from sirrd.entropy import Entropy
from sirrd.errors import StorageError
from sirrd.keyring.masters import MasterKeys, parse_master_keys
from sirrd.measures import Measures
from sirrd.memory import Memory
from sirrd.store.sqlite.folder import DataFolder, KeysOfDaemon
from sirrd.store.sqlite.store import SqliteStore

logger = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def deaddrop_of(
    settings: Settings,
    *,
    clock: Clock,
    entropy: Entropy,
    announced: str = "",
    held: DataFolder | None = None,
    memory: Memory | None = None,
    measures: Measures | None = None,
) -> AsyncIterator[DeadDrop]:
    """Take the data folder, open the store in it, and let go of both at the end.

    Args:
        settings: What the operator chose.
        clock: Tells the time.
        entropy: Gives randomness.
        announced: Where a daemon is about to listen; a command has no address.
        held: The folder, if the caller has it locked already and keeps it so.
        memory: Bounds what is held for clients, or None for bounds of its own.
        measures: What is to be counted, or None for nothing.

    Raises:
        StartupError: The folder is held, cannot be used, or the keys do not belong to it.
    """
    given = settings.master_encryption_key
    keys = None if given is None else parse_master_keys(given.get_secret_value())
    folder = held or DataFolder(settings.data_dir)
    for warning in folder.prepare():
        logger.warning(warning)

    def master_keys() -> MasterKeys:
        return MasterKeys(keys or folder.master_keys(entropy), entropy)

    async with contextlib.AsyncExitStack() as stack:
        if held is None:
            folder.lock()
            stack.callback(folder.unlock)
        folder.sweep()
        masters = master_keys()
        store = await SqliteStore.open(
            folder.database,
            masters=masters,
            clock=clock,
            min_free_bytes=settings.min_free_bytes,
            redelivery_seconds=settings.redelivery_seconds,
            memory=memory,
            measures=measures,
        )
        stack.push_async_callback(store.close)
        if not settings.redelivery_seconds:
            # What an earlier run has promised is not given any more either.
            await store.end_attempts()
        drop = (DeadDrop if measures is None else _measured(measures))(
            store,
            caps=settings.caps,
            public_caps=settings.public_caps,
            entropy=entropy,
            master_keys=master_keys,
        )
        stack.push_async_callback(_flush_everything, drop)
        if announced:
            folder.keys_of_daemon = KeysOfDaemon("setting" if keys else "file", masters.first.id.hex())
        folder.announce(announced)
        yield drop


def _measured(measures: Measures) -> Callable[..., DeadDrop]:
    """Return what makes use cases that count."""
    # Loaded only here: most daemons count nothing.
    from sirrd.deaddrop.measured import MeasuredDeadDrop  # noqa: PLC0415

    return functools.partial(MeasuredDeadDrop, measures=measures)


async def _flush_everything(drop: DeadDrop) -> None:
    try:
        await drop.flush(everything=True)
    except StorageError:
        logger.warning("counts of the last minute could not be written")
