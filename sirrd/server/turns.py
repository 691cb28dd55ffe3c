"""What one turn of the event loop may do for all connections together: what is written, and what is parsed.

Answers that one turn makes leave together, before the next turn makes others: a write that wakes a client between two
requests costs several times one of a series, and throws the rest out of the processor's caches.

What arrives is parsed by slices, and in a turn only so many: a connection costs by what it sends, not by how often it
asks, and a body in chunks of one byte costs a hundred times its size. Who has sent much of late waits for those who
have not. What is left of a read stays with its connection, which is not read from until it is parsed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final, Protocol

COST_A_TURN: Final = 24 * 1024
HEAVY_COST: Final = 256 * 1024
EPOCH_SECONDS: Final = 1.0
_MOST_OUTGOING_BYTES: Final = 256 * 1024


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
        self.get_write_buffer_size = getattr(transport, "get_write_buffer_size", int)

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


class Parses(Protocol):
    """A connection, as far as its share of the turns is concerned.

    Attributes:
        cost: What it has cost in the epoch that it was last parsed in.
        epoch: The number of that epoch.
    """

    cost: int
    epoch: int

    def parse_on(self) -> None:
        """Parse what is left, as far as `Turns` lets it, and queue for the rest."""
        ...


class Turns:
    """Shares out the turns of one event loop among its connections.

    A cost is about the size of what is parsed; parts that take longer than their size tells count for more. A turn has
    as much for what has just arrived as for what was left by earlier turns. Among the latter, who has cost least in the
    present second comes first: so a request is parsed in the turn in which it arrives, or in the next, whatever others
    send.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Parses]] = []
        self._numbers = itertools.count()
        self._left = COST_A_TURN
        self._epoch = 0
        self._epoch_ends_at = 0.0
        self._has_begun = False

    def admits(self, connection: Parses) -> bool:
        """Tell whether a connection may parse a slice now."""
        if self._left <= 0:
            return False
        return not self._queue or connection.epoch != self._epoch or connection.cost <= HEAVY_COST

    def charge(self, connection: Parses, cost: int) -> None:
        """Count what a slice has cost."""
        if not self._has_begun:
            self._begin()
        if connection.epoch != self._epoch:
            connection.epoch, connection.cost = self._epoch, 0
        connection.cost += cost
        self._left -= cost

    def queue(self, connection: Parses) -> None:
        """Let a connection parse on in a later turn; it must not be in the queue."""
        if not self._has_begun:
            self._begin()
        cost = connection.cost if connection.epoch == self._epoch else 0
        heapq.heappush(self._queue, (cost, next(self._numbers), connection))

    def _begin(self) -> None:
        """Begin to count; the turn ends with the next one."""
        self._has_begun = True
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        """Give a new turn its share, and spend as much on what was left by the last ones."""
        self._has_begun = False
        loop = asyncio.get_running_loop()
        if loop.time() >= self._epoch_ends_at:
            self._epoch += 1
            self._epoch_ends_at = loop.time() + EPOCH_SECONDS
        waiting, self._queue = self._queue, []
        self._left = COST_A_TURN
        while waiting and self._left > 0:
            heapq.heappop(waiting)[2].parse_on()
        # Who parsed has queued anew, if anything is left; the rest keeps its place.
        for item in waiting:
            heapq.heappush(self._queue, item)
        self._left = COST_A_TURN
        if self._queue and not self._has_begun:
            self._begin()
