"""Which master keys a database needs, asked of its file: beside a daemon, too, and without writing to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from sirrd.errors import BadFolder
from sirrd.keyring.forms import key_id_of
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.connections import options_to_read
from sirrd.store.sqlite.inspection import Guarded, inspect
from sirrd.store.sqlite.migrate import migrations


class Needs(NamedTuple):
    """The ids of master keys.

    Attributes:
        first: The one that seals.
        noted: Those that have a check value, so that no start goes on without them.
        used: Those that a secret, or inner keys, are sealed under.
        renewed_under: The one that was first when the inner keys were made, or None if nothing says so.
    """

    first: bytes
    noted: frozenset[bytes]
    used: frozenset[bytes]
    renewed_under: bytes | None

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
            version = inspect(connection)
            inner = connection.execute("SELECT * FROM inner_keys").fetchone() if version else None
            if inner is None:
                raise BadFolder("the database in the data folder holds no keys yet", hint="start the daemon once")
            noted = connection.execute("SELECT key_id FROM master_key").fetchall()
            # An older release has no older inner keys, and does not say when those of now were made.
            is_newest = version == len(migrations())
            used = connection.execute(statements.KEYS_IN_USE if is_newest else statements.KEYS_OF_SECRETS).fetchall()
    except sqlite3.Error as error:
        raise BadFolder(f"the database cannot be read: {error.sqlite_errorname}") from None
    first, renewed_under = key_id_of(inner[1]), inner[3] if is_newest else None
    in_use = frozenset({first, *(id_ for (id_,) in used)})
    return Needs(first, frozenset(id_ for (id_,) in noted), in_use, renewed_under)
