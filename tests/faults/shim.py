"""Makes calls on the database files of a real daemon fail, and sets its clock, while it runs: see shim.c."""

from __future__ import annotations

import enum
import errno
import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from tests.parts import require

SOURCE: Final = Path(__file__).parent / "shim.c"
KILL: Final = 0
_CONTROL: Final = struct.Struct("=IIiII4xq")
_AHEAD_AT: Final = 24


class Call(enum.IntFlag):
    """What may fail; every kind of write, sync or truncation that SQLite knows is one."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 4


class File(enum.IntFlag):
    """Where it may fail."""

    DATABASE = 1
    WAL = 2
    SHM = 4


def compiled(folder: Path) -> Path:
    """Return the library, made by the machine's C compiler."""
    require(shutil.which("cc"), "a C compiler")
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


class Shim:
    """The faults of one data folder.

    Args:
        library: As `compiled` made it.
        data: The data folder, which need not be there yet.
        control: A file for the shim's own use.
    """

    def __init__(self, library: Path, *, data: Path, control: Path) -> None:
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAULTS_FOLDER": str(data.resolve()),
            "FAULTS_CONTROL": str(control),
        }

    def tracing(self, trace: Path) -> dict[str, str]:
        """Return an environment in which one process leaves word of all that it writes, syncs and truncates."""
        return self.env | {"FAULTS_TRACE": str(trace)}

    @property
    def hits(self) -> int:
        """How many calls have failed so far."""
        return int(_CONTROL.unpack(self._control[:])[4])

    def fail(self, calls: Call, files: File, error: int = errno.EIO, *, skip: int = 0) -> None:
        """Let calls on files fail from now on, but for the first `skip`; with `KILL` the process dies there."""
        self.heal()
        # The line that makes it bite comes last: the daemon reads while this is written.
        struct.pack_into("=IiI", self._control, 4, files, error, skip)
        struct.pack_into("=I", self._control, 0, calls)

    def set_clock(self, ahead: int) -> None:
        """Set the system's clock, and no other, so many seconds ahead of the right time; 0 is right."""
        struct.pack_into("=q", self._control, _AHEAD_AT, ahead)

    def heal(self) -> None:
        """Let every call through again."""
        struct.pack_into("=I", self._control, 0, 0)
