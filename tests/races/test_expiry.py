"""The expiry second among readers, writers and prunes: gone for all at once, and its key free at once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from tests.conftest import Daemon, Launch, SetClock
from tests.races.conftest import Side, granted

ROUNDS = 40


@pytest.fixture
def timed(daemon: Daemon, request: pytest.FixtureRequest) -> Side:
    """The application in process, whose clock can be set."""
    return Side(daemon.client, daemon.settings.data_dir, random.Random(request.node.name))


@pytest.mark.parametrize("max_reads", [2, None])
async def test_i9_who_asks_at_the_expiry_second_gets_nothing(
    timed: Side, clock: SetClock, max_reads: int | None
) -> None:
    """I9: readers, prunes and deletes that come at the very second find nothing; the row is pruned exactly once."""
    for _ in range(ROUNDS):
        path = await timed.put("mortal", ttl_seconds=5, max_reads=max_reads)
        clock.at += 4
        early, _ = await timed.together(timed.gets(path, 1))
        assert granted(early) == 1
        clock.at += 1
        rivals = [timed.ask("POST", "/prune") for _ in range(3)]
        readers, answers = await timed.together(timed.gets(path, 8), *rivals, timed.ask("DELETE", path))
        assert {answer.status_code for answer in readers} == {404}
        assert answers.pop().status_code == 404
        assert sum(answer.json()["pruned"] for answer in answers) == 1
    assert timed.trail() == {"created": ROUNDS, "read": ROUNDS, "expired": ROUNDS}


async def test_i9_a_life_ends_while_readers_wait(timed: Side, clock: SetClock) -> None:
    """I9: where the second comes while requests are under way, those that come after it get nothing."""
    for _ in range(ROUNDS):
        path = await timed.put("mortal", ttl_seconds=5, max_reads=4)
        before = [asyncio.ensure_future(reader) for reader in timed.gets(path, 6)]
        for _ in range(timed.chance.randrange(12)):
            await asyncio.sleep(0)
        clock.at += 5
        after, (pruned,) = await timed.together(timed.gets(path, 6), timed.ask("POST", "/prune"))
        assert granted(await asyncio.gather(*before)) <= 4
        assert granted(after) == 0
        assert pruned.json()["pruned"] <= 1


async def test_i9_a_clock_that_is_set_among_readers_ends_no_life_and_prolongs_none(
    timed: Side, clock: SetClock
) -> None:
    """I9: wherever the system's clock is set among readers and prunes, a life ends with its last second, for all."""
    jumps = (3600, -3600, 315_360_000, -315_360_000)
    for _ in range(ROUNDS):
        path = await timed.put("mortal", ttl_seconds=5, max_reads=12)
        for passed, due in ((4, (5, 0)), (1, (0, 1))):
            clock.at += passed
            asked = asyncio.ensure_future(timed.together(timed.gets(path, 5), timed.ask("POST", "/prune")))
            for _ in range(timed.chance.randrange(12)):
                await asyncio.sleep(0)
            clock.jump(timed.chance.choice(jumps))
            readers, (pruned,) = await asked
            assert (granted(readers), pruned.json()["pruned"]) == due


async def test_i9_an_amendment_at_the_last_moment_counts_in_full_or_not_at_all(timed: Side, clock: SetClock) -> None:
    """I9: a longer life that was granted is lived, one that came too late revives nothing."""
    outcomes = set()
    for _ in range(ROUNDS):
        path = await timed.put("prolonged", ttl_seconds=5, max_reads=3, delete=False)
        change = asyncio.ensure_future(timed.ask("PATCH", path, {"ttl_seconds": 50}))
        for _ in range(timed.chance.randrange(20)):
            await asyncio.sleep(0)
        clock.at += 5
        pruned = await timed.ask("POST", "/prune")
        readers, _ = await timed.together(timed.gets(path, 6))
        status = (await change).status_code
        outcomes.add(status)
        assert granted(readers) == (3 if status == 200 else 0)
        assert pruned.json()["pruned"] == (0 if status == 200 else 1)
        assert {answer.status_code for answer in readers} == ({200, 410} if status == 200 else {404})
        assert (await timed.ask("DELETE", path)).status_code == status
    assert outcomes == {200, 404}


async def test_a_key_is_free_at_expiry_while_prunes_run(timed: Side, clock: SetClock) -> None:
    """At the expiry second, prunes or not, exactly one of several writers gets the key, and the old row goes once."""
    for number in range(ROUNDS):
        path = f"/orgs/acme/secrets/K{number}"
        body = {"key": f"K{number}", "value": "x" * timed.chance.choice((1, 1, 70_000)), "ttl_seconds": 5}
        assert (await timed.ask("POST", "/orgs/acme/secrets", body)).status_code == 201
        clock.at += 5
        puts = [timed.ask("POST", "/orgs/acme/secrets", body | {"value": f"new {each}"}) for each in range(3)]
        prunes = [timed.ask("POST", "/prune") for _ in range(2)]
        _, answers = await timed.together([], *puts, *prunes)
        assert sorted(answer.status_code for answer in answers[:3]) == [201, 409, 409]
        assert sum(answer.json()["pruned"] for answer in answers[3:]) <= 1
        readers, _ = await timed.together(timed.gets(path, 3))
        (stored,) = [each for each, answer in enumerate(answers[:3]) if answer.status_code == 201]
        assert granted(readers) == granted(readers, f"new {stored}") == 1
        assert timed.trail()["expired"] == number + 1


async def test_i9_the_daemons_own_clock_ends_a_life_for_all(launch: Launch, tmp_path: Path) -> None:
    """I9: once one reader was told that a secret is gone, nobody who asks later gets it; its key is free then."""
    lasting = 20
    with launch() as process:
        async with httpx.AsyncClient(base_url=process.address(), timeout=30) as client:
            side = Side(client, tmp_path / "data", random.Random(9))
            body = {"value": "mortal", "ttl_seconds": 1, "max_reads": None}
            for key in range(lasting):
                await side.ask("POST", "/orgs/acme/secrets", body | {"key": f"K{key}"})

            async def until_gone(key: int) -> None:
                path = f"/orgs/acme/secrets/K{key}"
                while (await side.ask("GET", path)).status_code == 200:
                    pass
                late, (put, _) = await side.together(
                    side.gets(path, 2),
                    side.ask("POST", "/orgs/acme/secrets", {"key": f"K{key}", "value": "next"}),
                    side.ask("POST", "/prune"),
                )
                assert granted(late, "mortal") == 0
                assert put.status_code == 201
                after, _ = await side.together(side.gets(path, 2))
                assert granted([*late, *after]) == granted([*late, *after], "next") == 1

            await asyncio.gather(*(until_gone(key) for key in range(lasting)))
            assert side.seen[200] > lasting
    trail = side.trail()
    assert (trail["created"], trail["burned"], trail["expired"]) == (2 * lasting, lasting, lasting)
