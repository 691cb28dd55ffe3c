"""Why there was no answer: what the network's libraries raise, as one line that names the cause."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx

from sirrd.client.environment import Proxy
from sirrd.client.errors import Cause

_UNSENT: Final = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.LocalProtocolError, httpx.PoolTimeout, httpx.ProxyError,
    httpx.UnsupportedProtocol,
)  # fmt: skip
_DEPTH: Final = 20
_BY_VERIFY_CODE: Final = {9: Cause.EXPIRED, 10: Cause.EXPIRED, 62: Cause.OTHER_NAME, 64: Cause.OTHER_NAME}
"""Not yet valid, over; another name, another address: the X509_V_ERR_… of OpenSSL."""
_BY_KIND: Final[dict[type[BaseException], Cause]] = {
    ssl.SSLError: Cause.TLS,
    socket.gaierror: Cause.DNS,
    ConnectionRefusedError: Cause.REFUSED,
    TimeoutError: Cause.TIMEOUT,
    ConnectionError: Cause.BROKEN,
}
_OF_THE_SERVER: Final = frozenset({Cause.UNTRUSTED, Cause.OTHER_NAME, Cause.EXPIRED, Cause.TLS})
_TEXTS: Final = {
    Cause.UNTRUSTED: "nobody who is trusted has signed its certificate; a CA of your own belongs into the system's"
    " store, or is named by SSL_CERT_FILE or cacert",
    Cause.OTHER_NAME: "its certificate is for another name",
    Cause.EXPIRED: "its certificate has expired or is not yet valid, or the clock here is wrong",
    Cause.TLS: "no TLS connection could be made; is it http rather than https?",
    Cause.DNS: "its name is not known (DNS)",
    Cause.REFUSED: "the connection was refused; nothing listens there",
    Cause.UNREACHABLE: "there is no way to it",
    Cause.TIMEOUT: "it took too long",
    Cause.BROKEN: "the connection broke off",
}
_PROXY_ANSWERS: Final = {"407": "it asks for a name and a password"}


@dataclass(frozen=True, slots=True)
class Failure:
    """There was no answer.

    Attributes:
        was_sent: Whether the request may have reached the server.
        reason: Why, in one line.
        cause: The same, for programs.
    """

    was_sent: bool
    reason: str
    cause: Cause | None = None


def failure_of(error: Exception, *, was_sent: bool | None, proxy: Proxy | None) -> Failure:
    """Return what an error of the network means.

    Args:
        error: What was raised.
        was_sent: Whether the request began to be sent, or None where that was not watched.
        proxy: What stands between, or None.
    """
    if was_sent is None:
        was_sent = not isinstance(error, _UNSENT)
    cause = _cause(error)
    if not was_sent:
        return Failure(was_sent=False, reason=_unreached(error, cause, proxy), cause=_blamed(error, cause, proxy))
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Failure(was_sent=True, reason="the server did not answer in time", cause=Cause.TIMEOUT)
    return Failure(was_sent=True, reason="the connection broke before the answer", cause=Cause.BROKEN)


def _blamed(error: Exception, cause: Cause, proxy: Proxy | None) -> Cause:
    return Cause.PROXY if proxy is not None and (_is_of_proxy(error) or cause not in _OF_THE_SERVER) else cause


def _is_of_proxy(error: Exception) -> bool:
    return isinstance(error, httpx.ProxyError) or not isinstance(error, httpx.HTTPError)


def _unreached(error: Exception, cause: Cause, proxy: Proxy | None) -> str:
    if proxy is None or (cause in _OF_THE_SERVER and not _is_of_proxy(error)):
        return f"the server cannot be reached: {_TEXTS[cause]}"
    if isinstance(error, httpx.ProxyError):
        # Its own words may be anything. Of the answer to CONNECT the status is kept, of SOCKS one known reason.
        status = re.match(r"[1-5][0-9]{2}\b", str(error))
        why = f"it answered {status[0]}" if status else "it does not do it"
        if status and status[0] in _PROXY_ANSWERS:
            why += f": {_PROXY_ANSWERS[status[0]]}"
        return f"the server cannot be reached through the proxy of {proxy.variable}: {why}"
    if not isinstance(error, httpx.HTTPError | TimeoutError):
        return f"the server cannot be reached through the proxy of {proxy.variable}: it does not speak as one"
    return f"the server cannot be reached, since the proxy of {proxy.variable} cannot: {_TEXTS[cause]}"


def _cause(error: BaseException) -> Cause:
    for each in _chain(error):
        if (found := _cause_of(each)) is not None:
            return found
    return Cause.TIMEOUT if isinstance(error, httpx.TimeoutException) else Cause.UNREACHABLE


def _cause_of(error: BaseException) -> Cause | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, Cause.UNTRUSTED)
    return next((cause for kind, cause in _BY_KIND.items() if isinstance(error, kind)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what is behind it, nearest first; asyncio puts several attempts into a group."""
    waiting: list[BaseException] = [error]
    for _ in range(_DEPTH):
        if not waiting:
            return
        each = waiting.pop(0)
        yield each
        waiting.extend(each.exceptions if isinstance(each, BaseExceptionGroup) else ())
        waiting.extend(behind for behind in (each.__cause__, each.__context__) if behind is not None)
