"""What the outcomes of the writer's work say about the storage, until later ones say otherwise.

After an I/O error the storage is in doubt. A sync that failed is the delicate case: the kernel takes the pages for
written and tries them no more, so the next sync succeeds whatever became of them. What was refused may then stand in
the WAL, whole, for the next start to find, and what was answered before shares its last page with it. So no
transaction begins until everything that counts has been written anew to another place, the database, and synced there,
by a checkpoint that leaves nothing in the WAL: see docs/decisions/0012.
"""

from __future__ import annotations

import sqlite3

_PRIMARY = 0xFF


class Health:
    """Remembers what failed and has not worked since.

    Attributes:
        in_doubt: Whether a checkpoint has to succeed before the next transaction.
    """

    __slots__ = ("_chores_fail", "_writes_fail", "in_doubt")

    def __init__(self) -> None:
        self.in_doubt = False
        self._writes_fail = False
        self._chores_fail = False

    @property
    def failing(self) -> bool:
        """Whether transactions or checkpoints were last seen to fail."""
        return self._writes_fail or self._chores_fail or self.in_doubt

    def write_failed(self, error: Exception | None = None) -> None:
        """Learn that a transaction failed, or a unit of it."""
        self._writes_fail = True
        self.in_doubt |= _is_io(error)

    def wrote(self) -> None:
        """Learn that a transaction that changed something was committed."""
        self._writes_fail = False

    def chore_failed(self, error: Exception) -> None:
        """Learn that a checkpoint, or what is done along with it, failed."""
        self._chores_fail = True
        self.in_doubt |= _is_io(error)

    def checkpointed(self, *, is_empty: bool) -> None:
        """Learn that a checkpoint met no error, and whether it emptied the WAL, which a reader can hinder.

        What is left there is left in pages whose sync may have failed, and what comes after it would stand behind them.
        """
        self._chores_fail = False
        self.in_doubt &= not is_empty


def _is_io(error: Exception | None) -> bool:
    """Tell an error of reading, writing or syncing from others; a full disk is one of the others, and known."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY == sqlite3.SQLITE_IOERR
