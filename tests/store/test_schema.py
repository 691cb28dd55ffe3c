"""A database is what the migrations make: whatever else somebody put into it is refused before anything is believed."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sirrd.errors import BadFolder, BadSchema, Gone, SirrdError, Unavailable
from sirrd.model import UNSET, Amendment, Caller, Identity, Plaintext, Terms
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.backup import backup
from sirrd.store.sqlite.connections import check_keys
from sirrd.store.sqlite.folder import DATABASE, DataFolder
from sirrd.store.sqlite.migrate import migrations
from sirrd.store.sqlite.restore import restore
from sirrd.store.sqlite.slots import SALTS
from sirrd.store.sqlite.store import SqliteStore
from sirrd.store.sqlite.verify import verify_burn
from tests.conftest import MASTER_KEY, NOW, Opener, SetClock, masters
from tests.parts import sirrd
from tests.tampering import SNEAKY, TAMPERINGS, empty_database, tamper

NEWEST = len(migrations())
BY = Caller("open", "192.0.2.1")
DROP = Identity.drop("ab" * 32)


def lasting(*, ttl: int | None = None, max_reads: int | None = None, delete: bool = True) -> Callable[[int], Terms]:
    """Return what turns the store's time into terms."""
    return lambda now: Terms(now, None if ttl is None else now + ttl, max_reads, delete)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder with their bytes, but for the lock, which whoever looks takes."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "sirrd.lock"}


@pytest.fixture
async def database(tmp_path: Path, opened: Opener) -> Path:
    """A database with secrets, one of them gone, that nobody has open."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    store = await opened(folder)
    await store.put(DROP, Plaintext.of("s3cret"), lasting(max_reads=1), by=BY)
    await store.put(Identity.in_org("acme", "KEY"), Plaintext.of("s3cret"), lasting(ttl=60), by=BY)
    await store.put(Identity.drop("cd" * 32), Plaintext.of("s3cret"), lasting(max_reads=1), by=BY)
    await store.claim(Identity.drop("cd" * 32), by=BY)
    await store.close()
    return folder / DATABASE


async def opening(database: Path) -> None:
    """Open it as the daemon does."""
    store = await SqliteStore.open(database, masters=masters(), clock=SetClock())
    await store.close()


async def checking(database: Path) -> None:
    """Look whether the keys are its own."""
    check_keys(database, masters())


async def backing_up(database: Path) -> None:
    """Copy it."""
    backup(database, database.parent.parent / "copy.db")


async def verifying(database: Path) -> None:
    """Ask whether a secret is gone."""
    verify_burn(database.parent, database, DROP, masters=masters())


async def restoring(database: Path) -> None:
    """Put it, as a backup, into another folder."""
    folder = DataFolder(database.parent.parent / "other")
    try:
        await restore(database, folder, masters=masters(), clock=SetClock(), replace=False, burn=False)
    finally:
        assert not folder.database.exists()


USES: list[Callable[[Path], Awaitable[None]]] = [opening, checking, backing_up, verifying, restoring]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", TAMPERINGS)
async def test_a_schema_that_no_migration_made_is_refused(
    name: str, use: Callable[[Path], Awaitable[None]], database: Path
) -> None:
    """Whatever was changed, and however the file is used: it is refused, untouched, and no foreign name is repeated."""
    tamper(database, TAMPERINGS[name])
    before = files_of(database.parent)
    with pytest.raises(SirrdError) as refused:
        await use(database)
    assert files_of(database.parent) == before
    assert not (database.parent.parent / "copy.db").exists()
    assert refused.value.hint
    assert SNEAKY not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a trigger that keeps what is deleted", "somebody has added a trigger"),
        ("a view", "somebody has added a view"),
        ("a trigger of a name of ours", "somebody has added a trigger"),
        ("a view in the place of a table", "the index slot_free is another"),
        ("no index", "the index secret_bare is missing"),
        ("another condition", "the table slot is another"),
        ("no vacuum", "its auto_vacuum is another"),
    ],
)
async def test_the_first_difference_is_named(name: str, said: str, database: Path) -> None:
    """What is said names what is ours, and only the kind of what is not."""
    tamper(database, TAMPERINGS[name])
    with pytest.raises(BadSchema, match=said):
        await opening(database)


@pytest.mark.parametrize(
    "name", ["a trigger that keeps what is deleted", "a view in the place of a table", "no STRICT"]
)
async def test_the_daemon_does_not_start_on_it(name: str, database: Path, tmp_path: Path) -> None:
    """`serve`, and every command over the folder or a backup, ends with 3 and says what to do."""
    tamper(database, TAMPERINGS[name])
    before = files_of(database.parent)
    key = {"SIRR_MASTER_ENCRYPTION_KEY": MASTER_KEY}
    shutil.copy(database, tmp_path / "copy.db")
    for command in (["serve"], ["prune"], ["backup", "new.db"], ["verify-burn"], ["restore", "copy.db", "--replace"]):
        done = sirrd(tmp_path, *command, given="ab" * 32, **key)
        assert done.returncode == 3, (command, done.stderr)
        assert "not as sirrd makes it" in done.stderr
        assert "put a backup of before in its place" in done.stderr
    assert files_of(database.parent) == before


@pytest.mark.parametrize("version", range(1, NEWEST))
async def test_an_older_schema_is_compared_before_it_is_migrated(version: int, tmp_path: Path) -> None:
    """A file of an older release that somebody changed is refused as it is; one that nobody changed is migrated."""
    empty_database(tmp_path / "old.db", version=version)
    shutil.copy(tmp_path / "old.db", tmp_path / "changed.db")
    tamper(tmp_path / "changed.db", TAMPERINGS["a trigger that keeps salts"])
    before = (tmp_path / "changed.db").read_bytes()
    with pytest.raises(BadSchema):
        await opening(tmp_path / "changed.db")
    assert (tmp_path / "changed.db").read_bytes() == before
    await opening(tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (NEWEST,)


@pytest.mark.parametrize("version", [0, NEWEST])
async def test_another_encoding_is_refused(version: int, tmp_path: Path) -> None:
    """Text in UTF-16 would be compared and measured in another way; an empty file of that kind is refused, too."""
    empty_database(tmp_path / DATABASE, version=version, encoding="UTF-16le")
    if not version:
        tamper(tmp_path / DATABASE, "PRAGMA encoding='UTF-16le'; CREATE TABLE x (y); DROP TABLE x;")
    with pytest.raises(BadSchema, match="encoding"):
        await opening(tmp_path / DATABASE)


async def test_statistics_and_page_size_do_no_harm(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who ran ANALYZE, or a VACUUM, broke nothing: statistics are dropped at the next start, and it is said."""
    tamper(database, "ANALYZE; PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM;")
    await checking(database)
    await backing_up(database)
    with caplog.at_level(logging.WARNING):
        await opening(database)
    assert "ANALYZE" in caplog.text
    with closing(sqlite3.connect(database)) as connection:
        named = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        assert connection.execute("PRAGMA page_size").fetchone() == (8192,)
    assert not [name for name in named if name.startswith("sqlite_stat")]


