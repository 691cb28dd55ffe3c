"""The chosen instants at which a daemon kills itself. To add one, add a line to `POINTS`.

A point is found by the statement that the writing connection runs there, or by the call that SQLite then makes on a
file, so that the product has no hooks for it.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from tests.faults.shim import Call, File


class Moment(enum.StrEnum):
    """When, in relation to a statement."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Point(NamedTuple):
    """A chosen instant.

    Attributes:
        statement: What the statement begins with; empty where a call is meant.
        moment: Before it, within it after a short time, or after it and before anyone hears of it.
        follows: If set, only where a statement that begins so has changed something in the same transaction.
        passes: The n-th pass of the point kills, n from 1 to this.
        spare_pages: If set, how many free pages the daemon keeps: few, so that it returns some on each tick.
        call: What SQLite does there to a file, once the daemon listens; a write is left half done.
        file: Which file that is.
        rotates: Whether it is reached only while records move to another master key.
        renews: Whether it is reached only while secrets move to renewed inner keys.
        after: If set, the point of the kill before this one, without which it can hardly be reached.
    """

    statement: str = ""
    moment: Moment = Moment.BEFORE
    follows: str = ""
    passes: int = 2
    spare_pages: int | None = None
    call: Call = Call(0)
    file: File = File(0)
    rotates: bool = False
    renews: bool = False
    after: str = ""


_COMMIT: Final = "COMMIT"
_CHECKPOINT: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_VACUUM: Final = "PRAGMA incremental_vacuum"
_PRUNE: Final = "WITH expired"
_ERASE: Final = "UPDATE slot SET salt = ?, free = 1"
_ADOPT: Final = "UPDATE inner_keys"
_MOVE: Final = "UPDATE secret SET label"
_FORGET: Final = "DELETE FROM master_key"
_RENEW: Final = "INSERT INTO older_inner_keys"
_MOVE_ON: Final = "UPDATE secret SET lookup"

POINTS: Final = {
    "before a commit": Point(_COMMIT, Moment.BEFORE, passes=60),
    "within a commit": Point(_COMMIT, Moment.DURING, passes=60),
    "after a commit": Point(_COMMIT, Moment.AFTER, passes=60),
    "before a burn is erased": Point(_ERASE, Moment.BEFORE, follows="DELETE FROM secret", passes=10),
    "before what burned is kept": Point("INSERT INTO spent", Moment.BEFORE, passes=10),
    "before an attempt is noted": Point("INSERT INTO attempt", Moment.BEFORE, passes=10),
    "after a delivery was ended": Point("UPDATE delivery SET wrapped = ?, free = 1", Moment.AFTER, passes=5),
    "after an attempt has committed": Point(_COMMIT, Moment.AFTER, follows="INSERT INTO attempt", passes=10),
    "before a repeat is counted": Point(
        "UPDATE attempt SET repeats", Moment.BEFORE, passes=1, after="after an attempt has committed"
    ),
    "before the audit rows": Point("INSERT INTO audit ", Moment.BEFORE, passes=60),
    "after the audit rows": Point("INSERT INTO audit ", Moment.AFTER, passes=60),
    "before a checkpoint": Point(_CHECKPOINT, Moment.BEFORE),
    "among the writes of a checkpoint": Point(call=Call.WRITE, file=File.DATABASE, passes=40),
    "before a checkpoint is synced": Point(call=Call.SYNC, file=File.DATABASE),
    "before a checkpoint truncates": Point(call=Call.TRUNCATE, file=File.WAL),
    "after a checkpoint": Point(_CHECKPOINT, Moment.AFTER),
    "before a prune is erased": Point(_ERASE, Moment.BEFORE, follows=_PRUNE, passes=1),
    "before a prune commits": Point(_COMMIT, Moment.BEFORE, follows=_PRUNE, passes=1),
    "after a prune has committed": Point(_COMMIT, Moment.AFTER, follows=_PRUNE, passes=1),
    "before space is returned": Point(_VACUUM, Moment.BEFORE, spare_pages=0),
    "while space is returned": Point(_VACUUM, Moment.DURING, spare_pages=0),
    "after space was returned": Point(_VACUUM, Moment.AFTER, spare_pages=0),
    "before a new master key is noted": Point(_ADOPT, Moment.BEFORE, rotates=True),
    "after a new master key was noted": Point(_COMMIT, Moment.AFTER, follows=_ADOPT, rotates=True),
    "among the records of a move": Point(_MOVE, Moment.AFTER, passes=20, rotates=True),
    "before a move commits": Point(_COMMIT, Moment.BEFORE, follows=_MOVE, rotates=True),
    "after a move has committed": Point(_COMMIT, Moment.AFTER, follows=_MOVE, rotates=True),
    "before older keys are forgotten": Point(_FORGET, Moment.BEFORE, rotates=True),
    "before the forgetting commits": Point(_COMMIT, Moment.BEFORE, follows=_FORGET, rotates=True),
    "after older keys were forgotten": Point(_COMMIT, Moment.AFTER, follows=_FORGET, rotates=True),
    "before the inner keys are renewed": Point(_RENEW, Moment.BEFORE, renews=True),
    "before the chain of a renewal": Point("INSERT INTO audit_chain", Moment.BEFORE, follows=_RENEW, renews=True),
    "before a renewal commits": Point(_COMMIT, Moment.BEFORE, follows=_RENEW, renews=True),
    "after a renewal has committed": Point(_COMMIT, Moment.AFTER, follows=_RENEW, renews=True),
    "among the secrets of a renewal": Point(_MOVE_ON, Moment.AFTER, passes=20, renews=True),
    "before secrets have moved": Point(_COMMIT, Moment.BEFORE, follows=_MOVE_ON, renews=True),
    "after secrets have moved": Point(_COMMIT, Moment.AFTER, follows=_MOVE_ON, renews=True),
    "before an older index goes": Point("UPDATE older_inner_keys SET moving", Moment.BEFORE, renews=True),
}
