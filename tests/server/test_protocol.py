"""The connection: what only a unit shows of how an answer is put together."""

from __future__ import annotations

import asyncio
import logging
import types
from typing import Any, Final, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from sirrd.server.cycle import Cycle
from sirrd.server.protocol import Protocol
from sirrd.server.turns import Outbox


class Pipe:
    """A transport that keeps what was written, piece by piece."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False
        self.is_read = True

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport.write`."""
        self.written.append(data)

    def close(self) -> None:
        """See `asyncio.Transport.close`."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """See `asyncio.Transport.is_closing`."""
        return self.is_closed

    def pause_reading(self) -> None:
        """See `asyncio.Transport.pause_reading`."""
        self.is_read = False

    def resume_reading(self) -> None:
        """See `asyncio.Transport.resume_reading`."""
        self.is_read = True

    def abort(self) -> None:
        """See `asyncio.Transport.abort`."""
        self.is_closed = True

    def get_extra_info(self, _: str) -> None:
        """See `asyncio.Transport.get_extra_info`."""


REFUSED: Final = [
    b"GET /p",
    b"GET /p HTTP/0.9\r\nHost: x",
    b"GET /p HTTP/2.0\r\nHost: x",
    b"GET /p HTTP/1.9\r\nHost: x",
    b"GET /p HTTP/3.7\r\nHost: x",
    b"PRI * HTTP/2.0\r\nHost: x",
    b"GET /p http/1.1\r\nHost: x",
    b"GET /p#f HTTP/1.1\r\nHost: x",
    b"GET /p?q#f HTTP/1.1\r\nHost: x",
    b"GET /p# HTTP/1.0",
    b"GET #f HTTP/1.1\r\nHost: x",
    b"GET p HTTP/1.1\r\nHost: x",
    b"GET x:80 HTTP/1.1\r\nHost: x",
    b"GET /p\tq HTTP/1.1\r\nHost: x",
    b"GET /p q HTTP/1.1\r\nHost: x",
    b"GET /p\0 HTTP/1.1\r\nHost: x",
    b"GET /p\xe9 HTTP/1.1\r\nHost: x",
    b"GET /p?\xc3\xa9 HTTP/1.1\r\nHost: x",
    b"GET /p HTTP/1.1\nHost: x",
    b"GET /p HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d",
    b"GET /p HTTP/1.1\r\nHost: x\r\nA: b\0",
    b"GET /p HTTP/1.1\r\nHost : x",
    b"GET /p HTTP/1.1",
    b"GET /p HTTP/1.1\r\nHost: x\r\nHost: x",
    b"GET http://y/p HTTP/1.1\r\nHost: x",
    b"GET http://u@x/p HTTP/1.1\r\nHost: x",
    b"GET ftp://x/p HTTP/1.1\r\nHost: x",
    b"GET /p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0",
    b"GET /p HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0",
    b"GET /p HTTP/1.1\r\nHost: x\r\nContent-Length: +0",
    b"GET /p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
    b"GET /p HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked",
    b"GET /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
    b"GET /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity",
    b"GET /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity",
    b"GET /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"GET /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked",
]
"""Heads that the parser alone, or a proxy, might take for a request."""


@pytest.mark.parametrize("head", REFUSED)
@pytest.mark.parametrize("tail", [b"\r\n\r\n", b"\r\n\r\n0\r\n\r\n"])
async def test_what_is_no_proper_head_reaches_no_application(head: bytes, tail: bytes) -> None:
    """It is 400 in plain text, the connection ends, and nothing can have been spent; what follows is not read."""
    served = Served()
    await served.gets(head + tail + NEXT)
    assert served.asked == []
    assert [piece[:12] for piece in served.pipe.written] == [b"HTTP/1.1 400"]
    assert served.pipe.is_closed


async def test_a_connection_may_idle_as_long_as_the_operator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request under way is no idleness, and time counts from the end of the last one."""
    served = Served(idle_seconds=5)
    now = served.protocol.loop.time()
    for later, is_closed in ((4.9, False), (5.1, True)):
        monkeypatch.setattr(served.protocol, "loop", types.SimpleNamespace(time=lambda at=now + later: at))
        served.protocol.close_if_idle()
        assert served.pipe.is_closed is is_closed


