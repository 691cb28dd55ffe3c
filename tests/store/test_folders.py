"""Every release opens the data folder of every earlier one."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from sirrd.errors import Gone
from sirrd.model import Identity, Proof
from tests.conftest import Start
from tests.folders.make import BURNED, CALLER, MADE_AT

FOLDERS = sorted((Path(__file__).parent.parent / "folders").glob("*.*.*"))


def unpacked(stored: Path, target: Path) -> None:
    """Make a data folder again from its text."""
    target.mkdir(mode=0o700)
    shutil.copy(stored / "master.key", target)
    with contextlib.closing(sqlite3.connect(target / "sirrd.db")) as connection:
        connection.executescript((stored / "database.sql").read_text(encoding="utf-8"))


@pytest.mark.parametrize("stored", FOLDERS, ids=lambda path: path.name)
async def test_an_earlier_data_folder_opens(stored: Path, tmp_path: Path, start: Start) -> None:
    """Names, fingerprints, counts, terms and values are what they were; what burned stays burned."""
    unpacked(stored, tmp_path / "data")
    expected = json.loads((stored / "expected.json").read_text(encoding="utf-8"))
    async with start(master_encryption_key=None) as daemon:
        daemon.clock.at = MADE_AT
        listed = (await daemon.client.get("/secrets")).json()["secrets"]
        found = {(each["key"], each["org"]): (each["fingerprint"], each["read_count"]) for each in listed}
        assert found == {(each["name"], each["org"]): (each["fingerprint"], each["read_count"]) for each in expected}
        for each in expected:
            proof = Proof(bytes.fromhex(each["proof"])) if each.get("proof") else None
            opened = await daemon.drop.read(Identity(each["name"], each["org"]), by=CALLER, proof=proof)
            assert opened.plaintext.text() == each["value"]
        with pytest.raises(Gone):
            await daemon.drop.read(BURNED, by=CALLER)
        assert (await daemon.client.post("/secrets", json={"value": "new"})).status_code == 201


def test_there_is_a_folder_to_open() -> None:
    """The folders are there: a test without cases would prove nothing."""
    assert [path.name for path in FOLDERS][:2] == ["0.1.0", "0.1.0-schema-2"]
