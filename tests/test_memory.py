"""What is held for clients is bounded in bytes: bodies, values that wait, answers that nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from sirrd.errors import Busy
from sirrd.http.wire.bodies import read_body
from sirrd.memory import MOST_HELD_BYTES, Memory, Quota
from sirrd.model import Caller, Identity, Opened, Plaintext, Terms
from sirrd.server.protocol import Protocol
from sirrd.server.unread import HURRIED_SECONDS, PATIENCE_SECONDS, Unread
from sirrd.store.sqlite.writer import MAX_WAITING, SMALL_BYTES
from tests.conftest import NOW, Daemon, Launch, Opener
from tests.parts import PATIENCE_SECONDS as LONG
from tests.parts import ask, put
from tests.server.test_daemon import connected
from tests.server.test_protocol import Served

MIB = 1024 * 1024
LARGEST = Plaintext.of("x" * MIB)
ANYONE = Caller("open")


def terms(now: int) -> Terms:
    """Return terms without any limit."""
    return Terms(now, None, None, delete=True)


# Quotas.


def test_what_many_hold_together_has_a_bound() -> None:
    """Beyond it nobody gets more; what is given back can be taken by others."""
    quota = Quota(100)
    assert quota.take(60)
    assert not quota.take(41)
    assert quota.take(40)
    assert quota.is_full
    quota.give(60)
    assert not quota.is_full
    assert quota.take(60)


def test_who_is_alone_has_room_for_anything() -> None:
    """Or a value that is allowed could never be stored."""
    quota = Quota(100)
    assert quota.take(1000)
    assert quota.take(500, held=1000)
    assert not quota.take(1)


# Values that wait.


async def test_values_that_wait_are_bounded_in_bytes(opened: Opener, tmp_path: Path) -> None:
    """Of 4 096 puts of the largest value as many are taken as have room; the others are busy, and small ones pass."""
    memory = Memory()
    store = await opened(tmp_path, memory=memory)
    large = [store.put(Identity(f"{n:064x}"), LARGEST, terms, by=ANYONE) for n in range(MAX_WAITING - 10)]
    tasks = [asyncio.ensure_future(each) for each in large]
    await asyncio.sleep(0)
    assert memory.waiting.used <= MOST_HELD_BYTES
    assert sum(unit.size for unit in store._writer._long) <= MOST_HELD_BYTES
    small = await store.put(Identity("f" * 64), Plaintext.of("x" * SMALL_BYTES), terms, by=ANYONE)
    assert small.terms.created_at == NOW
    await store.remove(Identity("f" * 64), by=ANYONE)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stored = [each for each in results if not isinstance(each, BaseException)]
    assert len(stored) == MOST_HELD_BYTES // MIB
    assert {type(each) for each in results if isinstance(each, BaseException)} == {Busy}
    assert memory.waiting.used == 0


async def test_values_of_callers_who_left_are_given_back(opened: Opener, tmp_path: Path) -> None:
    """Whoever cancels what waits gives its room back, and it is not stored."""
    memory = Memory()
    store = await opened(tmp_path, memory=memory)
    tasks = [asyncio.ensure_future(store.put(Identity(f"{n:064x}"), LARGEST, terms, by=ANYONE)) for n in range(20)]
    await asyncio.sleep(0)
    assert memory.waiting.used == 20 * MIB
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.put(Identity("f" * 64), LARGEST, terms, by=ANYONE)
    assert memory.waiting.used == 0


# Bodies that are being read.


class Body:
    """A request whose body comes piece by piece, as it is told."""

    def __init__(self, memory: Memory) -> None:
        self.pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.scope: dict[str, Any] = {"headers": []}
        self.receive = self.pieces.get
        self.state = {"context": cast("Any", type("Context", (), {"memory": memory}))}

    def gets(self, size: int, *, more: bool = True) -> None:
        """Let so many bytes arrive."""
        self.pieces.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})


async def test_bodies_that_are_read_hold_a_bounded_number_of_bytes() -> None:
    """Of many connections with half a body each those that do not fit are busy; small bodies pass."""
    memory = Memory()
    bodies = [Body(memory) for _ in range(100)]
    reading = [asyncio.ensure_future(read_body(cast("Any", body), limit=6 * MIB)) for body in bodies]
    for _ in range(6):
        for body in bodies:
            body.gets(MIB // 2)
        for _ in range(4):
            await asyncio.sleep(0)
        assert memory.bodies.used <= MOST_HELD_BYTES
    refused = [task for task in reading if task.done()]
    assert len(refused) >= 100 - MOST_HELD_BYTES // (3 * MIB) - 1
    assert {type(task.exception()) for task in refused} == {Busy}
    small = Body(memory)
    small.gets(4096)
    small.gets(4096, more=False)
    assert len(await read_body(cast("Any", small), limit=MIB)) == 8192
    for body in bodies:
        body.gets(1, more=False)
    await asyncio.gather(*reading, return_exceptions=True)
    assert memory.bodies.used == 0


async def test_the_largest_body_is_read_alone() -> None:
    """However large the operator lets it be."""
    memory = Memory()
    body = Body(memory)
    reading = asyncio.ensure_future(read_body(cast("Any", body), limit=400 * MIB))
    for _ in range(3):
        body.gets(40 * MIB)
    body.gets(1, more=False)
    assert len(await reading) == 120 * MIB + 1
    assert memory.bodies.used == 0


async def test_too_much_at_once_is_503_with_a_time(daemon: Daemon) -> None:
    """Clients are told when to try again; what is small is stored meanwhile."""
    state = cast("Any", daemon.served)._state
    state["context"].memory.bodies.take(MOST_HELD_BYTES)

    async def pieces() -> Any:
        yield b'{"value":"'
        for _ in range(4):
            yield b"x" * 5000
        yield b'"}'

    headers = {"Content-Type": "application/json"}
    answer = await daemon.client.post("/secrets", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "busy", "1")
    await daemon.put()
    state["context"].memory.bodies.give(MOST_HELD_BYTES)
    assert (await daemon.client.post("/secrets", content=pieces(), headers=headers)).status_code == 201


# Answers that nobody takes.


class Client:
    """A connection that has so many bytes to send."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_cut = False

    def unsent(self) -> int:
        """See `Sends.unsent`."""
        return self.size

    def cut(self) -> None:
        """See `Sends.cut`."""
        self.is_cut = True


