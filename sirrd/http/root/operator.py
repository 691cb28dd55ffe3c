"""Lists, pruning, health: what operators and their machines ask."""

from __future__ import annotations

from typing import Final

from sirrd import __version__
from sirrd.errors import Busy
from sirrd.http import auth, wire
from sirrd.http.context import Request

_OK: Final = wire.as_json(200, {"status": "ok"})
_READY: Final = wire.as_json(200, {"status": "ready"})
_ROBOTS_TEXT: Final = b"User-agent: *\nDisallow: /\n"
_ROBOTS: Final = wire.Answer(
    200,
    _ROBOTS_TEXT,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_ROBOTS_TEXT))],
)


async def secrets(request: Request) -> wire.Answer | wire.Stream:
    """List metadata, newest first, never a value."""
    auth.operator(request)
    query = wire.list_query(request)
    return await _listed(request, query, org=query.org)


async def secrets_of_org(request: Request) -> wire.Answer | wire.Stream:
    """List the metadata of one org."""
    auth.operator(request)
    org = wire.org(request)
    return await _listed(request, wire.list_query(request), org=org)


async def _listed(request: Request, query: wire.ListQuery, *, org: str | None) -> wire.Answer | wire.Stream:
    drop = request.state["drop"]
    if request.state["context"].memory.answers.is_full:
        raise Busy
    if query.limit is None:
        return wire.everything(drop.everything(org=org, before=query.before))
    return wire.page(await drop.page(org=org, before=query.before, limit=query.limit))


async def prune(request: Request) -> wire.Answer:
    """Remove what has expired."""
    caller = auth.operator(request)
    await wire.complete(request)
    pruned, _ = await request.state["drop"].prune(by=caller)
    return wire.as_json(200, {"pruned": pruned})


async def prune_org(request: Request) -> wire.Answer:
    """Remove what has expired in one org."""
    caller = auth.operator(request)
    org = wire.org(request)
    await wire.complete(request)
    pruned, _ = await request.state["drop"].prune(org=org, by=caller)
    return wire.as_json(200, {"pruned": pruned})


async def rotate(request: Request) -> wire.Answer:
    """Begin to move all records to the newest master key, and to new inner keys if asked to, or go on with it."""
    caller = auth.key_holder(request)
    renews = wire.flag(request, "renew")
    await wire.complete(request)
    remaining = await request.state["drop"].begin_rotation(renewed_by=caller if renews else None)
    request.state["mover"].start(by=caller)
    return wire.as_json(202, {"remaining": remaining})


async def rotation(request: Request) -> wire.Answer:
    """Say how many records are still under an older master key."""
    auth.key_holder(request)
    return wire.as_json(200, {"remaining": await request.state["drop"].remaining()})


async def health(request: Request) -> wire.Answer:  # noqa: ARG001 - the process answers, whatever is asked
    """Say that the process is alive; touches no storage."""
    return _OK


async def ready(request: Request) -> wire.Answer:
    """Say whether new work should come here."""
    reason = await request.state["context"].readiness.reason_against(request.state["drop"])
    return _READY if reason is None else wire.as_json(503, {"status": "unavailable", "reason": reason})


async def version(request: Request) -> wire.Answer:
    """Name the release, and what a client has to know: what is too long, and whether a read may be repeated."""
    context = request.state["context"]
    strangers = context.stranger_caps
    return wire.as_json(
        200,
        {
            "name": "sirrd",
            "version": __version__,
            "max_value_bytes": context.caps.max_value_bytes,
            "public_max_value_bytes": None if strangers is None else strangers.max_value_bytes,
            "redelivery_seconds": context.redelivery_seconds,
            "default_ttl_seconds": context.caps.default_ttl_seconds,
            "max_ttl_seconds": context.caps.max_ttl_seconds,
        },
    )


async def robots(request: Request) -> wire.Answer:  # noqa: ARG001 - see health
    """Ask robots to stay away."""
    return _ROBOTS
