"""Which master keys a database needs, asked of its file: beside a daemon, too, and without writing to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from sirrd.errors import BadFolder
from sirrd.keyring import key_id_of
from sirrd.store import statements
from sirrd.store.connections import options_to_read
from sirrd.store.inspection import Guarded, inspect


class Needs(NamedTuple):
    """The ids of master keys.

    Attributes:
        first: The one that seals.
        noted: Those that have a check value, so that no start goes on without them.
        used: Those that a secret, or the inner keys, are sealed under.
    """

    first: bytes
    noted: frozenset[bytes]
    used: frozenset[bytes]

    @property
    def every(self) -> frozenset[bytes]:
        """Every key that has to stay."""
        return self.noted | self.used


def needs_of(path: Path) -> Needs:
    """Ask a database for the master keys that something in it needs.

    Raises:
        BadFolder: It is no database of ours, or cannot be read.
    """
    address = f"{path.as_uri()}?{options_to_read(path)}"
    try:
        with contextlib.closing(
            sqlite3.connect(address, uri=True, isolation_level=None, factory=Guarded)
        ) as connection:
            connection.execute("BEGIN")
            inner = connection.execute("SELECT sealed FROM inner_keys").fetchone() if inspect(connection) else None
            if inner is None:
                raise BadFolder("the database in the data folder holds no keys yet", hint="start the daemon once")
            noted = connection.execute("SELECT key_id FROM master_key").fetchall()
            used = connection.execute(statements.KEYS_IN_USE).fetchall()
    except sqlite3.Error as error:
        raise BadFolder(f"the database cannot be read: {error.sqlite_errorname}") from None
    first = key_id_of(inner[0])
    return Needs(first, frozenset(id_ for (id_,) in noted), frozenset({first, *(id_ for (id_,) in used)}))
