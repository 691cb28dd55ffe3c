"""Loads a server with HEAD requests, which wrk cannot: it waits for the body that an answer to HEAD never has.

One thread, one request in flight per connection, as wrk does it. It spends a few microseconds per request, well below
what a server in Python needs; both servers of a pair are loaded by it, so that its own share cancels out.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlsplit

from benchmarks.wrk import LoadError, Result

_END = b"\r\n\r\n"
_STALLED_SECONDS = 10


@dataclass(frozen=True)
class Heads:
    """HEAD requests for some paths, over and over."""

    paths: Sequence[str]

    def run(self, address: str, *, seconds: int, connections: int) -> Result:
        """Load a server.

        Raises:
            LoadError: Something other than 200 was answered, or a connection failed.
        """
        host = urlsplit(address).netloc
        requests = itertools.cycle([f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for path in self.paths])
        clients = [_Client(host, requests) for _ in range(connections)]
        try:
            begin = time.perf_counter()
            _drive(clients, until=begin + seconds)
            took = time.perf_counter() - begin
        finally:
            for client in clients:
                client.socket.close()
        latencies = [latency for client in clients for latency in client.latencies]
        percentiles = quantiles(latencies, n=100)
        return Result(len(latencies), len(latencies) / took, percentiles[49] * 1000, percentiles[98] * 1000)


class _Client:
    """One connection with at most one request in flight."""

    def __init__(self, host: str, requests: Iterator[bytes]) -> None:
        name, _, port = host.rpartition(":")
        self.socket = socket.create_connection((name, int(port)), timeout=_STALLED_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies: list[float] = []
        self._requests = requests
        self._received = b""
        self._sent_at = 0.0

    def ask(self) -> None:
        self._sent_at = time.perf_counter()
        self.socket.send(next(self._requests))

    def hear(self) -> None:
        """Read what there is; once an answer is whole, ask again."""
        self._received += self.socket.recv(65_536)
        if not self._received.startswith(b"HTTP/1.1 200 "):
            raise LoadError(f"HEAD was answered with {self._received[:40]!r}")
        if self._received.endswith(_END):
            self.latencies.append(time.perf_counter() - self._sent_at)
            self._received = b""
            self.ask()


def _drive(clients: list[_Client], *, until: float) -> None:
    by_number = {client.socket.fileno(): client for client in clients}
    with select.epoll() as poll:
        for client in clients:
            poll.register(client.socket, select.EPOLLIN)
            client.ask()
        while time.perf_counter() < until:
            ready = poll.poll(_STALLED_SECONDS)
            if not ready:
                raise LoadError(f"no answer to HEAD within {_STALLED_SECONDS} s")
            for number, _ in ready:
                by_number[number].hear()
