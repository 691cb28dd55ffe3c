"""Key rotation: every record moves to the newest master key, whatever goes on beside it or cuts it short."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

from sirrd.errors import Gone, NoNewerKey, Unavailable, WrongKey
from sirrd.keyring.forms import key_id_of
from sirrd.keyring.masters import MasterKey, parse_master_keys
from sirrd.model import Caller, Identity, Plaintext, Terms
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import API_KEY, MASTER_KEY, Launch, Opener, Start, masters
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, settings_of, sirrd, wait_until

NEWER_KEY = "ab" * 32
CALLER = Caller("local")


def identity(n: int) -> Identity:
    return Identity(f"{n:064x}")


async def fill(store: SqliteStore, count: int, *, size: int = 20) -> None:
    """Store numbered secrets with one read each."""

    async def put_one(n: int) -> None:
        value = Plaintext(f"value {n} ".encode().ljust(size, b"."))
        await store.put(identity(n), value, lambda now: Terms(now, None, 1, delete=True), by=CALLER)

    await asyncio.gather(*(put_one(n) for n in range(count)))


async def move_all(store: SqliteStore) -> None:
    """Move everything, batch by batch."""
    after: int | None = 0
    while after is not None:
        after = await store.rotation.move(after=after, by=CALLER)


def key_ids(path: Path) -> set[bytes]:
    """Return the ids of the master keys that records in a file are under."""
    with contextlib.closing(sqlite3.connect(path / "sirrd.db")) as reader:
        return {key_id_of(part) for row in reader.execute("SELECT label, sealed FROM secret") for part in row}


@pytest.fixture
async def old(tmp_path: Path, opened: Opener) -> Path:
    """A folder with 300 secrets under the older key, two of them long."""
    store = await opened(tmp_path)
    await fill(store, 300)
    long = Plaintext(b"x" * 200_000)
    for n in (1000, 1001):
        await store.put(identity(n), long, lambda now: Terms(now, None, 1, delete=True), by=CALLER)
    await store.close()
    return tmp_path


async def test_every_record_moves_and_opens(old: Path, opened: Opener) -> None:
    """After a move every value opens, fingerprints are what they were, and the older key can go."""
    both = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))
    before = both.fingerprint(identity(7))
    assert await both.rotation.remaining() == 302
    await move_all(both)
    assert await both.rotation.remaining() == 0
    await both.rotation.forget_older_keys()
    await both.close()
    assert key_ids(old) == {MasterKey.of(bytes.fromhex(NEWER_KEY)).id}
    newer = await opened(old, masters=masters(NEWER_KEY))
    assert newer.fingerprint(identity(7)) == before
    for n in (0, 7, 299, 1000):
        assert (await newer.claim(identity(n), by=CALLER)).plaintext.encoded.startswith(b"value" if n < 300 else b"xxx")
    with pytest.raises(Gone):
        await newer.claim(identity(7), by=CALLER)


async def test_a_move_is_audited_with_its_count(old: Path, opened: Opener) -> None:
    """Each batch writes one row that says how many records were moved."""
    store = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))
    await move_all(store)
    rows = await store._queries.fetch("SELECT sum(count), max(count) FROM audit WHERE action = 'rotated'", {})
    assert rows == [(302, 64)]


async def test_reads_go_on_and_win(old: Path, opened: Opener) -> None:
    """Claims beside a move are granted as ever: what burns stays burned, and nothing is left under the older key."""
    store = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))

    async def read(n: int) -> bytes:
        await asyncio.sleep(0)
        return (await store.claim(identity(n), by=CALLER)).plaintext.encoded.rstrip(b".")

    moving = asyncio.create_task(move_all(store))
    values = await asyncio.gather(*(read(n) for n in range(0, 300, 2)))
    await moving
    assert values == [f"value {n} ".encode() for n in range(0, 300, 2)]
    assert await store.rotation.remaining() == 0
    for n in range(0, 300, 2):
        with pytest.raises(Gone):
            await store.claim(identity(n), by=CALLER)
    assert (await store.claim(identity(1), by=CALLER)).plaintext.encoded.startswith(b"value 1 ")


async def test_a_key_is_adopted_by_a_running_store(old: Path, opened: Opener) -> None:
    """A store that runs under the older key takes a newer one, durably, before it seals anything with it."""
    store = await opened(old)
    assert not await store.rotation.adopt(masters())
    assert await store.rotation.adopt(masters(NEWER_KEY, MASTER_KEY))
    await fill(store, 0)
    await store.put(identity(5000), Plaintext(b"new"), lambda now: Terms(now, None, 1, delete=True), by=CALLER)
    assert await store.rotation.remaining() == 302
    await store.close()
    with pytest.raises(WrongKey):
        await opened(old)
    with pytest.raises(WrongKey):
        await opened(old, masters=masters(NEWER_KEY))
    again = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))
    assert (await again.claim(identity(5000), by=CALLER)).plaintext == Plaintext(b"new")
    assert (await again.claim(identity(5), by=CALLER)).plaintext.encoded.startswith(b"value 5 ")


async def test_keys_that_do_not_open_everything_are_not_adopted(old: Path, opened: Opener) -> None:
    """A new key without the older ones beside it is refused, and nothing changes."""
    store = await opened(old)
    with pytest.raises(WrongKey):
        await store.rotation.adopt(masters(NEWER_KEY))
    assert not await store.rotation.has_older_keys()
    assert (await store.claim(identity(5), by=CALLER)).plaintext.encoded.startswith(b"value 5 ")


async def test_a_record_that_does_not_open_keeps_the_older_key(
    old: Path, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged record is not moved, is loud in the log, and the rest moves all the same."""
    with contextlib.closing(sqlite3.connect(old / "sirrd.db", isolation_level=None)) as other:
        other.execute("UPDATE secret SET read_count = 0, sealed = CAST(sealed || x'00' AS BLOB) WHERE seq = 5")
    store = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))
    await move_all(store)
    assert await store.rotation.remaining() == 1
    assert sum("UNREADABLE" in message for message in caplog.messages) == 1


