"""The connection: what only a unit shows of how an answer is put together."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from sirrd.protocol import Cycle


class Pipe:
    """A transport that keeps what was written, piece by piece."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport.write`."""
        self.written.append(data)

    def close(self) -> None:
        """See `asyncio.Transport.close`."""
        self.is_closed = True


def cycle(pipe: Pipe, *, method: str = "GET") -> Cycle:
    """Return a request that waits for its answer."""
    transport = cast("asyncio.Transport", pipe)
    return Cycle(
        scope=cast("Any", {"method": method}),
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
