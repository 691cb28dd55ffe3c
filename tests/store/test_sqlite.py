"""The embedded store: transitions and their audit rows, salts and slots, keys, and how it opens and closes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sirrd.errors import BadFolder, Gone, KeyExists, NotAmendable, Sealed, Unavailable, WrongKey
from sirrd.keyring.chain import AuditRow
from sirrd.keyring.ring import Keyring, SealedRecord
from sirrd.model import Amendment, BareKey, Caller, Identity, Metadata, Plaintext, Target, Terms
from sirrd.store.sqlite import connections, statements, upkeep
from sirrd.store.sqlite import store as module
from sirrd.store.sqlite.migrate import APPLICATION_ID, migrations
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import MASTER_KEY, NOW, Opener, SetClock, masters

CALLER = Caller("bearer", "192.0.2.7")
DROP = Identity("5" * 64)
KEY = Identity("KEY", "acme")
VALUE = Plaintext(b"value")


async def put(
    store: SqliteStore,
    identity: Identity = DROP,
    *,
    life: int | None = None,
    max_reads: int | None = 1,
    delete: bool = True,
    value: Plaintext = VALUE,
) -> None:
    """Store a secret."""

    def terms(now: int) -> Terms:
        return Terms(now, None if life is None else now + life, max_reads, delete)

    await store.put(identity, value, terms, by=CALLER)


async def amend(store: SqliteStore, target: Target, **changes: Any) -> None:
    """Amend a secret, leaving its terms as they are."""
    await store.amend(target, Amendment(**changes), lambda old, _: old, by=CALLER)


@pytest.fixture
def witness(tmp_path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """A second connection, which sees only what is committed."""
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db", isolation_level=None)) as connection:
        yield connection


def audited(witness: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Return action, caller and count of every audit row."""
    return witness.execute("SELECT action, caller, count FROM audit ORDER BY seq").fetchall()


# One audit row per transition.


async def test_every_transition_has_one_audit_row(
    store: SqliteStore, witness: sqlite3.Connection, clock: SetClock
) -> None:
    """Create, read, seal, amend, delete, burn and expire write a row each, and refusals none."""
    await put(store, KEY, max_reads=2, delete=False)
    await store.claim(KEY, by=CALLER)
    await store.claim(BareKey("KEY"), by=CALLER)
    with pytest.raises(Sealed):
        await store.claim(KEY, by=CALLER)
    await amend(store, KEY)
    await store.remove(BareKey("KEY"), by=CALLER)
    await put(store, DROP)
    await store.claim(DROP, by=CALLER)
    with pytest.raises(Gone):
        await store.claim(DROP, by=CALLER)
    await put(store, Identity("6" * 64), life=1)
    await put(store, KEY, life=1)
    clock.at += 1
    await put(store, KEY)
    assert await store.prune(org=None, by=Caller("daemon")) == 1
    expected = ["created", "read", "sealed", "amended", "deleted", "created", "burned", "created", "created"]
    expected += ["expired", "created", "expired"]
    assert [action for action, _, _ in audited(witness)] == expected
    assert {times for _, _, times in audited(witness)} == {1}


async def test_the_chain_of_the_file_verifies(store: SqliteStore, witness: sqlite3.Connection) -> None:
    """The rows in the file are the chain that its head says, and their details open."""
    await put(store, KEY, max_reads=3)
    await asyncio.gather(*(store.claim(KEY, by=CALLER) for _ in range(2)))
    ((salt, head, length),) = witness.execute("SELECT salt, head, length FROM audit_chain").fetchall()
    chain = store._keyring.resume_audit_chain(salt)
    before, details = chain.start, []
    columns = "number, at, action, caller, fingerprint, count, detail, mac"
    for stored in witness.execute(f"SELECT {columns} FROM audit ORDER BY number"):
        row = AuditRow(*stored)
        assert chain.verify(before, row)
        before = row.mac
        details.append(chain.open_detail(row))
    assert (before, len(details)) == (head, length)
    assert details == [("acme", "KEY", "192.0.2.7")] * 3


