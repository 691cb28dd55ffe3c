"""Whose files are believed, and as whom a command works.

Whoever can change a folder, or a folder on the way to it, can put another key, another database or other settings in
the place of ours. So what is believed belongs to the user who runs the command, and the way to it to that user or to
root, and nobody else can write there. ACLs need no reading of their own: a right to write that one of them gives stands
in the bits of the group, too.

Root could read and write everything, but what root makes in the folder of a daemon's user is closed to the daemon, and
what that user put there would be followed with the rights of root. So a command that root runs becomes the folder's
owner before it touches anything there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = 0
_MOST_LINKS: Final = 40
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_ALL_IDS: Final = 0xFFFF_FFFF


class TooLong(Exception):
    """A file holds more than what is read of it."""


class Foreign(Exception):
    """A file may hold what somebody else put there; the message says why."""


class Owner(NamedTuple):
    """A user, with the group that goes along.

    Attributes:
        uid: The user's number.
        gid: The group's number.
    """

    uid: int
    gid: int

    def __str__(self) -> str:
        import pwd  # noqa: PLC0415 - not there on every system that this module is imported on

        try:
            return f"user {self.uid} ({pwd.getpwuid(self.uid).pw_name})"
        except KeyError:
            return f"user {self.uid}"


def who(uid: int) -> str:
    """Return how a user is called in a message."""
    return str(Owner(uid, uid))


def owner_of(path: Path) -> Owner | None:
    """Return who owns what stands at a path, links followed; None if nothing does, or it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Owner(found.st_uid, found.st_gid)


def run_as(uid: int) -> str:
    """Return how a command is run as a user, as part of a hint."""
    return f"sudo -u '#{uid}' sirrd …, or docker exec --user {uid} …; for a unit with DynamicUser see its first lines"


def become(owner: Owner) -> None:
    """Give up the rights of root for those of another user, for good.

    Raises:
        OSError: Root may not do that here: a container without capabilities, for instance.
    """
    os.setgroups([])
    os.setgid(owner.gid)
    os.setuid(owner.uid)


@contextlib.contextmanager
def acting_as(owner: Owner | None) -> Iterator[None]:
    """Have the rights of another user for a while; without one, go on as before.

    Raises:
        OSError: Root may not do that here.
    """
    if owner is None:
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    try:
        os.setgroups([])
        os.setegid(owner.gid)
        os.seteuid(owner.uid)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def others_write(found: os.stat_result) -> bool:
    """Tell whether anybody but its owner, or a group of that user alone, can write to a file or folder."""
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & OTHERS_WRITE:
        return False
    return bool(found.st_mode & stat.S_IWOTH) or not _is_private(found.st_gid, found.st_uid)


def stranger_on_the_way(path: Path, uid: int) -> str:
    """Say who but a user, and root, could change what a path leads to; an empty string if nobody.

    Every folder and every link on the way is looked at, the last one included. A folder with the sticky bit, such as
    `/tmp`, lets everyone write, and nobody replace what is another's.

    Raises:
        OSError: Something on the way cannot be looked at.
    """
    trusted = {ROOT, uid, *unmapped()}
    for place, found in _places(path):
        if found.st_uid not in trusted:
            return f"{place} belongs to {who(found.st_uid)}"
        if others_write(found) and not found.st_mode & stat.S_ISVTX:
            return f"{place} can be changed by other users (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def read_text(path: Path, longest: int, trusted: frozenset[int] | None = None) -> str:
    """Read a text, from a file or from a pipe, with or without the mark that some editors begin UTF-8 with.

    Args:
        path: Where it stands.
        longest: How many bytes it may have.
        trusted: The users that a file may belong to; None means any.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
        TooLong: It is longer.
        Foreign: It belongs to another user, or others can write to it.
    """
    with path.open("rb") as file:
        if trusted is not None:
            _refuse_foreign(os.fstat(file.fileno()), trusted)
        content = file.read(longest + 1)
    if len(content) > longest:
        raise TooLong
    return content.decode("utf-8-sig")


def _refuse_foreign(found: os.stat_result, trusted: frozenset[int]) -> None:
    if not stat.S_ISREG(found.st_mode):
        return
    if found.st_uid not in trusted:
        raise Foreign(f"belongs to {who(found.st_uid)}")
    if found.st_mode & OTHERS_WRITE:
        raise Foreign(f"can be written by other users (mode {stat.S_IMODE(found.st_mode):04o})")


def _places(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Walk from the root of the file system to what a path names, through links, and return each step."""
    at, rest, links = Path("/"), list(path.absolute().parts[1:]), 0
    yield at, at.lstat()
    while rest:
        name = rest.pop(0)
        if name == "..":
            at = at.parent
            continue
        place = at / name
        found = place.lstat()
        yield place, found
        if not stat.S_ISLNK(found.st_mode):
            at = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError("too many links")
        target = place.readlink()
        at = Path("/") if target.is_absolute() else at
        rest = [part for part in target.parts if part != "/"] + rest


def _is_private(gid: int, uid: int) -> bool:
    """Tell whether a group has no other member: many systems give each user one of the user's name."""
    import grp  # noqa: PLC0415 - as above
    import pwd  # noqa: PLC0415

    if gid == ROOT:
        return True
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        # A number without a name, as in containers: only who was given it has it.
        return gid in {os.getegid(), *os.getgroups()}
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def unmapped() -> set[int]:
    """Return the number that stands for all users outside of this user namespace, if there are such."""
    try:
        lines = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
        if sum(int(count) for _, _, count in lines) >= _ALL_IDS:
            return set()
        return {int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))}
    except (OSError, ValueError):
        return set()
