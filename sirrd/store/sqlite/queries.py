"""Queries over the SQLite file: metadata of one secret, and pages of lists.

Look-ups of one secret touch a few cached pages and run on the event loop, since a hop to a thread costs ten times as
much; lists run on the thread of aiosqlite. Both connections cannot write, and every query is read to its end at once,
so that no reader stands in the way of a checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from sirrd.errors import AmbiguousKey, Gone, Unavailable, Unreadable
from sirrd.keyring.forms import generation_of
from sirrd.keyring.inner import Names
from sirrd.keyring.ring import Keyring
from sirrd.model import BareKey, Identity, Metadata, Target
from sirrd.store import Page
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.connections import connect_look_up, connect_reader
from sirrd.store.sqlite.timeline import Timeline

logger = logging.getLogger(__name__)


class Queries:
    """The reading side of the store."""

    def __init__(
        self, reading: aiosqlite.Connection, looking_up: sqlite3.Connection, *, keyring: Keyring, timeline: Timeline
    ) -> None:
        self._reading = reading
        self._looking_up = looking_up
        self._keyring = keyring
        self._timeline = timeline
        self._is_in_turn = False

    @classmethod
    async def open(cls, path: Path, *, keyring: Keyring, timeline: Timeline) -> Queries:
        """Open both connections to a database that is there."""
        looking_up = connect_look_up(path)
        try:
            reading = await connect_reader(path)
        except BaseException:
            looking_up.close()
            raise
        return cls(reading, looking_up, keyring=keyring, timeline=timeline)

    async def close(self) -> None:
        """Let go of both connections."""
        self._looking_up.close()
        await self._reading.close()

    async def peek(self, target: Target, *, may_share: Callable[[], bool] = lambda: False) -> Metadata:
        """See `Store.peek`.

        Args:
            target: What is asked about.
            may_share: Tells whether all look-ups of this turn of the event loop may share one read transaction, which
                saves most of what a look-up costs. Only while nothing is written: a checkpoint must not meet it.
        """
        if may_share():
            self._begin_turn()
        now = self._timeline.now()
        names = self._keyring.names
        if self._keyring.moving:
            return await self._peek_among(target, self._keyring.every_names(), now)
        if isinstance(target, Identity):
            lookup = names.lookup(target)
        else:
            lookup = only(await self._look_up(statements.BARE, {"bare": names.bare_lookup(target), "now": now}))
        for row in await self._look_up(statements.PEEK, {"lookup": lookup, "now": now}):
            return self._described(row, target)
        raise Gone(names.fingerprint(lookup))

    async def _peek_among(self, target: Target, every: tuple[Names, ...], now: int) -> Metadata:
        """Look under several generations of inner keys at once: between two looks the secret could move."""
        if isinstance(target, Identity):
            where, places = statements.PEEK_ANY, statements.named([names.lookup(target) for names in every])
        else:
            where, places = statements.PEEK_BARE_ANY, statements.named([names.bare_lookup(target) for names in every])
        rows = await self._look_up(where.format(places=statements.among(places)), {"now": now, **places})
        if isinstance(target, BareKey):
            only([row[1:2] for row in rows])
        for row in rows:
            return self._described(row, target)
        raise Gone(every[0].fingerprint(every[0].lookup(target)) if isinstance(target, Identity) else None)

    def _described(self, row: Sequence[Any], target: Target) -> Metadata:
        metadata = self._describe(row)
        if isinstance(target, BareKey) and (metadata.org is None or metadata.name != target.name):
            raise Unreadable(metadata.fingerprint)
        return metadata

    async def page(self, *, org: str | None, before: int | None, limit: int) -> Page:
        """See `Store.page`."""
        arguments: dict[str, Any] = {
            "before": 2**63 - 1 if before is None else before,
            "now": self._timeline.now(),
            "limit": limit + 1,
        }
        rows = await self._page_rows(org, arguments)
        more = len(rows) > limit
        rows = rows[:limit]
        metadata = [described for row in rows if (described := self._describe_if_readable(row, org)) is not None]
        return Page(metadata, rows[-1][0] if more else None)

    async def _page_rows(self, org: str | None, arguments: dict[str, Any]) -> list[Any]:
        """Return the rows of a page; looked for again if secrets began to move to other inner keys meanwhile."""
        while True:
            names = self._keyring.names
            places = None if org is None else statements.named(self._keyring.org_lookups(org))
            rows = await self.fetch(statements.page(places), {**arguments, **(places or {})})
            if places is None or names is self._keyring.names:
                return rows

    def _describe_if_readable(self, row: Sequence[Any], org: str | None) -> Metadata | None:
        """Return what a list, of one org or of all, says of a row; what is not what it says is left out, loudly."""
        with contextlib.suppress(Unreadable):
            metadata = self._describe(row)
            if org is None or metadata.org == org:
                return metadata
        fingerprint = self._keyring.names_of(generation_of(row[9])).fingerprint(row[1])
        logger.error("UNREADABLE: the record of %s does not open and is left out of a list", fingerprint)
        return None

    def _describe(self, row: Sequence[Any]) -> Metadata:
        """Return the metadata in a row of `PEEK` or `PAGE`; that its label opens proves that the terms are its own."""
        record, names = statements.described(row), self._keyring.names
        identity = self._keyring.open_label(record)
        # What has not moved yet is called what it will be.
        lookup = record.lookup if record.generation == names.number else names.lookup(identity)
        return Metadata(
            identity.name, identity.org, names.fingerprint(lookup), self._timeline.show(record.terms), row[8]
        )

    def _begin_turn(self) -> None:
        # What is wrong with the connection, the query itself will find.
        if self._is_in_turn:
            return
        self._is_in_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        with contextlib.suppress(sqlite3.Error):
            self._looking_up.execute("BEGIN")

    def _end_turn(self) -> None:
        self._is_in_turn = False
        with contextlib.suppress(sqlite3.Error):  # there is none if it failed to begin, or was closed meanwhile
            self._looking_up.execute("ROLLBACK")

    async def _look_up(self, sql: str, arguments: dict[str, Any]) -> list[Any]:
        """Run a query that touches a few cached pages, here and now: a hop to a thread costs ten times the query."""
        try:
            return self._looking_up.execute(sql, arguments).fetchall()
        except sqlite3.Error:
            return await self.fetch(sql, arguments)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Let all queries within see the database as the first of them finds it.

        Raises:
            Unavailable: It cannot be read.
        """
        await self.fetch("BEGIN", {})
        try:
            yield
        finally:
            await self.fetch("ROLLBACK", {})

    async def fetch(self, sql: str, arguments: dict[str, Any]) -> list[Any]:
        """Run a query on the thread of aiosqlite, where it may take its time.

        Raises:
            Unavailable: It failed.
        """
        try:
            return list(await self._reading.execute_fetchall(sql, arguments))
        except (sqlite3.Error, ValueError) as error:
            # aiosqlite raises ValueError where its connection was closed.
            logger.error("a query failed: %s", getattr(error, "sqlite_errorname", "connection closed"))
            raise Unavailable from None


def only(rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return the one lookup that a bare key was resolved to."""
    if not rows:
        raise Gone
    if len(rows) > 1:
        raise AmbiguousKey
    return rows[0][0]
