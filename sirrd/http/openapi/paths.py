"""The paths, and what can be asked of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sirrd.http import auth
from sirrd.http.endpoints import Endpoint, Who
from sirrd.http.openapi import prose
from sirrd.http.openapi.answers import responses
from sirrd.http.openapi.schemas import Json, of_schema
from sirrd.http.wire.parameters import Parameter

_ANYONE: Final[list[Json]] = []
_BEARER: Final[list[Json]] = [{"bearer": []}]
_BEARER_OR_NOT: Final[list[Json]] = [*_BEARER, {}]

SECURITY: Final[Mapping[Who, list[Json]]] = {
    auth.unasked: _ANYONE,
    auth.caller: _ANYONE,
    auth.reader: _ANYONE,
    auth.recipient: _BEARER_OR_NOT,
    auth.creator: _BEARER_OR_NOT,
    auth.operator: _BEARER,
    auth.key_holder: _BEARER,
}
"""What those who may have to show."""

_BEFORE_THE_BODY: Final = frozenset({"query", "header"})


def paths(endpoints: Iterable[Endpoint]) -> Json:
    """Return every path with its operations."""
    found: Json = {}
    for endpoint in endpoints:
        segments = [_parameter(each) for each in endpoint.parameters if each.where == "path"]
        item = found.setdefault(endpoint.path, {"parameters": segments} if segments else {})
        item[endpoint.method.lower()] = _operation(endpoint)
    return found


def _operation(endpoint: Endpoint) -> Json:
    tag, text = prose.OPERATIONS[endpoint.name]
    operation: Json = {
        "operationId": endpoint.name,
        "tags": [tag],
        "summary": endpoint.summary,
        "description": text,
        "security": SECURITY[endpoint.who],
        "responses": responses(endpoint),
    }
    if parameters := [_parameter(each) for each in endpoint.parameters if each.where in _BEFORE_THE_BODY]:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": of_schema(endpoint.body)}
    if endpoint.form is not None:
        fields = {each.name: each.schema for each in endpoint.form.fields}
        form = {"schema": {"type": "object", "properties": fields}}
        content = {"application/x-www-form-urlencoded": form}
        operation["requestBody"] = {"description": endpoint.form.text, "content": content}
    return operation


def _parameter(parameter: Parameter) -> Json:
    described: Json = {"name": parameter.name, "in": parameter.where, "schema": parameter.schema}
    if parameter.text:
        described["description"] = parameter.text
    if parameter.required:
        described["required"] = True
    return described
