"""Proof that a secret is gone: what its holder can check, and what the files say.

Nothing here writes. The name that is looked for is never repeated in what is reported (I6).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sirrd.errors import BadFolder
from sirrd.keyring.forms import ERASED_DELIVERY, ERASED_SALT, pack
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Identity
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.connections import check_keys
from sirrd.store.sqlite.inner import read_keys
from sirrd.store.sqlite.inspection import Guarded, inspect, is_sound
from sirrd.store.sqlite.migrate import migrations

CHUNK_BYTES: Final = 1 << 20
_SHORTEST: Final = 8
_HELD: Final = "SELECT 1 FROM {table} NOT INDEXED WHERE lookup IN ({under})"


class Finding(NamedTuple):
    """One thing that was checked.

    Attributes:
        holds: Whether it is as it must be.
        text: What was found, without the name.
    """

    holds: bool
    text: str


def parse_name(text: str) -> Identity:
    """Parse an id, or `org/key`.

    Raises:
        BadPath: It is neither.
    """
    org, slash, key = text.partition("/")
    return Identity.in_org(org, key) if slash else Identity.drop(text)


def verify_burn(folder: Path, database: Path, identity: Identity, *, masters: MasterKeys) -> list[Finding]:
    """Check that a secret is gone from the database and from every file of the folder.

    Raises:
        BadFolder: There is no database, or it cannot be read.
        WrongKey: The keys do not belong to it.
    """
    if not database.is_file():
        raise BadFolder("the data folder holds no database", hint="see SIRR_DATA_DIR")
    try:
        rows = list(_rows(database, identity, masters))
        # Files are read only after SQLite has closed them: closing another descriptor would drop its locks.
        return [*rows, *_files(folder, database, identity)]
    except sqlite3.Error as error:
        raise BadFolder(f"the database cannot be read: {error.sqlite_errorname}") from None


def _rows(database: Path, identity: Identity, masters: MasterKeys) -> Iterator[Finding]:
    check_keys(database, masters)
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, isolation_level=None, factory=Guarded)
    with contextlib.closing(connection):
        connection.execute("BEGIN")
        version = inspect(connection)
        if not version:
            raise BadFolder("the database in the data folder was not made by sirrd")
        if version < len(migrations()):
            raise BadFolder(
                "the database was made by an older release of sirrd", hint="start sirrd once: that brings it up to date"
            )
        keyring = read_keys(connection, masters)
        places = statements.named([names.lookup(identity) for names in (keyring.names, *keyring.older)])
        under = statements.among(places)
        # What does not hang together may hide a row; so may an index that somebody has put in another's place.
        if not is_sound(connection):
            yield Finding(holds=False, text="the pages of the database do not hang together: it is damaged")
        found = connection.execute(_HELD.format(table="secret", under=under), places).fetchall()
        yield Finding(not found, "a row stands under its index" if found else "no row stands under its index")
        spent = connection.execute(_HELD.format(table="spent", under=under), places).fetchall()
        told = "a reader can ask for it again, until its attempt ends" if spent else "no reader can ask for it again"
        yield Finding(not spent, told)
        yield _slots(connection)
        yield _deliveries(connection)


def _slots(connection: sqlite3.Connection) -> Finding:
    """Check that what is free is zero, and that nothing but a secret keeps a slot from being free."""
    full = connection.execute(
        "SELECT count(*) FROM slot NOT INDEXED WHERE free = 1 AND salt <> ?", (ERASED_SALT,)
    ).fetchone()[0]
    lost = connection.execute(
        "SELECT (SELECT count(*) FROM slot NOT INDEXED WHERE free = 0) - (SELECT count(*) FROM secret)"
    ).fetchone()[0]
    if full or lost:
        return Finding(holds=False, text=f"free slots that are not zero: {full}; slots taken without a secret: {lost}")
    return Finding(holds=True, text="every free slot is zero, and no slot is taken without a secret")


def _deliveries(connection: sqlite3.Connection) -> Finding:
    """Check that what is free is zero, and that nothing but an attempt keeps a delivery from being free."""
    (full,) = connection.execute(
        "SELECT count(*) FROM delivery NOT INDEXED WHERE free = 1 AND wrapped <> ?", (ERASED_DELIVERY,)
    ).fetchone()
    (lost,) = connection.execute(
        "SELECT (SELECT count(*) FROM delivery NOT INDEXED WHERE free = 0)"
        " - (SELECT count(delivery) FROM attempt NOT INDEXED)"
    ).fetchone()
    if full or lost:
        return Finding(holds=False, text=f"free deliveries that are not zero: {full}; taken without an attempt: {lost}")
    return Finding(holds=True, text="every free delivery is zero, and none is taken without an attempt")


def _files(folder: Path, database: Path, identity: Identity) -> Iterator[Finding]:
    needles = needles_of(identity)
    wal = database.with_name(f"{database.name}-wal")
    # The WAL comes first: what a checkpoint moves meanwhile is then found in the database.
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path != wal, path))
    holding, closed = [], []
    for path in files:
        try:
            if _holds(path, needles):
                holding.append(path.name)
        except FileNotFoundError:
            continue
        except OSError:
            closed.append(path.name)
    if holding or closed:
        yield Finding(
            holds=False,
            text=f"its name stands in: {', '.join(holding) or 'none'}; unreadable: {', '.join(closed) or 'none'}",
        )
    else:
        yield Finding(holds=True, text="its name stands in no file of the data folder, as text or in binary form")
    size = wal.stat().st_size if wal.exists() else 0
    yield Finding(not size, f"the WAL holds {size} bytes: wait for the next tick" if size else "the WAL is empty")


def needles_of(identity: Identity) -> list[bytes]:
    """Return the forms of a name to look for: text, and what it is in binary form.

    An org secret's binary form is the plain text of its label. Text of less than 8 bytes stands in a large file by
    chance, and is not looked for.
    """
    if identity.org is None:
        return [identity.name.encode(), identity.name.upper().encode(), bytes.fromhex(identity.name)]
    text = f"{identity.org}/{identity.name}".encode()
    label = pack(identity.org.encode(), identity.name.encode())
    return [label, text] if len(text) >= _SHORTEST else [label]


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    """Tell whether a file holds one of the needles, also across the pieces that it is read in."""
    overlap = max(map(len, needles)) - 1
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            content = rest + piece
            if any(needle in content for needle in needles):
                return True
            rest = content[-overlap:]
    return False
