"""The real daemon: one process, one port, signals, crashes, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import API_KEY, MASTER_KEY, Launch
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, put, settings_of, sirrd, wait_until

_TRUNCATED = '"wal": "truncated"'
BEARER = {"Authorization": f"Bearer {API_KEY}"}


def connected(address: str) -> socket.socket:
    """Open a plain connection."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)


def told(connection: socket.socket) -> bytes:
    """Return all that arrives until the other side closes."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return bytes(received)


def said(address: str, request: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the connection is closed."""
    with connected(address) as connection:
        connection.sendall(request)
        return told(connection)


# A life.


def test_a_secret_is_stored_seen_read_and_gone(launch: Launch) -> None:
    """POST, HEAD, GET once, 404 after; then SIGTERM, exit 0."""
    with launch() as daemon:
        address = daemon.address()
        path = put(address, ttl_seconds=60)
        head = httpx.head(address + path)
        assert head.status_code == 200
        assert head.headers["x-sirr-reads-remaining"] == "1"
        assert "server" not in head.headers
        assert "content-length" not in head.headers or head.headers["content-length"] == "0"
        status, answer = ask(address, "GET", path)
        assert (status, answer["value"]) == (200, "s3cret")
        assert ask(address, "GET", path)[0] == 404
        assert daemon.stop() == 0


def test_data_is_kept_over_a_restart(launch: Launch, tmp_path: Path) -> None:
    """After a clean end the WAL is empty, and the next start finds every secret and every spent read."""
    with launch() as first:
        kept, spent = put(first.address(), "kept"), put(first.address(), "spent", max_reads=2)
        assert ask(first.address(), "GET", spent)[0] == 200
        assert first.stop() == 0
    wal = tmp_path / "data" / "sirrd.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
    with launch() as second:
        assert ask(second.address(), "GET", kept)[1]["value"] == "kept"
        assert ask(second.address(), "GET", spent)[0] == 200
        assert ask(second.address(), "GET", spent)[0] == 404


def test_folder_and_files_belong_to_their_owner_alone(launch: Launch, tmp_path: Path) -> None:
    """Whatever the umask, the folder is 0700 and every file in it 0600."""
    before = os.umask(0)
    try:
        with launch() as daemon:
            put(daemon.address())
            folder = tmp_path / "data"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) == {"sirrd.db", "sirrd.db-wal", "sirrd.db-shm", "master.key", "sirrd.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("max_reads", [1, 2, 5])
def test_i1_readers_in_several_processes_get_exactly_what_was_allowed(
    launch: Launch, tmp_path: Path, max_reads: int
) -> None:
    """I1: of 50 readers in several processes exactly `max_reads` succeed; nobody sees a 500."""
    program = (
        "import asyncio, httpx, sys\n"
        "async def main():\n"
        "    async with httpx.AsyncClient() as client:\n"
        "        sys.stdin.readline()\n"
        "        answers = await asyncio.gather(*(client.get(sys.argv[1]) for _ in range(10)))\n"
        "        print(*(answer.status_code for answer in answers))\n"
        "asyncio.run(main())\n"
    )
    with launch() as daemon, contextlib.ExitStack() as stack:
        url = daemon.address() + put(daemon.address(), max_reads=max_reads)
        readers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(5)
        ]
        for reader in readers:
            assert reader.stdin is not None
            reader.stdin.write("go\n")
            reader.stdin.flush()
        statuses = [status for reader in readers for status in reader.communicate(timeout=PATIENCE_SECONDS)[0].split()]
    assert sorted(statuses) == ["200"] * max_reads + ["404"] * (50 - max_reads)


def test_start_up_says_what_is_protected_and_what_is_open(launch: Launch) -> None:
    """People get a banner of a few lines, programs a line of JSON; without a key both say so loudly."""
    with launch(SIRR_LOG_FORMAT="text") as daemon:
        banner = daemon.log.read_text()
        assert f"listens on {daemon.address()}" in banner
        assert "OPEN: no SIRR_MASTER_API_KEY is set" in banner
        assert f"{daemon.address()}/secrets" in banner
    with launch(SIRR_LOG_FORMAT="json", SIRR_MASTER_API_KEY=API_KEY, SIRR_ORG_READS="public") as daemon:
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
        assert lines[0]["message"] == "started"
        assert lines[0]["address"] == daemon.address()
        assert [line["message"][:6] for line in lines if line["level"] == "warning"] == ["PUBLIC"]
        assert API_KEY not in daemon.log.read_text()


