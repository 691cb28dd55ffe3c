"""The connection of one client: uvicorn's HTTP parser with bounds and with fewer system calls.

uvicorn bounds neither the head of a request nor the time a connection may spend without one, and it goes on reading a
body whose answer is out for as long as the client sends. It also takes the trailers of a chunked body for fields of the
head. Here a head and trailers have a size, trailers count for nothing, an unread remainder has a size, and a connection
that has no request under way has a time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

IDLE_SECONDS: Final = 75
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
_HEAD_TOO_LARGE: Final = "Request head too large."


class JoinedWrites:
    """A transport that sends what one turn of the event loop writes in one piece.

    uvicorn writes the head of an answer and its body apart, and uvloop makes a system call of each; on a small answer
    the second costs about as much as everything that sirrd does with it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._call_soon = asyncio.get_running_loop().call_soon
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send at the end of this turn."""
        if not self._pieces:
            self._call_soon(self._send)
        self._pieces.append(data)

    def close(self) -> None:
        """Close after what was written is sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self.is_closing():
            self._transport.write(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """One connection, from its beginning to its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport)))
        self._idle_since = self.loop.time()
        self._is_in_head = False
        self._may_be_in_trailers = False
        self._is_fresh = False
        self._field_bytes = 0
        self._unread_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; refuse a head, or trailers, that do not end."""
        self._is_fresh = False
        super().data_received(data)
        if (self._is_in_head or self._may_be_in_trailers) and not self._is_fresh:
            self._field_bytes += len(data)
            if self._field_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse_fields()

    def _refuse_fields(self) -> None:
        if self._is_in_head:
            self.send_400_response(_HEAD_TOO_LARGE)
        else:
            self.transport.abort()

    def _begin_fields(self) -> None:
        """Count from here: what came before in the same piece belongs to something else."""
        self._is_fresh = True
        self._field_bytes = 0

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_in_head = True
        self._begin_fields()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head; uvicorn would take those of trailers, which proxies do not check, for such."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._is_in_head = False
        self._unread_bytes = 0
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Begin a chunk of the body; the last one is empty, and trailers may follow."""
        self._may_be_in_trailers = True
        self._begin_fields()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body; once the request is answered, skip it, within a bound."""
        self._may_be_in_trailers = False
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._may_be_in_trailers = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def close_if_idle(self) -> None:
        """Close a connection that has had no request under way for too long, whatever it is sending meanwhile."""
        is_waiting = getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
        if is_waiting and self.loop.time() - self._idle_since > IDLE_SECONDS:
            self.transport.close()
