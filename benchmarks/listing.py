"""A list of everything: how long it takes, and how much memory the daemon needs for it."""

from __future__ import annotations

import contextlib
import http.client
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import Server
from benchmarks.wrk import LoadError

_PIECE_BYTES: Final = 1 << 16
_PATIENCE_SECONDS: Final = 900
_MARK: Final = b'"fingerprint"'
_BYTES_PER_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Listed:
    """A list of everything.

    Attributes:
        secrets: How many were in it.
        seconds: How long it took.
        first_seconds: How long its first bytes took.
        mib: Its length.
        resident_before_mib: Memory of the daemon before.
        resident_growth_mib: How much more it was at its peak.
    """

    secrets: int
    seconds: float
    first_seconds: float
    mib: float
    resident_before_mib: float
    resident_growth_mib: float


def measure(server: Server) -> Listed:
    """Fetch the list, and look at the daemon's memory after every piece of it.

    Raises:
        LoadError: It was not answered, or not to its end.
    """
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=_PATIENCE_SECONDS)
    with contextlib.closing(connection):
        _get(connection, "/secrets?limit=1").read()
        before, begin = server.resident_mib(), time.perf_counter()
        answer = _get(connection, "/secrets")
        secrets, size, peak, first, tail = 0, 0, before, 0.0, b""
        while piece := answer.read(_PIECE_BYTES):
            first = first or time.perf_counter() - begin
            size += len(piece)
            # A mark that lies across two pieces is whole when the end of the first is put before the second.
            text = tail + piece
            secrets += text.count(_MARK)
            tail = text[-len(_MARK) + 1 :]
            peak = max(peak, server.resident_mib())
        if not tail.endswith(b"]}"):
            raise LoadError("the list has no end")
    return Listed(secrets, time.perf_counter() - begin, first, size / _BYTES_PER_MIB, before, peak - before)


def _get(connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise LoadError(f"no list: {type(error).__name__}") from None
    if answer.status != http.client.OK:
        raise LoadError(f"a list was answered with {answer.status}")
    return answer
