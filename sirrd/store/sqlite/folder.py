"""The data folder: whose it is, who may see it, who holds it, and the key file in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from sirrd.entropy import Entropy
from sirrd.errors import BadFolder, BadSetting, FolderInUse, WrongKey
from sirrd.keyring.forms import KEY_BYTES
from sirrd.keyring.masters import MasterKey, parse_master_keys
from sirrd.owner import OTHERS_WRITE, who
from sirrd.store.sqlite.modes import narrow, nearest, refuse_foreign, refuse_strangers

DATABASE: Final = "sirrd.db"
KEY_FILE: Final = "master.key"
LOCK: Final = "sirrd.lock"
ROTATION_LOCK: Final = "rotate-key.lock"
STAGED: Final = f"{DATABASE}.new"
_FILES: Final = (
    DATABASE,
    STAGED,
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
    KEY_FILE,
    f"{KEY_FILE}.new",
    LOCK,
    ROTATION_LOCK,
)
_LONGEST_LOCK: Final = 4096
_LOCK_TRIES: Final = 10
_LOCK_PAUSE_SECONDS: Final = 0.01


KeySource: TypeAlias = Literal["file", "setting"]
"""Where a daemon has its master keys from: the key file, or `SIRR_MASTER_ENCRYPTION_KEY` in any of its forms."""


class KeysOfDaemon(NamedTuple):
    """What a daemon says about its keys, for the commands that change them.

    Attributes:
        source: Where it has them from.
        first: The id of the first one, as hex digits, at its start.
    """

    source: KeySource
    first: str


class DataFolder:
    """A folder that one process at a time holds, by a lock that the kernel drops when the process dies.

    Folder and files are made for their owner only, whatever the umask.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self.keys_of_daemon: KeysOfDaemon | None = None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / DATABASE

    @property
    def staged(self) -> Path:
        """A database that is being restored, before it takes the place of the other."""
        return self.path / STAGED

    def has_database(self) -> bool:
        """Tell whether there is a database; nothing is made."""
        try:
            return self.database.stat().st_size > 0
        except OSError:
            return False

    def sweep(self) -> None:
        """Remove what a restore left that died; only who holds the lock may do so.

        Raises:
            BadFolder: It cannot be removed.
        """
        try:
            for suffix in ("-wal", "-shm", "-journal", ""):
                self.staged.with_name(STAGED + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise self.unusable(error) from None

    def prepare(self) -> list[str]:
        """Make the folder if needed, narrow its permissions, and return warnings for the operator.

        Raises:
            BadFolder: It cannot be made or used, or somebody else owns or can change what is in it.
        """
        uid = os.geteuid()
        try:
            if not os.path.lexists(self.path):
                refuse_strangers(nearest(self.path), uid)
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            entries = self._checked(uid)
        except OSError as error:
            raise self.unusable(error) from None
        warnings = [narrow(self.path, 0o700)]
        warnings += [narrow(self.path / name, 0o600) for name in entries]
        return [warning for warning in warnings if warning]

    def check(self, uid: int) -> None:
        """Check, touching nothing, that a user could work with the folder if it is there.

        Raises:
            BadFolder: That user could not.
        """
        try:
            if os.path.lexists(self.path):
                self._checked(uid)
            else:
                refuse_strangers(nearest(self.path), uid)
        except OSError as error:
            raise self.unusable(error) from None

    def unusable(self, error: OSError) -> BadFolder:
        """Return what is raised where the system does not let sirrd use the folder."""
        hint = "see SIRR_DATA_DIR"
        if isinstance(error, PermissionError):
            hint = f"{who(os.geteuid())} has to reach it and write to it; see SIRR_DATA_DIR"
            if "private" in self.path.resolve().parts:
                hint = "it belongs to a unit with DynamicUser, which alone reaches it: see the first lines of the unit"
        elif isinstance(error, (NotADirectoryError, FileExistsError, FileNotFoundError)):
            hint = "a file, or a link to nothing, stands in its place or on the way to it; see SIRR_DATA_DIR"
        elif error.errno == errno.EROFS:
            hint = "put it where sirrd may write: in a container on a volume; see SIRR_DATA_DIR"
        return BadFolder(f"the data folder {self.path} cannot be used: {error.strerror or error}", hint=hint)

    def _checked(self, uid: int) -> list[str]:
        """Refuse what is not a user's own, and return the names of the files that are there."""
        folder = self.path.stat()
        if not stat.S_ISDIR(folder.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        refuse_foreign(f"the data folder {self.path}", folder, uid, remedy=f"chown -R {uid} {self.path}", mode="700")
        refuse_strangers(self.path, uid)
        names = [name for name in _FILES if os.path.lexists(self.path / name)]
        for name in names:
            found = (self.path / name).lstat()
            if not stat.S_ISREG(found.st_mode):
                raise BadFolder("a file in the data folder is not a regular file", hint="sirrd follows no links there")
            path = self.path / name
            refuse_foreign(f"{name} in the data folder", found, uid, remedy=f"chown {uid} {path}", mode="600")
            if found.st_nlink > 1:
                raise BadFolder(
                    f"{name} in the data folder has a second name (a hard link), by which others could change it",
                    hint=f"copy it, and put the copy in its place: cp -p {path} {path}.own && mv {path}.own {path}",
                )
        return names

    def lock(self) -> None:
        """Take the folder.

        Raises:
            FolderInUse: Another process holds it.
            BadFolder: The lock file cannot be made.
        """
        try:
            file = os.fdopen(os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
        except OSError as error:
            raise self.unusable(error) from None
        if not _taken(file.fileno()):
            file.close()
            raise FolderInUse("another process holds the data folder", hint=self._who_holds())
        self._lock = file
        self.keys_of_daemon = self.told_keys()
        try:
            self.announce("")
        except BadFolder:
            self.unlock()
            raise

    def announce(self, address: str) -> None:
        """Leave word in the lock file where the holder listens, for the commands that work beside it.

        Where the last daemon had its keys from is kept there, for the commands that work without one.

        Raises:
            BadFolder: It cannot be written.
        """
        if self._lock is None:
            return
        told: dict[str, Any] = {"pid": os.getpid(), "address": address}
        if self.keys_of_daemon is not None:
            told["keys"] = self.keys_of_daemon._asdict()
        text = json.dumps(told).encode()
        try:
            os.ftruncate(self._lock.fileno(), 0)
            os.pwrite(self._lock.fileno(), text, 0)
        except OSError as error:
            raise BadFolder(f"the lock file cannot be written: {error.strerror}", hint="see SIRR_DATA_DIR") from None

    def holder(self) -> str:
        """Return the address that the holder of the lock announced; an empty string if nobody holds it, or said none.

        What stands in the lock file counts only while a process holds it, and only if the file is of the folder's own
        user: it names who is shown the API key.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(self._told()["address"])
        return ""

    def told_keys(self) -> KeysOfDaemon | None:
        """Return what the lock file says about the keys of the daemon that holds the folder, or held it last."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self.path / LOCK).read_text(encoding="utf-8"))["keys"]
            if told["source"] in get_args(KeySource):
                return KeysOfDaemon(told["source"], str(told["first"]))
        return None

    def _told(self) -> dict[str, Any]:
        """Read the lock file of whoever holds the folder."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path / LOCK, flags)
        try:
            found, folder = os.fstat(descriptor), self.path.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_uid != folder.st_uid or found.st_mode & OTHERS_WRITE:
                raise ValueError("the lock file is not the folder's own")
            try:
                # Whoever starts at this instant tries again: see `_taken`.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads(os.pread(descriptor, _LONGEST_LOCK, 0)))
            raise ValueError("nobody holds the folder")
        finally:
            os.close(descriptor)

    def _who_holds(self) -> str:
        """Return what to do about the process that holds the folder."""
        try:
            told = self._told()
            place = f" and listens on {told['address']}" if told["address"] else ""
            return f"process {int(told['pid'])} has it{place}: stop it first, or choose another SIRR_DATA_DIR"
        except (OSError, ValueError, KeyError, TypeError):
            return "stop it first, or choose another SIRR_DATA_DIR"

    def unlock(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kept_master_keys(self) -> tuple[MasterKey, ...]:
        """Read the key file, and make none.

        Raises:
            WrongKey: There is none.
            BadSetting: It holds no usable key.
            BadFolder: It cannot be read.
        """
        return _parsed(self.key_text())

    def key_text(self) -> str:
        """Return what stands in the key file; errors as in `kept_master_keys`, but for `BadSetting`."""
        try:
            # As bytes: line ends have to stay what they are.
            return (self.path / KEY_FILE).read_bytes().decode()
        except FileNotFoundError:
            raise WrongKey(
                "the data folder holds no key file", hint=f"put {KEY_FILE} there, or set SIRR_MASTER_ENCRYPTION_KEY"
            ) from None
        except (OSError, UnicodeDecodeError):
            raise BadFolder("the key file cannot be read or written", hint="see SIRR_DATA_DIR") from None

    def master_keys(self, entropy: Entropy) -> tuple[MasterKey, ...]:
        """Read the key file, or make it with a new key where there is no database yet.

        Raises:
            WrongKey: There is a database, but no key file.
            BadSetting: The key file holds no usable key.
            BadFolder: It cannot be read or written.
        """
        path = self.path / KEY_FILE
        try:
            if path.exists():
                return _parsed(path.read_text(encoding="utf-8"))
            if self.database.exists() and self.database.stat().st_size:
                raise WrongKey(
                    "the data folder holds a database but no key file",
                    hint=f"put {KEY_FILE} back, or set SIRR_MASTER_ENCRYPTION_KEY",
                )
            key = MasterKey.of(entropy(KEY_BYTES))
            self._write_durably(path, key.hex + "\n")
        except (OSError, UnicodeDecodeError):
            raise BadFolder("the key file cannot be read or written", hint="see SIRR_DATA_DIR") from None
        return (key,)

    def replace_key_text(self, text: str) -> None:
        """Write the key file anew; a crash leaves the old one or the new one.

        Raises:
            BadFolder: It cannot be written.
        """
        try:
            self._write_durably(self.path / KEY_FILE, text)
        except OSError as error:
            raise BadFolder(f"the key file cannot be written: {error.strerror}", hint="see SIRR_DATA_DIR") from None

    @contextlib.contextmanager
    def rotating(self) -> Iterator[None]:
        """Keep others from changing the key file meanwhile; a daemon may hold the folder beside it.

        Raises:
            FolderInUse: Another process is changing it.
            BadFolder: The lock file cannot be made.
        """
        try:
            file = os.open(self.path / ROTATION_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self.unusable(error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise FolderInUse("another rotate-key is at work", hint="wait for it to end") from None
        try:
            yield
        finally:
            os.close(file)

    def _write_durably(self, path: Path, text: str) -> None:
        """Write a file so that after a crash it is there whole, or not at all."""
        new = path.with_name(path.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _taken(descriptor: int) -> bool:
    """Take a lock file; tell whether that worked. A command that looks who holds it keeps it for an instant."""
    for tried in range(_LOCK_TRIES):
        if tried:
            time.sleep(_LOCK_PAUSE_SECONDS)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _parsed(text: str) -> tuple[MasterKey, ...]:
    try:
        return parse_master_keys(text)
    except BadSetting as error:
        # What is there by now may be all that is left of the key: another one would open nothing.
        raise BadSetting(
            f"{KEY_FILE} in the data folder: {error}",
            hint="put the file back from where you keep a copy; only where there is no database yet, remove it",
        ) from None
