"""The chosen instants at which a daemon kills itself. To add one, add a line to `POINTS`.

A point is found by the statement that the writing connection runs there, so that the product has no hooks for it.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Moment(enum.StrEnum):
    """When, in relation to a statement."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Point(NamedTuple):
    """A chosen instant.

    Attributes:
        statement: What the statement begins with.
        moment: Before it, within it after a short time, or after it and before anyone hears of it.
        follows: If set, only where a statement that begins so has changed something in the same transaction.
        lead: A statement to run first, which leaves part of the work done.
        passes: The n-th pass of the point kills, n from 1 to this.
        spare_pages: If set, how many free pages the daemon keeps: few, so that it returns some on each tick.
    """

    statement: str
    moment: Moment
    follows: str = ""
    lead: str = ""
    passes: int = 2
    spare_pages: int | None = None


_COMMIT: Final = "COMMIT"
_CHECKPOINT: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_VACUUM: Final = "PRAGMA incremental_vacuum"
_PRUNE: Final = "WITH expired"
_ERASE: Final = "UPDATE slot SET salt = ?, free = 1"

POINTS: Final = {
    "before a commit": Point(_COMMIT, Moment.BEFORE, passes=60),
    "within a commit": Point(_COMMIT, Moment.DURING, passes=60),
    "after a commit": Point(_COMMIT, Moment.AFTER, passes=60),
    "before a burn is erased": Point(_ERASE, Moment.BEFORE, follows="DELETE FROM secret", passes=10),
    "before the audit rows": Point("INSERT INTO audit ", Moment.BEFORE, passes=60),
    "after the audit rows": Point("INSERT INTO audit ", Moment.AFTER, passes=60),
    "before a checkpoint": Point(_CHECKPOINT, Moment.BEFORE),
    "within a checkpoint": Point(_CHECKPOINT, Moment.DURING),
    "before a checkpoint truncates": Point(_CHECKPOINT, Moment.BEFORE, lead="PRAGMA wal_checkpoint(PASSIVE)"),
    "after a checkpoint": Point(_CHECKPOINT, Moment.AFTER),
    "before a prune is erased": Point(_ERASE, Moment.BEFORE, follows=_PRUNE, passes=1),
    "before a prune commits": Point(_COMMIT, Moment.BEFORE, follows=_PRUNE, passes=1),
    "after a prune has committed": Point(_COMMIT, Moment.AFTER, follows=_PRUNE, passes=1),
    "before space is returned": Point(_VACUUM, Moment.BEFORE, spare_pages=0),
    "while space is returned": Point(_VACUUM, Moment.DURING, spare_pages=0),
    "after space was returned": Point(_VACUUM, Moment.AFTER, spare_pages=0),
}
