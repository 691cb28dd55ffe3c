"""What an operator probably meant: the form of a setting to write, for the message that refuses another one.

Nothing here decides whether a setting is right; each function gives the form in which it would be, or None if there is
no telling.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from sirrd import hosts

_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MOST_PORTS: Final = 65_535
_SCHEMES: Final = frozenset({"http", "https"})


def url(text: str) -> str | None:
    """Return scheme, host, port and path of a URL, its host in ASCII; None where there is no scheme or no host."""
    origin_part = origin(text)
    if origin_part is None:
        return None
    path = urlsplit(text.strip()).path.rstrip("/")
    return origin_part + path if re.fullmatch(r"[A-Za-z0-9._~/%-]*", path) else None


def origin(text: str) -> str | None:
    """Return the origin of a URL as browsers write it."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    name = host(parts.hostname or "")
    if scheme not in _SCHEMES or name is None:
        return None
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}" if port is None else f"{scheme}://{shown}:{port}"


def host(text: str) -> str | None:
    """Return a host without scheme, port and path, in ASCII, as `Host` fields have it."""
    text = text.strip()
    if _ABSOLUTE.match(text):
        try:
            text = urlsplit(text).hostname or ""
        except ValueError:
            return None
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return hosts.canonical(text) or _in_ascii(text)


def listener(text: str) -> str | None:
    """Return address and port to listen on; on loopback where only a port is given."""
    text = text.strip()
    if _ABSOLUTE.match(text):
        text = text.partition("://")[2].partition("/")[0]
    name, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > _MOST_PORTS:
        return None
    found = host(name) if name else "127.0.0.1"
    if found is None:
        return None
    return f"[{found}]:{port}" if ":" in found else f"{found}:{port}"


def network(text: str) -> str | None:
    """Return the network that an address with a mask lies in."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return None


def _in_ascii(name: str) -> str | None:
    """Return an internationalised name as it stands on the wire (IDNA 2008)."""
    # Loaded only here: a name that needs it is an error anyway.
    import idna  # noqa: PLC0415

    try:
        return hosts.canonical(idna.encode(name, uts46=True).decode())
    except idna.IDNAError:
        return None