def cycle(pipe: Pipe, *, method: str = "GET", version: str = "1.1") -> Cycle:
    """Return a request that waits for its answer."""
    transport = cast("asyncio.Transport", pipe)
    return Cycle(
        scope=cast("Any", {"method": method, "http_version": version}),
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    """Return the message that begins an answer."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a message with a part of the body."""
    return {"type": "http.response.body", "body": content, "more_body": more}


LENGTH_2 = (b"content-length", b"2")


async def test_head_and_body_leave_in_one_piece() -> None:
    """A small answer is one system call."""
    pipe = Pipe()
    request = cycle(pipe)
    await request.send(start(LENGTH_2, (b"x-a", b"1")))
    assert pipe.written == []
    await request.send(body(b"ok"))
    assert pipe.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\n\r\nok"]
    assert request.response_complete
    assert not pipe.is_closed


async def test_a_body_of_unknown_length_is_chunked() -> None:
    """Its end is told by a chunk of its own, without which the client knows that it was cut."""
    pipe = Pipe()
    request = cycle(pipe)
    await request.send(start())
    await request.send(body(b"one", more=True))
    await request.send(body(b""))
    assert b"".join(pipe.written).endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n")


async def test_an_older_client_gets_no_chunks() -> None:
    """HTTP/1.0 knows none: such a body ends with the connection."""
    pipe = Pipe()
    await (request := cycle(pipe, version="1.0")).send(start())
    await request.send(body(b"one", more=True))
    await request.send(body(b"two"))
    assert b"".join(pipe.written) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"
    assert pipe.is_closed


async def test_an_answer_to_head_has_no_body() -> None:
    """The length of what GET would give may stand there, the body never."""
    pipe = Pipe()
    await (request := cycle(pipe, method="HEAD")).send(start(LENGTH_2))
    await request.send(body(b"ok"))
    assert pipe.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]


async def test_an_answer_that_says_so_closes() -> None:
    """`connection: close` is obeyed, and told once."""
    pipe = Pipe()
    await (request := cycle(pipe)).send(start((b"connection", b"close"), LENGTH_2))
    await request.send(body(b"ok"))
    assert pipe.written[0].count(b"connection: close\r\n") == 1
    assert pipe.is_closed


@pytest.mark.parametrize("field", [(b"x-a", b"1\r\nx-b: 2"), (b"x-a", b"1\n"), (b"x-a\r", b"1"), (b"x-a\nx-b", b"")])
async def test_no_field_smuggles_another(field: tuple[bytes, bytes]) -> None:
    """A line break in a name or value leaves nothing to send."""
    pipe = Pipe()
    with pytest.raises(RuntimeError, match="line break"):
        await cycle(pipe).send(start(LENGTH_2, field))
    assert pipe.written == []


@pytest.mark.parametrize("content", [b"o", b"too long"])
async def test_a_body_of_another_length_is_never_complete(content: bytes) -> None:
    """A client must not take what it got for the whole."""
    pipe = Pipe()
    await (request := cycle(pipe)).send(start(LENGTH_2))
    with pytest.raises(RuntimeError, match="not as long"):
        await request.send(body(content))
    assert not request.response_complete


async def test_messages_have_an_order() -> None:
    """No body without a head, no second head, nothing after the end."""
    request = cycle(Pipe())
    with pytest.raises(RuntimeError, match="wrong time"):
        await request.send(body(b""))
    await request.send(start(LENGTH_2))
    with pytest.raises(RuntimeError, match="wrong time"):
        await request.send(start(LENGTH_2))
    await request.send(body(b"ok"))
    with pytest.raises(RuntimeError, match="wrong time"):
        await request.send(body(b""))


async def test_who_left_is_sent_nothing() -> None:
    """An answer to nobody is no error."""
    pipe = Pipe()
    request = cycle(pipe)
    request.disconnected = True
    await request.send(start(LENGTH_2))
    await request.send(body(b"ok"))
    assert pipe.written == []


class Served:
    """A connection, and an application that notes what it is asked, reads the body and answers when it may.

    Attributes:
        pipe: What is written to the client.
        protocol: What is told of what the client sends.
        asked: Method, path and body of every request, in order.
        may_answer: Whether answers leave.
    """

    def __init__(self, **options: Any) -> None:
        self.pipe = Pipe()
        self.asked: list[tuple[str, str, bytes]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        config = uvicorn.Config(self, loop="none", http=Protocol, ws="none", lifespan="off", log_config=None)
        self.protocol = Protocol(config, ServerState(), {}, outbox=Outbox(), **options)
        self.protocol.connection_made(cast("asyncio.Transport", self.pipe))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        content = b""
        while (message := await receive())["type"] == "http.request":
            content += message["body"]
            if not message["more_body"]:
                break
        self.asked.append((scope["method"], scope["path"], content))
        await self.may_answer.wait()
        await send(start(LENGTH_2))
        await send(body(b"ok"))

    async def gets(self, *pieces: bytes) -> None:
        """Send pieces, each of which is dealt with before the next, if the server listens."""
        for piece in pieces:
            if self.pipe.is_read:
                self.protocol.data_received(piece)
            for _ in range(20):
                await asyncio.sleep(0)


WISH = b"POST /first HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAMED = [
    b"Content-Length: %d\r\n\r\n%b" % (len(NEXT), NEXT),
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT),
]


@pytest.mark.parametrize("framed", FRAMED, ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 7, 9999])
async def test_the_body_of_a_request_that_wishes_for_an_upgrade_is_its_body(framed: bytes, size: int) -> None:
    """It is no request of its own, whatever it looks like, and what comes after it is not lost."""
    served = Served()
    sent = (WISH + framed) * 2 + NEXT
    await served.gets(*[sent[at : at + size] for at in range(0, len(sent), size)])
    assert served.asked == [("POST", "/first", NEXT)] * 2 + [("GET", "/next", b"")]
    assert len(served.pipe.written) == 3


