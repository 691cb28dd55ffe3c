"""The small parts: clock, randomness, counts, the log, the connection."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sirrd import background
from sirrd import clock as clock_module
from sirrd.clock import SystemClock, elapsed_seconds
from sirrd.entropy import SystemEntropy
from sirrd.errors import Unavailable
from sirrd.events import Action, Event, Tally, neighbourhood
from sirrd.http.context import READY_SECONDS, Readiness
from sirrd.http.wire import drops
from sirrd.log import RequestLine, RequestLog, default_format, set_up
from sirrd.model import Caller, Draft, Metadata, Opened, Plaintext, Terms
from sirrd.policy import Caps, drafted
from tests.conftest import NOW, Daemon, Start

ANYONE = Caller("anonymous", "192.0.2.7")


# Clock and randomness.


def test_the_boot_clock_counts_suspend_and_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is the system's clock as it stands; what lasts is read from the clock of the boot."""
    readings = iter([100.9, 50.0])
    monkeypatch.setattr("sirrd.clock.time.time", lambda: next(readings))
    clock = SystemClock()
    assert [clock.now() for _ in range(2)] == [100, 50]
    if hasattr(time, "CLOCK_BOOTTIME"):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert before <= clock.elapsed_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert clock.elapsed_ns() <= elapsed_seconds() * 1e9 + 1000


@pytest.mark.parametrize("name", ["CLOCK_MONOTONIC", ""])
def test_where_there_is_no_boot_clock_the_monotonic_one_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the clock has another number, and a machine without numbers has Python's own."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    if not name:
        monkeypatch.delattr(time, "CLOCK_MONOTONIC")
    before = time.monotonic_ns()
    assert before <= clock_module._boot_clock()() <= time.monotonic_ns()


