"""The two clients. Everything but the I/O is shared: `operations` makes the calls, `exchange` says what to do next."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from sirrd import __version__
from sirrd.client import operations
from sirrd.client.calls import Answer, Call, Failure, Outcome, Step, Wait, exchange
from sirrd.client.operations import UNSET, Head, Metadata, Named, Number, Page, Pushed, Unset
from sirrd.link import Content, Link

T = TypeVar("T")
PAGE: Final = 500
_TIMEOUT_SECONDS: Final = 30.0
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

# At INFO it writes every URL down, and a URL holds an id.
logging.getLogger("httpx").setLevel(logging.WARNING)


class _Base:
    """What both clients know: the server and its token."""

    def __init__(self, server: str, token: str | None) -> None:
        parts = urlsplit(server)
        _ = parts.port  # raises where it is none
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("the server is named by its URL: https://drop.example")
        self._server = server.rstrip("/")
        self._token = token

    def _request(self, call: Call[T], server: str | None) -> dict[str, Any]:
        """Return what httpx is given. The token goes to the client's own server alone, never to that of a link."""
        headers = {**call.headers, "user-agent": f"sirrd-client/{__version__}", "accept": "application/json"}
        if self._token is not None and server in {None, self._server}:
            headers["authorization"] = f"Bearer {self._token}"
        found: dict[str, Any] = {
            "method": call.method,
            "url": (server or self._server) + call.path,
            "headers": headers,
        }
        return found if call.members is None else {**found, "json": dict(call.members)}

    def _is_own(self, named: Named) -> bool:
        return self._token is not None and named.server in {None, self._server}


def _jitter() -> float:
    return int.from_bytes(os.urandom(2)) / 0xFFFF


def _answered(response: httpx.Response) -> Answer:
    return Answer(
        response.status_code, {name.lower(): text for name, text in response.headers.items()}, response.content
    )


def _failed(error: httpx.HTTPError) -> Failure:
    if isinstance(error, _UNSENT):
        return Failure(was_sent=False, reason="the server cannot be reached")
    if isinstance(error, httpx.TimeoutException):
        return Failure(was_sent=True, reason="the server did not answer in time")
    return Failure(was_sent=True, reason="the connection broke before the answer")


