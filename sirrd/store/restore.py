"""Makes a backup the database of a data folder that nobody else holds.

At any instant of a crash the folder holds the old database whole, or the new one whole. The copy is made and finished
under another name. Then the old database's WAL is written back and removed *by SQLite*, and only then does the rename
come: a WAL that is unlinked before it takes committed writes of the old database along, and one that is still there
after it would be replayed onto the new file, to which it does not belong.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from sirrd.clock import Clock
from sirrd.errors import BackupError, BadFolder, BadSchema
from sirrd.keyring import MasterKeys
from sirrd.model import Caller
from sirrd.store.backup import copy, refuse_own, settle, sync, translated
from sirrd.store.connections import SIDE_FILES, options_to_read
from sirrd.store.folder import DataFolder
from sirrd.store.inspection import Guarded, inspect
from sirrd.store.sqlite import SqliteStore

logger = logging.getLogger(__name__)

_BY: Final = Caller("local")
_HOPELESS: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class Restored(NamedTuple):
    """What a restore did.

    Attributes:
        kept: Secrets that are there now.
        burned: Secrets that were deleted because they had a limit of reads.
    """

    kept: int
    burned: int


async def restore(
    file: Path, folder: DataFolder, *, masters: MasterKeys, clock: Clock, replace: bool, burn: bool
) -> Restored:
    """Put a copy of a backup in the place of the database.

    Raises:
        BackupError: The file is no backup, or there is a database and it is not to be replaced.
        BadSchema: Somebody changed the schema of the backup; nothing was touched.
        WrongKey: The keys are not those of the backup; nothing was touched.
        FolderInUse: Another process holds the folder.
        BadFolder: The folder cannot be used.
    """
    refuse_own(folder.database, file)
    options = _check(file, masters)
    for warning in folder.prepare():
        logger.warning(warning)
    folder.lock()
    try:
        _refuse_existing(folder, replace=replace)
        folder.sweep()
        with translated():
            os.close(os.open(folder.staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            folder.staged.chmod(0o600)
            copied = copy(file, folder.staged, options=options)
            found = settle(folder.staged)
            expired, burned = await _clean(folder.staged, masters, clock, burn=burn)
            kept = settle(folder.staged)
            if copied != found or kept != found - expired - burned:
                raise BackupError("the copy is not whole; nothing was put in place")
            sync(folder.staged)
            _put_in_place(folder)
        return Restored(kept, burned)
    finally:
        folder.sweep()
        folder.unlock()


def _check(file: Path, masters: MasterKeys) -> str:
    """Check file and keys without touching anything; return how SQLite is to open the file."""
    options = options_to_read(file)
    uri = f"{file.as_uri()}?{options}"
    with translated(), contextlib.closing(sqlite3.connect(uri, uri=True, factory=Guarded)) as connection:
        try:
            version = inspect(connection)
        except BadSchema:
            raise
        except BadFolder as error:
            raise BackupError("the file is not a backup that this release can use", hint=error.hint) from None
        if not version:
            raise BackupError("the file is not a backup: it is an empty database")
        for (check_value,) in connection.execute("SELECT check_value FROM master_key"):
            masters.verify(check_value)
        for (sealed,) in connection.execute("SELECT sealed FROM inner_keys"):
            masters.open_inner(sealed)
    return options


def _refuse_existing(folder: DataFolder, *, replace: bool) -> None:
    database = folder.database
    if not replace and any(_has_content(path) for path in (database, *_beside(database))):
        raise BackupError("the data folder holds a database already", hint="--replace puts the backup in its place")


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _beside(database: Path) -> list[Path]:
    return [database.with_name(database.name + suffix) for suffix in SIDE_FILES]


async def _clean(staged: Path, masters: MasterKeys, clock: Clock, *, burn: bool) -> tuple[int, int]:
    """Bring a copy to the newest schema, remove what expired and, if asked to, what may have been read; count both."""
    store = await SqliteStore.open(staged, masters=masters, clock=clock)
    expired = burned = after = 0
    try:
        while count := await store.prune(org=None, by=_BY):
            expired += count
        await store.end_attempts()
        while burn:
            count, after = await store.burn_limited(after=after, by=_BY)
            burned += count
            if not count:
                break
    finally:
        await store.close()
    return expired, burned


def _put_in_place(folder: DataFolder) -> None:
    database = folder.database
    if _has_content(database):
        _make_single(database)
    for path in _beside(database):
        path.unlink(missing_ok=True)
    sync(folder.path)
    folder.staged.rename(database)
    sync(folder.path)


def _make_single(database: Path) -> None:
    """Write the WAL of the old database back, so that nothing of it stands beside it; if it opens at all."""
    try:
        with contextlib.closing(sqlite3.connect(database, isolation_level=None, factory=Guarded)) as connection:
            # Reading rolls a journal back that a crash has left.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            single = connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            single = False
        elif code not in _HOPELESS:
            raise
        else:
            return
    if not single:
        raise BackupError("another process has the old database open", hint="end it first: fuser sirrd.db")
