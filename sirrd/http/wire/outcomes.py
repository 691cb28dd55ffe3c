"""The models of what is answered, when all goes well and when it does not. Answers are written by hand; see `drops`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sirrd.http.wire.parameters import ID_PATTERN


class Outcome(BaseModel):
    """An answer of JSON: these members, and no others."""

    # Only the description of all routes needs these models, so nobody else is to wait for them.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Created(Outcome):
    """A dead drop that was stored."""

    id: Annotated[str, Field(pattern=ID_PATTERN)]
    url: Annotated[str, Field(json_schema_extra={"format": "uri"})]


class CreatedInOrg(Outcome):
    """An org secret that was stored."""

    key: str


class Opened(Outcome):
    """A secret that was read, with its name as it was asked for."""

    id: str
    value: str


class OpenedInOrg(Outcome):
    """An org secret that was read."""

    key: str
    value: str


class Received(Outcome):
    """The answer to a reader who has the value."""

    received: Literal[True]


class Deleted(Outcome):
    """A secret that was deleted."""

    deleted: Literal[True]


class Pruned(Outcome):
    """How many records were removed."""

    pruned: int


class Remaining(Outcome):
    """How many records are still under an older master key."""

    remaining: int


class Metadata(Outcome):
    """All about a secret but its value."""

    key: str
    org: str | None
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    created_at: int
    expires_at: int | None
    max_reads: int | None
    read_count: int
    delete: bool
    locked: bool
    status: Literal["active", "sealed"]


class Secrets(Outcome):
    """A list, or a page of it."""

    secrets: list[Metadata]
    next_cursor: str | None = Field(None, description="Only with limit.")


class Status(Outcome):
    """The state of the server."""

    status: str


class NotReady(Outcome):
    """Why no new work should come."""

    status: Literal["unavailable"]
    reason: Literal["storage", "draining"]


class Version(Outcome):
    """What a client has to know of a server."""

    name: Literal["sirrd"]
    version: str
    max_value_bytes: int = Field(description="The longest value, in bytes of UTF-8.")
    public_max_value_bytes: int | None = Field(
        description="The same, for whoever shows no bearer; null where they may store nothing."
    )
    redelivery_seconds: int = Field(description="For how long an attempt is answered again; 0: not at all.")
    default_ttl_seconds: int | None = Field(
        description="How long a secret lives whose sender does not say; null: as long as it may."
    )
    max_ttl_seconds: int | None = Field(description="How long one may live; null: for ever.")


class Problem(Outcome):
    """A refusal."""

    error: str
    code: str
    field: str = Field("", description="Only for a bad field.")
