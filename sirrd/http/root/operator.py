"""Lists, pruning, health: what operators and their machines ask."""

from __future__ import annotations

from typing import Final

from sirrd import __version__, errors
from sirrd.errors import Busy
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.endpoints import IGNORED_BODY, LIMITED, STORAGE, Answered, Endpoint, alike
from sirrd.http.wire import answers, bodies, drops, outcomes, parameters, queries
from sirrd.model import Caller

_OK: Final = answers.as_json(200, {"status": "ok"})
_READY: Final = answers.as_json(200, {"status": "ready"})
_ROBOTS_TEXT: Final = b"User-agent: *\nDisallow: /\n"
_ROBOTS: Final = answers.Answer(
    200,
    _ROBOTS_TEXT,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_ROBOTS_TEXT))],
)


async def secrets(request: Request, _: Caller) -> answers.Answer | answers.Stream:
    """List metadata, newest first, never a value."""
    query = queries.list_query(request)
    return await _listed(request, query, org=query.org)


async def secrets_of_org(request: Request, _: Caller) -> answers.Answer | answers.Stream:
    """List the metadata of one org."""
    org = queries.org(request)
    return await _listed(request, queries.list_query(request), org=org)


async def _listed(request: Request, query: queries.ListQuery, *, org: str | None) -> answers.Answer | answers.Stream:
    drop = request.state["drop"]
    if request.state["context"].memory.answers.is_full:
        raise Busy
    if query.limit is None:
        return drops.everything(drop.everything(org=org, before=query.before))
    return drops.page(await drop.page(org=org, before=query.before, limit=query.limit))


async def prune(request: Request, caller: Caller) -> answers.Answer:
    """Remove what has expired."""
    await bodies.complete(request)
    pruned, _ = await request.state["drop"].prune(by=caller)
    return answers.as_json(200, {"pruned": pruned})


async def prune_org(request: Request, caller: Caller) -> answers.Answer:
    """Remove what has expired in one org."""
    org = queries.org(request)
    await bodies.complete(request)
    pruned, _ = await request.state["drop"].prune(org=org, by=caller)
    return answers.as_json(200, {"pruned": pruned})


async def rotate(request: Request, caller: Caller) -> answers.Answer:
    """Begin to move all records to the newest master key, and to new inner keys if asked to, or go on with it."""
    renews = queries.flag(request, "renew")
    await bodies.complete(request)
    remaining = await request.state["drop"].begin_rotation(renewed_by=caller if renews else None)
    request.state["mover"].start(by=caller)
    return answers.as_json(202, {"remaining": remaining})


async def rotation(request: Request, _: Caller) -> answers.Answer:
    """Say how many records are still under an older master key."""
    return answers.as_json(200, {"remaining": await request.state["drop"].remaining()})


async def health(_: Request, __: Caller) -> answers.Answer:
    """Say that the process is alive; touches no storage."""
    return _OK


async def ready(request: Request, _: Caller) -> answers.Answer:
    """Say whether new work should come here."""
    reason = await request.state["context"].readiness.reason_against(request.state["drop"])
    return _READY if reason is None else answers.as_json(503, {"status": "unavailable", "reason": reason})


async def version(request: Request, _: Caller) -> answers.Answer:
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


async def robots(_: Request, __: Caller) -> answers.Answer:
    """Ask robots to stay away."""
    return _ROBOTS


# What is declared.

_A_LIST: Final = {200: Answered("The list, or a page of it.", outcomes.Secrets)}
_PRUNED: Final = {200: Answered("Removed.", outcomes.Pruned)}
_REFUSED: Final = (*LIMITED, *STORAGE)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/secrets",
        name="list",
        summary="List metadata, newest first.",
        who=auth.operator,
        handler=secrets,
        parameters=(parameters.LIMIT, parameters.CURSOR, parameters.OF_ORG),
        answers=_A_LIST,
        refuses=(*_REFUSED, errors.BadField),
    ),
    Endpoint(
        method="GET",
        path="/orgs/{org}/secrets",
        name="listOrg",
        summary="List the metadata of one org, newest first.",
        who=auth.operator,
        handler=secrets_of_org,
        parameters=(parameters.ORG, parameters.LIMIT, parameters.CURSOR),
        answers=_A_LIST,
        refuses=(*_REFUSED, errors.BadPath, errors.BadField),
    ),
    Endpoint(
        method="POST",
        path="/orgs/{org}/prune",
        name="pruneOrg",
        summary="Remove what has expired in one org.",
        who=auth.operator,
        handler=prune_org,
        parameters=(parameters.ORG,),
        answers=_PRUNED,
        refuses=(*_REFUSED, errors.BadPath, *IGNORED_BODY),
    ),
    Endpoint(
        method="POST",
        path="/prune",
        name="prune",
        summary="Remove what has expired.",
        who=auth.operator,
        handler=prune,
        answers=_PRUNED,
        refuses=(*_REFUSED, *IGNORED_BODY),
    ),
    Endpoint(
        method="GET",
        path="/rotate-key",
        name="rotation",
        summary="Records still under an older master key.",
        who=auth.key_holder,
        handler=rotation,
        answers={200: Answered("Counted.", outcomes.Remaining)},
        refuses=_REFUSED,
    ),
    Endpoint(
        method="POST",
        path="/rotate-key",
        name="rotate",
        summary="Begin to move all records to the newest master key, and to new inner keys if asked to.",
        who=auth.key_holder,
        handler=rotate,
        parameters=(parameters.RENEW,),
        answers={202: Answered("Begun.", outcomes.Remaining)},
        refuses=(*_REFUSED, errors.BadField, errors.NoNewerKey, *IGNORED_BODY),
    ),
)

OF_THE_SERVER: Final = (
    *alike(
        Endpoint(
            method="GET",
            path="/health",
            name="health",
            summary="The process is alive.",
            who=auth.unasked,
            handler=health,
            answers={200: Answered("It is.", outcomes.Status)},
        )
    ),
    *alike(
        Endpoint(
            method="GET",
            path="/ready",
            name="ready",
            summary="New work should come here.",
            who=auth.unasked,
            handler=ready,
            answers={
                200: Answered("It should.", outcomes.Status),
                503: Answered("It should not.", outcomes.NotReady),
            },
        )
    ),
    *alike(
        Endpoint(
            method="GET",
            path="/version",
            name="version",
            summary="Name, version and limits.",
            who=auth.unasked,
            handler=version,
            answers={200: Answered("This release.", outcomes.Version)},
        )
    ),
    *alike(
        Endpoint(
            method="GET",
            path="/robots.txt",
            name="robots",
            summary="Asks robots to stay away.",
            who=auth.unasked,
            handler=robots,
            answers={200: Answered("It.", types=("text/plain",))},
        )
    ),
)
