"""The steps of a command that changes keys, between any two of which it may be killed. A new step is a new line here.

The product has no hooks for it: a step is a call on the key file, or a statement of the writing connection.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from sirrd.store.sqlite.folder import KEY_FILE
from tests.crash.points import Moment, Point
from tests.crash.traps import die, set_trap

_COMMIT: Final = "COMMIT"
STATEMENTS: Final = {
    "the keys are noted": Point("INSERT INTO master_key"),
    "the note of the keys commits": Point(_COMMIT, follows="INSERT INTO master_key"),
    "the inner keys are renewed": Point("INSERT INTO older_inner_keys"),
    "the chain begins": Point("INSERT INTO audit_chain", follows="INSERT INTO older_inner_keys"),
    "the renewal commits": Point(_COMMIT, follows="INSERT INTO older_inner_keys"),
    "a record moves": Point("UPDATE secret SET label"),
    "the move of records commits": Point(_COMMIT, follows="UPDATE secret SET label"),
    "a secret moves": Point("UPDATE secret SET lookup"),
    "the move of secrets commits": Point(_COMMIT, follows="UPDATE secret SET lookup"),
    "the older index goes": Point("UPDATE older_inner_keys SET moving"),
    "older keys go": Point("DELETE FROM master_key"),
    "the end of older keys commits": Point(_COMMIT, follows="DELETE FROM master_key"),
}
OF_PLAIN_ROTATIONS: Final = ("a record moves", "the move of records commits")
OF_THE_FILE: Final = (
    "the key file is made",
    "the key file is written",
    "the key file is renamed",
    "the folder is synced",
)
MOMENTS: Final = (Moment.BEFORE, Moment.AFTER)


class Cut(NamedTuple):
    """Where a command is killed.

    Attributes:
        step: Which step.
        moment: Before or after it.
        nth: Which time it comes to it.
        renews: Whether the command renews the inner keys.
    """

    step: str
    moment: Moment
    nth: int
    renews: bool

    @property
    def command(self) -> list[str]:
        """The arguments of `sirrd`."""
        return ["rotate-key", "--renew"] if self.renews else ["rotate-key"]


def _cuts_of_the_file() -> Iterator[Cut]:
    for step in OF_THE_FILE:
        # The first time with the new key, the second time without the older one.
        yield from (Cut(step, moment, nth, renews=nth == 1) for moment in MOMENTS for nth in (1, 2))


def _cuts_of_statements() -> Iterator[Cut]:
    for step in STATEMENTS:
        yield from (Cut(step, moment, 1, renews=step not in OF_PLAIN_ROTATIONS) for moment in MOMENTS)


FILE_CUTS: Final = tuple(_cuts_of_the_file())
STATEMENT_CUTS: Final = tuple(_cuts_of_statements())


def dying(call: Callable[..., Any], *, moment: str, left: list[int], when: Callable[..., bool]) -> Callable[..., Any]:
    """Return a call that kills this process before or after it was made so many times."""

    @functools.wraps(call)
    def made(*arguments: Any, **named: Any) -> Any:
        if not when(*arguments):
            return call(*arguments, **named)
        left[0] -= 1
        if not left[0] and moment == Moment.BEFORE:
            die()
        result = call(*arguments, **named)
        if not left[0]:
            die()
        return result

    return made


def set_step(step: str, moment: str, nth: int) -> None:
    """Let this process, from now on, die before or after a step, when it comes to it for the n-th time."""
    if (point := STATEMENTS.get(step)) is not None:
        set_trap(point._replace(moment=Moment(moment)), passes=nth, delay=0)
        return
    calls: dict[str, tuple[Any, str, Callable[..., bool]]] = {
        "the key file is made": (os, "open", lambda path, *_: Path(path).name == f"{KEY_FILE}.new"),
        "the key file is written": (os, "fsync", lambda file: _opened(file).name == f"{KEY_FILE}.new"),
        "the key file is renamed": (Path, "rename", lambda path, _: path.name == f"{KEY_FILE}.new"),
        "the folder is synced": (os, "fsync", lambda file: _opened(file).is_dir()),
    }
    owner, name, when = calls[step]
    call = dying(getattr(owner, name), moment=moment, left=[nth], when=when)
    # Never undone: this process ends before anyone else could see it.
    mock.patch.object(owner, name, call).start()


def _opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
