"""How a connection is read: into one buffer for all, a bounded piece at a time, and not while something is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

READ_BYTES: Final = 16 * 1024


class Flow(FlowControl):
    """Pauses reading and writing; while something is left unparsed, that comes before reading on.

    Args:
        transport: Of the connection.
        parse_on: Called instead of reading on.

    Attributes:
        holds_back: Whether something is left.
    """

    def __init__(self, transport: asyncio.Transport, parse_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self.holds_back = False
        self._parse_on = parse_on

    def resume_reading(self) -> None:
        """Read on, or parse what was read before."""
        if self.holds_back:
            self._parse_on()
        else:
            super().resume_reading()


class Reader(asyncio.BufferedProtocol):
    """What the event loop tells of a connection: it reads into one buffer for all, and so a bounded piece at a time."""

    _buffer: Final = memoryview(bytearray(READ_BYTES))

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._take = protocol.data_received
        self.connection_made = protocol.connection_made  # type: ignore[method-assign, assignment]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, _: int) -> memoryview:
        """See `asyncio.BufferedProtocol.get_buffer`."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol.buffer_updated`."""
        self._take(bytes(self._buffer[:size]))
