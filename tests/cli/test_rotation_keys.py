"""`sirrd rotate-key` and the keys themselves: which are made, which stay, and whose they have to be."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from pydantic import SecretStr

from sirrd.cli import rotate
from sirrd.clock import SystemClock
from sirrd.config.settings import Settings
from sirrd.errors import BadSetting, FolderInUse, SirrdError, Unavailable, Unreadable, WrongKey
from sirrd.keyring.forms import key_id_of
from sirrd.keyring.keyfile import mark_in, with_first
from sirrd.keyring.masters import MasterKey, parse_master_keys
from sirrd.store.sqlite.folder import DataFolder
from sirrd.store.sqlite.needs import needs_of
from sirrd.store.sqlite.rotation import SqliteRotation
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import API_KEY, MASTER_KEY, Launch, Opener, masters
from tests.crash.keys import begin_rotation
from tests.crash.steps import MOMENTS, OF_THE_FILE
from tests.parts import ROOT, ask, put, settings_of, sirrd
from tests.store.test_rotation import CALLER, NEWER_KEY, fill

OLDEST_KEY = "01" * 32
OTHER_KEY = "02" * 32
BEARER = {"SIRR_MASTER_API_KEY": API_KEY}


def keys_in(folder: Path) -> list[str]:
    """Return the keys in the key file."""
    return [key.hex for key in parse_master_keys((folder / "master.key").read_text())]


def id_of(key: str) -> bytes:
    return MasterKey.of(bytes.fromhex(key)).id


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what stands in the files that a rotation could change."""
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.name in {"master.key", "sirrd.db"}}


def run(folder: Path, *, begin: rotate.Begin = begin_rotation, key: str | None = None) -> list[str]:
    """Run the command's code and return what it said."""
    said: list[str] = []
    given = None if key is None else SecretStr(key)
    settings = Settings(
        data_dir=folder, master_api_key=SecretStr(API_KEY), master_encryption_key=given, min_free_bytes=0
    )
    with mock.patch.object(rotate, "_PAUSE_SECONDS", 0.01):
        rotate.rotate(settings, begin=begin, say=said.append)
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a few secrets, and with an older key behind the one that they are under."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)

    async def make() -> None:
        store = await SqliteStore.open(data / "sirrd.db", masters=masters(), clock=SystemClock())
        await fill(store, 5)
        await store.close()

    asyncio.run(make())
    (data / "master.key").write_text(f"{MASTER_KEY}\n{OLDEST_KEY}  # for the backup of April\n")
    return data


def records_are_under(folder: Path) -> set[bytes]:
    with contextlib.closing(sqlite3.connect(folder / "sirrd.db")) as reader:
        return {key_id_of(part) for row in reader.execute("SELECT label, sealed FROM secret") for part in row}


# What is made, and what stays.


def test_a_run_makes_a_key_whatever_stands_behind_the_first(folder: Path) -> None:
    """An older key that is kept is no sign of a run that was cut short: a new key is made, and the older one stays."""
    for _ in range(2):
        before = keys_in(folder)
        said = run(folder)
        new, oldest = keys_in(folder)
        assert (new in before, oldest) == (False, OLDEST_KEY)
        assert records_are_under(folder) == {id_of(new)}
        assert "a new key stands first in the key file" in said
        assert "1 older key stays in the key file, behind the new one" in said
    assert (folder / "master.key").read_text() == f"{new}\n{OLDEST_KEY}  # for the backup of April\n"


def test_beside_a_daemon_a_run_makes_a_key_whatever_stands_behind_the_first(folder: Path, launch: Launch) -> None:
    """The same while a daemon holds the folder."""
    with launch(**BEARER) as daemon:
        path = put(daemon.address(), bearer=API_KEY)
        found = sirrd(folder.parent, "rotate-key", **BEARER)
        assert (found.returncode, found.stdout) == (0, "every record is under the newest key\n"), found.stderr
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"
        assert daemon.stop() == 0
    new, oldest = keys_in(folder)
    assert (new == MASTER_KEY, oldest) == (False, OLDEST_KEY)
    assert records_are_under(folder) == {id_of(new)}


def test_comments_survive_and_the_mark_does_not(folder: Path) -> None:
    """What the operator wrote into the key file stays, to the letter; the mark goes with the end of the run."""
    (folder / "master.key").write_text(f"# by Ada\r\n{MASTER_KEY}, {OLDEST_KEY} # two\r\n\r\n# end")
    run(folder)
    new, _ = keys_in(folder)
    assert (folder / "master.key").read_bytes() == f"# by Ada\r\n{new}\r\n{OLDEST_KEY} # two\r\n\r\n# end".encode()


