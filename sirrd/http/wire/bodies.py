"""Bodies: read within bounds of size and of time, and strict about what is JSON and what a model allows."""

from __future__ import annotations

import asyncio
import json
import re
import types
from collections.abc import Generator
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from sirrd.errors import BadBody, BadField, BodyStalled, BodyTooLarge, Busy, UnsupportedMediaType
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import (
    MAX_READS,
    MAX_TTL_SECONDS,
)

BODY_PROGRESS_SECONDS: Final = 30.0
SMALL_BODY_BYTES: Final = 8192  # is not counted among those that hold too much together
_STALLED: Final = "the body made no progress"
_LONGEST_TYPE: Final = 256
_JSON: Final = re.compile(rb'application/json[ \t]*(;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?;?', re.IGNORECASE)
MAX_IGNORED_BYTES: Final = 16 * 1024 * 1024
_BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})


# Bodies.


class Body(BaseModel):
    """A body of JSON: nothing but its members, and nothing that would have to be converted."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


BodyT = TypeVar("BodyT", bound=Body)


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
    await ignored(request, keep=0)


async def ignored(request: Request, *, keep: int) -> bytes:
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


async def json_object(request: Request, *, limit: int) -> dict[str, Any]:
    """Read a body that is one object of JSON.

    Args:
        request: The request.
        limit: In bytes.

    Raises:
        UnsupportedMediaType: It is not said to be JSON in UTF-8.
        BadBody: It is no object, or says something twice.
        RequestError: As of `read_body`.
    """
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


def validated(model: type[BodyT], members: dict[str, Any]) -> BodyT:
    """Return a body, if its members are what the model allows.

    Raises:
        BadField: One is not.
    """
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
