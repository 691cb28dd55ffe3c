"""What stands in queries and paths: orgs, flags, and the places at which lists go on."""

from __future__ import annotations

import base64
import itertools
import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from sirrd.errors import BadField, BadPath
from sirrd.http.context import Request
from sirrd.model import (
    is_org,
)

MAX_LIMIT: Final = 1000
MOST_PARAMETERS: Final = 32
_LONGEST_PART: Final = 1024
# A part of a query whose name is one of those, or has an escape in it and so may be.
_KNOWN_PART: Final = re.compile(r"(?:\A|(?<=&))(?:(?:limit|cursor|org)(?=[=&]|\Z)|[^=&]*%)[^&]*")
_CURSOR_VERSION: Final = 1
_SEQUENCE_BYTES: Final = 8
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{12}")  # nine bytes: no padding


# Paths and query parameters.


def org(request: Request) -> str:
    """Parse the org of a path.

    Raises:
        BadPath: It is outside its alphabet.
    """
    name: str = request.path_params["org"]
    if not is_org(name):
        raise BadPath
    return name


class ListQuery(NamedTuple):
    """What part of a list is asked for.

    Attributes:
        limit: 1 to 1000, or None: all of it.
        before: The sequence number that the cursor stands for.
        org: The org, or None: all.
    """

    limit: int | None
    before: int | None
    org: str | None


def list_query(request: Request) -> ListQuery:
    """Parse the query of a list; unknown parameters are ignored.

    Raises:
        BadField: A known parameter is malformed or stands there twice, or too many are spelt in an unusual way.
    """
    query: dict[str, str] = {}
    for name, value in _known_parameters(request.scope["query_string"].decode("latin-1")):
        if name in query and name in ("limit", "cursor", "org"):
            raise BadField(name, f"{name} stands in the query more than once")
        query[name] = value
    limit, cursor, org = query.get("limit"), query.get("cursor"), query.get("org")
    if limit is not None and not (re.fullmatch(r"[0-9]{1,4}", limit) and 1 <= int(limit) <= MAX_LIMIT):
        raise BadField("limit", f"limit must be an integer from 1 to {MAX_LIMIT}")
    if org is not None and not is_org(org):
        raise BadField("org", "org must be 1 to 128 of A-Z a-z 0-9 _ . - but not . or ..")
    return ListQuery(None if limit is None else int(limit), None if cursor is None else parse_cursor(cursor), org)


def _known_parameters(query: str) -> list[tuple[str, str]]:
    """Return the parameters that a list may know, and some others; what it does not know costs next to nothing."""
    found = itertools.islice(_KNOWN_PART.finditer(query), MOST_PARAMETERS + 1)
    # What is cut here is too long for any value.
    parts = [match[0][:_LONGEST_PART] for match in found]
    if len(parts) > MOST_PARAMETERS:
        raise BadField("", f"a list knows no more than {MOST_PARAMETERS} parameters")
    return [pair for part in parts for pair in parse_qsl(part, keep_blank_values=True)]


def flag(request: Request, name: str) -> bool:
    """Parse a query parameter that is true, false or absent; unknown parameters are ignored.

    Raises:
        BadField: It is neither, or stands there twice.
    """
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [value for found, value in query if found == name]
    if len(given) > 1:
        raise BadField(name, f"{name} stands in the query more than once")
    if given and given[0] not in {"true", "false"}:
        raise BadField(name, f"{name} must be true or false")
    return given == ["true"]


def cursor(before: int) -> str:
    """Return the opaque text that stands for a place in a list."""
    return base64.urlsafe_b64encode(_CURSOR_VERSION.to_bytes(1) + before.to_bytes(_SEQUENCE_BYTES)).decode()


def parse_cursor(text: str) -> int:
    """Return the place that a cursor stands for.

    Raises:
        BadField: It is not one of ours.
    """
    packed = base64.urlsafe_b64decode(text) if _CURSOR.fullmatch(text) else b"\0"
    before = int.from_bytes(packed[1:])
    if packed[0] != _CURSOR_VERSION or before >= 2**63:
        raise BadField("cursor", "cursor must be a next_cursor of an earlier answer")
    return before
