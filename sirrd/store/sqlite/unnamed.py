"""Files that have no name until they are whole, so that nothing of a copy is left behind whatever ends it.

A copy holds the salts of what burns tomorrow, and whoever kills the command that makes it does not think of a file that
stands there under a passing name. SQLite needs a name to open a file, but not to go on with it: it is removed once
the file is open. The finished bytes go into a second file without a name (`O_TMPFILE`), which gets the one that it was
made for by a link; and a link never takes the place of a file that is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sirrd.errors import BackupError
from sirrd.store.sqlite.connections import SIDE_FILES
from sirrd.store.sqlite.inspection import Guarded
from sirrd.store.sqlite.migrate import APPLICATION_ID

_PIECE_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 100
_ID_AT: Final = 68
VERSIONS_AT: Final = 18
NO_WAL: Final = b"\1\1"
_NO_PLACE: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS}
_NO_CLONE: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}
_NO_LINK: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_LEFT: Final = re.compile(r"\.sirrd-[0-9a-f]{16}\.new|.+\.[a-z0-9_]{8}\.new")
"""What a killed copy can have left: where files need a name, and with releases that gave one to all."""


class Unnamed(NamedTuple):
    """A database that only this process has, and that is gone with it.

    Attributes:
        descriptor: Its bytes.
        writing: What fills it; it keeps no journal.
        checking: What reads it after `finish`; it has read nothing before.
    """

    descriptor: int
    writing: sqlite3.Connection
    checking: sqlite3.Connection

    def finish(self) -> None:
        """Say in the header that it has no WAL: the copy of a database that has one says that it has, too."""
        os.pwrite(self.descriptor, NO_WAL, VERSIONS_AT)


@contextlib.contextmanager
def unnamed_database(folder: Path) -> Iterator[Unnamed]:
    """Make a database in a folder that has no name there."""
    descriptor, name = tempfile.mkstemp(prefix=".sirrd-", dir=folder)
    try:
        with (
            contextlib.closing(sqlite3.connect(name, isolation_level=None)) as writing,
            contextlib.closing(sqlite3.connect(name, isolation_level=None, factory=Guarded)) as checking,
        ):
            Path(name).unlink()
            # A copy that fails is gone, so it needs no journal, which would need the name, and no syncs of its own.
            writing.execute("PRAGMA journal_mode=OFF")
            writing.execute("PRAGMA synchronous=OFF")
            checking.execute("PRAGMA temp_store=MEMORY")
            yield Unnamed(descriptor, writing, checking)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def pour(source: int, target: int) -> None:
    """Copy a whole file into another file, or into a pipe; where the file system can, without moving a byte."""
    size, at = os.fstat(source).st_size, 0
    while at < size:
        try:
            copied = os.copy_file_range(source, target, size - at, at)
        except OSError as error:
            if at or error.errno not in _NO_CLONE:
                raise
            break
        if not copied:
            break
        at += copied
    while piece := os.pread(source, _PIECE_BYTES, at):
        at += len(piece)
        write_all(target, piece)


def write_all(target: int, piece: bytes) -> None:
    """Write bytes, however many the system takes at a time."""
    view = memoryview(piece)
    while view:
        view = view[os.write(target, view) :]


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[int]:
    """Make a file of mode 0600 that gets its name at the end, whole and on disk, and only if nothing has that name.

    Raises:
        BackupError: There is no such folder, something has the name, or the file system cannot do it.
    """
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"there is no folder {target.parent}", hint="make it first, for its owner only") from None
    try:
        sweep(target.parent)
        descriptor, name = _made(folder)
        try:
            yield descriptor
            os.fsync(descriptor)
            _give_name(descriptor, name, target.name, folder)
            os.fsync(folder)
        finally:
            os.close(descriptor)
            if name is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _made(folder: int) -> tuple[int, str | None]:
    """Make a file without a name; with one where the system knows no others."""
    flags = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(AttributeError):
        try:
            descriptor = os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
        else:
            os.fchmod(descriptor, 0o600)
            if Path(_path_of(descriptor)).exists():
                return descriptor, None
            os.close(descriptor)
    name = f".sirrd-{secrets.token_hex(8)}.new"
    descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    os.fchmod(descriptor, 0o600)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor, name


def _path_of(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _give_name(descriptor: int, name: str | None, target: str, folder: int) -> None:
    try:
        if name is None:
            os.link(_path_of(descriptor), target, dst_dir_fd=folder, follow_symlinks=True)
        else:
            os.link(name, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise BackupError("the backup file exists already", hint="name one that does not, or remove it first") from None
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        raise BackupError(
            "the file system of the backup file cannot name a file without overwriting another",
            hint="back up to another disk, and copy from there",
        ) from None


def sweep(folder: Path) -> None:
    """Remove what killed copies left in a folder: copies of sirrd under a passing name that no process has locked."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _LEFT.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_left(Path(entry.path))


def _remove_if_left(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        private = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        ours = head[_ID_AT : _ID_AT + 4] == APPLICATION_ID.to_bytes(4)
        if not private or not ours:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in (path, *(path.with_name(path.name + suffix) for suffix in SIDE_FILES)):
            name.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
