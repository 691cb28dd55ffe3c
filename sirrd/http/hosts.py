"""Who is meant: a request for somebody else's host is refused before anything is looked at.

A page of another site can give its own name a new address, this machine's, and then ask here as if it asked its own
server (DNS rebinding). CORS and Fetch Metadata see nothing foreign in that; only the name in `Host` tells it apart.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.types import Scope

from sirrd import hosts
from sirrd.errors import BadHost, WrongHost
from sirrd.http.context import State
from sirrd.http.peers import Peers, fields
from sirrd.http.problems import Problems
from sirrd.http.wire.answers import Answer

logger = logging.getLogger(__name__)
FOR_ANYONE: Final = frozenset({"/health", "/ready", "/metrics"})
"""Paths that answer whatever host is named: probes use addresses."""

_NOBODY: Final[tuple[list[bytes], ...]] = ([], [b""])
_MINUTE: Final = 60


class Hosts:
    """Knows what is meant for this server.

    Args:
        meant: The names that mean it, beside those of loopback; None: any.
        peers: Tells by what name a request came.
        problems: Answers what is refused.
    """

    def __init__(self, *, meant: frozenset[str] | None, peers: Peers, problems: Problems) -> None:
        self._problems = problems
        self._meant = meant
        self._peers = peers
        self._told_in = -1

    def refusal(self, scope: Scope) -> Answer | None:
        """Return the answer to a request that is not meant for this server, or None."""
        try:
            self._check(scope)
        except (BadHost, WrongHost) as error:
            scope["state"]["trace"].is_meant = False
            return self._problems.solve(scope, error)
        return None

    def _check(self, scope: Scope) -> None:
        """Check the host of a request. HTTP/1.0 needs none; that HTTP/1.1 has one, `protocol` sees to.

        Raises:
            BadHost: Several hosts are named, or something that is no host.
            WrongHost: Another one is.
        """
        sent = fields(scope, b"host")
        named = hosts.parse(sent[0]) if sent else None
        if len(sent) > 1 or (named is None and sent not in _NOBODY):
            raise BadHost
        if self._meant is None or scope["path"] in FOR_ANYONE:
            return
        host = self._peers.forwarded_host(scope) or named
        if host is None:
            if not sent:
                return
        elif host.is_loopback or host.name in self._meant:
            return
        self._tell(scope, "" if host is None else host.name)
        raise WrongHost

    def _tell(self, scope: Scope, name: str) -> None:
        """Tell the operator, at most once a minute, since anyone can cause it."""
        state: State = scope["state"]
        minute = state["context"].clock.now() // _MINUTE
        if minute != self._told_in:
            self._told_in = minute
            logger.warning(
                "a request for another host was refused (421); if it was meant for this server, list the host in "
                "SIRR_ALLOWED_HOSTS, or set SIRR_PUBLIC_URL",
                extra={"fields": {"host": name}},
            )
