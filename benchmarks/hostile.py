"""What others notice of clients that send as fast as they may, and never come to an end.

`python -m benchmarks.hostile` starts the daemon with its default settings, lets 0, 1, 16 and 64 hostile connections of
each shape come from another process, and meanwhile reads a secret over and over, one request at a time over one
connection: a counted read, with its commit. A connection that the daemon ends is opened anew at once. Beside each
figure stands the calm one, which is measured before it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import platform
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.client import percentiles
from benchmarks.processes import Server, daemon_command, running, started

COUNTS: Final = (1, 16, 64)
_ROOT: Final = Path(__file__).parent.parent
_WARM_UP_SECONDS: Final = 0.5
_STEP_SECONDS: Final = 0.05
_HEAD: Final = b"POST /secrets HTTP/1.1\r\nHost: localhost\r\n"
_JSON: Final = b"Content-Type: application/json\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
_LANGUAGES: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Language: "
_MISS: Final = b"GET /secrets/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Shape:
    """How a hostile client behaves.

    Attributes:
        opening: What it sends first.
        more: What it then sends again and again; if empty, it says no more.
        reads: Whether it takes what it is answered.
        piece: How many bytes it sends at once at most.
    """

    opening: bytes
    more: bytes
    reads: bool = True
    piece: int = 65_536


SHAPES: Final = {
    "chunks of one byte": Shape(_HEAD + _JSON + _CHUNKED, b"1\r\nx\r\n" * 20_000),
    "chunks of one byte, unread": Shape(_HEAD + _CHUNKED, b"1\r\nx\r\n" * 20_000),
    "chunk extensions": Shape(_HEAD + _JSON + _CHUNKED, (b"1;" + b"e" * 4096 + b"\r\nx\r\n") * 16),
    "an extension without end": Shape(_HEAD + _JSON + _CHUNKED + b"1;", b"e" * 65_536),
    "trailers": Shape(_HEAD + _JSON + _CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "tiny fields": Shape(b"GET / HTTP/1.1\r\n", b"a:\r\n" * 10_000),
    "pipelined misses": Shape(b"", b"".join(_MISS % os.urandom(32).hex().encode() for _ in range(500))),
    "pipelined misses, unread": Shape(
        b"", b"".join(_MISS % os.urandom(32).hex().encode() for _ in range(500)), reads=False
    ),
    "pipelined /health": Shape(b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000),
    "pipelined /health, unread": Shape(b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000, reads=False),
    "bodies of one byte": Shape(b"", (_HEAD + _JSON + b"Content-Length: 1\r\n\r\nx") * 500),
    "a body byte by byte": Shape(_HEAD + _JSON + b"Content-Length: 1000000\r\n\r\n", b" " * 65_536, piece=1),
    "large bodies": Shape(_HEAD + _JSON + b"Content-Length: 6000000\r\n\r\n", b" " * 65_536),
    "an unread remainder": Shape(_HEAD + b"Content-Length: 9000000\r\n\r\n", b" " * 65_536),
    "many parameters": Shape(b"", b"GET /?" + b"a=1&" * 15_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "many languages": Shape(
        b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Language: " + b"de," * 20_000 + b"\r\n\r\n"
    ),
    "half heads": Shape(_HEAD, b""),
    "no HTTP": Shape(b"", b"\0" * 65_536),
    "upgrades": Shape(b"", b"GET /health HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * 500),
}


# The hostile side, in a process of its own.


class _Attacker:
    """One connection, opened anew whenever it ends."""

    def __init__(self, address: tuple[str, int], shape: Shape, selector: selectors.BaseSelector) -> None:
        self._address = address
        self._shape = shape
        self._selector = selector
        self._open()

    def _open(self) -> None:
        self._sent = 0
        self._connection = socket.create_connection(self._address)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.settimeout(0)
        reads = selectors.EVENT_READ if self._shape.reads or not self._shape.more else 0
        self._selector.register(self._connection, selectors.EVENT_WRITE | reads, self)

    def step(self, events: int) -> None:
        """Do what can be done, and begin anew where the other side has had enough."""
        try:
            if events & selectors.EVENT_READ and not self._connection.recv(65_536):
                raise ConnectionResetError
            if events & selectors.EVENT_WRITE:
                self._send()
        except BlockingIOError:
            return
        except OSError:
            self._selector.unregister(self._connection)
            self._connection.close()
            self._open()

    def _send(self) -> None:
        opening, more = self._shape.opening, self._shape.more
        if self._sent < len(opening):
            self._sent += self._connection.send(opening[self._sent :])
        elif more:
            place = (self._sent - len(opening)) % len(more)
            self._sent += self._connection.send(more[place : place + self._shape.piece])
        else:
            self._selector.modify(self._connection, selectors.EVENT_READ, self)


def attack(address: str, shape: Shape, count: int) -> None:
    """Be so many hostile clients, until this process is ended."""
    parts = urlsplit(address)
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            _Attacker((parts.hostname or "", parts.port or 0), shape, selector)
        while True:
            for key, events in selector.select():
                key.data.step(events)


# The other client.


class Reader:
    """One client that asks for one secret over and over, and waits for each answer."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.netloc)
        body = json.dumps({"value": "s3cret", "max_reads": None})
        connection.request("POST", "/secrets", body, {"Content-Type": "application/json"})
        path = f"/secrets/{json.loads(connection.getresponse().read())['id']}"
        connection.close()
        self._request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def measure(self, seconds: float) -> list[float]:
        """Return how many seconds each answer took."""
        latencies = []
        ends_at = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < ends_at:
            self._socket.sendall(self._request)
            answer = self._socket.recv(65_536)
            latencies.append(time.perf_counter() - begin)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"a read was answered with {answer[:40]!r}")
        return latencies


