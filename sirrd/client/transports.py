"""The way to a server, and one request on it: httpx moves the bytes, and everything that it decides is decided here.

Not `httpx.Client`, which keeps cookies, reads the environment, and takes redirects apart that are not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

import httpx

from sirrd import alarm
from sirrd.client import addresses, environment
from sirrd.client.answers import Answer, Body
from sirrd.client.environment import Proxy
from sirrd.client.failures import Failure, failure_of

_SLOWEST_BYTES_PER_SECOND: Final = 4096
_SENT: Final = "send_request_headers.started"
_CONNECTED: Final = ("connect_tcp.complete", "start_tls.complete")
TransportT = TypeVar("TransportT")


class Ways(Generic[TransportT]):
    """The transports of a client, made when they are needed: one for each proxy, with TLS or without.

    Args:
        make: Makes one.
        cacert: As in `environment.trust`.
        given: The only one, of a test; or None.
    """

    def __init__(
        self,
        make: Callable[[ssl.SSLContext, httpx.Proxy | None], TransportT],
        *,
        cacert: str | os.PathLike[str] | None,
        given: TransportT | None,
    ) -> None:
        self._make = make
        self._cacert = cacert
        self._given = given
        self._made: dict[tuple[str | None, bool], TransportT] = {}

    def to(self, server: str) -> tuple[TransportT, Proxy | None]:
        """Return the transport to a server, and the proxy that it goes through.

        Raises:
            SettingError: The environment does not allow for one.
        """
        if self._given is not None:
            return self._given, None
        address = addresses.parse(server)
        proxy = environment.proxy_for(address)
        needs_tls = address.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        key = (None if proxy is None else proxy.url, needs_tls)
        if key not in self._made:
            # Without TLS nothing is asked of it: the certificates of a system take a while to load.
            trust = environment.trust(self._cacert) if needs_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            through = None if proxy is None else httpx.Proxy(proxy.url, ssl_context=_of_proxy(proxy, trust))
            # Of two threads that make one at once, one is left with nothing to close.
            self._made.setdefault(key, self._make(trust, through))
        return self._made[key], proxy

    def all(self) -> list[TransportT]:
        """Return all that there are."""
        return [*self._made.values(), *([] if self._given is None else [self._given])]


def _of_proxy(proxy: Proxy, trust: ssl.SSLContext) -> ssl.SSLContext | None:
    return trust if proxy.scheme == "https" else None


class Watch:
    """Follows a request: has it begun to be sent? Until then a read cannot have been spent.

    Args:
        kept: The connection that was kept from the request before, which is not told of if it is used again.

    httpcore tells each step to whoever asks; a test's transport tells nothing.
    """

    def __init__(self, kept: Any = None) -> None:  # noqa: ANN401 - of httpcore
        self._is_told = False
        self._is_sent = False
        self._stream: Any = None
        self._kept = kept
        self.is_cut = False

    @property
    def was_sent(self) -> bool | None:
        """Whether it has, or None where that was not told."""
        return self._is_sent if self._is_told else None

    def note(self, step: str, info: Mapping[str, Any]) -> None:
        """Take note of a step."""
        self._is_told = True
        if step.endswith(_CONNECTED):
            self._stream = info["return_value"]
        # The tunnel through a proxy is asked for by a request of its own.
        if step.endswith(_SENT) and info["request"].method != b"CONNECT":
            self._is_sent = True

    async def anote(self, step: str, info: Mapping[str, Any]) -> None:
        """Take note of a step, for asyncio."""
        self.note(step, info)

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """End the connection after so long, made for this request or kept from before, if no answer has begun.

        A step has its time limit, but a head can come in any number of steps, and a SOCKS proxy that says nothing is
        waited for without any. asyncio has a better way; a thread that waits can only be told by its socket.
        """
        return alarm.after(seconds, self._cut)

    def _cut(self) -> None:
        if (stream := self._stream or self._kept) is not None:
            self.is_cut = True
            with contextlib.suppress(OSError):
                # Of the plain socket: that of TLS would say goodbye first.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what was opened in vain: where a SOCKS proxy says what is none of SOCKS, httpcore leaves it open."""
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.close()

    async def aclose(self) -> None:
        """Do as `close`, for asyncio."""
        if self._stream is not None:
            with contextlib.suppress(Exception):
                await self._stream.aclose()


