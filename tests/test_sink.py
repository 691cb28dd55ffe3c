"""Standard error that nobody reads, that is closed, or whose disk is full: the daemon does not wait for it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sirrd import sink as module
from sirrd.sink import MAX_WAITING_BYTES, Sink
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, require, settings_of, wait_until
from tests.server.test_daemon import connected, told

DROPPED = re.compile(r"(\d+) lines? (?:was|were) dropped")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for lines to come together, nor long for a reader that never comes."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.1)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read, where to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def taken(reading: int, until: str) -> str:
    """Read what comes until a text is among it, and return all."""
    text = ""
    while until not in text:
        text += os.read(reading, 65_536).decode()
    return text


# The sink by itself.


def test_what_is_written_comes_in_its_order(pipe: tuple[int, int]) -> None:
    """Lines of several threads are whole, and those of one are in their order."""
    sink = Sink(pipe[1])

    def write(name: str) -> None:
        for number in range(100):
            sink.write(f"{name} {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.write("end\n")
    lines = taken(pipe[0], "end\n").splitlines()
    for name in "ab":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {number}" for number in range(100)]
    assert sink.settle()


def test_nobody_waits_for_a_pipe_that_nobody_reads(pipe: tuple[int, int]) -> None:
    """Memory has a bound; what goes beyond is dropped by whole lines, and counted where it is missing."""
    sink = Sink(pipe[1])
    line = "x" * 999 + "\n"
    most = MAX_WAITING_BYTES // len(line)
    for _ in range(3 * most):
        assert sink.write(line) == len(line)
    assert sum(map(len, sink._pieces)) <= MAX_WAITING_BYTES
    assert not sink.settle()
    text = taken(pipe[0], "dropped\n")
    kept, (dropped,) = text.count(line), map(int, DROPPED.findall(text))
    assert kept + dropped == 3 * most
    assert text.splitlines()[-1] == f"sirrd: {dropped} lines were dropped"
    sink.write("after\n")
    assert taken(pipe[0], "after\n") == "after\n"


def test_a_piece_that_is_too_large_is_dropped_and_said(pipe: tuple[int, int]) -> None:
    """It does not silence what comes after it."""
    sink = Sink(pipe[1])
    sink.write("x" * (MAX_WAITING_BYTES + 1))
    assert taken(pipe[0], "dropped\n") == "sirrd: 1 line was dropped\n"
    sink.write("after\n")
    assert taken(pipe[0], "after\n") == "after\n"


class Disk:
    """What `os.write` does: it takes so many bytes, and then fails."""

    def __init__(self) -> None:
        self.room = 0
        self.error = errno.ENOSPC
        self.text = b""

    def write(self, _: int, data: Any) -> int:
        """See `os.write`."""
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.text += taken
        return len(taken)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EPIPE, errno.EBADF, errno.EIO])
def test_what_cannot_be_written_is_dropped_until_it_can(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """A full disk, a reader that is gone, a closed descriptor: the next line that can be written tells of the rest."""
    disk = Disk()
    disk.room, disk.error = 3, error
    monkeypatch.setattr(os, "write", disk.write)
    sink = Sink(2)
    for number in range(3):
        sink.write(f"line {number}\n")
        assert sink.settle()
    assert disk.text == b"lin"
    disk.room = 1000
    sink.write("after\n")
    assert sink.settle()
    assert disk.text == b"lin\nsirrd: 3 lines were dropped\nafter\n"
    assert sink.lost == 3


def test_a_descriptor_that_others_do_not_want_to_block_is_waited_for(pipe: tuple[int, int]) -> None:
    """Whoever shares it may have set it so; it is left as it is, and nothing is lost."""
    os.set_blocking(pipe[1], False)
    sink = Sink(pipe[1])
    text = "".join(f"line {number}\n" for number in range(20_000))
    sink.write(text)
    assert taken(pipe[0], "line 19999\n") == text
    assert not os.get_blocking(pipe[1])


def test_it_is_written_from_within_itself(pipe: tuple[int, int]) -> None:
    """A destructor that runs while a line is taken may log a line of its own."""
    sink = Sink(pipe[1])
    with sink._lock:
        sink.write("inner\n")
    assert taken(pipe[0], "inner\n") == "inner\n"


def test_whatever_text_there_is_can_be_written(pipe: tuple[int, int]) -> None:
    """Half a surrogate is escaped."""
    sink = Sink(pipe[1])
    sink.write("ü \ud800\n")
    assert taken(pipe[0], "\n") == "ü \\ud800\n"


# The daemon.


def serve(tmp_path: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Start the daemon with standard error as given, on a port that is found in its lock file."""
    env = settings_of(tmp_path / "data", SIRR_LOG_FORMAT="json", SIRR_PRUNE_INTERVAL_SECONDS="0.2")
    return subprocess.Popen([*SIRRD, "serve"], cwd=tmp_path, env=env, **streams)


def address_in(tmp_path: Path) -> str:
    """Wait until the daemon serves, and return where: its log may be what it cannot say it in."""
    lock = tmp_path / "data" / "sirrd.lock"
    found: list[str] = []

    def is_there() -> bool:
        with contextlib.suppress(FileNotFoundError):
            found[:] = re.findall(r"http://[0-9.:]+", lock.read_text())
        return bool(found)

    wait_until(is_there)
    wait_until(lambda: _serves(found[0]))
    return found[0]


