"""Runs portable units on SQLite: those that write in the batches of the writer, the others on a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from sirrd.errors import Unavailable
from sirrd.events import Event
from sirrd.store.portable import Row, Statement, Unit, Value
from sirrd.store.sqlite import units
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.timeline import Timeline
from sirrd.store.sqlite.writer import Writer

Result = TypeVar("Result")


class SqliteUnits:
    """See `store.portable.Units`."""

    def __init__(self, *, writer: Writer, queries: Queries, timeline: Timeline) -> None:
        self._writer = writer
        self._queries = queries
        self._timeline = timeline
        self._snapshot = asyncio.Lock()

    async def run(self, unit: Unit[Result]) -> Result:
        """See `store.portable.Units.run`."""
        if unit.writes:
            return await self._writer.submit(lambda transaction: finished(unit.work(_Writing(transaction))))
        async with self._snapshot, self._queries.snapshot():
            return await unit.work(_Reading(self._queries, self._timeline.now()))


def finished(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a unit to its end, here and now.

    Raises:
        RuntimeError: It waits for something that is not its transaction, which would hold up everyone else's work.
    """
    try:
        work.send(None)
    except StopIteration as ended:
        result: Result = ended.value
        return result
    work.close()
    raise RuntimeError("a unit of work waits for something that is not its transaction")


class _Writing:
    """See `store.portable.Transaction`; every statement is run before its coroutine returns."""

    def __init__(self, transaction: units.Transaction) -> None:
        self._transaction = transaction
        self.now = transaction.now
        self.events = transaction.events

    async def fetch(self, statement: Statement, values: Mapping[str, Value] = {}) -> Sequence[Row]:
        return self._transaction.execute(statement.sql, dict(values)).fetchall()

    async def execute(self, statement: Statement, values: Mapping[str, Value] = {}) -> int:
        return self._transaction.execute(statement.sql, dict(values)).rowcount


class _Reading:
    """See `store.portable.Transaction`; it cannot write."""

    def __init__(self, queries: Queries, now: int) -> None:
        self._queries = queries
        self.now = now
        self.events: list[Event] = []

    async def fetch(self, statement: Statement, values: Mapping[str, Value] = {}) -> Sequence[Row]:
        return await self._queries.fetch(statement.sql, dict(values))

    async def execute(self, statement: Statement, values: Mapping[str, Value] = {}) -> int:  # noqa: ARG002
        raise Unavailable