async def test_a_request_for_a_tunnel_is_the_last() -> None:
    """What follows it was meant for another end."""
    served = Served()
    await served.gets(b"CONNECT /first HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT, NEXT)
    assert served.asked == [("CONNECT", "/first", b"")]
    assert served.pipe.is_closed


async def test_a_request_that_asks_for_its_body_does_not_have_more_read_than_can_be_parsed() -> None:
    """While a request waits for its turn, nothing more is taken from the client, whatever the one before it does."""
    served = Served()
    served.may_answer.clear()
    await served.gets(*[NEXT * 1000] * 10)
    assert len(served.asked) == 1
    assert not served.pipe.is_read
    assert len(served.protocol._unparsed) <= 1000 * len(NEXT)
    served.may_answer.set()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(served.protocol._unparsed) <= 1000 * len(NEXT)


async def test_everyone_who_is_being_served_learns_that_the_client_left() -> None:
    """It is not only the request that came last."""
    served = Served()
    served.may_answer.clear()
    await served.gets(NEXT * 2)
    first = served.protocol._served_now
    assert first is not None
    served.pipe.is_closed = True
    served.protocol.connection_lost(None)
    assert (await first.receive())["type"] == "http.disconnect"
    served.may_answer.set()
    await asyncio.sleep(0)
    assert served.pipe.written == []


async def test_http_1_0_is_not_told_to_continue() -> None:
    """It would take that for the answer (RFC 9110, 10.1.1)."""
    served = Served()
    await served.gets(b"POST /first HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ok")
    assert [piece.split(b"\r\n", 1)[0] for piece in served.pipe.written] == [b"HTTP/1.1 200 OK"]


async def test_answers_of_one_turn_leave_together_in_their_order() -> None:
    """Nothing is written while requests are being served, and then everything at once."""
    outbox, pipes = Outbox(), [Pipe(), Pipe()]
    for number in range(4):
        outbox.put(cast("asyncio.Transport", pipes[number % 2]), b"%d" % number)
    assert [pipe.written for pipe in pipes] == [[], []]
    await asyncio.sleep(0)
    assert [pipe.written for pipe in pipes] == [[b"0", b"2"], [b"1", b"3"]]
    await asyncio.sleep(0)
    assert [pipe.written for pipe in pipes] == [[b"0", b"2"], [b"1", b"3"]]


class ResetPipe(Pipe):
    """A transport whose connection was reset: uvloop's refuses to write then."""

    def write(self, _: bytes) -> None:
        """See `asyncio.Transport.write`."""
        raise RuntimeError("unable to perform operation; the handler is closed")


async def test_a_connection_that_was_reset_takes_no_other_answer_along() -> None:
    """Its answer is lost; those before and behind it leave."""
    outbox, pipes = Outbox(), [Pipe(), ResetPipe(), Pipe()]
    for pipe in pipes:
        outbox.put(cast("asyncio.Transport", pipe), b"answer")
    await asyncio.sleep(0)
    assert [pipe.written for pipe in pipes] == [[b"answer"], [], [b"answer"]]
    assert [pipe.is_closed for pipe in pipes] == [False, True, False]


@pytest.mark.parametrize("end", ["shutdown", "abort", "eof"])
async def test_what_was_answered_goes_out_before_the_end(end: str) -> None:
    """However a connection ends in the turn in which an answer was made, the kernel has it."""
    served = Served()
    served.may_answer.clear()
    await served.gets(NEXT)
    served.may_answer.set()
    while not served.protocol.cycle.response_complete:
        assert served.pipe.written == []
        await asyncio.sleep(0)
    {
        "shutdown": served.protocol.shutdown,
        "abort": served.protocol.transport.abort,
        "eof": served.protocol.eof_received,
    }[end]()
    assert [piece.split(b"\r\n", 1)[0] for piece in served.pipe.written] == [b"HTTP/1.1 200 OK"]


async def test_much_is_not_held_back() -> None:
    """An outbox has a size; what goes beyond it is written at once, with all before it."""
    outbox, pipe = Outbox(), Pipe()
    piece = bytes(100_000)
    for _ in range(3):
        outbox.put(cast("asyncio.Transport", pipe), piece)
    assert pipe.written == [piece] * 3


async def test_a_request_is_told_to_continue_after_the_answer_before_it() -> None:
    """Both are written within one turn, and the client tells them apart by their order."""
    served = Served()
    wait = b"POST /second HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    await served.gets(NEXT + wait, b"ok")
    assert [piece.split(b"\r\n", 1)[0].split(b" ", 1)[1] for piece in served.pipe.written] == [
        b"200 OK",
        b"100 Continue",
        b"200 OK",
    ]
