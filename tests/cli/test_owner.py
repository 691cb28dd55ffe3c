"""Who may touch the data folder: root works as its owner, and nobody works on what another could have changed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sirrd.cli import rights
from sirrd.errors import BadFolder
from sirrd.owner import Owner, others_write, stranger_on_the_way
from sirrd.store.sqlite.folder import DataFolder
from tests.conftest import API_KEY
from tests.parts import PATIENCE_SECONDS, SIRRD, Process, ask, put, require, settings_of, started

DAEMON = 10_001
STRANGER = 10_002


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, with the data folder of the daemon's user in it."""
    require(os.geteuid() == 0, "the rights of root")
    found = Path(tempfile.mkdtemp(prefix="sirrd-"))
    found.chmod(0o755)
    (found / "data").mkdir(mode=0o700)
    os.chown(found / "data", DAEMON, DAEMON)
    yield found
    shutil.rmtree(found)


def as_user(uid: int) -> list[str]:
    """Return a `sirrd` that gives up the rights of root as it begins: its Python may be open to root alone."""
    program = (
        "import importlib, sys\n"
        "from sirrd import owner\nfrom sirrd.cli import program, rights\nfrom sirrd.server import process\n"
        "for name in rights._NEEDED: importlib.import_module(name)\n"
        "rights.migrations()\n"
        f"owner.become(owner.Owner({uid}, {uid}))\n"
        "program.main()"
    )
    return [sys.executable, "-c", program]


def run(place: Path, *arguments: str, command: Sequence[str] = SIRRD, **changes: str) -> str:
    """Run a command to its end, and return its exit code and all that it said."""
    done = subprocess.run(
        [*command, *arguments],
        cwd=place,
        env=settings_of(place / "data", SIRR_MASTER_API_KEY=API_KEY, **changes),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def daemon(place: Path) -> AbstractContextManager[Process]:
    """Start the daemon as its own user."""
    env = settings_of(place / "data", SIRR_MASTER_API_KEY=API_KEY, SIRR_LOG_FORMAT="json")
    return started([*as_user(DAEMON), "serve"], log=place / "log", cwd=place, env=env)


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.iterdir())}


def test_a_command_of_root_leaves_the_folder_to_the_daemon(place: Path) -> None:
    """Every command that root runs without a daemon works as the folder's owner: the daemon starts after each."""
    with daemon(place) as process:
        path = put(process.address(), max_reads=None, bearer=API_KEY)
        assert process.stop() == 0
    for arguments in (
        ("prune",),
        ("rotate-key",),
        ("backup", "data/copy.db"),
        ("restore", "data/copy.db", "--replace"),
    ):
        said = run(place, *arguments)
        assert said.startswith("0\n"), said
        assert f"working as {Owner(DAEMON, DAEMON)}" in said
        assert owners(place / "data") == {DAEMON}, arguments
    assert stat.S_IMODE((place / "data/master.key").stat().st_mode) == 0o600
    with daemon(place) as process:
        assert ask(process.address(), "GET", path)[0] == 200
        assert process.stop() == 0


def test_a_command_of_root_beside_the_daemon_leaves_it_be(place: Path) -> None:
    """Beside the daemon of another user, root prunes, rotates and copies, and writes go on at once."""
    with daemon(place) as process:
        path = put(process.address(), max_reads=None, bearer=API_KEY)
        for arguments in (("prune",), ("rotate-key",), ("backup", "data/copy.db")):
            said = run(place, *arguments)
            assert said.startswith("0\n"), said
        assert run(place, "health").startswith("0\nok\n")
        put(process.address(), bearer=API_KEY)
        assert ask(process.address(), "GET", path)[0] == 200
        assert owners(place / "data") == {DAEMON}
        assert process.stop() == 0


