"""The data folder: permissions, links, the lock, the key file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sirrd.entropy import SystemEntropy
from sirrd.errors import BadFolder, BadSetting, FolderInUse, WrongKey
from sirrd.store.sqlite.folder import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A prepared folder."""
    found = DataFolder(tmp_path / "a" / "data")
    assert found.prepare() == []
    yield found
    found.unlock()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_for_its_owner(folder: DataFolder) -> None:
    """A new folder is 0700, with its parents made as needed."""
    assert mode(folder.path) == 0o700


def test_permissions_that_are_too_wide_are_narrowed(folder: DataFolder) -> None:
    """Folder and files that others could read are closed to them at the start."""
    folder.database.touch()
    folder.database.chmod(0o644)
    folder.path.chmod(0o755)
    assert folder.prepare() == []
    assert mode(folder.path) == 0o700
    assert mode(folder.database) == 0o600


def test_permissions_that_are_narrower_are_kept(folder: DataFolder) -> None:
    """What the owner closed further stays so."""
    folder.database.touch()
    folder.database.chmod(0o400)
    folder.prepare()
    assert mode(folder.database) == 0o400


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A data folder that is a file is an error with a hint."""
    (tmp_path / "file").touch()
    with pytest.raises(BadFolder) as found:
        DataFolder(tmp_path / "file").prepare()
    assert found.value.hint is not None


@pytest.mark.parametrize("name", ["sirrd.db", "sirrd.db-wal", "sirrd.db-shm", "master.key", "sirrd.lock"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_regular_file_is_refused(folder: DataFolder, tmp_path: Path, name: str, kind: str) -> None:
    """A link, a folder or a pipe in the place of a file is refused, and nothing is written through it."""
    target = tmp_path / "target"
    if kind == "folder":
        (folder.path / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder.path / name)
    else:
        if kind == "link":
            target.write_text("theirs")
        (folder.path / name).symlink_to(target)
    with pytest.raises(BadFolder, match="not a regular file"):
        folder.prepare()
    assert target.exists() == (kind == "link")


def test_one_at_a_time(folder: DataFolder) -> None:
    """The lock is exclusive, says who holds it, and is free after unlocking."""
    folder.lock()
    folder.announce("http://127.0.0.1:1")
    other = DataFolder(folder.path)
    with pytest.raises(FolderInUse):
        other.lock()
    assert other.holder() == "http://127.0.0.1:1"
    folder.unlock()
    other.lock()
    assert other.holder() == ""
    other.unlock()


def test_a_lock_file_without_sense_names_nobody(folder: DataFolder) -> None:
    """What stands in the lock file is not trusted to be ours."""
    for text in ("", "{", "[]", '{"pid":1}', "\0"):
        (folder.path / "sirrd.lock").write_text(text)
        assert folder.holder() == ""


def test_the_key_file_is_made_once_and_for_its_owner(folder: DataFolder) -> None:
    """The first start makes a key of 64 hex digits, 0600; later ones read it."""
    (made,) = folder.master_keys(SystemEntropy())
    assert folder.master_keys(SystemEntropy()) == (made,)
    assert mode(folder.path / "master.key") == 0o600
    assert (folder.path / "master.key").read_text() == made.hex + "\n"
    assert sorted(file.name for file in folder.path.iterdir()) == ["master.key"]


def test_a_key_file_that_was_left_half_made_does_not_matter(folder: DataFolder) -> None:
    """The rest of an interrupted start is replaced."""
    (folder.path / "master.key.new").write_text("ab")
    (made,) = folder.master_keys(SystemEntropy())
    assert (folder.path / "master.key").read_text() == made.hex + "\n"


def test_no_key_is_made_beside_a_database(folder: DataFolder) -> None:
    """A database whose key file is missing is not given a key that cannot open it."""
    folder.database.write_bytes(b"x")
    with pytest.raises(WrongKey):
        folder.master_keys(SystemEntropy())
    assert not (folder.path / "master.key").exists()


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_refused(folder: DataFolder, content: bytes) -> None:
    """An empty or damaged key file is an error, and stays as it is."""
    (folder.path / "master.key").write_bytes(content)
    with pytest.raises((BadSetting, BadFolder)):
        folder.master_keys(SystemEntropy())
    assert (folder.path / "master.key").read_bytes() == content