@pytest.mark.parametrize("text", [f"{MASTER_KEY}\n{MASTER_KEY.upper()}\n", "", "# none\n", "abc\n", f"{OTHER_KEY}\n"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_key_file_of_no_use_changes_nothing(folder: Path, launch: Launch, text: str, beside: bool) -> None:
    """A key that stands there twice, no key, what is no key, or another database's key: refused, nothing touched."""
    with contextlib.ExitStack() as stack:
        if beside:
            stack.enter_context(launch(**BEARER))
        (folder / "master.key").write_text(text)
        before = files_of(folder)
        with pytest.raises((BadSetting, WrongKey)):
            run(folder)
        assert files_of(folder) == before


@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_without_a_database_has_nothing_to_rotate(tmp_path: Path, empty: bool) -> None:
    """A mistyped folder is neither made nor filled with a key, and nothing is said to be rotated."""
    if empty:
        (tmp_path / "data").mkdir()
    found = sirrd(tmp_path, "rotate-key")
    assert (found.returncode, found.stdout) == (3, "")
    assert "no database" in found.stderr
    assert (tmp_path / "data").exists() == empty
    assert not empty or not list((tmp_path / "data").iterdir())


def test_a_damaged_record_ends_a_run_and_does_not_stop_the_next(folder: Path) -> None:
    """What does not open keeps its key; the run says so and is over, so that the next one makes a key of its own."""
    with contextlib.closing(sqlite3.connect(folder / "sirrd.db", isolation_level=None)) as other:
        other.execute("UPDATE secret SET sealed = CAST(sealed || x'00' AS BLOB) WHERE seq = 5")
    seen = {MASTER_KEY}
    for _ in range(2):
        with pytest.raises(Unreadable):
            run(folder)
        assert mark_in((folder / "master.key").read_text()) is None
        new, *others = keys_in(folder)
        assert new not in seen
        assert {MASTER_KEY, OLDEST_KEY} <= set(others)
        seen.add(new)
    with contextlib.closing(sqlite3.connect(folder / "sirrd.db", isolation_level=None)) as other:
        other.execute("DELETE FROM secret WHERE seq = 5")
    run(folder)
    assert {MASTER_KEY, OLDEST_KEY} < set(keys_in(folder))
    assert needs_of(folder / "sirrd.db").every == {id_of(keys_in(folder)[0])}


async def test_a_value_under_another_key_than_its_name_keeps_that_key(folder: Path, opened: Opener) -> None:
    """Both halves of a record are asked: a key that the value alone needs is neither forgotten nor taken out."""
    with contextlib.closing(sqlite3.connect(folder / "sirrd.db", isolation_level=None)) as other:
        before = other.execute("SELECT sealed FROM secret WHERE seq = 3").fetchone()[0]
        store = await opened(folder, masters=masters(NEWER_KEY, MASTER_KEY))
        after: int | None = 0
        while after is not None:
            after = await store.rotation.move(after=after, by=CALLER)
        await store.close()
        other.execute("UPDATE secret SET sealed = ? WHERE seq = 3", (before,))
    store = await opened(folder, masters=masters(NEWER_KEY, MASTER_KEY))
    assert await store.rotation.remaining() == 1
    with pytest.raises(Unavailable):
        await store.rotation.forget_older_keys()
    assert await store.rotation.has_older_keys()
    await store.close()
    assert needs_of(folder / "sirrd.db").every == {id_of(NEWER_KEY), id_of(MASTER_KEY)}


async def test_keys_are_not_forgotten_on_the_word_of_an_older_look(folder: Path, opened: Opener) -> None:
    """Two rotations at once: where another key comes first between the look and the forgetting, all keys stay."""
    store = await opened(folder)
    await store.rotation.adopt(masters(NEWER_KEY, MASTER_KEY))
    after: int | None = 0
    while after is not None:
        after = await store.rotation.move(after=after, by=CALLER)
    look = SqliteRotation.remaining

    async def adopt_after_looking(self: SqliteRotation) -> int:
        found = await look(self)
        await self.adopt(masters(OTHER_KEY, NEWER_KEY, MASTER_KEY))
        return found

    with mock.patch.object(SqliteRotation, "remaining", adopt_after_looking), pytest.raises(Unavailable):
        await store.rotation.forget_older_keys()
    assert needs_of(folder / "sirrd.db").noted == {id_of(key) for key in (OTHER_KEY, NEWER_KEY, MASTER_KEY)}
    assert not store._writer.health.failing


# Backups.


def test_a_restored_backup_gets_all_its_keys(folder: Path, launch: Launch) -> None:
    """A backup of before a rotation is restored with its key behind; a run then makes a key, and drops that of now."""
    backup = folder.parent / "april"
    assert sirrd(folder.parent, "backup", str(backup)).returncode == 0
    run(folder)
    second = keys_in(folder)[0]
    (folder / "master.key").write_text(f"{second}\n{MASTER_KEY}\n")
    assert sirrd(folder.parent, "restore", str(backup), "--replace").returncode == 0
    said = run(folder)
    new, kept = keys_in(folder)
    assert kept == MASTER_KEY
    assert new not in {second, MASTER_KEY}
    assert "5 records to move" in said
    assert records_are_under(folder) == needs_of(folder / "sirrd.db").every == {id_of(new)}


def test_a_backup_whose_key_is_gone_is_refused_before_anything_changes(folder: Path) -> None:
    """An older database in the place of the new one, and its key nowhere: refused, and no key is made."""
    old = (folder / "sirrd.db").read_bytes()
    run(folder)
    (folder / "master.key").write_text(keys_in(folder)[0])
    (folder / "sirrd.db").write_bytes(old)
    before = files_of(folder)
    with pytest.raises(WrongKey):
        run(folder)
    assert files_of(folder) == before


def test_a_mark_of_another_time_goes_on_with_the_database_of_now(folder: Path) -> None:
    """A key file with a mark, beside an older database: what is under whatever key moves to the marked one."""
    new = MasterKey.of(bytes.fromhex(NEWER_KEY))
    (folder / "master.key").write_text(with_first(f"{OTHER_KEY}\n{MASTER_KEY}\n", new, old=id_of(OTHER_KEY)))
    said = run(folder)
    assert keys_in(folder) == [NEWER_KEY, MASTER_KEY]
    assert records_are_under(folder) == {new.id}
    assert said[0].startswith("going on with a rotation that was cut short")
    assert "run the command again for another new key" in said[-1]


def test_a_mark_beside_a_database_of_others_changes_nothing(folder: Path) -> None:
    """A key file with a mark whose keys do not open the database is refused."""
    new = MasterKey.of(bytes.fromhex(NEWER_KEY))
    (folder / "master.key").write_text(with_first(f"{OTHER_KEY}\n", new, old=id_of(OTHER_KEY)))
    before = files_of(folder)
    with pytest.raises(WrongKey):
        run(folder)
    assert files_of(folder) == before


def test_a_first_key_that_nobody_has_taken_up_stays(folder: Path) -> None:
    """A key that the operator put first, and no daemon has seen, is somebody's plan: it is not taken out."""
    (folder / "master.key").write_text(f"{OTHER_KEY}\n{MASTER_KEY}\n")
    run(folder)
    assert keys_in(folder)[1:] == [OTHER_KEY, MASTER_KEY]


# Whose keys they have to be.

SOURCES = ("file", "variable", "variable of a file", "settings file")


def sources(folder: Path, source: str, keys: str) -> dict[str, str]:
    """Return the environment in which a process of sirrd has its keys from a source."""
    if source == "variable":
        return {"SIRR_MASTER_ENCRYPTION_KEY": keys}
    if source == "variable of a file":
        path = folder.parent / f"keys-{len(keys)}"
        path.write_text(keys)
        return {"SIRR_MASTER_ENCRYPTION_KEY_FILE": str(path)}
    if source == "settings file":
        path = folder.parent / f"{len(keys)}.toml"
        path.write_text(f'master_encryption_key = "{keys}"\n')
        return {"SIRR_CONFIG": str(path)}
    return {}


@pytest.mark.parametrize("at_start", SOURCES)
def test_only_the_keys_of_the_daemon_are_changed(folder: Path, launch: Launch, at_start: str) -> None:
    """With keys from elsewhere than the daemon has them from, the command refuses, beside it and after it has ended."""
    tmp_path = folder.parent
    given = BEARER | sources(folder, at_start, MASTER_KEY)
    others = [source for source in SOURCES if (source == "file") != (at_start == "file")]

    def all_others_are_refused(*given: str) -> None:
        before = files_of(folder)
        for source in others:
            for keys in given:
                found = sirrd(tmp_path, "rotate-key", **BEARER, **sources(folder, source, keys))
                assert (found.returncode, found.stdout) == (3, ""), (source, keys, found.stderr)
                assert "SIRR_MASTER_ENCRYPTION_KEY" in found.stderr
                assert "hint: " in found.stderr
                if source == "file":
                    break
        assert files_of(folder)["master.key"] == before["master.key"]
        assert needs_of(folder / "sirrd.db").every == {id_of(MASTER_KEY)}

    with launch(**given) as daemon:
        path = put(daemon.address(), bearer=API_KEY)
        all_others_are_refused(MASTER_KEY, f"{NEWER_KEY},{MASTER_KEY}", OTHER_KEY)
        assert daemon.stop() == 0
    all_others_are_refused(f"{NEWER_KEY},{MASTER_KEY}")
    # A daemon that was killed has had its keys from there, too.
    with launch(**given) as daemon:
        daemon.process.kill()
        daemon.process.wait()
    # Other commands do not change whose keys they are.
    assert sirrd(tmp_path, "prune", **given).returncode == 0
    all_others_are_refused(MASTER_KEY)
    with launch(**given) as daemon:
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


@pytest.mark.parametrize("source", SOURCES[1:])
def test_a_daemon_with_keys_from_a_setting_has_to_be_restarted_first(folder: Path, launch: Launch, source: str) -> None:
    """Exit 2 until a newer key stands first where the daemon has it from, and until the daemon has seen it."""
    tmp_path = folder.parent
    key_file = (folder / "master.key").read_text()
    older, both = (sources(folder, source, keys) for keys in (MASTER_KEY, f"{NEWER_KEY},{MASTER_KEY}"))
    with launch(**BEARER, **older) as daemon:
        path = put(daemon.address(), bearer=API_KEY)
        assert sirrd(tmp_path, "rotate-key", **BEARER, **older).returncode == 2
        found = sirrd(tmp_path, "rotate-key", **BEARER, **both)
        assert (found.returncode, found.stdout) == (2, "")
        assert "restart" in found.stderr
        assert sirrd(tmp_path, "rotate-key", **BEARER, **sources(folder, source, OTHER_KEY)).returncode == 3
        assert needs_of(folder / "sirrd.db").every == {id_of(MASTER_KEY)}
        assert daemon.stop() == 0
    with launch(**BEARER, **both) as daemon:
        # A command that still sees the older key alone does not speak of the daemon's keys.
        assert sirrd(tmp_path, "rotate-key", **BEARER, **older).returncode == 3
        found = sirrd(tmp_path, "rotate-key", **BEARER, **both)
        assert (found.returncode, found.stdout) == (0, "every record is under the newest key\n"), found.stderr
        assert sirrd(tmp_path, "rotate-key", **BEARER, **both).returncode == 2
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"
        assert daemon.stop() == 0
    assert sirrd(tmp_path, "rotate-key", **both).returncode == 2
    assert records_are_under(folder) == needs_of(folder / "sirrd.db").every == {id_of(NEWER_KEY)}
    assert (folder / "master.key").read_text() == key_file


def test_offline_a_setting_has_to_open_the_database(folder: Path) -> None:
    """A newer key without the older one behind it is refused, and nothing is touched."""
    before = files_of(folder)
    for key in (NEWER_KEY, OTHER_KEY):
        with pytest.raises(WrongKey):
            run(folder, key=key)
    assert files_of(folder) == before


@pytest.mark.parametrize("answer", ["unauthorised", "forbidden"])
def test_a_daemon_that_will_not_be_asked_is_found_out_first(folder: Path, launch: Launch, answer: str) -> None:
    """Without the right API key, or on a server without one, the key file stays as it is."""
    before = (folder / "master.key").read_text()
    with launch(**(BEARER if answer == "unauthorised" else {})):
        found = sirrd(folder.parent, "rotate-key")
        assert (found.returncode, found.stdout) == (1, "")
    assert (folder / "master.key").read_text() == before


def test_a_holder_that_does_not_listen_is_found_out_first(folder: Path) -> None:
    """Where another command holds the folder, the key file stays as it is."""
    before = files_of(folder)
    holder = DataFolder(folder)
    holder.lock()
    try:
        with pytest.raises(FolderInUse):
            run(folder)
    finally:
        holder.unlock()
    assert files_of(folder) == before


def test_a_daemon_that_does_not_take_the_key_is_not_said_to_have(folder: Path, launch: Launch) -> None:
    """Beside a daemon that says nothing of its keys and has them from elsewhere, the file is as it was before."""
    before = (folder / "master.key").read_text()
    with launch(**BEARER, SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        lock = folder / "sirrd.lock"
        lock.write_text(f'{{"pid":{daemon.process.pid},"address":"{daemon.address()}"}}')
        with pytest.raises(WrongKey, match="did not take"):
            run(folder)
        assert needs_of(folder / "sirrd.db").every == {id_of(MASTER_KEY)}
    assert (folder / "master.key").read_text() == before


# What others do meanwhile.


def edited(folder: Path, edit: Callable[[str], str], *, at: int) -> rotate.Begin:
    """Ask the daemon as the command does; before the n-th time somebody edits the key file."""
    asked = 0

    def begin(address: str) -> int | None:
        nonlocal asked
        asked += 1
        if asked == at:
            path = folder / "master.key"
            path.write_text(edit(path.read_text()))
        return begin_rotation(address)

    return begin


def test_a_key_file_that_is_edited_meanwhile_keeps_the_edit(folder: Path, launch: Launch) -> None:
    """A comment and a key that come while records move are there at the end."""
    with launch(**BEARER):
        run(folder, begin=edited(folder, lambda text: f"{text}# by Bob\n{OTHER_KEY}\n", at=2))
    assert keys_in(folder)[1:] == [OLDEST_KEY, OTHER_KEY]
    assert "# by Bob\n" in (folder / "master.key").read_text()


@pytest.mark.parametrize("at", [2, 3])
def test_a_key_file_that_is_put_back_meanwhile_gets_the_new_key_again(folder: Path, launch: Launch, at: int) -> None:
    """Whoever puts the older file back does not take a key away that records are under already."""
    older = (folder / "master.key").read_text()
    with launch(**BEARER) as daemon:
        path = put(daemon.address(), bearer=API_KEY)
        with contextlib.suppress(SirrdError, http.client.HTTPException):
            run(folder, begin=edited(folder, lambda _: older, at=at))
        needed = needs_of(folder / "sirrd.db").every
        assert needed <= {id_of(key) for key in keys_in(folder)}
        run(folder)
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"
    assert records_are_under(folder) == needs_of(folder / "sirrd.db").every == {id_of(keys_in(folder)[0])}


def test_the_route_alone_takes_what_the_operator_put_first(folder: Path, launch: Launch) -> None:
    """`POST /rotate-key` by hand reads the key file anew, moves to its first key, and takes no key out of any file."""
    with launch(**BEARER) as daemon:
        address = daemon.address()
        assert begin_rotation(address) is None
        text = f"{NEWER_KEY}\n{MASTER_KEY}\n{OLDEST_KEY}\n"
        (folder / "master.key").write_text(text)
        while begin_rotation(address) is not None:
            pass
        assert (folder / "master.key").read_text() == text
        assert needs_of(folder / "sirrd.db").every == {id_of(NEWER_KEY)}
        (folder / "master.key").write_text(f"{OTHER_KEY}\n")
        assert ask(address, "POST", "/rotate-key", bearer=API_KEY)[0] == 503
        assert needs_of(folder / "sirrd.db").every == {id_of(NEWER_KEY)}


def test_two_commands_at_once_are_one_after_another(folder: Path) -> None:
    """While one command changes the key file, another one is refused and changes nothing."""
    with DataFolder(folder).rotating():
        before = files_of(folder)
        with pytest.raises(FolderInUse):
            run(folder)
        assert files_of(folder) == before


# Cut short.

STEPS = (
    "the keys are noted",
    "the note of the keys commits",
    "a record moves",
    "the move of records commits",
    "older keys go",
    "the end of older keys commits",
)
PLACES = [(step, moment, nth) for step in OF_THE_FILE for moment in MOMENTS for nth in (1, 2)]
PLACES += [(step, moment, 1) for step in STEPS for moment in MOMENTS]


@pytest.mark.parametrize(("step", "moment", "nth"), PLACES)
def test_a_run_that_is_killed_between_two_steps_is_ended_by_the_next(
    folder: Path, launch: Launch, step: str, moment: str, nth: int
) -> None:
    """Between any two steps a kill loses nothing; the next run makes one key at most, and the older one stays."""
    command = [sys.executable, "-m", "tests.crash.command", step, moment, str(nth), "rotate-key"]
    env = settings_of(folder, PYTHONPATH=str(ROOT))
    assert subprocess.run(command, cwd=folder.parent, env=env, capture_output=True, check=False).returncode == -9
    found = keys_in(folder)
    assert needs_of(folder / "sirrd.db").every <= {id_of(key) for key in found}
    assert OLDEST_KEY in found
    began = found[0] != MASTER_KEY
    ended = began and len(found) == 2
    said = run(folder)
    new, oldest = keys_in(folder)
    assert oldest == OLDEST_KEY
    assert (new == found[0]) == (began and not ended)
    assert said[0].startswith("going on" if began and not ended else "a new key")
    assert records_are_under(folder) == needs_of(folder / "sirrd.db").every == {id_of(new)}
    assert mark_in((folder / "master.key").read_text()) is None
    with launch(**BEARER) as daemon:
        for n in range(5):
            assert ask(daemon.address(), "GET", f"/secrets/{n:064x}")[0] == 200
