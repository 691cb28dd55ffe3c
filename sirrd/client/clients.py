"""The two clients. Everything but the I/O is shared: `operations` makes the calls, `exchange` says what to do next."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx

from sirrd.client import operations
from sirrd.client.answers import Version
from sirrd.client.calls import Call, Outcome, Step, Wait, version
from sirrd.client.errors import SirrError
from sirrd.client.named import Named
from sirrd.client.party import Cursors, Party
from sirrd.client.reading import AsyncReading, Reading
from sirrd.client.transports import Ways, afetch, fetch
from sirrd.client.values import UNSET, Head, Metadata, Number, Page, Pushed, Unset
from sirrd.link import Content, Link

T = TypeVar("T")
PAGE: Final = 500
_TIMEOUT_SECONDS: Final = 30.0


class SirrClient(Party):
    """A client that blocks.

    Args:
        server: The URL of the server.
        token: Its master API key, for what needs it.
        timeout: Seconds to wait for each step of a request.
        cacert: A file with the certificates (PEM) that are trusted, and no others; without it `SSL_CERT_FILE` and
            `SSL_CERT_DIR` count, or else what the system trusts.
        transport: For tests.

    Raises:
        SettingError: The server, the token, the certificates or the environment's proxy cannot be used. It is a
            `ValueError`, too.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        timeout: float = _TIMEOUT_SECONDS,
        cacert: str | os.PathLike[str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(server, token, timeout)
        self._ways: Ways[httpx.BaseTransport] = Ways(
            lambda trust, proxy: httpx.HTTPTransport(verify=trust, proxy=proxy, trust_env=False),
            cacert=cacert,
            given=transport,
        )
        self._ways.to(self._server)  # raises now rather than later

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        for transport in self._ways.all():
            transport.close()

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
            RefusedError: It is empty, or the server refuses it, as too long for example.
            SirrError: It was not stored; where the answer did not come, it may have been, and nobody has its link.
        """
        return self._do(operations.push(value, ttl=ttl, reads=reads, keep=keep, encrypt=encrypt, passphrase=passphrase))

    def get(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> Content:
        """Read a secret, spending one read, and tell the server that it has arrived.

        Where the answer is lost it is asked for again, which spends nothing more. What is read is in the caller's
        hands only when this returns: whoever has to write it somewhere first takes `read`.

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
        reading = self.read(what, org=org, passphrase=passphrase)
        reading.received()
        return reading.content

    def read(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> Reading:
        """Read a secret as `get` does, but leave it to the caller to say when it is safe: `Reading.received`."""
        named = Named.by(what, org)
        call = operations.get(named, passphrase=passphrase)
        content = self._do(call, named.server)
        return Reading(content, lambda: self._say_received(call, named.server))

    def _say_received(self, reading: Call[Content], server: str | None) -> None:
        # The server forgets it in a while by itself, and one of an earlier release has nothing to forget.
        with contextlib.suppress(SirrError):
            self._do(operations.received(reading), server)

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
        call = operations.delete(named, passphrase=passphrase, as_owner=self._shows_token(named.server))
        self._do(call, named.server)

    def list(self, *, org: str | None = None) -> Iterator[Metadata]:
        """Yield the metadata of all secrets, or of one org, newest first, page by page."""
        cursor, cursors = None, Cursors()
        while True:
            found: Page = self._do(operations.page(org=org, cursor=cursor, limit=PAGE))
            yield from found.secrets
            if (cursor := cursors.after(found)) is None:
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
        return self._shows_token(Named.by(what).server)

    def check_token(self) -> None:
        """Raise `UnauthorisedError` if the server does not take the token."""
        self._do(operations.page(org=None, cursor=None, limit=1))

    def health(self) -> bool:
        """Tell whether the server takes work.

        Raises:
            UnavailableError: It cannot be reached.
        """
        return self._do(operations.health())

    def about(self) -> Version:
        """Ask for the server's release and its limits; an older release says less."""
        return self._do(version())

    def _do(self, call: Call[T], server: str | None = None) -> T:
        steps = self._steps(call, server)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._take(step, server)

    def _take(self, step: Step, server: str | None) -> Outcome:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        transport, proxy = self._ways.to(server or self._server)
        return fetch(transport, self._request(step.call, server), longest=step.call.longest, proxy=proxy)


class AsyncSirrClient(Party):
    """A client for asyncio; everything else is as in `SirrClient`."""

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        timeout: float = _TIMEOUT_SECONDS,
        cacert: str | os.PathLike[str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(server, token, timeout)
        self._ways: Ways[httpx.AsyncBaseTransport] = Ways(
            lambda trust, proxy: httpx.AsyncHTTPTransport(verify=trust, proxy=proxy, trust_env=False),
            cacert=cacert,
            given=transport,
        )
        self._ways.to(self._server)  # raises now rather than later

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        for transport in self._ways.all():
            await transport.aclose()

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
        reading = await self.read(what, org=org, passphrase=passphrase)
        await reading.received()
        return reading.content

    async def read(self, what: str | Link, *, org: str | None = None, passphrase: str | None = None) -> AsyncReading:
        """See `SirrClient.read`."""
        named = Named.by(what, org)
        call = operations.get(named, passphrase=passphrase)
        content = await self._do(call, named.server)
        return AsyncReading(content, lambda: self._say_received(call, named.server))

    async def _say_received(self, reading: Call[Content], server: str | None) -> None:
        with contextlib.suppress(SirrError):
            await self._do(operations.received(reading), server)

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
        call = operations.delete(named, passphrase=passphrase, as_owner=self._shows_token(named.server))
        await self._do(call, named.server)

    async def list(self, *, org: str | None = None) -> AsyncIterator[Metadata]:
        """See `SirrClient.list`."""
        cursor, cursors = None, Cursors()
        while True:
            found: Page = await self._do(operations.page(org=org, cursor=cursor, limit=PAGE))
            for each in found.secrets:
                yield each
            if (cursor := cursors.after(found)) is None:
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
        return self._shows_token(Named.by(what).server)

    async def check_token(self) -> None:
        """See `SirrClient.check_token`."""
        await self._do(operations.page(org=None, cursor=None, limit=1))

    async def health(self) -> bool:
        """See `SirrClient.health`."""
        return await self._do(operations.health())

    async def about(self) -> Version:
        """See `SirrClient.about`."""
        return await self._do(version())

    async def _do(self, call: Call[T], server: str | None = None) -> T:
        steps = self._steps(call, server)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._take(step, server)

    async def _take(self, step: Step, server: str | None) -> Outcome:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        transport, proxy = self._ways.to(server or self._server)
        return await afetch(transport, self._request(step.call, server), longest=step.call.longest, proxy=proxy)
