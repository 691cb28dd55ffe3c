"""Puts the application together: read this first.

A request passes `Edge` (who is meant, headers, log line), `Cors` (only if origins are listed), `Net` (answers
exceptions, by the table in `problems`), `Limiter` (only if a rate is set, or anyone may store), the route table in
`routes`, and a handler in `secrets`, `operator` or `reveal`, which calls `DeadDrop`; `create`, `assets` and `metrics`
only show something.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from sirrd.assembly import deaddrop_of
from sirrd.background import Mover, prune_first, ticking
from sirrd.clock import Clock, SystemClock, elapsed_seconds
from sirrd.config.settings import Settings
from sirrd.entropy import Entropy, SystemEntropy
from sirrd.http.context import Context, Readiness
from sirrd.http.cors import Cors
from sirrd.http.edge import Edge, Net
from sirrd.http.hosts import Hosts
from sirrd.http.pages import notices
from sirrd.http.peers import Peers
from sirrd.http.problems import Problems
from sirrd.http.routes import METRICS_ALONE, Routes
from sirrd.log import RequestLog, default_format, stderr
from sirrd.measures import Measures
from sirrd.memory import Memory
from sirrd.policy import Caps
from sirrd.sink import Sink


class Application(Starlette):
    """Starlette, with layers of our own for requests: why stands in docs/decisions/0009.

    Attributes:
        served: What serves requests, for a server that runs the lifespan itself.
        metrics: What serves them on the address of the metrics, if they have one of their own.
    """

    def __init__(self, served: ASGIApp, *, metrics: ASGIApp | None = None, lifespan: Lifespan[Application]) -> None:
        super().__init__(lifespan=lifespan)
        self.served = served
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or a message of the lifespan."""
        await (self.served if scope["type"] == "http" else super().__call__)(scope, receive, send)


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    readiness: Readiness | None = None,
    monotonic: Callable[[], float] = elapsed_seconds,
    announced: str = "",
    memory: Memory | None = None,
) -> Application:
    """Build the application; the data folder is opened when its lifespan begins.

    Args:
        settings: What the operator chose.
        clock: Reads the system's clocks.
        entropy: Gives randomness.
        readiness: Where the server says that it is draining.
        monotonic: Tells the limiter the time, in seconds since any instant.
        announced: The address that the commands beside the daemon find it by.
        memory: Bounds what is held for clients; given by who sends the answers.
    """
    clock = clock or SystemClock()
    entropy = entropy or SystemEntropy()
    memory = memory or Memory()
    key = settings.master_api_key
    context = Context(
        bearer=None if key is None else key.get_secret_value().encode(),
        org_reads_public=settings.org_reads == "public",
        stranger_caps=_stranger_caps(settings),
        body_limit=settings.body_limit,
        stranger_body_limit=settings.public_body_limit,
        peers=Peers(settings.trusted_proxies, settings.public_url),
        readiness=readiness or Readiness(),
        memory=memory,
        clock=clock,
        entropy=entropy,
        caps=settings.caps,
        pages=settings.pages,
        instance_name=settings.instance_name,
        redelivery_seconds=settings.redelivery_seconds,
    )
    measures = Measures() if settings.metrics else None
    log = _log(settings, measures)
    scrape = {} if measures is None else {"scrape": _scrape(settings, measures, memory)}

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, object]]:
        async with deaddrop_of(
            settings, clock=clock, entropy=entropy, announced=announced, memory=memory, measures=measures
        ) as drop:
            await prune_first(drop)
            try:
                async with ticking(drop, prune_interval_seconds=settings.prune_interval_seconds):
                    mover = Mover(drop)
                    try:
                        yield {"drop": drop, "context": context, "mover": mover, **scrape}
                    finally:
                        await mover.stop()
            finally:
                log.flush()

    problems = Problems(notices.present)

    def edged(app: ASGIApp, meant: frozenset[str] | None) -> Edge:
        hosts = Hosts(meant=meant, peers=context.peers, problems=problems)
        return Edge(app, hosts=hosts, peers=context.peers, log=log, clock=clock, entropy=entropy)

    beside = None
    if settings.metrics_listener is not None:
        # Whoever may reach that address may ask, by any name.
        beside = edged(Net(Routes(has_metrics=True, among=METRICS_ALONE), problems), None)
    routes = Routes(settings.pages, has_metrics=settings.metrics and beside is None)
    served: ASGIApp = routes
    if settings.rate_limit_per_second is not None or settings.public_create:
        served = _limited(routes, settings, monotonic)
    served = Net(served, problems)
    if settings.cors_origins:
        served = Cors(served, origins=settings.cors_origins)
    return Application(edged(served, settings.meant_hosts), metrics=beside, lifespan=lifespan)


def _log(settings: Settings, measures: Measures | None) -> RequestLog:
    """Return the log of requests, which counts them if they are to be counted."""
    form, is_enabled = settings.log_format or default_format(stderr()), settings.log_level in {"debug", "info"}
    if measures is None:
        return RequestLog(form, stderr(), enabled=is_enabled)
    from sirrd.trail.requests import MeasuredLog  # noqa: PLC0415 - most daemons have no metrics

    return MeasuredLog(form, stderr(), enabled=is_enabled, measures=measures)


def _scrape(settings: Settings, measures: Measures, memory: Memory) -> Callable[[], Awaitable[bytes]]:
    """Return what renders the metrics."""
    # Loaded only here, with the library that it stands on: most daemons have no metrics.
    from sirrd.trail.metrics import Exposition  # noqa: PLC0415

    def dropped_lines() -> int:
        stream = stderr()
        return stream.lost if isinstance(stream, Sink) else 0

    exposition = Exposition(
        measures, memory=memory, min_free_bytes=settings.min_free_bytes, dropped_lines=dropped_lines
    )
    return exposition.text


def _stranger_caps(settings: Settings) -> Caps | None:
    """Return what whoever shows no bearer may store, or None: nothing."""
    if settings.master_api_key is None:
        return settings.caps
    return settings.public_caps if settings.public_create else None


def _limited(routes: Routes, settings: Settings, monotonic: Callable[[], float]) -> ASGIApp:
    # Loaded only here, with the library that it stands on: most daemons have no limiter.
    from sirrd.http.limiter import Allowance, Limiter  # noqa: PLC0415

    requests = guesses = creates = None
    if (rate := settings.rate_limit_per_second) is not None:
        requests, guesses = (
            Allowance(per_second=rate, burst=settings.rate_burst, monotonic=monotonic) for _ in range(2)
        )
    if settings.public_create:
        per_second = settings.public_creates_per_hour / 3600
        creates = Allowance(per_second=per_second, burst=settings.public_burst, monotonic=monotonic)
    return Limiter(routes, requests=requests, guesses=guesses, creates=creates)
