"""Whose files and folders are, and who may see them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sirrd.errors import BadFolder
from sirrd.owner import OTHERS_WRITE, run_as, stranger_on_the_way, who


def nearest(path: Path) -> Path:
    """Return a path, or what is nearest above it, that is there."""
    found = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    if not found.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return found


def refuse_strangers(path: Path, uid: int) -> None:
    """Refuse a place that somebody else could put another in the place of."""
    if stranger := stranger_on_the_way(path, uid):
        raise BadFolder(
            f"the data folder is not safe from other users: {stranger}",
            hint=f"put it where nobody but {who(uid)} and root can change the way to it; see SIRR_DATA_DIR",
        )


def refuse_foreign(what: str, found: os.stat_result, uid: int, *, remedy: str, mode: str) -> None:
    """Refuse what another user owns, or can write."""
    if found.st_uid != uid:
        raise BadFolder(
            f"{what} belongs to {who(found.st_uid)}, and sirrd works as {who(uid)}",
            hint=f"run sirrd as its owner ({run_as(found.st_uid)}), or give it away: {remedy}",
        )
    if found.st_mode & OTHERS_WRITE:
        raise BadFolder(
            f"{what} can be written by other users (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"what stands there may be theirs: look at it, and then: chmod {mode} {remedy.rpartition(' ')[2]}",
        )


def narrow(path: Path, mode: int) -> str:
    """Take away permissions beyond `mode`; return a warning where that cannot be done."""
    found = stat.S_IMODE(path.stat().st_mode)
    if found & ~mode == 0:
        return ""
    try:
        path.chmod(found & mode)
    except OSError:
        return f"{path.name} is open to others (mode {found:04o}) and cannot be narrowed to {mode:04o}"
    return ""
