"""The outermost layer: who is meant, headers for every answer, the line in the log; and the net under exceptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sirrd.clock import Clock
from sirrd.entropy import Entropy
from sirrd.http.context import Trace
from sirrd.http.hosts import Hosts
from sirrd.http.peers import Peers
from sirrd.http.problems import Problems
from sirrd.log import RequestLine, RequestLog

logger = logging.getLogger(__name__)
REQUEST_ID_BYTES: Final = 8
HEADERS: Final = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
"""On every answer, unless the answer has a stricter or fitting one of its own."""

_NAMES: Final = frozenset(HEADERS)
_FIELDS: Final = tuple(HEADERS.items())
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class Edge:
    """Wraps the whole application."""

    def __init__(
        self, app: ASGIApp, *, hosts: Hosts, peers: Peers, log: RequestLog, clock: Clock, entropy: Entropy
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._peers = peers
        self._log = log
        self._clock = clock
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = time.perf_counter()
        trace = Trace(self._entropy(REQUEST_ID_BYTES).hex(), self._peers.address(scope))
        scope["state"]["trace"] = trace

        def stamped(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                message["headers"] = _completed(message["headers"], trace.request_id)
            return send(message)

        try:
            # A request that is meant for another server meets no other layer.
            await (self._hosts.refusal(scope) or self._app)(scope, receive, stamped)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            took = time.perf_counter() - began
            self._log.add(
                RequestLine(
                    method,
                    trace.route,
                    trace.status,
                    took,
                    trace.caller,
                    trace.address,
                    trace.request_id,
                    trace.fingerprint,
                ),
                at=self._clock.now(),
            )


def _completed(headers: Sequence[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer and those that every answer has; its own stay as they are."""
    mark = (b"x-request-id", request_id.encode())
    own = [name for name, _ in headers]
    if _NAMES.isdisjoint(own):
        return [*_FIELDS, *headers, mark]
    return [*(field for field in _FIELDS if field[0] not in own), *headers, mark]


class Net:
    """Answers exceptions: those of the table, and what nobody expected. Below it nothing needs a `try`."""

    def __init__(self, app: ASGIApp, problems: Problems) -> None:
        self._app = app
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            # Nobody is left to be answered.
            pass
        except Exception as error:
            answer = self._problems.solve(scope, error)
            trace: Trace = scope["state"]["trace"]
            if answer is None:
                logger.exception("a request failed", extra={"fields": {"request_id": trace.request_id}})
                answer = self._problems.crashed(scope)
            if not trace.status:
                await answer(scope, receive, send)
            # Where part of an answer is out, ending here without its last chunk breaks the connection.
