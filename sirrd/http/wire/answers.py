"""Answers: a status, headers and bytes, at once or in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from starlette.types import Receive, Scope, Send

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

Header = tuple[bytes, bytes]


# Answers.


class Answer:
    """An answer whose body is known.

    Attributes:
        fingerprint: What the log calls the secret by that this is about.
    """

    __slots__ = ("body", "fingerprint", "headers", "status")

    def __init__(
        self, status: int, body: bytes, headers: Sequence[Header] = (), *, fingerprint: str | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.fingerprint = fingerprint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        if self.fingerprint is not None:
            scope["state"]["trace"].fingerprint = self.fingerprint
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Stream:
    """An answer that is made while it is sent.

    It ends early, without the final chunk, when making it fails: the connection breaks, and nobody takes what arrived
    for the whole. When the client leaves, no more of it is made.
    """

    __slots__ = ("chunks", "headers", "status")

    def __init__(self, status: int, chunks: AsyncIterator[bytes], headers: Sequence[Header]) -> None:
        self.status = status
        self.chunks = chunks
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        left = asyncio.create_task(_disconnected(receive))
        try:
            # The first chunk is made before the status is sent, so that a store that fails is still a 503.
            first = await anext(self.chunks)
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in self.chunks:
                if left.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# The charset is told although JSON has one: Windows PowerShell 5.1 takes what does not say so for ISO-8859-1.
JSON_TYPE: Final = (b"content-type", b"application/json; charset=utf-8")


def as_json(
    status: int, content: Mapping[str, Any], headers: Sequence[Header] = (), *, fingerprint: str | None = None
) -> Answer:
    """Answer with a JSON object."""
    return as_text(status, encode(content), headers, fingerprint)


def as_text(status: int, content: str, headers: Sequence[Header], fingerprint: str | None) -> Answer:
    """Answer with JSON that is written out already."""
    body = content.encode()
    length = (b"content-length", b"%d" % len(body))
    return Answer(status, body, [JSON_TYPE, length, *headers], fingerprint=fingerprint)
