"""Runs the real daemon under load on one folder, kills it again and again, and keeps the history of what clients saw.

A third of the kills come from outside, at a random instant, now and then before the daemon has started; the others
happen at a chosen point (`points.py`). In many rounds the master key is changed beside the load, by the code of the
command, or the system's clock is set. The workload is random but seeded. Nothing here judges: see `history.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import random
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

from pydantic import SecretStr

from sirrd import rotate
from sirrd.config.settings import Settings
from sirrd.errors import FolderInUse, SirrdError
from sirrd.store.sqlite.folder import KEY_FILE, LOCK
from tests.crash.clients import API_KEY, Client, Seen
from tests.crash.files import attempt_faults, audit_of, chain_faults, file_faults, keyring_of
from tests.crash.points import POINTS, Point
from tests.faults.shim import KILL, Shim
from tests.parts import PATIENCE_SECONDS, ROOT, SIRRD, ask, settings_of, started, wait_until

CLIENTS: Final = 4
TICK_SECONDS: Final = 0.05
POINT_SECONDS: Final = 4.0
ROTATIONS: Final = 20
KEPT_KEY: Final = "5e" * 32
CLOCKS: Final = (0, 3600, -3600, 2, -2, 315_360_000, -315_360_000)
_ROTATING: Final = 0.25
_SETTING_CLOCK: Final = 0.25
_ROTATION_PAUSE_SECONDS: Final = 0.01


class Launcher:
    """Starts daemons by way of `launcher.py`, one at a time, and tells when one has ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._told = b""

    def start(self, **order: Any) -> int:
        """Start a daemon and return its process id."""
        self._order(**order)
        return int(self._answer(PATIENCE_SECONDS, "pid"))

    def signal(self, number: int) -> None:
        """Send a signal to the daemon."""
        self._order(signal=number)

    def code(self, *, within: float) -> int | None:
        """Wait for the end of the daemon and return its exit code; None if it lives longer than some seconds."""
        with contextlib.suppress(TimeoutError):
            return int(self._answer(within, "code"))
        return None

    def _order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self, seconds: float, name: str) -> Any:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._told:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the launcher did not tell the {name}")
            piece = self._process.stdout.read1()  # type: ignore[attr-defined]  # a pipe is buffered
            assert piece, "the launcher has ended"
            self._told += piece
        line, _, self._told = self._told.partition(b"\n")
        return json.loads(line)[name]


@contextlib.contextmanager
def launching(folder: Path, shim: Shim) -> Iterator[Launcher]:
    """Run a launcher over a shim, and end it with its daemon at the latest when the test ends."""
    command = [sys.executable, "-m", "tests.crash.launcher"]
    pipe = subprocess.PIPE
    env = settings(folder) | shim.env
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe) as process:
        try:
            yield Launcher(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE_SECONDS)


def settings(folder: Path) -> dict[str, str]:
    """Return the environment that every daemon of a run has."""
    return settings_of(
        folder / "data",
        SIRR_MASTER_API_KEY=API_KEY,
        SIRR_PRUNE_INTERVAL_SECONDS=str(TICK_SECONDS),
        SIRR_LOG_FORMAT="json",
        SIRR_LOG_LEVEL="warning",
    )


