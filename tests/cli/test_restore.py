"""`sirrd restore`: what comes back, what does not, and what is never touched."""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from sirrd.clock import SystemClock
from sirrd.store.sqlite import restore as restoring
from sirrd.store.sqlite.folder import DataFolder
from tests.conftest import MASTER_KEY, Launch, masters
from tests.parts import SIRRD, ask, put, settings_of, sirrd
from tests.scan import found_in


class Made(NamedTuple):
    """A folder with a backup, and what burned since.

    Attributes:
        burned: Read after the backup.
        kept: A dead drop without a limit.
        sealed: Its reads were used up before the backup.
        org: An org secret without a limit.
        salts: The salts of secrets with a limit, as the backup has them.
    """

    burned: str
    kept: str
    sealed: str
    org: str
    salts: list[bytes]


@pytest.fixture
def made(launch: Launch, tmp_path: Path) -> Made:
    """A stopped daemon's folder with a backup beside it."""
    with launch() as daemon:
        address = daemon.address()
        burned, kept = put(address), put(address, max_reads=None)
        sealed = put(address, delete=False)
        assert ask(address, "GET", sealed)[0] == 200
        gone = put(address)
        assert ask(address, "GET", gone)[0] == 200
        put(address, max_reads=None, ttl_seconds=1)
        org = "/orgs/acme/secrets"
        for key, reads in (("KEPT", None), ("LIMITED", 3)):
            assert ask(address, "POST", org, {"key": key, "value": "v", "max_reads": reads})[0] == 201
        assert sirrd(tmp_path, "backup", "copy.db").returncode == 0
        assert ask(address, "GET", burned)[0] == 200
        assert daemon.stop() == 0
    return Made(burned, kept, sealed, f"{org}/KEPT", limited_salts(tmp_path / "copy.db"))


def limited_salts(file: Path) -> list[bytes]:
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT salt FROM slot JOIN secret ON secret.slot = slot.id WHERE max_reads IS NOT NULL"
        return [salt for (salt,) in connection.execute(query)]


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "sirrd.lock"}


@pytest.fixture
def expired(made: Made) -> Made:
    """The same, later than the second in which one of its secrets lives."""
    time.sleep(1.1)
    return made


def test_restore_brings_everything_back(launch: Launch, tmp_path: Path, expired: Made) -> None:
    """Without `--burn` the state of the backup is back, sealed ones sealed, with a warning of what revives."""
    found = sirrd(tmp_path, "restore", "copy.db", "--replace")
    assert (found.returncode, found.stdout) == (0, "restored 5 secrets, 0 burned\n"), found.stderr
    assert "alive again" in found.stderr
    with launch() as daemon:
        answers = [ask(daemon.address(), "GET", path)[0] for path in expired[:4]]
    assert answers == [200, 200, 410, 200]


def test_i8_burn_leaves_no_salt_of_what_has_a_limit(launch: Launch, tmp_path: Path, expired: Made) -> None:
    """With `--burn` every secret with a limit is gone, audited one by one, and no file has its salt."""
    found = sirrd(tmp_path, "restore", "copy.db", "--replace", "--burn")
    assert (found.returncode, found.stdout, found.stderr) == (0, "restored 2 secrets, 3 burned\n", "")
    assert len(expired.salts) == 3
    assert found_in(tmp_path / "data", expired.salts) == set()
    assert sorted(state(tmp_path / "data")) == ["master.key", "sirrd.db"]
    with closing(sqlite3.connect(tmp_path / "data" / "sirrd.db")) as connection:
        rows = connection.execute("SELECT count(*) FROM audit WHERE action = 'deleted' AND caller = 'local'").fetchone()
    assert rows == (3,)
    verified = sirrd(tmp_path, "verify-burn", given=expired.burned.rpartition("/")[2])
    assert verified.returncode == 0, verified.stdout
    with launch() as daemon:
        answers = [ask(daemon.address(), "GET", path)[0] for path in expired[:4]]
    assert answers == [404, 200, 404, 200]


def test_restore_into_a_new_folder(launch: Launch, tmp_path: Path, made: Made) -> None:
    """With the key given, a folder that is not there is made, for its owner only under any umask."""
    key = (tmp_path / "data" / "master.key").read_text().strip()
    environment = settings_of(tmp_path / "new", SIRR_MASTER_ENCRYPTION_KEY=key)
    done = subprocess.run([*SIRRD, "restore", "copy.db"], cwd=tmp_path, env=environment, umask=0, check=False)
    assert done.returncode == 0
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "sirrd.db").stat().st_mode) == 0o600


