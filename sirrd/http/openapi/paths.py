"""The paths, and what can be asked of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sirrd.http.hosts import FOR_ANYONE
from sirrd.http.openapi import prose
from sirrd.http.openapi.answers import (
    DESCRIBED,
    TEXTS,
    content_of,
    head,
    in_json,
    of_schema,
    refused,
    static_file,
    value,
    without_content,
)
from sirrd.http.openapi.schemas import ATTEMPT, CURSOR, ID, ID_OR_KEY, KEY, ORG, Json
from sirrd.http.pages import assets
from sirrd.http.wire import queries

_BEARER: Final[list[Json]] = [{"bearer": []}]
_ANYONE: Final[list[Json]] = []
_PAGES: Final = frozenset({"/", "/s/{id}"})

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


def paths() -> Json:
    """Return every path with its operations."""
    return _explained(_paths())


def _paths() -> Json:
    put = [400, 401, 408, 413, 415, 429, 503, 507]
    return {
        "/secrets": {
            "get": _list_operation("list", "List metadata, newest first.", org=True),
            "post": _operation(
                "create",
                "Store a dead drop; without a bearer only where anyone may, and then within lower limits.",
                {"201": {**in_json("Stored.", "Created"), "links": _links(id="$response.body#/id")}, **refused(put)},
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
                            **in_json("Stored.", "CreatedInOrg"),
                            "links": _links("InOrg", org="$request.path.org", key="$response.body#/key"),
                        },
                        **refused([*put, 409]),
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
                {"200": in_json("Counted.", "Remaining"), **refused([401, 403, 429, 503])},
                security=_BEARER,
            ),
            "post": _operation(
                "rotate",
                "Begin to move all records to the newest master key, and to new inner keys if asked to.",
                {"202": in_json("Begun.", "Remaining"), **refused([400, 401, 403, 408, 409, 413, 429, 503])},
                security=_BEARER,
                parameters=[_RENEW],
            ),
        },
        "/health": _both("health", "The process is alive.", {"200": in_json("It is.", "Status")}),
        "/ready": _both(
            "ready",
            "New work should come here.",
            {"200": in_json("It should.", "Status"), "503": in_json("It should not.", "NotReady")},
        ),
        "/version": _both("version", "Name, version and limits.", {"200": in_json("This release.", "Version")}),
        "/openapi.json": _both("openapi", "This description.", {"200": content_of("It.", {"application/json": {}})}),
        "/robots.txt": _both("robots", "Asks robots to stay away.", {"200": content_of("It.", {"text/plain": {}})}),
        "/": {
            "get": _operation(
                "createPage",
                "The page that makes dead drops, unless the operator has turned it off.",
                {**refused([200], "Page"), **refused([404])},
            ),
            "head": _operation(
                "headCreatePage",
                "The headers of that page.",
                {**refused([200], "HeadOfPage"), **refused([404], "Head")},
            ),
        },
        "/static/{version}/{file}": _on(
            ["version", "file"],
            _both("static", "What the pages are made of.", {"200": static_file(), **refused([404])}),
        ),
    }


def _explained(found: Json) -> Json:
    """Complete every operation with its tag, what it does, and the refusals that every request can meet."""
    for path, item in found.items():
        is_page = path in _PAGES
        for method in [name for name in item if name != "parameters"]:
            operation = item[method]
            tag, text = prose.OPERATIONS[operation["operationId"]]
            kind = ("HeadOfPage" if is_page else "Head") if method == "head" else ("Page" if is_page else "Problem")
            refusals = refused([400] if path in FOR_ANYONE else [400, 421], kind)
            operation |= {
                "tags": [tag],
                "description": text,
                "responses": dict(sorted({**refusals, **operation["responses"]}.items())),
            }
    return found


def _on(segments: Sequence[str], operations: Json) -> Json:
    """Return the operations of a path with segments in it."""
    return {"parameters": [{"in": "path", "required": True, **_SEGMENTS[name]} for name in segments], **operations}


def _one_secret(opened: str, suffix: str, reading: list[Json]) -> Json:
    """Return what can be done with one secret: by id or bare key, or by org and key."""
    shown = head("Its metadata in headers.", DESCRIBED)
    sealed = head(TEXTS[410], DESCRIBED)
    return {
        "get": _operation(
            f"read{suffix}",
            "Reveal a secret, spending one read.",
            {"200": value(opened), **refused([400, 401, 403, 404, 408, 409, 410, 413, 429, 500, 503])},
            security=reading,
            parameters=[_PROOF, _ATTEMPT],
        ),
        "head": _operation(
            f"peek{suffix}",
            "Describe a secret in headers, spending nothing.",
            {"200": shown, **refused([400, 401, 404, 409, 429, 500, 503], "Head"), "410": sealed},
            security=reading,
        ),
        "patch": _operation(
            f"amend{suffix}",
            "Change a secret that seals, set its read count to 0 and so revive it.",
            {
                "200": in_json("Its metadata.", "Metadata"),
                **refused([400, 401, 404, 408, 409, 413, 415, 429, 500, 503, 507]),
            },
            body="PatchBody",
            security=_BEARER,
        ),
        "delete": _operation(
            f"delete{suffix}",
            "Delete a secret, sealed or not; a locked one by its proof, too, without a bearer.",
            {"200": in_json("Deleted.", "Deleted"), **refused([400, 401, 403, 404, 408, 409, 413, 429, 500, 503])},
            security=[*_BEARER, {}],
            parameters=[_PROOF],
        ),
    }


def _received(suffix: str, reading: list[Json]) -> Json:
    """Return how a reader says that it has the value."""
    operation = _operation(
        f"received{suffix}",
        "Say that the value of an attempt has arrived, so that it is not kept for another answer.",
        {"200": in_json("Always the same answer.", "Received"), **refused([400, 401, 408, 413, 429, 503])},
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
        operation["requestBody"] = {"required": True, "content": of_schema(body)}
    return operation


def _list_operation(name: str, summary: str, *, org: bool) -> Json:
    answers = {"200": in_json("The list, or a page of it.", "Secrets"), **refused([400, 401, 429, 503])}
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
    answers = {"200": in_json("Removed.", "Pruned"), **refused([*more, 401, 408, 413, 429, 503])}
    return _operation(name, summary, answers, security=_BEARER)


def _page(name: str, summary: str, more: Iterable[int] = (), *, kind: str = "Page") -> Json:
    return _operation(name, summary, refused([200, 400, 404, 410, 429, 500, 503, *more], kind))


def _both(name: str, summary: str, answers: Json) -> Json:
    """Return GET and HEAD where they are answered alike."""
    heads = {status: without_content(answer) for status, answer in answers.items()}
    return {"get": _operation(name, summary, answers), "head": _operation(f"{name}Head", summary, heads)}
