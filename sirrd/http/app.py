"""Puts the application together: read this first.

A request passes `Edge` (headers, log line), `Cors` (only if origins are listed), `Net` (an answer to what nobody
expected), the table of exceptions in `problems`, the route table in `routes`, and a handler in `secrets`, `operator` or
`reveal`, which calls `DeadDrop`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from sirrd.assembly import deaddrop_of
from sirrd.background import ticking
from sirrd.clock import Clock, SystemClock
from sirrd.config import Settings
from sirrd.entropy import Entropy, SystemEntropy
from sirrd.errors import SirrdError
from sirrd.http import problems
from sirrd.http.context import Context, Readiness
from sirrd.http.cors import Cors
from sirrd.http.edge import Edge, Net
from sirrd.http.peers import Peers
from sirrd.http.routes import routes
from sirrd.log import RequestLog, default_format, stderr


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    readiness: Readiness | None = None,
    announced: str = "",
) -> Starlette:
    """Build the application; the data folder is opened when its lifespan begins.

    Args:
        settings: What the operator chose.
        clock: Tells the time.
        entropy: Gives randomness.
        readiness: Where the server says that it is draining.
        announced: The address that the commands beside the daemon find it by.
    """
    clock = clock or SystemClock()
    entropy = entropy or SystemEntropy()
    key = settings.master_api_key
    context = Context(
        bearer=None if key is None else key.get_secret_value().encode(),
        org_reads_public=settings.org_reads == "public",
        body_limit=settings.body_limit,
        peers=Peers(settings.trusted_proxies, settings.public_url),
        readiness=readiness or Readiness(),
    )
    log = RequestLog(
        settings.log_format or default_format(stderr()), stderr(), enabled=settings.log_level in {"debug", "info"}
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, object]]:
        async with deaddrop_of(settings, clock=clock, entropy=entropy, announced=announced) as drop:
            async with ticking(drop, prune_interval_seconds=settings.prune_interval_seconds):
                yield {"drop": drop, "context": context}
            log.flush()

    middleware = [Middleware(Edge, peers=context.peers, log=log, clock=clock, entropy=entropy)]
    if settings.cors_origins:
        middleware.append(Middleware(Cors, origins=settings.cors_origins))
    middleware.append(Middleware(Net))
    # Starlette's types want its own Response; any ASGI application does.
    table: dict[Any, Any] = {SirrdError: problems.on_error, HTTPException: problems.on_http_error}
    app = Starlette(
        routes=routes(),
        middleware=middleware,
        exception_handlers=table,
        lifespan=lifespan,
    )
    # A redirect would put the id of a secret into a Location header built from Host.
    app.router.redirect_slashes = False
    return app
