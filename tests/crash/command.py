"""Runs a command of `sirrd` that kills itself at a step: `python -m tests.crash.command STEP MOMENT NTH ARGUMENT…`.

The product has no hooks for it: a step is a call on the key file, or a statement of the writing connection.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

from sirrd.cli import program
from sirrd.store.sqlite.folder import KEY_FILE
from tests.crash.launcher import die, set_trap
from tests.crash.points import Moment, Point

STATEMENTS: Final = {
    "the keys are noted": "INSERT INTO master_key",
    "a record moves": "UPDATE secret SET label",
    "older keys go": "DELETE FROM master_key",
    "the inner keys are renewed": "INSERT INTO older_inner_keys",
    "the chain begins": "INSERT INTO audit_chain (salt, started_at, head, length, generation, previous)",
    "a secret moves": "UPDATE secret SET lookup",
    "the older index goes": "UPDATE older_inner_keys SET moving",
}


def dying(call: Callable[..., Any], *, moment: str, left: list[int], when: Callable[..., bool]) -> Callable[..., Any]:
    """Return a call that kills this process before or after it was made so many times."""

    @functools.wraps(call)
    def made(*arguments: Any, **named: Any) -> Any:
        if not when(*arguments):
            return call(*arguments, **named)
        left[0] -= 1
        if not left[0] and moment == "before":
            die()
        result = call(*arguments, **named)
        if not left[0]:
            die()
        return result

    return made


def is_key_file(descriptor: int) -> bool:
    """Tell whether an open file is the key file that is being written."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().name == f"{KEY_FILE}.new"


def main(step: str, moment: str, nth: int, arguments: list[str]) -> int:
    """Set the trap and run the command."""
    left = [nth]
    if (statement := STATEMENTS.get(step)) is not None:
        set_trap(Point(statement, Moment(moment)), passes=nth, delay=0)
    elif step == "the key file is renamed":
        renamed = dying(Path.rename, moment=moment, left=left, when=lambda path, _: path.name == f"{KEY_FILE}.new")
        mock.patch.object(Path, "rename", renamed).start()
    else:
        synced = dying(os.fsync, moment=moment, left=left, when=is_key_file)
        mock.patch.object(os, "fsync", synced).start()
    return program.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