def test_a_boot_has_a_name_that_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is the same all through a boot and another one after it, in no form that others know; empty without one."""
    clock = SystemClock()
    (tmp_path / "one").write_text("b3a1\n")
    (tmp_path / "two").write_text("b3a2\n")
    names = []
    for file in ("one", "one", "two", "none"):
        monkeypatch.setattr(clock_module, "_BOOT_ID", tmp_path / file)
        names.append(clock.boot())
    assert names[0] == names[1] != names[2]
    assert names[3] == ""
    assert len(names[0]) == 32
    assert "b3a1" not in names[0]


def test_randomness_is_handed_out_once() -> None:
    """No byte is given twice, in one thread or in several, for small draws and for large ones."""
    entropy = SystemEntropy()
    drawn: list[bytes] = []

    def draw() -> None:
        drawn.extend(entropy(16) for _ in range(2000))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 8000
    assert {len(each) for each in drawn} == {16}
    assert len(entropy(100_000)) == 100_000


def test_randomness_is_not_inherited_by_a_child() -> None:
    """A forked child does not hand out the bytes that its parent holds in stock."""
    entropy = SystemEntropy()
    entropy(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, entropy(16))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 16)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 16
    assert theirs != entropy(16)


# Counts.


def test_a_count_is_one_event_per_kind_and_minute() -> None:
    """Alike events of a minute are one row; another address, secret, action or minute is another."""
    tally = Tally()
    for at in (NOW, NOW + 1, NOW + 59 - NOW % 60):
        tally.add(Action.MISSED, at=at, caller=ANYONE, fingerprint="00" * 8)
    tally.add(Action.REFUSED, at=NOW, caller=ANYONE, fingerprint="00" * 8)
    tally.add(Action.MISSED, at=NOW, caller=ANYONE, fingerprint="11" * 8)
    tally.add(Action.MISSED, at=NOW + 60, caller=ANYONE, fingerprint="00" * 8)
    assert sorted(event.times for event in tally.drain(before=NOW + 200)) == [1, 1, 1, 3]
    assert tally.drain(before=NOW + 200) == []


def test_the_minute_that_is_going_on_is_kept() -> None:
    """Only what is over is written, so that a minute is one row."""
    tally = Tally()
    minute = NOW - NOW % 60
    tally.add(Action.MISSED, at=minute, caller=ANYONE, fingerprint=None)
    assert tally.drain(before=minute + 59) == []
    assert [event.at for event in tally.drain(before=minute + 60)] == [minute]


def test_strangers_cannot_fill_the_memory() -> None:
    """Of a flood from many addresses 256 kinds a minute are told apart, the rest is counted without a name."""
    tally = Tally()
    for n in range(5000):
        caller = Caller("anonymous", str(ipaddress.IPv4Address(n)))
        tally.add(Action.MISSED, at=NOW, caller=caller, fingerprint=f"{n:016x}")
    events = tally.drain(before=NOW + 60)
    assert len(events) <= 257
    assert sum(event.times for event in events) == 5000
    (rest,) = (event for event in events if event.fingerprint is None)
    assert (rest.times, rest.caller.address) == (5000 - 256, "")


def test_what_could_not_be_stored_is_put_back_within_a_bound() -> None:
    """A failed flush loses nothing, and a store that fails for days does not fill memory."""
    tally = Tally()
    tally.add(Action.MISSED, at=NOW, caller=ANYONE, fingerprint="00" * 8)
    tally.restore(tally.drain(before=NOW + 60))
    (event,) = tally.drain(before=NOW + 60)
    assert event.times == 1
    tally.restore([Event(Action.MISSED, n * 60, ANYONE, None) for n in range(10_000)])
    assert len(tally.drain(before=10**9)) == 4096


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a:b", ""),
    ],
)
def test_ipv6_counts_by_64(address: str, expected: str) -> None:
    """A person holds a whole /64, so it is one address."""
    assert neighbourhood(address) == expected


async def test_misses_and_refusals_are_counted_in_the_trail(daemon: Daemon) -> None:
    """Misses, denied callers and page openings become one row per kind and minute."""
    secret = await daemon.put()
    for _ in range(3):
        await daemon.stranger.get("/secrets/" + "c" * 64)
        await daemon.stranger.delete(f"/secrets/{secret}")
        await daemon.stranger.get(f"/s/{secret}")
        await daemon.stranger.get(f"/secrets/{secret}", headers={"Sec-Purpose": "prefetch"})
    await daemon.drop.flush(everything=True)
    rows = await daemon.drop._store._queries._reading.execute_fetchall(  # type: ignore[attr-defined]
        "SELECT action, caller, count FROM audit WHERE action != 'created' ORDER BY action"
    )
    assert rows == [(action, "anonymous", 3) for action in ("denied", "missed", "page_opened", "refused")]


async def test_counts_survive_a_tick_that_is_cancelled(daemon: Daemon) -> None:
    """A flush that is cancelled, as the end of the daemon does, loses none of what it was about to write."""
    await daemon.stranger.get("/secrets")
    flushing = asyncio.create_task(daemon.drop.flush(everything=True))
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    await daemon.put()
    rows = await daemon.drop._store._queries._reading.execute_fetchall(  # type: ignore[attr-defined]
        "SELECT action, count FROM audit"
    )
    assert rows == [("denied", 1), ("created", 1)]


async def test_counts_wait_where_the_disk_is_nearly_full(start: Start) -> None:
    """What strangers cause is not written where there is no room for what owners store."""
    async with start(min_free_bytes=2**60) as daemon:
        await daemon.stranger.get("/secrets")
        await daemon.drop.flush(everything=True)
        rows = await daemon.drop._store._queries._reading.execute_fetchall("SELECT * FROM audit")  # type: ignore[attr-defined]
        assert rows == []
        daemon.drop._tally.restore([Event(Action.MISSED, n * 60, ANYONE, None) for n in range(10_000)])
        await daemon.drop.flush(everything=True)
        assert len(daemon.drop._tally.drain(before=2**40)) == 4096


@pytest.mark.parametrize(
    ("interval", "expected", "seconds"),
    [
        (60, [True, True, True, True, True, True], 60),
        (30, [True, True, True, True, True, True], 30),
        (150, [False, False, True, False, False, True], 50),
        (61, [False, True, False, True, False, True], 30.5),
        (0, [False, False, False, False, False, False], 60),
        (86_400, [False, False, False, False, False, False], 60),
    ],
)
async def test_a_tick_comes_at_least_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, interval: float, expected: list[bool], seconds: float
) -> None:
    """The checkpoint does not wait for the prune; the prune keeps its own interval."""
    ticked: list[bool] = []
    slept: list[float] = []
    enough = asyncio.Event()

    async def tick(_: object, *, prune: bool, gently: bool) -> bool:
        assert gently
        ticked.append(prune)
        return True

    async def sleep(duration: float) -> None:
        slept.append(duration)
        if len(ticked) == len(expected):
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(background, "tick", tick)
    monkeypatch.setattr("sirrd.background.asyncio.sleep", sleep)
    async with background.ticking(None, prune_interval_seconds=interval):  # type: ignore[arg-type]
        await asyncio.wait_for(enough.wait(), 5)
    assert ticked == expected
    assert set(slept) == {seconds}


async def test_a_prune_that_falls_behind_goes_on_at_the_next_tick_without_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it has caught up; the interval of prunes does not hold it back."""
    ticked: list[tuple[bool, bool]] = []
    enough = asyncio.Event()
    left = iter([True, True, False, False, True])

    async def tick(_: object, *, prune: bool, gently: bool) -> bool:
        ticked.append((prune, gently))
        return next(left)

    async def sleep(_: float) -> None:
        if len(ticked) == 5:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(background, "tick", tick)
    monkeypatch.setattr("sirrd.background.asyncio.sleep", sleep)
    async with background.ticking(None, prune_interval_seconds=180):  # type: ignore[arg-type]
        await asyncio.wait_for(enough.wait(), 5)
    assert ticked == [(False, True), (False, True), (True, True), (True, False), (True, False)]


