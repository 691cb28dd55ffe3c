"""The schemas of names, bodies and answers, those of bodies made from the models that requests are checked with."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from sirrd.http.openapi import prose
from sirrd.http.wire import drops

Json = dict[str, Any]

# Names.

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


# Bodies and answers.


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


def schemas() -> Json:
    """Return every schema by its name."""
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
        "Created": _object(id={"type": "string", "pattern": ID}, url={"type": "string", "format": "uri"}),
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
