"""Limits how often strangers may ask, by their address. It is built only where the operator has set a rate.

It stands between `Net` and the route table: what it refuses is never looked up, spends nothing, and is refused alike
whether or not anything is there. Nothing is ever noted about a secret, so no flood can lock one: another address reads
it as before.

Whoever shows the API key is not limited. A wrong key is counted apart from other requests, and once an address has
guessed too often, no key of its is compared any more until the time is over: if only wrong answers were refused, the
right guess would still be told at full speed. Readers who share the operator's address cannot cause that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from pyrate_limiter import GCRA, Rate
from starlette.types import ASGIApp, Receive, Scope, Send

from sirrd.errors import RateLimited
from sirrd.events import neighbourhood
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.http.routes import find

MAX_ADDRESSES: Final = 16_384
UNLIMITED: Final = frozenset({"/health", "/ready", "/version", "/openapi.json", "/robots.txt"})
"""Paths that supervisors and load balancers ask, and that touch no secret."""

_MILLION: Final = 1_000_000


class Allowance:
    """What each address has left, in a bounded table.

    The rule is the generic cell rate algorithm, which keeps one instant for an address: when it will have everything
    back. Of more addresses than the table holds, the one that asked longest ago is forgotten, and so begins anew. That
    is no way around the limit: whoever has that many addresses has as many allowances anyway.

    Args:
        per_second: How many requests of one address pass in the long run.
        burst: How many pass at once.
        monotonic: Tells the time in seconds.
    """

    def __init__(self, *, per_second: float, burst: int, monotonic: Callable[[], float]) -> None:
        self._rule = GCRA()
        # In a million seconds, so that a fraction of a request a second is a whole number, too; the library counts
        # the interval in milliseconds.
        self._rates = [Rate(round(per_second * _MILLION), 1000 * _MILLION, burst)]
        self._untouched = self._rule.initial(self._rates)
        self._states: OrderedDict[str, tuple[float, ...]] = OrderedDict()
        self._monotonic = monotonic

    def __len__(self) -> int:
        return len(self._states)

    def check(self, who: str) -> None:
        """Take nothing. Errors as in `take`."""
        self._next(who)

    def take(self, who: str) -> None:
        """Take one request from what an address has left.

        Raises:
            RateLimited: Nothing is left.
        """
        self._states[who] = self._next(who)
        if len(self._states) > MAX_ADDRESSES:
            self._states.popitem(last=False)

    def _next(self, who: str) -> tuple[float, ...]:
        """Return what would be kept of an address after one more request."""
        state = self._states.get(who, self._untouched)
        if state is not self._untouched:
            # Whoever is refused counts as having asked, or a flood of others would set them free.
            self._states.move_to_end(who)
        after, decision = self._rule.step(self._rates, state, int(self._monotonic() * 1000), 1)
        if not decision.allowed:
            raise RateLimited(max(1, -(-(decision.retry_after_ms or 0) // 1000)))
        return after


class Limiter:
    """Lets through what an address may still ask.

    Args:
        app: What is wrapped.
        requests: What addresses have left of requests without credentials.
        guesses: What they have left of requests with credentials that are wrong.
    """

    def __init__(self, app: ASGIApp, *, requests: Allowance, guesses: Allowance) -> None:
        self._app = app
        self._requests = requests
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            NoRoute: The path is not in the route table; that costs nobody anything.
            RateLimited: The address has asked too often.
        """
        resource, segments = find(scope["path"])
        if resource.path not in UNLIMITED and scope["method"] in resource.handlers:
            scope["state"]["trace"].route = resource.path
            self._admit(Request(scope, receive, segments))
        await self._app(scope, receive, send)

    def _admit(self, request: Request) -> None:
        who = neighbourhood(request.state["trace"].address)
        if request.state["context"].bearer is None or not fields(request.scope, b"authorization"):
            auth.caller(request)
            self._requests.take(who)
            return
        self._guesses.check(who)
        if not auth.caller(request).is_operator:
            self._guesses.take(who)