async def test_a_tick_writes_counts_and_empties_the_wal_whatever_is_left_to_prune(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune has its time; what it did not come to is told, and waits for the next tick."""
    await daemon.put(ttl_seconds=1)
    daemon.clock.at += 1
    daemon.drop.note(Action.DENIED, by=Caller("anonymous"))
    daemon.clock.at += 60
    monkeypatch.setattr(background, "PRUNE_SECONDS", 0.0)
    assert not await background.tick(daemon.drop)
    store: Any = daemon.drop._store
    assert await store._queries.fetch("SELECT action FROM audit", {}) == [("created",), ("denied",)]
    monkeypatch.undo()
    assert await background.tick(daemon.drop)
    assert await store._queries.fetch("SELECT action FROM audit ORDER BY seq DESC LIMIT 1", {}) == [("expired",)]


async def test_a_tick_that_fails_while_it_is_cancelled_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the clean-up of a cancelled tick does not take the cancellation's place for ever."""
    begun = asyncio.Event()

    async def tick(_: object, **__: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise Unavailable

    monkeypatch.setattr(background, "tick", tick)
    async with asyncio.timeout(5):
        async with background.ticking(None, prune_interval_seconds=0.001):  # type: ignore[arg-type]
            await begun.wait()


async def test_everyone_who_asks_for_readiness_waits_for_one_answer(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a check is under way nobody is told what is not known, and no second check begins."""
    asked = 0
    go_on = asyncio.Event()

    async def check() -> None:
        nonlocal asked
        asked += 1
        await go_on.wait()
        raise Unavailable

    monkeypatch.setattr(daemon.drop, "check", check)
    readiness = Readiness()
    asking = [asyncio.ensure_future(readiness.reason_against(daemon.drop)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*asking[1:]) == ["storage"] * 4
    assert asked == 1


# The log.


def line(**changes: Any) -> RequestLine:
    return RequestLine("GET", "/secrets/{id}", 200, 0.0123, "anonymous", "192.0.2.7", "ab" * 8, None)._replace(
        **changes
    )


async def test_request_lines_leave_together() -> None:
    """Lines of one turn of the event loop are one write, in their order, as JSON or text."""
    stream = io.StringIO()
    log = RequestLog("json", stream, enabled=True)
    log.add(line(), at=NOW)
    log.add(line(fingerprint="00" * 8, status=404), at=NOW + 1)
    assert stream.getvalue() == ""
    await asyncio.sleep(0)
    first, second = (json.loads(each) for each in stream.getvalue().splitlines())
    assert (first["time"], first["ms"], first["fingerprint"]) == ("2027-01-15T08:00:00Z", 12.3, None)
    assert (second["time"], second["status"], second["fingerprint"]) == ("2027-01-15T08:00:01Z", 404, "00" * 8)


async def test_request_lines_as_text_and_not_at_all() -> None:
    """For people a line is a row of words; below level `info` there is none."""
    stream = io.StringIO()
    log = RequestLog("text", stream, enabled=True)
    log.add(line(address=""), at=NOW)
    log.flush()
    assert stream.getvalue() == (
        f"2027-01-15T08:00:00Z info    GET /secrets/{{id}} 200 12.30ms anonymous - {'ab' * 8} -\n"
    )
    silent = io.StringIO()
    RequestLog("text", silent, enabled=False).add(line(), at=NOW)
    assert silent.getvalue() == ""


async def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    """A full or closed log is no reason to fail a request."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    log = RequestLog("json", Full(), enabled=True)
    log.add(line(), at=NOW)
    log.flush()
    await asyncio.sleep(0)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_entry_is_one_line(form: Any) -> None:
    """Whatever a library writes into its message, an entry of the log is one line; exceptions are named, not quoted."""
    before = (logging.root.handlers[:], logging.root.level)
    stream = io.StringIO()
    set_up("info", form, stream)
    try:
        try:
            int("hush")
        except ValueError:
            logging.getLogger("x").exception("two\nlines\n", extra={"fields": {"n": 1}})
    finally:
        logging.root.handlers[:], logging.root.level = before
    (entry,) = stream.getvalue().splitlines()
    assert "two lines" in entry
    assert "ValueError" in entry
    assert "hush" not in entry


def test_the_format_follows_the_stream() -> None:
    """A terminal gets text, everything else JSON."""
    assert default_format(io.StringIO()) == "json"


# Values.


def test_reprs_of_answers_show_nothing() -> None:
    """What carries a value or a name out of the store does not show it."""
    terms = Terms(NOW, None, 1, delete=True)
    for shown in (
        repr(Opened(Plaintext(b"hush"), "00" * 8, "hush")),
        repr(Metadata("hush", "hush", "00" * 8, terms, 0)),
        repr(Draft(Plaintext(b"hush"))),
        repr(Caller("anonymous", "hush")),
        repr(drops.PutBody(value="hush")),
        repr(drops.OrgPutBody(value="hush", key="hush")),
        repr(drops.PatchBody(value="hush")),
        repr(Event(Action.READ, NOW, ANYONE, None, "hush", "hush")),
    ):
        assert "hush" not in shown


@pytest.mark.parametrize(
    ("caps", "ttl", "expected"),
    [(Caps(), None, None), (Caps(max_ttl_seconds=9), None, NOW + 9), (Caps(max_ttl_seconds=9), 3, NOW + 3)],
)
def test_null_means_as_long_as_the_operator_allows(caps: Caps, ttl: int | None, expected: int | None) -> None:
    """A null life is the operator's maximum, or no end at all."""
    assert drafted(Draft(Plaintext(b"x"), ttl_seconds=ttl), caps=caps, now=NOW).expires_at == expected


async def test_readiness_is_asked_of_the_store_once_a_second(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of readiness checks costs one read of the store a second."""
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(daemon.drop, "check", check)
    readiness = Readiness()
    for _ in range(50):
        assert await readiness.reason_against(daemon.drop) is None
    assert asked == 1
    readiness._checked_at -= READY_SECONDS
    await readiness.reason_against(daemon.drop)
    assert asked == 2
