"""From bytes to domain values and back: bodies, query parameters, answers. Strict on the way in."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import types
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Annotated, Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from sirrd.errors import BadAttempt, BadBody, BadField, BadPath, BodyStalled, BodyTooLarge, Busy, UnsupportedMediaType
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import (
    MAX_READS,
    MAX_TTL_SECONDS,
    UNSET,
    Amendment,
    Attempt,
    Draft,
    Metadata,
    Opened,
    Plaintext,
    Proof,
    is_key,
    is_org,
)
from sirrd.store import Page

BODY_PROGRESS_SECONDS: Final = 30.0
SMALL_BODY_BYTES: Final = 8192  # is not counted among those that hold too much together
_STALLED: Final = "the body made no progress"
MAX_LIMIT: Final = 1000
MOST_PARAMETERS: Final = 32
_LONGEST_PART: Final = 1024
# A part of a query whose name is one of those, or has an escape in it and so may be.
_KNOWN_PART: Final = re.compile(r"(?:\A|(?<=&))(?:(?:limit|cursor|org)(?=[=&]|\Z)|[^=&]*%)[^&]*")
_LONGEST_TYPE: Final = 256
_JSON: Final = re.compile(rb'application/json[ \t]*(;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?;?', re.IGNORECASE)
_CURSOR_VERSION: Final = 1
_SEQUENCE_BYTES: Final = 8
_32_BYTES: Final = re.compile(rb"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # no padding, and no bit left over
_FORM: Final = b"application/x-www-form-urlencoded"
_MAX_FORM_BYTES: Final = 4096
MAX_IGNORED_BYTES: Final = 16 * 1024 * 1024
_BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{12}")  # nine bytes: no padding
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

Header = tuple[bytes, bytes]
REPEAT: Final[Header] = (b"x-sirr-repeat", b"true")


# Bodies.


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


Ttl = Annotated[StrictInt, Field(ge=1, le=MAX_TTL_SECONDS, description="Seconds to live.")]
Reads = Annotated[StrictInt, Field(ge=1, le=MAX_READS, description="Reads allowed.")]

Lock = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]


class PutBody(_Body):
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


class PatchBody(_Body):
    """A change to a secret that seals; what is absent stays as it is."""

    value: StrictStr = Field("", min_length=1, repr=False, description="The new value.")
    ttl_seconds: Ttl | None = Field(None, description="Seconds to live from now on; null: as long as allowed.")
    max_reads: Reads | None = Field(None, description="Reads allowed from now on; null: unlimited.")
    lock: Lock | None = Field(
        None, repr=False, description="As for a new one; null removes it. A new value for a locked secret needs it."
    )


BodyT = TypeVar("BodyT", bound=_Body)


async def draft(request: Request, *, limit: int) -> Draft:
    """Parse the body of a new dead drop.

    Raises:
        RequestError: It is not declared as JSON, over `limit` bytes, stalled, or not what `PutBody` says.
    """
    return _draft(_validated(PutBody, await _json_object(request, limit=limit)))


async def org_draft(request: Request) -> tuple[str, Draft]:
    """Parse the body of a new org secret into its key and the rest; errors as in `draft`."""
    body = _validated(OrgPutBody, await _json_object(request, limit=request.state["context"].body_limit))
    if not is_key(body.key):
        raise BadField("key", "key must be 1 to 256 of A-Z a-z 0-9 _ . - but not . or .. or 64 hex digits")
    return body.key, _draft(body)


async def amendment(request: Request) -> Amendment:
    """Parse the body of a change; errors as in `draft`."""
    body = _validated(PatchBody, await _json_object(request, limit=request.state["context"].body_limit))
    given = body.model_fields_set
    return Amendment(
        Plaintext.of(body.value) if "value" in given else UNSET,
        body.ttl_seconds if "ttl_seconds" in given else UNSET,
        body.max_reads if "max_reads" in given else UNSET,
        _lock(body.lock) if "lock" in given else UNSET,
    )


def _lock(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def proof(request: Request) -> Proof | None:
    """Return what the request shows for a lock; what is malformed, or there more than once, proves nothing."""
    shown = fields(request.scope, b"x-sirr-proof")
    if not shown:
        return None
    return Proof((_bytes_of(shown[0]) or b"") if len(shown) == 1 else b"")


def attempt(request: Request) -> Attempt | None:
    """Return what the reader calls this read by, or None.

    Raises:
        BadAttempt: It is malformed, or there more than once.
    """
    return _attempt(fields(request.scope, b"x-sirr-attempt"))


async def form_attempt(request: Request) -> Attempt | None:
    """Read the body of a form to its end, and return the attempt in it, or None; any other body has none.

    Raises:
        BadAttempt: It is malformed, or there more than once.
        RequestError: As of `complete`.
    """
    if not has_body(request):
        return None
    body = await _ignored(request, keep=_MAX_FORM_BYTES + 1)
    kind = b",".join(fields(request.scope, b"content-type")).partition(b";")[0].strip().lower()
    if kind != _FORM or len(body) > _MAX_FORM_BYTES:
        return None
    # Any byte may stand there, whether or not it is text: one is one character here.
    given = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return _attempt([value.encode("latin-1") for name, value in given if name == "attempt"])


def _attempt(shown: Sequence[bytes]) -> Attempt | None:
    if not shown:
        return None
    secret = _bytes_of(shown[0]) if len(shown) == 1 else None
    if secret is None:
        raise BadAttempt
    return Attempt(secret)


def _bytes_of(text: bytes) -> bytes | None:
    """Return the 32 bytes that 43 characters of base64url stand for, or None."""
    return base64.urlsafe_b64decode(text + b"=") if _32_BYTES.fullmatch(text) else None


def base64url(secret: bytes) -> str:
    """Return the form in which 32 bytes stand in a header or a form."""
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def has_body(request: Request) -> bool:
    """Tell whether a body was announced."""
    return not _BODY_FIELDS.isdisjoint([name for name, _ in request.scope["headers"]])


async def complete(request: Request) -> None:
    """Wait until the request is complete, where its body means nothing: before that, nothing is done.

    Raises:
        BodyTooLarge: The body is over 16 MiB.
        BodyStalled: It made no progress for 30 s.
        ClientDisconnect: The client left.
    """
    await _ignored(request, keep=0)


async def _ignored(request: Request, *, keep: int) -> bytes:
    """Read a body to its end, and return its first `keep` bytes. Errors as of `complete`."""
    kept, size = b"", 0
    more = has_body(request)
    while more:
        message = await _progress(request.receive)
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        size += len(piece)
        if size > MAX_IGNORED_BYTES:
            raise BodyTooLarge
        kept += piece[: keep - len(kept)]
        more = message.get("more_body", False)
    return kept


def _draft(body: PutBody) -> Draft:
    given = body.model_fields_set
    return Draft(
        Plaintext.of(body.value),
        body.ttl_seconds if "ttl_seconds" in given else UNSET,
        body.max_reads if "max_reads" in given else UNSET,
        body.delete,
        _lock(body.lock),
    )


async def _json_object(request: Request, *, limit: int) -> dict[str, Any]:
    kind = b",".join(fields(request.scope, b"content-type"))
    if len(kind) > _LONGEST_TYPE or _JSON.fullmatch(kind) is None:
        raise UnsupportedMediaType
    body = await read_body(request, limit=limit)
    try:
        found = _decode(body.decode())
    except (ValueError, RecursionError):
        # The original error holds the body, hence `from None`.
        raise BadBody("the body is not strict UTF-8 JSON") from None
    if not isinstance(found, dict):
        raise BadBody("the body is not a JSON object")
    return found


async def read_body(request: Request, *, limit: int) -> bytes:
    """Read a body.

    Raises:
        BodyTooLarge: It is over `limit` bytes, by its declared length or in fact.
        BodyStalled: It made no progress for 30 s.
        Busy: The bodies that are being read hold too much together.
        ClientDisconnect: The client left.
    """
    declared = fields(request.scope, b"content-length")
    if declared and declared[0].isdigit() and int(declared[0][:20]) > limit:
        raise BodyTooLarge
    quota, held = request.state["context"].memory.bodies, 0
    body = bytearray()
    try:
        while True:
            message = await _progress(request.receive)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > limit:
                raise BodyTooLarge
            if not message.get("more_body", False):
                return bytes(body)
            if len(body) - held > SMALL_BODY_BYTES:
                if not quota.take(len(body) - held, held=held):
                    raise Busy
                held = len(body)
    finally:
        quota.give(held)


@types.coroutine
def _progress(receive: Receive) -> Generator[Any, Any, Message]:
    """Wait for the next piece of a body, but not for ever.

    Mostly it is there already. Setting a timer before that is known would cost more than all the rest of reading a
    small body, so the first step is taken by hand.
    """
    steps = receive().__await__()
    try:
        first = next(steps)
    except StopIteration as done:
        return cast("Message", done.value)
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a body is read within a task")
    timer = asyncio.get_running_loop().call_later(BODY_PROGRESS_SECONDS, task.cancel, _STALLED)
    try:
        try:
            yield first
        except BaseException as error:
            steps.throw(error)
            raise
        return (yield from steps)
    except asyncio.CancelledError as error:
        # Whoever else cancelled the task in the same turn is not to be disappointed.
        if error.args != (_STALLED,) or task.uncancel():
            raise
        raise BodyStalled from None
    finally:
        timer.cancel()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant).decode


def _validated(model: type[BodyT], members: dict[str, Any]) -> BodyT:
    try:
        return model.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        # A member whose name UTF-8 cannot carry has no place that could be named; it is an unknown one all the same.
        if first["type"] == "extra_forbidden" or not first["loc"]:
            raise BadField("", f"the body has an unknown member; known are {', '.join(model.model_fields)}") from None
        name = str(first["loc"][0])
        raise BadField(name, _RULES[name]) from None


_RULES: Final = {
    "value": "value must be a string of at least one byte",
    "key": "key must be 1 to 256 of A-Z a-z 0-9 _ . - but not . or .. or 64 hex digits",
    "ttl_seconds": f"ttl_seconds must be an integer from 1 to {MAX_TTL_SECONDS}, or null",
    "max_reads": f"max_reads must be an integer from 1 to {MAX_READS}, or null",
    "delete": "delete must be true or false",
    "lock": "lock must be 64 lower-case hex digits, or null",
}


# Paths and query parameters.


def org(request: Request) -> str:
    """Parse the org of a path.

    Raises:
        BadPath: It is outside its alphabet.
    """
    name: str = request.path_params["org"]
    if not is_org(name):
        raise BadPath
    return name


class ListQuery(NamedTuple):
    """What part of a list is asked for.

    Attributes:
        limit: 1 to 1000, or None: all of it.
        before: The sequence number that the cursor stands for.
        org: The org, or None: all.
    """

    limit: int | None
    before: int | None
    org: str | None


def list_query(request: Request) -> ListQuery:
    """Parse the query of a list; unknown parameters are ignored.

    Raises:
        BadField: A known parameter is malformed or stands there twice, or too many are spelt in an unusual way.
    """
    query: dict[str, str] = {}
    for name, value in _known_parameters(request.scope["query_string"].decode("latin-1")):
        if name in query and name in ("limit", "cursor", "org"):
            raise BadField(name, f"{name} stands in the query more than once")
        query[name] = value
    limit, cursor, org = query.get("limit"), query.get("cursor"), query.get("org")
    if limit is not None and not (re.fullmatch(r"[0-9]{1,4}", limit) and 1 <= int(limit) <= MAX_LIMIT):
        raise BadField("limit", f"limit must be an integer from 1 to {MAX_LIMIT}")
    if org is not None and not is_org(org):
        raise BadField("org", "org must be 1 to 128 of A-Z a-z 0-9 _ . - but not . or ..")
    return ListQuery(None if limit is None else int(limit), None if cursor is None else parse_cursor(cursor), org)


def _known_parameters(query: str) -> list[tuple[str, str]]:
    """Return the parameters that a list may know, and some others; what it does not know costs next to nothing."""
    found = itertools.islice(_KNOWN_PART.finditer(query), MOST_PARAMETERS + 1)
    # What is cut here is too long for any value.
    parts = [match[0][:_LONGEST_PART] for match in found]
    if len(parts) > MOST_PARAMETERS:
        raise BadField("", f"a list knows no more than {MOST_PARAMETERS} parameters")
    return [pair for part in parts for pair in parse_qsl(part, keep_blank_values=True)]


def flag(request: Request, name: str) -> bool:
    """Parse a query parameter that is true, false or absent; unknown parameters are ignored.

    Raises:
        BadField: It is neither, or stands there twice.
    """
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [value for found, value in query if found == name]
    if len(given) > 1:
        raise BadField(name, f"{name} stands in the query more than once")
    if given and given[0] not in {"true", "false"}:
        raise BadField(name, f"{name} must be true or false")
    return given == ["true"]


def cursor(before: int) -> str:
    """Return the opaque text that stands for a place in a list."""
    return base64.urlsafe_b64encode(_CURSOR_VERSION.to_bytes(1) + before.to_bytes(_SEQUENCE_BYTES)).decode()


def parse_cursor(text: str) -> int:
    """Return the place that a cursor stands for.

    Raises:
        BadField: It is not one of ours.
    """
    packed = base64.urlsafe_b64decode(text) if _CURSOR.fullmatch(text) else b"\0"
    before = int.from_bytes(packed[1:])
    if packed[0] != _CURSOR_VERSION or before >= 2**63:
        raise BadField("cursor", "cursor must be a next_cursor of an earlier answer")
    return before


# Answers.


class Answer:
    """An answer whose body is known.

    Attributes:
        fingerprint: What the log calls the secret by that this is about.
    """

    __slots__ = ("body", "fingerprint", "headers", "status")

    def __init__(
        self, status: int, body: bytes, headers: Sequence[Header] = (), *, fingerprint: str | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.fingerprint = fingerprint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        if self.fingerprint is not None:
            scope["state"]["trace"].fingerprint = self.fingerprint
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Stream:
    """An answer that is made while it is sent.

    It ends early, without the final chunk, when making it fails: the connection breaks, and nobody takes what arrived
    for the whole. When the client leaves, no more of it is made.
    """

    __slots__ = ("chunks", "headers", "status")

    def __init__(self, status: int, chunks: AsyncIterator[bytes], headers: Sequence[Header]) -> None:
        self.status = status
        self.chunks = chunks
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        left = asyncio.create_task(_disconnected(receive))
        try:
            # The first chunk is made before the status is sent, so that a store that fails is still a 503.
            first = await anext(self.chunks)
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in self.chunks:
                if left.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# The charset is told although JSON has one: Windows PowerShell 5.1 takes what does not say so for ISO-8859-1.
_JSON_TYPE: Final = (b"content-type", b"application/json; charset=utf-8")


def as_json(
    status: int, content: Mapping[str, Any], headers: Sequence[Header] = (), *, fingerprint: str | None = None
) -> Answer:
    """Answer with a JSON object."""
    return _answer(status, _encode(content), headers, fingerprint)


def as_strings(status: int, fingerprint: str, **members: str) -> Answer:
    """Answer with a JSON object of strings: the shape of what is asked for most, without an encoder for each answer."""
    content = ",".join([f'"{name}":{encode_basestring(text)}' for name, text in members.items()])
    return _answer(status, f"{{{content}}}", (), fingerprint)


def opened(found: Opened, name: str) -> Answer:
    """Answer with a value that was read, or read again; `name` is the member that says whose it is."""
    answer = as_strings(200, found.fingerprint, **{name: found.name, "value": found.plaintext.text()})
    if found.repeats:
        answer.headers = [*answer.headers, REPEAT]
    return answer


def _answer(status: int, content: str, headers: Sequence[Header], fingerprint: str | None) -> Answer:
    body = content.encode()
    length = (b"content-length", b"%d" % len(body))
    return Answer(status, body, [_JSON_TYPE, length, *headers], fingerprint=fingerprint)


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
        _JSON_TYPE,
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
    return Stream(200, _chunks(pages), [_JSON_TYPE])


async def _chunks(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    lead = '{"secrets":['
    async for each in pages:
        members = ",".join(_encode(described(metadata)) for metadata in each.metadata)
        if members:
            yield (lead + members).encode()
            lead = ","
        elif lead != ",":
            yield lead.encode()
            lead = ""
    yield b"]}"
