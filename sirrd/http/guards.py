"""What keeps other sites, previews and prefetches from spending a read.

CORS stops a foreign script from reading an answer, not from causing it; only the browser's own account of where a
request comes from (Fetch Metadata) does that. Programs send none of these headers and are not affected. Browsers send
them over https and to loopback only.
"""

from __future__ import annotations

from sirrd.errors import ForeignRequest
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.model import Identity, Target

_OWN = {b"same-origin", b"none"}
_TELLING = {b"sec-purpose", b"purpose", b"sec-fetch-site"}


def check_read(request: Request, target: Target) -> None:
    """Refuse a GET that another site or a prefetch caused, before it can spend a read.

    A person who follows a link from another site is let through, but only to an id: ids cannot be guessed, org keys
    can.

    Raises:
        ForeignRequest: It was not asked for by a person or a program.
    """
    scope = request.scope
    if _TELLING.isdisjoint([name for name, _ in scope["headers"]]):
        return
    # Any purpose in Sec-Purpose is a speculation; the older Purpose has other uses.
    if fields(scope, b"sec-purpose") or any(b"prefetch" in value.lower() for value in fields(scope, b"purpose")):
        raise ForeignRequest
    if all(site in _OWN for site in fields(scope, b"sec-fetch-site")):
        return
    is_navigation = fields(scope, b"sec-fetch-mode") == [b"navigate"] and fields(scope, b"sec-fetch-dest") == [
        b"document"
    ]
    if not (is_navigation and isinstance(target, Identity) and target.org is None):
        raise ForeignRequest


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
