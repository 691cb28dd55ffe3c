"""A full disk and a read-only folder, for real: small file systems in mount namespaces that nobody else sees."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import PATIENCE_SECONDS, SIRRD, Process, ask, put, require, settings_of, started, wait_until

SIZE_BYTES = 64 * 1024 * 1024
LARGE = "x" * 1_000_000


class Small:
    """A daemon whose data folder is a file system of 64 MiB that nobody else sees."""

    def __init__(self, daemon: Process, folder: Path) -> None:
        self.daemon = daemon
        self.address = daemon.address()
        # The daemon's own view of the folder, seen from outside of its namespace.
        self.inside = Path(f"/proc/{daemon.process.pid}/root") / folder.relative_to("/")

    def fill(self, *, leave: int = 0) -> None:
        """Leave so many bytes free."""
        with contextlib.suppress(OSError), (self.inside / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        os.truncate(self.inside / "filler", (self.inside / "filler").stat().st_size - leave)

    def free(self) -> None:
        """Undo `fill`."""
        (self.inside / "filler").unlink()

    def fill_for_good(self) -> None:
        """Leave no free byte, and none in the WAL, whose space a read would find."""
        wait_until(lambda: not (self.inside / "sirrd.db-wal").stat().st_size)
        self.fill()
        wait_until(lambda: self.ready() == 503)

    def stays_full(self) -> None:
        """Check that `/ready` stays 503 over some ticks, whatever small writes come to."""
        ticks = self._ticks()

        def have_passed() -> bool:
            assert self.ready() == 503
            ask(self.address, "POST", "/secrets", {"value": "small"})
            return self._ticks() >= ticks + 5

        wait_until(have_passed)

    def _ticks(self) -> int:
        text = self.daemon.log.read_text()
        return text.count('"message": "tick"') + text.count("a tick failed")

    def ready(self) -> int:
        """Return the status of `/ready`."""
        return ask(self.address, "GET", "/ready")[0]


def allowed_namespaces() -> None:
    """Go on where file systems can be mounted that nobody else sees."""
    probe = ["unshare", "--mount", "true"]
    tools = all(map(shutil.which, ("unshare", "mount")))
    allowed = os.geteuid() == 0 and tools and subprocess.run(probe, check=False, capture_output=True).returncode == 0
    require(allowed, "root and mount namespaces")


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Small]:
    """A daemon on a small file system; a parameter is its limit of free bytes."""
    allowed_namespaces()
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o size={SIZE_BYTES},mode=0700 tmpfs "$0" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, str(folder), *SIRRD, "serve"]
    limit = str(getattr(request, "param", 0))
    env = settings_of(folder, SIRR_PRUNE_INTERVAL_SECONDS="0.3", SIRR_LOG_FORMAT="json", SIRR_MIN_FREE_BYTES=limit)
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        yield Small(daemon, folder)
        assert daemon.stop() == 0


def test_a_full_disk_gives_no_value_away_and_recovers(small: Small) -> None:
    """With no byte left nothing is stored, no large read is granted or spent, and `/ready` is 503 without a break."""
    kept = put(small.address, "kept", max_reads=None)
    paths = [put(small.address, f"{n:04}" + LARGE) for n in range(10)]
    small.fill_for_good()
    wait_until(lambda: ask(small.address, "POST", "/secrets", {"value": LARGE})[0] == 507)
    for path in paths:
        status, answer = ask(small.address, "GET", path)
        assert (status, answer.get("code")) == (503, "storage_unavailable")
        # A small write can find a place in the WAL that is there: that says nothing about the disk.
        assert ask(small.address, "GET", kept)[0] in {200, 503}
        assert small.ready() == 503
    small.stays_full()
    assert ask(small.address, "GET", "/health")[0] == 200
    small.free()
    wait_until(lambda: small.ready() == 200)
    for n, path in enumerate(paths):
        status, answer = ask(small.address, "GET", path)
        assert (status, answer.get("value")) == (200, f"{n:04}" + LARGE)
        assert ask(small.address, "GET", path)[0] == 404
    assert ask(small.address, "GET", kept)[1]["value"] == "kept"
    wait_until(lambda: ask(small.address, "POST", "/secrets", {"value": "new"})[0] == 201)


def test_what_only_small_writes_find_room_on_is_not_ready(small: Small) -> None:
    """With room for small writes and none for large ones `/ready` is 503, whatever small writes come to."""
    path = put(small.address, LARGE)
    small.fill(leave=512 * 1024)
    wait_until(lambda: small.ready() == 503)
    for _ in range(3):
        kept = put(small.address, "small", max_reads=None)
        assert ask(small.address, "GET", kept)[0] == 200
        assert small.ready() == 503
    small.free()
    wait_until(lambda: small.ready() == 200)
    assert ask(small.address, "GET", path)[1].get("value") == LARGE


@pytest.mark.parametrize("small", [32 * 1024 * 1024], indirect=True)
def test_below_the_limit_reads_and_deletes_have_the_space_that_they_need(small: Small) -> None:
    """A flood of values ends at 507 before the disk is full, and all that was answered can be read or deleted."""
    paths = []
    for n in range(100):
        status, answer = ask(small.address, "POST", "/secrets", {"value": f"{n:04}" + LARGE})
        if status != 201:
            break
        paths.append(f"/secrets/{answer['id']}")
    assert (status, answer["code"]) == (507, "insufficient_storage")
    assert 10 < len(paths) <= SIZE_BYTES // 2 // len(LARGE)
    assert ask(small.address, "DELETE", paths.pop())[0] == 200
    for n, path in enumerate(paths):
        status, answer = ask(small.address, "GET", path)
        assert (status, answer.get("value")) == (200, f"{n:04}" + LARGE)
    assert small.ready() == 200


def test_a_read_only_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    """On a file system that cannot be written the daemon does not start: exit 3, with the reason and a hint."""
    allowed_namespaces()
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    script = 'mount -t tmpfs -o ro,mode=0700 tmpfs "$0" && exec "$@"'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(folder), *SIRRD, "serve"],
        cwd=tmp_path,
        env=settings_of(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 3
    assert "Read-only file system" in run.stderr
    assert "hint:" in run.stderr
