"""How a copy ends: whole under its name, or nowhere; and what goes through pipes."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sirrd.store.sqlite.unnamed import new_file, pour
from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, require, settings_of, sirrd

NAMED = "import os; del os.O_TMPFILE\n"
"""Has a command run as on a system where each file has a name."""

WAYS = pytest.mark.parametrize("way", ["", NAMED], ids=["unnamed", "named"])


@pytest.fixture
def kept(launch: Launch, tmp_path: Path) -> str:
    """The path of a secret in a folder that no daemon holds; there is an empty folder for copies beside it."""
    with launch() as daemon:
        path = put(daemon.address(), max_reads=None)
        assert daemon.stop() == 0
    (tmp_path / "out").mkdir()
    return path


def patched(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in which something has been changed before it begins."""
    return subprocess.run(
        [sys.executable, "-c", f"{program}\nfrom sirrd.cli.program import main\nmain()", *arguments],
        cwd=cwd,
        env=settings_of(cwd / "data"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


_PLACES = {"filled": "backup, 'pour'", "poured": "unnamed, '_give_name'"}


def at(instant: str, act: str) -> str:
    """Return what has something happen at an instant of a copy: before the bytes are copied, or before the name is."""
    return (
        "import os, signal\n"
        "from sirrd.store.sqlite import backup, unnamed\n"
        f"module, name = {_PLACES[instant]}\n"
        "right = getattr(module, name)\n"
        "def wrong(*given):\n"
        f"    {act}\n"
        "    return right(*given)\n"
        "setattr(module, name, wrong)\n"
    )


def copies_in(folder: Path) -> list[str]:
    """Return which files of a folder are databases, or begin like one."""
    return sorted(path.name for path in folder.iterdir() if path.read_bytes().startswith(b"SQLite format 3"))


@pytest.mark.parametrize("instant", ["filled", "poured"])
def test_a_killed_backup_leaves_nothing(tmp_path: Path, kept: str, instant: str) -> None:
    """Where the system knows files without a name, `kill -9` at any instant leaves no file at all."""
    require(hasattr(os, "O_TMPFILE"), "O_TMPFILE")
    killed = patched(at(instant, "os.kill(os.getpid(), signal.SIGKILL)"), "backup", "out/copy.db", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_backup_leaves_elsewhere_is_swept(tmp_path: Path, kept: str) -> None:
    """Where files need a name, and after older releases, the next backup into the folder removes what was left."""
    dead = patched(NAMED + at("poured", "os.kill(os.getpid(), signal.SIGKILL)"), "backup", "out/a.db", cwd=tmp_path)
    assert dead.returncode == -signal.SIGKILL
    (left,) = copies_in(tmp_path / "out")
    assert left != "a.db"
    assert stat.S_IMODE((tmp_path / "out" / left).stat().st_mode) == 0o600
    older = tmp_path / "out" / "b.db.k3x_9f2a.new"
    older.write_bytes((tmp_path / "out" / left).read_bytes())
    older.with_name(f"{older.name}-journal").touch()
    mine = [tmp_path / "out" / name for name in ("notes.abcdefgh.new", ".sirrd-0123456789abcdef.new")]
    for path in mine:
        path.write_text("mine " * 50)
    for path in (older, *mine):
        path.chmod(0o600)
    assert sirrd(tmp_path, "backup", "out/c.db").returncode == 0
    assert copies_in(tmp_path / "out") == ["c.db"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["c.db", *(path.name for path in mine)])


@WAYS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_backup_that_is_ended_takes_back_what_it_did(
    tmp_path: Path, kept: str, way: str, number: signal.Signals
) -> None:
    """A signal is exit 128 and its number, with a word and no traceback, and nothing is left."""
    program = way + at("poured", f"os.kill(os.getpid(), {number})")
    ended = patched(program, "backup", "out/copy.db", cwd=tmp_path)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"sirrd: ended by {number.name}\n"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_restore_that_is_ended_changes_nothing(tmp_path: Path, kept: str, number: signal.Signals) -> None:
    """A signal in the middle of a restore leaves the old database alone, and none beside it."""
    assert sirrd(tmp_path, "backup", "out/copy.db").returncode == 0
    before = (tmp_path / "data/sirrd.db").read_bytes()
    program = (
        "import os\nfrom sirrd.store.sqlite import restore\n"
        f"async def ended(*_, **__): os.kill(os.getpid(), {number})\n"
        "restore._clean = ended\n"
    )
    ended = patched(program, "restore", "out/copy.db", "--replace", cwd=tmp_path)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"sirrd: ended by {number.name}\n"
    assert (tmp_path / "data/sirrd.db").read_bytes() == before
    assert not list((tmp_path / "data").glob("sirrd.db.new*"))


def test_under_nohup_a_command_goes_on(tmp_path: Path, kept: str) -> None:
    """A hang-up that whoever started the command has it ignore is ignored."""
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + at(
        "poured", "os.kill(os.getpid(), signal.SIGHUP)"
    )
    assert patched(program, "backup", "out/copy.db", cwd=tmp_path).returncode == 0


@WAYS
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, kept: str, way: str, kind: str) -> None:
    """What somebody puts under the name while the copy is made stays what it is, and the command fails."""
    act = "open('out/copy.db', 'w').write('mine')" if kind == "file" else "os.symlink('nowhere', 'out/copy.db')"
    found = patched(way + at("poured", act), "backup", "out/copy.db", cwd=tmp_path)
    assert found.returncode == 1
    assert "exists already" in found.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["copy.db"]
    target = tmp_path / "out/copy.db"
    assert target.is_symlink() if kind == "link" else target.read_text() == "mine"


@WAYS
def test_a_copy_is_whole_either_way(tmp_path: Path, kept: str, way: str) -> None:
    """With or without a name while it is made: one file of mode 0600 with one name, a database without a WAL."""
    found = patched(way, "backup", "out/copy.db", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "backed up 1 secrets\n")
    status = (tmp_path / "out/copy.db").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 1)
    connection = sqlite3.connect(f"{(tmp_path / 'out/copy.db').as_uri()}?immutable=1", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["copy.db"]


def test_a_file_system_without_links_is_said(tmp_path: Path, kept: str) -> None:
    """Where a file cannot get its name without overwriting another, the command says what to do instead."""
    program = NAMED + "def link(*_, **__): raise PermissionError(1, 'Operation not permitted')\nos.link = link\n"
    found = patched(program, "backup", "out/copy.db", cwd=tmp_path)
    assert found.returncode == 1
    assert "hint: back up to another disk" in found.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_bytes_are_poured_where_the_system_cannot_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe, or across file systems that share nothing, each byte is written."""
    content = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(content)
    source = os.open(tmp_path / "source", os.O_RDONLY)

    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    for refused in (False, True):
        if refused:
            monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
        with new_file(tmp_path / f"target{refused}") as target:
            pour(source, target)
        assert (tmp_path / f"target{refused}").read_bytes() == content
    os.close(source)


def test_a_copy_onto_another_disk(tmp_path: Path, kept: str) -> None:
    """The target may stand on another file system."""
    other = Path("/dev/shm")
    require(other.is_dir() and other.stat().st_dev != tmp_path.stat().st_dev, "a second file system")
    target = other / f"sirrd-{os.getpid()}.db"
    try:
        assert sirrd(tmp_path, "backup", str(target)).returncode == 0
        assert copies_in(target.parent).count(target.name) == 1
    finally:
        target.unlink(missing_ok=True)


# Pipes.


def test_a_copy_goes_through_pipes(launch: Launch, tmp_path: Path, kept: str) -> None:
    """`backup -` writes the copy alone to standard output, and `restore -` reads it from standard input."""
    env = settings_of(tmp_path / "data")
    made = subprocess.run([*SIRRD, "backup", "-"], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert made.stdout.startswith(b"SQLite format 3\0")
    assert made.stdout[18:20] == b"\1\1"
    assert b"backed up 1 secrets" in made.stderr
    (tmp_path / "data/sirrd.db").unlink()
    restored = subprocess.run(
        [*SIRRD, "restore", "-", "--replace"], cwd=tmp_path, env=env, input=made.stdout, capture_output=True, check=True
    )
    assert restored.stdout == b"restored 1 secrets, 0 burned\n"
    with launch() as daemon:
        assert ask(daemon.address(), "GET", kept)[0] == 200
    assert sorted(path.name for path in tmp_path.iterdir() if "sirrd" in path.name) == []


def test_a_copy_that_the_shell_named_is_for_its_owner(tmp_path: Path, kept: str) -> None:
    """What the shell made as the umask says is closed before a byte of the copy is in it."""
    with (tmp_path / "out/copy.db").open("wb") as target:
        (tmp_path / "out/copy.db").chmod(0o644)
        subprocess.run(
            [*SIRRD, "backup", "-"], cwd=tmp_path, env=settings_of(tmp_path / "data"), stdout=target, check=True
        )
    assert stat.S_IMODE((tmp_path / "out/copy.db").stat().st_mode) == 0o600
    assert sirrd(tmp_path, "restore", "out/copy.db", "--replace").returncode == 0


def test_without_a_place_for_temporary_files_the_data_folder_has_room(tmp_path: Path, kept: str) -> None:
    """On a read-only root, as in a container, the data folder is the place; nothing is left there."""
    program = (
        "import tempfile\ndef none(): raise FileNotFoundError\ntempfile.gettempdir = none\n"
        "import sys; sys.stdout.reconfigure(errors='surrogateescape')\n"
    )
    before = sorted(path.name for path in (tmp_path / "data").iterdir())
    env = settings_of(tmp_path / "data")
    command = [sys.executable, "-c", f"{program}\nfrom sirrd.cli.program import main\nmain()"]
    made = subprocess.run([*command, "backup", "-"], cwd=tmp_path, env=env, capture_output=True, check=True)
    subprocess.run([*command, "restore", "-", "--replace"], cwd=tmp_path, env=env, input=made.stdout, check=True)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before


def test_a_reader_that_leaves_is_said(tmp_path: Path, kept: str) -> None:
    """A copy that nobody reads to its end is no copy: exit 1."""
    with subprocess.Popen(
        [*SIRRD, "backup", "-"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"nobody reads it" in process.stderr.read()
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_terminal_is_no_place_for_a_copy(tmp_path: Path, kept: str, command: str) -> None:
    """Who forgot the redirection is told so, and no terminal is filled."""
    ours, theirs = os.openpty()
    done = subprocess.run(
        [*SIRRD, command, "-"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert b"is a terminal" in done.stderr


# What is no backup.


def cut(copy: Path, target: Path) -> None:
    target.write_bytes(copy.read_bytes()[:-4096])


def foreign(_: Path, target: Path) -> None:
    connection = sqlite3.connect(target)
    connection.execute("CREATE TABLE t (x)")
    connection.close()


def newer(copy: Path, target: Path) -> None:
    target.write_bytes(copy.read_bytes())
    connection = sqlite3.connect(target)
    connection.execute("PRAGMA user_version = 999")
    connection.close()


def damaged(copy: Path, target: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[2 * 4096 : -4096] = os.urandom(len(content) - 3 * 4096)
    target.write_bytes(content)


NO_BACKUPS: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "missing": (lambda _, target: target, "there is no file", "`sirrd backup`"),
    "folder": (lambda _, target: target.mkdir(), "is a folder", "`sirrd backup`"),
    "pipe": (lambda _, target: os.mkfifo(target), "is no regular file", "restore -"),
    "empty": (lambda _, target: target.touch(), "is empty", "`sirrd backup`"),
    "text": (lambda _, target: target.write_text("hello\n"), "is no database", "`sirrd backup`"),
    "gzip": (lambda _, target: target.write_bytes(b"\x1f\x8b\x08" + bytes(99)), "is no database", "gzip: unpack"),
    "age": (lambda _, target: target.write_bytes(b"age-encryption.org/v1\n"), "is no database", "age: unpack"),
    "head": (lambda copy, target: target.write_bytes(copy.read_bytes()[:50]), "is cut off: 50 bytes", "copy it again"),
    "cut": (cut, "is cut off", "copy it again"),
    "foreign": (foreign, "another program", "`sirrd backup`"),
    "newer": (newer, "a newer release of sirrd", "restore it with that one"),
    "damaged": (damaged, "damaged", ""),
}


def test_what_is_no_backup_is_said(tmp_path: Path, kept: str) -> None:
    """Each kind of file that is no backup is told what it is and what to do, and nothing changes."""
    assert sirrd(tmp_path, "backup", "out/copy.db").returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.name != "sirrd.lock"}
    told = {}
    for kind, (make, text, hint) in NO_BACKUPS.items():
        make(tmp_path / "out/copy.db", tmp_path / kind)
        found = sirrd(tmp_path, "restore", kind, "--replace")
        told[kind] = found.stderr
        assert found.returncode in {1, 3}, (kind, found.stderr)
        assert text in found.stderr, (kind, found.stderr)
        assert hint in found.stderr, (kind, found.stderr)
        assert "Traceback" not in found.stderr, kind
    after = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.name != "sirrd.lock"}
    assert after == before


def test_a_backup_of_another_key_says_what_it_needs(tmp_path: Path, kept: str) -> None:
    """The key of its time is named as what is missing; without any key, how to give one."""
    assert sirrd(tmp_path, "backup", "out/copy.db").returncode == 0
    other = sirrd(tmp_path, "restore", "out/copy.db", "--replace", SIRR_MASTER_ENCRYPTION_KEY="ab" * 32)
    assert other.returncode == 3
    assert "do not open this backup" in other.stderr
    assert "the key of its time" in other.stderr
    none = sirrd(tmp_path, "restore", "out/copy.db", SIRR_DATA_DIR=str(tmp_path / "new"))
    assert none.returncode == 3
    assert "no key file" in none.stderr
    assert "SIRR_MASTER_ENCRYPTION_KEY" in none.stderr


@pytest.mark.parametrize(
    ("target", "text", "hint"),
    [
        ("no/such/copy.db", "there is no folder", "make it first"),
        ("data/master.key/copy.db", "there is no folder", "make it first"),
        ("out", "exists already", "name one that does not"),
        ("data/sirrd.db-wal", "is sirrd's own", "elsewhere"),
        ("/proc/copy.db", "the copy failed", "hint: "),
    ],
)
def test_where_no_copy_can_stand_is_said(tmp_path: Path, kept: str, target: str, text: str, hint: str) -> None:
    """A target that cannot be is told with what to do."""
    found = sirrd(tmp_path, "backup", target)
    assert found.returncode == 1
    assert text in found.stderr
    assert hint in found.stderr


def test_a_copy_in_the_data_folder_is_warned_about(tmp_path: Path, kept: str) -> None:
    """It works, since a container has no other place; and what it means is said."""
    found = sirrd(tmp_path, "backup", "data/copy.db")
    assert found.returncode == 0
    assert "keeps what burns meanwhile" in found.stderr
