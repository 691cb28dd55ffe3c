"""Clients that never come to an end, many at once, against the real daemon: it keeps its memory, and serves on.

The daemon's own time-outs are half a minute and more, and no settings; here it runs with short ones, so that a test can
wait for the cut rather than for the clock.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import API_KEY, Launch
from tests.parts import PATIENCE_SECONDS, Process, ask, put, settings_of, started
from tests.server.test_daemon import connected, told

CLIENTS: Final = 64
MIB: Final = 1024 * 1024
STALL_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 1.0
UNREAD_BYTES: Final = MIB
BODY_BYTES: Final = 32 * 1024
GROWTH: Final = 24 * MIB
PIPELINED_GROWTH: Final = 128 * MIB
IMPATIENT: Final = f"""
import sys
from sirrd.cli import program as cli
from sirrd.server import process as server, protocol
from sirrd.http.wire import bodies
bodies.BODY_PROGRESS_SECONDS = {STALL_SECONDS}
protocol.MAX_UNREAD_BYTES = {UNREAD_BYTES}
server._SWEEP_TICKS = 1
sys.exit(cli.main(["serve"]))
"""
HOST: Final = b"Host: localhost\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
BEARER: Final = f"Authorization: Bearer {API_KEY}\r\n".encode()
GET: Final = b"GET /health HTTP/1.1\r\n" + HOST
POST: Final = b"POST /secrets HTTP/1.1\r\n" + HOST + JSON


@dataclass
class Daemon:
    """A daemon that is impatient.

    Attributes:
        process: The process.
        address: Where it listens.
        before: Its memory in bytes before anyone was hostile.
    """

    process: Process
    address: str
    before: int = 0

    def memory(self, name: str) -> int:
        """Return `VmRSS`, or its peak since `forget`, `VmHWM`, in bytes."""
        found = re.search(rf"^{name}:\s+(\d+) kB$", self._proc("status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def forget(self) -> None:
        """Let the peak begin anew."""
        self._proc("clear_refs").write_text("5")

    def grew(self) -> int:
        """Return by how many bytes its memory grew at most."""
        return self.memory("VmHWM") - self.before

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.process.pid}/{name}")

    def serves(self) -> None:
        """Check that it still does for others what it is for."""
        path = put(self.address, bearer=API_KEY)
        assert ask(self.address, "GET", path)[1]["value"] == "s3cret"
        assert ask(self.address, "GET", path)[0] == 404


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that is impatient, with small limits."""
    folder = tmp_path_factory.mktemp("exhaustion")
    limits = {"SIRR_MAX_VALUE_BYTES": "1000", "SIRR_MAX_BODY_BYTES": str(BODY_BYTES)}
    env = settings_of(folder / "data", SIRR_MASTER_API_KEY=API_KEY, SIRR_IDLE_SECONDS=str(IDLE_SECONDS), **limits)
    with started([sys.executable, "-c", IMPATIENT], log=folder / "log", cwd=folder, env=env) as process:
        found = Daemon(process, process.address())
        for _ in range(50):
            found.serves()
        found.before = found.memory("VmRSS")
        yield found
        assert process.stop() == 0


@dataclass
class Hostile:
    """A client that goes on for as long as it is let.

    Attributes:
        connection: Its connection.
        opening: What it sends first.
        more: What it then sends again and again; if empty, it says no more.
        reads: Whether it takes what it is told.
        sent: How many bytes it got rid of.
        told: What it was told.
        cut: When the daemon ended it, on the monotonic clock; 0 while it did not.
    """

    connection: socket.socket
    opening: bytes
    more: bytes = b""
    reads: bool = True
    sent: int = 0
    told: bytearray = field(default_factory=bytearray)
    cut: float = 0.0

    def write(self) -> None:
        """Send as much as the daemon takes."""
        rest = self.opening[self.sent :]
        if not rest and self.more:
            place = (self.sent - len(self.opening)) % len(self.more)
            rest = self.more[place:]
        with contextlib.suppress(BlockingIOError):
            self.sent += self.connection.send(rest)

    def read(self) -> None:
        """Take what there is, and notice the end."""
        with contextlib.suppress(BlockingIOError):
            piece = self.connection.recv(65_536)
            self.told += piece
            if not piece:
                self.cut = time.monotonic()

    @property
    def events(self) -> int:
        """What it waits for."""
        writes = self.more or self.sent < len(self.opening)
        return (selectors.EVENT_READ if self.reads else 0) | (selectors.EVENT_WRITE if writes else 0)


def pump(clients: list[Hostile], daemon: Daemon, until: Callable[[], bool]) -> None:
    """Let clients do what they do, and others ask in between, until something is so, within a bound."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.connection.settimeout(0)
            selector.register(client.connection, client.events, client)
        while not until():
            assert time.monotonic() < deadline, "it did not happen"
            for key, events in selector.select(0.05):
                step(selector, key.data, events)
            daemon.serves()


def step(selector: selectors.BaseSelector, client: Hostile, events: int) -> None:
    """Let one client do what it can."""
    try:
        if events & selectors.EVENT_WRITE:
            client.write()
        if events & selectors.EVENT_READ:
            client.read()
    except (BrokenPipeError, ConnectionResetError):
        client.cut = time.monotonic()
    if client.cut:
        selector.unregister(client.connection)
    else:
        selector.modify(client.connection, client.events, client)


@contextlib.contextmanager
def hostile(daemon: Daemon, opening: bytes, more: bytes = b"", *, reads: bool = True) -> Iterator[list[Hostile]]:
    """Connect many clients of one kind; the daemon's memory counts from here."""
    daemon.forget()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(daemon.address)) for _ in range(CLIENTS)]
        yield [Hostile(connection, opening, more, reads=reads) for connection in connections]


