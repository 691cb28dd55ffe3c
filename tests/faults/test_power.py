"""A power cut at any instant, after syncs that failed, too: what was answered with success is on the disk (I2, I3)."""

from __future__ import annotations

import contextlib
import http.client
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from sirrd.keyring import Keyring
from sirrd.model import Identity
from sirrd.store.statements import FIND, Row
from tests.conftest import MASTER_KEY
from tests.crash.files import chain_faults, file_faults, keyring_of
from tests.faults.power import cut
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
    """What clients were answered, and how long the trace was by then.

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
        self.trace = folder / "trace"
        self._folder = folder
        self.shim = Shim(library, data=folder / "data", control=folder / "control", trace=self.trace)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Process]:
        """Run a daemon under load until the end of the block, and kill it there."""
        env = settings_of(
            self._folder / "data", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY, SIRR_PRUNE_INTERVAL_SECONDS="0.05"
        )
        log = self._folder / f"{len(list(self._folder.glob('*.log')))}.log"
        with started([*SIRRD, "serve"], log=log, cwd=ROOT, env=env | self.shim.env) as daemon:
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
        """Return the length of the trace."""
        return self.trace.stat().st_size

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
    for instant, files in cut(story.trace, [*positions, story.position()], chance):
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
