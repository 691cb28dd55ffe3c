"""Copies of the database, by the real command line."""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, settings_of, sirrd


def lookups(file: Path) -> int:
    """Return how many secrets a database has, opened as it stands, without a file beside it."""
    connection = sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (count,) = connection.execute("SELECT count(*) FROM secret").fetchone()
    connection.close()
    return int(count)


def test_a_backup_beside_a_daemon_has_every_acknowledged_write(launch: Launch, tmp_path: Path) -> None:
    """Under concurrent writes the copy is consistent, and has all that was answered before it began."""
    stop = threading.Event()
    with launch() as daemon:
        address = daemon.address()
        before = 50
        for number in range(before):
            put(address, f"value {number}" * 50)

        def write() -> None:
            while not stop.is_set():
                put(address)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        found = sirrd(tmp_path, "backup", "copy.db")
        stop.set()
        for thread in threads:
            thread.join()
        assert daemon.stop() == 0
    assert found.returncode == 0, found.stderr
    copied = lookups(tmp_path / "copy.db")
    assert found.stdout == f"backed up {copied} secrets\n"
    assert copied >= before
    assert (tmp_path / "copy.db").read_bytes()[18:20] == b"\1\1"
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]


def test_a_backup_holds_no_key_and_says_what_it_is(launch: Launch, tmp_path: Path) -> None:
    """One line on standard error warns of the key and of what revives; no byte of the key is in the copy."""
    with launch() as daemon:
        put(daemon.address())
    found = sirrd(tmp_path, "backup", "copy.db")
    assert (found.returncode, found.stdout) == (0, "backed up 1 secrets\n")
    (line,) = found.stderr.splitlines()
    assert "key" in line
    assert "revives" in line
    key = (tmp_path / "data" / "master.key").read_text().strip()
    content = (tmp_path / "copy.db").read_bytes()
    assert key.encode() not in content
    assert bytes.fromhex(key) not in content


def test_a_backup_is_for_its_owner_only(launch: Launch, tmp_path: Path) -> None:
    """Its mode is 0600 even where the umask allows everything."""
    with launch():
        pass
    done = subprocess.run(
        [*SIRRD, "backup", "copy.db"], cwd=tmp_path, env=settings_of(tmp_path / "data"), umask=0, check=False
    )
    assert done.returncode == 0
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


def test_an_existing_file_is_not_overwritten(launch: Launch, tmp_path: Path) -> None:
    """A file that is there, a dangling link too, is exit 1 and stays what it was."""
    with launch():
        pass
    (tmp_path / "copy.db").write_text("mine")
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere")
    for name in ("copy.db", "link.db"):
        found = sirrd(tmp_path, "backup", name)
        assert found.returncode == 1
        assert "exists already" in found.stderr
    assert (tmp_path / "copy.db").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["sirrd.db-wal", "sirrd.db.new", "sirrd.db-journal", "master.key.new"])
def test_a_copy_takes_no_name_of_the_daemon(launch: Launch, tmp_path: Path, name: str) -> None:
    """A copy that would be taken for part of the database, or swept away, is refused, and so is restoring one."""
    with launch() as daemon:
        assert daemon.stop() == 0
    assert sirrd(tmp_path, "backup", f"data/{name}").returncode == 1
    assert not (tmp_path / "data" / name).exists()
    (tmp_path / "data" / name).write_text("kept")
    assert sirrd(tmp_path, "restore", f"data/{name}", "--replace").returncode == 1
    assert (tmp_path / "data" / name).read_text() == "kept"


def test_a_full_disk_leaves_no_part_of_a_backup(launch: Launch, tmp_path: Path) -> None:
    """Where the copy cannot be written whole, nothing of it stays, and the command fails."""
    with launch() as daemon:
        for _ in range(5):
            put(daemon.address(), "v" * 50_000)
        assert daemon.stop() == 0
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [*SIRRD, "backup", "out/copy.db"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        check=False,
    )
    assert done.returncode == 1
    assert "the copy failed: " in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("target", ["no/such/folder/copy.db", "copy.db"])
def test_what_cannot_be_backed_up_is_said(launch: Launch, tmp_path: Path, target: str) -> None:
    """No folder for the copy is exit 1; no database is exit 3, and no data folder is made."""
    if target == "copy.db":
        assert sirrd(tmp_path, "backup", target).returncode == 3
        assert not (tmp_path / "data").exists()
        return
    with launch() as daemon:
        assert ask(daemon.address(), "GET", "/health")[0] == 200
        assert sirrd(tmp_path, "backup", target).returncode == 1
