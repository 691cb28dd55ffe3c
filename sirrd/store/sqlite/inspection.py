"""What a database may be made of: what the migrations make, and nothing else.

Whoever once had the file could have put anything into its schema: a trigger that keeps what is deleted, a view in the
place of a table, a condition that a salt never meets. SQLite runs that for whoever opens the file next. So the whole
schema is compared with what the migrations up to the file's version make, before anything in it is believed; and what
a schema could do is turned off for every connection, since the file may be changed while it is open.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sirrd.errors import BadSchema
from sirrd.store.sqlite.migrate import check_version, scripted

_GUARDS: Final = ("PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON")
_WRITES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_KEPT: Final = ("encoding", "auto_vacuum")
_STATISTICS: Final = frozenset(
    {
        ("table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
        ("table", "sqlite_stat4", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
    }
)
"""What `ANALYZE` makes. It changes how rows are found, never which; sirrd drops it when it opens the file to write."""

# A table of another name, or a view, can hide `sqlite_schema`; nothing hides `sqlite_master`. What is no text, or no
# UTF-8, or goes on after a NUL, differs from the text it could be taken for.
_OBJECTS: Final = """
    SELECT typeof(type) || hex(type), typeof(name) || hex(name), typeof(tbl_name) || hex(tbl_name),
           typeof(sql) || hex(sql), rootpage
    FROM main.sqlite_master ORDER BY rowid"""
_NO_SOURCE: Final = None
_PRIMARY: Final = 0xFF
_HINT: Final = "somebody changed it: put a backup of before in its place, and find out who can write to the file"


class Thing(NamedTuple):
    """A row of the schema, each part as text, or as what SQLite calls its type and hex digits where it is no text."""

    type: str
    name: str
    table: str
    sql: str


class Schema(NamedTuple):
    """What a database is made of.

    Attributes:
        things: The tables, indexes, views and triggers, in the order of their names.
        pragmas: What stands in the header of the file and changes how it is read.
    """

    things: tuple[Thing, ...]
    pragmas: Mapping[str, str | int]


class Guarded(sqlite3.Connection):
    """A connection to which the schema of its file can do nothing; the `factory` of every one to a database of ours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as those of the base
        super().__init__(*args, **kwargs)
        with contextlib.suppress(AttributeError):  # Python may be built without it, and then loads none
            self.enable_load_extension(False)  # noqa: FBT003 - the parameter has no name
        if sys.version_info >= (3, 12):
            self.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)
            self.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)  # noqa: FBT003
            self.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)  # noqa: FBT003
        # Asked when a statement is prepared, which is once: the statements are kept.
        self.set_authorizer(_authorise)
        for pragma in _GUARDS:
            self.execute(pragma)


def _authorise(action: int, _one: str | None, _two: str | None, _database: str | None, source: str | None) -> int:
    """Let nothing be written by a trigger or a view, which a source is in these actions: sirrd has none."""
    return sqlite3.SQLITE_DENY if source is not None and action in _WRITES else sqlite3.SQLITE_OK


def inspect(connection: sqlite3.Connection) -> int:
    """Return how many migrations a database has had, if it is what they make; it reads the schema and no table.

    Raises:
        BadFolder: It belongs to another application or to a newer release.
        BadSchema: Somebody changed what it is made of.
    """
    try:
        version = check_version(connection)
        found, expected = _schema_of(connection), _expected(version)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_CORRUPT:
            raise
        raise BadSchema("the database is damaged, or somebody changed its schema", hint=_HINT) from None
    for name, value in expected.pragmas.items():
        # How an empty file is to be vacuumed is settled when the first table is made.
        if found.pragmas[name] != value and (version or name != "auto_vacuum"):
            raise BadSchema(f"the database is not as sirrd makes it: its {name} is another", hint=_HINT)
    if found.things != expected.things:
        raise BadSchema(_difference(found.things, expected.things), hint=_HINT)
    return version


def drop_statistics(connection: sqlite3.Connection) -> bool:
    """Drop what `ANALYZE` left: samples of rows that are gone must not stay. Tell whether there was any."""
    named = connection.execute("SELECT name FROM main.sqlite_master WHERE name LIKE 'sqlite_stat%'").fetchall()
    for (name,) in named:
        connection.execute(f'DROP TABLE "{name}"')
    return bool(named)


def is_sound(connection: sqlite3.Connection) -> bool:
    """Tell whether the pages of a database hang together; that reads all of it."""
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


@functools.cache
def _expected(version: int) -> Schema:
    """Return what so many migrations make."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for script in scripted(version):
            connection.executescript(script)
        return _schema_of(connection)


def _schema_of(connection: sqlite3.Connection) -> Schema:
    rows = connection.execute(_OBJECTS).fetchall()
    things = [Thing(*map(_text, row[:4])) for row in rows]
    roots = [row[4] for row in rows if row[4] != 0]
    if len(set(roots)) != len(roots):
        raise BadSchema("two objects of the database are in one place", hint=_HINT)
    pragmas = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _KEPT}
    return Schema(tuple(sorted(thing for thing in things if thing not in _STATISTICS)), pragmas)


def _text(typed: str) -> str:
    """Return the text behind a type and hex digits, if it is text that UTF-8 can carry."""
    if typed.startswith("text"):
        with contextlib.suppress(UnicodeDecodeError):
            return bytes.fromhex(typed.removeprefix("text")).decode()
    return typed


def _difference(found: tuple[Thing, ...], expected: tuple[Thing, ...]) -> str:
    """Say what the first difference is, with no word that somebody else chose."""
    ours = {(thing.type, thing.name): thing for thing in expected}
    theirs = [(thing.type, thing.name) for thing in found]
    for type_, name in sorted(ours):
        if (type_, name) not in theirs:
            return f"the database is not as sirrd makes it: the {type_} {name} is missing"
        if ours[type_, name] not in found:
            return f"the database is not as sirrd makes it: the {type_} {name} is another"
    kind = next((type_ for type_, name in theirs if (type_, name) not in ours), "second object of one name")
    kind = kind if kind in {"table", "index", "view", "trigger", "second object of one name"} else "object"
    return f"the database is not as sirrd makes it: somebody has added a {kind}"
