"""What the head of a request must be, beyond what the parser asks (RFC 9112): nothing that two readers may read apart.

The parser takes versions that are no HTTP/1.1, drops fragments, and leaves it open whom a request is for and where it
ends if that is said twice.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

from sirrd import hosts

VERSIONS: Final = frozenset({"1.0", "1.1"})
_PORTS: Final = {b"http": 80, b"https": 443}

_TWO_HOSTS: Final = "The target of a request and its Host must name the same server."


class BadHead(Exception):
    """The head cannot be answered; the message is a sentence for whoever sent it, and repeats nothing of it."""


def target_of(url: bytes, *, version: str, fields: list[tuple[bytes, bytes]]) -> Any:  # noqa: ANN401 - httptools
    """Return the target of a request, parsed by `httptools`.

    Args:
        url: The target as it was sent.
        version: Of HTTP, as in `1.1`.
        fields: Names in lower case, and values; an older request whose target names a host gets the `Host` that it
            lacks.

    Raises:
        BadHead: Version, target, `Host` or `Transfer-Encoding` are not what they must be.
        httptools.HttpParserInvalidURLError: The target is no target.
    """
    if version not in VERSIONS:
        raise BadHead("This server speaks HTTP/1.1 and HTTP/1.0.")
    names = [name for name, _ in fields]
    named = names.count(b"host")
    if named != 1 and (named or version == "1.1"):
        raise BadHead("The request must have one Host field.")
    if b"transfer-encoding" in names:
        _check_encoding(version, fields)
    if b"#" in url:
        raise BadHead("The target of a request has no fragment.")
    target = httptools.parse_url(url)
    if target.schema is not None:
        _check_absolute(target, fields)
    return target


def _check_encoding(version: str, fields: list[tuple[bytes, bytes]]) -> None:
    """Refuse a body whose end the client and a proxy might see in different places, or that is packed."""
    values = [value.strip().lower() for name, value in fields if name == b"transfer-encoding"]
    if values != [b"chunked"] or version != "1.1":
        raise BadHead("The only Transfer-Encoding is chunked, in HTTP/1.1.")


def _check_absolute(target: Any, fields: list[tuple[bytes, bytes]]) -> None:  # noqa: ANN401 - see target_of
    """Refuse a target that names another server than `Host` does."""
    own_port = _PORTS.get(target.schema.lower())
    if own_port is None or target.userinfo is not None:
        raise BadHead("The target of a request is a path, or an http URL.")
    sent = [value for name, value in fields if name == b"host"]
    if not sent:
        sent = [_authority(target)]
        fields.append((b"host", sent[0]))
    wanted, named = hosts.parse(_authority(target)), hosts.parse(sent[0])
    if wanted is None or named is None or wanted.name != named.name:
        raise BadHead(_TWO_HOSTS)
    if (wanted.port or own_port) != (named.port or own_port):
        raise BadHead(_TWO_HOSTS)


def _authority(target: Any) -> bytes:  # noqa: ANN401 - see target_of
    host = b"[%b]" % target.host if b":" in target.host else target.host
    return host if target.port is None else b"%b:%d" % (host, target.port)
