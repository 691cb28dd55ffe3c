"""Writes, syncs and truncations of the database files that fail under a daemon, by a shim under the real SQLite.

For each fault: no value leaves that is not spent on the disk, `/ready` tells, `/health` does not mind, and the daemon
goes on by itself when the fault ends. What was answered with success is there then, and also after a `kill -9` in the
middle of the fault.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.conftest import MASTER_KEY
from tests.crash.files import chain_faults, file_faults, keyring_of
from tests.faults.shim import Call, File, Shim
from tests.parts import ROOT, SIRRD, Process, ask, put, settings_of, started, wait_until

TICK: Final = "0.1"
SIZES: Final = (20, 9_000, 300_000)
UNAVAILABLE: Final = (503, "storage_unavailable")
NOT_READY: Final = (503, {"status": "unavailable", "reason": "storage"})


class Fault(NamedTuple):
    """What fails, and with what.

    Attributes:
        holds: Whether everything is refused meanwhile; otherwise what is answered is durable in the WAL.
    """

    calls: Call
    files: File
    error: int = errno.EIO
    holds: bool = True


FAULTS: Final = {
    "writes to the WAL": Fault(Call.WRITE, File.WAL),
    "writes to the WAL, for want of space": Fault(Call.WRITE, File.WAL, errno.ENOSPC),
    "syncs of the WAL": Fault(Call.SYNC, File.WAL),
    "syncs of the WAL, for want of space": Fault(Call.SYNC, File.WAL, errno.ENOSPC),
    "writes of the checkpoint": Fault(Call.WRITE, File.DATABASE),
    "writes of the checkpoint, for want of space": Fault(Call.WRITE, File.DATABASE, errno.ENOSPC, holds=False),
    "syncs of the checkpoint": Fault(Call.SYNC, File.DATABASE),
    "truncations of the WAL": Fault(Call.TRUNCATE, File.WAL),
    "everything, where the file system has turned read-only": Fault(~Call(0), ~File(0), errno.EROFS),
}
KILLED_IN: Final = [name for name, fault in FAULTS.items() if fault.error != errno.ENOSPC or not fault.holds]


class Shimmed:
    """A daemon over a shim, and secrets in it, before the fault.

    Attributes:
        burning: Paths and values of secrets with one read.
        counted: A secret that may be read for ever.
        sealing: A secret that can be amended.
        spent: A secret that has burned.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder = folder
        self.shim = Shim(library, data=folder / "data", control=folder / "control")
        self.address = ""
        self.burning: dict[str, str] = {}
        self.counted = self.sealing = self.spent = ""

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Process]:
        """Run a daemon."""
        env = settings_of(
            self._folder / "data", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY, SIRR_PRUNE_INTERVAL_SECONDS=TICK
        )
        log = self._folder / f"{len(list(self._folder.glob('*.log')))}.log"
        with started([*SIRRD, "serve"], log=log, cwd=ROOT, env=env | self.shim.env) as daemon:
            self.address = daemon.address()
            yield daemon

    def fill(self) -> None:
        """Store what is to be kept."""
        for n, size in enumerate(SIZES * 3):
            value = f"value {n} ".ljust(size, "x")
            self.burning[put(self.address, value)] = value
        self.counted = put(self.address, "counted", max_reads=None)
        self.sealing = put(self.address, "sealing", max_reads=3, delete=False)
        self.spent = put(self.address, "spent")
        assert self.ask("GET", self.spent)[0] == 200

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request."""
        return ask(self.address, method, path, body)

    def break_(self, fault: Fault) -> None:
        """Begin a fault, and wait until the daemon has met it; what it stored until then is kept, too."""
        self.shim.fail(fault.calls, fault.files, fault.error)

        def is_met() -> bool:
            value = f"value {len(self.burning)}"
            status, answer = self.ask("POST", "/secrets", {"value": value})
            if status == 201:
                self.burning[f"/secrets/{answer['id']}"] = value
            return self.shim.hits > 0 and self.ask("GET", "/ready")[0] == 503

        wait_until(is_met)

    def check(self, *, unsure: frozenset[str] = frozenset()) -> None:
        """Check that everything is there; of what is unsure, a read may have happened of which the client knows not."""
        assert self.ask("GET", self.spent)[0] == 404
        assert self.ask("GET", self.counted)[1]["value"] == "counted"
        assert self.ask("GET", self.sealing)[1]["value"] == "sealing"
        for path, value in self.burning.items():
            status, answer = self.ask("GET", path)
            if status != 404 or path not in unsure:
                assert (status, answer.get("value")) == (200, value)
            assert self.ask("GET", path)[0] == 404

    def is_ready(self) -> bool:
        """Tell whether `/ready` says so."""
        return self.ask("GET", "/ready") == (200, {"status": "ready"})

    def files_are_sound(self) -> bool:
        """Check the files of a daemon that was stopped."""
        with contextlib.closing(sqlite3.connect(self._folder / "data" / "sirrd.db")) as database:
            return [*file_faults(database), *chain_faults(database, keyring_of(database, MASTER_KEY))] == []


@pytest.fixture
def shimmed(tmp_path: Path, library: Path) -> Shimmed:
    """A data folder whose files can fail."""
    return Shimmed(tmp_path, library)


def refuses_everything(shimmed: Shimmed) -> None:
    """Check that what would write is 503, gives nothing away, and that what only reads goes on."""
    read = list(shimmed.burning)[:3]
    requests: list[tuple[str, str, Any]] = [("GET", path, None) for path in [*read, shimmed.counted, shimmed.sealing]]
    requests += [("POST", "/secrets", {"value": "x" * size}) for size in SIZES]
    requests += [("PATCH", shimmed.sealing, {"max_reads": 2}), ("DELETE", shimmed.counted, None)]
    for method, path, body in requests:
        status, answer = shimmed.ask(method, path, body)
        assert (status, answer.get("code")) == UNAVAILABLE, (method, answer)
        assert "value" not in answer
    listed = shimmed.ask("GET", "/secrets")[1]["secrets"]
    assert {each["read_count"] for each in listed} == {0}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_gives_nothing_away_and_ends(shimmed: Shimmed, name: str) -> None:
    """While it lasts `/ready` is 503 and nothing is spent or given; when it ends all is as before, by itself."""
    fault = FAULTS[name]
    with shimmed.daemon() as daemon:
        shimmed.fill()
        shimmed.break_(fault)
        if fault.holds:
            refuses_everything(shimmed)
        assert shimmed.ask("GET", "/ready") == NOT_READY
        assert shimmed.ask("GET", "/health") == (200, {"status": "ok"})
        assert shimmed.shim.hits
        shimmed.shim.heal()
        wait_until(shimmed.is_ready)
        shimmed.check()
        wait_until(lambda: not (daemon.log.parent / "data" / "sirrd.db-wal").stat().st_size)
        assert "not ready: the storage fails" in daemon.log.read_text()
        assert daemon.stop() == 0
    assert shimmed.files_are_sound()


@pytest.mark.parametrize("name", KILLED_IN)
def test_a_kill_in_the_middle_of_a_fault_loses_nothing(shimmed: Shimmed, name: str) -> None:
    """Killed while it lasts: the next start has all that was answered; what was 503 happened whole or not at all."""
    fault = FAULTS[name]
    with shimmed.daemon() as daemon:
        shimmed.fill()
        shimmed.break_(fault)
        unsure = frozenset(list(shimmed.burning)[:3])
        for path in unsure:
            status, _ = shimmed.ask("GET", path)
            assert status == 503 if fault.holds else status == 200
        daemon.process.kill()
        daemon.process.wait()
    assert shimmed.shim.hits
    shimmed.shim.heal()
    with shimmed.daemon() as daemon:
        assert shimmed.is_ready()
        shimmed.check(unsure=unsure)
        assert daemon.stop() == 0
    assert shimmed.files_are_sound()


def test_without_anyone_asking_the_next_request_ends_it(shimmed: Shimmed) -> None:
    """Nobody has to ask `/ready`: the first request after a fault is served."""
    with shimmed.daemon() as daemon:
        shimmed.fill()
        shimmed.shim.fail(Call.SYNC, File.WAL)
        path = next(iter(shimmed.burning))
        assert shimmed.ask("GET", path)[0] == 503
        shimmed.shim.heal()
        assert shimmed.ask("GET", path)[1].get("value") == shimmed.burning.pop(path)
        shimmed.check()
        assert daemon.stop() == 0


def test_what_a_failed_sync_refused_is_not_found_by_the_next_start(shimmed: Shimmed) -> None:
    """A claim whose sync failed stays undone, even over a kill, once the daemon has met the end of the fault."""
    with shimmed.daemon() as daemon:
        shimmed.fill()
        shimmed.shim.fail(Call.SYNC, File.WAL)
        for path in shimmed.burning:
            assert shimmed.ask("GET", path)[0] == 503
        shimmed.shim.heal()
        wait_until(shimmed.is_ready)
        daemon.process.kill()
        daemon.process.wait()
    with shimmed.daemon() as daemon:
        shimmed.check()
        assert daemon.stop() == 0
