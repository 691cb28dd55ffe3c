"""What is sent and answered about secrets: the models of bodies, and JSON and headers of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from json.encoder import encode_basestring
from typing import Annotated, Any, Final

from pydantic import Field, StrictBool, StrictInt, StrictStr

from sirrd.errors import BadField
from sirrd.http.context import Request
from sirrd.http.wire.answers import JSON_TYPE, Answer, Header, Stream, as_json, as_text, encode
from sirrd.http.wire.bodies import Body, json_object, validated
from sirrd.http.wire.queries import cursor
from sirrd.model import (
    MAX_READS,
    MAX_TTL_SECONDS,
    UNSET,
    Amendment,
    Draft,
    Metadata,
    Opened,
    Plaintext,
    is_key,
)
from sirrd.store import Page

REPEAT: Final[Header] = (b"x-sirr-repeat", b"true")


Ttl = Annotated[StrictInt, Field(ge=1, le=MAX_TTL_SECONDS, description="Seconds to live.")]
Reads = Annotated[StrictInt, Field(ge=1, le=MAX_READS, description="Reads allowed.")]

Lock = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]


class PutBody(Body):
    """A new dead drop."""

    value: StrictStr = Field(
        min_length=1, repr=False, description="The secret: 1 byte to SIRR_MAX_VALUE_BYTES of UTF-8."
    )
    ttl_seconds: Ttl | None = Field(
        None, description="Seconds to live; null: as long as the operator allows; absent: the operator's default."
    )
    max_reads: Reads | None = Field(
        1, description="Reads allowed; null: unlimited; absent: 1, unless the operator chose another default."
    )
    delete: StrictBool = Field(
        default=True, description="Whether the last read burns (true) or seals (false); absent: true."
    )
    lock: Lock | None = Field(
        None,
        repr=False,
        description="SHA-256, in hex, of the 32 bytes that a reader has to show; null or absent: no lock.",
    )


class OrgPutBody(PutBody):
    """A new org secret."""

    key: StrictStr = Field(
        repr=False,
        pattern=r"^[A-Za-z0-9_.\-]{1,256}$",
        description="Unique among the live secrets of its org; not 64 hex digits.",
    )


class PatchBody(Body):
    """A change to a secret that seals; what is absent stays as it is."""

    value: StrictStr = Field("", min_length=1, repr=False, description="The new value.")
    ttl_seconds: Ttl | None = Field(None, description="Seconds to live from now on; null: as long as allowed.")
    max_reads: Reads | None = Field(None, description="Reads allowed from now on; null: unlimited.")
    lock: Lock | None = Field(
        None, repr=False, description="As for a new one; null removes it. A new value for a locked secret needs it."
    )


async def draft(request: Request, *, limit: int) -> Draft:
    """Parse the body of a new dead drop.

    Raises:
        RequestError: It is not declared as JSON, over `limit` bytes, stalled, or not what `PutBody` says.
    """
    return _draft(validated(PutBody, await json_object(request, limit=limit)))


async def org_draft(request: Request) -> tuple[str, Draft]:
    """Parse the body of a new org secret into its key and the rest; errors as in `draft`."""
    body = validated(OrgPutBody, await json_object(request, limit=request.state["context"].body_limit))
    if not is_key(body.key):
        raise BadField("key", "key must be 1 to 256 of A-Z a-z 0-9 _ . - but not . or .. or 64 hex digits")
    return body.key, _draft(body)


async def amendment(request: Request) -> Amendment:
    """Parse the body of a change; errors as in `draft`."""
    body = validated(PatchBody, await json_object(request, limit=request.state["context"].body_limit))
    given = body.model_fields_set
    return Amendment(
        Plaintext.of(body.value) if "value" in given else UNSET,
        body.ttl_seconds if "ttl_seconds" in given else UNSET,
        body.max_reads if "max_reads" in given else UNSET,
        _lock(body.lock) if "lock" in given else UNSET,
    )


def _lock(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _draft(body: PutBody) -> Draft:
    given = body.model_fields_set
    return Draft(
        Plaintext.of(body.value),
        body.ttl_seconds if "ttl_seconds" in given else UNSET,
        body.max_reads if "max_reads" in given else UNSET,
        body.delete,
        _lock(body.lock),
    )


def as_strings(status: int, fingerprint: str, **members: str) -> Answer:
    """Answer with a JSON object of strings: the shape of what is asked for most, without an encoder for each answer."""
    content = ",".join([f'"{name}":{encode_basestring(text)}' for name, text in members.items()])
    return as_text(status, f"{{{content}}}", (), fingerprint)


def opened(found: Opened, name: str) -> Answer:
    """Answer with a value that was read, or read again; `name` is the member that says whose it is."""
    answer = as_strings(200, found.fingerprint, **{name: found.name, "value": found.plaintext.text()})
    if found.repeats:
        answer.headers = [*answer.headers, REPEAT]
    return answer


def described(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as the contract writes it in JSON."""
    terms = metadata.terms
    return {
        "key": metadata.name,
        "org": metadata.org,
        "fingerprint": metadata.fingerprint,
        "created_at": terms.created_at,
        "expires_at": terms.expires_at,
        "max_reads": terms.max_reads,
        "read_count": metadata.read_count,
        "delete": terms.delete,
        "locked": metadata.locked,
        "status": metadata.status,
    }


def headed(metadata: Metadata, *, with_fingerprint: bool) -> Answer:
    """Answer a HEAD: 200, or 410 if sealed, and what the contract writes in headers."""
    terms, remaining = metadata.terms, metadata.reads_remaining
    status = metadata.status
    headers = [
        JSON_TYPE,
        (b"x-sirr-read-count", b"%d" % metadata.read_count),
        (b"x-sirr-reads-remaining", b"unlimited" if remaining is None else b"%d" % remaining),
        (b"x-sirr-delete", b"true" if terms.delete else b"false"),
        (b"x-sirr-created-at", b"%d" % terms.created_at),
        (b"x-sirr-status", status.encode()),
    ]
    if metadata.locked:
        headers.append((b"x-sirr-locked", b"true"))
    if terms.expires_at is not None:
        headers.append((b"x-sirr-expires-at", b"%d" % terms.expires_at))
    if with_fingerprint:
        headers.append((b"x-sirr-fingerprint", metadata.fingerprint.encode()))
    return Answer(410 if status == "sealed" else 200, b"", headers, fingerprint=metadata.fingerprint)


def page(found: Page) -> Answer:
    """Answer with one page of a list."""
    next_cursor = None if found.before is None else cursor(found.before)
    return as_json(200, {"secrets": [described(each) for each in found.metadata], "next_cursor": next_cursor})


def everything(pages: AsyncIterator[Page]) -> Stream:
    """Answer with a whole list, page by page."""
    return Stream(200, _chunks(pages), [JSON_TYPE])


async def _chunks(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    lead = '{"secrets":['
    async for each in pages:
        members = ",".join(encode(described(metadata)) for metadata in each.metadata)
        if members:
            yield (lead + members).encode()
            lead = ","
        elif lead != ",":
            yield lead.encode()
            lead = ""
    yield b"]}"
