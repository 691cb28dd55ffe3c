"""Attempts against each other and everything else at once: a read is spent once for each, whatever comes again."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.races.conftest import Side, granted

ROUNDS = 25


def attempts(side: Side, count: int) -> list[str]:
    """Return so many attempts."""
    return [base64.urlsafe_b64encode(side.chance.randbytes(32)).decode().rstrip("=") for _ in range(count)]


@pytest.mark.parametrize("delete", [True, False])
async def test_i1_a_value_leaves_to_as_many_attempts_as_may_read(side: Side, delete: bool) -> None:
    """I1: of 5 attempts, each sent 3 times at once, exactly 2 get the value, each of them 3 times, and later again."""
    for number in range(ROUNDS):
        path = await side.put(f"value {number}", max_reads=2, delete=delete)
        chosen = attempts(side, 5)
        sent = [each for each in chosen for _ in range(3)]
        side.chance.shuffle(sent)
        readers, _ = await side.together([side.ask("GET", path, attempt=each) for each in sent])
        winners = {each for each, answer in zip(sent, readers, strict=True) if answer.status_code == 200}
        assert len(winners) == 2
        # A winner may have lost with nothing: what was sent before it won was the one that won.
        assert granted(readers, f"value {number}") == 6
        assert sum("x-sirr-repeat" in answer.headers for answer in readers) == 4
        late, _ = await side.together([side.ask("GET", path, attempt=each) for each in chosen])
        assert {each for each, answer in zip(chosen, late, strict=True) if answer.status_code == 200} == winners
        assert {answer.status_code for answer in late} == {200, 404 if delete else 410}
    trail = side.trail()
    assert trail["burned" if delete else "sealed"] == trail["read"] == ROUNDS


async def test_i1_with_one_read_left_one_of_two_attempts_reads(side: Side) -> None:
    """I1: two readers with two attempts and `max_reads` 1: one value, one 404."""
    for number in range(ROUNDS):
        path = await side.put(f"value {number}")
        readers, _ = await side.together([side.ask("GET", path, attempt=each) for each in attempts(side, 2)])
        assert sorted(answer.status_code for answer in readers) == [200, 404]


@pytest.mark.parametrize("rival", ["received", "DELETE", "plain"])
async def test_i1_a_repeat_among_rivals_is_the_value_or_a_miss(side: Side, rival: str) -> None:
    """I1: while somebody ends the delivery, a repeat gets the value or the one answer of what is gone; then nothing."""
    for number in range(ROUNDS):
        path = await side.put(f"value {number}")
        (attempt,) = attempts(side, 1)
        assert (await side.ask("GET", path, attempt=attempt)).status_code == 200
        ends = {
            "received": side.ask("POST", f"{path}/received", attempt=attempt),
            "DELETE": side.ask("DELETE", path),
            "plain": side.ask("GET", path),
        }
        end = ends.pop(rival)
        for other in ends.values():
            other.close()
        repeats, (ended,) = await side.together([side.ask("GET", path, attempt=attempt) for _ in range(4)], end)
        assert {answer.status_code for answer in repeats} <= {200, 404}
        assert ended.status_code == (200 if rival == "received" else 404)
        later: httpx.Response = await side.ask("GET", path, attempt=attempt)
        assert later.status_code == (200 if rival == "plain" else 404)
