"""One secret, and the making of one: dead drops by id, org secrets by org and key or by their bare key.

Every handler makes three moves: parse, call, present. Who calls is found out before, as its endpoint declares.
"""

from __future__ import annotations

from typing import Final

from sirrd import errors
from sirrd.errors import BadAttempt
from sirrd.http import auth, guards
from sirrd.http.context import Request
from sirrd.http.endpoints import IGNORED_BODY, LIMITED, STORAGE, Answered, Endpoint, Errors, Links, Who
from sirrd.http.wire import answers, bodies, drops, outcomes, parameters, queries, shown
from sirrd.http.wire.parameters import Parameter
from sirrd.model import BareKey, Caller, Identity, Proof, Target, looks_like_id

_RECEIVED: Final = answers.as_json(200, {"received": True})


async def create(request: Request, caller: Caller) -> answers.Answer:
    """Store a dead drop."""
    context = request.state["context"]
    draft = await drops.draft(request, limit=context.body_limit_of(caller))
    stored = await request.state["drop"].drop(draft, by=caller)
    url = f"{context.peers.base_url(request.scope)}/s/{stored.name}"
    return drops.as_strings(201, stored.fingerprint, id=stored.name, url=url)


async def create_in_org(request: Request, caller: Caller) -> answers.Answer:
    """Store an org secret."""
    org = queries.org(request)
    key, draft = await drops.org_draft(request)
    stored = await request.state["drop"].put(Identity.in_org(org, key), draft, by=caller)
    return drops.as_strings(201, stored.fingerprint, key=stored.name)


async def read(request: Request, caller: Caller) -> answers.Answer:
    """Reveal a secret, spending one read."""
    target = _target(request)
    guards.check_read(request, target)
    proof, attempt = shown.proof(request), shown.attempt(request)
    if bodies.has_body(request):
        await bodies.complete(request)
    opened = await request.state["drop"].read(target, by=caller, proof=proof, attempt=attempt)
    name = "key" if "org" in request.path_params else "id"
    return drops.opened(opened, name)


async def received(request: Request, _: Caller) -> answers.Answer:
    """Erase what an attempt has left, since its reader has the value; the answer is always the same."""
    target = _target(request)
    attempt = shown.attempt(request)
    if attempt is None:
        raise BadAttempt
    await bodies.complete(request)
    await request.state["drop"].received(target, attempt)
    return _RECEIVED


async def peek(request: Request, caller: Caller) -> answers.Answer:
    """Describe a secret in headers, spending nothing."""
    metadata = await request.state["drop"].peek(_target(request), by=caller)
    return drops.headed(metadata, with_fingerprint=caller.is_operator)


async def amend(request: Request, caller: Caller) -> answers.Answer:
    """Change a secret that seals, and revive it."""
    target = _target(request)
    amendment = await drops.amendment(request)
    metadata = await request.state["drop"].amend(target, amendment, by=caller)
    return answers.as_json(200, drops.described(metadata), fingerprint=metadata.fingerprint)


async def remove(request: Request, caller: Caller) -> answers.Answer:
    """Delete a secret for good. Its recipient, who has the proof of its lock and no bearer, may do that, too."""
    drop, target = request.state["drop"], _target(request)
    await bodies.complete(request)
    if caller.is_operator:
        fingerprint = await drop.delete(target, by=caller)
    else:
        fingerprint = await drop.destroy(target, shown.proof(request) or _NO_PROOF, by=caller)
    return answers.as_json(200, {"deleted": True}, fingerprint=fingerprint)


_NO_PROOF: Final = Proof(b"")


def _target(request: Request) -> Target:
    """Return what the path names: an org secret, a dead drop, or a bare key."""
    named = request.path_params
    if "org" in named:
        return Identity.in_org(named["org"], named["key"])
    return Identity.drop(named["id"]) if looks_like_id(named["id"]) else BareKey.parse(named["id"])


# What is declared.

_SEALED: Final = Answered("Sealed: its reads are used up.", shows="metadata")


