"""More clients than there are descriptors for: nobody is reset, the operator is told, and it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import json
import logging
import resource
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sirrd.server import listener as module
from sirrd.server.listener import MOST_CONNECTIONS, RESERVED_FILES, Acceptor, most_connections, raise_file_limit
from tests.parts import PATIENCE_SECONDS, SIRRD, Process, ask, settings_of, started, wait_until
from tests.server.test_daemon import connected

FILES = 64
NO_MORE = "no more connections are taken"


@contextlib.contextmanager
def limited(tmp_path: Path, *, files: int, soft: int | None = None) -> Iterator[Process]:
    """Run the daemon with so many files at most, or fewer at first."""
    limits = f"ulimit -Sn {soft or files}; ulimit -Hn {files}"
    command = ["sh", "-c", f"{limits}; exec {shlex.join([*SIRRD, 'serve'])}"]
    env = settings_of(tmp_path / "data", SIRR_LOG_FORMAT="json")
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        daemon.address()
        yield daemon


def told(daemon: Process) -> list[dict[str, Any]]:
    """Return what the log says of connections that were not taken."""
    return [json.loads(line) for line in daemon.log.read_text().splitlines() if NO_MORE in line]


def processor_ticks(daemon: Process) -> int:
    """Return what the daemon has used of a processor."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Kept:
    """A connection that stays open between requests."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request and return status and JSON."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def test_out_of_descriptors_nobody_is_reset_and_the_operator_is_told(tmp_path: Path) -> None:
    """Who is connected is served, storage and log included; others wait, and are served as soon as someone leaves."""
    with limited(tmp_path, files=FILES) as daemon, contextlib.ExitStack() as stack:
        kept = stack.enter_context(contextlib.closing(Kept(daemon.address())))
        assert kept.ask("GET", "/health")[0] == 200
        others = [stack.enter_context(connected(daemon.address())) for _ in range(2 * FILES)]
        wait_until(lambda: bool(told(daemon)))
        for _ in range(5):
            secret = kept.ask("POST", "/secrets", {"value": "s3cret"})[1]["id"]
            assert kept.ask("GET", f"/secrets/{secret}") == (200, {"id": secret, "value": "s3cret"})
        assert kept.ask("GET", "/ready")[0] == 200
        last = others[-1]
        last.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        last.settimeout(0.3)
        used = processor_ticks(daemon)
        with pytest.raises(TimeoutError):
            last.recv(1)
        assert processor_ticks(daemon) - used < 15  # hundredths of a second: it does not ask over and over
        for other in others[: FILES // 2 + FILES]:
            other.close()
        last.settimeout(PATIENCE_SECONDS)
        assert last.recv(100).startswith(b"HTTP/1.1 200")
        (line,) = told(daemon)
        assert daemon.stop() == 0
    assert line["level"] == "error"
    assert (line["soft_limit"], line["hard_limit"]) == (FILES, FILES)
    assert 0 < line["connections"] <= FILES - RESERVED_FILES
    for word in (f"the limit of open files is {FILES}", "RLIMIT_NOFILE", "LimitNOFILE=", "ulimit -n"):
        assert word in line["message"]


def test_the_soft_limit_is_raised(tmp_path: Path) -> None:
    """Most systems allow far more files than they begin with."""
    with limited(tmp_path, files=512, soft=FILES) as daemon, contextlib.ExitStack() as stack:
        for _ in range(3 * FILES):
            connection = stack.enter_context(connected(daemon.address()))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert told(daemon) == []
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
        assert [line.split()[3:5] for line in limits.splitlines() if "open files" in line] == [["512", "512"]]


def test_a_limit_is_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hard limit, or with a high one, there is enough; where more is forbidden, less has to do."""
    seen: list[tuple[int, int]] = []
    limits = (100, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: seen.append(new))
    raise_file_limit()
    assert seen == [(65_536, resource.RLIM_INFINITY)]
    for enough in [(70_000, 80_000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY), (100, 100)]:
        limits = enough
        raise_file_limit()
    assert len(seen) == 1

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    limits = (100, 200)
    raise_file_limit()


@pytest.mark.parametrize(("soft", "most"), [(10, 1), (resource.RLIM_INFINITY, MOST_CONNECTIONS), (10**6, 16_384)])
def test_there_is_always_room_for_someone(monkeypatch: pytest.MonkeyPatch, soft: int, most: int) -> None:
    """However low the limit, one connection is served; however high, memory has a bound."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert most_connections() == most


class Failing:
    """A listening socket whose `accept` fails as it is told."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def settimeout(self, _: float) -> None:
        """See `socket.settimeout`."""

    def fileno(self) -> int:
        """See `socket.fileno`."""
        return 0

    def accept(self) -> tuple[socket.socket, object]:
        """See `socket.accept`."""
        if not self.numbers:
            raise BlockingIOError
        number = self.numbers.pop(0)
        raise OSError(number, "injected")


@pytest.fixture
async def accepting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make acceptors over sockets that fail, and call them by hand."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", lambda *_: None)
    monkeypatch.setattr(asyncio.get_running_loop(), "remove_reader", lambda *_: None)

    def make(listener: Failing) -> Acceptor:
        made: Any = Acceptor(listener, asyncio.Protocol, count=lambda: 0, make_room=lambda: None)  # type: ignore[arg-type]
        return made  # type: ignore[no-any-return]

    return make


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EMFILE, "LimitNOFILE="),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOBUFS, "no memory"),
        (errno.ENOMEM, "no memory"),
    ],
)
async def test_every_shortage_is_told_once_and_waited_out(
    accepting: Callable[..., Acceptor], caplog: pytest.LogCaptureFixture, number: int, word: str
) -> None:
    """Whatever the kernel lacks, it is asked again after a pause, and the log has a line a minute at most."""
    listener = Failing(*[number] * 3)
    acceptor = accepting(listener)
    for left in (2, 1, 0):
        acceptor._accept()
        assert len(listener.numbers) == left
        assert acceptor._pause is not None
        acceptor._go_on()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert word in record.getMessage()
    acceptor.close()


async def test_a_client_that_left_is_no_shortage(accepting: Callable[..., Acceptor]) -> None:
    """It is passed over, and the next one is taken."""
    listener = Failing(errno.ECONNABORTED, errno.EPERM, errno.EPROTO)
    acceptor = accepting(listener)
    acceptor._accept()
    assert listener.numbers == []
    assert acceptor._pause is None
    acceptor.close()
    acceptor._go_on()


def test_clients_that_never_ask_make_room_for_those_who_do(tmp_path: Path) -> None:
    """Connections that only send half a head are closed when others wait for their place; those that asked stay."""
    program = (
        "import sys; from sirrd.cli.program import main; from sirrd.server import protocol; "
        "protocol.SILENT_SECONDS = 0.2; "
        "sys.exit(main(['serve']))"
    )
    command = ["sh", "-c", f"ulimit -n {FILES}; exec {shlex.join([SIRRD[0], '-c', program])}"]
    env = settings_of(tmp_path / "data")
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=env) as daemon, contextlib.ExitStack() as stack:
        kept = stack.enter_context(contextlib.closing(Kept(daemon.address())))
        assert kept.ask("GET", "/health")[0] == 200
        for _ in range(2 * FILES):
            stack.enter_context(connected(daemon.address())).sendall(b"GET / HTTP/1.1\r\n")
        assert ask(daemon.address(), "GET", "/health")[0] == 200
        assert kept.ask("GET", "/health")[0] == 200