def test_a_log_that_nobody_reads_changes_nothing(tmp_path: Path) -> None:
    """Where the other end of standard error is gone, the daemon serves on and still ends with 0."""
    env = settings_of(tmp_path / "data", SIRR_LOG_FORMAT="json")
    with subprocess.Popen([*SIRRD, "serve"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = json.loads(process.stderr.readline())["address"]
            process.stderr.close()
            for _ in range(50):
                assert ask(address, "GET", "/health")[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


def test_a_request_leaves_one_line(launch: Launch) -> None:
    """A line has template, status, duration, caller, address, id and fingerprint, and not the path."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as daemon:
        answer = httpx.post(daemon.address() + "/secrets?q=hidden", json={"value": "x"}, headers=BEARER)
        path = f"/secrets/{answer.json()['id']}"
        read = httpx.get(daemon.address() + path)
        assert daemon.stop() == 0
        text = daemon.log.read_text()
        lines = [json.loads(line) for line in text.splitlines() if "sirrd.request" in line]
    assert path not in text
    assert "hidden" not in text
    assert [(line["method"], line["route"], line["status"], line["caller"]) for line in lines] == [
        ("POST", "/secrets", 201, "bearer"),
        ("GET", "/secrets/{id}", 200, "anonymous"),
    ]
    assert lines[0]["fingerprint"] == lines[1]["fingerprint"]
    assert re.fullmatch("[0-9a-f]{16}", lines[0]["fingerprint"])
    assert lines[1]["request_id"] == read.headers["x-request-id"]
    assert {line["address"] for line in lines} == {"127.0.0.1"}
    assert all(line["ms"] > 0 for line in lines)


# An end.


def half_a_post(address: str) -> tuple[socket.socket, bytes]:
    """Begin to store a secret; return the connection and what is still to be sent."""
    body = b'{"value":"late"}'
    connection = connected(address)
    head = (
        b"POST /secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    connection.sendall(head + body[:5])
    return connection, body[5:]


def refuses_connections(address: str) -> bool:
    """Tell whether nothing listens any more."""
    try:
        connected(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_lets_requests_in_flight_finish(launch: Launch) -> None:
    """A request that was begun before SIGTERM is answered after it, durably; new connections are refused."""
    with launch() as daemon:
        connection, rest = half_a_post(daemon.address())
        with connection:
            ask(daemon.address(), "GET", "/health")
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(daemon.address()))
            connection.sendall(rest)
            answer = told(connection)
        assert answer.startswith(b"HTTP/1.1 201")
        assert daemon.process.wait(PATIENCE_SECONDS) == 0
    secret = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
    with launch() as daemon:
        assert ask(daemon.address(), "GET", f"/secrets/{secret}")[1]["value"] == "late"


def test_sigterm_cuts_what_does_not_finish(launch: Launch) -> None:
    """A request whose body never ends is cut after `SIRR_SHUTDOWN_SECONDS`, and the exit code is still 0."""
    with launch(SIRR_SHUTDOWN_SECONDS="0.3") as daemon:
        connection, _ = half_a_post(daemon.address())
        with connection:
            ask(daemon.address(), "GET", "/health")
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 5
            assert b"201" not in told(connection)


def test_sigterm_drains_first(launch: Launch) -> None:
    """While it drains `/ready` is 503 and everything is served; a second signal ends the draining."""
    with launch(SIRR_DRAIN_SECONDS="600") as daemon:
        address = daemon.address()
        path = put(address)
        assert ask(address, "GET", "/ready") == (200, {"status": "ready"})
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: ask(address, "GET", "/ready")[0] == 503)
        assert ask(address, "GET", "/ready") == (503, {"status": "unavailable", "reason": "draining"})
        assert ask(address, "GET", "/health")[0] == 200
        assert ask(address, "GET", path)[1]["value"] == "s3cret"
        assert daemon.stop() == 0
        messages = [json.loads(line)["message"] for line in daemon.log.read_text().splitlines() if "message" in line]
        assert messages[-2:] == ["told to stop", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_connections_do_not_hold_up_the_end(launch: Launch, number: signal.Signals) -> None:
    """Silent and kept-alive connections are closed at once, with either signal."""
    with launch() as daemon:
        kept = http.client.HTTPConnection(daemon.address().removeprefix("http://"), timeout=PATIENCE_SECONDS)
        kept.request("GET", "/health")
        kept.getresponse().read()
        with connected(daemon.address()) as silent:
            ask(daemon.address(), "GET", "/health")
            began = time.monotonic()
            daemon.process.send_signal(number)
            assert daemon.process.wait(PATIENCE_SECONDS) == 0
            assert time.monotonic() - began < 5
            assert told(silent) == b""
        kept.close()


# A crash.


def test_i2_what_was_answered_survives_kill_9(launch: Launch) -> None:
    """I2: under load, killed at any instant: every answered write is there, and every answered read stays spent."""
    stored: dict[str, str] = {}
    burned: set[str] = set()
    attempted: set[str] = set()

    def load(address: str, number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for n in range(10_000):
                value = f"value {number} {n}"
                path = put(address, value)
                stored[path] = value
                if n % 2:
                    attempted.add(path)
                    status, answer = ask(address, "GET", path)
                    assert (status, answer["value"]) == (200, value)
                    burned.add(path)

    for round_ in range(4):
        with launch() as daemon:
            loaders = [threading.Thread(target=load, args=(daemon.address(), 4 * round_ + n)) for n in range(4)]
            for loader in loaders:
                loader.start()
            target = len(burned) + 50
            wait_until(lambda: len(burned) >= target)  # noqa: B023 - it is called at once
            daemon.process.kill()
            daemon.process.wait()
            for loader in loaders:
                loader.join()
    assert len(burned) >= 200
    with launch() as daemon:
        for path in burned:
            assert ask(daemon.address(), "GET", path)[0] == 404
        for path in stored.keys() - attempted:
            assert ask(daemon.address(), "GET", path)[1].get("value") == stored[path]


def test_i8_a_crash_leaves_remnants_for_one_tick_at_most(launch: Launch, tmp_path: Path) -> None:
    """I8: a daemon that is started after a crash empties the WAL with its first tick."""
    with launch() as daemon:
        path = put(daemon.address(), "x" * 9000)
        assert ask(daemon.address(), "GET", path)[0] == 200
        daemon.process.kill()
        daemon.process.wait()
    wal = tmp_path / "data" / "sirrd.db-wal"
    assert wal.stat().st_size > 0
    with launch(SIRR_PRUNE_INTERVAL_SECONDS="0.2") as daemon:
        wait_until(lambda: wal.stat().st_size == 0)
        wait_until(lambda: _TRUNCATED in daemon.log.read_text())


# Refusals to start: exit 3, a hint, nothing touched.


def refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check that a command could not start, and that it says why in a line and a hint."""
    assert run.returncode == 3, run.stderr
    assert run.stderr.startswith("sirrd: ")
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr


def test_a_second_daemon_on_one_folder_is_refused(launch: Launch, tmp_path: Path) -> None:
    """Two daemons on one folder: the second exits 3 with a hint, the first does not notice."""
    with launch() as daemon:
        path = put(daemon.address())
        refused(sirrd(tmp_path, "serve"), "another process holds the data folder", "hint:")
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


def test_a_taken_port_is_refused(launch: Launch, tmp_path: Path) -> None:
    """A port that is taken is exit 3, and no data folder is made."""
    with launch() as daemon:
        port = daemon.address().rpartition(":")[2]
        other = tmp_path / "other"
        refused(sirrd(tmp_path, "serve", "--port", port, SIRR_DATA_DIR=str(other)), f"port {port} cannot be bound")
        assert not other.exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the lock."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "sirrd.lock"}


@pytest.mark.parametrize("crashed", [False, True])
def test_a_wrong_encryption_key_is_refused(launch: Launch, tmp_path: Path, crashed: bool) -> None:
    """Another key than the database's: exit 3 with a hint, not a byte of the database changes, the right key works."""
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        path = put(daemon.address())
        if crashed:
            daemon.process.kill()
            daemon.process.wait()
        else:
            assert daemon.stop() == 0
    before = contents(tmp_path / "data")
    refused(sirrd(tmp_path, "serve", SIRR_MASTER_ENCRYPTION_KEY="ab" * 32), "do not open this database", "hint:")
    after = contents(tmp_path / "data")
    for name in ("sirrd.db", "sirrd.db-wal"):
        assert before.get(name, b"") == after.get(name, b"")
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


def test_a_lost_key_file_is_refused(launch: Launch, tmp_path: Path) -> None:
    """A database without its key file is exit 3: no new key is made that could open nothing."""
    with launch() as daemon:
        path = put(daemon.address())
        assert daemon.stop() == 0
    key = tmp_path / "data" / "master.key"
    saved = key.rename(tmp_path / "saved.key")
    refused(sirrd(tmp_path, "serve"), "no key file", "hint:")
    assert not key.exists()
    with launch(SIRR_MASTER_ENCRYPTION_KEY_FILE=str(saved)) as daemon:
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


def test_a_newer_key_before_the_old_one_seals_and_both_open(launch: Launch, tmp_path: Path) -> None:
    """The first key seals, the others open; once used, a key may not be left out."""
    with launch(SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY) as daemon:
        old = put(daemon.address(), "old")
        assert daemon.stop() == 0
    newer = "ab" * 32
    with launch(SIRR_MASTER_ENCRYPTION_KEY=f"{newer},{MASTER_KEY}") as daemon:
        new = put(daemon.address(), "new")
        assert ask(daemon.address(), "GET", old)[1]["value"] == "old"
        assert daemon.stop() == 0
    for alone in (newer, MASTER_KEY):
        refused(sirrd(tmp_path, "serve", SIRR_MASTER_ENCRYPTION_KEY=alone), "do not open this database")
    with launch(SIRR_MASTER_ENCRYPTION_KEY=f"{newer}\n{MASTER_KEY}") as daemon:
        assert ask(daemon.address(), "GET", new)[1]["value"] == "new"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SIRR_MASTER_API_KEY": ""}, ["master_api_key", "blank"]),
        ({"SIRR_MASTER_API_KEY": " \t"}, ["master_api_key", "blank"]),
        ({"SIRR_MASTER_API_KEY_FILE": "/dev/null"}, ["master_api_key", "blank"]),
        ({"SIRR_MASTER_API_KEY_FILE": "not-there"}, ["master_api_key_file"]),
        ({"SIRR_MASTER_API_KEY": "a", "SIRR_MASTER_API_KEY_FILE": "b"}, ["master_api_key", "both"]),
        ({"SIRR_MASTER_ENCRYPTION_KEY": "abc"}, ["encryption key"]),
        ({"SIRR_MASTER_ENCRYPTION_KEY": ""}, ["master_encryption_key", "blank"]),
        ({"SIRR_HOST": "0.0.0.0"}, ["loopback", "SIRR_ALLOW_OPEN"]),
        ({"SIRR_CORS_ORIGINS": "*"}, ["every origin", "SIRR_ALLOW_OPEN"]),
        ({"SIRR_DATABASE_URL": "postgresql://u:hush@h/d"}, ["database_url"]),
        ({"SIRR_PORT": "99999"}, ["port"]),
        ({"SIRR_HOST": "a..b", "SIRR_ALLOW_OPEN": "true"}, ["host: must be an address or a name"]),
        ({"SIRR_HOST": "nobody.invalid", "SIRR_ALLOW_OPEN": "true"}, ["cannot be resolved"]),
        ({"SIRR_PUBLIC_URL": "https://drop.example\n"}, ["public_url"]),
        ({"SIRR_CONFIG": "not-there.toml"}, ["settings file"]),
        ({"SIRR_DATA_DIR": "/proc/nowhere"}, ["data folder"]),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, changes: dict[str, str], words: list[str]) -> None:
    """A bad setting is exit 3 with its name, and its value is not shown."""
    run = sirrd(tmp_path, "serve", **changes)
    refused(run, *words)
    assert "hush" not in run.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_an_open_server_can_be_asked_for(launch: Launch, host: str) -> None:
    """With `SIRR_ALLOW_OPEN` the daemon starts without a key on any address, for every origin."""
    with launch(SIRR_HOST=host, SIRR_CORS_ORIGINS="*", SIRR_ALLOW_OPEN="true") as daemon:
        put(daemon.address())


def test_a_folder_that_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    """A file of another application in the place of the database is exit 3, and stays as it is."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(folder / "sirrd.db")) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()
    before = (folder / "sirrd.db").read_bytes()
    refused(sirrd(tmp_path, "serve", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY), "was not made by sirrd")
    assert (folder / "sirrd.db").read_bytes() == before
    (folder / "sirrd.db").write_bytes(b"no database at all, but long enough to be one" * 100)
    refused(sirrd(tmp_path, "serve", SIRR_MASTER_ENCRYPTION_KEY=MASTER_KEY), "cannot be opened")


@pytest.mark.parametrize("name", ["sirrd.db", "sirrd.db-wal", "master.key", "sirrd.lock"])
def test_a_link_in_the_data_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A symbolic link in the place of a file is exit 3; what it points to is not touched."""
    folder, target = tmp_path / "data", tmp_path / "target"
    folder.mkdir(mode=0o700)
    target.write_text("theirs")
    (folder / name).symlink_to(target)
    refused(sirrd(tmp_path, "serve"), "not a regular file")
    assert target.read_text() == "theirs"


# Raw HTTP.


@pytest.fixture
def address(launch: Launch) -> Iterator[str]:
    """A daemon's address."""
    with launch(SIRR_MAX_VALUE_BYTES="1000") as daemon:
        yield daemon.address()


@pytest.mark.parametrize("verb", ["get", "Get", "READ", "head", "GETS", "PROPFIND"])
def test_other_verbs_spend_nothing(address: str, verb: str) -> None:
    """A verb is what it is, to the letter: no spelling of another one reads."""
    path = put(address)
    answer = said(address, f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer[9:12] in {b"400", b"405"}
    assert ask(address, "GET", path)[1]["value"] == "s3cret"


@pytest.mark.parametrize(
    "target", ["http://localhost{}", "{}", "{}?x=1"], ids=["absolute form", "origin form", "with a query"]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_every_form_of_a_target_is_one_plain_read(address: str, target: str, version: str) -> None:
    """Absolute form, HTTP/1.0, ranges and conditions: one read, 200, the whole value, no validators."""
    path = put(address)
    extra = "Range: bytes=0-1\r\nIf-None-Match: *\r\nExpect: 100-continue\r\nX-HTTP-Method-Override: DELETE\r\n"
    request = f"GET {target.format(path)} HTTP/{version}\r\nHost: localhost\r\n{extra}Connection: close\r\n\r\n"
    answer = said(address, request.encode())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'"value":"s3cret"}')
    assert not re.search(rb"(?i)\r\n(etag|last-modified|accept-ranges|content-range|content-encoding|server):", answer)
    assert ask(address, "GET", path)[0] == 404


@pytest.mark.parametrize("target", ["/{}", "/.{}", "/x/..{}", "/%2e%2e{}", "{}/", "{}/.", "//x{}"])
def test_crooked_paths_reach_nothing(address: str, target: str) -> None:
    """A path is not tidied up on its way to a secret."""
    path = put(address)
    request = f"GET {target.format(path)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert said(address, request.encode())[9:12] in {b"400", b"404"}
    assert ask(address, "GET", path)[0] == 200


def test_pipelined_reads_are_each_counted(address: str) -> None:
    """Three requests in one piece: two reads and a miss, answered in order."""
    path = put(address, max_reads=2)
    one = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = said(address, (one + one + last).encode())
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"404"]


def test_an_endless_head_is_refused(address: str) -> None:
    """A head that does not end within 64 KiB is 400, and the connection is closed."""
    with connected(address) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        for n in range(100):
            connection.sendall(b"X-%d: " % n + b"y" * 4000 + b"\r\n")
        assert told(connection)[9:12] in {b"400", b""}
        return
    ask(address, "GET", "/health")


def test_a_piece_with_many_requests_is_no_endless_head(address: str) -> None:
    """A head is counted from its own beginning, not from that of what arrived with it."""
    count = 900
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Padding: " + b"y" * 60 + b"\r\n\r\n"
    with connected(address) as connection:
        connection.sendall(one * count + b"GET /health HTTP/1.1\r\n")
        connection.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
        assert told(connection).count(b"HTTP/1.1 200") == count + 1


def chunked(trailers: bytes, head: bytes = b"") -> bytes:
    """Return a request whose body is chunked and has trailers."""
    body = b'{"value":"trailed"}'
    return (
        b"POST /secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n" + head + b"\r\n"
        b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)
    )


def test_trailers_are_no_fields(launch: Launch) -> None:
    """A proxy checks the head, so trailers count for nothing: neither as forwarded addresses nor as a bearer."""
    forged = b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.example\r\nAuthorization: Bearer " + API_KEY.encode()
    head = b"X-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer " + API_KEY.encode() + b"\r\n"
    with launch(SIRR_TRUSTED_PROXIES="127.0.0.1", SIRR_MASTER_API_KEY=API_KEY) as daemon:
        assert said(daemon.address(), chunked(forged + b"\r\n"))[9:12] == b"401"
        answer = said(daemon.address(), chunked(forged + b"\r\n", head))
        assert b"http://localhost/s/" in answer
        assert daemon.stop() == 0
        assert "6.6.6.6" not in daemon.log.read_text()
        assert '"address":"203.0.113.7"' in daemon.log.read_text()


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 10_000, b"a: " + b"b" * 60_000], ids=["many", "one"])
def test_endless_trailers_are_cut(address: str, trailers: bytes) -> None:
    """Trailers that do not end are cut off, whether many or one."""
    sent = 0
    with connected(address) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        for _ in range(500):
            connection.sendall(trailers)
            sent += len(trailers)
    assert sent < 16 * 1024 * 1024