async def test_older_keys_are_not_forgotten_while_the_inner_keys_need_one(old: Path, opened: Opener) -> None:
    """Forgetting checks that the database's own keys open with the first master key."""
    store = await opened(old, masters=masters(NEWER_KEY, MASTER_KEY))
    store._upkeep._writing.execute("UPDATE inner_keys SET sealed = zeroblob(181)")
    with pytest.raises(Unavailable):
        await store.rotation.forget_older_keys()
    assert await store.rotation.has_older_keys()


async def test_nothing_to_move_is_said(start: Start) -> None:
    """Without a newer key the use case refuses, and the route answers 409."""
    async with start() as daemon:
        with pytest.raises(NoNewerKey):
            await daemon.drop.begin_rotation()
        answer = await daemon.client.post("/rotate-key")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_newer_key")
        assert (await daemon.client.get("/rotate-key")).json() == {"remaining": 0}


async def test_the_route_moves_everything(start: Start) -> None:
    """POST answers at once how many are left, GET counts down to 0, and a second POST finds nothing to do."""
    async with start() as daemon:
        paths = [f"/secrets/{await daemon.put(f'value {n}')}" for n in range(5)]
    async with start(master_encryption_key=f"{NEWER_KEY},{MASTER_KEY}") as daemon:
        assert (await daemon.client.get("/rotate-key")).json() == {"remaining": 5}
        answer = await daemon.client.post("/rotate-key")
        assert (answer.status_code, answer.json()) == (202, {"remaining": 5})
        for _ in range(200):
            if (await daemon.client.post("/rotate-key")).status_code == 409:
                break
            await asyncio.sleep(0.01)
        assert (await daemon.client.get("/rotate-key")).json() == {"remaining": 0}
    async with start(master_encryption_key=NEWER_KEY) as daemon:
        for n, path in enumerate(paths):
            assert (await daemon.stranger.get(path)).json()["value"] == f"value {n}"


async def test_rotation_needs_an_api_key_to_be_set(start: Start) -> None:
    """401 without the bearer; 403 on a server without an API key, where everyone else is let in."""
    async with start() as daemon:
        for method in ("GET", "POST"):
            assert (await daemon.stranger.request(method, "/rotate-key")).status_code == 401
    async with start(master_api_key=None) as daemon:
        for method in ("GET", "POST"):
            answer = await daemon.stranger.request(method, "/rotate-key")
            assert (answer.status_code, answer.json()["code"]) == (403, "api_key_needed")


# The command.


def keys_in(folder: Path) -> int:
    """Return how many keys stand in the key file."""
    return len(parse_master_keys((folder / "master.key").read_text()))


def test_the_command_beside_a_stopped_daemon(launch: Launch, tmp_path: Path) -> None:
    """Offline it makes a key, moves everything, takes the older key out, and every value still opens."""
    with launch() as daemon:
        paths = [put(daemon.address(), f"value {n}") for n in range(20)]
        assert daemon.stop() == 0
    older = (tmp_path / "data" / "master.key").read_text()
    found = sirrd(tmp_path, "rotate-key")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "every record is under the newest key\n"
    assert keys_in(tmp_path / "data") == 1
    assert (tmp_path / "data" / "master.key").read_text() != older
    with launch() as daemon:
        for n, path in enumerate(paths):
            assert ask(daemon.address(), "GET", path)[1]["value"] == f"value {n}"


