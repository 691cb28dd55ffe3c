"""Readers who go on while the daemon ends and starts again: what was spent stays spent, and what was not is owed."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, ask, put

READERS = 8
ALLOWED = 1_000_000


async def read_on(address: str, path: str, stopped: asyncio.Event) -> tuple[int, int]:
    """Read until the daemon is gone; return the reads that were granted and those whose answer was lost."""
    statuses, lost = [], 0
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as client:
        while not stopped.is_set():
            try:
                statuses.append((await client.get(path)).status_code)
            except httpx.ConnectError:
                break
            except httpx.TransportError:
                lost += 1
    assert set(statuses) <= {200}
    return len(statuses), lost


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_i1_reads_are_counted_over_restarts(launch: Launch, number: signal.Signals) -> None:
    """I1: over two ends under load every granted read is spent, and at most those are whose answer was lost."""
    path, granted, lost = "", 0, 0
    for turn in range(3):
        with launch() as daemon:
            address = daemon.address()
            path = path or put(address, max_reads=ALLOWED, delete=False)
            async with httpx.AsyncClient(base_url=address) as client:
                head = await client.head(path)
            spent = int(head.headers["x-sirr-read-count"])
            assert granted <= spent <= granted + lost
            if turn == 2:
                break
            stopped = asyncio.Event()
            readers = [asyncio.ensure_future(read_on(address, path, stopped)) for _ in range(READERS)]
            await asyncio.sleep(0.3)
            daemon.process.send_signal(number)
            await asyncio.to_thread(daemon.process.wait, PATIENCE_SECONDS)
            stopped.set()
            counts = await asyncio.gather(*readers)
            granted += sum(count for count, _ in counts)
            lost += sum(count for _, count in counts)
    assert granted > READERS


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
