"""What one turn of the event loop does for clients that send without end is bounded, and others come first."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from sirrd.server import protocol as module
from sirrd.server.protocol import SLICE_BYTES, Protocol
from sirrd.server.reading import READ_BYTES, Reader
from sirrd.server.turns import COST_A_TURN, Outbox, Turns
from tests.parts import environment
from tests.server.test_protocol import Pipe, body, start

CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE_BYTE_CHUNKS = b"1\r\nx\r\n" * (READ_BYTES // 6)
GET = b"GET /light HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENTS = 64


class Service:
    """Connections that share an event loop, and an application that reads whole bodies.

    Attributes:
        asked: The paths of requests whose bodies were complete.
        chunks: How many chunks were parsed so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.chunks = 0
        self.turns, self.outbox = Turns(), Outbox()
        self.config = uvicorn.Config(
            self, loop="none", http=Protocol, ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        counted = Protocol.on_chunk_header

        def count(protocol: Protocol) -> None:
            self.chunks += 1
            counted(protocol)

        monkeypatch.setattr(Protocol, "on_chunk_header", count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        while (message := await receive())["type"] == "http.request":
            if not message["more_body"]:
                break
        else:
            return
        self.asked.append(scope["path"])
        await send(start((b"content-length", b"2")))
        await send(body(b"ok"))

    def connect(self, *, most_framing: int = 1_000_000) -> tuple[Protocol, Pipe]:
        """Open a connection."""
        pipe = Pipe()
        protocol = Protocol(
            self.config, ServerState(), {}, outbox=self.outbox, turns=self.turns, most_framing=most_framing
        )
        protocol.connection_made(cast("asyncio.Transport", pipe))
        return protocol, pipe


async def turns_until(happened: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so, within a bound."""
    for _ in range(100_000):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """Connections of one event loop."""
    return Service(monkeypatch)


async def test_a_turn_parses_only_so_much(service: Service) -> None:
    """Of 64 clients that send chunks of one byte as fast as they are read, a turn parses a few hundred chunks."""
    clients = [service.connect() for _ in range(CLIENTS)]
    for protocol, _ in clients:
        protocol.data_received(CHUNKED)
    await asyncio.sleep(0)
    # What has just arrived, and what earlier turns left, have a share each, and end with the slice that uses it up.
    most = 2 * (COST_A_TURN // 38 + SLICE_BYTES // 6 + 1)
    for _ in range(200):
        before = service.chunks
        for protocol, pipe in clients:
            if pipe.is_read:
                protocol.data_received(ONE_BYTE_CHUNKS)
        await asyncio.sleep(0)
        assert 0 < service.chunks - before <= most
        assert all(len(protocol._unparsed) <= READ_BYTES for protocol, _ in clients)
    # Everyone had a part of it.
    assert min(protocol._framing_bytes for protocol, _ in clients) > 0


async def test_who_sends_little_comes_first(service: Service) -> None:
    """A request is parsed in the turn in which it arrives, or in the next, whatever 64 others send."""
    clients = [service.connect() for _ in range(CLIENTS)]
    for protocol, _ in clients:
        protocol.data_received(CHUNKED)
    light, pipe = service.connect()
    for number in range(1, 50):
        for protocol, other in clients:
            if other.is_read:
                protocol.data_received(ONE_BYTE_CHUNKS)
        light.data_received(GET)
        for _ in range(4):
            await asyncio.sleep(0)
        assert service.asked == ["/light"] * number
        assert len(pipe.written) == number


async def test_everything_that_was_sent_is_parsed_in_the_end(service: Service) -> None:
    """What has to wait is neither lost nor mixed up: a body in many pieces, then another request."""
    protocol, pipe = service.connect()
    sent = CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n" + GET
    for at in range(0, len(sent), READ_BYTES):
        await turns_until(lambda: pipe.is_read)
        protocol.data_received(sent[at : at + READ_BYTES])
    await turns_until(lambda: len(service.asked) == 2)
    assert service.asked == ["/a", "/light"]
    assert pipe.is_read


async def test_a_read_has_a_size() -> None:
    """The event loop reads so much at a time and no more, into a buffer that all connections share."""
    taken: list[bytes] = []

    class Taker(Protocol):
        def __init__(self) -> None:
            pass

        def data_received(self, data: bytes) -> None:
            taken.append(data)

    first, second = Reader(Taker()), Reader(Taker())
    buffer = first.get_buffer(1_000_000)
    assert len(buffer) == READ_BYTES
    assert second.get_buffer(-1) is buffer
    buffer[:3] = b"abc"
    first.buffer_updated(3)
    buffer[:3] = b"xyz"
    second.buffer_updated(2)
    assert taken == [b"abc", b"xy"]


@pytest.mark.parametrize(
    "frame",
    [b"1\r\nx\r\n", b"1;" + b"e" * 1000 + b"\r\nx\r\n", b"1;e=" + b"e" * 100_000],
    ids=["bytes", "extensions", "one"],
)
async def test_what_frames_a_body_has_a_bound(service: Service, frame: bytes) -> None:
    """Sizes and extensions of chunks cost what a body costs, and are bounded as that is: then 400, and the end."""
    protocol, pipe = service.connect(most_framing=50_000)
    protocol.data_received(CHUNKED)
    sent = 0
    while not pipe.is_closed:
        if pipe.is_read:
            protocol.data_received(
                (frame * (READ_BYTES // len(frame) + 1))[:READ_BYTES] if sent else frame[:READ_BYTES]
            )
            sent += READ_BYTES
        assert sent < 200_000
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(pipe.written).startswith(b"HTTP/1.1 400 ")
    assert service.asked == []


async def test_a_body_may_be_framed_as_it_likes_within_the_bound(service: Service) -> None:
    """A client that sends its body byte by byte is served."""
    protocol, pipe = service.connect(most_framing=50_000)
    protocol.data_received(CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
    await turns_until(lambda: bool(service.asked))
    assert not pipe.is_closed


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n" * 1000, b"1;" + b"e" * 6000], ids=["chunks", "extension"])
async def test_a_remainder_that_nobody_reads_is_counted_as_it_comes(
    service: Service, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    """What follows an answer that did not wait for its body is skipped up to a bound, whatever it consists of."""
    monkeypatch.setattr(module, "MAX_UNREAD_BYTES", 100_000)
    protocol, pipe = service.connect()
    protocol.data_received(CHUNKED)
    await asyncio.sleep(0)
    protocol.cycle.response_started = protocol.cycle.response_complete = True
    sent = 0
    while not pipe.is_closed:
        if pipe.is_read:
            protocol.data_received(piece if sent == 0 or piece[1] == ord("\r") else b"e" * 6000)
            sent += 6000
        assert sent < 200_000
        await asyncio.sleep(0)
    assert sent > (90_000 if b";" in piece else 12_000)  # chunks count for more than their size


async def test_who_does_not_take_answers_is_asked_for_no_more_requests(service: Service) -> None:
    """While an answer lies about, what was pipelined behind it is neither parsed nor served; then it goes on."""
    protocol, pipe = service.connect()
    protocol.data_received(GET)
    protocol.pause_writing()  # the event loop says that the client has left much of it
    for _ in range(10):
        await asyncio.sleep(0)
    assert service.asked == ["/light"]
    protocol.data_received(GET * 100)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not pipe.is_read
    assert len(service.asked) == 1
    protocol.resume_writing()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(service.asked) == 101
    assert pipe.is_read


async def test_a_connection_that_ends_in_the_queue_is_forgotten(service: Service) -> None:
    """What is left of its last read is not parsed."""
    protocol, pipe = service.connect()
    protocol.data_received(CHUNKED + ONE_BYTE_CHUNKS)
    pipe.is_closed = True
    protocol.connection_lost(None)
    before = service.chunks
    for _ in range(10):
        await asyncio.sleep(0)
    assert service.chunks == before
    assert protocol._unparsed == b""


def test_the_thread_that_commits_gets_its_turn(tmp_path: Path) -> None:
    """A serving daemon gives the interpreter away soon: the default of 5 ms would be paid several times a commit."""
    program = """
import os, signal, sys
from sirrd.config.settings import Settings
from sirrd.server.process import serve
def started(address):
    print(sys.getswitchinterval())
    os.kill(os.getpid(), signal.SIGTERM)
serve(Settings(), started=started)
"""
    variables = environment(SIRR_DATA_DIR=str(tmp_path / "data"), SIRR_PORT="0")
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) <= 0.0002