class Run:
    """Many kills on one folder.

    Args:
        folder: For data and log.
        launcher: Starts the daemons.
        shim: Under the daemons.
        seed: Makes a run the same twice, but for the timing of the machine.
    """

    def __init__(self, folder: Path, launcher: Launcher, shim: Shim, seed: int) -> None:
        self.seen = Seen()
        self._folder = folder
        self._launcher = launcher
        self._shim = shim
        self.seed = seed
        self._chance = random.Random(seed)
        self._round = 0
        self._points: list[str] = []
        (folder / "data").mkdir(mode=0o700)
        # As an operator has it, who keeps the key of an old backup.
        self._key_file = folder / "data" / KEY_FILE
        self._key_file.write_text(f"{'5f' * 32}\n# of an old backup\n{KEPT_KEY}\n")

    @property
    def log(self) -> Path:
        """The file that the daemons write their warnings and errors to; the last one has its own."""
        return self._folder / "daemon.log"

    def errors(self) -> list[str]:
        """Return the errors that any daemon logged, but for those that tell of the clock."""
        return [line for line in self._lines() if json.loads(line)["level"] == "error" and "CLOCK:" not in line]

    def jumps(self) -> int:
        """Return how often a daemon told that the clock had jumped."""
        return sum("CLOCK:" in line for line in self._lines())

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines() + (self._folder / "last.log").read_text().splitlines()

    def crash(self) -> None:
        """Start the daemon, put it under load, and have it killed; the clock may be set before, and meanwhile."""
        self._round += 1
        self._set_clock()
        first, point = len(self.seen.operations), self._next_point()
        order: dict[str, Any] = {"log": str(self.log)}
        patience = self._chance.choice((0.03, 0.2, 0.3, 0.4)) * self._chance.random()
        chosen = POINTS.get(point or "", Point())
        passes = self._chance.randint(1, chosen.passes)
        if point is not None:
            patience = POINT_SECONDS
            order |= {"point": point, "passes": passes, "delay": 0.002 * self._chance.random()}
        rotates = chosen.rotates or self._chance.random() < _ROTATING
        until = time.monotonic() + patience
        pid = self._launcher.start(**order)
        with self._loading(pid, until, rotates=rotates) as address:
            self._set_clock()
            if address and chosen.call:
                self._shim.fail(chosen.call, chosen.file, KILL, skip=passes - 1)
            code = self._launcher.code(within=max(0.0, until - time.monotonic()))
            if code is None:
                self._launcher.signal(signal.SIGKILL)
                code = self._launcher.code(within=PATIENCE_SECONDS)
                self._missed(point)
                point = None
        self._shim.heal()
        assert code == -signal.SIGKILL, f"the daemon ended with {code}: {self.log.read_text()[-2000:]}"
        self.seen.bound(first, time.monotonic())
        self.seen.kills[point or "from outside"] += 1

    def _set_clock(self) -> None:
        """Have somebody set the system's clock, one time in four: no life that clients know may change by that."""
        if self._chance.random() < _SETTING_CLOCK:
            self._shim.set_clock(self._chance.choice(CLOCKS))

    def _next_point(self) -> str | None:
        """Return the point of two rounds in three, each once before any comes again; None for a kill from outside."""
        if not self._round % 3:
            return None
        if not self._points:
            self._points = self._chance.sample(sorted(POINTS), len(POINTS))
        return self._points.pop()

    def _missed(self, point: str | None) -> None:
        """Let a point that was not reached in its time be tried again soon."""
        if point is not None:
            self._points.append(point)

    @contextlib.contextmanager
    def _loading(self, pid: int, until: float, *, rotates: bool) -> Iterator[str]:
        """Have clients at work, once the daemon listens, until the block ends with its death; give its address."""
        address = self._address(pid, until)
        name = f"{self.seed}-{self._round}"
        clients = [Client(address, self.seen, f"{name}-{n}") for n in range(CLIENTS if address else 0)]
        threads = [threading.Thread(target=client.load) for client in clients]
        if address and rotates:
            threads.append(threading.Thread(target=self._rotate, args=(pid,)))
        for thread in threads:
            thread.start()
        try:
            yield address
        finally:
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
                assert not thread.is_alive(), "a client hangs"

    def _rotate(self, pid: int) -> None:
        """Change the master key again and again, as the command does, until the daemon is gone."""
        try:
            for _ in range(ROTATIONS):
                self.seen.rotations += 1
                rotated(self._folder)
                if has_ended(pid):
                    return
        except (OSError, http.client.HTTPException, FolderInUse):
            # The daemon has ended, or is about to: what it had moved is moved, and the next one goes on.
            return
        except SirrdError as error:
            self.seen.faults.append(f"changing the master key failed: {type(error).__name__}")

    def _address(self, pid: int, until: float) -> str:
        """Wait for the address that a daemon leaves in the lock file; empty if the daemon or the time ends before."""
        while time.monotonic() < until and not has_ended(pid):
            with contextlib.suppress(OSError, ValueError):
                told = json.loads((self._folder / "data" / LOCK).read_text())
                if told["pid"] == pid and told["address"]:
                    return str(told["address"])
            time.sleep(0.002)
        return ""

    def finish(self) -> dict[str, dict[str, int]]:
        """Take the older keys away, start the daemon, read everything, stop it; return the audit rows."""
        self.seen.rotations += 1
        rotated(self._folder)
        _, *older = self._key_file.read_text().splitlines()
        if older != ["# of an old backup", KEPT_KEY]:
            self.seen.faults.append("behind the newest key does not stand what stood behind the first")
        command = [*SIRRD, "serve"]
        with started(command, log=self._folder / "last.log", cwd=ROOT, env=settings(self._folder)) as daemon:
            wait_until(lambda: bool(self._address(daemon.process.pid, math.inf)))
            address = self._address(daemon.process.pid, math.inf)
            clients = [Client(address, self.seen, f"{self.seed}-last-{n}") for n in range(CLIENTS)]
            shares = [(client, self.seen.secrets[n::CLIENTS]) for n, client in enumerate(clients)]
            readers = [threading.Thread(target=client.exhaust, args=(share,)) for client, share in shares]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            wal = self._folder / "data" / "sirrd.db-wal"
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not size_of(wal))
            if size_of(wal):
                self.seen.faults.append("the WAL was not emptied by a tick")
            assert daemon.stop() == 0
        with contextlib.closing(sqlite3.connect(self._folder / "data" / "sirrd.db")) as database:
            keyring = keyring_of(database, (self._folder / "data" / KEY_FILE).read_text())
            self.seen.faults += [*file_faults(database), *attempt_faults(database), *chain_faults(database, keyring)]
            return audit_of(database, keyring, {secret.name: secret.identity for secret in self.seen.secrets})


def rotated(folder: Path) -> None:
    """Change the master key by the code of the command: beside a daemon, or without one if it is gone."""
    chosen = Settings(data_dir=folder / "data", master_api_key=SecretStr(API_KEY), min_free_bytes=0)
    with mock.patch.object(rotate, "_PAUSE_SECONDS", _ROTATION_PAUSE_SECONDS):
        rotate.rotate(chosen, begin=begin_rotation, say=lambda _: None)


def begin_rotation(address: str) -> int | None:
    """Ask the daemon to move; None if there is nothing left to do."""
    status, answer = ask(address, "POST", "/rotate-key", bearer=API_KEY)
    if status == http.client.CONFLICT:
        return None
    if status != http.client.ACCEPTED:
        raise http.client.HTTPException(f"answered {status}")
    return int(answer["remaining"])


def size_of(file: Path) -> int:
    """Return how many bytes a file has; none if it is not there."""
    return file.stat().st_size if file.exists() else 0


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