async def test_every_start_begins_a_chain(tmp_path: Path, opened: Opener) -> None:
    """Each start has a chain of its own, and the older ones stay."""
    for _ in range(3):
        store = await opened(tmp_path)
        await put(store, Identity("KEY", f"org{_}"))
        await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db")) as reader:
        assert reader.execute("SELECT length FROM audit_chain").fetchall() == [(1,)] * 3
        assert len(set(reader.execute("SELECT salt FROM audit_chain"))) == 3


async def test_a_tick_tells_the_head_of_the_chain(store: SqliteStore, witness: sqlite3.Connection) -> None:
    """What the log keeps on each tick is enough to notice that rows were cut off later."""
    await put(store)
    kept = await store.tidy()
    ((head, length),) = witness.execute("SELECT head, length FROM audit_chain").fetchall()
    assert (kept["audit_head"], kept["audit_length"], kept["wal"]) == (head.hex(), length, "truncated")


# Slots.


async def test_slots_are_reused_and_never_deleted(store: SqliteStore, witness: sqlite3.Connection) -> None:
    """A thousand secrets one after another need one slot; a free slot holds zeros."""
    for n in range(50):
        await put(store, Identity(f"{n:064x}"))
        await store.claim(Identity(f"{n:064x}"), by=CALLER)
    assert witness.execute("SELECT id, free, salt FROM slot").fetchall() == [(1, 1, bytes(32))]


async def test_a_slot_that_is_wrongly_believed_to_be_free_is_left_alone(
    store: SqliteStore, witness: sqlite3.Connection
) -> None:
    """What is remembered of free slots may be of a unit that was undone; only the database knows."""
    await put(store, KEY)
    await put(store, DROP)
    await store.claim(DROP, by=CALLER)
    store._slots._free += [1, 77, 1]
    await put(store, Identity("6" * 64))
    assert (await store.claim(KEY, by=CALLER)).plaintext == VALUE
    assert [slot for (slot,) in witness.execute("SELECT id FROM slot ORDER BY id")] == [1, 2]


async def test_free_slots_of_an_earlier_run_are_found(tmp_path: Path, opened: Opener) -> None:
    """A start remembers none of them; the first create looks for them, and one that finds none appends."""
    store = await opened(tmp_path)
    for n in range(3):
        await put(store, Identity(f"{n:064x}"))
    for n in range(2):
        await store.claim(Identity(f"{n:064x}"), by=CALLER)
    await store.close()
    store = await opened(tmp_path)
    for n in range(3, 6):
        await put(store, Identity(f"{n:064x}"))
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db")) as reader:
        assert reader.execute("SELECT count(*), sum(free) FROM slot").fetchall() == [(4, 0)]


@pytest.mark.parametrize("way", ["burn", "delete", "prune", "expired key", "amend"])
async def test_every_way_to_go_erases_the_salt(
    store: SqliteStore, witness: sqlite3.Connection, clock: SetClock, way: str
) -> None:
    """Burning, deleting, pruning, taking over an expired key and amending leave no old salt in its slot."""
    await put(store, KEY, life=10, delete=way != "amend")
    ((old,),) = witness.execute("SELECT salt FROM slot").fetchall()
    if way == "burn":
        await store.claim(KEY, by=CALLER)
    elif way == "delete":
        await store.remove(KEY, by=CALLER)
    elif way == "amend":
        await amend(store, KEY, plaintext=Plaintext(b"new"))
    else:
        clock.at += 10
        if way == "prune":
            await store.prune(org=None, by=CALLER)
        else:
            await put(store, KEY)
    assert (old,) not in witness.execute("SELECT salt FROM slot").fetchall()


async def test_sealing_and_counting_keep_the_salt(store: SqliteStore, witness: sqlite3.Connection) -> None:
    """A read that does not burn leaves the record as it is."""
    await put(store, KEY, max_reads=1, delete=False)
    before = witness.execute("SELECT salt FROM slot").fetchall()
    await store.claim(KEY, by=CALLER)
    assert witness.execute("SELECT salt FROM slot").fetchall() == before


# Amendments and keys.


