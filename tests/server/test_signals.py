"""What signals do to the real daemon: those that ask for an end are answered by a drained one, the others by none."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, settings_of, started, wait_until
from tests.server.test_daemon import half_a_post, refuses_connections, told

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU]


@pytest.mark.parametrize("number", STOPS)
def test_every_request_for_an_end_drains(launch: Launch, tmp_path: Path, number: signal.Signals) -> None:
    """A terminal that closes, and a `kill -QUIT`, end the daemon as SIGTERM does: what was begun is finished."""
    with launch() as daemon:
        connection, rest = half_a_post(daemon.address())
        with connection:
            ask(daemon.address(), "GET", "/health")
            daemon.process.send_signal(number)
            wait_until(lambda: refuses_connections(daemon.address()))
            connection.sendall(rest)
            answer = told(connection)
        assert answer.startswith(b"HTTP/1.1 201")
        assert daemon.process.wait(PATIENCE_SECONDS) == 0
        last = [json.loads(line) for line in daemon.log.read_text().splitlines() if '"message"' in line][-2:]
    assert [line["message"] for line in last] == ["told to stop", "stopped"]
    assert last[0]["signal"] == number.name
    wal = tmp_path / "data" / "sirrd.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0


def test_a_terminal_that_says_twice_that_it_is_gone_hurries_nobody(launch: Launch) -> None:
    """Kernel and shell both send SIGHUP when a terminal closes: the second does not end the draining."""
    with launch(SIRR_DRAIN_SECONDS="600") as daemon:
        for _ in range(3):
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: ask(daemon.address(), "GET", "/ready")[0] == 503)
        assert ask(daemon.address(), "GET", put(daemon.address()))[0] == 200
        assert daemon.stop() == 0


def test_under_nohup_the_daemon_outlives_its_terminal(tmp_path: Path) -> None:
    """Who starts it with `nohup` does not want SIGHUP to end it; SIGTERM still does."""
    command = ["sh", "-c", f"trap '' HUP; exec {shlex.join([*SIRRD, 'serve'])}"]
    env = settings_of(tmp_path / "data")
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        address = daemon.address()
        daemon.process.send_signal(signal.SIGHUP)
        assert ask(address, "GET", put(address))[0] == 200
        assert ask(address, "GET", "/ready")[0] == 200
        assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGXFSZ])
def test_no_other_signal_kills_it(launch: Launch, number: signal.Signals) -> None:
    """A rotation of logs that sends SIGUSR1 takes nothing down; the log says that the signal means nothing."""
    with launch() as daemon:
        daemon.process.send_signal(number)
        assert ask(daemon.address(), "GET", put(daemon.address()))[0] == 200
        if number in {signal.SIGUSR1, signal.SIGUSR2}:
            wait_until(lambda: f"{number.name} means nothing here" in daemon.log.read_text())
        assert daemon.stop() == 0


def test_a_daemon_that_was_halted_goes_on(launch: Launch) -> None:
    """Ctrl-Z, or a debugger, stops time for it and nothing else."""
    with launch() as daemon:
        path = put(daemon.address())
        daemon.process.send_signal(signal.SIGSTOP)
        daemon.process.send_signal(signal.SIGCONT)
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"
        assert daemon.stop() == 0


LATE = """
import os, signal, sys
from sirrd.cli.program import main
from sirrd.server import process
served = process._serve
async def and_then(*arguments):
    await served(*arguments)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(os.getpid(), number)
process._serve = and_then
main(["serve"])
"""


def test_a_signal_that_comes_late_does_not_change_how_it_ended(tmp_path: Path) -> None:
    """When all is done and closed, another signal is no reason for another exit code than 0."""
    env = settings_of(tmp_path / "data")
    with started([sys.executable, "-c", LATE], log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        daemon.address()
        assert daemon.stop() == 0
