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
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sirrd.clock import Clock
from sirrd.errors import BackupError, BadFolder, BadSchema, WrongKey
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Caller
from sirrd.owner import who
from sirrd.store.sqlite.backup import copy, refuse_own, settle, sync, translated
from sirrd.store.sqlite.connections import SIDE_FILES, options_to_read
from sirrd.store.sqlite.folder import DataFolder
from sirrd.store.sqlite.inspection import Guarded, inspect
from sirrd.store.sqlite.store import SqliteStore
from sirrd.store.sqlite.unnamed import NO_WAL, VERSIONS_AT, write_all

logger = logging.getLogger(__name__)

_BY: Final = Caller("local")
_HEAD_BYTES: Final = 100
_PIECE_BYTES: Final = 1 << 20
_MAGIC: Final = b"SQLite format 3\0"
_PACKED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\3\4": "zip",
    b"age-encryption.org/": "age",
    b"-----BEGIN AGE": "age",
    b"-----BEGIN PGP": "gpg",
    b"\x85": "gpg",
}
_NAME_ONE: Final = "name a file that `sirrd backup` made"
_NOT_WHOLE: Final = "copy it again from where it is whole, or take another one"
_HOPELESS: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class Restored(NamedTuple):
    """What a restore did.

    Attributes:
        kept: Secrets that are there now.
        burned: Secrets that were deleted because they had a limit of reads.
    """

    kept: int
    burned: int


def open_backup(file: Path) -> sqlite3.Connection:
    """Open what a backup made, and read nothing of it but its head.

    What is opened stays open for whoever gives up the rights to open it.

    Raises:
        BackupError: It is not there, or no database, or not whole.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"there is no file {file}", hint=_NAME_ONE) from None
    except PermissionError:
        raise BackupError(
            f"{who(os.geteuid())} may not read {file}",
            hint=f"have the shell read it: sirrd restore - < {file}",
        ) from None
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}", hint=_NAME_ONE) from None
    try:
        found, head = os.fstat(descriptor), b""
        if stat.S_ISDIR(found.st_mode):
            raise BackupError(f"{file} is a folder", hint=_NAME_ONE)
        if not stat.S_ISREG(found.st_mode):
            raise BackupError(f"{file} is no regular file", hint="of a pipe: sirrd restore - < PIPE")
        head = os.pread(descriptor, _HEAD_BYTES, 0)
    finally:
        os.close(descriptor)
    options = options_to_read(file)
    _refuse_head(str(file), head, found.st_size, alone="immutable" in options)
    return _connected(file, options)


@contextlib.contextmanager
def received(stream: int, folder: Path) -> Iterator[sqlite3.Connection]:
    """Take a backup from a stream, such as a pipe, into a file without a name.

    Args:
        stream: A descriptor.
        folder: Where the file takes room if there is no folder for temporary ones.

    Raises:
        BackupError: It is no database, or not whole.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".sirrd-", dir=folder)
    try:
        with contextlib.closing(_connected(Path(name), "mode=ro")) as connection:
            Path(name).unlink()
            with translated():
                while piece := os.read(stream, _PIECE_BYTES):
                    write_all(descriptor, piece)
            head, size = os.pread(descriptor, _HEAD_BYTES, 0), os.fstat(descriptor).st_size
            _refuse_head("standard input", head, size, alone=True)
            # Its WAL, if it had one, did not come along; and here there is no name that one could have.
            os.pwrite(descriptor, NO_WAL, VERSIONS_AT)
            yield connection
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _connected(file: Path, options: str) -> sqlite3.Connection:
    with translated():
        return sqlite3.connect(f"{file.as_uri()}?{options}", uri=True, factory=Guarded)


