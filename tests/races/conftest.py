"""Where races are run: the same tests in process and against the real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Launch, Start


@dataclass
class Side:
    """One running daemon and a client of it; every answer is looked at.

    Attributes:
        client: Speaks to it.
        folder: Its data folder.
        chance: What decides who comes when; seeded.
        seen: All statuses that came back.
    """

    client: httpx.AsyncClient
    folder: Path
    chance: random.Random
    seen: Counter[int] = field(default_factory=Counter)

    async def ask(self, method: str, path: str, body: Any = None, *, attempt: str | None = None) -> httpx.Response:
        """Send one request; nobody ever sees a 500, or a 503 where the queue is not full."""
        headers = {} if attempt is None else {"X-Sirr-Attempt": attempt}
        answer = await self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 500, (method, answer.status_code, answer.text)
        self.seen[answer.status_code] += 1
        return answer

    async def put(self, value: str, **terms: Any) -> str:
        """Store a dead drop and return its path."""
        answer = await self.ask("POST", "/secrets", {"value": value, **terms})
        assert answer.status_code == 201, answer.text
        return f"/secrets/{answer.json()['id']}"

    def gets(self, path: str, count: int) -> list[Awaitable[httpx.Response]]:
        """Return so many reads of one secret, to be sent."""
        return [self.ask("GET", path) for _ in range(count)]

    async def together(
        self, readers: list[Awaitable[httpx.Response]], *rivals: Awaitable[httpx.Response]
    ) -> tuple[list[httpx.Response], list[httpx.Response]]:
        """Send all at once, the rivals somewhere among the readers; return the answers of the two kinds."""
        places = sorted(self.chance.randrange(len(readers) + 1) for _ in rivals)
        order: list[Awaitable[httpx.Response]] = list(readers)
        for place, rival in reversed(list(zip(places, rivals, strict=True))):
            order.insert(place, rival)
        # A list of its own: the answers come back in the order in which they were asked for.
        answers = await asyncio.gather(*order)
        found = {id(asked): answer for asked, answer in zip(order, answers, strict=True)}
        return [found[id(each)] for each in readers], [found[id(each)] for each in rivals]

    async def remaining(self, path: str) -> int:
        """Return the reads that `HEAD` says are left; of what is gone, none."""
        head = await self.ask("HEAD", path)
        return 0 if head.status_code == 404 else int(head.headers["x-sirr-reads-remaining"])

    def trail(self) -> Counter[str]:
        """Return how many rows of each kind the audit trail in the file has."""
        uri = f"{(self.folder / 'sirrd.db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            return Counter(dict(connection.execute("SELECT action, count(*) FROM audit GROUP BY action")))


@pytest.fixture(params=["in process", "daemon"])
async def side(request: pytest.FixtureRequest, start: Start, launch: Launch, tmp_path: Path) -> AsyncIterator[Side]:
    """A daemon, in process or in one of its own."""
    chance = random.Random(request.node.name)
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "in process":
            daemon = await stack.enter_async_context(start())
            client = daemon.client
        else:
            process = stack.enter_context(launch())
            bounds = httpx.Limits(max_connections=16)
            client = httpx.AsyncClient(base_url=process.address(), limits=bounds, timeout=30)
            await stack.enter_async_context(client)
        yield Side(client, tmp_path / "data", chance)


def granted(answers: list[httpx.Response], value: str | None = None) -> int:
    """Count the answers that gave a value, or that one."""
    given = [answer.json()["value"] for answer in answers if answer.status_code == 200]
    return len(given) if value is None else given.count(value)
