"""A relay on loopback between a client and the daemon, which loses answers.

They have left the daemon, and not a byte of them arrives. It does nothing else: what the client does about it is up to
the client.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

_PATIENCE_SECONDS: Final = 30.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RESET: Final = struct.pack("ii", 1, 0)


class Asked(NamedTuple):
    """A request that came by.

    Attributes:
        head: Its head, as it came.
        is_first: Whether it was the first one of its connection.
    """

    head: bytes
    is_first: bool

    @property
    def line(self) -> str:
        """Its method and target."""
        return self.head.partition(b"\r\n")[0].decode("latin-1").rpartition(" ")[0]

    def field(self, name: str) -> str | None:
        """Return a field of it, or None."""
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r\n]*)", self.head, re.IGNORECASE)
        return None if found is None else found[1].decode("latin-1")


Loses: TypeAlias = Callable[[Asked], bool]


class Relay:
    """Passes requests on, one after the other on each connection, and answers unless they are to be lost.

    Attributes:
        address: Where it listens, as a URL.
        asked: Every request, in the order in which they came.
        lost: How many answers were lost.
        loses: Whether the answer to a request is lost.
        keeps: Whether connections are kept alive.
        changes: What a head becomes on its way to the daemon.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[Asked] = []
        self.lost = 0
        self.loses: Loses = lambda _asked: False
        self.keeps = True
        self.changes: Callable[[bytes], bytes] = lambda head: head

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(_PATIENCE_SECONDS)
            is_first = True
            while (request := _message(client)) is not None:
                asked = Asked(request[0], is_first)
                is_first = False
                self.asked.append(asked)
                if not self._answer(client, asked, request[1]):
                    return

    def _answer(self, client: socket.socket, asked: Asked, body: bytes) -> bool:
        """Answer a request, and tell whether more may come."""
        with socket.create_connection(self._target, timeout=_PATIENCE_SECONDS) as daemon:
            sent = self.changes(asked.head)
            daemon.sendall(sent + body)
            answer = _message(daemon, has_body=not sent.startswith(b"HEAD "))
        if answer is None or self.loses(asked):
            self.lost += 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        head, content = answer
        if not self.keeps:
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        client.sendall(head + (b"" if asked.head.startswith(b"HEAD ") else content))
        return self.keeps


def _message(connection: socket.socket, *, has_body: bool = True) -> tuple[bytes, bytes] | None:
    """Read a request or an answer with its length in its head; None if there is none, or not a whole one."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65_536)):
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    length = _LENGTH.search(head)
    while has_body and length is not None and len(body) < int(length[1]):
        if not (piece := connection.recv(65_536)):
            return None
        body += piece
    return head, body


@contextlib.contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Run a relay before a daemon."""
    found = Relay(target)
    thread = threading.Thread(target=found.serve, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.close()
        thread.join()
