"""Copies of a live database: made whole or not at all, without writing to it.

The source is opened read-only, so this process neither writes nor checkpoints. All pages are copied in one step, in one
read transaction: a copy in several steps begins again whenever the daemon writes, and beside a busy daemon never ends.
While the step lasts the WAL cannot be truncated, so the copy is made without waiting for the disk, and is synced after
the transaction has ended. It has no name before it is whole: see `unnamed`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sirrd.errors import BackupError, BadFolder
from sirrd.owner import ROOT, Owner, acting_as, stranger_on_the_way, who
from sirrd.store.sqlite.connections import options_to_read
from sirrd.store.sqlite.folder import KEY_FILE, LOCK
from sirrd.store.sqlite.inspection import Guarded, inspect, is_sound
from sirrd.store.sqlite.unnamed import Unnamed, new_file, pour, unnamed_database

_BUSY_TRIES: Final = 40
_SECRETS: Final = "SELECT count(*) FROM secret"
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def backup(database: Path, target: Path, *, owner: Owner | None = None) -> int:
    """Copy a database, beside a running daemon or not, into a new file of mode 0600; return its number of secrets.

    Args:
        database: The database.
        target: What gets the copy; nothing has that name yet.
        owner: As whom the database is read, if that is another than who may write the file; only root has the choice.

    Raises:
        BadFolder: There is no database, or it is not one of ours.
        BackupError: The file exists, or cannot be written; nothing was left behind.
    """
    refuse_own(database, target)
    if os.path.lexists(target):
        raise BackupError("the backup file exists already", hint="name one that does not, or remove it first")
    _refuse_strangers(target.parent)
    with translated(), new_file(target) as file, unnamed_database(target.parent) as copied:
        with acting_as(owner):
            secrets = _fill(copied, database)
        pour(copied.descriptor, file)
    return secrets


def backup_to(stream: int, database: Path) -> int:
    """Copy a database into a stream, such as a pipe, and return its number of secrets; errors as in `backup`.

    The copy is checked before the first byte leaves. Until then it takes room where temporary files stand, else in the
    data folder.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        folder = database.parent
    with translated(), unnamed_database(folder) as copied:
        secrets = _fill(copied, database)
        if stat.S_ISREG(os.fstat(stream).st_mode):
            # The shell made it as the umask says; whoever does not own it has said so.
            with contextlib.suppress(OSError):
                os.fchmod(stream, 0o600)
        pour(copied.descriptor, stream)
        with contextlib.suppress(OSError):
            os.fsync(stream)
    return secrets


def _refuse_strangers(folder: Path) -> None:
    """Have root write only where nobody else can put a link in the place of what SQLite opens."""
    if os.geteuid() == ROOT and folder.is_dir() and (stranger := stranger_on_the_way(folder, ROOT)):
        raise BackupError(
            f"root does not write there: {stranger}",
            hint="name a folder that root alone can change, or have the shell write: sirrd backup - > FILE",
        )


def _fill(copied: Unnamed, database: Path) -> int:
    """Copy all pages, make it a database without a WAL, check it, and return its number of secrets."""
    if not database.is_file():
        raise BadFolder("the data folder holds no database", hint="see SIRR_DATA_DIR")
    _examine(database)
    secrets = copy(database, copied.writing)
    copied.finish()
    if not is_sound(copied.checking) or copied.checking.execute(_SECRETS).fetchone() != (secrets,):
        raise BackupError("the copy is not whole", hint="try again; the disk of the copy may be damaged")
    return secrets


def _examine(database: Path) -> None:
    """Look at the schema before anything else, in a way that makes no file beside a database that nobody has open."""
    uri = f"{database.as_uri()}?{options_to_read(database)}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, factory=Guarded)) as connection:
        inspect(connection)


def copy(source: Path | sqlite3.Connection, target: sqlite3.Connection) -> int:
    """Copy all pages of a database, with what is in its WAL, into an empty one; return how many secrets.

    Raises:
        BadFolder: It is not a database as sirrd makes it.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            opened = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, factory=Guarded)
            source = stack.enter_context(contextlib.closing(opened))
        source.execute("BEGIN")
        stack.callback(source.rollback)
        if not inspect(source):
            raise BackupError("the database is empty")
        secrets = int(source.execute(_SECRETS).fetchone()[0])
        source.backup(target, pages=-1, progress=_patience())
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


def refuse_own(database: Path, copied: Path) -> None:
    """Refuse a copy under a name that is SQLite's or sirrd's own: it would be taken for part of the database.

    Raises:
        BackupError: It stands in the data folder under such a name.
    """
    own = copied.name.startswith((database.name, KEY_FILE, LOCK))
    if own and database.parent.is_dir() and copied.parent.is_dir() and copied.parent.samefile(database.parent):
        raise BackupError("that file in the data folder is sirrd's own", hint="keep backups elsewhere")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLite and of the system into `BackupError`, by their names alone."""
    try:
        yield
    except BrokenPipeError:
        raise BackupError("the copy failed: nobody reads it any more") from None
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or "unknown"
        raise BackupError(f"the copy failed: {reason}", hint=_remedy(error)) from None


def _remedy(error: sqlite3.Error | OSError) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    number = getattr(error, "errno", None)
    if code == sqlite3.SQLITE_FULL or number in _NO_ROOM:
        return "there is no room for it: while it is made a copy takes twice the size of the database"
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM} or number in _NOT_ALLOWED:
        return f"{who(os.geteuid())} may not read or write there; `-` in the place of FILE leaves that to the shell"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "another process keeps the database locked: see who has it open, and try again"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return "a file is damaged: restore another backup"
    return "see the disk and the permissions, and what the kernel says about the disk"
