"""The route table, made from what is declared: every path, its methods, who may ask, and who answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from sirrd.config.settings import Pages
from sirrd.errors import BadPath, MethodNotAllowed, NoRoute
from sirrd.http.context import Request
from sirrd.http.endpoints import Endpoint, Method
from sirrd.http.openapi.description import Description
from sirrd.http.pages import assets, create, reveal
from sirrd.http.peers import fields
from sirrd.http.root import metrics, operator, secrets
from sirrd.http.wire.answers import Answer

_OPTIONS: Final = "OPTIONS"
_ORDER: Final[tuple[Method, ...]] = ("GET", "HEAD", "POST", "PATCH", "DELETE")


class Resource:
    """All methods of one path.

    One object per path, rather than one route per method, gives a 405 that lists them all, and never lets HEAD fall
    through to a GET handler that spends a read.

    Attributes:
        path: Its template; `{name}` stands for one segment.
        endpoints: What is declared of it, by method.
        allowed: Every method, as the value of an `Allow` header.
        pattern: What matches its paths; the whole path, or nothing.
    """

    def __init__(self, path: str, declared: Iterable[Endpoint]) -> None:
        self.path = path
        by_method = {endpoint.method: endpoint for endpoint in declared}
        self.endpoints: dict[str, Endpoint] = {method: by_method[method] for method in _ORDER if method in by_method}
        self.allowed = ", ".join([*self.endpoints, _OPTIONS])
        self.pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


def resources_of(endpoints: Iterable[Endpoint]) -> tuple[Resource, ...]:
    """Return the resources that endpoints make up, in the order in which their paths are declared first."""
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, []).append(endpoint)
    return tuple(Resource(path, declared) for path, declared in paths.items())


# What is asked for most stands first, since paths with segments are tried one after another.
DESCRIPTION: Final = Description(
    (
        *secrets.OF_DROPS,
        *reveal.ENDPOINTS,
        *secrets.OF_ORGS,
        *operator.ENDPOINTS,
        *operator.OF_THE_SERVER,
        *metrics.ENDPOINTS,
        *create.ENDPOINTS,
        *assets.ENDPOINTS,
    )
)
"""Says what every endpoint is."""

RESOURCES: Final = resources_of(DESCRIPTION.endpoints)
"""Every path that there can be."""

METRICS_ALONE: Final = resources_of(metrics.ALONE)
"""The paths on the address of the metrics, if they have one of their own."""

_HIDDEN: Final[dict[Pages, frozenset[str]]] = {
    "all": frozenset(),
    "reveal": frozenset({"/"}),
    "off": frozenset({"/", "/s/{id}", "/static/{version}/{file}"}),
}
_NO_SEGMENTS: Final[dict[str, str]] = {}
_SERVER: Final = frozenset({"*", "/"})
"""What load balancers send `OPTIONS` to, whatever pages there are."""

_LONGEST_SEGMENT: Final = 3 * 256
"""No name is longer, even with an escape for each of its characters."""


def sent_path(scope: Scope) -> str:
    """Return the path of a request as it was sent, escapes and all."""
    raw: bytes | None = scope.get("raw_path")
    return scope["path"] if raw is None else raw.decode("latin-1")


class Routes:
    """The paths that there are where the operator chose some of the pages, as an ASGI application.

    Args:
        pages: Which.
        has_metrics: Whether there are metrics.
        among: The paths that there can be; None: all.
    """

    def __init__(
        self, pages: Pages = "all", *, has_metrics: bool = False, among: Iterable[Resource] | None = None
    ) -> None:
        hidden = _HIDDEN[pages] if has_metrics else _HIDDEN[pages] | {metrics.PATH}
        resources = [each for each in (RESOURCES if among is None else among) if each.path not in hidden]
        self._with_segments = tuple(resource for resource in resources if "{" in resource.path)
        self._without_segments = {resource.path: resource for resource in resources if "{" not in resource.path}

    def find(self, path: str) -> tuple[Resource, dict[str, str]]:
        """Return the resource of a path as it was sent, and its segments by their names, decoded.

        What is fixed in a path has to stand there to the letter: a rule of a proxy for `/secrets` must not be passed by
        another spelling of it. So only what a segment holds is decoded, once, and never split.

        Raises:
            BadPath: There is none, and the path has an escape where only names may have one.
            NoRoute: There is none.
        """
        if (resource := self._without_segments.get(path)) is not None:
            return resource, _NO_SEGMENTS
        for resource in self._with_segments:
            if (match := resource.pattern.fullmatch(path)) is not None:
                segments = match.groupdict()
                return resource, _decoded(segments) if "%" in path else segments
        raise BadPath if "%" in path else NoRoute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who asks, hand the request to the handler of its path and method, and send what that answers.

        Raises:
            NoRoute: The path is not in the table.
            BadPath: As in `find`.
            MethodNotAllowed: It is, but without this method.
            SirrdError: As the endpoint declares.
        """
        path, method = sent_path(scope), scope["method"]
        if method == _OPTIONS and path in _SERVER:
            await _allowing(self._allowed_at(path))(scope, receive, send)
            return
        resource, segments = self.find(path)
        scope["state"]["trace"].route = resource.path
        endpoint = resource.endpoints.get(method)
        if endpoint is not None:
            request = Request(scope, receive, segments)
            # Who asks is found out here alone: whoever may not never reaches the handler.
            answer = await endpoint.handler(request, endpoint.who(request))
        elif method == _OPTIONS and not fields(scope, b"access-control-request-method"):
            answer = _allowing(resource.allowed)
        else:
            # A preflight that `cors` did not answer is refused, too.
            raise MethodNotAllowed(resource.allowed)
        await answer(scope, receive, send)

    def _allowed_at(self, path: str) -> str:
        """Return the methods of the server as a whole (`*`), or of its root, with or without a page there."""
        known = [*self._without_segments.values(), *self._with_segments] if path == "*" else []
        known += [found for found in (self._without_segments.get(path),) if found is not None]
        return ", ".join([*dict.fromkeys(method for resource in known for method in resource.endpoints), _OPTIONS])


def _decoded(segments: dict[str, str]) -> dict[str, str]:
    """Return segments with their escapes decoded; what is too long for a name stays, and is refused as it is."""
    return {name: unquote(text) if len(text) <= _LONGEST_SEGMENT else text for name, text in segments.items()}


def _allowing(methods: str) -> Answer:
    return Answer(204, b"", [(b"allow", methods.encode())])
