"""What stood on the command line is readable by every user of the machine; here it is wiped where that can be done.

On Linux a process can write over its own arguments: `/proc/self/stat` says where they are. Only bytes that are equal to
an argument of this process, within that stretch, are ever written to. Elsewhere they stay, so nothing relies on this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_ARG_START: Final = 48 - 3  # fields count from 1, and those behind the name of the program begin with the third
_HARMLESS_BYTES: Final = 2
_MOST_BYTES: Final = 4 * 1024 * 1024


def wipe(commands: Collection[str]) -> None:
    """Write over all arguments that may be secret: what is no option's name, and no command.

    Args:
        commands: The names of the commands.
    """
    secret = _secret(sys.argv[1:], commands)
    if not secret or not sys.platform.startswith("linux"):
        return
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
        start, end = (int(each) for each in fields[_ARG_START : _ARG_START + 2])
    except (OSError, ValueError):
        return
    if 0 < end - start <= _MOST_BYTES:
        _write_over(start, end, secret)


def _secret(arguments: Sequence[str], commands: Collection[str]) -> list[tuple[bytes, int]]:
    """Return the arguments that may be secret, each with where that begins in it: behind the sign of `--token=…`."""
    found, has_command, has_options = [], False, True
    for each in arguments:
        begins = 0
        if has_options and each == "--":
            has_options = False
            continue
        if has_options and each.startswith("--"):
            begins = each.find("=") + 1 or len(each)
        elif not has_command and each in commands:
            has_command = True
            continue
        if len(each) - begins > _HARMLESS_BYTES:
            found.append((os.fsencode(each), len(os.fsencode(each[:begins]))))
    return found


def _write_over(start: int, end: int, secret: Sequence[tuple[bytes, int]]) -> None:
    import ctypes  # noqa: PLC0415 - it takes milliseconds, and only secrets are worth them

    standing = b"\0" + ctypes.string_at(start, end - start)
    for each, begins in secret:
        # Whole arguments alone: one may be the end of another.
        if (at := standing.find(b"\0" + each + b"\0")) >= 0:
            stars = b"*" * (len(each) - begins)
            ctypes.memmove(start + at + begins, stars, len(stars))
            standing = standing[: at + 1 + begins] + stars + standing[at + 1 + len(each) :]
