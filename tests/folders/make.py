"""Writes the data folder of this release as text: `scripts/folder FOLDER`. Run it once for each release."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from sirrd.entropy import SystemEntropy
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Amendment, Caller, Identity, Plaintext, Terms
from sirrd.store.sqlite.folder import DataFolder
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import SetClock

MADE_AT = 1_800_000_000
CALLER = Caller("bearer", "192.0.2.7")
DROP, COUNTED, SEALED, BURNED, MORTAL, LOCKED = (Identity(digit * 64) for digit in "012345")
PROOF = bytes(range(32))
ORG_SECRET = Identity("DB_PASSWORD", "acme")


async def fill(store: SqliteStore) -> list[dict[str, Any]]:
    """Store one secret of each kind, and return what is expected of them later."""
    kinds: list[tuple[Identity, str, Terms]] = [
        (DROP, "a plain drop", Terms(MADE_AT, None, 1, delete=True)),
        (COUNTED, "grüße, one of three reads spent", Terms(MADE_AT, None, 3, delete=True)),
        (SEALED, "sealed, then amended", Terms(MADE_AT, None, 1, delete=False)),
        (BURNED, "burned", Terms(MADE_AT, None, 1, delete=True)),
        (MORTAL, "expires in an hour", Terms(MADE_AT, MADE_AT + 3600, None, delete=True)),
        (LOCKED, "behind a lock", Terms(MADE_AT, None, 1, delete=True, lock=hashlib.sha256(PROOF).digest())),
        (ORG_SECRET, "hunter2", Terms(MADE_AT, None, None, delete=True)),
    ]
    for identity, value, terms in kinds:
        await store.put(identity, Plaintext(value.encode()), lambda _, terms=terms: terms, by=CALLER)  # type: ignore[misc]
    for identity in (COUNTED, SEALED, BURNED, ORG_SECRET):
        await store.claim(identity, by=CALLER)
    await store.amend(SEALED, Amendment(Plaintext(b"amended")), lambda old, _: old, by=CALLER)
    values = {identity: value for identity, value, _ in kinds if identity != BURNED} | {SEALED: "amended"}
    return [
        {
            "name": identity.name,
            "org": identity.org,
            "value": value,
            "fingerprint": store.fingerprint(identity),
            "read_count": int(identity in {COUNTED, ORG_SECRET}),
            "proof": PROOF.hex() if identity == LOCKED else None,
        }
        for identity, value in values.items()
    ]


async def make(target: Path) -> None:
    """Write `database.sql`, `master.key` and `expected.json` into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = DataFolder(Path(temporary))
        keys = folder.master_keys(SystemEntropy())
        store = await SqliteStore.open(
            folder.database, masters=MasterKeys(keys, SystemEntropy()), clock=SetClock(MADE_AT), min_free_bytes=0
        )
        expected = await fill(store)
        await store.close()
        (target / "master.key").write_text((folder.path / "master.key").read_text())
        with contextlib.closing(sqlite3.connect(folder.database)) as connection:
            pragmas = [
                f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};\n"
                for name in ("auto_vacuum", "application_id", "user_version")
            ]
            (target / "database.sql").write_text("".join(pragmas) + "\n".join(connection.iterdump()) + "\n")
    (target / "expected.json").write_text(json.dumps(expected, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(make(Path(sys.argv[1])))
