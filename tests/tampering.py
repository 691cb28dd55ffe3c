"""Ways in which somebody who once had a database may have changed what it is made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from sirrd.store.sqlite.migrate import scripted

SNEAKY: Final = "sneaky"
"""A name that somebody else chose: it must reach no message."""

_WRITABLE: Final = "PRAGMA writable_schema=ON"
_VIEW_FOR_SLOT: Final = f"""
    ALTER TABLE slot RENAME TO {SNEAKY};
    CREATE VIEW slot AS SELECT id, free, salt FROM {SNEAKY};
    CREATE TRIGGER {SNEAKY}2 INSTEAD OF UPDATE ON slot BEGIN SELECT 1; END;"""
_ADDED_ROW: Final = """
    INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql)"""

TAMPERINGS: Final[Mapping[str, str]] = {
    "a trigger that keeps what is deleted": f"""
        CREATE TRIGGER {SNEAKY} BEFORE DELETE ON secret BEGIN SELECT RAISE(IGNORE); END;""",
    "a trigger that forgets reads": f"""
        CREATE TRIGGER {SNEAKY} AFTER UPDATE OF read_count ON secret BEGIN
            UPDATE secret SET read_count = 0 WHERE seq = NEW.seq; END;""",
    "a trigger that keeps salts": f"""
        CREATE TRIGGER {SNEAKY} BEFORE UPDATE ON slot BEGIN SELECT RAISE(IGNORE); END;""",
    "a trigger of a name of ours": """
        CREATE TRIGGER secret AFTER INSERT ON audit BEGIN DELETE FROM audit; END;""",
    "a view": f"CREATE VIEW {SNEAKY} AS SELECT * FROM secret;",
    "a view in the place of a table": _VIEW_FOR_SLOT,
    "a table": f"CREATE TABLE {SNEAKY} (x);",
    "a table that counts": f"CREATE TABLE {SNEAKY} (x INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE {SNEAKY};",
    "an index": f"CREATE INDEX {SNEAKY} ON secret (label);",
    "no index": "DROP INDEX secret_bare;",
    "no table": "DROP TABLE audit;",
    "an index that is not unique": "DROP INDEX secret_lookup; CREATE INDEX secret_lookup ON secret (lookup);",
    "another collation": """
        DROP INDEX secret_lookup; CREATE UNIQUE INDEX secret_lookup ON secret (lookup COLLATE NOCASE);""",
    "an index of fewer rows": """
        DROP INDEX secret_expiry;
        CREATE INDEX secret_expiry ON secret (expires_at) WHERE expires_at IS NOT NULL AND seq > 5;""",
    "a column": f"ALTER TABLE secret ADD COLUMN {SNEAKY} BLOB;",
    "a column that is computed": f"""
        ALTER TABLE secret ADD COLUMN {SNEAKY} TEXT GENERATED ALWAYS AS (hex(sealed)) VIRTUAL;""",
    "a column less": 'ALTER TABLE secret DROP COLUMN "delete";',
    "a column of another name": f"ALTER TABLE audit RENAME COLUMN detail TO {SNEAKY};",
    "another condition": f"""
        {_WRITABLE};
        UPDATE sqlite_master SET sql = replace(sql, 'length(salt) = 32', 'length(salt) < 99') WHERE name = 'slot';""",
    "no STRICT": f"{_WRITABLE}; UPDATE sqlite_master SET sql = replace(sql, 'STRICT', '') WHERE name = 'audit';",
    "text after a NUL": f"{_WRITABLE}; UPDATE sqlite_master SET sql = sql || char(0) || ', x' WHERE name = 'audit';",
    "a name with a NUL": f"{_WRITABLE}; UPDATE sqlite_master SET name = name || char(0) || 'x' WHERE name = 'audit';",
    "bytes for text": f"{_WRITABLE}; UPDATE sqlite_master SET sql = CAST(sql AS BLOB) WHERE name = 'audit';",
    "text that is no UTF-8": f"""
        {_WRITABLE};
        UPDATE sqlite_master SET sql = CAST(sql || ' /*' || x'ff' || '*/' AS TEXT) WHERE name = 'audit';""",
    "a row of the schema twice": f"""
        {_WRITABLE};
        {_ADDED_ROW} SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'audit';""",
    "two indexes in one place": f"""
        {_WRITABLE};
        UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'secret_bare')
        WHERE name = 'secret_org';""",
    "a view that hides the schema": f"""
        {_WRITABLE};
        {_ADDED_ROW} VALUES
            ('view', 'sqlite_schema', 'sqlite_schema', 0, 'CREATE VIEW sqlite_schema AS SELECT 1 AS type');
        {_ADDED_ROW} VALUES ('trigger', '{SNEAKY}', 'secret', 0,
            'CREATE TRIGGER {SNEAKY} BEFORE DELETE ON secret BEGIN SELECT RAISE(IGNORE); END');""",
    "statistics that are none": f"""
        CREATE TABLE {SNEAKY} (tbl, idx, stat, more); {_WRITABLE};
        UPDATE sqlite_master SET name = 'sqlite_stat1', tbl_name = 'sqlite_stat1',
            sql = 'CREATE TABLE sqlite_stat1(tbl,idx,stat,more)' WHERE name = '{SNEAKY}';""",
    "an older number": "PRAGMA user_version = 1;",
    "no number": "PRAGMA user_version = 0;",
    "no vacuum": "PRAGMA auto_vacuum = 0; VACUUM;",
}
"""What was done, and the statements that do it to a database of the newest schema, with a row in each table."""


def tamper(database: Path, statements: str) -> None:
    """Run statements on a database that nobody has open, as somebody who does not use sirrd."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA foreign_keys=OFF; {statements}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def empty_database(database: Path, *, version: int, encoding: str = "UTF-8") -> None:
    """Make a database as so many migrations do, without a row."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum=INCREMENTAL")
        for script in scripted(version):
            connection.executescript(script)
