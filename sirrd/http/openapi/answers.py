"""The answers: every status, and every header that an answer always has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sirrd.http import edge
from sirrd.http.openapi.schemas import Json
from sirrd.http.pages import assets, html, texts

TEXTS: Final = {
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
DESCRIBED: Final[Json] = {
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
_HEADERS: Final[Json] = {**_ON_ALL, **DESCRIBED, **_REPEAT, **_OF_STATUS[401], **_RETRY}


def headers() -> Json:
    """Return every header by its name, with those of pages and static files, which differ, by names of their own."""
    return {
        **_HEADERS,
        **{f"Page-{name}": header for name, header in _PAGE_HEADERS.items()},
        **{f"Static-{name}": header for name, header in _STATIC_HEADERS.items()},
    }


# Answers.


def head(text: str, headers: Mapping[str, Any] | None = None) -> Json:
    """Return an answer without content, with headers of its own beside those of all answers."""
    names = [*_ON_ALL, *(headers or {})]
    return {"description": text, "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def content_of(text: str, content: Json) -> Json:
    """Return an answer with content, by its type."""
    return {**head(text), "content": content}


def value(opened: str) -> Json:
    """Return the answer that has a value."""
    answer = in_json("The value.", opened)
    answer["headers"] |= {name: {"$ref": f"#/components/headers/{name}"} for name in _REPEAT}
    return answer


def static_file() -> Json:
    """Return the answer that has a static file."""
    types = {kind.decode().partition(";")[0]: {"schema": {"type": "string"}} for kind in assets.TYPES.values()}
    answer = content_of("It.", types)
    answer["headers"] |= {name: {"$ref": f"#/components/headers/Static-{name}"} for name in _STATIC_HEADERS}
    return answer


def in_json(text: str, schema: str) -> Json:
    """Return an answer in JSON."""
    return content_of(text, of_schema(schema))


def of_schema(schema: str) -> Json:
    """Return content in JSON, by the name of its schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def refused(statuses: Iterable[int], kind: str = "Problem") -> Json:
    """Return answers that many operations share.

    Args:
        statuses: Which.
        kind: `Problem` is JSON, `Page` is HTML, `Head` and `HeadOfPage` are the same without content.
    """
    return {str(status): {"$ref": f"#/components/responses/{kind}{status}"} for status in statuses}


def without_content(answer: Json) -> Json:
    """Return an answer as `HEAD` gets it."""
    if "$ref" in answer:
        return {"$ref": answer["$ref"].replace("/Problem", "/Head")}
    return {part: answer[part] for part in answer if part != "content"}


def shared(paths: Json) -> Json:
    """Return the answers that operations refer to."""
    operations = [part for item in paths.values() for name, part in item.items() if name != "parameters"]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    names = {answer["$ref"].rpartition("/")[2] for answer in answers if "$ref" in answer}
    return {name: _shared(name[:-3], int(name[-3:])) for name in sorted(names)}


def _shared(kind: str, status: int) -> Json:
    answer = head(TEXTS.get(status, "The page."), _OF_STATUS.get(status))
    if kind in {"Page", "HeadOfPage"}:
        answer["headers"] |= {name: {"$ref": f"#/components/headers/Page-{name}"} for name in _PAGE_HEADERS}
    content = {"Problem": of_schema("Problem"), "Page": {"text/html": {"schema": {"type": "string"}}}}
    return {**answer, "content": content[kind]} if kind in content else answer
