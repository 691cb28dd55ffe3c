"""Which origins may read which answers: none may ever read a secret.

It sits above the router, so that it also sees preflights, and decides by method and path alone. It cannot keep a
foreign request from running: see `guards`.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sirrd.http.peers import fields

_PREFLIGHT_HEADERS: Final = b"Authorization, Content-Type, X-Sirr-Proof"
_PREFLIGHT_SECONDS: Final = b"600"
_EXPOSED: Final = b"Retry-After, X-Request-Id"


def methods_for_others(path: str) -> tuple[bytes, ...]:
    """Return the methods of a path whose answers a listed origin may read."""
    if path.startswith("/s/"):
        return ()
    # /orgs/{org}/secrets and /orgs/{org}/prune have three segments, a secret below them has four.
    if path.startswith("/secrets/") or (path.startswith("/orgs/") and path.count("/") != 3):  # noqa: PLR2004
        return b"PATCH", b"DELETE"
    return b"GET", b"HEAD", b"POST"


class Cors:
    """Lets listed origins read what is not a secret.

    Args:
        app: What is wrapped.
        origins: The listed origins, or `*` alone.
    """

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._any = origins == ("*",)
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or let the request through and mark its answer."""
        methods = methods_for_others(scope["path"])
        if not methods:
            await self._app(scope, receive, send)
            return
        sent = fields(scope, b"origin")
        origin = sent[0] if len(sent) == 1 and (self._any or sent[0] in self._origins) else None
        wanted = fields(scope, b"access-control-request-method")
        if scope["method"] == "OPTIONS" and wanted and origin is not None and wanted[0] in methods:
            await self._preflight(send, origin, methods)
            return
        allowed = origin if scope["method"].encode() in methods else None

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"vary", b"Origin")]
                if allowed is not None:
                    message["headers"] += [
                        (b"access-control-allow-origin", self._shown(allowed)),
                        (b"access-control-expose-headers", _EXPOSED),
                    ]
            await send(message)

        await self._app(scope, receive, marked)

    async def _preflight(self, send: Send, origin: bytes, methods: tuple[bytes, ...]) -> None:
        headers = [
            (b"access-control-allow-origin", self._shown(origin)),
            (b"access-control-allow-methods", b", ".join(methods)),
            (b"access-control-allow-headers", _PREFLIGHT_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
            (b"vary", b"Origin"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _shown(self, origin: bytes) -> bytes:
        return b"*" if self._any else origin
