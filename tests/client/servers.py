"""Servers of a test's own on loopback, which answer byte for byte what the test says, or break off."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

ID: Final = "ab" * 32
SILENCE: Final = object()
"""Says: answer nothing, and keep the connection."""
_PATIENCE_SECONDS: Final = 30
_BETWEEN_PIECES_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def attempt(self) -> str | None:
        """What it shows as its attempt."""
        return self.headers.get("x-sirr-attempt")


def reply(status: int, body: Any = b"", *, head: str = "", type_: str = "application/json") -> bytes:
    """Return an answer as bytes; what is no bytes is put as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: {type_}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
        f"{head}\r\n"
    ).encode() + content


def received(connection: socket.socket) -> Asked | None:
    """Take a whole request from a connection, or None where it ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(65_536)):
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        if not (chunk := connection.recv(65_536)):
            return None
        body += chunk
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)


@dataclass
class Scripted:
    """A server.

    Attributes:
        address: Its URL.
        asked: What arrived.
    """

    address: str
    port: int
    asked: list[Asked] = field(default_factory=list)

    def asked_for(self, method: str, path: str) -> list[Asked]:
        """Return the requests of a kind."""
        return [each for each in self.asked if (each.method, each.path) == (method, path)]


@contextlib.contextmanager
def scripted(script: Callable[[Asked], Iterable[bytes] | bytes | object | None]) -> Iterator[Scripted]:
    """Run a server that answers each request, on a connection of its own, with what a function says; None cuts it.

    Of what comes in pieces, one is sent every 50 ms, for as long as the other side takes them.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        found = Scripted(f"http://127.0.0.1:{port}", port)
        kept: list[socket.socket] = []
        done = threading.Event()

        def serve(connection: socket.socket) -> None:
            connection.settimeout(_PATIENCE_SECONDS)
            with contextlib.suppress(OSError):
                asked = received(connection)
                said = None
                if asked is not None:
                    found.asked.append(asked)
                    said = script(asked)
                if said is SILENCE:
                    kept.append(connection)
                    return
                if isinstance(said, bytes):
                    connection.sendall(said)
                elif isinstance(said, Iterable):
                    for piece in said:
                        connection.sendall(piece)
                        if done.wait(_BETWEEN_PIECES_SECONDS):
                            break
            connection.close()

        with _serving(listener, serve):
            yield found
            done.set()
        for connection in kept:
            connection.close()


@contextlib.contextmanager
def relayed(port: int, *, cut: Callable[[bytes], bool]) -> Iterator[str]:
    """Run a relay to a server: it takes each answer in whole, and then gives it on, or cuts the connection before it.

    Args:
        port: Of the server.
        cut: Tells by the head of the request.
    """

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as upstream:
            connection.settimeout(_PATIENCE_SECONDS)
            upstream.settimeout(_PATIENCE_SECONDS)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (chunk := connection.recv(65_536)):
                    return
                request += chunk
            upstream.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = b""
            while chunk := upstream.recv(65_536):
                answer += chunk
            if not cut(request.partition(b"\r\n\r\n")[0]):
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, _serving(listener, serve):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _serving(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(_PATIENCE_SECONDS)


class Drops:
    """A server with one secret, which knows attempts, as far as a client can see.

    Attributes:
        spent: How many reads were spent.
        received: The attempts whose values have arrived.
    """

    def __init__(self, *, reads: int = 1, window: int | None = 60, value: str = "s3cret") -> None:
        self.spent = 0
        self.received: list[str | None] = []
        self._reads = reads
        self._window = window
        self._value = value
        self._attempts: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> bytes:
        """Answer a request."""
        with self._lock:
            if asked.path == "/version":
                said = {"name": "sirrd", "version": "0.1.0"}
                return reply(200, said if self._window is None else said | {"redelivery_seconds": self._window})
            if asked.path.endswith("/received"):
                self.received.append(asked.attempt)
                return reply(200, {"received": True})
            return self._read(asked)

    def _read(self, asked: Asked) -> bytes:
        value = reply(200, {"id": ID, "value": self._value})
        if self._window is not None and asked.attempt in self._attempts:
            return value
        if self.spent >= self._reads:
            return reply(404, {"error": "there is no such secret, or not any more", "code": "not_found"})
        self.spent += 1
        if asked.attempt is not None:
            self._attempts.add(asked.attempt)
        return value