def _one_secret(
    path: str, segments: tuple[Parameter, ...], *, suffix: str, reader: Who, opened: type[outcomes.Outcome]
) -> tuple[Endpoint, ...]:
    """Return what can be done with one secret: by id or bare key, or by org and key."""
    found: Errors = (errors.BadPath, *LIMITED, errors.Gone, errors.AmbiguousKey, errors.Unreadable, *STORAGE)
    attempt = parameters.ATTEMPT
    return (
        Endpoint(
            method="GET",
            path=path,
            name=f"read{suffix}",
            summary="Reveal a secret, spending one read.",
            who=reader,
            handler=read,
            parameters=(*segments, parameters.PROOF, attempt),
            answers={200: Answered("The value.", opened, shows="repeat")},
            refuses=(
                *(*found, *IGNORED_BODY, errors.BadAttempt, errors.ForeignRequest, errors.LookOnly),
                *(errors.ProofRequired, errors.ProofMismatch, errors.TooManyProofs),
                *(errors.Sealed, errors.AttemptOver, errors.TooManyRepeats),
            ),
        ),
        Endpoint(
            method="HEAD",
            path=path,
            name=f"peek{suffix}",
            summary="Describe a secret in headers, spending nothing.",
            who=reader,
            handler=peek,
            parameters=segments,
            answers={200: Answered("Its metadata in headers.", shows="metadata"), 410: _SEALED},
            refuses=found,
        ),
        Endpoint(
            method="PATCH",
            path=path,
            name=f"amend{suffix}",
            summary="Change a secret that seals, set its read count to 0 and so revive it.",
            who=auth.operator,
            handler=amend,
            parameters=segments,
            body=drops.PatchBody,
            answers={200: Answered("Its metadata.", outcomes.Metadata)},
            refuses=(*found, errors.NotAmendable, errors.Locked, errors.NoRoom),
        ),
        Endpoint(
            method="DELETE",
            path=path,
            name=f"delete{suffix}",
            summary="Delete a secret, sealed or not; a locked one by its proof, too, without a bearer.",
            who=auth.recipient,
            handler=remove,
            parameters=(*segments, parameters.PROOF),
            answers={200: Answered("Deleted.", outcomes.Deleted)},
            refuses=(*found, *IGNORED_BODY, errors.ProofRequired, errors.ProofMismatch, errors.TooManyProofs),
        ),
        Endpoint(
            method="POST",
            path=f"{path}/received",
            name=f"received{suffix}",
            summary="Say that the value of an attempt has arrived, so that it is not kept for another answer.",
            who=reader,
            handler=received,
            parameters=(*segments, attempt._replace(required=True)),
            answers={200: Answered("Always the same answer.", outcomes.Received)},
            refuses=(errors.BadPath, *LIMITED, errors.BadAttempt, *IGNORED_BODY, *STORAGE),
        ),
    )


_NEXT: Final = ("read", "peek", "amend", "delete")

OF_DROPS: Final = (
    *_one_secret("/secrets/{id}", (parameters.ID_OR_KEY,), suffix="", reader=auth.reader, opened=outcomes.Opened),
    Endpoint(
        method="POST",
        path="/secrets",
        name="create",
        summary="Store a dead drop; without a bearer only where anyone may, and then within lower limits.",
        who=auth.creator,
        handler=create,
        body=drops.PutBody,
        answers={
            201: Answered(
                "Stored.",
                outcomes.Created,
                links=Links((*_NEXT, "showPage", "revealPage"), {"id": "$response.body#/id"}),
            )
        },
        refuses=(*LIMITED, *STORAGE, errors.NoRoom),
    ),
)

OF_ORGS: Final = (
    *_one_secret(
        "/orgs/{org}/secrets/{key}",
        (parameters.ORG, parameters.KEY),
        suffix="InOrg",
        reader=auth.operator,
        opened=outcomes.OpenedInOrg,
    ),
    Endpoint(
        method="POST",
        path="/orgs/{org}/secrets",
        name="createInOrg",
        summary="Store an org secret.",
        who=auth.operator,
        handler=create_in_org,
        parameters=(parameters.ORG,),
        body=drops.OrgPutBody,
        answers={
            201: Answered(
                "Stored.",
                outcomes.CreatedInOrg,
                links=Links(
                    tuple(f"{name}InOrg" for name in _NEXT),
                    {"org": "$request.path.org", "key": "$response.body#/key"},
                ),
            )
        },
        refuses=(errors.BadPath, *LIMITED, errors.KeyExists, *STORAGE, errors.NoRoom),
    ),
)
