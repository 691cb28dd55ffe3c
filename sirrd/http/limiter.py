"""Limits how often strangers may ask, by their address, and how often they may store where the operator lets them.

It is built only where there is something to limit, and limits nothing else.

It stands between `Net` and the route table: what it refuses is never looked up, spends nothing, and is refused alike
whether or not anything is there. Nothing is ever noted about a secret, so no flood can lock one: another address reads
it as before.

Whoever shows the API key is not limited. A wrong key is counted apart from other requests, and once an address has
guessed too often, no key of its is compared any more until the time is over: if only wrong answers were refused, the
right guess would still be told at full speed. Readers who share the operator's address cannot cause that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from pyrate_limiter import GCRA, Rate
from starlette.types import Receive, Scope, Send

from sirrd.errors import RateLimited
from sirrd.events import neighbourhood
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.http.routes import Routes, sent_path

MAX_ADDRESSES: Final = 16_384
UNLIMITED: Final = frozenset(
    {"/", "/static/{version}/{file}", "/health", "/ready", "/version", "/openapi.json", "/robots.txt"}
)
"""Paths that touch no secret: what supervisors and load balancers ask, and what a page is made of."""

CREATION: Final = ("POST", "/secrets")
"""Method and path by which strangers store, where they may."""

_STRETCH_SECONDS: Final = 3_600_000


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
        # In a thousand hours, so that a fraction of a request a second and a few an hour are whole numbers, too; the
        # library counts the interval in milliseconds.
        self._rates = [Rate(round(per_second * _STRETCH_SECONDS), 1000 * _STRETCH_SECONDS, burst)]
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
    """Lets through what an address may still ask. What has no allowance is not limited.

    Args:
        routes: What is wrapped.
        requests: What addresses have left of requests without credentials.
        guesses: What they have left of requests with credentials that are wrong.
        creates: What strangers have left of dead drops to store, where a key is set and they need none for that.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        requests: Allowance | None = None,
        guesses: Allowance | None = None,
        creates: Allowance | None = None,
    ) -> None:
        self._routes = routes
        self._of_requests = tuple(each for each in (requests,) if each is not None)
        self._of_creations = tuple(each for each in (requests, creates) if each is not None)
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            NoRoute: The path is not in the route table; that costs nobody anything.
            BadPath: It is none that could be; likewise.
            RateLimited: The address has asked too often.
        """
        method = scope["method"]
        if method != "OPTIONS":
            resource, segments = self._routes.find(sent_path(scope))
            if resource.path not in UNLIMITED and method in resource.endpoints:
                scope["state"]["trace"].route = resource.path
                is_creation = (method, resource.path) == CREATION
                self._admit(Request(scope, receive, segments), self._of_creations if is_creation else self._of_requests)
        await self._routes(scope, receive, send)

    def _admit(self, request: Request, allowances: Sequence[Allowance]) -> None:
        address = request.state["trace"].address
        if request.state["context"].bearer is None or not fields(request.scope, b"authorization"):
            if allowances:
                auth.caller(request)
                _take_all(allowances, neighbourhood(address))
        elif self._guesses is not None:
            who = neighbourhood(address)
            self._guesses.check(who)
            if not auth.caller(request).is_operator:
                self._guesses.take(who)


def _take_all(allowances: Sequence[Allowance], who: str) -> None:
    """Take one request from each of several allowances, or from none.

    Raises:
        RateLimited: Nothing is left of one; whoever waits for as long as it says is refused by none.
    """
    if len(allowances) > 1:
        _check_all(allowances, who)
    for each in allowances:
        each.take(who)


def _check_all(allowances: Sequence[Allowance], who: str) -> None:
    refusals = []
    for each in allowances:
        try:
            each.check(who)
        except RateLimited as error:
            refusals.append(error)
    if refusals:
        raise max(refusals, key=lambda error: error.retry_seconds)
