"""A power cut at any instant, after syncs that failed, too: what was answered with success is on the disk (I2, I3)."""

from __future__ import annotations

import contextlib
import http.client
import random
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from sirrd.keyring.ring import Keyring
from sirrd.model import Identity
from sirrd.store.sqlite.statements import FIND, Row
from tests.conftest import MASTER_KEY
from tests.crash.files import chain_faults, file_faults, keyring_of
from tests.faults.power import PAGE, Medium, Record, all_records, cut
from tests.faults.shim import Call, File, Shim
from tests.parts import ROOT, SIRRD, Process, ask, settings_of, started, wait_until

CLIENTS: Final = 4
CUTS: Final = 25
SIZES: Final = (20, 20, 400, 9000, 100_000)
FOR_EVER: Final = 2**62
_ROUNDS: Final = 100_000
_BROKEN: Final = (OSError, http.client.HTTPException, ValueError)


@dataclass
class Answered:
    """What clients were answered, and how long the traces were by then.

    Attributes:
        stored: The value of each secret that was stored.
        tried: Secrets that somebody tried to read.
        burned: Secrets whose one read was granted.
    """

    stored: dict[str, tuple[int, str]] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    burned: dict[str, int] = field(default_factory=dict)


class Story:
    """A daemon over a shim, under load from start to end, killed and started again as the test says."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.answered = Answered()
        self.traces: list[Path] = []
        self._folder = folder
        self.shim = Shim(library, data=folder / "data", control=folder / "control")

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Process]:
        """Run a daemon under load until the end of the block, and kill it there."""
        env = settings_of(
            self._folder / "data", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY, SIRR_PRUNE_INTERVAL_SECONDS="0.05"
        )
        number = len(self.traces)
        self.traces.append(self._folder / f"{number}.trace")
        env |= self.shim.tracing(self.traces[-1])
        with started([*SIRRD, "serve"], log=self._folder / f"{number}.log", cwd=ROOT, env=env) as daemon:
            address = daemon.address()
            clients = [threading.Thread(target=self._load, args=(address, random.Random(n))) for n in range(CLIENTS)]
            for client in clients:
                client.start()
            try:
                yield daemon
            finally:
                daemon.process.kill()
                daemon.process.wait()
                for client in clients:
                    client.join()

    def go_on(self) -> None:
        """Wait until some more reads were granted."""
        target = len(self.answered.burned) + 20
        wait_until(lambda: len(self.answered.burned) >= target)

    def break_(self, call: Call, file: File) -> None:
        """Let a kind of call fail until it has failed a few times, and heal it."""
        before = self.shim.hits
        self.shim.fail(call, file)
        wait_until(lambda: self.shim.hits > before + 2)
        self.shim.heal()

    def position(self) -> int:
        """Return the length of all traces."""
        return sum(trace.stat().st_size for trace in self.traces)

    def _load(self, address: str, chance: random.Random) -> None:
        with contextlib.suppress(*_BROKEN):
            for _ in range(_ROUNDS):
                value = f"value {chance.random()} ".ljust(chance.choice(SIZES), "x")
                status, answer = ask(address, "POST", "/secrets", {"value": value})
                if status == 201:
                    self.answered.stored[answer["id"]] = self.position(), value
                    self._read(address, answer["id"], chance)

    def _read(self, address: str, secret: str, chance: random.Random) -> None:
        if chance.random() < 0.6:
            self.answered.tried[secret] = self.position()
            status, _ = ask(address, "GET", f"/secrets/{secret}")
            if status == 200:
                self.answered.burned[secret] = self.position()


def steadily(story: Story) -> None:
    """Nothing fails."""
    with story.daemon():
        story.go_on()


def through(call: Call, file: File) -> Callable[[Story], None]:
    """A call fails for a while, and the daemon goes on."""

    def happen(story: Story) -> None:
        with story.daemon():
            story.go_on()
            for _ in range(2):
                story.break_(call, file)
                story.go_on()

    return happen


def over_a_kill(call: Call, file: File) -> Callable[[Story], None]:
    """A call fails, the daemon is killed before it can recover, and the next finds what the kernel has in memory."""

    def happen(story: Story) -> None:
        for _ in range(2):
            with story.daemon():
                story.go_on()
                story.shim.fail(call, file)
                before = story.shim.hits
                wait_until(lambda before=before: story.shim.hits > before)  # type: ignore[misc]
            story.shim.heal()
        with story.daemon():
            story.go_on()

    return happen


STORIES = {
    "nothing fails": steadily,
    "syncs of the WAL fail": through(Call.SYNC, File.WAL),
    "syncs of the database fail": through(Call.SYNC, File.DATABASE),
    "writes to the database fail": through(Call.WRITE, File.DATABASE),
    "syncs of the WAL fail, then a kill": over_a_kill(Call.SYNC, File.WAL),
    "syncs of the database fail, then a kill": over_a_kill(Call.SYNC, File.DATABASE),
}


@pytest.mark.parametrize("name", STORIES)
def test_i2_i3_what_was_answered_survives_a_power_cut(tmp_path: Path, library: Path, name: str) -> None:
    """I2, I3: cut the power at any instant: what was stored is there, what was read is burned and audited."""
    story = Story(tmp_path, library)
    STORIES[name](story)
    assert bool(story.shim.hits) == (name != "nothing fails")
    chance = random.Random(name)
    positions = [chance.randrange(story.position()) for _ in range(CUTS)]
    left = tmp_path / "left"
    left.mkdir()
    lasting = 0
    for instant, files in cut(story.traces, [*positions, story.position()], chance):
        (left / "sirrd.db").write_bytes(files[File.DATABASE])
        (left / "sirrd.db-wal").write_bytes(files[File.WAL])
        (left / "sirrd.db-shm").unlink(missing_ok=True)
        lasting += judge(left / "sirrd.db", story.answered, instant)
    assert lasting > CUTS


def judge(path: Path, answered: Answered, instant: int) -> int:
    """Check the files against what had been answered by then, and return how many answers that were."""
    due = [secret for secret, (position, _) in answered.stored.items() if position <= instant]
    if not due:
        return 0
    with contextlib.closing(sqlite3.connect(path)) as database:
        keyring = keyring_of(database, MASTER_KEY)
        assert [*file_faults(database), *chain_faults(database, keyring)] == []
        for secret in due:
            if answered.burned.get(secret, FOR_EVER) <= instant:
                assert is_burned(database, keyring, secret)
            elif answered.tried.get(secret, FOR_EVER) > instant:
                assert value_of(database, keyring, secret) == answered.stored[secret][1]
    return len(due)


def value_of(database: sqlite3.Connection, keyring: Keyring, secret: str) -> str | None:
    """Return what a secret holds, or None if it is not there."""
    arguments = {"lookup": keyring.lookup(Identity.drop(secret)), "now": 0, "longest": FOR_EVER}
    for found in database.execute(FIND, arguments):
        return keyring.open_value(Row(*found).record).text()
    return None


def is_burned(database: sqlite3.Connection, keyring: Keyring, secret: str) -> bool:
    """Tell whether a secret is gone, and the trail has its one read."""
    fingerprint = bytes.fromhex(keyring.fingerprint(keyring.lookup(Identity.drop(secret))))
    rows = database.execute("SELECT action FROM audit WHERE fingerprint = ?", (fingerprint,)).fetchall()
    return value_of(database, keyring, secret) is None and rows.count(("burned",)) == 1


# The model of the disk itself.


def write(offset: int, data: bytes) -> Record:
    """Return a write to the database."""
    return Record(0, Call.WRITE, File.DATABASE, offset, data, has_failed=False)


def sync(*, has_failed: bool = False) -> Record:
    """Return a sync of the database."""
    return Record(0, Call.SYNC, File.DATABASE, 0, b"", has_failed)


def left_by(*calls: Record) -> bytes:
    """Return what is on the disk after some calls and a last sync."""
    medium = Medium()
    for call in (*calls, sync()):
        medium.take(call)
    return medium.after_a_cut(random.Random(0))


def test_pages_of_a_failed_sync_are_lost_until_they_are_written_anew() -> None:
    """A sync that succeeds later brings back nothing; a write to the page does, with all that processes see in it."""
    page, other = b"a" * PAGE, b"b" * PAGE
    assert left_by(write(0, page)) == page
    assert left_by(write(0, page), sync(), write(0, other), sync(has_failed=True)) == page
    assert left_by(write(0, page), sync(), write(0, other), sync(has_failed=True), write(0, b"c")) == b"c" + other[1:]
    assert left_by(write(0, page), sync(has_failed=True), write(PAGE, other)) == bytes(PAGE) + other


def test_without_a_sync_each_page_is_there_or_not() -> None:
    """Of what was written since the last sync the disk may have any pages, and those whole."""
    medium = Medium()
    medium.take(write(0, b"a" * PAGE * 2))
    medium.take(sync())
    medium.take(write(0, b"b" * PAGE * 2))
    found = {medium.after_a_cut(random.Random(seed)) for seed in range(50)}
    assert found == {(a * PAGE) + (b * PAGE) for a in (b"a", b"b") for b in (b"a", b"b")}


def test_a_trace_that_a_kill_cut_short_ends_before_its_last_record(tmp_path: Path) -> None:
    """Half a record is none, and the next process's records follow all the same."""
    head = struct.Struct("=IIqqq")
    whole = head.pack(Call.WRITE, File.WAL, 0, 4, 0) + b"data"
    (tmp_path / "0").write_bytes(whole + whole[:-1])
    (tmp_path / "1").write_bytes(whole)
    found = list(all_records([tmp_path / "0", tmp_path / "1"]))
    assert [each.end for each in found] == [len(whole), 3 * len(whole) - 1]
    assert [each.data for each in found] == [b"data"] * 2
