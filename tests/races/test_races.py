"""Reads against everything else at once: exactly what is owed is granted, and what is gone stays gone."""

from __future__ import annotations

import pytest

from tests.races.conftest import Side, granted

ROUNDS = 25


async def statuses(side: Side, path: str, count: int) -> set[int]:
    """Read a secret so many times at once, and return what statuses that gave."""
    readers, _ = await side.together(side.gets(path, count))
    return {answer.status_code for answer in readers}


async def test_i1_every_read_that_is_owed_is_granted(side: Side) -> None:
    """I1: of 12 readers at once exactly 3 get what may be read 3 times, in 150 of 150 rounds, burned or sealed."""
    counts = []
    for number in range(150):
        burns = number % 2 == 0
        path = await side.put(f"value {number}", max_reads=3, delete=burns)
        readers, _ = await side.together(side.gets(path, 12))
        counts.append(granted(readers, f"value {number}"))
        assert {answer.status_code for answer in readers} == {200, 404 if burns else 410}
    assert counts == [3] * 150
    assert side.trail() == {"created": 150, "read": 300, "burned": 75, "sealed": 75}


@pytest.mark.parametrize("delete", [True, False])
async def test_i1_a_delete_among_readers_takes_what_is_left(side: Side, delete: bool) -> None:
    """I1: a delete is a miss exactly when the readers burned the secret before; after both nobody reads."""
    total = 0
    for _ in range(ROUNDS):
        path = await side.put("deleted", max_reads=2, delete=delete)
        readers, (gone,) = await side.together(side.gets(path, side.chance.randrange(1, 6)), side.ask("DELETE", path))
        count = granted(readers)
        total += count
        assert count <= 2
        assert gone.status_code == (404 if delete and count == 2 else 200)
        assert await statuses(side, path, 3) == {404}
    trail = side.trail()
    assert trail["read"] + trail["burned"] + trail["sealed"] == total
    assert trail["deleted"] + trail["burned"] == ROUNDS


async def test_i1_a_new_value_is_read_as_often_as_it_may_be_and_the_old_one_never_after_it(side: Side) -> None:
    """I1: among readers a change of value lets the new one out exactly `max_reads` times, the old one at most so."""
    for number in range(ROUNDS):
        path = await side.put(f"old {number}", max_reads=2, delete=False)
        change = side.ask("PATCH", path, {"value": f"new {number}"})
        readers, (changed,) = await side.together(side.gets(path, side.chance.randrange(1, 8)), change)
        assert changed.status_code == 200
        assert granted(readers, f"old {number}") <= 2
        assert granted(readers) == granted(readers, f"old {number}") + granted(readers, f"new {number}")
        left = await side.remaining(path)
        assert left == 2 - granted(readers, f"new {number}")
        late, _ = await side.together(side.gets(path, 4))
        assert granted(late) == granted(late, f"new {number}") == left


async def test_i1_an_amended_count_is_granted_in_full(side: Side) -> None:
    """I1: among readers a change of reads from 2 to 5 grants exactly 5 after it, on top of at most 2 before."""
    total = 0
    for _ in range(ROUNDS):
        path = await side.put("counted", max_reads=2, delete=False)
        change = side.ask("PATCH", path, {"max_reads": 5})
        readers, (changed,) = await side.together(side.gets(path, side.chance.randrange(1, 12)), change)
        assert (changed.status_code, changed.json()["read_count"]) == (200, 0)
        left = await side.remaining(path)
        assert 0 <= granted(readers) - (5 - left) <= 2
        late, _ = await side.together(side.gets(path, 8))
        assert granted(late) == left
        assert await statuses(side, path, 2) == {410}
        total += granted(readers) + left
    trail = side.trail()
    assert trail["read"] + trail["sealed"] == total
    assert trail["amended"] == ROUNDS


async def test_i1_a_prune_takes_nothing_that_lives(side: Side) -> None:
    """I1: prunes among readers of a secret with a life before it remove nothing and deny no read."""
    for _ in range(ROUNDS):
        path = await side.put("lives on", max_reads=3, ttl_seconds=3600)
        prunes = [side.ask("POST", "/prune") for _ in range(2)]
        readers, pruned = await side.together(side.gets(path, 6), *prunes)
        assert granted(readers) == 3
        assert [answer.json() for answer in pruned] == [{"pruned": 0}] * 2


async def test_i1_of_several_deletes_one_deletes(side: Side) -> None:
    """Of several deletes of one secret at once exactly one is told that it deleted something."""
    for _ in range(ROUNDS):
        path = await side.put("once deleted", max_reads=None)
        _, deletes = await side.together([], *(side.ask("DELETE", path) for _ in range(4)))
        assert sorted(answer.status_code for answer in deletes) == [200, 404, 404, 404]


async def test_of_several_puts_of_one_key_one_is_stored(side: Side) -> None:
    """Of several secrets put under one key at once exactly one is stored, and it is the one that is read."""
    for number in range(ROUNDS):
        bodies = [{"key": f"K{number}", "value": f"value {each}"} for each in range(6)]
        _, puts = await side.together([], *(side.ask("POST", "/orgs/acme/secrets", body) for body in bodies))
        assert sorted(answer.status_code for answer in puts) == [201] + [409] * 5
        readers, _ = await side.together(side.gets(f"/orgs/acme/secrets/K{number}", 4))
        assert granted(readers) == 1
    assert side.trail() == {"created": ROUNDS, "burned": ROUNDS}


async def test_a_key_goes_from_its_last_reader_to_one_writer(side: Side) -> None:
    """Last readers and writers of one key: every value is read once at most, and what is stored can be read."""
    for number in range(ROUNDS):
        path, key = f"/orgs/acme/secrets/K{number}", {"key": f"K{number}"}
        assert (await side.ask("POST", "/orgs/acme/secrets", key | {"value": "first"})).status_code == 201
        writers = [side.ask("POST", "/orgs/acme/secrets", key | {"value": f"later {each}"}) for each in range(3)]
        readers, puts = await side.together(side.gets(path, 4), *writers)
        late, _ = await side.together(side.gets(path, 3))
        values = [answer.json()["value"] for answer in [*readers, *late] if answer.status_code == 200]
        stored = [f"later {each}" for each, answer in enumerate(puts) if answer.status_code == 201]
        assert sorted(values) == sorted(["first", *stored])