@dataclass(frozen=True)
class Row:
    """What one client saw beside others.

    Attributes:
        shape: How these behaved.
        count: How many there were.
        reads: How many answers it got.
        p50_ms: Half of them took no longer.
        p99_ms: Of a hundred, one took longer.
    """

    shape: str
    count: int
    reads: int
    p50_ms: float
    p99_ms: float


def measure(server: Server, reader: Reader, shape: str, count: int, seconds: float) -> Row:
    """Measure beside so many hostile connections."""
    command = [sys.executable, "-m", "benchmarks.hostile", "--attack", shape, str(count), server.address]
    with contextlib.ExitStack() as stack:
        if count:
            variables = {"PYTHONPATH": str(_ROOT)}
            stack.enter_context(running(command, subprocess.DEVNULL, variables))
            reader.measure(_WARM_UP_SECONDS)
        latencies = reader.measure(seconds)
    p50, p99 = percentiles(latencies, (0.5, 0.99))
    return Row(shape, count, len(latencies), p50 * 1000, p99 * 1000)


def rows(server: Server, shapes: list[str], counts: list[int], seconds: float) -> Iterator[Row]:
    """Measure every shape, each after a calm while."""
    reader = Reader(server.address)
    for shape, count in itertools.product(shapes, [0, *counts]):
        yield measure(server, reader, shape, count, seconds)
        time.sleep(_STEP_SECONDS)


def main() -> int:
    """Measure, print, and return an exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.hostile", description="Read beside hostile clients.")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="only this one; can be repeated")
    parser.add_argument("--count", action="append", type=int, help="so many connections (default: 1, 16 and 64)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default: %(default)s)")
    parser.add_argument("--attack", nargs=3, metavar=("SHAPE", "COUNT", "ADDRESS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        attack(options.attack[2], SHAPES[options.attack[0]], int(options.attack[1]))
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, ", end="")
    print(f"Python {platform.python_version()}; one client's counted reads, {options.seconds:g} s for each figure\n")
    print("| shape | connections | reads/s | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name)
        with started(daemon_command(folder / "data"), folder / "log") as server:
            for row in rows(server, options.shape or list(SHAPES), options.count or list(COUNTS), options.seconds):
                rate = row.reads / options.seconds
                print(f"| {row.shape} | {row.count} | {rate:.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
