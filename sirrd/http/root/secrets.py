"""One secret, and the making of one: dead drops by id, org secrets by org and key or by their bare key.

Every handler makes four moves: parse, identify, call, present.
"""

from __future__ import annotations

from typing import Final

from sirrd.errors import BadAttempt
from sirrd.http import auth, guards
from sirrd.http.context import Request
from sirrd.http.wire import answers, bodies, drops, queries, shown
from sirrd.model import BareKey, Caller, Identity, Target, looks_like_id

_RECEIVED: Final = answers.as_json(200, {"received": True})


async def create(request: Request) -> answers.Answer:
    """Store a dead drop."""
    caller, context = auth.creator(request), request.state["context"]
    draft = await drops.draft(request, limit=context.body_limit_of(caller))
    stored = await request.state["drop"].drop(draft, by=caller)
    url = f"{context.peers.base_url(request.scope)}/s/{stored.name}"
    return drops.as_strings(201, stored.fingerprint, id=stored.name, url=url)


async def create_in_org(request: Request) -> answers.Answer:
    """Store an org secret."""
    caller = auth.operator(request)
    org = queries.org(request)
    key, draft = await drops.org_draft(request)
    stored = await request.state["drop"].put(Identity.in_org(org, key), draft, by=caller)
    return drops.as_strings(201, stored.fingerprint, key=stored.name)


async def read(request: Request) -> answers.Answer:
    """Reveal a secret, spending one read."""
    caller, target = _asked(request)
    guards.check_read(request, target)
    proof, attempt = shown.proof(request), shown.attempt(request)
    if bodies.has_body(request):
        await bodies.complete(request)
    opened = await request.state["drop"].read(target, by=caller, proof=proof, attempt=attempt)
    name = "key" if "org" in request.path_params else "id"
    return drops.opened(opened, name)


async def received(request: Request) -> answers.Answer:
    """Erase what an attempt has left, since its reader has the value; the answer is always the same."""
    _, target = _asked(request)
    attempt = shown.attempt(request)
    if attempt is None:
        raise BadAttempt
    await bodies.complete(request)
    await request.state["drop"].received(target, attempt)
    return _RECEIVED


async def peek(request: Request) -> answers.Answer:
    """Describe a secret in headers, spending nothing."""
    caller, target = _asked(request)
    metadata = await request.state["drop"].peek(target, by=caller)
    return drops.headed(metadata, with_fingerprint=caller.is_operator)


async def amend(request: Request) -> answers.Answer:
    """Change a secret that seals, and revive it."""
    caller, target = auth.operator(request), _target(request)
    amendment = await drops.amendment(request)
    metadata = await request.state["drop"].amend(target, amendment, by=caller)
    return answers.as_json(200, drops.described(metadata), fingerprint=metadata.fingerprint)


async def remove(request: Request) -> answers.Answer:
    """Delete a secret for good. Its recipient, who has the proof of its lock and no bearer, may do that, too."""
    drop, proof = request.state["drop"], shown.proof(request)
    if proof is not None and auth.is_stranger(request):
        caller, target = auth.caller(request), _target(request)
        await bodies.complete(request)
        fingerprint = await drop.destroy(target, proof, by=caller)
    else:
        caller, target = auth.operator(request), _target(request)
        await bodies.complete(request)
        fingerprint = await drop.delete(target, by=caller)
    return answers.as_json(200, {"deleted": True}, fingerprint=fingerprint)


def _asked(request: Request) -> tuple[Caller, Target]:
    """Return who asks for which secret.

    An id is open to anyone who holds it. An org secret needs the bearer, unless the operator lets anyone read it by its
    bare key.
    """
    named = request.path_params
    if "org" not in named and (looks_like_id(named["id"]) or request.state["context"].org_reads_public):
        return auth.caller(request), _target(request)
    return auth.operator(request), _target(request)


def _target(request: Request) -> Target:
    """Return what the path names: an org secret, a dead drop, or a bare key."""
    named = request.path_params
    if "org" in named:
        return Identity.in_org(named["org"], named["key"])
    return Identity.drop(named["id"]) if looks_like_id(named["id"]) else BareKey.parse(named["id"])
