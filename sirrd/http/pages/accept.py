"""Whether a person or a program waits for an answer: what its `Accept` likes better (RFC 9110, 12.5.1)."""

from __future__ import annotations

import functools
import re
from typing import Final

from starlette.types import Scope

from sirrd.http.peers import fields

_MOST_BYTES: Final = 1024
_MOST_RANGES: Final = 32
_RANGE: Final = re.compile(
    rb"[ \t]*([A-Za-z]+|\*)/([A-Za-z0-9.+-]+|\*)[ \t]*(?:;[^,]*?\bq=([01](?:\.[0-9]{0,3})?))?[^,]*"
)
_PAGE: Final = (b"text", b"html")
_JSON: Final = (b"application", b"json")


def prefers_page(scope: Scope) -> bool:
    """Tell whether a request asks for HTML rather than for JSON; who likes both alike, or says nothing, does not."""
    return _prefers_page(b",".join(fields(scope, b"accept"))[:_MOST_BYTES])


@functools.lru_cache(maxsize=64)
def _prefers_page(accepted: bytes) -> bool:
    ranges = [found for part in accepted.split(b",", _MOST_RANGES)[:_MOST_RANGES] if (found := _RANGE.fullmatch(part))]
    weighed = [(found[1].lower(), found[2].lower(), float(found[3] or 1)) for found in ranges]
    return _weight(weighed, _PAGE) > _weight(weighed, _JSON)


def _weight(ranges: list[tuple[bytes, bytes, float]], wanted: tuple[bytes, bytes]) -> float:
    """Return how much a type is liked: the range that names it most closely counts."""
    best = (-1, 0.0)
    for kind, name, weight in ranges:
        closeness = 2 if (kind, name) == wanted else 1 if (kind, name) == (wanted[0], b"*") else 0
        if closeness or (kind, name) == (b"*", b"*"):
            best = max(best, (closeness, weight))
    return best[1]