def test_an_endless_body_is_refused_at_once_and_cut_later(address: str, launch: Launch) -> None:
    """A body without a length is 413 as soon as it is too long; who goes on sending is cut off."""
    sent = 0
    with connected(address) as connection:
        head = b"POST /secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        connection.sendall(chunk * 2)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(2000):
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("length", ["10000000000", "99999999999999999"])
def test_a_declared_length_over_the_limit_is_refused_unread(address: str, length: str) -> None:
    """A body that declares too much is 413 before a byte of it was sent."""
    with connected(address) as connection:
        head = "POST /secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "head",
    [
        "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused(address: str, head: str) -> None:
    """What is not HTTP is 400, and the daemon lives on."""
    assert said(address, head.encode())[9:12] == b"400"
    assert ask(address, "GET", "/health")[0] == 200


def test_a_client_that_leaves_midway_spends_nothing(address: str) -> None:
    """A request that was not sent whole is no read."""
    path = put(address)
    with connected(address) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode())
    assert ask(address, "GET", path)[0] == 200


async def test_a_slow_reader_holds_nothing_up(launch: Launch) -> None:
    """A client that asks for a large value and does not take it stands in nobody's way, not even the checkpoint's."""
    with launch(SIRR_PRUNE_INTERVAL_SECONDS="0.2") as daemon:
        address = daemon.address()
        path = put(address, "x" * 1_000_000)
        with connected(address) as slow:
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with httpx.AsyncClient(base_url=address) as client:
                answers = await asyncio.gather(*(client.post("/secrets", json={"value": "y"}) for _ in range(100)))
                assert {answer.status_code for answer in answers} == {201}
            ticks = daemon.log.read_text().count(_TRUNCATED)
            wait_until(lambda: daemon.log.read_text().count(_TRUNCATED) > ticks)