def test_what_is_refused_touches_nothing(launch: Launch, tmp_path: Path, made: Made) -> None:
    """A database without `--replace`, a foreign key, a file that is none, the database itself: nothing changes."""
    before = state(tmp_path / "data")
    (tmp_path / "text").write_text("no database " * 500)
    sqlite3.connect(tmp_path / "empty.db").close()
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    other = {"SIRR_MASTER_ENCRYPTION_KEY": MASTER_KEY}
    assert sirrd(tmp_path, "restore", "copy.db").returncode == 1
    assert sirrd(tmp_path, "restore", "copy.db", "--replace", **other).returncode == 3
    assert sirrd(tmp_path, "restore", "data/sirrd.db", "--replace").returncode == 1
    for name in ("text", "empty.db", "other.db", "missing.db"):
        assert sirrd(tmp_path, "restore", name, "--replace").returncode == 1, name
    assert state(tmp_path / "data") == before
    with launch():
        assert sirrd(tmp_path, "restore", "copy.db", "--replace").returncode == 3
    assert ask_after(launch, made.kept) == 200


def ask_after(launch: Launch, path: str) -> int:
    with launch() as daemon:
        return ask(daemon.address(), "GET", path)[0]


def test_the_wal_of_a_killed_daemon_does_not_reach_the_restored_file(launch: Launch, tmp_path: Path) -> None:
    """What a crash left in the WAL is not replayed onto the restored database; a reader in the way is exit 1."""
    with launch() as daemon:
        kept = put(daemon.address(), max_reads=None)
        assert sirrd(tmp_path, "backup", "copy.db").returncode == 0
        late = put(daemon.address(), "v" * 20_000, max_reads=None)
        daemon.process.kill()
        daemon.process.wait()
    assert (tmp_path / "data" / "sirrd.db-wal").stat().st_size > 0
    with closing(sqlite3.connect(tmp_path / "data" / "sirrd.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM secret").fetchone()
        assert "has the old database open" in sirrd(tmp_path, "restore", "copy.db", "--replace").stderr
    found = sirrd(tmp_path, "restore", "copy.db", "--replace")
    assert found.returncode == 0, found.stderr
    assert ask_after(launch, kept) == 200
    assert ask_after(launch, late) == 404


def test_a_damaged_database_is_replaced(launch: Launch, tmp_path: Path, made: Made) -> None:
    """A file that SQLite cannot open does not stand in the way, and leftovers of a dead restore are removed."""
    (tmp_path / "data" / "sirrd.db").write_bytes(b"damaged " * 1000)
    (tmp_path / "data" / "sirrd.db-wal").write_bytes(b"damaged " * 1000)
    (tmp_path / "data" / "sirrd.db.new").write_bytes(b"left")
    assert sirrd(tmp_path, "restore", "copy.db", "--replace").returncode == 0
    assert sorted(state(tmp_path / "data")) == ["master.key", "sirrd.db"]
    assert ask_after(launch, made.kept) == 200


@pytest.mark.parametrize("instant", [1, 2])
async def test_a_restore_that_dies_leaves_the_old_state_whole(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: int
) -> None:
    """Before the rename, what the old WAL held is there; what the dead restore staged is swept at the next start."""
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        assert sirrd(tmp_path, "backup", "copy.db").returncode == 0
        late = put(daemon.address(), max_reads=None)
        daemon.process.kill()
        daemon.process.wait()
    folder = DataFolder(tmp_path / "data")
    synced = iter(range(1, 9))

    def die(path: Path) -> None:
        if next(synced) == instant:
            raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "sync", die)
    monkeypatch.setattr(DataFolder, "sweep", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        await restoring.restore(
            tmp_path / "copy.db", folder, masters=masters(), clock=SystemClock(), replace=True, burn=False
        )
    assert folder.staged.exists()
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        assert not folder.staged.exists()
        assert ask(daemon.address(), "GET", late)[0] == 200


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, made: Made) -> None:
    """A restore that cannot write its copy whole changes nothing and leaves nothing."""
    before = state(tmp_path / "data")
    done = subprocess.run(
        [*SIRRD, "restore", "copy.db", "--replace"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
        check=False,
    )
    assert done.returncode == 1
    assert "the copy failed: " in done.stderr
    assert state(tmp_path / "data") == before
