"""Loads a server with what wrk cannot send: HEAD, whose answers have no body to wait for, mixed methods, a fixed pace.

One thread, at most one request in flight per connection, as wrk does it. It spends 10 to 20 µs per request, below what
a server in Python needs; both servers of a pair are loaded by it, and how busy it was stands in the results.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.wrk import LoadError, OutOfSecretsError, Result

VALUE = "correct horse battery staple"
_BODY = f'{{"value":"{VALUE}"}}'.encode()
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_GRANTED = (b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")
_STALLED_SECONDS = 30
_LONGEST_PAUSE_SECONDS = 0.05

Requests = Callable[[str], Iterator[bytes]]
"""Takes the host and yields whole requests, without end."""


def heads(paths: Sequence[str]) -> Requests:
    """Peek at some paths, over and over."""
    return lambda host: itertools.cycle([_request("HEAD", path, host) for path in paths])


def reads(paths: Sequence[str]) -> Requests:
    """Read some paths, over and over."""
    return lambda host: itertools.cycle([_request("GET", path, host) for path in paths])


def mixed(burned: Sequence[str], peeked: Sequence[str]) -> Requests:
    """Send five reads that burn, three peeks and two creates in ten requests, in random order.

    Args:
        burned: Paths to read, each once; `OutOfSecretsError` when there is none left.
        peeked: Paths to peek at, over and over.
    """

    def requests(host: str) -> Iterator[bytes]:
        chance = random.Random(1)
        created = _request("POST", "/secrets", host, _BODY)
        sources = {"P": itertools.repeat(created), "H": heads(peeked)(host), "G": _once(burned, host)}
        while True:
            for kind in chance.sample("GGGGGHHHPP", 10):
                yield next(sources[kind])

    return requests


def _once(paths: Sequence[str], host: str) -> Iterator[bytes]:
    for path in paths:
        yield _request("GET", path, host)
    raise OutOfSecretsError("all that had been stored was read")


def _request(method: str, path: str, host: str, body: bytes = b"") -> bytes:
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode() + body


@dataclass(frozen=True)
class Client:
    """A load by this process, as fast as the server answers."""

    requests: Requests

    def run(self, address: str, *, seconds: float, connections: int) -> Result:
        """Load a server; errors as in `wrk.Wrk`."""
        with _clients(address, self.requests, connections) as clients:
            spent, begin = time.thread_time(), time.perf_counter()
            _drive(clients, until=begin + seconds)
            took, spent = time.perf_counter() - begin, time.thread_time() - spent
        latencies = [latency for client in clients for latency in client.latencies]
        if not latencies:
            raise LoadError(f"no answer within {seconds} s")
        at = percentiles(corrected(latencies, interval=took * connections / len(latencies)), (0.5, 0.99, 0.999))
        p50, p99, p999 = (seconds * 1000 for seconds in at)
        return Result(len(latencies), len(latencies) / took, p50, p99, p999, spent / took)


def corrected(latencies: Sequence[float], *, interval: float) -> list[float]:
    """Return latencies with those added that a stall hid from a client which waits for its answers, as wrk does it.

    Args:
        latencies: Seconds.
        interval: Seconds between two requests of one connection, in the mean.
    """
    found = list(latencies)
    for latency in latencies:
        if latency >= 2 * interval:
            hidden = latency - interval
            while hidden > interval:
                found.append(hidden)
                hidden -= interval
    return found


def percentiles(latencies: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Return the latencies below which these shares of all are."""
    ordered = sorted(latencies)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in shares]


