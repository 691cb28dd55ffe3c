"""Who may: whoever shows the master API key, everyone where none is set, or more than those, by what is asked.

The functions that return a `Caller` are those by which an endpoint declares who may use it: the route table calls that
function before the handler, so that nobody else reaches it. None of them reads a body, and none tells what is there.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from sirrd.errors import ApiKeyNeeded, Unauthorised
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import Caller, looks_like_id

_SCHEME: Final = b"bearer "


def caller(request: Request) -> Caller:
    """Return who asks. A missing, malformed or wrong bearer makes them anonymous; which it was is not told."""
    trace = request.state["trace"]
    expected = request.state["context"].bearer
    if expected is None:
        trace.caller = "open"
        return Caller("open", trace.address)
    shown = fields(request.scope, b"authorization")
    if len(shown) == 1 and shown[0][: len(_SCHEME)].lower() == _SCHEME and _same(shown[0][len(_SCHEME) :], expected):
        trace.caller = "bearer"
        return Caller("bearer", trace.address)
    trace.caller = "anonymous"
    return Caller("anonymous", trace.address)


def unasked(request: Request) -> Caller:
    """Return nobody: what they show is not looked at, and the log does not say who they are."""
    return Caller("anonymous", request.state["trace"].address)


def is_stranger(request: Request) -> bool:
    """Tell whether the request does not even try to show the master API key, though one is set."""
    return request.state["context"].bearer is not None and not fields(request.scope, b"authorization")


def creator(request: Request) -> Caller:
    """Return who stores a dead drop: whoever may use the protected routes, or a stranger where the operator lets them.

    Who shows a key that is wrong is no stranger: they would not notice that they get less than they asked for.

    Raises:
        Unauthorised: They may not.
    """
    asking = caller(request)
    if asking.is_operator or (request.state["context"].stranger_caps is not None and is_stranger(request)):
        return asking
    raise Unauthorised


def reader(request: Request) -> Caller:
    """Return who asks for the secret that the path names by an id or a bare key.

    An id is open to anyone who holds it. An org secret needs the bearer, unless the operator lets anyone read it by its
    bare key.

    Raises:
        Unauthorised: They may not.
    """
    if looks_like_id(request.path_params["id"]) or request.state["context"].org_reads_public:
        return caller(request)
    return operator(request)


def recipient(request: Request) -> Caller:
    """Return who deletes a secret: whoever may use the protected routes, or a stranger who shows a proof.

    Whether it is the right proof, the handler has to find out of everyone who is no operator.

    Raises:
        Unauthorised: They may not.
    """
    if fields(request.scope, b"x-sirr-proof") and is_stranger(request):
        return caller(request)
    return operator(request)


def operator(request: Request) -> Caller:
    """Return who asks, if they may use the protected routes.

    Raises:
        Unauthorised: They may not.
    """
    asking = caller(request)
    if not asking.is_operator:
        raise Unauthorised
    return asking


def key_holder(request: Request) -> Caller:
    """Return who asks, if they showed the master API key: being let in where none is set is not enough.

    Raises:
        Unauthorised: They did not.
        ApiKeyNeeded: No key is set.
    """
    asking = operator(request)
    if asking.kind != "bearer":
        raise ApiKeyNeeded
    return asking


def _same(shown: bytes, expected: bytes) -> bool:
    # Hashing first makes the lengths equal, so that not even the length of the key can be timed.
    return hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(expected).digest())
