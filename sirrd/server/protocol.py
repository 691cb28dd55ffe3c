"""The connection of one client: uvicorn's HTTP parser with bounds and with fewer system calls.

uvicorn bounds neither the head of a request nor the time a connection may spend without one, and it goes on reading a
body whose answer is out for as long as the client sends. It also takes the trailers of a chunked body for fields of the
head. It parses all that a client pipelines, at a hundred times its size in memory, and all that one turn of the event
loop reads, which are up to 8 MB. Here a head and trailers have a size, trailers count for nothing, what frames a body
has a size, an unread remainder has a size, a connection that has no request under way has a time, what follows a
request that waits for its turn stays as it came, and a turn of the loop parses only so much (see `turns`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sirrd.memory import Quota
from sirrd.server import head
from sirrd.server.cycle import Cycle
from sirrd.server.reading import Flow
from sirrd.server.turns import Outbox, Outgoing, Turns
from sirrd.server.unread import PATIENCE_SECONDS, Unread

IDLE_SECONDS: Final = 75.0
SILENT_SECONDS: Final = 10
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 500
MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
_LONGEST_DECODED: Final = 2048
SLICE_BYTES: Final = 1024
_CHUNK_COST: Final = 32  # in bytes of a body, beside its own size
_REQUEST_COST: Final = 64
_HEAD_TOO_LARGE: Final = "Request head too large."
_FRAMING_TOO_LARGE: Final = "What frames the body is too large."
_NOT_HTTP: Final = "Invalid HTTP request received."


class Protocol(HttpToolsProtocol):
    """One connection, from its beginning to its end.

    Args:
        config: uvicorn's settings.
        server_state: What uvicorn keeps of all connections.
        app_state: The lifespan state.
        _loop: The event loop; uvicorn gives it by this name.
        outbox: Takes what all connections of the event loop write.
        unread: Watches the answers that clients do not take.
        turns: Shares out the turns of the event loop among its connections.
        most_framing: How many bytes may frame a body: sizes, extensions and trailers of its chunks.
        idle_seconds: How long it may be without a request under way.

    Attributes:
        cost: See `turns.Parses`.
        epoch: See `turns.Parses`.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        outbox: Outbox,
        unread: Unread | None = None,
        turns: Turns | None = None,
        most_framing: int = MAX_UNREAD_BYTES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._outbox = outbox
        self._turns = turns or Turns()
        self._unread = unread or Unread(Quota())
        self._most_framing = most_framing
        self._idle_seconds = idle_seconds
        self.cost = self.epoch = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.transport: Any = Outgoing(transport, self._outbox)
        self.flow = self._flow = Flow(transport, self._queue)
        self.waiting: deque[Cycle] = deque()
        self._served_now: Cycle | None = None
        self.idle_since = self.loop.time()
        self._is_in_head = False
        self._may_be_in_trailers = False
        self._is_fresh = False
        self._field_bytes = 0
        self._is_in_body = False
        self._body_bytes = self._framing_bytes = self._unread_bytes = 0
        self._parts = 0
        self._unparsed = b""
        self._is_queued = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End. uvicorn tells the request that came last; the one that is being served must learn of it, too."""
        if self._served_now is not None and not self._served_now.response_complete:
            self._served_now.disconnected = True
            self._served_now.message_event.set()
        super().connection_lost(exc)
        self._unread.remove(self)
        self._unparsed = b""

    def eof_received(self) -> None:
        """Learn that the client sends no more; the event loop closes the connection: what was answered goes out now."""
        self._outbox.flush()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or leave it for later."""
        self._unparsed = self._unparsed + data if self._unparsed else data
        self.parse_on()

    def parse_on(self) -> None:
        """Parse slice by slice, until a request has to wait, its body has to be taken, or it is the turn of others."""
        self._is_queued = False
        flow = self._flow
        while (left := self._unparsed) and self._may_parse() and self._turns.admits(self):
            # Most of what comes is one slice: nothing of it is copied.
            piece, self._unparsed = (
                (left, b"") if len(left) <= SLICE_BYTES else (left[:SLICE_BYTES], left[SLICE_BYTES:])
            )
            self._parts = 0
            self._parse(piece)
            # What is only copied takes an eighth of the time of what is looked at.
            self._turns.charge(self, len(piece) - self._body_bytes * 7 // 8 + self._parts)
        if self._unparsed:
            flow.holds_back = True
            flow.pause_reading()
            self._queue()
        elif flow.read_paused:
            flow.holds_back = False
            if not (self.waiting or self._is_full()):
                flow.resume_reading()

    def _may_parse(self) -> bool:
        """Tell whether nothing has to come before more is parsed."""
        return not (self.waiting or self._flow.write_paused or self._is_full() or self.transport.is_closing())

    def _is_full(self) -> bool:
        """Tell whether a body has to be taken by its request before more of it may come."""
        cycle = self.cycle
        return bool(cycle) and len(cycle.body) > HIGH_WATER_LIMIT and not cycle.response_complete

    def _queue(self) -> None:
        """Parse what is left in a later turn; what cannot be parsed now is come back to when it can."""
        if self._unparsed and not self._is_queued and self._may_parse():
            self._is_queued = True
            self._turns.queue(self)

    def _parse(self, data: bytes) -> None:
        """Parse a slice; refuse a head, trailers, or what frames a body, where they do not end."""
        self._is_fresh = False
        self._body_bytes = 0
        self._feed(data)
        if self._is_in_body:
            self._count_body(len(data) + self._parts)
        if (self._is_in_head or self._may_be_in_trailers) and not self._is_fresh:
            self._field_bytes += len(data)
            has_many = self._is_in_head and len(self.headers) > MAX_FIELDS
            if (has_many or self._field_bytes > MAX_HEAD_BYTES) and not self.transport.is_closing():
                self._refuse_fields()

    def _count_body(self, size: int) -> None:
        """Bound what frames a body, and the whole of one that nobody reads: both cost as much as what is read."""
        if self.cycle.response_complete:
            self._unread_bytes += size
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.abort()
            return
        self._framing_bytes += size - self._body_bytes
        if self._framing_bytes > self._most_framing and not self.transport.is_closing():
            if self.cycle.response_started:
                self.transport.abort()
            else:
                self.send_400_response(_FRAMING_TOO_LARGE)

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
        self._unread_bytes = self._framing_bytes = 0
        self._parts += _REQUEST_COST
        scope, version = self.scope, self.parser.get_http_version()
        url = head.target_of(self.url, version=version, fields=self.headers)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        # An absolute target may have no path: then its root is meant, or with OPTIONS the server (RFC 9112, 3.2.4).
        raw_path = url.path or (b"*" if scope["method"] == "OPTIONS" else b"/")
        scope["raw_path"] = raw_path
        path = raw_path.decode("ascii")
        # What is longer names nothing, and is not worth the time that decoding it takes.
        scope["path"] = unquote(path) if len(path) <= _LONGEST_DECODED else path
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
        self._is_in_body = True
        # There is none before the first request.
        if getattr(before, "response_complete", True) and not self.waiting and not self.flow.write_paused:
            self._start(self.cycle)
        else:
            self.flow.pause_reading()
            self.waiting.append(self.cycle)

    def on_chunk_header(self) -> None:
        """Begin a chunk of the body; the last one is empty, and trailers may follow."""
        self._may_be_in_trailers = True
        self._parts += _CHUNK_COST
        self._begin_fields()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body; once the request is answered, skip it."""
        self._may_be_in_trailers = False
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
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
        self._is_in_body = False
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
        self.idle_since = self.loop.time()
        self.server_state.total_requests += 1
        self._go_on()

    def pause_writing(self) -> None:
        """Wait for the client to take what it was sent, but not for ever."""
        super().pause_writing()
        self._unread.remove(self)
        self._unread.add(self, at=self.loop.time())

    def unsent(self) -> int:
        """See `unread.Sends`."""
        return int(self.transport.get_write_buffer_size())

    def cut(self) -> None:
        """See `unread.Sends`."""
        self.transport.abort()

    def resume_writing(self) -> None:
        """Go on when the client has taken what it was sent."""
        super().resume_writing()
        self._unread.remove(self)
        self._go_on()

    def _go_on(self) -> None:
        """Serve what waits, or parse on: not while the client leaves answers lying, which would pile up here."""
        if self.transport.is_closing() or self.flow.write_paused:
            return
        if self.waiting and (self._served_now is None or self._served_now.response_complete):
            self._start(self.waiting.popleft())
        if self._unparsed or self._flow.read_paused:
            self.parse_on()

    def is_silent(self) -> bool:
        """Tell whether it has been open for a while and no request ever came, whatever came of one."""
        return self.cycle is None and self.loop.time() - self.idle_since > SILENT_SECONDS

    def close_if_idle(self) -> None:
        """Close a connection that has had no request under way for too long, whatever it is sending meanwhile."""
        is_waiting = getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
        idle = self.loop.time() - self.idle_since
        if is_waiting and idle > self._idle_seconds:
            # What is closed and still here waits for its client to take the last answer: not for ever.
            if self.transport.is_closing() and idle > self._idle_seconds + PATIENCE_SECONDS:
                self.transport.abort()
            self.transport.close()