ENDLESS: Final = {
    "target": (b"GET /", b"a" * 4096, b"400"),
    "head": (GET, b"X-More: " + b"y" * 4096 + b"\r\n", b"400"),
    "fields": (GET, b"a: b\r\n" * 500, b"400"),
    "chunks": (POST + BEARER + CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", b"413"),
    "small chunks": (POST + BEARER + CHUNKED, (b"40\r\n" + b"x" * 64 + b"\r\n") * 50, b"413"),
    "length": (POST + BEARER + b"Content-Length: 9999999999\r\n\r\n", b"x" * 4096, b"413"),
    "chunk extension": (POST + BEARER + CHUNKED + b"1;", b"e" * 4096, b"400"),
    "chunks of one byte": (POST + BEARER + CHUNKED, b"1\r\nx\r\n" * 1000, b"400"),
    "stranger's chunks": (POST + CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", b"401"),
    "unasked chunks": (GET + CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", b"200"),
    "unasked chunks of one byte": (GET + CHUNKED, b"1\r\nx\r\n" * 1000, b"200"),
    "unasked chunk extension": (GET + CHUNKED + b"1;", b"e" * 4096, b"200"),
    "trailers": (GET + CHUNKED + b"0\r\n", b"a: b\r\n" * 500, b"200"),
}


@pytest.mark.parametrize(("opening", "more", "status"), ENDLESS.values(), ids=ENDLESS)
def test_what_does_not_end_is_cut(daemon: Daemon, opening: bytes, more: bytes, status: bytes) -> None:
    """Whatever part of a request does not end, all who send it are cut off, and hold little memory until then."""
    with hostile(daemon, opening, more) as clients:
        pump(clients, daemon, lambda: all(client.cut for client in clients))
    # Who is cut in the middle of sending may not see why.
    # One whose turn comes late has made no progress meanwhile.
    late = {b"408"} if CHUNKED in opening else set()
    assert {bytes(client.told[9:12]) for client in clients} <= {status, b"", *late}
    assert daemon.grew() < GROWTH


QUIET: Final = {
    "nothing": (b"", IDLE_SECONDS, b""),
    "half a head": (GET, IDLE_SECONDS, b""),
    "an answered request": (GET + b"\r\n", IDLE_SECONDS, b"200"),
    "half a body": (POST + BEARER + b"Content-Length: 1000\r\n\r\n" + b"x" * 500, STALL_SECONDS, b"408"),
    "a chunked body": (POST + BEARER + CHUNKED + b"7000\r\n" + b"x" * 28_000, STALL_SECONDS, b"408"),
}


@pytest.mark.parametrize(("opening", "seconds", "status"), QUIET.values(), ids=QUIET)
def test_who_stalls_is_cut_in_time(daemon: Daemon, opening: bytes, seconds: float, status: bytes) -> None:
    """Clients that stop in the middle are cut when their time is over and not before; others never wait for them."""
    began = time.monotonic()
    with hostile(daemon, opening) as clients:
        pump(clients, daemon, lambda: all(client.cut for client in clients))
    assert {bytes(client.told[9:12]) for client in clients} == {status}
    assert all(client.cut - began >= seconds for client in clients)
    assert daemon.grew() < GROWTH


def all_sent(clients: list[Hostile], size: int) -> bool:
    """Tell whether all clients got rid of so many bytes."""
    return all(client.sent == size for client in clients)


def test_a_body_that_drips_is_waited_for(launch: Launch) -> None:
    """Bodies that come a byte at a time have as long as they make progress; others never wait for them."""
    body = b'{"value":"drip"}'
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    with launch() as patient:
        daemon = Daemon(patient, patient.address())
        with hostile(daemon, head) as clients:
            for size in range(len(head), len(head) + len(body)):
                pump(clients, daemon, partial(all_sent, clients, size))
                for client in clients:
                    client.opening += body[size - len(head) :][:1]
            pump(clients, daemon, lambda: all(client.told.endswith(b"}") for client in clients))
    assert {bytes(client.told[9:12]) for client in clients} == {b"201"}


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("target", [b"/health", b"/openapi.json"])
def test_requests_that_do_not_wait_for_answers_stay_as_they_came(daemon: Daemon, target: bytes, *, reads: bool) -> None:
    """Clients that pipeline without end, whether or not they take the answers, hold little more than what they sent."""
    rounds = itertools.count()
    with hostile(daemon, b"", b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST) * 1000, reads=reads) as clients:
        pump(clients, daemon, lambda: next(rounds) > 10)
        assert sum(client.sent for client in clients) > CLIENTS * 100_000
    assert daemon.grew() < PIPELINED_GROWTH


def test_requests_in_one_piece_are_answered_in_order(daemon: Daemon) -> None:
    """Requests that come at once, with bodies and without, however they fall apart on the way, are each answered."""
    post = POST + BEARER + b"Content-Length: %d\r\n\r\n%b"
    bodies = [b'{"value":"%d"}' % number + b" " * (97 * number) for number in range(60)]
    requests = [post % (len(body), body) + GET + b"\r\n" * (1 + number % 2) for number, body in enumerate(bodies)]
    with connected(daemon.address) as connection:
        connection.sendall(b"".join(requests) + GET + b"Connection: close\r\n\r\n")
        answers = told(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"201", b"200"] * len(bodies) + [b"200"]
