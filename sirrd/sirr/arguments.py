"""What stood on the command line is readable by every user of the machine; here it is wiped where that can be done.

On Linux a process can write over its own arguments: `/proc/self/stat` says where they are. Only bytes that are equal to
an argument of this process, within that stretch, are ever written to. Elsewhere they stay, so nothing relies on this.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_ARG_START: Final = 48 - 3  # fields count from 1, and those behind the name of the program begin with the third
_HARMLESS_BYTES: Final = 2
_MOST_BYTES: Final = 4 * 1024 * 1024


def wipe() -> None:
    """Write over all arguments that may be secret: what is no option's name, and not the first word."""
    secret = [os.fsencode(each) for each in _secret(sys.argv[1:])]
    if not secret or not sys.platform.startswith("linux"):
        return
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
        start, end = (int(each) for each in fields[_ARG_START : _ARG_START + 2])
    except (OSError, ValueError):
        return
    if 0 < end - start <= _MOST_BYTES:
        _write_over(start, end, secret)


def _secret(arguments: list[str]) -> list[str]:
    found, is_first = [], True
    for each in arguments:
        if each.startswith("--"):
            found.append(each.partition("=")[2])
        elif not each.startswith("-") and is_first:
            is_first = False
        else:
            found.append(each)
    return [each for each in found if len(each) > _HARMLESS_BYTES]


def _write_over(start: int, end: int, secret: list[bytes]) -> None:
    import ctypes  # noqa: PLC0415 - it takes milliseconds, and only secrets are worth them

    standing = ctypes.string_at(start, end - start)
    for each in secret:
        if (at := standing.find(each + b"\0")) >= 0:
            ctypes.memset(start + at, ord("*"), len(each))
            standing = standing[:at] + b"*" * len(each) + standing[at + len(each) :]