def _refuse_head(name: str, head: bytes, size: int, *, alone: bool) -> None:
    """Say what a file is that cannot be a backup, by how it begins and how long it is."""
    if not size:
        raise BackupError(f"{name} is empty", hint=_NAME_ONE)
    if not head.startswith(_MAGIC):
        packed = next((kind for begin, kind in _PACKED.items() if head.startswith(begin)), None)
        hint = _NAME_ONE if packed is None else f"it looks like something of {packed}: unpack it first"
        raise BackupError(f"{name} is no database, and so no backup", hint=hint)
    if len(head) < _HEAD_BYTES:
        raise BackupError(f"{name} is cut off: {size} bytes", hint=_NOT_WHOLE)
    page = int.from_bytes(head[16:18]) or 1
    page = 65_536 if page == 1 else page
    # How long it is stands in the head if whoever wrote it last was careful enough to say so.
    expected = page * int.from_bytes(head[28:32]) if head[24:28] == head[92:96] else 0
    if alone and size < expected:
        raise BackupError(f"{name} is cut off: {size} of {expected} bytes", hint=_NOT_WHOLE)


async def restore(
    file: Path,
    folder: DataFolder,
    *,
    masters: MasterKeys,
    clock: Clock,
    replace: bool,
    burn: bool,
    opened: sqlite3.Connection | None = None,
) -> Restored:
    """Put a copy of a backup in the place of the database.

    Args:
        file: The backup.
        folder: The data folder.
        masters: The keys.
        clock: Tells the time.
        replace: Whether a database may be there.
        burn: Whether what may have been read since is deleted.
        opened: The backup, if it is open already; it stays so.

    Raises:
        BackupError: The file is no backup, or there is a database and it is not to be replaced.
        BadSchema: Somebody changed the schema of the backup; nothing was touched.
        WrongKey: The keys are not those of the backup; nothing was touched.
        FolderInUse: Another process holds the folder.
        BadFolder: The folder cannot be used.
    """
    refuse_own(folder.database, file)
    with contextlib.ExitStack() as stack:
        source = opened or stack.enter_context(contextlib.closing(open_backup(file)))
        with translated():
            _check(source, masters)
        for warning in folder.prepare():
            logger.warning(warning)
        folder.lock()
        stack.callback(folder.unlock)
        stack.callback(folder.sweep)
        _refuse_existing(folder, replace=replace)
        folder.sweep()
        with translated():
            copied = _stage(source, folder.staged)
            found = settle(folder.staged)
            expired, burned = await _clean(folder.staged, masters, clock, burn=burn)
            kept = settle(folder.staged)
            if copied != found or kept != found - expired - burned:
                raise BackupError("the copy is not whole; nothing was put in place")
            sync(folder.staged)
            _put_in_place(folder)
        return Restored(kept, burned)


def _stage(source: sqlite3.Connection, staged: Path) -> int:
    os.close(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    staged.chmod(0o600)
    with contextlib.closing(sqlite3.connect(staged, isolation_level=None)) as writing:
        # A copy that fails is thrown away, so it needs no journal and no syncs of its own.
        writing.execute("PRAGMA journal_mode=OFF")
        writing.execute("PRAGMA synchronous=OFF")
        return copy(source, writing)


def _check(source: sqlite3.Connection, masters: MasterKeys) -> None:
    """Check file and keys without touching anything."""
    try:
        version = inspect(source)
    except BadSchema:
        raise
    except BadFolder as error:
        if error.hint is None:
            raise BackupError("the file is a database of another program", hint=_NAME_ONE) from None
        raise BackupError("the backup was made by a newer release of sirrd", hint="restore it with that one") from None
    if not version:
        raise BackupError("the file is not a backup: it is an empty database", hint=_NAME_ONE)
    try:
        for (check_value,) in source.execute("SELECT check_value FROM master_key"):
            masters.verify(check_value)
        for (sealed,) in source.execute("SELECT sealed FROM inner_keys"):
            masters.open_inner(sealed)
    except WrongKey:
        raise WrongKey(
            "the master encryption keys do not open this backup",
            hint="it needs the key of its time: put that one behind the first, in master.key or "
            "SIRR_MASTER_ENCRYPTION_KEY, restore, and then run rotate-key",
        ) from None


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
