"""The audit trail as the writer sees it: the rows of each batch, appended to the chain of this start."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sirrd.events import Event
from sirrd.keyring.chain import AuditChain
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.timeline import Timeline
from sirrd.store.sqlite.units import miscounted


class ChainedTrail:
    """Appends the audit rows of each batch to this start's chain; another one follows it when its key is renewed.

    Attributes:
        timeline: Tells the store's time, and how it is shown.
    """

    def __init__(
        self, connection: sqlite3.Connection, chain: AuditChain, timeline: Timeline, *, generation: int = 0
    ) -> None:
        self.timeline = timeline
        with connection:
            self._begin(connection, chain, generation)

    def _begin(self, connection: sqlite3.Connection, chain: AuditChain, generation: int) -> None:
        self._chain = chain
        self._head, self._length = chain.start, 0
        cursor = connection.execute(
            "INSERT INTO audit_chain (salt, started_at, head, length, generation, previous) VALUES (?, ?, ?, 0, ?, ?)",
            (chain.salt, self.timeline.now() + self.timeline.offset, chain.start, generation, chain.previous),
        )
        self._id = cursor.lastrowid

    def begin(self, connection: sqlite3.Connection, chain: AuditChain, *, generation: int) -> ChainedTrail:
        """Begin another chain inside a transaction; `follow` makes it this one's once that is committed."""
        begun = object.__new__(ChainedTrail)
        begun.timeline = self.timeline
        begun._begin(connection, chain, generation)
        return begun

    def follow(self, begun: ChainedTrail) -> None:
        """Append to a chain that was begun, from now on."""
        self._chain, self._head, self._length, self._id = begun._chain, begun._head, begun._length, begun._id

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """See `Trail.append`.

        Raises:
            Unavailable: A row is not there after it was written; the batch is undone.
        """
        if offset := self.timeline.offset:
            events = [each._replace(at=each.at + offset) for each in events]
        rows = self._chain.extend(self._head, self._length, events)
        if not rows:
            return lambda: None
        head, length = rows[-1].mac, self._length + len(rows)
        written = connection.executemany(statements.AUDIT, [(self._id, *row) for row in rows]).rowcount
        updated = connection.execute(statements.CHAIN, (head, length, self._id)).rowcount
        if (written, updated) != (len(rows), 1):
            raise miscounted(written, len(rows))

        def committed() -> None:
            self._head, self._length = head, length

        return committed
