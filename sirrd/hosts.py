"""Names of hosts, as they stand in URLs and in the `Host` field (RFC 3986, 3.2.2): read, and brought to one form."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final, NamedTuple

_LABEL: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# Underscores are no part of the names of hosts, but container engines and Windows give them all the same.
_FIELD: Final = re.compile(rf"({_NAME.pattern}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::([0-9]{{0,5}}))?")
_LONGEST_NAME: Final = 254
_LONGEST_FIELD: Final = 300
_MOST_PORTS: Final = 65_535


class Host(NamedTuple):
    """Who is named.

    Attributes:
        name: One form for all ways to write it: lower case, without a dot at the end; an IP address as `ipaddress`
            writes it, without brackets.
        authority: Host and port as they were written, for a URL.
        port: The port, or None: that of the scheme.
        is_loopback: See `is_loopback`.
    """

    name: str
    authority: str
    port: int | None
    is_loopback: bool


def parse(field: bytes) -> Host | None:
    """Read host and port; None if that is not what stands there."""
    # What is longer is no host, and is not worth remembering.
    return _parse(field) if len(field) <= _LONGEST_FIELD else None


@functools.lru_cache(maxsize=64)
def _parse(field: bytes) -> Host | None:
    text = field.decode("latin-1")
    found = _FIELD.fullmatch(text)
    if found is None or int(found[2] or 0) > _MOST_PORTS:
        return None
    name = canonical(found[1])
    if name is None:
        return None
    return Host(name, text.removesuffix(":"), int(found[2]) if found[2] else None, is_loopback(name))


def canonical(text: str) -> str | None:
    """Return the one form of a name or address, with or without brackets; None if it is neither."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        is_name = len(text) <= _LONGEST_NAME and _NAME.fullmatch(text)
        return text.lower().removesuffix(".") if is_name else None
    return None if "%" in text else str(getattr(address, "ipv4_mapped", None) or address)


def is_loopback(name: str) -> bool:
    """Tell whether a name in its one form can mean nothing but this machine (RFC 6761, 6.3)."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
