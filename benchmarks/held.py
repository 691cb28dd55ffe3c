"""How much memory the daemon holds for clients that all come at once with the largest value.

`python -m benchmarks.held` starts the daemon with its default settings, opens so many connections, sends a put of 1 MiB
on each at the same time, and prints how the puts were answered and how far the daemon's memory rose. With `--half`
each body stays unfinished, and with `--unread` each connection asks for a stored value of that size and takes none of
it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import selectors
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import Server, daemon_command, started

_VALUE_BYTES: Final = 1024 * 1024
_BODY: Final = b'{"value":"%b"}' % (b"x" * _VALUE_BYTES)
_PUT: Final = (
    b"POST /secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(_BODY)
)
_PIECE_BYTES: Final = 65_536
_SMALL_WINDOW_BYTES: Final = 4096


class _Put:
    """One connection that sends a request, and waits for the status of its answer."""

    def __init__(self, address: tuple[str, int], request: bytes, *, window: int | None) -> None:
        self.connection = socket.socket()
        if window is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.connection.connect(address)
        self.connection.settimeout(0)
        self._rest = memoryview(request)
        self.status = ""

    def step(self) -> bool:
        """Do what can be done, and tell whether there is nothing left to do."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self.status = self.connection.recv(12).decode()[9:] or "cut"
            return True
        with contextlib.suppress(BlockingIOError):
            try:
                self._rest = self._rest[self.connection.send(self._rest[:_PIECE_BYTES]) :]
            except OSError:
                self.status = "cut"
                return True
        return False

    @property
    def events(self) -> int:
        """What it waits for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._rest else 0)


def run(server: Server, request: bytes, count: int, *, seconds: float, window: int | None) -> Counter[str]:
    """Send a request on so many connections, and return how they were answered within a time."""
    parts = urlsplit(server.address)
    puts = [_Put((parts.hostname or "", parts.port or 0), request, window=window) for _ in range(count)]
    ends_at = time.monotonic() + seconds
    left = count
    with selectors.DefaultSelector() as selector:
        for put in puts:
            selector.register(put.connection, put.events, put)
        while left and time.monotonic() < ends_at:
            for key, _ in selector.select(0.1):
                if key.data.step():
                    selector.unregister(key.data.connection)
                    left -= 1
                else:
                    selector.modify(key.data.connection, key.data.events, key.data)
    for put in puts:
        put.connection.close()
    return Counter(put.status or "no answer" for put in puts)


def peak_mib(server: Server) -> int:
    """Return the most memory that the daemon ever had, in MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("no VmHWM")
    return int(found[1]) // 1024


def _stored(server: Server) -> bytes:
    """Store a value without a limit of reads, and return a request that reads it."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc)
    body = json.dumps({"value": "x" * _VALUE_BYTES, "max_reads": None})
    connection.request("POST", "/secrets", body, {"Content-Type": "application/json"})
    path = f"/secrets/{json.loads(connection.getresponse().read())['id']}"
    connection.close()
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def main() -> int:
    """Measure, print, and return an exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.held", description="Measure what is held for many at once.")
    parser.add_argument("--count", type=int, default=4096, help="so many connections (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="the longest time (default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--half", action="store_true", help="leave each body unfinished")
    what.add_argument("--unread", action="store_true", help="ask for a value of that size, and take none of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="held-") as name:
        folder = Path(name)
        with started(daemon_command(folder / "data"), folder / "log", {"SIRR_MIN_FREE_BYTES": "0"}) as server:
            request = _PUT + (_BODY[: len(_BODY) // 2] if options.half else _BODY)
            if options.unread:
                request = _stored(server)
            before = peak_mib(server)
            window = _SMALL_WINDOW_BYTES if options.unread else None
            answers = run(server, request, options.count, seconds=options.seconds, window=window)
            told = ", ".join(f"{number} {status}" for status, number in sorted(answers.items()))
            print(f"{options.count} connections: {told}; memory rose from {before} to {peak_mib(server)} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