async def test_the_wal_of_another_database_is_refused(tmp_path: Path, database: Path, opened: Opener) -> None:
    """A WAL that was left behind, or laid beside, is not made part of a database that it would damage."""
    (tmp_path / "other").mkdir()
    other = await opened(tmp_path / "other")
    for number in range(200):
        await other.put(Identity.drop(f"{number:064x}"), Plaintext.of("x" * 2000), lasting(max_reads=1), by=BY)
    shutil.copy(tmp_path / "other" / "sirrd.db-wal", database.with_name("sirrd.db-wal"))
    before = {name: data for name, data in files_of(database.parent).items() if not name.endswith("-shm")}
    with pytest.raises(BadFolder, match="the WAL beside it is another database's"):
        await opening(database)
    after = {name: data for name, data in files_of(database.parent).items() if not name.endswith("-shm")}
    assert after == before
    database.with_name("sirrd.db-wal").unlink()
    await opening(database)


@pytest.fixture
def meddler(store: SqliteStore, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who has the file open beside the daemon."""
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize(
    "trigger",
    [
        "BEFORE DELETE ON secret BEGIN SELECT RAISE(IGNORE); END",
        """AFTER DELETE ON secret BEGIN INSERT INTO secret SELECT
            OLD.seq, OLD.lookup, OLD.bare, OLD.org, OLD.slot, OLD.created_at, OLD.expires_at, OLD.max_reads, 0,
            OLD."delete", OLD.label, OLD.sealed, OLD.lock; END""",
        "BEFORE UPDATE ON slot BEGIN SELECT RAISE(IGNORE); END",
        "AFTER UPDATE ON slot WHEN NEW.free BEGIN UPDATE slot SET salt = OLD.salt WHERE id = NEW.id; END",
    ],
)
async def test_i1_a_trigger_that_comes_while_the_daemon_runs_gives_nobody_a_second_read(
    trigger: str, store: SqliteStore, meddler: sqlite3.Connection
) -> None:
    """I1: beside a running daemon a trigger makes reads fail at most; nothing is read twice, nor its salt kept."""
    await store.put(DROP, Plaintext.of("s3cret"), lasting(max_reads=1), by=BY)
    meddler.execute(f"CREATE TRIGGER {SNEAKY} {trigger}")
    read = 0
    for _ in range(4):
        try:
            await store.claim(DROP, by=BY)
        except (Unavailable, Gone):
            continue
        read += 1
    meddler.execute(f"DROP TRIGGER {SNEAKY}")
    try:
        await store.claim(DROP, by=BY)
        read += 1
    except Gone:
        pass
    assert read == 1
    assert meddler.execute("SELECT count(*) FROM secret").fetchone() == (0,)
    assert meddler.execute("SELECT salt FROM slot").fetchall() == [(bytes(32),)]


def _none(statement: str) -> str:
    """Return a statement that finds no row to change."""
    head, where, rest = statement.rpartition("WHERE seq IN" if "seq IN" in statement else "WHERE")
    return f"{head}WHERE 0 AND {where.removeprefix('WHERE')}{rest}"


LOCKLESS = Amendment(Plaintext.of("new"), UNSET, UNSET)
KEPT = Identity.in_org("acme", "KEPT")
MISCOUNTED: dict[str, tuple[str, Callable[[SqliteStore], Awaitable[Any]]]] = {
    "a read is not counted": ("COUNT", lambda store: store.claim(KEPT, by=BY)),
    "a burn deletes nothing": ("BURN", lambda store: store.claim(DROP, by=BY)),
    "a burn leaves the salt": ("ERASE", lambda store: store.claim(DROP, by=BY)),
    "a delete leaves the salt": ("ERASE", lambda store: store.remove(KEPT, by=BY)),
    "a prune leaves the salts": ("ERASE", lambda store: store.prune(org=None, by=BY, before=2 * NOW)),
    "a prune deletes nothing": ("PRUNE", lambda store: store.prune(org=None, by=BY, before=2 * NOW)),
    "a restore burns nothing": ("LIMITED", lambda store: store.burn_limited(after=0, by=BY)),
    "an amendment keeps the salt": ("RESALT", lambda store: store.amend(KEPT, LOCKLESS, lambda old, _: old, by=BY)),
    "an amendment changes nothing": ("AMEND", lambda store: store.amend(KEPT, LOCKLESS, lambda old, _: old, by=BY)),
    "an audit chain stays as it was": ("CHAIN", lambda store: store.claim(DROP, by=BY)),
}


@pytest.mark.parametrize("case", MISCOUNTED)
async def test_a_statement_that_does_not_change_what_it_must_is_undone(
    case: str,
    store: SqliteStore,
    meddler: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every erase, delete and update is counted: where a row was not changed, nothing of the unit is, loudly."""
    name, act = MISCOUNTED[case]
    await store.put(DROP, Plaintext.of("s3cret"), lasting(max_reads=1, ttl=60), by=BY)
    await store.put(KEPT, Plaintext.of("s3cret"), lasting(max_reads=3, delete=False), by=BY)
    before = list(meddler.iterdump())
    if name == "ERASE":
        monkeypatch.setattr(store._slots, "_table", SALTS._replace(erase=_none(SALTS.erase)))
    else:
        monkeypatch.setattr(statements, name, _none(getattr(statements, name)))
    with pytest.raises(Unavailable):
        await act(store)
    assert "MISCOUNTED" in caplog.text
    assert list(meddler.iterdump()) == before
    monkeypatch.undo()
    await act(store)


async def test_a_record_whose_slot_is_missing_keeps_no_other_from_going(
    store: SqliteStore, meddler: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """What lost its slot has no salt left to erase: it goes, loudly, and a prune goes on."""
    for number in range(3):
        await store.put(Identity.drop(f"{number:064x}"), Plaintext.of("x"), lasting(ttl=60), by=BY)
    meddler.execute("DELETE FROM slot WHERE id = 2")
    assert await store.prune(org=None, by=Caller("daemon"), before=2 * NOW) == 3
    assert "DAMAGED" in caplog.text
    assert meddler.execute("SELECT salt FROM slot").fetchall() == [(bytes(32),)] * 2
