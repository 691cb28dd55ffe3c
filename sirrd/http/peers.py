"""Who is at the other end, and by what address it reached us; proxies count only where the operator trusts them."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from starlette.types import Scope

from sirrd import hosts

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
MOST_MEMBERS: Final = 32
"""More hops than any way through proxies has; what stands before them is not looked at."""

_LONGEST_ADDRESS: Final = 64
_REMEMBERED: Final = 256
_OWN_PORTS: Final = {"http": ":80", "https": ":443"}


def fields(scope: Scope, name: bytes) -> list[bytes]:
    """Return every value of a header field, in order."""
    return [value for found, value in scope["headers"] if found == name]


def _parsed(text: str) -> Address | None:
    """Parse an address as it stands in a header, with or without a port; an IPv4-mapped one becomes IPv4."""
    return _parse(text) if len(text) <= _LONGEST_ADDRESS else None


@functools.lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Peers:
    """Resolves clients and origins behind trusted proxies.

    Attributes:
        public_url: The URL that the operator gave, or None.
    """

    def __init__(self, trusted: Iterable[str], public_url: str | None) -> None:
        self._trusted = tuple(ipaddress.ip_network(network) for network in trusted)
        self._trusts = functools.lru_cache(maxsize=_REMEMBERED)(self._is_trusted)
        self.public_url = public_url

    def address(self, scope: Scope) -> str:
        """Return the client's address: of the hops that proxies we trust report, the right-most one we do not."""
        client = scope.get("client")
        direct: str = client[0] if client else ""
        if not self._trusts(direct):
            return direct if ":" not in direct else str(_parsed(direct) or "")
        latest = _parsed(direct)
        for hop in reversed(_listed(scope, b"x-forwarded-for")):
            address = _parsed(hop)
            if address is None:
                break
            latest = address
            if not any(address in network for network in self._trusted):
                break
        return str(latest)

    def base_url(self, scope: Scope) -> str:
        """Return the URL that the daemon is reached by, without a slash at the end."""
        return self.public_url or self._requested(scope)

    def origin(self, scope: Scope) -> str:
        """Return the origin that the daemon's own pages have."""
        scheme, _, rest = self.base_url(scope).lower().partition("://")
        # Browsers leave the scheme's own port out.
        return f"{scheme}://{rest.partition('/')[0].removesuffix(_OWN_PORTS[scheme])}"

    def forwarded_host(self, scope: Scope) -> hosts.Host | None:
        """Return the host that the client asked a proxy for, if we trust the proxy and what it says is a host."""
        forwarded = _listed(scope, b"x-forwarded-host")
        return hosts.parse(forwarded[-1].encode("latin-1")) if forwarded and self._is_forwarded(scope) else None

    def _requested(self, scope: Scope) -> str:
        scheme, sent = scope.get("scheme", "http"), fields(scope, b"host")
        if self._is_forwarded(scope):
            protocols = _listed(scope, b"x-forwarded-proto")
            if protocols and protocols[-1].lower() in {"http", "https"}:
                scheme = protocols[-1].lower()
        host = self.forwarded_host(scope) or (hosts.parse(sent[0]) if len(sent) == 1 else None)
        return f"{scheme}://{_own_address(scope) if host is None else host.authority}"

    def _is_forwarded(self, scope: Scope) -> bool:
        """Tell whether a proxy that we trust passes the request on."""
        client = scope.get("client")
        return client is not None and self._trusts(client[0])

    def _is_trusted(self, text: str) -> bool:
        if not self._trusted:
            return False
        address = _parsed(text)
        return address is not None and any(address in network for network in self._trusted)


def _listed(scope: Scope, name: bytes) -> list[str]:
    """Return the last members, 32 at most, of a header field that is a list, however many times it was sent."""
    sent = fields(scope, name)
    if not sent:
        return []
    last = b",".join(sent).decode("latin-1").rsplit(",", MOST_MEMBERS)[-MOST_MEMBERS:]
    return [member.strip() for member in last if member and not member.isspace()]


def _own_address(scope: Scope) -> str:
    """Return host and port of the socket, for a request whose `Host` is missing or malformed."""
    server: Any = scope.get("server") or ("127.0.0.1", None)
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return host if server[1] is None else f"{host}:{server[1]}"
