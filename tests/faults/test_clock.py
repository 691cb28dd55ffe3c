"""The system's clock of a real daemon is set: lives, lock-outs and restarts go by the clock of the boot."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.shim import Shim
from tests.parts import PATIENCE_SECONDS, SIRRD, Process, ask, put, settings_of, started, wait_until

YEARS = 10 * 365 * 86_400
HOUR = 3600
JUMPS = [YEARS, HOUR, -HOUR, -YEARS]


class Machine:
    """A machine whose clock can be set, and the daemon on it."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder = folder
        self.shim = Shim(library, data=folder / "data", control=folder / "control")
        self.logs: list[Path] = []

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Process]:
        """Run a daemon on it."""
        self.logs.append(self._folder / f"{len(self.logs)}.log")
        env = settings_of(self._folder / "data") | self.shim.env
        with started([*SIRRD, "serve"], log=self.logs[-1], cwd=self._folder, env=env) as process:
            process.address()
            yield process

    def jumps(self) -> list[str]:
        """Return what was said of jumps so far, without the time before it."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [line.partition("the system clock ")[2].partition(";")[0] for line in lines if "CLOCK:" in line]


@pytest.fixture
def machine(tmp_path: Path, library: Path) -> Machine:
    """A machine with the right time."""
    return Machine(tmp_path, library)


def look(address: str, path: str) -> tuple[int, dict[str, str]]:
    """Look at a secret without spending, and return status and headers."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def seconds_until_gone(address: str, path: str, since: float) -> float:
    """Wait until a secret is gone, and return for how long it was there."""
    wait_until(lambda: look(address, path)[0] == http.client.NOT_FOUND)
    assert ask(address, "GET", path)[0] == http.client.NOT_FOUND
    return time.monotonic() - since


def test_i9_a_clock_that_is_years_ahead_at_boot_and_then_right(machine: Machine) -> None:
    """I9: a secret for 2 s that is stored meanwhile is gone after 2 s of real time, and shown by the right time."""
    machine.shim.set_clock(YEARS)
    with machine.daemon() as daemon:
        address = daemon.address()
        path, since = put(address, ttl_seconds=2, max_reads=None), time.monotonic()
        assert int(look(address, path)[1]["x-sirr-created-at"]) == pytest.approx(time.time() + YEARS, abs=3)
        machine.shim.set_clock(0)
        status, headers = look(address, path)
        assert status == http.client.OK
        assert int(headers["x-sirr-created-at"]) == pytest.approx(time.time(), abs=3)
        assert int(headers["x-sirr-expires-at"]) == int(headers["x-sirr-created-at"]) + 2
        assert 1 <= seconds_until_gone(address, path, since) < 10
        kept = put(address, ttl_seconds=HOUR, max_reads=None)
        assert int(look(address, kept)[1]["x-sirr-created-at"]) == pytest.approx(time.time(), abs=3)
        assert daemon.stop() == 0
    with machine.daemon() as daemon:
        assert look(daemon.address(), path)[0] == http.client.NOT_FOUND
        status, headers = look(daemon.address(), kept)
        assert int(headers["x-sirr-expires-at"]) == pytest.approx(time.time() + HOUR, abs=PATIENCE_SECONDS)
    assert machine.jumps() == [f"jumped back by {YEARS} s"]


@pytest.mark.parametrize("jump", JUMPS)
def test_i9_a_clock_that_is_set_while_a_secret_lives(jump: int, machine: Machine) -> None:
    """I9: the life of a secret ends in its time, whatever the clock is set to, and it does not come back."""
    with machine.daemon() as daemon:
        address = daemon.address()
        path, since = put(address, ttl_seconds=3, max_reads=None), time.monotonic()
        machine.shim.set_clock(jump)
        assert ask(address, "GET", path)[0] == http.client.OK
        assert 2 <= seconds_until_gone(address, path, since) < 10
        machine.shim.set_clock(-jump)
        assert ask(address, "GET", path)[0] == http.client.NOT_FOUND
        assert daemon.stop() == 0
    with machine.daemon() as daemon:
        assert look(daemon.address(), path)[0] == http.client.NOT_FOUND
    there, back = ("ahead", "back") if jump > 0 else ("back", "ahead")
    assert machine.jumps() == [f"jumped {there} by {abs(jump)} s", f"jumped {back} by {2 * abs(jump)} s"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("jump", JUMPS)
def test_i9_a_clock_that_is_set_between_two_starts(jump: int, end: signal.Signals, machine: Machine) -> None:
    """I9: what had expired stays gone, though nobody pruned it; what lives lives on, for what was left of its life."""
    with machine.daemon() as daemon:
        address = daemon.address()
        gone, since = put(address, ttl_seconds=1, max_reads=None), time.monotonic()
        short, long = (put(address, ttl_seconds=ttl, max_reads=None) for ttl in (6, HOUR))
        seconds_until_gone(address, gone, since)
        daemon.process.send_signal(end)
        daemon.process.wait(PATIENCE_SECONDS)
    machine.shim.set_clock(jump)
    with machine.daemon() as daemon:
        address = daemon.address()
        assert ask(address, "GET", gone)[0] == http.client.NOT_FOUND
        assert ask(address, "GET", long)[0] == http.client.OK
        left = int(look(address, long)[1]["x-sirr-expires-at"]) - (time.time() + jump)
        assert HOUR - PATIENCE_SECONDS < left <= HOUR
        assert seconds_until_gone(address, short, since) < 6 + PATIENCE_SECONDS / 2
    assert machine.jumps() == [f"jumped {'ahead' if jump > 0 else 'back'} by {abs(jump)} s"]


def test_a_lock_out_ends_in_its_minute_whatever_the_clock_does(machine: Machine) -> None:
    """After ten wrong proofs the wait is a minute at most, and gets shorter, under any clock; no jump ends it."""
    proof = bytes(32)
    lock = hashlib.sha256(proof).hexdigest()
    with machine.daemon() as daemon:
        address = daemon.address()
        path = put(address, lock=lock, max_reads=None)
        for number in range(1, 11):
            assert guess(address, path, bytes([number]) * 32)[0] == http.client.FORBIDDEN
        waits = []
        for jump in (0, *JUMPS, 0):
            machine.shim.set_clock(jump)
            status, wait = guess(address, path, proof)
            assert status == http.client.TOO_MANY_REQUESTS
            waits.append(int(wait))
        assert max(waits) <= 60
        assert min(waits) > 60 - PATIENCE_SECONDS
        assert waits == sorted(waits, reverse=True)


def guess(address: str, path: str, proof: bytes) -> tuple[int, str]:
    """Show a proof, and return the status and what is said of how long to wait."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        shown = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        connection.request("GET", path, headers={"X-Sirr-Proof": shown})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After") or ""