class _Client:
    """One connection with at most one request in flight."""

    def __init__(self, host: str, requests: Iterator[bytes]) -> None:
        name, _, port = host.rpartition(":")
        self.socket = socket.create_connection((name, int(port)), timeout=_STALLED_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies: list[float] = []
        self._requests = requests
        self._received = b""
        self._is_head = False
        self._asked_at = 0.0

    def ask(self, at: float | None = None) -> None:
        """Send the next request; its latency counts from `at`, or from now."""
        request = next(self._requests)
        self._is_head = request.startswith(b"HEAD ")
        self._asked_at = time.perf_counter() if at is None else at
        self.socket.sendall(request)

    def hear(self) -> bool:
        """Read what there is, and tell whether the answer is whole.

        Raises:
            LoadError: It is no success.
        """
        self._received += self.socket.recv(1 << 20)
        if not self._received.startswith(_GRANTED):
            raise LoadError(f"a request was answered with {self._received[:40]!r}")
        if not self._is_whole():
            return False
        self.latencies.append(time.perf_counter() - self._asked_at)
        self._received = b""
        return True

    def _is_whole(self) -> bool:
        if self._is_head:
            return self._received.endswith(_END)
        end = self._received.find(_END)
        length = _LENGTH.search(self._received)
        return end > 0 and length is not None and len(self._received) >= end + len(_END) + int(length[1])


@contextlib.contextmanager
def _clients(address: str, requests: Requests, connections: int) -> Iterator[list[_Client]]:
    host = urlsplit(address).netloc
    endless = requests(host)
    clients: list[_Client] = []
    try:
        clients += (_Client(host, endless) for _ in range(connections))
        yield clients
    finally:
        for client in clients:
            client.socket.close()


def _drive(clients: list[_Client], *, until: float) -> None:
    by_number = {client.socket.fileno(): client for client in clients}
    with select.epoll() as poll:
        for client in clients:
            poll.register(client.socket, select.EPOLLIN)
            client.ask()
        while time.perf_counter() < until:
            ready = poll.poll(_STALLED_SECONDS)
            if not ready:
                raise LoadError(f"no answer within {_STALLED_SECONDS} s")
            for number, _ in ready:
                client = by_number[number]
                if client.hear():
                    client.ask()


class Paced(threading.Thread):
    """Sends requests at a fixed pace until told to stop, whatever the server does meanwhile.

    A latency counts from the instant at which the request was due, so that no stall hides anything.

    Args:
        address: The server.
        requests: What to send.
        rate: Requests per second.
        connections: How many there are; a request that is due while all are in use waits for one.
    """

    def __init__(self, address: str, requests: Requests, *, rate: float, connections: int) -> None:
        super().__init__(daemon=True)
        self._address, self._requests = address, requests
        self._interval = 1 / rate
        self._connections = connections
        self._ending = threading.Event()
        self._latencies: list[float] = []
        self._error: Exception | None = None

    def stop(self) -> list[float]:
        """End, and return the latencies in seconds.

        Raises:
            LoadError: Something other than success was answered.
        """
        self._ending.set()
        self.join()
        if self._error is not None:
            raise self._error
        return self._latencies

    def run(self) -> None:
        """See `threading.Thread.run`."""
        try:
            with _clients(self._address, self._requests, self._connections) as clients:
                self._pace(clients)
                self._latencies = [latency for client in clients for latency in client.latencies]
        except (LoadError, OSError) as error:
            self._error = error

    def _pace(self, clients: list[_Client]) -> None:
        by_socket = {client.socket: client for client in clients}
        # Taken in turns, so that the server finds none idle for long and closes it.
        idle, due = deque(clients), deque[float]()
        next_due = time.perf_counter()
        is_ending = False
        while True:
            while not is_ending and next_due <= time.perf_counter():
                due.append(next_due)
                next_due += self._interval
            while due and idle:
                idle.popleft().ask(due.popleft())
            is_ending = self._ending.is_set()
            # What was due before the end is waited for: the slowest answers must not be those that are not counted.
            if is_ending and len(idle) == len(clients):
                return
            pause = min(max(0.0, next_due - time.perf_counter()), _LONGEST_PAUSE_SECONDS)
            ready, _, _ = select.select(list(by_socket), [], [], _STALLED_SECONDS if is_ending else pause)
            if is_ending and not ready:
                raise LoadError(f"no answer within {_STALLED_SECONDS} s")
            idle += [by_socket[each] for each in ready if by_socket[each].hear()]
