"""Counts the secrets by their state, a slice at a time, beside everything else.

No index knows all states, so each row is looked at, on the thread that reads lists; a slice takes some milliseconds,
and no read transaction is open between two. What changes meanwhile is counted as it was when its slice was.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from sirrd.measures import STATES
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.timeline import Timeline

SLICE: Final = 5000


class Census:
    """One count after the other, each over as many calls as it needs."""

    def __init__(self, queries: Queries, timeline: Timeline) -> None:
        self._queries = queries
        self._timeline = timeline
        self._begin()

    def _begin(self) -> None:
        self._after = 0
        self._so_far = Counter(dict.fromkeys(STATES, 0))

    async def go_on(self, *, seconds: float) -> dict[str, int] | None:
        """Count on, and return how many secrets are in each state, or None if time is up before all were counted.

        Raises:
            Unavailable: The database cannot be read; the next call goes on from there.
        """
        ends_at = time.monotonic() + seconds
        while await self._count_slice():
            if time.monotonic() >= ends_at:
                return None
        ((spent,),) = await self._queries.fetch(statements.SPENT_ROWS, {})
        counted = dict(self._so_far) | {"spent": spent}
        self._begin()
        return counted

    async def _count_slice(self) -> bool:
        """Count one slice, and tell whether there may be another."""
        arguments = {"after": self._after, "now": self._timeline.now(), "most": SLICE}
        ((last, rows, expired, sealed),) = await self._queries.fetch(statements.CENSUS, arguments)
        if rows:
            self._after = last
            self._so_far.update(active=rows - expired - sealed, expired=expired, sealed=sealed)
        return bool(rows == SLICE)
