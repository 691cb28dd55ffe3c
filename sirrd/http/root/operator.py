"""Lists, pruning, health: what operators and their machines ask."""

from __future__ import annotations

from typing import Final

from sirrd import __version__
from sirrd.errors import Busy
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.wire import answers, bodies, drops, queries

_OK: Final = answers.as_json(200, {"status": "ok"})
_READY: Final = answers.as_json(200, {"status": "ready"})
_ROBOTS_TEXT: Final = b"User-agent: *\nDisallow: /\n"
_ROBOTS: Final = answers.Answer(
    200,
    _ROBOTS_TEXT,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_ROBOTS_TEXT))],
)


async def secrets(request: Request) -> answers.Answer | answers.Stream:
    """List metadata, newest first, never a value."""
    auth.operator(request)
    query = queries.list_query(request)
    return await _listed(request, query, org=query.org)


async def secrets_of_org(request: Request) -> answers.Answer | answers.Stream:
    """List the metadata of one org."""
    auth.operator(request)
    org = queries.org(request)
    return await _listed(request, queries.list_query(request), org=org)


async def _listed(request: Request, query: queries.ListQuery, *, org: str | None) -> answers.Answer | answers.Stream:
    drop = request.state["drop"]
    if request.state["context"].memory.answers.is_full:
        raise Busy
    if query.limit is None:
        return drops.everything(drop.everything(org=org, before=query.before))
    return drops.page(await drop.page(org=org, before=query.before, limit=query.limit))


async def prune(request: Request) -> answers.Answer:
    """Remove what has expired."""
    caller = auth.operator(request)
    await bodies.complete(request)
    pruned, _ = await request.state["drop"].prune(by=caller)
    return answers.as_json(200, {"pruned": pruned})


async def prune_org(request: Request) -> answers.Answer:
    """Remove what has expired in one org."""
    caller = auth.operator(request)
    org = queries.org(request)
    await bodies.complete(request)
    pruned, _ = await request.state["drop"].prune(org=org, by=caller)
    return answers.as_json(200, {"pruned": pruned})


async def rotate(request: Request) -> answers.Answer:
    """Begin to move all records to the newest master key, and to new inner keys if asked to, or go on with it."""
    caller = auth.key_holder(request)
    renews = queries.flag(request, "renew")
    await bodies.complete(request)
    remaining = await request.state["drop"].begin_rotation(renewed_by=caller if renews else None)
    request.state["mover"].start(by=caller)
    return answers.as_json(202, {"remaining": remaining})


async def rotation(request: Request) -> answers.Answer:
    """Say how many records are still under an older master key."""
    auth.key_holder(request)
    return answers.as_json(200, {"remaining": await request.state["drop"].remaining()})


async def health(request: Request) -> answers.Answer:  # noqa: ARG001 - the process answers, whatever is asked
    """Say that the process is alive; touches no storage."""
    return _OK


async def ready(request: Request) -> answers.Answer:
    """Say whether new work should come here."""
    reason = await request.state["context"].readiness.reason_against(request.state["drop"])
    return _READY if reason is None else answers.as_json(503, {"status": "unavailable", "reason": reason})


async def version(request: Request) -> answers.Answer:
    """Name the release, and what a client has to know: what is too long, and whether a read may be repeated."""
    context = request.state["context"]
    strangers = context.stranger_caps
    return answers.as_json(
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


async def robots(request: Request) -> answers.Answer:  # noqa: ARG001 - see health
    """Ask robots to stay away."""
    return _ROBOTS
