"""The OpenAPI 3.1 description of all routes, built once from the same body models that requests are checked with.

It says neither more nor less than what the daemon does, so that programs made from it, and tools that attack with it,
find the daemon as described: every status, every header that an answer always has, and every name to the letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from sirrd import __version__
from sirrd.http import edge, prose
from sirrd.http.context import Request
from sirrd.http.hosts import FOR_ANYONE
from sirrd.http.pages import assets, html, texts
from sirrd.http.wire import answers, drops, queries

Json = dict[str, Any]

_BEARER: Final[list[Json]] = [{"bearer": []}]
_ANYONE: Final[list[Json]] = []
_PAGES: Final = frozenset({"/", "/s/{id}"})
_HEX: Final = "[0-9a-f]{64}"
_NO_DOTS: Final = r"(?!\.{1,2}$)"
_A_KEY: Final = rf"{_NO_DOTS}(?![0-9A-Fa-f]{{64}}$)[A-Za-z0-9_.\-]{{1,256}}"
ID: Final = f"^{_HEX}$"
KEY: Final = f"^{_A_KEY}$"
ID_OR_KEY: Final = f"^({_HEX}|{_A_KEY})$"
ORG: Final = rf"^{_NO_DOTS}[A-Za-z0-9_.\-]{{1,128}}$"
ATTEMPT: Final = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"
CURSOR: Final = "^A[Q-X][A-Za-z0-9_-]{10}$"
"""What `queries.cursor` makes: a version byte of 1, and a number below 2^63."""

_SEGMENTS: Final[Json] = {
    "name": {
        "name": "id",
        "description": "The id of a dead drop (64 lower-case hex digits), or the bare key of an org secret.",
        "schema": {"type": "string", "pattern": ID_OR_KEY},
    },
    "id": {"name": "id", "description": "The id of a dead drop.", "schema": {"type": "string", "pattern": ID}},
    "key": {"name": "key", "description": "The key.", "schema": {"type": "string", "pattern": KEY}},
    "org": {"name": "org", "description": "The org.", "schema": {"type": "string", "pattern": ORG}},
    "version": {
        "name": "version",
        "description": "A hash of all static files.",
        "schema": {"const": assets.VERSION},
    },
    "file": {"name": "file", "description": "A static file.", "schema": {"enum": list(assets.FILES)}},
}
_PROOF: Final[Json] = {
    "name": "X-Sirr-Proof",
    "in": "header",
    "description": "What opens the lock of a locked secret: 32 bytes in unpadded base64url.",
    "schema": {"type": "string"},
}
_ATTEMPT: Final[Json] = {
    "name": "X-Sirr-Attempt",
    "in": "header",
    "description": "What the reader calls this read by: 32 random bytes in unpadded base64url, new for each read. Sent "
    "again after a lost answer, it gets the same answer and spends nothing.",
    "schema": {"type": "string", "pattern": ATTEMPT},
}
_RENEW: Final[Json] = {
    "name": "renew",
    "in": "query",
    "description": "Whether the inner keys are to be new, too, unless they were made under that master key already.",
    "schema": {"type": "boolean"},
}
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


async def show(request: Request) -> answers.Answer:
    """Answer with the description."""
    return _answer(request.state["context"].peers.public_url or "/")


@cache
def _answer(url: str) -> answers.Answer:
    return answers.as_json(200, description(url))


def description(url: str = "/") -> Json:
    """Return the whole description, of the server at a URL."""
    paths = _explained(_paths())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sirrd",
            "version": __version__,
            "summary": "A burn-after-read dead drop daemon.",
            "description": prose.SERVER,
            "contact": {"name": "Whoever runs this server"},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url, "description": "This server."}],
        "tags": [{"name": name, "description": text} for name, text in prose.TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "SIRR_MASTER_API_KEY, if one is set."}
            },
            "headers": {
                **_HEADERS,
                **{f"Page-{name}": header for name, header in _PAGE_HEADERS.items()},
                **{f"Static-{name}": header for name, header in _STATIC_HEADERS.items()},
            },
            "responses": _shared_answers(paths),
            "schemas": _schemas(),
        },
    }


# Paths.


def _paths() -> Json:
    put = [400, 401, 408, 413, 415, 429, 503, 507]
    return {
        "/secrets": {
            "get": _list_operation("list", "List metadata, newest first.", org=True),
            "post": _operation(
                "create",
                "Store a dead drop; without a bearer only where anyone may, and then within lower limits.",
                {"201": {**_json("Stored.", "Created"), "links": _links(id="$response.body#/id")}, **_refused(put)},
                body="PutBody",
                security=[*_BEARER, {}],
            ),
        },
        "/secrets/{id}": _on(["name"], _one_secret("Opened", "", _ANYONE)),
        "/secrets/{id}/received": _on(["name"], _received("", _ANYONE)),
        "/s/{id}": _on(
            ["id"],
            {
                "get": _page("showPage", "A page that says how the secret can be revealed; spends nothing."),
                "head": _page("headPage", "The headers of that page; spends nothing.", kind="HeadOfPage"),
                "post": _revealing(),
            },
        ),
        "/orgs/{org}/secrets": _on(
            ["org"],
            {
                "get": _list_operation("listOrg", "List the metadata of one org, newest first.", org=False),
                "post": _operation(
                    "createInOrg",
                    "Store an org secret.",
                    {
                        "201": {
                            **_json("Stored.", "CreatedInOrg"),
                            "links": _links("InOrg", org="$request.path.org", key="$response.body#/key"),
                        },
                        **_refused([*put, 409]),
                    },
                    body="OrgPutBody",
                    security=_BEARER,
                ),
            },
        ),
        "/orgs/{org}/secrets/{key}": _on(["org", "key"], _one_secret("OpenedInOrg", "InOrg", _BEARER)),
        "/orgs/{org}/secrets/{key}/received": _on(["org", "key"], _received("InOrg", _BEARER)),
        "/orgs/{org}/prune": _on(["org"], {"post": _pruning("pruneOrg", "Remove what has expired in one org.", [400])}),
        "/prune": {"post": _pruning("prune", "Remove what has expired.", [])},
        "/rotate-key": {
            "get": _operation(
                "rotation",
                "Records still under an older master key.",
                {"200": _json("Counted.", "Remaining"), **_refused([401, 403, 429, 503])},
                security=_BEARER,
            ),
            "post": _operation(
                "rotate",
                "Begin to move all records to the newest master key, and to new inner keys if asked to.",
                {"202": _json("Begun.", "Remaining"), **_refused([400, 401, 403, 408, 409, 413, 429, 503])},
                security=_BEARER,
                parameters=[_RENEW],
            ),
        },
        "/health": _both("health", "The process is alive.", {"200": _json("It is.", "Status")}),
        "/ready": _both(
            "ready",
            "New work should come here.",
            {"200": _json("It should.", "Status"), "503": _json("It should not.", "NotReady")},
        ),
        "/version": _both("version", "Name, version and limits.", {"200": _json("This release.", "Version")}),
        "/openapi.json": _both("openapi", "This description.", {"200": _content("It.", {"application/json": {}})}),
        "/robots.txt": _both("robots", "Asks robots to stay away.", {"200": _content("It.", {"text/plain": {}})}),
        "/": {
            "get": _operation(
                "createPage",
                "The page that makes dead drops, unless the operator has turned it off.",
                {**_refused([200], "Page"), **_refused([404])},
            ),
            "head": _operation(
                "headCreatePage",
                "The headers of that page.",
                {**_refused([200], "HeadOfPage"), **_refused([404], "Head")},
            ),
        },
        "/static/{version}/{file}": _on(
            ["version", "file"],
            _both("static", "What the pages are made of.", {"200": _static_file(), **_refused([404])}),
        ),
    }


def _explained(paths: Json) -> Json:
    """Complete every operation with its tag, what it does, and the refusals that every request can meet."""
    for path, item in paths.items():
        is_page = path in _PAGES
        for method in [name for name in item if name != "parameters"]:
            operation = item[method]
            tag, text = prose.OPERATIONS[operation["operationId"]]
            kind = ("HeadOfPage" if is_page else "Head") if method == "head" else ("Page" if is_page else "Problem")
            refused = _refused([400] if path in FOR_ANYONE else [400, 421], kind)
            operation |= {
                "tags": [tag],
                "description": text,
                "responses": dict(sorted({**refused, **operation["responses"]}.items())),
            }
    return paths


def _on(segments: Sequence[str], operations: Json) -> Json:
    """Return the operations of a path with segments in it."""
    return {"parameters": [{"in": "path", "required": True, **_SEGMENTS[name]} for name in segments], **operations}


def _one_secret(opened: str, suffix: str, reading: list[Json]) -> Json:
    """Return what can be done with one secret: by id or bare key, or by org and key."""
    shown = _head("Its metadata in headers.", _DESCRIBED)
    sealed = _head(_TEXTS[410], _DESCRIBED)
    return {
        "get": _operation(
            f"read{suffix}",
            "Reveal a secret, spending one read.",
            {"200": _read(opened), **_refused([400, 401, 403, 404, 408, 409, 410, 413, 429, 500, 503])},
            security=reading,
            parameters=[_PROOF, _ATTEMPT],
        ),
        "head": _operation(
            f"peek{suffix}",
            "Describe a secret in headers, spending nothing.",
            {"200": shown, **_refused([400, 401, 404, 409, 429, 500, 503], "Head"), "410": sealed},
            security=reading,
        ),
        "patch": _operation(
            f"amend{suffix}",
            "Change a secret that seals, set its read count to 0 and so revive it.",
            {
                "200": _json("Its metadata.", "Metadata"),
                **_refused([400, 401, 404, 408, 409, 413, 415, 429, 500, 503, 507]),
            },
            body="PatchBody",
            security=_BEARER,
        ),
        "delete": _operation(
            f"delete{suffix}",
            "Delete a secret, sealed or not; a locked one by its proof, too, without a bearer.",
            {"200": _json("Deleted.", "Deleted"), **_refused([400, 401, 403, 404, 408, 409, 413, 429, 500, 503])},
            security=[*_BEARER, {}],
            parameters=[_PROOF],
        ),
    }


def _read(opened: str) -> Json:
    """Return the answer that has a value."""
    answer = _json("The value.", opened)
    answer["headers"] |= {name: {"$ref": f"#/components/headers/{name}"} for name in _REPEAT}
    return answer


def _received(suffix: str, reading: list[Json]) -> Json:
    """Return how a reader says that it has the value."""
    operation = _operation(
        f"received{suffix}",
        "Say that the value of an attempt has arrived, so that it is not kept for another answer.",
        {"200": _json("Always the same answer.", "Received"), **_refused([400, 401, 408, 413, 429, 503])},
        security=reading,
        parameters=[{**_ATTEMPT, "required": True}],
    )
    return {"post": operation}


def _revealing() -> Json:
    """Return the form of the page, which has an attempt of its own."""
    operation = _page("revealPage", "Reveal the secret in a page, spending one read.", [403, 408, 409, 413])
    fields = {"attempt": {"type": "string", "pattern": ATTEMPT}}
    form = {"schema": {"type": "object", "properties": fields}}
    operation["requestBody"] = {
        "description": "Without the field `attempt`, or in any other form, each request is a read.",
        "content": {"application/x-www-form-urlencoded": form},
    }
    return operation


def _links(suffix: str = "", **parameters: str) -> Json:
    """Return what can be done next with a secret that was just stored."""
    names = [f"{name}{suffix}" for name in ("read", "peek", "amend", "delete")]
    names += [] if suffix else ["showPage", "revealPage"]
    return {name: {"operationId": name, "parameters": parameters} for name in names}


def _operation(
    name: str,
    summary: str,
    answers: Json,
    *,
    body: str | None = None,
    security: list[Json] | None = None,
    parameters: Sequence[Json] = (),
) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "security": _ANYONE if security is None else security,
        "responses": dict(sorted(answers.items())),
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _of_schema(body)}
    return operation


def _list_operation(name: str, summary: str, *, org: bool) -> Json:
    answers = {"200": _json("The list, or a page of it.", "Secrets"), **_refused([400, 401, 429, 503])}
    parameters: list[Json] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": queries.MAX_LIMIT}},
        {
            "name": "cursor",
            "in": "query",
            "description": "A next_cursor of an earlier answer; opaque.",
            "schema": {"type": "string", "pattern": CURSOR},
        },
    ]
    if org:
        parameters.append({"name": "org", "in": "query", "schema": _SEGMENTS["org"]["schema"]})
    return {**_operation(name, summary, answers, security=_BEARER), "parameters": parameters}


def _pruning(name: str, summary: str, more: list[int]) -> Json:
    answers = {"200": _json("Removed.", "Pruned"), **_refused([*more, 401, 408, 413, 429, 503])}
    return _operation(name, summary, answers, security=_BEARER)


def _page(name: str, summary: str, more: Iterable[int] = (), *, kind: str = "Page") -> Json:
    return _operation(name, summary, _refused([200, 400, 404, 410, 429, 500, 503, *more], kind))


def _both(name: str, summary: str, answers: Json) -> Json:
    """Return GET and HEAD where they are answered alike."""
    heads = {status: _without_content(answer) for status, answer in answers.items()}
    return {"get": _operation(name, summary, answers), "head": _operation(f"{name}Head", summary, heads)}


def _without_content(answer: Json) -> Json:
    if "$ref" in answer:
        return {"$ref": answer["$ref"].replace("/Problem", "/Head")}
    return {part: answer[part] for part in answer if part != "content"}


# Answers.


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


def _head(text: str, headers: Mapping[str, Any] | None = None) -> Json:
    """Return an answer without content, with headers of its own beside those of all answers."""
    names = [*_ON_ALL, *(headers or {})]
    return {"description": text, "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def _content(text: str, content: Json) -> Json:
    return {**_head(text), "content": content}


def _static_file() -> Json:
    types = {kind.decode().partition(";")[0]: {"schema": {"type": "string"}} for kind in assets.TYPES.values()}
    answer = _content("It.", types)
    answer["headers"] |= {name: {"$ref": f"#/components/headers/Static-{name}"} for name in _STATIC_HEADERS}
    return answer


def _json(text: str, schema: str) -> Json:
    return _content(text, _of_schema(schema))


def _of_schema(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _refused(statuses: Iterable[int], kind: str = "Problem") -> Json:
    """Return answers that many operations share.

    Args:
        statuses: Which.
        kind: `Problem` is JSON, `Page` is HTML, `Head` and `HeadOfPage` are the same without content.
    """
    return {str(status): {"$ref": f"#/components/responses/{kind}{status}"} for status in statuses}


def _shared_answers(paths: Json) -> Json:
    """Return the answers that operations refer to."""
    operations = [part for item in paths.values() for name, part in item.items() if name != "parameters"]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    names = {answer["$ref"].rpartition("/")[2] for answer in answers if "$ref" in answer}
    return {name: _shared_answer(name[:-3], int(name[-3:])) for name in sorted(names)}


def _shared_answer(kind: str, status: int) -> Json:
    answer = _head(_TEXTS.get(status, "The page."), _OF_STATUS.get(status))
    if kind in {"Page", "HeadOfPage"}:
        answer["headers"] |= {name: {"$ref": f"#/components/headers/Page-{name}"} for name in _PAGE_HEADERS}
    content = {"Problem": _of_schema("Problem"), "Page": {"text/html": {"schema": {"type": "string"}}}}
    return {**answer, "content": content[kind]} if kind in content else answer


# Schemas.


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _body(model: type[BaseModel]) -> Json:
    """Return the schema of a body, with an example.

    It claims no default: some depend on a setting, some mean "unchanged", and generators take a member that has one for
    required.
    """
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        field.pop("title", None)
        field.pop("default", None)
        if name == "key":
            # The model has a simpler pattern, since pydantic's expressions cannot look ahead.
            field["pattern"] = KEY
    schema.pop("title", None)
    schema["examples"] = [prose.EXAMPLES[model.__name__]]
    return schema


def _schemas() -> Json:
    text: Json = {"type": "string"}
    number: Json = {"type": "integer"}
    maybe_number: Json = {"type": ["integer", "null"]}
    metadata = _object(
        key=text,
        org={"type": ["string", "null"]},
        fingerprint={"type": "string", "pattern": "^[0-9a-f]{16}$"},
        created_at=number,
        expires_at=maybe_number,
        max_reads=maybe_number,
        read_count=number,
        delete={"type": "boolean"},
        locked={"type": "boolean"},
        status={"enum": ["active", "sealed"]},
    )
    secrets = _object(
        secrets={"type": "array", "items": {"$ref": "#/components/schemas/Metadata"}},
        next_cursor={"type": ["string", "null"], "description": "Only with limit."},
    )
    problem = _object(error=text, code=text, field={"type": "string", "description": "Only for a bad field."})
    return {
        "PutBody": _body(drops.PutBody),
        "OrgPutBody": _body(drops.OrgPutBody),
        "PatchBody": _body(drops.PatchBody),
        "Created": _object(id={"type": "string", "pattern": "^[0-9a-f]{64}$"}, url={"type": "string", "format": "uri"}),
        "CreatedInOrg": _object(key=text),
        "Opened": _object(id=text, value=text),
        "OpenedInOrg": _object(key=text, value=text),
        "Received": _object(received={"const": True}),
        "Deleted": _object(deleted={"const": True}),
        "Pruned": _object(pruned=number),
        "Remaining": _object(remaining=number),
        "Status": _object(status=text),
        "NotReady": _object(status={"const": "unavailable"}, reason={"enum": ["storage", "draining"]}),
        "Version": _object(
            name={"const": "sirrd"},
            version=text,
            max_value_bytes={**number, "description": "The longest value, in bytes of UTF-8."},
            public_max_value_bytes={
                **maybe_number,
                "description": "The same, for whoever shows no bearer; null where they may store nothing.",
            },
            redelivery_seconds={**number, "description": "For how long an attempt is answered again; 0: not at all."},
            default_ttl_seconds={
                **maybe_number,
                "description": "How long a secret lives whose sender does not say; null: as long as it may.",
            },
            max_ttl_seconds={**maybe_number, "description": "How long one may live; null: for ever."},
        ),
        "Metadata": metadata,
        "Secrets": {**secrets, "required": ["secrets"]},
        "Problem": {**problem, "required": ["error", "code"]},
    }
