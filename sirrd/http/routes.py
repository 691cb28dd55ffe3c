"""The route table: every path, its methods, and who answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sirrd.errors import MethodNotAllowed
from sirrd.http import openapi, operator, reveal, secrets
from sirrd.http.context import Request

Handler = Callable[[Request], Awaitable[ASGIApp]]


class Resource:
    """All methods of one path.

    One object per path, rather than one route per method, gives a 405 that lists them all, and never lets HEAD fall
    through to a GET handler that spends a read.
    """

    def __init__(self, path: str, **handlers: Handler) -> None:
        self.path = path
        self.handlers = handlers
        self.allowed = ", ".join(handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the handler of its method, and send what that answers."""
        scope["state"]["trace"].route = self.path
        handler = self.handlers.get(scope["method"])
        if handler is None:
            raise MethodNotAllowed(self.allowed)
        answer = await handler(Request(scope, receive))
        await answer(scope, receive, send)


def both(handler: Handler) -> dict[str, Any]:
    """Answer GET and HEAD alike, where neither spends anything."""
    return {"GET": handler, "HEAD": handler}


_ONE_SECRET: Final[dict[str, Handler]] = {
    "GET": secrets.read,
    "HEAD": secrets.peek,
    "PATCH": secrets.amend,
    "DELETE": secrets.remove,
}

RESOURCES: Final = (
    Resource("/secrets/{id}", **_ONE_SECRET),
    Resource("/secrets", GET=operator.secrets, POST=secrets.create),
    Resource("/s/{id}", **both(reveal.show), POST=reveal.reveal),
    Resource("/orgs/{org}/secrets/{key}", **_ONE_SECRET),
    Resource("/orgs/{org}/secrets", GET=operator.secrets_of_org, POST=secrets.create_in_org),
    Resource("/orgs/{org}/prune", POST=operator.prune_org),
    Resource("/prune", POST=operator.prune),
    Resource("/health", **both(operator.health)),
    Resource("/ready", **both(operator.ready)),
    Resource("/version", **both(operator.version)),
    Resource("/openapi.json", **both(openapi.show)),
    Resource("/robots.txt", **both(operator.robots)),
)


def routes() -> list[Route]:
    """Return the table as Starlette wants it."""
    found = [Route(resource.path, resource) for resource in RESOURCES]
    for route in found:
        # Starlette ends its patterns with `$`, which also matches before a line break at the end of a path.
        route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return found
