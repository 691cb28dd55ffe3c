"""URLs of servers and proxies: checked here, before anything else of the network sees them, and written in one way."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import idna

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}")
_LONGEST_HOST: Final = 253
_LONGEST_URL: Final = 2048
_SHOWN_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_IN_PATHS: Final = "/%~!$&'()*+,;=:@"


class BadAddressError(ValueError):
    """A text is no URL that can be asked; the message says in which way, and repeats nothing of it."""


class Address(NamedTuple):
    """Where to connect to.

    Attributes:
        scheme: In lower case.
        host: In lower case and ASCII; an IPv6 address without its brackets.
        port: Or None: the usual one.
        path: What stands before every path, without a slash at the end.
    """

    scheme: str
    host: str
    port: int | None
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def parse(url: str, *, schemes: Collection[str] = ("http", "https"), may_log_in: bool = True) -> Address:
    """Parse the URL of a server or a proxy.

    Args:
        url: The text.
        schemes: Those that it may have.
        may_log_in: Whether a name and a password may stand before the host; they are left out of the result.

    Raises:
        BadAddressError: It is none.
    """
    if len(url) > _LONGEST_URL or not url.isprintable() or any(each.isspace() or each == "\\" for each in url):
        raise BadAddressError("it holds a character that no URL has, or is too long")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadAddressError("its host is malformed") from None
    if parts.scheme not in schemes:
        raise BadAddressError(f"it does not begin with {' or '.join(f'{each}://' for each in schemes)}")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise BadAddressError("a server's URL has no query and no fragment")
    if "@" in parts.netloc and not may_log_in:
        raise BadAddressError("it has a user name in it; a token is given by itself")
    if not {".", ".."}.isdisjoint(parts.path.split("/")):
        raise BadAddressError("its path has a . or .. in it")
    return Address(
        parts.scheme, _host(parts.hostname), _port(parts.netloc, parts.scheme), quote(parts.path.rstrip("/"), _IN_PATHS)
    )


def target_of(location: str) -> str:
    """Say in a few words where a redirect goes: no more than scheme and host, since the rest may hold anything."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that is none"
    name, port = (host, "") if host.endswith("]") or ":" not in host else host.rsplit(":", 1)
    if not host:
        return "another path of the same server" if location else "nowhere"
    if _SHOWN_HOST.fullmatch(name) is None or (port and not re.fullmatch("[0-9]{1,5}", port)):
        return "an address that is none"
    return f"{parts.scheme}://{host}" if parts.scheme in _DEFAULT_PORTS else host


def _host(host: str | None) -> str:
    if not host:
        raise BadAddressError("it names no host")
    if "%" in host:
        raise BadAddressError("its host has a zone, or an escape")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ipaddress.AddressValueError:
            raise BadAddressError("its host is no IPv6 address") from None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            raise BadAddressError("its host is no name that DNS can have") from None
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadAddressError("its host is no name that DNS can have")
    return host


def _port(netloc: str, scheme: str) -> int | None:
    _, colon, text = netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")
    if not colon or not text:
        return None
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) < 1 << 16:
        raise BadAddressError("its port is no number from 1 to 65535")
    return None if _DEFAULT_PORTS.get(scheme) == int(text) else int(text)
