"""I8: what was burned, deleted, amended or pruned is in no file of the daemon, byte for byte, whatever its size.

Threats 11: with ticks, with a reader in the way, and after a crash. What is looked for is what was in the files before:
salts, sealed labels and sealed values; and what must never be there: values and ids, as text and in binary form.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from sirrd.model import Identity
from tests.conftest import MASTER_KEY, Launch
from tests.crash.files import keyring_of
from tests.parts import Process, ask, put, wait_until
from tests.scan import found_in

NUMBERS: Final = {64: 20, 9_000: 10, 1_048_576: 1}
"""How many secrets of each size go each way, and how many of each stay beside them."""
WAYS: Final = ("burn", "delete", "amend", "prune")
TERMS: Final[dict[str, dict[str, Any]]] = {"amend": {"delete": False, "max_reads": 5}, "prune": {"ttl_seconds": 1}}
TICK: Final = {"SIRR_PRUNE_INTERVAL_SECONDS": "0.2"}
NO_TICK: Final = {"SIRR_PRUNE_INTERVAL_SECONDS": "3600"}
READER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM secret").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""
_PIECE: Final = 16
_STEP: Final = 512
_ROW: Final = "SELECT salt, label, sealed FROM secret JOIN slot ON slot.id = secret.slot WHERE lookup = ?"


def pieces(content: bytes) -> Iterator[bytes]:
    """Yield pieces of something long, one for each sector that it may lie in, and its end."""
    for at in range(0, len(content) - _PIECE, _STEP):
        yield content[at : at + _PIECE]
    yield content[-_PIECE:]


@dataclass
class Stored:
    """A secret that is to go, or to stay.

    Attributes:
        way: How it goes; empty for one that stays.
        path: Where it is read.
        value: What it holds.
        salt: As it stood in its slot.
        sealed: Pieces of its sealed label and value, as they stood in its row.
    """

    way: str
    path: str
    value: str
    salt: bytes
    sealed: frozenset[bytes]

    @property
    def clear(self) -> Iterator[bytes]:
        """What must never be in a file: the id, as text and in binary form, and the value."""
        name = self.path.removeprefix("/secrets/")
        yield from (name.encode(), bytes.fromhex(name), *pieces(self.value.encode()))


class Remnants:
    """Secrets of all sizes that go all ways, and what is left of them in the files."""

    def __init__(self, folder: Path, address: str, sizes: Iterable[int] = NUMBERS) -> None:
        self._folder = folder
        self.address = address
        uri = f"{(folder / 'data' / 'sirrd.db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            self._all = [self._store(way, size, database) for size in sizes for way in self._ways() * NUMBERS[size]]

    @property
    def gone(self) -> list[Stored]:
        """Those that go."""
        return [each for each in self._all if each.way]

    @staticmethod
    def _ways() -> list[str]:
        return [each for way in WAYS for each in (way, "")]

    def _store(self, way: str, size: int, database: sqlite3.Connection) -> Stored:
        """Store a secret, and note what then stands in the files."""
        value = secrets.token_hex(size // 2)
        path = put(self.address, value, **TERMS.get(way, {}))
        lookup = keyring_of(database, MASTER_KEY).lookup(Identity.drop(path.removeprefix("/secrets/")))
        ((salt, label, sealed),) = database.execute(_ROW, (lookup,)).fetchall()
        return Stored(way, path, value, salt, frozenset((*pieces(label), *pieces(sealed))))

    def go(self) -> None:
        """Let each secret go its way, one of each way after the other."""
        for each in self.gone:
            if each.way == "burn":
                assert ask(self.address, "GET", each.path)[1]["value"] == each.value
            elif each.way == "delete":
                assert ask(self.address, "DELETE", each.path)[0] == 200
            elif each.way == "amend":
                assert (
                    ask(self.address, "PATCH", each.path, {"value": secrets.token_hex(len(each.value) // 2)})[0] == 200
                )
            else:
                wait_until(lambda each=each: ask(self.address, "GET", each.path)[0] == 404)  # type: ignore[misc]
        assert ask(self.address, "POST", "/prune")[0] == 200

    def salts(self) -> set[bytes]:
        """Return the salts of gone secrets that a file still has."""
        return found_in(self._folder, {each.salt for each in self.gone})

    def check_before(self) -> None:
        """What is looked for later is found now, so the search works; nothing stands there in the clear."""
        lasting = [each for each in self.gone if each.way != "prune"]
        salts = {each.salt for each in lasting}
        assert found_in(self._folder, salts) == salts
        sealed = {piece for each in lasting for piece in each.sealed}
        # A piece that lies across two pages is not found, and does not have to be.
        assert len(found_in(self._folder, sealed)) > 0.97 * len(sealed)
        self._check_clear()

    def check_after(self) -> None:
        """No salt, no id and no value is in any file, and of sealed bytes next to nothing."""
        assert self.salts() == set()
        self._check_clear()
        left = found_in(self._folder, {piece for each in self.gone for piece in each.sealed})
        # SQLite may leave a copy of a cell in a gap of a page: a few in ten thousand do. It has no key any more.
        assert len([each for each in self.gone if each.sealed & left]) <= 2

    def _check_clear(self) -> None:
        assert found_in(self._folder, {part for each in self.gone for part in each.clear}) == set()

    def check_kept(self) -> None:
        """What was to stay is there."""
        for each in self._all:
            if not each.way:
                assert ask(self.address, "GET", each.path)[1]["value"] == each.value


def ticks(daemon: Process, kind: str = '"wal": "truncated"') -> int:
    """Return how many ticks the log has of a kind."""
    return daemon.log.read_text().count(kind)


def wait_for_a_tick(daemon: Process, kind: str = '"wal": "truncated"') -> None:
    """Wait for a whole tick: the one under way may have begun too early. After it nothing moves between the files."""
    before = ticks(daemon, kind)
    wait_until(lambda: ticks(daemon, kind) >= before + 2)


@contextlib.contextmanager
def reading(database: Path) -> Iterator[None]:
    """Hold a snapshot, in a process of its own: this one would lose its locks by looking into the files."""
    command = [sys.executable, "-c", READER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        yield
        process.communicate()


@pytest.fixture
def settings() -> dict[str, str]:
    """What every daemon here runs with."""
    return {"SIRR_MASTER_ENCRYPTION_KEY": MASTER_KEY, "SIRR_LOG_FORMAT": "json"}


@pytest.mark.parametrize("sizes", [(64, 9_000), (1_048_576,)], ids=["pages are kept", "space is returned"])
def test_i8_nothing_is_left_after_a_tick(
    launch: Launch, tmp_path: Path, settings: dict[str, str], sizes: Iterable[int]
) -> None:
    """I8: burned, deleted, amended or pruned, of 64 bytes, 9 kB or 1 MiB: after the next tick no file has it."""
    with launch(**settings, **TICK) as daemon:
        remnants = Remnants(tmp_path, daemon.address(), sizes)
        wait_for_a_tick(daemon)
        remnants.check_before()
        remnants.go()
        wait_for_a_tick(daemon)
        remnants.check_after()
        remnants.check_kept()
        assert daemon.stop() == 0


def test_i8_a_reader_in_the_way_only_defers_it(launch: Launch, tmp_path: Path, settings: dict[str, str]) -> None:
    """I8: while another process reads the tick says that it is held up; the first one after that leaves nothing."""
    with launch(**settings, **TICK) as daemon:
        remnants = Remnants(tmp_path, daemon.address())
        wait_for_a_tick(daemon)
        remnants.check_before()
        with reading(tmp_path / "data" / "sirrd.db"):
            remnants.go()
            wait_until(lambda: ticks(daemon, "held by a reader") > 0)
            assert remnants.salts() != set()
        wait_for_a_tick(daemon)
        remnants.check_after()
        remnants.check_kept()
        assert daemon.stop() == 0


def test_i8_nothing_is_left_after_a_crash_and_a_tick(launch: Launch, tmp_path: Path, settings: dict[str, str]) -> None:
    """I8: a killed daemon leaves what its last ticks had not reached; after a start and one tick no file has it."""
    with launch(**settings, **NO_TICK) as daemon:
        remnants = Remnants(tmp_path, daemon.address())
        remnants.check_before()
        remnants.go()
        daemon.process.kill()
        daemon.process.wait()
    assert remnants.salts() != set()
    with launch(**settings, **TICK) as daemon:
        remnants.address = daemon.address()
        wait_for_a_tick(daemon)
        remnants.check_after()
        remnants.check_kept()
        assert daemon.stop() == 0


def test_pieces_cover_what_they_are_of() -> None:
    """The search has a piece of every sector, and the end."""
    content = secrets.token_bytes(2000)
    found = list(pieces(content))
    assert [content.find(each) for each in found] == [0, 512, 1024, 1536, 1984]
