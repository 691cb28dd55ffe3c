"""What `protocol`, `cycle`, `server` and `listener` assume of uvicorn, uvloop and httptools without a promise.

A new version that fails here broke the assumption that the test is named after.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable
from typing import Any

import httptools
import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from sirrd.server.reading import READ_BYTES
from tests.parts import PATIENCE_SECONDS


def names(function: Callable[..., Any]) -> list[str]:
    """Return the parameters of a function."""
    return list(inspect.signature(function).parameters)


def test_the_protocol_is_made_as_we_make_it() -> None:
    """`Protocol.__init__` hands these on, and `server` gives them by name."""
    assert names(HttpToolsProtocol.__init__) == ["self", "config", "server_state", "app_state", "_loop"]


@pytest.mark.parametrize(
    "name",
    [
        *("connection_made", "connection_lost", "pause_writing", "resume_writing", "shutdown", "send_400_response"),
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
        "on_response_complete",
    ],
)
def test_the_protocol_has_the_methods_that_we_override_or_call(name: str) -> None:
    """A method that was renamed would silently not be overridden."""
    assert callable(getattr(HttpToolsProtocol, name))


def test_a_connection_has_the_attributes_that_we_use() -> None:
    """They are set in `__init__` and when a message begins."""

    async def served(_scope: object, _receive: object, _send: object) -> None:
        """Stand for an application."""

    config = uvicorn.Config(served, loop="none", http="httptools", ws="none", log_config=None, interface="asgi3")

    async def attributes() -> set[str]:
        protocol = HttpToolsProtocol(config, ServerState(), {})
        protocol.on_message_begin()
        assert protocol.scope["headers"] is protocol.headers
        return set(vars(protocol))

    used = {"app", "loop", "logger", "access_logger", "parser", "server_state", "connections", "tasks", "app_state"}
    used |= {"transport", "flow", "scope", "headers", "url", "cycle", "expect_100_continue"}
    assert used <= asyncio.run(attributes())


def test_a_cycle_is_made_as_we_make_it() -> None:
    """`Protocol.on_headers_complete` gives these by name."""
    assert names(RequestResponseCycle.__init__)[1:] == [
        *("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event"),
        *("expect_100_continue", "keep_alive", "on_response"),
    ]


def test_a_cycle_takes_a_body_as_we_give_it() -> None:
    """`receive` resumes reading before it waits, waits for `message_event`, and takes `body` and `more_body`."""
    code = inspect.getsource(RequestResponseCycle.receive)
    order = ["self.flow.resume_reading()", "self.message_event.wait()", "bytes(self.body)", "self.more_body"]
    places = [code.index(each) for each in order]
    assert places == sorted(places)
    assert "self.on_response = lambda: None" in inspect.getsource(RequestResponseCycle.run_asgi)


def test_flow_is_controlled_as_we_control_it() -> None:
    """`_Flow` overrides `resume_reading`; `write_paused` and `drain` are what answers wait by."""
    for name in ("drain", "pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(FlowControl, name))
    assert HIGH_WATER_LIMIT >= READ_BYTES


def test_status_lines_are_bytes_with_a_line_break() -> None:
    """`Cycle` begins heads with them."""
    assert STATUS_LINE[404] == b"HTTP/1.1 404 Not Found\r\n"


def test_the_server_ends_as_we_let_it_end() -> None:
    """`_Server` overrides these, and `shutdown` closes `servers`, tells connections, and waits for `tasks`."""
    for name in ("startup", "on_tick", "shutdown", "capture_signals", "serve"):
        assert callable(getattr(Server, name))
    code = inspect.getsource(Server.shutdown) + inspect.getsource(Server._wait_tasks_to_complete)
    for part in ("for server in self.servers", "server.close()", "server.wait_closed()", "connection.shutdown()"):
        assert part in code
    for part in ("self.server_state.tasks", "self.config.timeout_graceful_shutdown", "self.force_exit"):
        assert part in code


def test_the_parser_says_what_we_listen_to() -> None:
    """A chunk begins with `on_chunk_header`, and trailers come by `on_header` behind the last one."""
    heard: list[str] = []

    class Listener:
        def __getattr__(self, name: str) -> Callable[..., None]:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda *_: heard.append(name)

    parser = httptools.HttpRequestParser(Listener())
    parser.feed_data(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;e=f\r\nx\r\n0\r\nT: v\r\n\r\n")
    wanted = ["on_message_begin", "on_url", "on_header", "on_headers_complete", "on_chunk_header", "on_body"]
    wanted += ["on_chunk_header", "on_header", "on_message_complete"]
    places = [heard.index(name) for name in wanted[:6]]
    assert places == sorted(places)
    assert [name for name in heard if name in wanted] == wanted


def test_uvloop_reads_into_our_buffer_and_stops_when_told() -> None:
    """One that is paused by what it was given is given no more in the same turn; a resumed one goes on."""
    pieces: list[int] = []
    came = asyncio.Semaphore(0)
    buffer = memoryview(bytearray(1000))

    class Slow(asyncio.BufferedProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def get_buffer(self, _: int) -> memoryview:
            return buffer

        def buffer_updated(self, size: int) -> None:
            pieces.append(size)
            came.release()
            self.transport.pause_reading()  # type: ignore[attr-defined]

    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(bytes(3500))
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(Slow, theirs)
            for number in range(1, 5):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await came.acquire()
                await asyncio.sleep(0.01)  # in which more would come
                assert len(pieces) == number
                transport.resume_reading()
            transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert pieces == [1000, 1000, 1000, 500]
