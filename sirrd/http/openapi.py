"""The OpenAPI 3.1 description of all routes, built once from the same body models that requests are checked with."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from sirrd import __version__
from sirrd.http import wire
from sirrd.http.context import Request

Json = dict[str, Any]

_BEARER: Final[list[Json]] = [{"bearer": []}]
_ANYONE: Final[list[Json]] = []
_SEGMENTS: Final[Json] = {
    "id": {
        "description": "The id of a dead drop (64 lower-case hex digits), or the bare key of an org secret.",
        "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_.\-]{1,256}$"},
    },
    "key": {"description": "The key.", "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_.\-]{1,256}$"}},
    "org": {"description": "The org.", "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_.\-]{1,128}$"}},
}
_TEXTS: Final = {
    400: "The path, the query or the body is malformed.",
    401: "The bearer is missing, malformed or wrong.",
    403: "The request comes from another site or a prefetch.",
    404: "Burned, expired, deleted or never there.",
    408: "The body made no progress for 30 s.",
    409: "The state of the secret, or another secret, does not allow it.",
    410: "Sealed: its reads are used up.",
    413: "The body or the value is too large.",
    415: "The body is not declared as application/json in UTF-8.",
    429: "Too many requests from this address, where the operator has set a rate limit.",
    500: "The stored record does not open; nothing was spent.",
    503: "The storage cannot serve the request now.",
    507: "There is not enough free disk space.",
}
_HEADERS: Final[dict[int, Json]] = {
    429: {
        "Retry-After": {
            "description": "Seconds until a request is let through again.",
            "schema": {"type": "integer", "minimum": 1},
        }
    }
}


async def show(request: Request) -> wire.Answer:  # noqa: ARG001 - the description is the same for everyone
    """Answer with the description."""
    return _answer()


@cache
def _answer() -> wire.Answer:
    return wire.as_json(200, description())


def description() -> Json:
    """Return the whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sirrd",
            "version": __version__,
            "summary": "A burn-after-read dead drop daemon.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "SIRR_MASTER_API_KEY, if one is set."}
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> Json:
    one_secret = {
        "get": _operation(
            "read", "Reveal a secret, spending one read.", 200, [400, 401, 403, 404, 409, 410, 429, 500, 503]
        ),
        "head": _operation(
            "peek", "Describe a secret in headers, spending nothing.", 200, [400, 401, 404, 409, 410, 429, 500, 503]
        ),
        "patch": _operation(
            "amend",
            "Change a secret that seals, set its read count to 0 and so revive it.",
            200,
            [400, 401, 404, 408, 409, 413, 415, 429, 500, 503, 507],
            body="PatchBody",
            schema="Metadata",
            security=_BEARER,
        ),
        "delete": _operation(
            "delete",
            "Delete a secret, sealed or not.",
            200,
            [400, 401, 404, 409, 429, 503],
            schema="Deleted",
            security=_BEARER,
        ),
    }
    put = [400, 401, 408, 413, 415, 429, 503, 507]
    return {
        "/secrets": {
            "get": _list_operation("list", "List metadata, newest first.", org=True),
            "post": _operation(
                "create", "Store a dead drop.", 201, put, body="PutBody", schema="Created", security=_BEARER
            ),
        },
        "/secrets/{id}": _on(["id"], one_secret, reads="Opened", suffix=""),
        "/s/{id}": _on(
            ["id"],
            {
                "get": _page("showPage", "A page that says how the secret can be revealed; spends nothing."),
                "head": _page("headPage", "The headers of that page; spends nothing."),
                "post": _page("revealPage", "Reveal the secret in a page, spending one read.", [403]),
            },
        ),
        "/orgs/{org}/secrets": _on(
            ["org"],
            {
                "get": _list_operation("listOrg", "List the metadata of one org, newest first.", org=False),
                "post": _operation(
                    "createInOrg",
                    "Store an org secret.",
                    201,
                    sorted([*put, 409]),
                    body="OrgPutBody",
                    schema="CreatedInOrg",
                    security=_BEARER,
                ),
            },
        ),
        "/orgs/{org}/secrets/{key}": _on(
            ["org", "key"], one_secret, reads="OpenedInOrg", suffix="InOrg", security=_BEARER
        ),
        "/orgs/{org}/prune": _on(
            ["org"],
            {
                "post": _operation(
                    "pruneOrg",
                    "Remove what has expired in one org.",
                    200,
                    [400, 401, 429, 503],
                    schema="Pruned",
                    security=_BEARER,
                )
            },
        ),
        "/prune": {
            "post": _operation(
                "prune", "Remove what has expired.", 200, [401, 429, 503], schema="Pruned", security=_BEARER
            )
        },
        "/rotate-key": {
            "get": _operation(
                "rotation",
                "Records still under an older master key.",
                200,
                [401, 403, 429, 503],
                schema="Remaining",
                security=_BEARER,
            ),
            "post": _operation(
                "rotate",
                "Begin to move all records to the newest master key.",
                202,
                [401, 403, 409, 429, 503],
                schema="Remaining",
                security=_BEARER,
            ),
        },
        "/health": _both("health", "The process is alive.", "Status", []),
        "/ready": _both("ready", "New work should come here.", "Status", [503], problem="NotReady"),
        "/version": _both("version", "Name and version.", "Version", []),
        "/openapi.json": _both("openapi", "This description.", None, []),
        "/robots.txt": _both("robots", "Asks robots to stay away.", None, [], media="text/plain"),
    }


