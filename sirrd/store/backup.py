"""Copies of a live database: made whole or not at all, without writing to it.

The source is opened read-only, so this process neither writes nor checkpoints. All pages are copied in one step, in one
read transaction: a copy in several steps begins again whenever the daemon writes, and beside a busy daemon never ends.
While the step lasts the WAL cannot be truncated, so the copy is made without waiting for the disk, and is synced after
the transaction has ended.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sirrd.errors import BackupError, BadFolder
from sirrd.store.connections import SIDE_FILES, options_to_read
from sirrd.store.folder import KEY_FILE, LOCK
from sirrd.store.inspection import Guarded, inspect, is_sound

_BUSY_TRIES: Final = 40
_SECRETS: Final = "SELECT count(*) FROM secret"


def backup(database: Path, target: Path) -> int:
    """Copy a database, beside a running daemon or not, into a new file of mode 0600; return its number of secrets.

    Raises:
        BadFolder: There is no database, or it is not one of ours.
        BackupError: The file exists, or cannot be written; nothing was left behind.
    """
    if not database.is_file():
        raise BadFolder("the data folder holds no database", hint="see SIRR_DATA_DIR")
    refuse_own(database, target)
    _refuse_existing(target)
    with translated():
        _examine(database)
    with translated(), _new_beside(target) as new:
        secrets = copy(database, new)
        if settle(new) != secrets:
            raise BackupError("the copy is not whole")
        sync(new)
        _refuse_existing(target)
        new.rename(target)
        sync(target.parent)
    return secrets


def _examine(database: Path) -> None:
    """Look at the schema before anything else, in a way that makes no file beside a database that nobody has open."""
    uri = f"{database.as_uri()}?{options_to_read(database)}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, factory=Guarded)) as connection:
        inspect(connection)


def copy(source: Path, target: Path, *, options: str = "mode=ro") -> int:
    """Copy all pages of a database, with what is in its WAL, into an empty file that is there; return how many secrets.

    Raises:
        BadFolder: It is not a database as sirrd makes it.
    """
    reading = sqlite3.connect(f"{source.as_uri()}?{options}", uri=True, factory=Guarded)
    with contextlib.closing(reading), contextlib.closing(sqlite3.connect(target, isolation_level=None)) as writing:
        reading.execute("BEGIN")
        if not inspect(reading):
            raise BackupError("the database is empty")
        secrets = int(reading.execute(_SECRETS).fetchone()[0])
        # A copy that fails is thrown away, so it needs no journal and no syncs of its own.
        writing.execute("PRAGMA journal_mode=OFF")
        writing.execute("PRAGMA synchronous=OFF")
        reading.backup(writing, pages=-1, progress=_patience())
    return secrets


def _patience() -> Callable[[int, int, int], None]:
    """Return what ends a copy that meets a lock again and again: by itself it would wait for ever."""
    tries = iter(range(_BUSY_TRIES))

    def progress(status: int, _remaining: int, _total: int) -> None:
        if status != sqlite3.SQLITE_DONE and next(tries, None) is None:
            raise BackupError("another process has the database locked")

    return progress


def settle(path: Path) -> int:
    """Make a database a single file that needs no WAL, check it, and return its number of secrets.

    Raises:
        BadFolder: It is not a database as sirrd makes it.
        BackupError: It is empty, or damaged.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Guarded)) as connection:
        if not inspect(connection):
            raise BackupError("the database is empty")
        connection.execute("PRAGMA temp_store=MEMORY")
        if connection.execute("PRAGMA journal_mode=DELETE").fetchone() != ("delete",):
            raise BackupError("the database could not be made a single file")
        if not is_sound(connection):
            raise BackupError("the database is damaged")
        return int(connection.execute(_SECRETS).fetchone()[0])


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk. SQLite must not have it open, or loses its locks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_with_side_files(path: Path) -> None:
    """Remove a database and what stands beside it."""
    for name in (path, *(path.with_name(path.name + suffix) for suffix in SIDE_FILES)):
        name.unlink(missing_ok=True)


def refuse_own(database: Path, copied: Path) -> None:
    """Refuse a copy under a name that is SQLite's or sirrd's own: it would be taken for part of the database.

    Raises:
        BackupError: It stands in the data folder under such a name.
    """
    own = copied.name.startswith((database.name, KEY_FILE, LOCK))
    if own and database.parent.is_dir() and copied.parent.is_dir() and copied.parent.samefile(database.parent):
        raise BackupError("that file in the data folder is sirrd's own", hint="keep backups elsewhere")


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise BackupError("the backup file exists already", hint="name one that does not, or remove it first")


@contextlib.contextmanager
def _new_beside(target: Path) -> Iterator[Path]:
    """Make an empty file for its owner only, whatever the umask, and remove what is left under its name at the end."""
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".new", dir=target.parent)
    try:
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        yield Path(name)
    finally:
        remove_with_side_files(Path(name))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLite and of the system into `BackupError`, by their names alone."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or "unknown"
        raise BackupError(f"the copy failed: {reason}", hint="see the disk and the permissions") from None
