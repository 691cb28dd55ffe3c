"""The claim: one conditional unit, whoever asks and however many at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Daemon


@pytest.mark.parametrize("max_reads", [1, 2, 5])
async def test_i1_fifty_concurrent_readers_get_exactly_what_was_allowed(daemon: Daemon, max_reads: int) -> None:
    """I1: of 50 readers at once exactly `max_reads` get the value; the others get the uniform miss."""
    secret = await daemon.put("once", max_reads=max_reads)
    answers = await asyncio.gather(*(daemon.stranger.get(f"/secrets/{secret}") for _ in range(50)))
    granted = [answer for answer in answers if answer.status_code == 200]
    assert len(granted) == max_reads
    assert {answer.json()["value"] for answer in granted} == {"once"}
    missed = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in missed} == {404}
    assert len({answer.content for answer in missed}) == 1
