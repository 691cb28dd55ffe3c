"""What the commands ask of a daemon: whom, with what, and for how long."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from sirrd.cli.asking import CommandError, RefusedError, ask, is_own
from sirrd.config.sources import load
from sirrd.errors import BadSetting
from tests.conftest import API_KEY, Launch
from tests.parts import sirrd

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


class Impostor:
    """Something that listens where a daemon might, and keeps what it is sent.

    Attributes:
        port: Where.
        heard: The heads of the requests.
    """

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.port = self._listener.getsockname()[1]
        self.heard: list[bytes] = []

    def serve(self) -> None:
        """Answer until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.heard.append(connection.recv(65_536))
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def impostor(answer: bytes | Callable[[socket.socket], None] = OK) -> Iterator[Impostor]:
    """Listen with a fixed answer, or with whatever a function sends."""
    found = Impostor((lambda connection: connection.sendall(answer)) if isinstance(answer, bytes) else answer)
    thread = threading.Thread(target=found.serve)
    thread.start()
    try:
        yield found
    finally:
        found.close()
        thread.join()


@contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
    """Hold a data folder, and say that a daemon listens somewhere."""
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / "sirrd.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.truncate(descriptor, 0)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "address": address}).encode())
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


# Health.


def test_health_shows_nobody_the_key(tmp_path: Path) -> None:
    """Whatever listens there is asked without the API key."""
    with impostor() as other:
        found = sirrd(tmp_path, "health", "--port", str(other.port), SIRR_MASTER_API_KEY=API_KEY)
    assert (found.returncode, found.stdout) == (0, "ok\n")
    (heard,) = other.heard
    assert heard.startswith(b"GET /health HTTP/1.1\r\n")
    assert API_KEY.encode() not in heard
    assert b"authorization" not in heard.lower()


def test_health_asks_where_the_daemon_says_that_it_listens(launch: Launch, tmp_path: Path) -> None:
    """The address in the lock file counts before the settings, and flags before both."""
    with launch() as daemon, impostor() as other:
        found = sirrd(tmp_path, "health", SIRR_PORT=str(other.port))
        assert (found.returncode, found.stdout) == (0, "ok\n")
        assert other.heard == []
        assert sirrd(tmp_path, "health", "--port", str(other.port)).returncode == 0
        assert len(other.heard) == 1
        assert daemon.stop() == 0


def test_a_lock_file_that_nobody_holds_sends_nobody_anywhere(tmp_path: Path) -> None:
    """What a dead daemon left in the lock file, or somebody wrote there, is not asked."""
    with impostor() as other:
        (tmp_path / "data").mkdir(mode=0o700)
        (tmp_path / "data" / "sirrd.lock").write_text(
            json.dumps({"pid": 1, "address": f"http://127.0.0.1:{other.port}"})
        )
        found = sirrd(tmp_path, "health")
        assert found.returncode == 1
        assert "no daemon holds the data folder" in found.stderr
        assert "hint:" in found.stderr
    assert other.heard == []


def test_a_look_at_the_lock_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    """Whoever asks who holds the folder has the lock for an instant; a daemon that starts then tries again."""
    from sirrd.store.sqlite.folder import DataFolder  # noqa: PLC0415 - only here

    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    folder.lock()
    folder.unlock()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            assert DataFolder(folder.path).holder() == ""

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(200):
            folder.lock()
            folder.unlock()
    finally:
        stop.set()
        looker.join()


# Settings of a folder that others can write.


@pytest.mark.parametrize("command", ["serve", "check-config", "prune", "rotate-key", "verify-burn"])
def test_settings_that_somebody_else_may_have_put_there_do_not_count(tmp_path: Path, command: str) -> None:
    """A `sirrd.toml` in a folder that everybody can write stops a command, with the way to mean it."""
    (tmp_path / "sirrd.toml").write_text("port = 1234")
    tmp_path.chmod(0o777)
    found = sirrd(tmp_path, command)
    tmp_path.chmod(0o700)
    assert found.returncode == 3
    assert "may be somebody else's" in found.stderr
    assert f"--config {tmp_path / 'sirrd.toml'}" in found.stderr
    assert not (tmp_path / "data").exists()


