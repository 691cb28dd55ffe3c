"""The connection of one client: uvicorn's HTTP parser with bounds and with fewer system calls.

uvicorn bounds neither the head of a request nor the time a connection may spend without one, and it goes on reading a
body whose answer is out for as long as the client sends. It also takes the trailers of a chunked body for fields of the
head. It parses all that a client pipelines, at a hundred times its size in memory. Here a head and trailers have a
size, trailers count for nothing, an unread remainder has a size, a connection that has no request under way has a time,
and what follows a request that waits for its turn stays as it came.

Answers that one turn of the event loop makes leave together, before the next turn makes others: a write that wakes a
client between two requests costs several times one of a series, and throws the rest out of the processor's caches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sirrd import head

IDLE_SECONDS: Final = 75
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 500
MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
_MOST_OUTGOING_BYTES: Final = 256 * 1024
_WITHOUT_BODY: Final = frozenset({204, 304})
SLICE_BYTES: Final = 4 * 1024
_HEAD_TOO_LARGE: Final = "Request head too large."
_NOT_HTTP: Final = "Invalid HTTP request received."


class Outbox:
    """What is to be written to the connections of one event loop, in its order, once this turn of the loop is over."""

    def __init__(self) -> None:
        self._pieces: list[tuple[asyncio.Transport, bytes]] = []
        self._bytes = 0

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write after this turn, or at once if that would be much."""
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self.flush)
        self._pieces.append((transport, data))
        self._bytes += len(data)
        if self._bytes > _MOST_OUTGOING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was put in."""
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        for transport, data in pieces:
            try:
                transport.write(data)
            except RuntimeError:
                # uvloop says so of a connection that was reset meanwhile: the others must not lose their answers by it.
                transport.abort()


class Outgoing:
    """The transport of one connection, as far as a server needs it; what is written passes the outbox."""

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        """Send data, soon, and in the order of all that is written."""
        self._outbox.put(self._transport, data)

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self._outbox.flush()
        self._transport.close()

    def abort(self) -> None:
        """Give the kernel what was written, and cut the connection."""
        self._outbox.flush()
        self._transport.abort()


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


class _Flow(FlowControl):
    """Pauses reading and writing; while something is left unparsed, nobody who waits for a body has reading resumed.

    Attributes:
        holds_back: Whether something is left. No request that is under way needs it: its body came before.
    """

    holds_back = False

    def resume_reading(self) -> None:
        """Read on, unless there is enough to be parsed."""
        if not self.holds_back:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """One connection, from its beginning to its end.

    Args:
        config: uvicorn's settings.
        server_state: What uvicorn keeps of all connections.
        app_state: The lifespan state.
        _loop: The event loop; uvicorn gives it by this name.
        outbox: Takes what all connections of the event loop write.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        outbox: Outbox,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._outbox = outbox

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.transport: Any = Outgoing(transport, self._outbox)
        self.flow = self._flow = _Flow(transport)
        self.waiting: deque[Cycle] = deque()
        self._served_now: Cycle | None = None
        self._idle_since = self.loop.time()
        self._is_in_head = False
        self._may_be_in_trailers = False
        self._is_fresh = False
        self._field_bytes = 0
        self._unread_bytes = 0
        self._unparsed = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """End. uvicorn tells the request that came last; the one that is being served must learn of it, too."""
        if self._served_now is not None and not self._served_now.response_complete:
            self._served_now.disconnected = True
            self._served_now.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Learn that the client sends no more; the event loop closes the connection: what was answered goes out now."""
        self._outbox.flush()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, slice by slice, until a request has to wait for its turn; then leave the rest."""
        self._unparsed += data
        while self._unparsed and not self.waiting and not self.transport.is_closing():
            piece, self._unparsed = self._unparsed[:SLICE_BYTES], self._unparsed[SLICE_BYTES:]
            self._parse(piece)
        self._flow.holds_back = bool(self._unparsed)
        if self._unparsed:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        """Parse a slice; refuse a head, or trailers, that do not end."""
        self._is_fresh = False
        self._feed(data)
        if (self._is_in_head or self._may_be_in_trailers) and not self._is_fresh:
            self._field_bytes += len(data)
            has_many = self._is_in_head and len(self.headers) > MAX_FIELDS
            if (has_many or self._field_bytes > MAX_HEAD_BYTES) and not self.transport.is_closing():
                self._refuse_fields()

    def _feed(self, data: bytes) -> None:
        """Have a slice parsed.

        The parser takes whatever follows a head that asks for an upgrade for another protocol, the body included, and
        the next slice for the next request. No upgrade is ever agreed to, so such a head is parsed anew without its
        wish, and all behind it stays what it is.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._asks_for_upgrade():
                    return  # a tunnel, which is refused: what was meant for its other end is nothing here
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError as error:
                reason = error.__context__
                text = str(reason) if isinstance(reason, head.BadHead) else _NOT_HTTP
                self.logger.warning(text)
                self.send_400_response(text)
                return
            else:
                return

    def _asks_for_upgrade(self) -> bool:
        """Tell whether the head that was just parsed wishes for another protocol, rather than for a tunnel."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed, but for its `Upgrade`."""
        fields = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return line + b"".join(fields) + b"\r\n"

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
            name = name.lower()
            self.headers.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """Hand the request to the application, at once or after those that came before it."""
        self._is_in_head = False
        if self._asks_for_upgrade():
            return  # it comes again without its wish
        self._unread_bytes = 0
        scope, version = self.scope, self.parser.get_http_version()
        url = head.target_of(self.url, version=version, fields=self.headers)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = url.path
        scope["path"] = unquote(url.path.decode("ascii"))
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,  # `Date`, made anew each second
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=version == "1.1" and not self.parser.should_upgrade() and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if getattr(before, "response_complete", True):  # there is none before the first request
            self._start(self.cycle)
        else:
            self.flow.pause_reading()
            self.waiting.append(self.cycle)

    def on_chunk_header(self) -> None:
        """Begin a chunk of the body; the last one is empty, and trailers may follow."""
        self._may_be_in_trailers = True
        self._begin_fields()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body; once the request is answered, skip it, within a bound."""
        self._may_be_in_trailers = False
        cycle = self.cycle
        if cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.abort()
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request."""
        self._may_be_in_trailers = False
        if self._asks_for_upgrade():
            return
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def _start(self, cycle: Cycle) -> None:
        """Let the application serve a request; at its end the server waits for the tasks that are under way."""
        self._served_now = cycle
        cycle.task = self.loop.create_task(self._served(cycle))
        self.tasks.add(cycle.task)

    async def _served(self, cycle: Cycle) -> None:
        try:
            await cycle.run_asgi(self.app)
        finally:
            if cycle.task is not None:
                self.tasks.discard(cycle.task)
            cycle.task = None  # they would keep each other from being freed

    def on_response_complete(self) -> None:
        """Begin the next request, or wait for it: not by a timer, the server looks through its connections."""
        self._idle_since = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._flow.holds_back = False
        self.flow.resume_reading()
        if self.waiting:
            self._start(self.waiting.popleft())
        if self._unparsed:
            self.data_received(b"")

    def close_if_idle(self) -> None:
        """Close a connection that has had no request under way for too long, whatever it is sending meanwhile."""
        is_waiting = getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
        if is_waiting and self.loop.time() - self._idle_since > IDLE_SECONDS:
            self.transport.close()
