"""Who may use the protected routes: whoever shows the master API key, or everyone where none is set."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from sirrd.errors import ApiKeyNeeded, Unauthorised
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import Caller

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
