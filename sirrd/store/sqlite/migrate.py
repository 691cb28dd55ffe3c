"""Brings a SQLite database to the newest schema, one transaction per step.

The files `store/schema/sqlite/NNNN_name.sql` are numbered without gaps and never change once released;
`PRAGMA user_version` says how many of them a database has had.
"""

from __future__ import annotations

import functools
import sqlite3
from importlib import resources
from typing import Final

from sirrd.errors import BadFolder

APPLICATION_ID: Final = 0x73697272  # "sirr"


@functools.cache
def migrations() -> list[str]:
    """Return the scripts in their order."""
    folder = resources.files("sirrd.store").joinpath("schema", "sqlite")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def scripted(version: int) -> list[str]:
    """Return the first so many migrations, each as one transaction that leaves word of itself."""
    return [
        f"BEGIN IMMEDIATE;\n{script}\n"
        f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
        for number, script in enumerate(migrations()[:version], start=1)
    ]


def check_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations a database has had.

    Raises:
        BadFolder: It belongs to another application, or to a newer release.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM main.sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise BadFolder("the database in the data folder was not made by sirrd")
    if version < 0:
        raise BadFolder("the database in the data folder was not made by sirrd")
    if version > len(migrations()):
        raise BadFolder(
            "the database was made by a newer release of sirrd",
            hint="start that release, or restore a backup that this one made",
        )
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing; a step and its number are committed together, or not at all."""
    for script in scripted(len(migrations()))[check_version(connection) :]:
        connection.executescript(script)