async def test_an_amendment_reseals_under_its_new_terms(store: SqliteStore, witness: sqlite3.Connection) -> None:
    """After an amendment the value opens, and nothing of the old sealed form is left in the row."""
    await put(store, KEY, delete=False)
    before = witness.execute("SELECT sealed, label FROM secret").fetchone()
    await amend(store, KEY)
    after = witness.execute("SELECT sealed, label FROM secret").fetchone()
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert (await store.claim(KEY, by=CALLER)).plaintext == VALUE


async def test_a_burning_secret_cannot_be_amended(store: SqliteStore) -> None:
    """`delete=true` secrets refuse amendments and stay as they are."""
    await put(store)
    with pytest.raises(NotAmendable):
        await amend(store, DROP)
    assert (await store.claim(DROP, by=CALLER)).plaintext == VALUE


async def test_two_puts_of_one_key_at_once_store_one(store: SqliteStore) -> None:
    """Of concurrent puts under one key exactly one succeeds."""
    outcomes = await asyncio.gather(*(put(store, KEY) for _ in range(8)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(KeyExists) == 7
    assert outcomes.count(None) == 1


async def test_prune_works_in_batches(store: SqliteStore, clock: SetClock) -> None:
    """A prune removes a bounded number at a time, and says 0 at the end; other orgs are left alone."""
    await asyncio.gather(*(put(store, Identity(f"k{n}", f"org{n % 2}"), life=1) for n in range(240)))
    clock.at += 1
    store._writer.last_short_at = -math.inf
    assert await store.prune(org="org0", by=CALLER) == 100
    assert await store.prune(org="org0", by=CALLER) == 20
    assert await store.prune(org="org0", by=CALLER) == 0
    assert await store.prune(org=None, by=CALLER) == 100


async def test_a_prune_beside_requests_takes_small_steps_and_rests(
    store: SqliteStore, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for something meanwhile waits for ten rows at most, and mostly for none."""
    rested: list[float] = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(module, "_QUIET_SECONDS", math.inf)
    await asyncio.gather(*(put(store, Identity(f"{n:064x}"), life=1) for n in range(25)))
    clock.at += 1
    assert [await store.prune(org=None, by=CALLER) for _ in range(4)] == [10, 10, 5, 0]
    assert len(rested) == 3
    assert all(0 < seconds <= 0.1 for seconds in rested)


async def test_a_prune_that_is_in_a_hurry_does_not_rest(
    store: SqliteStore, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it take small steps, whoever waits."""
    monkeypatch.setattr(module, "_QUIET_SECONDS", math.inf)
    monkeypatch.setattr(module, "_LONGEST_REST_SECONDS", math.inf)
    monkeypatch.setattr(module, "_RESTS", math.inf)
    await asyncio.gather(*(put(store, Identity(f"{n:064x}"), life=1) for n in range(25)))
    clock.at += 1
    assert [await store.prune(org=None, by=CALLER, gently=False) for _ in range(2)] == [25, 0]


async def test_a_prune_leaves_what_expires_while_it_goes_on(store: SqliteStore, clock: SetClock) -> None:
    """So it ends, however fast others expire."""
    for n in range(3):
        await put(store, Identity(f"{n:064x}"), life=1 + n)
    clock.at += 2
    assert await store.prune(org=None, by=CALLER, before=NOW + 1) == 1
    assert await store.prune(org=None, by=CALLER, before=NOW + 1) == 0


def steps_of_a_prune(*, expired: int) -> int:
    """Return how many hundreds of steps SQLite needs for one batch where so many secrets have expired."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations():
            connection.executescript(script)
        connection.execute("INSERT INTO slot (id, free, salt) VALUES (1, 0, zeroblob(32))")
        connection.executemany(
            """INSERT INTO secret (lookup, slot, created_at, expires_at, read_count, "delete", label, sealed)
            VALUES (randomblob(32), 1, 0, ?, 0, 1, x'00', x'00')""",
            [(number,) for number in range(expired)],
        )
        steps: list[None] = []
        connection.set_progress_handler(lambda: steps.append(None), 100)
        rows = connection.execute(
            statements.PRUNE.format(of_org=""), {"now": expired, "most": statements.PRUNE_BATCH}
        ).fetchall()
        assert len(rows) == statements.PRUNE_BATCH
        return len(steps)


def test_a_batch_of_a_prune_costs_the_same_however_many_expired() -> None:
    """It goes through what it removes, and not through all that there is to remove."""
    few, many = (steps_of_a_prune(expired=count * statements.PRUNE_BATCH) for count in (2, 20))
    assert many < 1.2 * few


async def test_pruned_space_is_returned(store: SqliteStore, clock: SetClock, tmp_path: Path) -> None:
    """After a prune and a tick the file is smaller."""
    large = Plaintext(b"x" * 100_000)
    await asyncio.gather(*(put(store, Identity(f"{n:064x}"), life=1, value=large) for n in range(100)))
    await store.tidy()
    full = (tmp_path / "sirrd.db").stat().st_size
    clock.at += 1
    assert 40 <= await store.prune(org=None, by=CALLER) <= 50, "a batch is bounded in bytes, too"
    while await store.prune(org=None, by=CALLER):
        pass
    await store.tidy()
    assert (tmp_path / "sirrd.db").stat().st_size < full / 2


# Opening and closing.


async def test_the_pragmas_took(store: SqliteStore) -> None:
    """Durability, zeroing and the place of temporary data read back as they were set."""
    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2, "auto_vacuum": 2}
    for name, value in expected.items():
        assert store._upkeep._writing.execute(f"PRAGMA {name}").fetchone() == (value,)
    assert store._upkeep._writing.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert store._upkeep._writing.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert store._upkeep._writing.execute("PRAGMA user_version").fetchone() == (len(migrations()),)


async def test_a_pragma_that_did_not_take_is_refused(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SQLite that ignores a pragma is refused at the start."""
    fast = tuple(each.replace("=ON", "=FAST") for each in connections._PRAGMAS)
    monkeypatch.setattr(connections, "_PRAGMAS", fast)
    with pytest.raises(BadFolder, match="secure_delete"):
        await opened(tmp_path)


async def test_the_reading_connection_cannot_write(store: SqliteStore) -> None:
    """Queries go through a connection that could not change anything if it wanted."""
    with pytest.raises(sqlite3.OperationalError):
        await store._queries._reading.execute("DELETE FROM secret")


async def test_a_reader_in_the_way_holds_up_the_checkpoint_and_nothing_else(
    store: SqliteStore, witness: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cursor open elsewhere the tick says so, writes go on, and the next tick truncates."""
    monkeypatch.setattr(upkeep, "_CHECKPOINT_TRIES", 2)
    await put(store, KEY)
    witness.execute("BEGIN")
    witness.execute("SELECT count(*) FROM secret").fetchall()
    await put(store)
    tidying = asyncio.ensure_future(store.tidy())
    assert (await store.claim(DROP, by=CALLER)).plaintext == VALUE
    assert (await tidying)["wal"] == "held by a reader"
    witness.execute("COMMIT")
    assert (await store.tidy())["wal"] == "truncated"


async def test_a_tick_empties_the_wal_even_where_no_space_can_be_returned(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: what fails before it must not keep the checkpoint from running."""

    def fail(_: sqlite3.Connection) -> int:
        raise sqlite3.OperationalError("injected")

    await put(store)
    await store.claim(DROP, by=CALLER)
    monkeypatch.setattr(upkeep, "free_pages", fail)
    with pytest.raises(Unavailable):
        await store.tidy()
    assert (tmp_path / "sirrd.db-wal").stat().st_size == 0


async def test_not_ready_while_writes_fail(store: SqliteStore) -> None:
    """Readiness is found by a real write: a database that lets nothing through is not ready, and then is again."""
    store._upkeep._writing.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE else sqlite3.SQLITE_OK
    )
    with pytest.raises(Unavailable):
        await put(store)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await store.check()
    store._upkeep._writing.set_authorizer(None)
    await store.check()
    await put(store)


async def test_what_proves_readiness_is_written_and_changes_nothing(
    store: SqliteStore, witness: sqlite3.Connection, tmp_path: Path
) -> None:
    """The write that tells whether writing works again reaches the WAL, and leaves every row as it was."""
    await put(store)
    await store.tidy()
    before = witness.execute("SELECT * FROM audit_chain").fetchall()
    store._writer.health.write_failed()
    await store.check()
    assert not store._writer.health.failing
    assert (tmp_path / "sirrd.db-wal").stat().st_size > 0
    assert witness.execute("SELECT * FROM audit_chain").fetchall() == before


def injected(code: int) -> sqlite3.OperationalError:
    """Return an error as SQLite would raise it."""
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


async def test_after_a_failed_sync_a_checkpoint_comes_before_the_next_transaction(
    store: SqliteStore, tmp_path: Path
) -> None:
    """After an I/O error all that counts is brought to the database first; a full disk leaves nothing in doubt."""
    wal, health = tmp_path / "sirrd.db-wal", store._writer.health
    await put(store, KEY, value=Plaintext(b"x" * 200_000))
    health.write_failed(injected(sqlite3.SQLITE_FULL))
    assert not health.in_doubt
    health.write_failed(injected(sqlite3.SQLITE_IOERR_FSYNC))
    assert health.in_doubt
    assert wal.stat().st_size > 200_000
    await put(store)
    assert (health.in_doubt, health.failing) == (False, False)
    assert 0 < wal.stat().st_size < 200_000


async def test_a_start_writes_back_what_a_crash_left(tmp_path: Path, opened: Opener) -> None:
    """What stands in a WAL at the start may not be on the disk: it is moved and synced before anything is answered."""
    (tmp_path / "first").mkdir()
    first = await opened(tmp_path / "first")
    await put(first)
    await put(first, KEY, value=Plaintext(b"x" * 50_000))
    crashed = tmp_path / "second"
    shutil.copytree(tmp_path / "first", crashed)
    assert (crashed / "sirrd.db-wal").stat().st_size > 50_000
    second = await opened(crashed)
    # What stands there now is the beginning of this start's chain.
    assert (crashed / "sirrd.db-wal").stat().st_size < 10_000
    assert (await second.claim(DROP, by=CALLER)).plaintext == VALUE


async def test_a_miss_does_not_make_ready(store: SqliteStore) -> None:
    """Readiness that was lost by a failed write comes back by one that succeeds, not by a batch that wrote nothing."""
    store._upkeep._writing.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE else sqlite3.SQLITE_OK
    )
    with pytest.raises(Unavailable):
        await put(store)
    store._upkeep._writing.set_authorizer(
        lambda action, table, *_: (
            sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE and table == "audit_chain" else sqlite3.SQLITE_OK
        )
    )
    with pytest.raises(Gone):
        await store.claim(DROP, by=CALLER)
    with pytest.raises(Unavailable):
        await store.check()


async def test_expired_long_values_make_way_off_the_event_loop(store: SqliteStore, clock: SetClock) -> None:
    """A key whose expired value is long is free again, too, and its row is removed on the thread."""
    await put(store, KEY, life=1, value=Plaintext(b"x" * 200_000))
    clock.at += 1
    await put(store, KEY)
    assert (await store.claim(KEY, by=CALLER)).plaintext == VALUE


async def test_what_waits_at_the_end_is_written_before_the_last_checkpoint(tmp_path: Path, opened: Opener) -> None:
    """Closing finishes what was accepted, and only then empties the WAL."""
    store = await opened(tmp_path)
    waiting = [asyncio.ensure_future(put(store, Identity(f"{n:064x}"))) for n in range(300)]
    await asyncio.sleep(0)
    held = sqlite3.connect(tmp_path / "sirrd.db")
    held.execute("SELECT count(*) FROM secret").fetchall()
    await store.close()
    await asyncio.gather(*waiting)
    assert (tmp_path / "sirrd.db-wal").stat().st_size == 0
    held.close()


async def test_a_start_that_a_reader_hinders_is_in_doubt(tmp_path: Path, opened: Opener) -> None:
    """What a crash left in the WAL is not built upon before it stands in the database."""
    crashed = await opened(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM secret").fetchall()
        await put(crashed)
        await crashed._queries.close()
        await crashed._writer.close()
        crashed._upkeep._writing.close()
        assert (tmp_path / "sirrd.db-wal").stat().st_size
        store = await opened(tmp_path)
        with pytest.raises(Unavailable):
            await store.claim(DROP, by=CALLER)
        reader.execute("COMMIT")
        assert (await store.claim(DROP, by=CALLER)).plaintext == VALUE
        await store.check()


async def test_free_space_that_cannot_be_measured_is_unavailable(store: SqliteStore, tmp_path: Path) -> None:
    """Where the data folder is gone, storing is refused as what it is: the storage fails."""
    store._upkeep._path = tmp_path / "elsewhere" / "sirrd.db"
    store._upkeep._measured_at = 0.0
    with pytest.raises(Unavailable):
        store.has_room()


async def test_a_key_that_does_not_belong_is_refused_and_nothing_touched(tmp_path: Path, opened: Opener) -> None:
    """A wrong master key is an error before a byte of the database changes."""
    store = await opened(tmp_path)
    await put(store)
    await store.close()
    before = (tmp_path / "sirrd.db").read_bytes()
    with pytest.raises(WrongKey):
        await opened(tmp_path, masters=masters("ab" * 32))
    assert (tmp_path / "sirrd.db").read_bytes() == before


async def test_a_new_first_key_is_known_before_a_row_uses_it(tmp_path: Path, opened: Opener) -> None:
    """With a second key in front, old rows open, new ones are sealed by it, and both keys are needed from then on."""
    store = await opened(tmp_path)
    await put(store, DROP)
    await store.close()
    store = await opened(tmp_path, masters=masters("ab" * 32, MASTER_KEY))
    await put(store, KEY)
    await store.close()
    for alone in ("ab" * 32, MASTER_KEY):
        with pytest.raises(WrongKey):
            await opened(tmp_path, masters=masters(alone))
    store = await opened(tmp_path, masters=masters(MASTER_KEY, "ab" * 32))
    assert (await store.claim(DROP, by=CALLER)).plaintext == VALUE
    assert (await store.claim(KEY, by=CALLER)).plaintext == VALUE


async def test_a_file_that_cannot_be_opened_is_a_start_up_error(tmp_path: Path, opened: Opener) -> None:
    """What the system refuses is told with its reason and a hint, and leaves nothing open."""
    with pytest.raises(BadFolder, match="No such file or directory") as found:
        await opened(tmp_path / "nowhere")
    assert found.value.hint is not None


async def test_a_database_of_a_newer_release_is_refused(tmp_path: Path, opened: Opener) -> None:
    """A schema that this release does not know is left alone, with a hint."""
    await (await opened(tmp_path)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db", isolation_level=None)) as other:
        other.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    with pytest.raises(BadFolder, match="newer release"):
        await opened(tmp_path)


async def test_a_migration_that_was_interrupted_is_done_again(tmp_path: Path, opened: Opener) -> None:
    """A file in which the first migration did not commit is a new database."""
    with contextlib.closing(sqlite3.connect(tmp_path / "sirrd.db", isolation_level=None)) as half:
        half.execute("PRAGMA auto_vacuum=INCREMENTAL")
        half.execute("PRAGMA journal_mode=WAL")
    assert (tmp_path / "sirrd.db").stat().st_size > 0
    store = await opened(tmp_path)
    await put(store)
    assert (await store.claim(DROP, by=CALLER)).plaintext == VALUE


async def test_closed_means_unavailable(store: SqliteStore) -> None:
    """After closing, everything is refused, and nothing hangs."""
    await put(store)
    await store.close()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: put(store, KEY),
        lambda: store.claim(DROP, by=CALLER),
        lambda: store.peek(DROP),
        store.check,
    ]
    for refused in calls:
        with pytest.raises(Unavailable):
            await refused()


async def test_time_is_taken_inside_the_unit(store: SqliteStore, clock: SetClock) -> None:
    """A claim that waited past the end of a life finds nothing."""
    await put(store, life=10)
    waiting = asyncio.ensure_future(store.claim(DROP, by=CALLER))
    clock.at = NOW + 10
    with pytest.raises(Gone):
        await waiting


@pytest.mark.parametrize(
    ("max_reads", "delete", "meanwhile"),
    [
        (1, True, "UPDATE secret SET read_count = 1"),
        (3, True, "UPDATE secret SET read_count = 2"),
        (1, False, "UPDATE secret SET read_count = 1"),
        (None, True, "DELETE FROM secret"),
        (1, True, "UPDATE secret SET expires_at = 1"),
        (2, True, "UPDATE secret SET lookup = zeroblob(32)"),
    ],
)
async def test_i1_the_claim_repeats_its_whole_condition(
    store: SqliteStore,
    witness: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    max_reads: int | None,
    delete: bool,
    meanwhile: str,
) -> None:
    """I1: were a row to change between look and claim, which the lock forbids, no value would leave."""
    await put(store, max_reads=max_reads, delete=delete)
    open_value = Keyring.open_value

    def interfering(keyring: Keyring, record: SealedRecord) -> Plaintext:
        store._upkeep._writing.execute(meanwhile)
        return open_value(keyring, record)

    monkeypatch.setattr(Keyring, "open_value", interfering)
    with pytest.raises(Unavailable):
        await store.claim(DROP, by=CALLER)
    assert audited(witness) == [("created", "bearer", 1)]
    assert witness.execute("SELECT read_count FROM secret").fetchall() == [(0,)]


@pytest.mark.parametrize(("min_free_bytes", "pages"), [(0, 1000), (32 << 20, 2048), (256 << 20, 16_000)])
async def test_the_wal_stays_within_what_is_kept_free(tmp_path: Path, min_free_bytes: int, pages: int) -> None:
    """It is written back at a quarter of that, at 4 MB at the least and at 64 MB at the most."""
    opened = await SqliteStore.open(
        tmp_path / "sirrd.db", masters=masters(MASTER_KEY), clock=SetClock(), min_free_bytes=min_free_bytes
    )
    try:
        assert opened._upkeep._writing.execute("PRAGMA wal_autocheckpoint").fetchall() == [(pages,)]
    finally:
        await opened.close()


# Look-ups that share a read transaction.


async def test_look_ups_of_one_turn_share_a_transaction_that_ends_with_it(store: SqliteStore) -> None:
    """However many there are, it is begun once, and no turn of the event loop finds it open."""
    await put(store)
    begun: list[str] = []
    store._queries._looking_up.set_trace_callback(begun.append)
    await asyncio.gather(*(store.peek(DROP) for _ in range(20)))
    await asyncio.sleep(0)
    assert [text for text in begun if not text.lstrip().startswith("SELECT")] == ["BEGIN", "ROLLBACK"]
    assert not store._queries._looking_up.in_transaction


async def test_look_ups_beside_a_writer_share_nothing(store: SqliteStore) -> None:
    """A checkpoint must not meet a reader that lasts longer than its query."""
    await put(store)
    putting = asyncio.ensure_future(put(store, KEY))
    await asyncio.sleep(0)
    assert not store._writer.rests()
    await store.peek(DROP)
    assert not store._queries._looking_up.in_transaction
    await putting


async def test_a_look_up_sees_what_was_acknowledged(store: SqliteStore) -> None:
    """Whoever was told that a secret burned finds it gone, whatever other look-ups are under way."""
    asked: list[asyncio.Task[Metadata]] = []

    async def keep_asking() -> None:
        while True:
            asked.append(asyncio.ensure_future(store.peek(KEY)))
            await asyncio.sleep(0)

    await put(store, KEY, max_reads=None)
    asking = asyncio.ensure_future(keep_asking())
    for n in range(50):
        identity = Identity(f"{n:064x}")
        await put(store, identity)
        assert (await store.peek(identity)).read_count == 0
        await store.claim(identity, by=CALLER)
        with pytest.raises(Gone):
            await store.peek(identity)
    asking.cancel()
    assert {metadata.read_count for metadata in await asyncio.gather(*asked)} == {0}
