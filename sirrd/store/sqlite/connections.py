"""Connections to the SQLite file: how they are opened, what is checked before, and what is done between batches.

One connection writes and checkpoints; the others cannot write. Before any of them exists, the master keys are checked
without touching a byte.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

import aiosqlite

from sirrd.errors import BadFolder
from sirrd.keyring.masters import MasterKeys
from sirrd.store.sqlite.inspection import Guarded, drop_statistics, inspect, is_sound
from sirrd.store.sqlite.migrate import migrate

logger = logging.getLogger(__name__)

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-32000",
)
_READER_PRAGMAS: Final = ("PRAGMA query_only=ON", "PRAGMA temp_store=MEMORY", "PRAGMA cache_size=-2000")
_LOOK_UP_PRAGMAS: Final = (*_READER_PRAGMAS, "PRAGMA cache_size=-16000")
_EXPECTED: Final = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2, "auto_vacuum": 2}
_EXAMINED_BYTES: Final = 256 * 1024 * 1024
_LEAST_WAL_PAGES: Final = 1000
_MOST_WAL_PAGES: Final = 16_000
_CHECKPOINT_PATIENCE_MS: Final = 50
_PIECE_BYTES: Final = 1024 * 1024
VACUUM_PAGES: Final = 1000
SIDE_FILES: Final = ("-wal", "-shm", "-journal")


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the writing connection, migrate what our migrations made, and make sure that every pragma took."""
    # SQLite would make the file as the umask says, and the files beside it like this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Guarded)
    try:
        if not inspect(connection):
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if drop_statistics(connection):
            logger.warning("statistics that ANALYZE left in the database were dropped")
        migrate(connection)
        inspect(connection)
        _check_pragmas(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def bound_wal(connection: sqlite3.Connection, min_free_bytes: int) -> None:
    """Have the WAL written back once it takes a quarter of what is kept free; one batch of long values may add to that.

    The longer it may grow, the fewer requests meet a checkpoint; but reads and deletes write to it, too, and must find
    room where new values do not.
    """
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    pages = min(max(min_free_bytes // 4 // page_bytes, _LEAST_WAL_PAGES), _MOST_WAL_PAGES)
    connection.execute(f"PRAGMA wal_autocheckpoint={pages}")


def _read_only(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro"


def connect_look_up(path: Path) -> sqlite3.Connection:
    """Open a connection for look-ups on the event loop, which never waits for a lock."""
    connection = sqlite3.connect(_read_only(path), uri=True, isolation_level=None, timeout=0, factory=Guarded)
    try:
        for pragma in _LOOK_UP_PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_reader(path: Path) -> aiosqlite.Connection:
    """Open the connection for lists. Its thread keeps the process alive, so it must be closed whatever happens."""
    reading = await aiosqlite.connect(_read_only(path), uri=True, isolation_level=None, factory=Guarded)
    try:
        for pragma in _READER_PRAGMAS:
            await reading.execute_fetchall(pragma)
    except BaseException:
        await reading.close()
        raise
    return reading


def _check_pragmas(connection: sqlite3.Connection) -> None:
    """Read back what must not be otherwise: SQLite ignores what it does not understand."""
    for pragma, expected in _EXPECTED.items():
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != expected:
            raise BadFolder(f"SQLite does not support {pragma} as it must be set here")


def check_keys(path: Path, masters: MasterKeys) -> None:
    """Check, without writing, that a database, if there is one, is as we make it, and has these master keys.

    Raises:
        BadFolder: It is not, or it does not hang together.
        WrongKey: They are others.
    """
    if not path.exists() or not path.stat().st_size:
        return
    connection = sqlite3.connect(f"{path.as_uri()}?{options_to_read(path)}", uri=True, factory=Guarded)
    with contextlib.closing(connection):
        if inspect(connection):
            for (check_value,) in connection.execute("SELECT check_value FROM master_key"):
                masters.verify(check_value)
        _refuse_foreign_wal(path, connection)


def _refuse_foreign_wal(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database that its WAL would damage: nothing in a WAL says which database it is of.

    The first connection that writes would make it part of the database for good. Without a WAL there is none to fear;
    with a large database it would take too long.
    """
    wal = path.with_name(f"{path.name}-wal")
    if not wal.exists() or not wal.stat().st_size or path.stat().st_size > _EXAMINED_BYTES:
        return
    if not is_sound(connection):
        raise BadFolder(
            "the database is damaged, or the WAL beside it is another database's",
            hint="put a backup in its place with sirrd restore --replace; never copy one over it",
        )


def options_to_read(path: Path) -> str:
    """Return how SQLite is to open a file that nobody has open, so that reading it makes no file beside it.

    Without a WAL nothing has to be made, and it may stand on a read-only disk.
    """
    alone = not any(path.with_name(path.name + suffix).exists() for suffix in SIDE_FILES)
    return "mode=ro&immutable=1" if alone else "mode=ro"


def free_pages(connection: sqlite3.Connection) -> int:
    """Return how many pages of the file hold nothing."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def vacuum_some(connection: sqlite3.Connection) -> None:
    """Return some free pages to the file system."""
    # The pragma frees one page a step, and `execute` takes one step of a statement that returns nothing.
    connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")


def persist_wal(path: Path) -> bool:
    """Have the kernel write what a crash left in the WAL of a database to the disk, and tell whether it did.

    After a sync that failed the kernel takes pages for written that are on no disk, and another sync skips them. A
    checkpoint that began from those would leave a torn database behind if the power failed in the middle of it. Writing
    the same bytes over themselves makes the kernel write them. No connection of this process may be open: to close the
    file would release its locks.

    Args:
        path: The database.
    """
    try:
        with path.with_name(f"{path.name}-wal").open("r+b", buffering=0) as wal:
            at = 0
            while piece := os.pread(wal.fileno(), _PIECE_BYTES, at):
                at += os.pwrite(wal.fileno(), piece, at)
            os.fsync(wal.fileno())
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Truncate the WAL; tell whether that worked."""
    connection.execute(f"PRAGMA busy_timeout={_CHECKPOINT_PATIENCE_MS}")
    try:
        (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute("PRAGMA busy_timeout=0")
    return not blocked
