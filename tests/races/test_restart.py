"""Readers who go on while the daemon ends and starts again: what was spent stays spent, and what was not is owed."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from functools import partial

import httpx
import pytest

from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, ask, put, wait_until

READERS = 8
ALLOWED = 1_000_000
ENOUGH = 100


async def read_on(client: httpx.AsyncClient, path: str, tally: Counter[str]) -> None:
    """Read until the daemon is gone; count the reads that were granted and those whose answer was lost."""
    while True:
        try:
            answer = await client.get(path)
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            tally["lost"] += 1
        else:
            assert answer.status_code == 200
            tally["granted"] += 1


def has_granted(tally: Counter[str], count: int) -> bool:
    """Tell whether so many reads were granted."""
    return tally["granted"] >= count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_i1_reads_are_counted_over_restarts(launch: Launch, number: signal.Signals) -> None:
    """I1: over two ends under load every granted read is spent, and no other, but those that `kill -9` cut off."""
    path, tally = "", Counter[str]()
    for turn in range(3):
        with launch() as daemon:
            path = path or put(daemon.address(), max_reads=ALLOWED, delete=False)
            async with httpx.AsyncClient(base_url=daemon.address(), timeout=PATIENCE_SECONDS) as client:
                head = await client.head(path)
                spent = int(head.headers["x-sirr-read-count"])
                cut_off = tally["lost"] if number == signal.SIGKILL else 0
                assert tally["granted"] <= spent <= tally["granted"] + cut_off
                if turn == 2:
                    break
                readers = [asyncio.ensure_future(read_on(client, path, tally)) for _ in range(READERS)]
                await asyncio.to_thread(wait_until, partial(has_granted, tally, ENOUGH * (turn + 1)))
                daemon.process.send_signal(number)
                await asyncio.gather(*readers)
                daemon.process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_i1_what_is_left_after_an_end_is_granted_exactly(launch: Launch, number: signal.Signals) -> None:
    """I1: two of five reads before an end of either kind leave exactly three for the twelve readers after it."""
    with launch() as daemon:
        paths = [put(daemon.address(), max_reads=5) for _ in range(20)]
        assert {ask(daemon.address(), "GET", path)[0] for path in paths * 2} == {200}
        daemon.process.send_signal(number)
        daemon.process.wait(PATIENCE_SECONDS)
    with launch() as daemon:
        async with httpx.AsyncClient(base_url=daemon.address(), timeout=PATIENCE_SECONDS) as client:
            for path in paths:
                answers = await asyncio.gather(*(client.get(path) for _ in range(12)))
                assert sorted(answer.status_code for answer in answers) == [200] * 3 + [404] * 9