class SirrClient(_Base):
    """A client that blocks.

    Args:
        server: The URL of the server.
        token: Its master API key, for what needs it.
        timeout: Seconds to wait for each step of a request.
        transport: For tests.

    Raises:
        ValueError: `server` is not a URL.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        timeout: float = _TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(server, token)
        self._http = httpx.Client(timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def push(
        self,
        value: str | bytes | Content,
        *,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        keep: bool = False,
        encrypt: bool = True,
        passphrase: str | None = None,
    ) -> Pushed:
        """Store a dead drop, and return the link for its recipient.

        Args:
            value: A text, bytes, or a file with its name.
            ttl: Seconds to live, None for as long as the server allows.
            reads: How often it may be read, None for any number of times.
            keep: Whether its last read seals it, rather than burns it.
            encrypt: Whether it is sealed before it is sent, with a key that stands in the link alone.
            passphrase: Asked for in addition to the link.

        Raises:
            RefusedError: It is too long, or the server refuses it.
            SirrError: It was not stored; where the answer did not come, it may have been, and nobody has its link.
        """
        return self._do(operations.push(value, ttl=ttl, reads=reads, keep=keep, encrypt=encrypt, passphrase=passphrase))

    def get(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> Content:
        """Read a secret, spending one read.

        Args:
            what: A link, an id, or a key.
            org: Of a key; without it the key is looked up over all orgs.
            passphrase: For a link that needs one.

        Raises:
            LockedError: Another passphrase, or a link without its fragment; nothing was spent.
            CannotOpenError: What came does not open; it stands in the error, since the read is spent.
            MaybeSpentError: No answer came.
            SirrError: Nothing was spent.
        """
        named = Named.by(what, org)
        return self._do(operations.get(named, passphrase=passphrase), named.server)

    def head(self, what: str | Link, *, org: str | None = None) -> Head:
        """Describe a secret, spending nothing; a sealed one, too."""
        named = Named.by(what, org)
        return self._do(operations.head(named), named.server)

    def patch(
        self,
        what: str | Link,
        *,
        org: str | None = None,
        value: str | bytes | Content | Unset = UNSET,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        passphrase: str | None = None,
    ) -> Metadata:
        """Change a secret that seals, and revive it; a new value for a link goes on to be opened by that link."""
        named = Named.by(what, org)
        call = operations.patch(named, value=value, ttl=ttl, reads=reads, passphrase=passphrase)
        return self._do(call, named.server)

    def delete(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> None:
        """Delete a secret, with the token as its owner, or else as the recipient of its link."""
        named = Named.by(what, org)
        call = operations.delete(named, passphrase=passphrase, as_owner=self._is_own(named))
        self._do(call, named.server)

    def list(self, *, org: str | None = None) -> Iterator[Metadata]:
        """Yield the metadata of all secrets, or of one org, newest first, page by page."""
        cursor = None
        while True:
            found: Page = self._do(operations.page(org=org, cursor=cursor, limit=PAGE))
            yield from found.secrets
            if (cursor := found.cursor) is None:
                return

    def set(
        self,
        org: str,
        key: str,
        value: str,
        *,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        keep: bool = False,
    ) -> None:
        """Store an org secret, as it is. Raises `ExistsError` where a live one has that key."""
        self._do(operations.set_in(org, key, value, ttl=ttl, reads=reads, keep=keep))

    def prune(self, *, org: str | None = None) -> int:
        """Remove what has expired, and return how many there were."""
        return self._do(operations.prune(org=org))

    def owns(self, what: str | Link) -> bool:
        """Tell whether the token is shown where a secret is: not for a link of another server, or without one."""
        return self._is_own(Named.by(what))

    def check_token(self) -> None:
        """Raise `UnauthorisedError` if the server does not take the token."""
        self._do(operations.page(org=None, cursor=None, limit=1))

    def health(self) -> bool:
        """Tell whether the server takes work.

        Raises:
            UnavailableError: It cannot be reached.
        """
        return self._do(operations.health())

    def _do(self, call: Call[T], server: str | None = None) -> T:
        steps = exchange(call, jitter=_jitter)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._take(step, call, server)

    def _take(self, step: Step, call: Call[T], server: str | None) -> Outcome:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            return _answered(self._http.send(self._http.build_request(**self._request(call, server))))
        except httpx.HTTPError as error:
            return _failed(error)


class AsyncSirrClient(_Base):
    """A client for asyncio; everything else is as in `SirrClient`."""

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        timeout: float = _TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(server, token)
        self._http = httpx.AsyncClient(timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def push(
        self,
        value: str | bytes | Content,
        *,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        keep: bool = False,
        encrypt: bool = True,
        passphrase: str | None = None,
    ) -> Pushed:
        """See `SirrClient.push`."""
        return await self._do(
            operations.push(value, ttl=ttl, reads=reads, keep=keep, encrypt=encrypt, passphrase=passphrase)
        )

    async def get(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> Content:
        """See `SirrClient.get`."""
        named = Named.by(what, org)
        return await self._do(operations.get(named, passphrase=passphrase), named.server)

    async def head(self, what: str | Link, *, org: str | None = None) -> Head:
        """See `SirrClient.head`."""
        named = Named.by(what, org)
        return await self._do(operations.head(named), named.server)

    async def patch(
        self,
        what: str | Link,
        *,
        org: str | None = None,
        value: str | bytes | Content | Unset = UNSET,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        passphrase: str | None = None,
    ) -> Metadata:
        """See `SirrClient.patch`."""
        named = Named.by(what, org)
        call = operations.patch(named, value=value, ttl=ttl, reads=reads, passphrase=passphrase)
        return await self._do(call, named.server)

    async def delete(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> None:
        """See `SirrClient.delete`."""
        named = Named.by(what, org)
        call = operations.delete(named, passphrase=passphrase, as_owner=self._is_own(named))
        await self._do(call, named.server)

    async def list(self, *, org: str | None = None) -> AsyncIterator[Metadata]:
        """See `SirrClient.list`."""
        cursor = None
        while True:
            found: Page = await self._do(operations.page(org=org, cursor=cursor, limit=PAGE))
            for each in found.secrets:
                yield each
            if (cursor := found.cursor) is None:
                return

    async def set(
        self,
        org: str,
        key: str,
        value: str,
        *,
        ttl: Number = UNSET,
        reads: Number = UNSET,
        keep: bool = False,
    ) -> None:
        """See `SirrClient.set`."""
        await self._do(operations.set_in(org, key, value, ttl=ttl, reads=reads, keep=keep))

    async def prune(self, *, org: str | None = None) -> int:
        """See `SirrClient.prune`."""
        return await self._do(operations.prune(org=org))

    def owns(self, what: str | Link) -> bool:
        """See `SirrClient.owns`."""
        return self._is_own(Named.by(what))

    async def check_token(self) -> None:
        """See `SirrClient.check_token`."""
        await self._do(operations.page(org=None, cursor=None, limit=1))

    async def health(self) -> bool:
        """See `SirrClient.health`."""
        return await self._do(operations.health())

    async def _do(self, call: Call[T], server: str | None = None) -> T:
        steps = exchange(call, jitter=_jitter)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._take(step, call, server)

    async def _take(self, step: Step, call: Call[T], server: str | None) -> Outcome:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return _answered(await self._http.send(self._http.build_request(**self._request(call, server))))
        except httpx.HTTPError as error:
            return _failed(error)