def _serves(address: str) -> bool:
    with contextlib.suppress(OSError):
        return ask(address, "GET", "/health")[0] == 200
    return False


def filled(writing: int) -> None:
    """Fill a pipe to its brim."""
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b".")
    os.set_blocking(writing, True)


def flood(address: str, *, times: int) -> None:
    """Ask so often over one connection; requests and answers, and so the lines, are many."""
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connected(address) as connection:
        sender = threading.Thread(target=lambda: connection.sendall(request * (times - 1) + last))
        sender.start()
        assert told(connection).count(b"HTTP/1.1 200") == times
        sender.join()


def test_a_pipe_that_nobody_reads_stops_nothing(tmp_path: Path, pipe: tuple[int, int]) -> None:
    """It is full before the daemon starts: start, requests, ticks, invalid requests and SIGTERM all go on."""
    filled(pipe[1])
    with serve(tmp_path, stderr=pipe[1]) as process:
        try:
            address = address_in(tmp_path)
            flood(address, times=3000)
            assert ask(address, "GET", put(address))[1]["value"] == "s3cret"
            with connected(address) as connection:
                connection.sendall(b"no http\r\n\r\n")
                assert told(connection).startswith(b"HTTP/1.1 400")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


def test_what_was_dropped_is_said_when_somebody_reads_again(tmp_path: Path, pipe: tuple[int, int]) -> None:
    """Every request has its line, or is among those that are counted in the place of the missing ones."""
    times = 12_000
    with serve(tmp_path, stderr=pipe[1]) as process:
        try:
            address = address_in(tmp_path)
            flood(address, times=times)
            text = taken(pipe[0], "dropped")
            text += taken(pipe[0], "\n")
            process.send_signal(signal.SIGTERM)
            text += taken(pipe[0], '"stopped"}\n')
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
    lines = [json.loads(line) for line in text.splitlines()]
    notices = [line for line in lines if DROPPED.match(line.get("message", ""))]
    assert {line["level"] for line in notices} == {"warning"}
    kept = sum("request_id" in line for line in lines)
    dropped = sum(int(DROPPED.findall(line["message"])[0]) for line in notices)
    assert kept < times
    # Beside requests there may be ticks among them.
    assert times <= kept + dropped <= times + 1000


def test_a_terminal_that_was_stopped_stops_nothing(tmp_path: Path) -> None:
    """Ctrl-S halts what is shown, and not what is served."""
    leader, follower = pty.openpty()
    try:
        with serve(tmp_path, stderr=follower, stdin=subprocess.DEVNULL) as process:
            try:
                address = address_in(tmp_path)
                termios.tcflow(follower, termios.TCOOFF)
                flood(address, times=3000)
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_SECONDS) == 0
            finally:
                process.kill()
    finally:
        os.close(leader)
        os.close(follower)


def test_a_disk_that_is_full_behind_the_log_stops_nothing(tmp_path: Path) -> None:
    """`/dev/full` is such a disk."""
    require(Path("/dev/full").exists(), "/dev/full")
    with Path("/dev/full").open("wb") as full, serve(tmp_path, stderr=full) as process:
        try:
            address = address_in(tmp_path)
            flood(address, times=100)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_not_given_to_files(tmp_path: Path, closed: str) -> None:
    """Started without standard error the daemon serves, and what would be said never gets into another file."""
    env = settings_of(tmp_path / "data")
    command = f'exec "$0" -m sirrd serve {closed}'
    with subprocess.Popen(["sh", "-c", command, sys.executable], cwd=tmp_path, env=env) as process:
        try:
            address = address_in(tmp_path)
            assert ask(address, "GET", put(address))[1]["value"] == "s3cret"
            opened = {number: str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)}
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
    assert opened[2] == "/dev/null"
    assert str(tmp_path) not in " ".join(opened.values())


def test_an_error_at_the_start_is_said_even_if_it_is_the_last(tmp_path: Path) -> None:
    """What a command has to say leaves before it ends, whole, also where nobody reads for a while."""
    ran = subprocess.run(
        [*SIRRD, "serve", "--log-level", "loud"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert "log_level" in ran.stderr


def test_a_command_whose_messages_nobody_reads_does_its_work(tmp_path: Path, pipe: tuple[int, int]) -> None:
    """A backup is made and its exit code is 0, whether or not its warning can be said."""
    env = settings_of(tmp_path / "data")
    subprocess.run([*SIRRD, "prune"], cwd=tmp_path, env=env, check=True, capture_output=True)
    filled(pipe[1])
    ran = subprocess.run(
        [*SIRRD, "backup", "copy.db"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=pipe[1],
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (ran.returncode, ran.stdout) == (0, b"backed up 0 secrets\n")
    assert (tmp_path / "copy.db").exists()


def test_a_result_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """Whoever writes the result of a command to a full disk is told."""
    require(Path("/dev/full").exists(), "/dev/full")
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*SIRRD, "check-config"],
            cwd=tmp_path,
            env=settings_of(tmp_path / "data"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert "could not be written" in ran.stderr
