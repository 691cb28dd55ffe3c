"""The answers: every status, and every header that an answer always has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sirrd.errors import BadHost, NoRoute, SirrdError, WrongHost
from sirrd.http import edge
from sirrd.http.endpoints import Answered, Endpoint
from sirrd.http.hosts import FOR_ANYONE
from sirrd.http.openapi.schemas import Json, of_schema
from sirrd.http.pages import assets, html, texts
from sirrd.http.problems import TABLE
from sirrd.http.wire.outcomes import Problem

_BEFORE: Final[dict[bool, frozenset[type[SirrdError]]]] = {
    True: frozenset({BadHost}),
    False: frozenset({BadHost, WrongHost}),
}
"""What is refused before any endpoint is found: where any host is taken, and elsewhere."""

_TEXT: Final[Json] = {"schema": {"type": "string"}}

_TEXTS: Final = {
    400: "The host, the path, the query or the body is malformed.",
    401: "The bearer is missing, malformed or wrong.",
    403: "From another site, a prefetch, a look that became a read, without the proof of a lock, or for a server "
    "with a master API key only.",
    404: "Burned, expired, deleted or never there.",
    408: "The body made no progress for 30 s.",
    409: "The state of the secret, or another secret, does not allow it.",
    410: "Sealed: its reads are used up.",
    413: "The body or the value is too large.",
    415: "The body is not declared as application/json in UTF-8.",
    421: "The host that is named does not mean this server.",
    429: "Too many wrong proofs for this secret, or, where they are limited, too many requests from this address.",
    500: "The stored record does not open and was not spent, or something went wrong.",
    503: "The storage cannot serve the request now.",
    507: "There is not enough free disk space.",
}


# Headers.


def _fixed(headers: Iterable[tuple[bytes, bytes]]) -> Json:
    """Describe headers that have one value."""
    return {
        name.decode().title(): {"required": True, "schema": {"type": "string", "const": value.decode()}}
        for name, value in headers
        if name != b"content-type"
    }


def _varying(pattern: str, text: str, *, required: bool = True) -> Json:
    return {"description": text, "required": required, "schema": {"type": "string", "pattern": pattern}}


_PAGE_HEADERS: Final = {
    **_fixed(html.HEADERS),
    "Content-Language": _varying(f"^({'|'.join(texts.LANGUAGES)})$", "The language of the page."),
}
_STATIC_HEADERS: Final = _fixed(assets.HEADERS)
_ON_ALL: Final[Json] = {
    **_fixed(edge.HEADERS.items()),
    "X-Request-Id": _varying("^[0-9a-f]{16}$", "What the log calls this request by."),
}
_DESCRIBED: Final[Json] = {
    "X-Sirr-Read-Count": _varying("^[0-9]+$", "Reads since it was created or last amended."),
    "X-Sirr-Reads-Remaining": _varying("^([0-9]+|unlimited)$", "Reads that are left."),
    "X-Sirr-Delete": _varying("^(true|false)$", "Whether the last read burns or seals."),
    "X-Sirr-Created-At": _varying("^[0-9]+$", "Unix seconds."),
    "X-Sirr-Expires-At": _varying("^[0-9]+$", "Unix seconds; absent if it never expires.", required=False),
    "X-Sirr-Status": _varying("^(active|sealed)$", "Whether it can be read."),
    "X-Sirr-Locked": _varying("^true$", "A reader has to show a proof; absent if not.", required=False),
    "X-Sirr-Fingerprint": _varying("^[0-9a-f]{16}$", "Only with the bearer, or where none is set.", required=False),
}
_REPEAT: Final[Json] = {
    "X-Sirr-Repeat": _varying("^true$", "This attempt was answered before; nothing was spent.", required=False)
}
_RETRY: Final[Json] = {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}}
_OF_STATUS: Final[dict[int, Json]] = {401: _fixed([(b"www-authenticate", b"Bearer")]), 429: _RETRY, 503: _RETRY}
_HEADERS: Final[Json] = {**_ON_ALL, **_DESCRIBED, **_REPEAT, **_OF_STATUS[401], **_RETRY}


_SHOWN: Final[dict[str, dict[str, str]]] = {
    "nothing": {},
    "metadata": {name: name for name in _DESCRIBED},
    "repeat": {name: name for name in _REPEAT},
    "file": {name: f"Static-{name}" for name in _STATIC_HEADERS},
    "page": {name: f"Page-{name}" for name in _PAGE_HEADERS},
}
"""What answers tell in headers, and by what names these are described."""


def headers() -> Json:
    """Return every header by its name, with those of pages and static files, which differ, by names of their own."""
    return {
        **_HEADERS,
        **{f"Page-{name}": header for name, header in _PAGE_HEADERS.items()},
        **{f"Static-{name}": header for name, header in _STATIC_HEADERS.items()},
    }


# Answers.


def responses(endpoint: Endpoint) -> Json:
    """Return everything that an endpoint answers, by status."""
    found: Json = {}
    for error in _BEFORE[endpoint.path in FOR_ANYONE] | endpoint.refusals:
        status = TABLE[error].status
        # What is not there is told alike everywhere, pages that the operator has turned off as well.
        found[f"{status}"] = _reference(status, endpoint.method, is_page=endpoint.is_page and error is not NoRoute)
    for status, answered in endpoint.answers.items():
        found[f"{status}"] = (
            _reference(status, endpoint.method, is_page=True) if endpoint.is_page else _own(answered, endpoint.method)
        )
    return dict(sorted(found.items()))


def _reference(status: int, method: str, *, is_page: bool) -> Json:
    """Refer to an answer that many operations share: as JSON, as a page, or as the head of one of these."""
    kind = ("HeadOfPage" if is_page else "Head") if method == "HEAD" else ("Page" if is_page else "Problem")
    return {"$ref": f"#/components/responses/{kind}{status}"}


def _own(answered: Answered, method: str) -> Json:
    """Return an answer that an endpoint does not share with others."""
    answer = _head(answered.text, _SHOWN[answered.shows])
    if method != "HEAD" and (content := _content(answered)):
        answer["content"] = content
    if answered.links is not None:
        parameters = dict(answered.links.parameters)
        answer["links"] = {name: {"operationId": name, "parameters": parameters} for name in answered.links.names}
    return answer


def _content(answered: Answered) -> Json:
    if answered.model is not None:
        return of_schema(answered.model)
    return {kind: {} if kind.endswith("json") else _TEXT for kind in answered.types}


def _head(text: str, headers: dict[str, str]) -> Json:
    """Return an answer without content, with headers of its own beside those of all answers."""
    names = {name: name for name in _ON_ALL} | headers
    return {
        "description": text,
        "headers": {name: {"$ref": f"#/components/headers/{described}"} for name, described in names.items()},
    }


def shared(paths: Json) -> Json:
    """Return the answers that operations refer to."""
    operations = [part for item in paths.values() for name, part in item.items() if name != "parameters"]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    names = {answer["$ref"].rpartition("/")[2] for answer in answers if "$ref" in answer}
    return {name: _shared(name[:-3], int(name[-3:])) for name in sorted(names)}


def _shared(kind: str, status: int) -> Json:
    is_page = kind in {"Page", "HeadOfPage"}
    own = {name: name for name in _OF_STATUS.get(status, {})}
    answer = _head(_TEXTS.get(status, "The page."), own | (_SHOWN["page"] if is_page else {}))
    content = {"Problem": of_schema(Problem), "Page": {"text/html": _TEXT}}
    return {**answer, "content": content[kind]} if kind in content else answer
