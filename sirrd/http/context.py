"""What a request can reach: the typed lifespan state, and what the log will say about it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

from starlette.types import Receive, Scope

from sirrd.background import Mover
from sirrd.clock import Clock
from sirrd.config.settings import Pages
from sirrd.deaddrop.usecases import DeadDrop
from sirrd.entropy import Entropy
from sirrd.errors import StorageError
from sirrd.http.peers import Peers
from sirrd.memory import Memory
from sirrd.model import Caller
from sirrd.policy import Caps

READY_SECONDS = 1.0
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Trace:
    """What is known about a request while it is served.

    Attributes:
        request_id: As in the answer's `X-Request-Id`.
        address: The client's address.
        route: The template of the path.
        caller: The caller's kind.
        fingerprint: The secret's.
        status: Of the answer, once its head is out; 0 before.
        is_meant: Whether the request is meant for this server.
    """

    request_id: str
    address: str
    route: str = "-"
    caller: str = "-"
    fingerprint: str | None = None
    status: int = 0
    is_meant: bool = True


@dataclass
class Readiness:
    """Whether new work should be sent here; the answer of the store is kept for a second.

    Attributes:
        draining: Set when the process was told to stop.
    """

    draining: bool = False
    _checked_at: float = field(default=0.0, repr=False)
    _check: asyncio.Task[bool] | None = field(default=None, repr=False)
    _was_ready: bool = field(default=True, repr=False)

    async def reason_against(self, drop: DeadDrop) -> Literal["draining", "storage"] | None:
        """Return why no new work should come, or None."""
        if self.draining:
            return "draining"
        check = self._check
        if check is None or (check.done() and time.monotonic() - self._checked_at >= READY_SECONDS):
            check = self._check = asyncio.create_task(self._ask(drop))
        # Everyone who asks meanwhile waits for the same answer; who leaves does not take it along.
        return None if await asyncio.shield(check) else "storage"

    async def _ask(self, drop: DeadDrop) -> bool:
        """Return whether the store works, and tell the log when that changes."""
        is_ready = True
        try:
            await drop.check()
        except StorageError:
            is_ready = False
        finally:
            self._checked_at = time.monotonic()
        if is_ready != self._was_ready:
            self._was_ready = is_ready
            logger.warning("ready again" if is_ready else "not ready: the storage fails")
        return is_ready


@dataclass(frozen=True)
class Context:
    """What the operator's settings mean to the HTTP layer.

    Attributes:
        bearer: The master API key, or None where the protected routes are open.
        org_reads_public: Whether bare keys are read without the bearer.
        stranger_caps: What whoever shows no bearer may store as a dead drop, or None: nothing.
        body_limit: The longest body, in bytes.
        stranger_body_limit: The same, of a dead drop from a stranger.
        peers: Resolves clients and origins.
        readiness: Whether new work should come.
        memory: What is held for clients.
        clock: Tells the time.
        entropy: Gives randomness.
        caps: The limits of secrets.
        pages: Which pages there are.
        instance_name: Who runs the server, for people.
        redelivery_seconds: For how long an attempt is answered again.
    """

    bearer: bytes | None = field(repr=False)
    org_reads_public: bool
    stranger_caps: Caps | None
    body_limit: int
    stranger_body_limit: int
    peers: Peers
    readiness: Readiness
    memory: Memory
    clock: Clock
    entropy: Entropy
    caps: Caps
    pages: Pages
    instance_name: str | None
    redelivery_seconds: int

    def body_limit_of(self, caller: Caller) -> int:
        """Return the longest body of a dead drop, in bytes, by who stores it."""
        return self.body_limit if caller.is_operator else self.stranger_body_limit


class State(TypedDict):
    """The lifespan state; `trace` is put in per request, and `scrape` is there where metrics are."""

    drop: DeadDrop
    context: Context
    mover: Mover
    scrape: NotRequired[Callable[[], Awaitable[bytes]]]
    trace: Trace


class Request:
    """What a handler is given. Starlette's own is made for far more than JSON and a form, and costs as much as a claim.

    Attributes:
        scope: The ASGI scope.
        receive: Gives the body, piece by piece.
        path_params: The segments that the template of the path names.
        state: The lifespan state, with the request's trace.
    """

    __slots__ = ("path_params", "receive", "scope", "state")

    def __init__(self, scope: Scope, receive: Receive, path_params: Mapping[str, str]) -> None:
        self.scope = scope
        self.receive = receive
        self.path_params = path_params
        self.state: State = scope["state"]
