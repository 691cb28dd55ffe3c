"""The command `sirrd rotate-key`: a new master key, and every record moved to it, beside a running daemon or without.

It is safe to end at any instant, and goes on where it was ended: the new key is in its file before anything is sealed
with it, and the older one is taken out of the file only after nobody needs it any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sirrd.assembly import deaddrop_of
from sirrd.clock import SystemClock
from sirrd.config import Settings
from sirrd.deaddrop import DeadDrop
from sirrd.entropy import SystemEntropy
from sirrd.errors import FolderInUse, NoNewerKey, Unreadable
from sirrd.keyring import KEY_BYTES, MasterKey
from sirrd.model import Caller
from sirrd.store.folder import DataFolder

PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5

Begin = Callable[[str], int | None]
"""Asks the daemon at an address to move, or to go on; returns how many are left, or None if there is nothing to do."""


def rotate(settings: Settings, *, begin: Begin, say: Callable[[str], None]) -> None:
    """Move every record to a new master key.

    Args:
        settings: What the operator chose.
        begin: Asks a running daemon.
        say: Told about progress.

    Raises:
        NoNewerKey: The keys come from a setting, and none is before those that records are under.
        Unreadable: Some records do not open, so older keys have to stay.
        FolderInUse: Another process changes the key file, or holds the folder without listening.
        StartupError: The folder or its keys cannot be used.
        StorageError: The store failed; what was moved is moved.
    """
    folder = DataFolder(settings.data_dir)
    folder.prepare()
    entropy = SystemEntropy()
    with folder.rotating():
        if settings.master_encryption_key is not None:
            _move(settings, folder, begin=begin, say=say)
            return
        keys = folder.master_keys(entropy)
        if len(keys) == 1:
            keys = (MasterKey.of(entropy(KEY_BYTES)), *keys)
            folder.replace_master_keys(keys)
            say("a new key stands first in the key file")
        try:
            _move(settings, folder, begin=begin, say=say)
        except NoNewerKey:
            say("every record was moved before")
        folder.replace_master_keys(keys[:1])
        say("the older key is no longer in the key file; backups that were made before need it")


def _move(settings: Settings, folder: DataFolder, *, begin: Begin, say: Callable[[str], None]) -> None:
    try:
        remaining = asyncio.run(_move_offline(settings, say))
    except FolderInUse:
        address = folder.holder()
        if not address:
            raise
        remaining = _move_beside(lambda: begin(address), say)
    if remaining:
        say(f"{remaining} records do not open and were not moved: the log names them")
        raise Unreadable


async def _move_offline(settings: Settings, say: Callable[[str], None]) -> int:
    async with deaddrop_of(settings, clock=SystemClock(), entropy=SystemEntropy()) as drop:
        say(f"{await drop.begin_rotation()} records to move")
        moving = asyncio.create_task(drop.rotate(by=Caller("local")))
        while not (await asyncio.wait([moving], timeout=1))[0]:
            await _report(drop, say)
        remaining = await moving
        await drop.tidy()
        return remaining


async def _report(drop: DeadDrop, say: Callable[[str], None]) -> None:
    say(f"{await drop.remaining()} records left")


def _move_beside(begin: Callable[[], int | None], say: Callable[[str], None]) -> int:
    """Ask the daemon until nothing is left, and nothing needs an older key; return what does not get less."""
    remaining = begin()
    if remaining is None:
        raise NoNewerKey
    say(f"{remaining} records to move")
    lowest, since = remaining, time.monotonic()
    while time.monotonic() - since < PATIENCE_SECONDS:
        time.sleep(_PAUSE_SECONDS)
        remaining = begin()
        if remaining is None:
            return 0
        if remaining < lowest:
            lowest, since = remaining, time.monotonic()
            say(f"{remaining} records left")
    return lowest