def _on(
    segments: list[str],
    operations: Json,
    *,
    reads: str | None = None,
    suffix: str = "",
    security: list[Json] | None = None,
) -> Json:
    """Return the operations of a path with segments in it."""
    own = {}
    for method, operation in operations.items():
        changed = dict(operation, operationId=operation["operationId"] + suffix)
        if security is not None:
            changed["security"] = security
        if method == "get" and reads is not None:
            changed["responses"] = {**operation["responses"], "200": _response("The value.", reads)}
        if method == "head":
            changed["responses"] = {
                status: {name: part for name, part in response.items() if name != "content"}
                for status, response in operation["responses"].items()
            }
        own[method] = changed
    parameters = [{"name": name, "in": "path", "required": True, **_SEGMENTS[name]} for name in segments]
    return {"parameters": parameters, **own}


def _operation(
    name: str,
    summary: str,
    success: int,
    problems: list[int],
    *,
    body: str | None = None,
    schema: str | None = None,
    security: list[Json] | None = None,
    problem: str = "Problem",
) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "security": _ANYONE if security is None else security,
        "responses": {
            str(success): _response("Done.", schema),
            **{str(status): _refusal(status, _content(problem)) for status in problems},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    return operation


def _list_operation(name: str, summary: str, *, org: bool) -> Json:
    operation = _operation(name, summary, 200, [400, 401, 429, 503], schema="Secrets", security=_BEARER)
    parameters: list[Json] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": wire.MAX_LIMIT}},
        {"name": "cursor", "in": "query", "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{12}$"}},
    ]
    if org:
        parameters.append({"name": "org", "in": "query", "schema": _SEGMENTS["org"]["schema"]})
    return {**operation, "parameters": parameters}


def _page(name: str, summary: str, more: list[int] | None = None) -> Json:
    content = {"text/html": {"schema": {"type": "string"}}}
    problems = sorted([400, 404, 410, 429, 500, 503, *(more or [])])
    responses = {"200": {"description": "The page.", "content": content}}
    responses |= {str(status): _refusal(status, content) for status in problems}
    return {"operationId": name, "summary": summary, "security": _ANYONE, "responses": responses}


def _both(
    name: str,
    summary: str,
    schema: str | None,
    problems: list[int],
    *,
    media: str = "application/json",
    problem: str = "Problem",
) -> Json:
    get = _operation(name, summary, 200, problems, schema=schema, problem=problem)
    if schema is None:
        get["responses"]["200"]["content"] = {media: {}}
    head = {
        **get,
        "operationId": f"{name}Head",
        "responses": {status: {"description": found["description"]} for status, found in get["responses"].items()},
    }
    return {"get": get, "head": head}


def _response(text: str, schema: str | None) -> Json:
    return {"description": text} if schema is None else {"description": text, "content": _content(schema)}


def _refusal(status: int, content: Json) -> Json:
    described = {"description": _TEXTS[status], "content": content}
    return {**described, "headers": _HEADERS[status]} if status in _HEADERS else described


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _body(model: type[BaseModel]) -> Json:
    """Return the schema of a body; a default that depends on a setting, or that means "unchanged", is not claimed."""
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        field.pop("title", None)
        if name != "delete":
            field.pop("default", None)
    schema.pop("title", None)
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
        status={"enum": ["active", "sealed"]},
    )
    secrets = _object(
        secrets={"type": "array", "items": {"$ref": "#/components/schemas/Metadata"}},
        next_cursor={"type": ["string", "null"], "description": "Only with limit."},
    )
    problem = _object(error=text, code=text, field={"type": "string", "description": "Only for a bad field."})
    return {
        "PutBody": _body(wire.PutBody),
        "OrgPutBody": _body(wire.OrgPutBody),
        "PatchBody": _body(wire.PatchBody),
        "Created": _object(id={"type": "string", "pattern": "^[0-9a-f]{64}$"}, url={"type": "string", "format": "uri"}),
        "CreatedInOrg": _object(key=text),
        "Opened": _object(id=text, value=text),
        "OpenedInOrg": _object(key=text, value=text),
        "Deleted": _object(deleted={"const": True}),
        "Pruned": _object(pruned=number),
        "Remaining": _object(remaining=number),
        "Status": _object(status=text),
        "NotReady": _object(status={"const": "unavailable"}, reason={"enum": ["storage", "draining"]}),
        "Version": _object(name={"const": "sirrd"}, version=text),
        "Metadata": metadata,
        "Secrets": {**secrets, "required": ["secrets"]},
        "Problem": {**problem, "required": ["error", "code"]},
    }