class _Intake:
    """Takes an answer in: so much of it, and in so much time, that no server keeps a client busy for ever."""

    def __init__(self, response: httpx.Response, *, longest: int, seconds: float) -> None:
        self._response = response
        self._seconds = seconds
        self._began = time.monotonic()
        self.body = Body(longest, response.headers.get("content-encoding", ""))

    def take(self, chunk: bytes) -> bool:
        """Add a piece; return whether more is wanted."""
        allowed = self._seconds + self.body.size / _SLOWEST_BYTES_PER_SECOND
        return self.body.take(chunk) and time.monotonic() - self._began < allowed

    def answer(self, *, ended: bool, broken: bool) -> Answer:
        """Return what came."""
        content, is_whole = self.body.taken(ended=ended)
        headers = {name.lower(): text for name, text in self._response.headers.items()}
        return Answer(self._response.status_code, headers, content, is_whole, broken)


def fetch(
    transport: httpx.BaseTransport, request: httpx.Request, *, longest: int, proxy: Proxy | None
) -> Answer | Failure:
    """Send a request, and return its answer, or why there is none; an answer whose body breaks off is one, too."""
    kept = _kept_by(transport)
    watch = Watch(kept.get(request.url.netloc))
    request.extensions = {**request.extensions, "trace": watch.note}
    try:
        with watch.within(_patience(request)):
            response = transport.handle_request(request)
    except Exception as error:  # noqa: BLE001 - the edge to what strangers can make other libraries raise
        watch.close()
        return failure_of(TimeoutError() if watch.is_cut else error, was_sent=watch.was_sent, proxy=proxy)
    kept[request.url.netloc] = response.extensions.get("network_stream")
    intake = _Intake(response, longest=longest, seconds=_patience(request))
    ended, broken = True, False
    try:
        for chunk in cast("Iterable[bytes]", response.stream):
            if not intake.take(chunk):
                ended = False
                break
    except Exception:  # noqa: BLE001 - as above; the status is known, and says more than that the rest is missing
        ended, broken = False, True
    _close(response)
    return intake.answer(ended=ended, broken=broken)


async def afetch(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, *, longest: int, proxy: Proxy | None
) -> Answer | Failure:
    """Do as `fetch`, for asyncio."""
    watch = Watch()
    request.extensions = {**request.extensions, "trace": watch.anote}
    try:
        async with asyncio.timeout(_patience(request)):
            response = await transport.handle_async_request(request)
    except Exception as error:  # noqa: BLE001 - as in `fetch`
        await watch.aclose()
        return failure_of(error, was_sent=watch.was_sent, proxy=proxy)
    intake = _Intake(response, longest=longest, seconds=_patience(request))
    ended, broken = True, False
    try:
        async for chunk in cast("AsyncIterable[bytes]", response.stream):
            if not intake.take(chunk):
                ended = False
                break
    except Exception:  # noqa: BLE001 - as in `fetch`
        ended, broken = False, True
    await _aclose(response)
    return intake.answer(ended=ended, broken=broken)


class _Kept(threading.local):
    """The connections of a thread: the last one to each host. No other thread's is ended for it."""

    def __init__(self) -> None:
        self.by_transport: WeakKeyDictionary[httpx.BaseTransport, dict[bytes, Any]] = WeakKeyDictionary()


_KEPT: Final = _Kept()


def _kept_by(transport: httpx.BaseTransport) -> dict[bytes, Any]:
    return _KEPT.by_transport.setdefault(transport, {})


def _patience(request: httpx.Request) -> float:
    """Return for how many seconds the head of an answer is waited for, and its body again."""
    return float(request.extensions["patience"])


def _close(response: httpx.Response) -> None:
    with contextlib.suppress(Exception):  # what came is here, and the connection is gone either way
        response.close()


async def _aclose(response: httpx.Response) -> None:
    with contextlib.suppress(Exception):  # as above
        await response.aclose()
