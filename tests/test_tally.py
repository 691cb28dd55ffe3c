"""What strangers cause is counted, and the rows of it have a bound that holds for months; the clock is driven."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sirrd.events import ADDRESSES_AN_HOUR, ROWS_A_DAY, Action, Event, Tally
from sirrd.model import Caller
from tests.conftest import NOW, Daemon, Opener, SetClock

DAY = 86_400
START = NOW - NOW % 3600
FLOODER = Caller("anonymous", "192.0.2.66")


def minutes(days: float) -> Iterator[int]:
    """Yield the starts of so many days' minutes."""
    yield from range(START, START + int(days * DAY), 60)


def flood(tally: Tally, at: int, *, times: int = 30, action: Action = Action.MISSED) -> int:
    """Ask within a minute for ids that were never there, from one address."""
    for number in range(times):
        tally.add(action, at=at, caller=FLOODER, fingerprint=f"{at * 10_000 + number:016x}")
    return times


def test_a_flood_that_goes_on_for_days_has_a_bound() -> None:
    """Misses on random ids all day: a budget at once, as much again a day, two rows an hour; none goes uncounted."""
    tally, rows, counted = Tally(), Counter[int](), 0
    stored = 0
    for at in minutes(4):
        counted += flood(tally, at)
        for event in tally.drain(before=at + 60):
            rows[(at - START) // DAY] += 1
            stored += event.times
    stored += sum(event.times for event in tally.drain(before=START + 4 * DAY, is_last=True))
    assert stored == counted
    assert rows[0] <= 2 * ROWS_A_DAY + 24 * 2
    assert max(rows[day] for day in (1, 2, 3)) <= ROWS_A_DAY + 24 * 2 + 1


def test_every_action_at_once_from_everywhere_has_a_bound() -> None:
    """However many addresses, actions and secrets: each action has its budget, and its addresses an hour."""
    actions = [Action.MISSED, Action.REFUSED, Action.DENIED, Action.LIMITED, Action.PAGE_OPENED]
    tally, rows = Tally(), 0
    for at in minutes(1.5):
        for number in range(60):
            address = str(ipaddress.IPv6Address((0x20010DB8 << 96) + ((at * 7 + number * 7919) % 65_536 << 64)))
            caller = Caller("anonymous", address)
            tally.add(actions[number % 5], at=at, caller=caller, fingerprint=f"{at + number:016x}")
        drained = tally.drain(before=at + 60)
        rows += len(drained) if at >= START + DAY else 0
        assert len(tally._hours) <= 4096
        assert len(tally._counts) <= 256 + len(actions)
    assert rows <= len(actions) * (ROWS_A_DAY + 1 + 24 * (ADDRESSES_AN_HOUR + 1))


def test_the_operator_sees_who_floods() -> None:
    """Beyond the budget the addresses that did most are named each hour, with their counts; others are one row."""
    tally = Tally()
    for at in minutes(0.25):
        flood(tally, at, times=200)
        for number in range(20):
            caller = Caller("anonymous", f"198.51.100.{number}")
            tally.add(Action.MISSED, at=at, caller=caller, fingerprint=f"{at + number:016x}")
        drained = tally.drain(before=at + 60)
    hour = START + DAY // 4 - 3600
    by_hour = [event for event in drained if event.at == hour and event.fingerprint is None]
    assert len(by_hour) == ADDRESSES_AN_HOUR + 1
    assert max(by_hour, key=lambda event: event.times).caller == FLOODER
    assert sum(event.caller.address == "" for event in by_hour) == 1


def test_one_address_that_floods_is_named_in_its_minute() -> None:
    """Its first secrets are told apart, and the rest counts for it: it does not hide among others."""
    tally = Tally()
    flood(tally, START, times=1000)
    drained = tally.drain(before=START + 60)
    (rest,) = (event for event in drained if event.fingerprint is None)
    assert (rest.caller, rest.times) == (FLOODER, 1000 - (len(drained) - 1))
    assert len(drained) == 17


def test_a_flood_of_one_action_leaves_the_others_their_rows() -> None:
    """While misses are counted by the hour, a wrong proof is still told by secret, address and minute."""
    tally = Tally()
    for at in minutes(1):
        flood(tally, at, times=30)
        tally.drain(before=at + 60)
    at = START + DAY
    victim = Event(Action.UNPROVEN, at, Caller("anonymous", "198.51.100.1"), "ab" * 8)
    flood(tally, at, times=100)
    tally.add(victim.action, at=at, caller=victim.caller, fingerprint=victim.fingerprint)
    assert victim in tally.drain(before=at + 60)


def test_an_ordinary_day_is_told_minute_by_minute() -> None:
    """A miss every other minute, each by another secret and address, is never counted by the hour."""
    tally, events = Tally(), []
    for number, at in enumerate(minutes(10)):
        if number % 2:
            caller = Caller("anonymous", f"198.51.100.{number % 256}")
            tally.add(Action.MISSED, at=at, caller=caller, fingerprint=f"{number:016x}")
        events += tally.drain(before=at + 60)
    assert len(events) == 10 * DAY // 120
    assert {event.times for event in events} == {1}
    assert all(event.fingerprint for event in events)


def test_a_clock_that_jumps_gives_one_budget_at_most() -> None:
    """Years ahead, or back: no more than the budget that is there at once, and counting goes on."""
    tally = Tally()
    for at in (START, START + 10**9, START - 10**6, START + 2 * 10**9):
        for minute in range(0, 6000, 60):
            flood(tally, at + minute)
        assert len(tally.drain(before=at + 6000)) <= ROWS_A_DAY + 2 * ADDRESSES_AN_HOUR


async def test_days_of_misses_hardly_grow_the_database(opened: Opener, clock: SetClock, tmp_path: Path) -> None:
    """Through the real trail: four days of a flood are less than a megabyte, where each row told apart were 25."""
    store = await opened(tmp_path)
    tally = Tally()
    for at in minutes(4):
        flood(tally, at, times=18)
        if at % 3600 == 0:
            clock.at = at + 60
            await store.record(tally.drain(before=at + 60))
    await store.tidy()
    assert (tmp_path / "sirrd.db").stat().st_size < 1024 * 1024
    rows = await store._queries.fetch("SELECT count(*), sum(count) FROM audit", {})
    assert rows[0][0] < 5 * (ROWS_A_DAY + 48)
    assert rows[0][1] > 3 * 1440 * 18


@pytest.mark.parametrize("everything", [False, True])
async def test_counts_by_the_hour_are_written_at_the_end(daemon: Daemon, clock: SetClock, everything: bool) -> None:
    """A daemon that ends in the midst of an hour writes what it has counted of it."""
    for at in range(START, START + 1500, 60):
        clock.at = at
        for _ in range(100):
            caller = Caller("anonymous", f"198.51.{_}.{at // 60 % 256}")
            daemon.drop._tally.add(Action.MISSED, at=at, caller=caller, fingerprint=f"{at + _:016x}")
    await daemon.drop.flush(everything=everything)
    store = daemon.drop._store
    rows = await store._queries.fetch("SELECT sum(count) FROM audit WHERE action = 'missed'", {})  # type: ignore[attr-defined]
    assert (rows[0][0] == 2500) == everything
