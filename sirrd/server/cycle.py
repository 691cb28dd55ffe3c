"""One request and its answer: uvicorn's, with fewer system calls, and nothing in a head that smuggles another field."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_WITHOUT_BODY: Final = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """One request and its answer; head and body of a small answer leave in one system call.

    uvicorn sends the head by itself and tests every header field by two regular expressions. Here the head waits for
    the first piece of the body, and line breaks, the one thing in a field that could do harm, are counted once.
    """

    task: asyncio.Task[None] | None = None
    _head = b""
    _ends_with_connection = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        """Send a part of the answer; the fields must be in lower case, as ASGI asks.

        Raises:
            RuntimeError: The message does not follow from those before it.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete or self.response_started == (message["type"] == "http.response.start"):
            raise RuntimeError(f"{message['type']} at the wrong time")
        if self.response_started:
            self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._head_of(message["status"], message["headers"])

    def _head_of(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the bytes of a head, and learn from it how the body is delimited."""
        fields = [*self.default_headers, *headers]
        given = dict(headers)
        if b"content-length" in given:
            self.chunked_encoding = False
            self.expected_content_length = int(given[b"content-length"])
        if self.scope["method"] == "HEAD":
            self.chunked_encoding, self.expected_content_length = False, 0
        elif self.chunked_encoding is None and status not in _WITHOUT_BODY:
            self.chunked_encoding = self.scope["http_version"] == "1.1"
            if self.chunked_encoding:
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                # An older client would take the chunks for content: the end of the connection is the end of the body.
                self._ends_with_connection, self.keep_alive = True, False
        if b"connection" in given:
            # The only value that is ever sent is `close`.
            self.keep_alive = False
        elif not self.keep_alive:
            fields.append((b"connection", b"close"))
        lines = b"\r\n".join([*map(b": ".join, fields), b""])
        if not lines.count(b"\r") == lines.count(b"\n") == len(fields):
            raise RuntimeError("a header field holds a line break")
        return b"%b%b\r\n" % (STATUS_LINE[status], lines)

    def _send_body(self, body: bytes, *, is_last: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n" if is_last else chunk
        elif not self._ends_with_connection:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (is_last and self.expected_content_length):
                raise RuntimeError("the body is not as long as its head says")
        head, self._head = self._head, b""
        if head or body:
            self.transport.write(head + body)
        if is_last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
