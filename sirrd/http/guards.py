"""What keeps other sites, previews and prefetches from spending a read.

CORS stops a foreign script from reading an answer, not from causing it; only the browser's own account of where a
request comes from (Fetch Metadata) does that. Programs send none of these headers and are not affected. Browsers send
them over https and to loopback only.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from sirrd.errors import ForeignRequest, LookOnly
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import Identity, Target

_OWN: Final = frozenset({b"same-origin", b"none"})
_PURPOSES: Final = (b"purpose", b"x-purpose", b"x-moz")
_SPECULATIVE: Final = (b"prefetch", b"prerender", b"preview", b"preload", b"instant")
_LOOK: Final = b"x-sirr-look"
_TELLING: Final = frozenset({b"sec-purpose", *_PURPOSES, b"sec-fetch-site", _LOOK})


def check_read(request: Request, target: Target) -> None:
    """Refuse a GET that another site or a prefetch caused, before it can spend a read.

    A person who follows a link from another site is let through, but only to an id: ids cannot be guessed, org keys
    can.

    Raises:
        LookOnly: It was a `HEAD` when it was sent, and something on the way made a `GET` of it.
        ForeignRequest: It was not asked for by a person or a program.
    """
    scope = request.scope
    if _TELLING.isdisjoint([name for name, _ in scope["headers"]]):
        return
    if fields(scope, _LOOK):
        raise LookOnly
    if _is_speculation(scope):
        raise ForeignRequest
    if all(site in _OWN for site in fields(scope, b"sec-fetch-site")):
        return
    is_navigation = fields(scope, b"sec-fetch-mode") == [b"navigate"] and fields(scope, b"sec-fetch-dest") == [
        b"document"
    ]
    if not (is_navigation and isinstance(target, Identity) and target.org is None):
        raise ForeignRequest


def _is_speculation(scope: Scope) -> bool:
    """Tell whether nobody has asked for it yet. Any purpose in Sec-Purpose says so; older fields have other uses."""
    if fields(scope, b"sec-purpose"):
        return True
    purposes = [value.lower() for name in _PURPOSES for value in fields(scope, name)]
    return any(word in purpose for purpose in purposes for word in _SPECULATIVE)


def check_form(request: Request) -> None:
    """Refuse a form post that does not come from one of our own pages.

    `none` is refused, too: no person types a form post into the address bar. A browser too old for Fetch Metadata
    still sends `Origin` with a form; what sends neither is a program.

    Raises:
        ForeignRequest: It comes from elsewhere.
    """
    scope = request.scope
    sites, origins = fields(scope, b"sec-fetch-site"), fields(scope, b"origin")
    if sites:
        is_own = sites == [b"same-origin"]
    else:
        is_own = not origins or origins == [request.state["context"].peers.origin(scope).encode()]
    if not is_own:
        raise ForeignRequest