def test_the_command_beside_a_running_daemon_under_load(launch: Launch, tmp_path: Path) -> None:
    """Beside a daemon that is read from and written to, nothing is lost, nothing revives, and the older key goes."""
    key = {"SIRR_MASTER_API_KEY": API_KEY}
    with launch(**key) as daemon:
        address = daemon.address()
        paths = [put(address, f"value {n}", bearer=API_KEY) for n in range(200)]
        spent: list[str] = []

        def read() -> None:
            for path in paths[:100]:
                assert ask(address, "GET", path)[0] == 200
                spent.append(path)

        reader = threading.Thread(target=read)
        reader.start()
        found = sirrd(tmp_path, "rotate-key", **key)
        reader.join()
        assert found.returncode == 0, found.stderr
        assert keys_in(tmp_path / "data") == 1
        assert sirrd(tmp_path, "rotate-key", **key).returncode == 0
        assert daemon.stop() == 0
    assert len(spent) == 100
    with launch(**key) as daemon:
        assert all(ask(daemon.address(), "GET", path)[0] == 404 for path in spent)
        for n, path in enumerate(paths[100:], start=100):
            assert ask(daemon.address(), "GET", path)[1]["value"] == f"value {n}"


def test_a_key_from_the_environment_has_to_be_put_first(launch: Launch, tmp_path: Path) -> None:
    """Exit 2 before there is a newer key in the setting; with it the records are moved, and no file is touched."""
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        path = put(daemon.address())
        assert daemon.stop() == 0
    found = sirrd(tmp_path, "rotate-key", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY)
    assert found.returncode == 2
    assert "first" in found.stderr
    both = f"{NEWER_KEY},{MASTER_KEY}"
    assert sirrd(tmp_path, "rotate-key", SIRR_MASTER_ENCRYPTION_KEY=both).returncode == 0
    assert not (tmp_path / "data" / "master.key").exists()
    with launch(SIRR_MASTER_ENCRYPTION_KEY=NEWER_KEY) as daemon:
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


def test_what_was_killed_is_resumed(launch: Launch, tmp_path: Path) -> None:
    """Killed at any instant, command and data are whole: the next attempt ends the move, and every value opens."""
    with launch() as daemon:
        paths = [put(daemon.address(), "x" * 20_000 + str(n)) for n in range(150)]
        assert daemon.stop() == 0
    env = settings_of(tmp_path / "data")
    for n in range(6):
        before = (tmp_path / "data" / "master.key").read_text()
        with subprocess.Popen([*SIRRD, "rotate-key"], cwd=tmp_path, env=env, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            if n % 2:
                process.stderr.readline()
            else:
                wait_until(
                    lambda before=before, process=process: (  # type: ignore[misc]
                        (tmp_path / "data" / "master.key").read_text() != before or process.poll() is not None
                    )
                )
            process.kill()
    found = sirrd(tmp_path, "rotate-key")
    assert found.returncode == 0, found.stderr
    assert keys_in(tmp_path / "data") == 1
    with launch() as daemon:
        for n, path in enumerate(paths):
            assert ask(daemon.address(), "GET", path)[1]["value"] == "x" * 20_000 + str(n)


def test_a_daemon_that_is_killed_during_a_move_loses_nothing(launch: Launch, tmp_path: Path) -> None:
    """With the daemon killed while it moves, the command fails, a restart finds every record, and a retry ends it."""
    key = {"SIRR_MASTER_API_KEY": API_KEY}
    with launch(**key) as daemon:
        paths = [put(daemon.address(), "x" * 20_000 + str(n), bearer=API_KEY) for n in range(150)]
        env = settings_of(tmp_path / "data", **key)
        with subprocess.Popen([*SIRRD, "rotate-key"], cwd=tmp_path, env=env, stderr=subprocess.PIPE) as command:
            assert command.stderr is not None
            command.stderr.readline()
            command.stderr.readline()
            daemon.process.kill()
            assert command.wait(PATIENCE_SECONDS) in {0, 1}
    with launch(**key) as daemon:
        assert ask(daemon.address(), "GET", paths[0])[1]["value"] == "x" * 20_000 + "0"
        assert sirrd(tmp_path, "rotate-key", **key).returncode == 0
        assert daemon.stop() == 0
    assert keys_in(tmp_path / "data") == 1
    with launch(**key) as daemon:
        for n, path in enumerate(paths[1:], start=1):
            assert ask(daemon.address(), "GET", path)[1]["value"] == "x" * 20_000 + str(n)