def test_who_takes_nothing_is_cut_in_time() -> None:
    """After half a minute without a byte; whoever takes something has time, however slowly."""
    quota = Quota(1000)
    unread = Unread(quota)
    still, slow = Client(100), Client(100)
    for each in (still, slow):
        unread.add(each, at=0)
    for second in range(1, 41):
        slow.size -= 1
        unread.sweep(at=second)
        assert still.is_cut == (second > PATIENCE_SECONDS)
    assert not slow.is_cut
    assert quota.used == 160
    for each in (still, slow, slow):
        unread.remove(each)
    assert quota.used == 0


def test_where_too_much_lies_about_there_is_less_patience() -> None:
    """Those who take nothing for five seconds make room for others; those who do are left alone."""
    unread = Unread(Quota(1000))
    still, slow = Client(900), Client(200)
    for each in (still, slow):
        unread.add(each, at=0)
    for second in range(1, 7):
        slow.size -= 1
        unread.sweep(at=second)
        assert still.is_cut == (second > HURRIED_SECONDS)
    assert not slow.is_cut


async def test_a_connection_is_watched_while_its_client_leaves_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the word of the event loop that it is much, to the word that it is little, or to the end."""
    quota = Quota(1000)
    served = Served()
    protocol: Protocol = served.protocol
    protocol._unread = Unread(quota)
    monkeypatch.setattr(protocol.transport, "get_write_buffer_size", lambda: 700)
    for end in (protocol.resume_writing, lambda: protocol.connection_lost(None)):
        protocol.pause_writing()
        assert quota.used == 700
        end()
        assert quota.used == 0


async def test_no_long_value_is_given_while_answers_lie_about(opened: Opener, tmp_path: Path) -> None:
    """Nothing of it is spent; short values are read, and long ones deleted, as ever."""
    memory = Memory()
    store = await opened(tmp_path, memory=memory)
    long, short, gone = (Identity(letter * 64) for letter in "abc")
    one = Terms(NOW, None, 1, delete=True)
    await store.put(long, LARGEST, lambda _: one, by=ANYONE)
    await store.put(short, Plaintext.of("short"), lambda _: one, by=ANYONE)
    await store.put(gone, LARGEST, lambda _: one, by=ANYONE)
    memory.answers.take(MOST_HELD_BYTES)
    with pytest.raises(Busy):
        await store.claim(long, by=ANYONE)
    assert (await store.claim(short, by=ANYONE)).plaintext.text() == "short"
    await store.remove(gone, by=ANYONE)
    memory.answers.give(MOST_HELD_BYTES)
    opened_: Opened = await store.claim(long, by=ANYONE)
    assert len(opened_.plaintext) == MIB


def test_clients_that_read_nothing_hold_a_bounded_number_of_bytes(launch: Launch) -> None:
    """Of 150 that ask for the largest value and take none of it some get it, the rest are busy; others are served."""
    with launch() as daemon, contextlib.ExitStack() as stack:
        address = daemon.address()
        path = put(address, "x" * MIB, max_reads=None)
        small = put(address)
        status = Path(f"/proc/{daemon.process.pid}/status")

        def resident() -> int:
            found = re.search(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
            assert found is not None
            return int(found[1]) * 1024

        before = resident()
        clients = []
        for _ in range(150):
            client = socket.socket()
            stack.enter_context(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(LONG)
            host, _, port = address.removeprefix("http://").rpartition(":")
            client.connect((host, int(port)))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            clients.append(client)
        statuses = [client.recv(12)[9:12] for client in clients]
        assert resident() - before < 2 * MOST_HELD_BYTES
        assert set(statuses) <= {b"200", b"503"}
        assert ask(address, "GET", small)[1]["value"] == "s3cret"
        with connected(address) as other:
            other.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200")
        assert daemon.stop() == 0
