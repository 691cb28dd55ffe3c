"""The store's time: it goes on whatever the system's clock does, over restarts, reboots and crashes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from sirrd.errors import Gone
from sirrd.model import Caller, Identity, Metadata, Plaintext, Terms
from sirrd.store.sqlite.backup import backup
from sirrd.store.sqlite.folder import DATABASE, DataFolder
from sirrd.store.sqlite.restore import restore
from sirrd.store.sqlite.store import SqliteStore
from sirrd.store.sqlite.timeline import Mark, Timeline
from tests.conftest import NOW, Opener, SetClock, masters
from tests.tampering import empty_database

YEARS = 10 * 365 * 86_400
HOUR = 3600
BY = Caller("bearer", "192.0.2.7")
DROP = Identity.drop("ab" * 32)
JUMPS = [YEARS, -YEARS, HOUR, -HOUR, 2, -2]


async def put(store: SqliteStore, ttl: int | None, identity: Identity = DROP) -> Metadata:
    """Store a secret that is read as often as one likes."""

    def terms(now: int) -> Terms:
        return Terms(now, None if ttl is None else now + ttl, None, delete=True)

    return await store.put(identity, Plaintext.of("s3cret"), terms, by=BY)


async def lives(store: SqliteStore, identity: Identity = DROP) -> bool:
    """Tell whether a secret can be read and seen."""
    try:
        await store.claim(identity, by=BY)
    except Gone:
        with pytest.raises(Gone):
            await store.peek(identity)
        return False
    await store.peek(identity)
    return True


async def lives_for(store: SqliteStore, clock: SetClock, seconds: int, identity: Identity = DROP) -> None:
    """Expect a secret to live for so many seconds of real time, and not one more."""
    clock.at += seconds - 1
    assert await lives(store, identity)
    clock.at += 1
    assert not await lives(store, identity)


def copied(folder: Path) -> Path:
    """Return a folder with the files as they stand this moment, as a crash leaves them."""
    crashed = folder / "crashed"
    crashed.mkdir()
    for path in folder.glob(f"{DATABASE}*"):
        shutil.copy(path, crashed)
    return crashed


def jumps_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of jumps."""
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("CLOCK")]


@pytest.mark.parametrize("jump", JUMPS)
async def test_i9_a_life_is_as_long_as_it_was_meant_whatever_the_clock_does(
    jump: int, store: SqliteStore, clock: SetClock
) -> None:
    """I9: the clock jumps in the middle of a life, either way: it neither ends before its time nor goes on after it."""
    await put(store, 60)
    clock.at += 20
    clock.jump(jump)
    await lives_for(store, clock, 40)
    clock.jump(-2 * jump)
    assert not await lives(store)


async def test_i9_what_is_stored_under_a_wrong_clock_lives_as_long_as_it_was_meant(
    store: SqliteStore, clock: SetClock
) -> None:
    """I9: years ahead at boot, then right: a secret for 2 s is gone after 2 s, not in ten years."""
    clock.jump(YEARS)
    stored = await put(store, 2)
    assert stored.terms.created_at == NOW + YEARS
    clock.jump(-YEARS)
    assert (await store.peek(DROP)).terms == Terms(NOW, NOW + 2, None, delete=True)
    await lives_for(store, clock, 2)


@pytest.mark.parametrize("jump", JUMPS)
async def test_what_is_shown_goes_by_the_system_clock(
    jump: int, store: SqliteStore, clock: SetClock, tmp_path: Path
) -> None:
    """Metadata, lists and the audit trail are in Unix seconds as the clock stands now; seconds to live stay right."""
    await put(store, 60)
    clock.jump(jump)
    clock.at += 5
    terms = (await store.peek(DROP)).terms
    assert terms.expires_at is not None
    assert (clock.now() - terms.created_at, terms.expires_at - clock.now()) == (5, 55)
    ((listed,), _) = await store.page(org=None, before=None, limit=9)
    assert listed.terms == terms
    second = await put(store, None, Identity.drop("cd" * 32))
    assert second.terms.created_at == clock.now()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as file:
        assert [at for (at,) in file.execute("SELECT at FROM audit ORDER BY seq")] == [NOW, clock.now()]