def test_health_goes_on_without_them(launch: Launch, tmp_path: Path) -> None:
    """`health` says so and asks the daemon; neither key nor question go where a stranger's file says."""
    with launch() as daemon, impostor() as other:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "sirrd.toml").write_text(f'port = {other.port}\ndata_dir = "{tmp_path}/none"')
        (theirs / "sirrd.toml").chmod(0o666)
        found = sirrd(theirs, "health", SIRR_DATA_DIR=str(tmp_path / "data"), SIRR_MASTER_API_KEY=API_KEY)
        assert (found.returncode, found.stdout) == (0, "ok\n")
        assert "is not used" in found.stderr
        assert other.heard == []
        assert daemon.stop() == 0


@pytest.mark.parametrize("owner", ["file", "folder"])
def test_settings_of_another_user_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """Whoever owns the file, or its folder, decides what it says: that has to be root or the user of the command."""
    (tmp_path / "sirrd.toml").write_text("port = 1234")
    whole = os.stat_result
    theirs = tmp_path / "sirrd.toml" if owner == "file" else tmp_path
    lstat = Path.lstat

    def seen(path: Path) -> os.stat_result:
        found = list(lstat(path))
        found[4] = 4242 if path == theirs else found[4]
        return whole(found)

    monkeypatch.setattr(Path, "lstat", seen)
    with pytest.raises(BadSetting, match="belongs to user 4242"):
        load(flags={}, environ={}, folder=tmp_path)
    settings, warnings = load(flags={}, environ={}, folder=tmp_path, config=tmp_path / "sirrd.toml")
    assert settings.port == 1234
    assert "not safe" in warnings[0]
    settings, warnings = load(flags={}, environ={}, folder=tmp_path, without_foreign=True)
    assert settings.port != 1234
    assert "is not used" in warnings[0]


# The key.


def test_the_key_goes_to_this_machine_alone(tmp_path: Path) -> None:
    """An address in the lock file that is not this machine's is not shown the key."""
    with held(tmp_path / "data", "http://192.0.2.1:39999"):
        found = sirrd(tmp_path, "prune", SIRR_MASTER_API_KEY=API_KEY)
    assert found.returncode == 1
    assert "192.0.2.1:39999 is not of this machine" in found.stderr


@pytest.mark.parametrize("address", ["", "x", "https://127.0.0.1:1", "http://127.0.0.1", "http://[::1", "http://a b:1"])
def test_a_lock_file_without_an_address_is_said(tmp_path: Path, address: str) -> None:
    """What is no address ends the command with a word about it, and no traceback."""
    with held(tmp_path / "data", address):
        found = sirrd(tmp_path, "prune")
    assert found.returncode == 1
    assert found.stderr.startswith("sirrd: ")
    assert "Traceback" not in found.stderr


def test_own_addresses() -> None:
    """Loopback is this machine's, and so is what a socket can be bound to; documentation addresses are nobody's."""
    assert all(is_own(address) for address in ("127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_own(address) for address in ("192.0.2.1", "2001:db8::1", "fe80::1%lo"))


def asked(port: int, *, key: SecretStr | None = None, seconds: float = 5) -> object:
    return ask(f"http://127.0.0.1:{port}", "GET", "/health", "status", key=key, seconds=seconds)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A redirect is an answer like any other refusal."""
    with impostor() as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        with impostor(moved) as first, pytest.raises(RefusedError) as found:
            asked(first.port, key=SecretStr(API_KEY))
        assert found.value.status == 302
        assert other.heard == []


def drip(connection: socket.socket) -> None:
    """Send a byte at a time, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.01)


def pour(connection: socket.socket) -> None:
    """Send as much as anybody takes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(65_536))


@pytest.mark.parametrize(
    "answer", [drip, pour, b"", b"SSH-2.0-x\r\n", OK[:-1], OK.replace(b'{"status":"ok"}', b"[" * 15)]
)
def test_an_answer_has_an_end(answer: bytes | Callable[[socket.socket], None]) -> None:
    """What answers slowly, endlessly, or is no sirrd, is given up in time."""
    began = time.monotonic()
    with impostor(answer) as other, pytest.raises(CommandError):
        asked(other.port, seconds=0.5)
    assert time.monotonic() - began < 5


def test_what_does_not_listen_is_said() -> None:
    """A port where nobody listens, and a name that nobody has, are a message with a hint."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    for address in (f"http://127.0.0.1:{port}", "http://nobody.invalid:1"):
        with pytest.raises(CommandError, match="no daemon answers at"):
            ask(address, "GET", "/health", "status", key=None, seconds=1)
