"""`sirrd verify-burn`: what it says of a secret that is gone, and of one that is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sirrd.model import Identity
from sirrd.store.sqlite.verify import CHUNK_BYTES, needles_of
from tests.conftest import MASTER_KEY, Launch
from tests.parts import ask, put, sirrd


@pytest.fixture
def burned(launch: Launch, tmp_path: Path) -> str:
    """The id of a secret that has burned, in a folder that no daemon holds."""
    with launch() as daemon:
        put(daemon.address(), max_reads=None)
        path = put(daemon.address())
        assert ask(daemon.address(), "GET", path)[0] == 200
        assert daemon.stop() == 0
    return path.rpartition("/")[2]


def failed(output: str) -> list[str]:
    return [line for line in output.splitlines() if not line.startswith("ok: ")]


def test_a_burned_secret_is_verified(tmp_path: Path, burned: str) -> None:
    """Six lines, all well, exit 0, and the id in none of them."""
    found = sirrd(tmp_path, "verify-burn", given=burned + "\n")
    assert (found.returncode, found.stderr) == (0, "")
    assert len(found.stdout.splitlines()) == 6
    assert failed(found.stdout) == []
    assert burned not in found.stdout


def test_an_open_delivery_is_said(launch: Launch, tmp_path: Path) -> None:
    """What an attempt may still ask for again is not gone yet; once it was received, it is."""
    with launch() as daemon:
        path = put(daemon.address())
        attempt = {"X-Sirr-Attempt": "A" * 43}
        assert httpx.get(daemon.address() + path, headers=attempt).status_code == 200
        given = path.rpartition("/")[2]
        assert "FAILED: a reader can ask for it again" in sirrd(tmp_path, "verify-burn", given=given).stdout
        assert httpx.post(f"{daemon.address()}{path}/received", headers=attempt).status_code == 200
        assert "ok: no reader can ask" in sirrd(tmp_path, "verify-burn", given=given).stdout
        assert daemon.stop() == 0
    assert failed(sirrd(tmp_path, "verify-burn", given=given).stdout) == []


def test_it_works_beside_a_daemon(launch: Launch, tmp_path: Path) -> None:
    """A live row is found while the daemon runs, and reading it takes nothing from it."""
    with launch() as daemon:
        path = put(daemon.address())
        found = sirrd(tmp_path, "verify-burn", given=path.rpartition("/")[2])
        assert found.returncode == 1
        assert "FAILED: a row stands under its index" in found.stdout
        assert "FAILED: the WAL holds" in found.stdout
        assert ask(daemon.address(), "GET", path)[0] == 200
        status, _ = ask(daemon.address(), "POST", "/orgs/acme/secrets", {"key": "DB", "value": "x"})
        assert status == 201
        assert "FAILED: a row" in sirrd(tmp_path, "verify-burn", given="acme/DB").stdout
        assert "ok: no row" in sirrd(tmp_path, "verify-burn", given="other/DB").stdout


@pytest.mark.parametrize("form", [str.encode, bytes.fromhex])
@pytest.mark.parametrize("before", [0, CHUNK_BYTES - 7])
def test_an_id_in_a_file_is_found(tmp_path: Path, burned: str, form: Callable[[str], bytes], before: int) -> None:
    """An id as text or in binary form, also across pieces of a large file, is said with the file's name."""
    (tmp_path / "data" / "stray").write_bytes(bytes(before) + form(burned))
    found = sirrd(tmp_path, "verify-burn", given=burned)
    assert found.returncode == 1
    (line,) = failed(found.stdout)
    assert "stray" in line


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE slot SET salt = randomblob(32) WHERE free = 1",
        "INSERT INTO slot (free, salt) VALUES (0, randomblob(32))",
    ],
)
def test_a_salt_that_stayed_is_found(tmp_path: Path, burned: str, statement: str) -> None:
    """A free slot that is not zero, and a salt that no secret needs, are failures."""
    connection = sqlite3.connect(tmp_path / "data" / "sirrd.db")
    with connection:
        connection.execute(statement)
    connection.close()
    found = sirrd(tmp_path, "verify-burn", given=burned)
    assert found.returncode == 1
    (line,) = failed(found.stdout)
    assert "slot" in line


@pytest.mark.parametrize("name", ["", "abc", "AB" * 32, "a/b/c", "/x", "0" * 64 + "\n\n", "x" * 600, "a/" + "0" * 64])
def test_a_malformed_name_is_2(tmp_path: Path, name: str) -> None:
    """What is neither an id nor org/key is exit 2, and is not repeated."""
    found = sirrd(tmp_path, "verify-burn", given=name)
    assert (found.returncode, found.stdout) == (2, "")
    line, hint = found.stderr.splitlines()
    assert line.startswith("sirrd: standard input holds neither")
    assert hint.startswith("hint: ")
    assert len(name) < 3 or name not in found.stderr


def test_the_wrong_key_is_3(tmp_path: Path, burned: str) -> None:
    """Without the right key nothing can be said, and no key is made."""
    assert sirrd(tmp_path, "verify-burn", given=burned, SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY).returncode == 3
    (tmp_path / "data" / "master.key").unlink()
    assert sirrd(tmp_path, "verify-burn", given=burned).returncode == 3
    assert not (tmp_path / "data" / "master.key").exists()


def test_a_short_name_is_not_looked_for_as_text() -> None:
    """Three bytes stand in any large file: only the label's form of such a name is looked for."""
    assert needles_of(Identity.in_org("a", "b")) == [b"\0\0\0\1a\0\0\0\1b"]
    assert len(needles_of(Identity.in_org("acme", "DB_PASSWORD"))) == 2