async def test_a_jump_is_said_once_with_its_size(
    store: SqliteStore, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each jump is one line at level error, with seconds and direction; time that passes is none."""
    caplog.set_level(logging.INFO)
    for change in (YEARS, -HOUR, 1, -1):
        clock.jump(change)
        clock.at += 7
        for _ in range(3):
            store.now()
    assert jumps_in(caplog) == [
        f"CLOCK: the system clock jumped ahead by {YEARS} s; lives and lock-outs go on by the boot clock",
        f"CLOCK: the system clock jumped back by {HOUR} s; lives and lock-outs go on by the boot clock",
    ]
    assert {record.levelno for record in caplog.records if "CLOCK" in record.getMessage()} == {logging.ERROR}


async def reopened(store: SqliteStore, folder: Path, opened: Opener) -> SqliteStore:
    """Stop a store, and open its folder again."""
    await store.close()
    return await opened(folder)


@pytest.mark.parametrize("jump", JUMPS)
async def test_i9_a_jump_across_a_restart_changes_no_life(
    jump: int, store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener
) -> None:
    """I9: the clock jumps while sirrd is stopped; in the same boot what passed is known to the second."""
    await put(store, 60)
    await put(store, 5, Identity.drop("cd" * 32))
    await store.close()
    clock.jump(jump)
    clock.at += 20
    again = await opened(tmp_path)
    assert not await lives(again, Identity.drop("cd" * 32))
    await lives_for(again, clock, 40)
    assert not await lives(await reopened(again, tmp_path, opened))


async def test_i9_an_hour_back_across_a_reboot_brings_nothing_back(
    store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """I9: after a reboot with a clock that stands behind, what had expired stays gone, and a life goes on at once."""
    await put(store, 5)
    await put(store, 60, Identity.drop("cd" * 32))
    clock.at += 10
    assert not await lives(store)
    await store.close()
    clock.reboot()
    clock.jump(-HOUR)
    again = await opened(tmp_path)
    assert f"CLOCK: the system clock jumped back by {HOUR} s" in caplog.text
    assert not await lives(again)
    await lives_for(again, clock, 50, Identity.drop("cd" * 32))


async def test_time_goes_on_from_the_system_clock_after_a_reboot(
    store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """What passed while the machine was off counts, as the system's clock has it, and is no jump."""
    await put(store, 60)
    await store.close()
    clock.at += 20
    clock.reboot()
    await lives_for(await opened(tmp_path), clock, 40)
    assert not jumps_in(caplog)


async def test_a_wrong_clock_at_the_first_start_is_outlived(tmp_path: Path, clock: SetClock, opened: Opener) -> None:
    """Made under a clock years ahead, or at 1970: after reboots under the right clock lives are as they were meant."""
    for name, first in (("ahead", YEARS), ("1970", -NOW)):
        folder = tmp_path / name
        folder.mkdir()
        clock.jump(first)
        store = await opened(folder)
        await put(store, 60)
        clock.at += 10
        clock.jump(-first)
        assert (await store.peek(DROP)).terms.created_at == clock.now() - 10
        await store.close()
        clock.at += 20
        clock.reboot()
        await lives_for(await opened(folder), clock, 30)


@pytest.mark.parametrize("jump", [YEARS, -HOUR])
async def test_i9_a_jump_is_kept_before_the_next_tick(
    jump: int, store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener
) -> None:
    """I9: the power fails soon after a jump, before a tick: the next boot knows of the jump all the same."""
    await put(store, 60)
    clock.jump(jump)
    store.now()
    for _ in range(1000):
        if (marked := marks(tmp_path)) and marked[0].shown == clock.now() * 1000:
            break
        await asyncio.sleep(0.01)
    crashed = copied(tmp_path)
    clock.at += 30
    clock.reboot()
    await lives_for(await opened(crashed), clock, 30)


def marks(folder: Path) -> list[Mark]:
    """Return the mark in a file."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as file:
        return [Mark(*row) for row in file.execute("SELECT store, shown, elapsed, boot FROM clock")]


async def test_i9_after_a_crash_and_a_reboot_time_goes_on_from_the_newest_row(
    store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener
) -> None:
    """I9: what came after the last mark is told by the newest row, so a clock that stands behind revives little."""
    await put(store, 5)
    clock.at += 30
    await put(store, 60, Identity.drop("cd" * 32))
    assert not await lives(store)
    crashed = copied(tmp_path)
    clock.reboot()
    clock.jump(-HOUR)
    again = await opened(crashed)
    assert not await lives(again)
    await lives_for(again, clock, 60, Identity.drop("cd" * 32))


async def test_i9_a_crash_in_the_same_boot_loses_no_time(
    store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener
) -> None:
    """I9: after `kill -9` the boot clock still tells what passed, whatever the system's clock was set to meanwhile."""
    await put(store, 60)
    crashed = copied(tmp_path)
    clock.at += 50
    clock.jump(-HOUR)
    await lives_for(await opened(crashed), clock, 10)


async def test_a_backup_goes_on_from_its_own_time_on_another_machine(
    store: SqliteStore, clock: SetClock, tmp_path: Path, opened: Opener
) -> None:
    """A restore leaves out what expired meanwhile; the rest lives for what was left of it, with a clock behind, too."""
    for name, passed, jump in (("right", 30, 0), ("behind", 0, -HOUR)):
        await put(store, 60)
        await put(store, 20, Identity.drop("cd" * 32))
        await store.tidy()
        backup(tmp_path / DATABASE, tmp_path / f"{name}.db")
        there = SetClock(clock.at + passed + jump)
        there.boots = 7
        folder = DataFolder(tmp_path / name)
        done = await restore(tmp_path / f"{name}.db", folder, masters=masters(), clock=there, replace=False, burn=False)
        assert done.kept == (1 if passed else 2)
        again = await opened(tmp_path / name, clock=there)
        await lives_for(again, there, 60 - passed)
        for identity in (DROP, Identity.drop("cd" * 32)):
            await store.remove(identity, by=BY)


async def test_a_database_of_an_earlier_release_goes_on_from_its_rows(
    tmp_path: Path, clock: SetClock, opened: Opener
) -> None:
    """Its rows tell the latest time that it has seen: what was stored while the clock was years ahead ends in time."""
    empty_database(tmp_path / DATABASE, version=2)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as file, file:
        file.execute("INSERT INTO audit_chain VALUES (1, x'00', ?, x'00', 0)", (NOW + YEARS,))
    store = await opened(tmp_path)
    assert store.now() == NOW + YEARS
    assert (await put(store, 60)).terms.created_at == NOW
    await lives_for(store, clock, 60)


class Reading(SetClock):
    """A clock that whoever reads it is suspended before, again and again."""

    def __init__(self, pauses: list[int]) -> None:
        super().__init__()
        self._pauses = pauses

    def system_ns(self) -> int:
        """Return Unix nanoseconds, a while later."""
        self.at += self._pauses.pop() if self._pauses else 0
        return super().system_ns()


def test_a_pause_between_two_readings_is_no_jump(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is stopped, or suspended, between reading one clock and the other has seen no jump."""
    clock = Reading([])
    timeline = Timeline(clock)
    clock._pauses = [0, 0, 30, 30]
    before = timeline.now()
    assert timeline.now() - before == 60
    assert timeline.offset == 0
    assert not jumps_in(caplog)


@pytest.mark.parametrize(
    ("mark", "due"),
    [
        (Mark((NOW - 9) * 1000, (NOW - 9) * 1000, (NOW - 9) * 1000, "boot 1"), NOW),
        (Mark((NOW - 9) * 1000, (NOW - 9) * 1000, (NOW + 9) * 1000, "boot 1"), NOW),
        (Mark((NOW - 9) * 1000, (NOW - 9) * 1000, (NOW - 5) * 1000, "boot 2"), NOW),
        (Mark((NOW + 9) * 1000, (NOW + 9) * 1000, 0, "boot 2"), NOW + 9),
        (Mark((NOW + 9) * 1000, (NOW - 3) * 1000, 0, "boot 2"), NOW + 12),
        (Mark(0, 0, 0, ""), NOW),
    ],
)
def test_how_long_nobody_looked(mark: Mark, due: int) -> None:
    """The boot clock tells it in the same boot, the system's clock after another, and nothing where that is behind."""
    timeline = Timeline(SetClock(), mark=mark)
    assert timeline.now() == due
    assert timeline.now() + timeline.offset == NOW
