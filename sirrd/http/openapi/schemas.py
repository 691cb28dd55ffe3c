"""The schemas of bodies and answers, made from the models that are declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from sirrd.http.endpoints import Endpoint
from sirrd.http.openapi import prose
from sirrd.http.wire.outcomes import Problem
from sirrd.http.wire.parameters import KEY_PATTERN

Json = dict[str, Any]
_AT: Final = "#/components/schemas/"


def of_schema(model: type[BaseModel]) -> Json:
    """Return content in JSON."""
    return {"application/json": {"schema": {"$ref": f"{_AT}{model.__name__}"}}}


def schemas(endpoints: Iterable[Endpoint]) -> Json:
    """Return the schema of every model that an endpoint takes or answers with, by its name."""
    found: Json = {}
    for endpoint in endpoints:
        if endpoint.body is not None:
            found |= _schemas_of(endpoint.body)
            # The model has a simpler pattern, since pydantic's expressions cannot look ahead.
            if "key" in endpoint.body.model_fields:
                found[endpoint.body.__name__]["properties"]["key"]["pattern"] = KEY_PATTERN
            found[endpoint.body.__name__]["examples"] = [prose.EXAMPLES[endpoint.body.__name__]]
        for answered in endpoint.answers.values():
            if answered.model is not None:
                found |= _schemas_of(answered.model)
    return found | _schemas_of(Problem)


def _schemas_of(model: type[BaseModel]) -> Json:
    """Return the schema of a model, and of those that it is made of.

    They claim no default: some depend on a setting, some mean "unchanged", and generators take a member that has one
    for required.
    """
    whole = model.model_json_schema(ref_template=f"{_AT}{{model}}")
    found = {**whole.pop("$defs", {}), model.__name__: whole}
    for schema in found.values():
        schema.pop("title", None)
        for member in schema["properties"].values():
            member.pop("title", None)
            member.pop("default", None)
    return found