def test_a_daemon_that_root_starts_is_not_root(place: Path) -> None:
    """`serve` by root on the folder of another user runs as that user, or says that the user cannot run it."""
    env = settings_of(place / "data", SIRR_MASTER_API_KEY=API_KEY)
    if not all(is_open(path) for path in rights._PROGRAM):
        assert "cannot read the program" in run(place, "serve")
        assert list((place / "data").iterdir()) == []
        return
    with started([*SIRRD, "serve"], log=place / "log", cwd=place, env=env) as process:
        put(process.address(), bearer=API_KEY)
        status = Path(f"/proc/{process.process.pid}/status").read_text()
        (uids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
        assert set(uids) == {str(DAEMON)}
        assert owners(place / "data") == {DAEMON}
        assert process.stop() == 0


def is_open(path: Path) -> bool:
    """Tell whether everybody can read a file."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in path.parents) and bool(path.stat().st_mode & stat.S_IROTH)


def test_root_copies_to_where_root_alone_may_write(place: Path) -> None:
    """A copy of another user's database goes to a folder of root's, as root's; it comes back from there, too."""
    with daemon(place) as process:
        path = put(process.address(), max_reads=None, bearer=API_KEY)
        (place / "out").mkdir(mode=0o700)
        said = run(place, "backup", "out/copy.db")
        assert said.startswith("0\n"), said
        assert process.stop() == 0
    found = (place / "out/copy.db").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    said = run(place, "restore", "out/copy.db", "--replace")
    assert said.startswith("0\n"), said
    assert owners(place / "data") == {DAEMON}
    with daemon(place) as process:
        assert ask(process.address(), "GET", path)[0] == 200
        assert process.stop() == 0
    os.chown(place / "out", STRANGER, STRANGER)
    said = run(place, "backup", "out/other.db")
    assert said.startswith("1\n"), said
    assert "root does not write there" in said
    assert [entry.name for entry in (place / "out").iterdir()] == ["copy.db"]


def test_another_user_is_told_whose_folder_it_is(place: Path) -> None:
    """Whoever is neither root nor the owner gets exit 3 and the command that works."""
    for name in ("prune", "serve", "rotate-key"):
        said = run(place, name, command=as_user(STRANGER))
        assert said.startswith("3\n"), said
        assert f"belongs to user {DAEMON}" in said
        assert f"sudo -u '#{DAEMON}'" in said
    assert list((place / "data").iterdir()) == []


def test_root_without_its_rights_is_told_how_to_run_it(place: Path) -> None:
    """Where root may not become the owner, as in a container without capabilities, nothing is touched."""
    require(shutil.which("setpriv"), "setpriv of util-linux")
    for name in ("prune", "serve", "rotate-key"):
        said = run(place, name, command=("setpriv", "--bounding-set=-setuid,-setgid", *SIRRD))
        assert said.startswith("3\n"), said
        assert "root cannot work as that user here" in said
        assert f"docker exec --user {DAEMON}" in said
    assert list((place / "data").iterdir()) == []


def test_the_folder_of_a_unit_with_a_dynamic_user_is_left_to_it(place: Path) -> None:
    """Behind systemd's `private`, which root alone passes, a command of root touches nothing and says how to run it."""
    (place / "private").mkdir(mode=0o700)
    (place / "data").rename(place / "private/data")
    (place / "data").symlink_to("private/data")
    said = run(place, "prune")
    assert said.startswith("3\n"), said
    assert "DynamicUser" in said
    assert list((place / "private/data").iterdir()) == []


@pytest.fixture
def folder(place: Path) -> DataFolder:
    """A folder of root's own, with a key file and a database in it."""
    found = DataFolder(place / "mine" / "data")
    assert found.prepare() == []
    for name in ("master.key", "sirrd.db"):
        (found.path / name).touch(0o600)
    return found


def refused(folder: DataFolder, *words: str) -> None:
    """Check that the folder is refused, with what is wrong and a remedy, and is as it was."""
    before = [(path, path.lstat()) for path in (folder.path, *folder.path.iterdir())]
    for check in (folder.prepare, lambda: folder.check(os.geteuid())):
        with pytest.raises(BadFolder) as found:
            check()
        assert found.value.hint
        for word in words:
            assert word in f"{found.value} {found.value.hint}"
    assert [(path, path.lstat()) for path in (folder.path, *folder.path.iterdir())] == before


@pytest.mark.parametrize("name", [".", "master.key", "sirrd.db"])
def test_what_another_user_owns_is_refused(folder: DataFolder, name: str) -> None:
    """A folder, key file or database of another user is exit 3 with the `chown` that helps."""
    os.chown(folder.path / name, STRANGER, 0)
    refused(folder, f"belongs to user {STRANGER}", "chown")


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((".", mode) for mode in (0o770, 0o702, 0o1777)), ("master.key", 0o620), ("sirrd.db", 0o606)],
)
def test_what_others_can_write_is_refused(folder: DataFolder, name: str, mode: int) -> None:
    """What others could have written is not narrowed and used, but looked at first."""
    (folder.path / name).chmod(mode)
    refused(folder, f"mode {mode:04o}", "chmod")


def test_a_file_with_a_second_name_is_refused(folder: DataFolder, place: Path) -> None:
    """A hard link is a way to a file that its folder does not close."""
    (place / "link").hardlink_to(folder.path / "master.key")
    refused(folder, "hard link", "cp -p")


@pytest.mark.parametrize("change", ["mode", "owner"])
def test_a_way_that_others_can_change_is_refused(folder: DataFolder, change: str) -> None:
    """Whoever can rename the folder can put another in its place."""
    if change == "mode":
        folder.path.parent.chmod(0o777)
    else:
        os.chown(folder.path.parent, STRANGER, 0)
    refused(folder, str(folder.path.parent), "SIRR_DATA_DIR")
    new = DataFolder(folder.path.parent / "new" / "data")
    with pytest.raises(BadFolder):
        new.prepare()
    assert not new.path.parent.exists()
    if change == "mode":
        folder.path.parent.chmod(0o1777)
        assert folder.prepare() == []


def test_a_link_counts_only_if_nobody_else_set_it(folder: DataFolder, place: Path) -> None:
    """A link of root's, as systemd sets one, is followed; one of another user is not."""
    link = DataFolder(place / "link")
    link.path.symlink_to(folder.path)
    assert link.prepare() == []
    link.check(os.geteuid())
    os.lchown(link.path, STRANGER, STRANGER)
    with pytest.raises(BadFolder, match=f"{link.path} belongs to user {STRANGER}"):
        link.prepare()
    link.path.unlink()
    link.path.symlink_to(place / "nowhere")
    with pytest.raises(BadFolder, match="cannot be used"):
        link.prepare()


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """A way that never ends is an error of the system's, not a loop."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many"):
        stranger_on_the_way(tmp_path / "a", os.geteuid())


def test_a_group_of_ones_own_is_nobody_else(tmp_path: Path) -> None:
    """A folder that the group of root alone can write is no way in; one that everybody can write is."""
    require(os.geteuid() == 0, "the rights of root")
    os.chown(tmp_path, 0, 0)
    tmp_path.chmod(0o775)
    assert not others_write(tmp_path.stat())
    tmp_path.chmod(0o777)
    assert others_write(tmp_path.stat())
    os.chown(tmp_path, 0, STRANGER)
    tmp_path.chmod(0o775)
    assert others_write(tmp_path.stat())
