"""Runs the real daemon under load on one folder, kills it again and again, and keeps the history of what clients saw.

A quarter of the kills come from outside, at a random instant, now and then before the daemon has started; the others
happen at a chosen point (`points.py`). In many rounds the master key is changed beside the load, by the code of the
command, with the inner keys or without, or the system's clock is set. The command itself is killed, too, between any
two of its steps (`steps.py`), beside a daemon and without one. The workload is random but seeded. Nothing here judges:
see `history.py`.
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
from typing import Any, Final, NamedTuple

from sirrd.errors import FolderInUse, NoNewerKey, SirrdError
from sirrd.store.sqlite.folder import LOCK
from tests.crash.clients import API_KEY, Client, Seen
from tests.crash.files import attempt_faults, audit_of, chain_faults, file_faults, keyring_of, renewal_faults
from tests.crash.keys import Keys
from tests.crash.points import POINTS, Point
from tests.crash.steps import FILE_CUTS, Cut
from tests.faults.shim import KILL, Shim
from tests.parts import PATIENCE_SECONDS, ROOT, SIRRD, settings_of, started, wait_until

CLIENTS: Final = 4
TICK_SECONDS: Final = 0.05
POINT_SECONDS: Final = 4.0
CLOCKS: Final = (0, 3600, -3600, 2, -2, 315_360_000, -315_360_000)
_ROTATING: Final = 0.25
_RENEWING: Final = 0.3
_CUTTING_BESIDE: Final = 0.8
_POINTS_BETWEEN: Final = 4
_ROUNDS_PER_TURN: Final = 4
_CUTS: Final = 3
_TRIES_EACH: Final = 5
_SETTING_CLOCK: Final = 0.25


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


class Change(NamedTuple):
    """How keys are changed beside a daemon.

    Attributes:
        renewing: How likely it is each time that the inner keys are renewed, too.
        is_cut: Whether the command is killed before it may come to its end.
        chance: Draws.
    """

    renewing: float
    is_cut: bool
    chance: random.Random


class Run:
    """Many kills on one folder.

    Args:
        folder: For data and log.
        launcher: Starts the daemons.
        commands: Starts commands that change the keys.
        shim: Under the daemons.
        seed: Makes a run the same twice, but for the timing of the machine.
        keys: Where the keys are.
    """

    def __init__(
        self, folder: Path, launcher: Launcher, commands: Launcher, shim: Shim, *, seed: int, keys: type[Keys]
    ) -> None:
        self.seen = Seen()
        self._folder = folder
        self._launcher = launcher
        self._commands = commands
        self._shim = shim
        self.seed = seed
        self._chance = random.Random(seed)
        self._round = 0
        self._points: list[str] = []
        self._killed_at = ""
        self._cuts: list[Cut] = []
        (folder / "data").mkdir(mode=0o700)
        self._keys = keys(folder / "data")

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
        if not self._round % _ROUNDS_PER_TURN:
            # Several in a row, since each ends what attempts have left, which the other rounds ask for again.
            for _ in range(_CUTS):
                self._cut(beside=0)
        first, point = len(self.seen.operations), self._next_point()
        patience = self._chance.choice((0.03, 0.2, 0.3, 0.4)) * self._chance.random()
        chosen = POINTS.get(point or "", Point())
        # Where keys change once beside a daemon, what only that passes may be passed once.
        is_once = (chosen.rotates or chosen.renews) and self._keys.most_rotations == 1
        passes = self._chance.randint(1, 1 if is_once else chosen.passes)
        order: dict[str, Any] = {"log": str(self.log)}
        if point is not None:
            patience = POINT_SECONDS
            order |= {"point": point, "passes": passes, "delay": 0.002 * self._chance.random()}
        change = self._next_change(chosen, is_owed=(is_owed := point is None and self._owes_cut_beside()))
        if is_owed:
            patience = POINT_SECONDS
        if change is not None:
            self._keys.add()
        order["env"] = self._keys.env
        until = time.monotonic() + patience
        pid = self._launcher.start(**order)
        with self._loading(pid, until, change=change) as address:
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
        self._killed_at = point or "from outside"
        self.seen.kills[self._killed_at] += 1
        self.seen.faults += self._keys.faults()

    def _set_clock(self) -> None:
        """Have somebody set the system's clock, one time in four: no life that clients know may change by that."""
        if self._chance.random() < _SETTING_CLOCK:
            self._shim.set_clock(self._chance.choice(CLOCKS))

    def _next_point(self) -> str | None:
        """Return the point of three rounds in four, each once before any comes again; None for a kill from outside."""
        if not self._round % _ROUNDS_PER_TURN:
            return None
        if not self._points:
            self._points = self._chance.sample(sorted(POINTS), len(POINTS))
        before = POINTS[self._points[-1]].after
        return self._points.pop() if before in {"", self._killed_at} else before

    def _next_change(self, point: Point, *, is_owed: bool) -> Change | None:
        """Return how the keys are changed beside the next daemon, by a command that is killed if that is owed."""
        chance = random.Random(f"{self.seed}-{self._round}-keys")
        if is_owed:
            return Change(_RENEWING, is_cut=True, chance=chance)
        if point.rotates or point.renews:
            # What moves records alone is reached by that alone.
            return Change(1.0 if point.renews else 0.0, is_cut=False, chance=chance)
        if self._chance.random() < _ROTATING:
            return Change(_RENEWING, chance.random() < _CUTTING_BESIDE, chance)
        return None

    def _owes_cut_beside(self) -> bool:
        """Tell whether the command was never killed beside a daemon yet, and can be."""
        return any(cut in FILE_CUTS for cut in self._keys.cuts) and not any(beside for _, beside in self.seen.cuts)

    def _missed(self, point: str | None) -> None:
        """Let a point that was not reached in its time be tried again, after others: it may need what they leave."""
        if point is not None:
            if len(self._points) < _POINTS_BETWEEN:
                self._points += self._chance.sample(sorted(POINTS), _POINTS_BETWEEN)
            self._points.insert(0, point)

    @contextlib.contextmanager
    def _loading(self, pid: int, until: float, *, change: Change | None) -> Iterator[str]:
        """Have clients at work, once the daemon listens, until the block ends with its death; give its address."""
        address = self._address(pid, until)
        name = f"{self.seed}-{self._round}"
        clients = [Client(address, self.seen, f"{name}-{n}") for n in range(CLIENTS if address else 0)]
        threads = [threading.Thread(target=client.load) for client in clients]
        if address and change is not None:
            threads.append(threading.Thread(target=self._rotate, args=(pid, change)))
        for thread in threads:
            thread.start()
        try:
            yield address
        finally:
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
                assert not thread.is_alive(), "a client hangs"

    def _rotate(self, pid: int, change: Change) -> None:
        """Change the master key again and again, as the command does, until the daemon is gone."""
        try:
            if change.is_cut:
                self._cut(beside=pid)
            for _ in range(self._keys.most_rotations):
                self.seen.rotations += 1
                self._keys.rotate(renews=change.chance.random() < change.renewing)
                if has_ended(pid):
                    return
        except (OSError, http.client.HTTPException, FolderInUse, NoNewerKey):
            # The daemon has ended, or is about to: what it had moved is moved, and the next one goes on.
            return
        except SirrdError as error:
            self.seen.faults.append(f"changing the master key failed: {type(error).__name__}")

    def _cut(self, *, beside: int) -> None:
        """Have the command killed that changes the keys, at each place once before any comes again.

        Args:
            beside: The daemon that holds the folder meanwhile; 0 for none.
        """
        if not self._cuts:
            self._cuts = self._chance.sample(self._keys.cuts, len(self._keys.cuts))
        among = [cut for cut in self._cuts if not beside or cut in FILE_CUTS]
        if beside and self._owes_cut_beside():
            # Without a daemon each of them may have had its turn already.
            among = among or [cut for cut in self._keys.cuts if cut in FILE_CUTS]
        if not among:
            return
        cut = among[-1]
        if not beside:
            self._keys.add()
        self.seen.rotations += 1
        log = str(self._folder / "commands.log")
        self._commands.start(log=log, command=cut.command, step=cut[:3], env=self._keys.env)
        code = self._commands.code(within=PATIENCE_SECONDS)
        assert code is not None, "the command hangs"
        self.seen.faults += self._keys.faults()
        if code == -signal.SIGKILL:
            self._cuts = [each for each in self._cuts if each != cut]
            self.seen.cuts[cut, bool(beside)] += 1
        elif code and not (beside and has_ended(beside)):
            said = (self._folder / "commands.log").read_text()[-500:]
            self.seen.faults.append(f"the command that was to die at {cut} ended with {code}: {said}")
        else:
            # It did not come there, and is tried again later.
            self._cuts = [cut, *(each for each in self._cuts if each != cut)]

    def catch_up(self) -> None:
        """Have the command killed where no round has killed it: what it passes depends on what others have left."""
        self._cuts = [cut for cut in self._keys.cuts if cut not in {cut for cut, _ in self.seen.cuts}]
        for _ in range(_TRIES_EACH * len(self._cuts)):
            if not self._cuts:
                return
            self._cut(beside=0)

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
        self._keys.add()
        self._keys.rotate(renews=True)
        self.seen.faults += self._keys.last_faults()
        command, env = [*SIRRD, "serve"], settings(self._folder) | self._keys.env
        with started(command, log=self._folder / "last.log", cwd=ROOT, env=env) as daemon:
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
            keyring = keyring_of(database, self._keys.text)
            self.seen.faults += [*file_faults(database), *attempt_faults(database), *chain_faults(database, keyring)]
            self.seen.faults += renewal_faults(database)
            return audit_of(database, keyring, {secret.name: secret.identity for secret in self.seen.secrets})


def size_of(file: Path) -> int:
    """Return how many bytes a file has; none if it is not there."""
    return file.stat().st_size if file.exists() else 0


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
