"""What the tests stand on: a clock to set, settings to vary, and the whole application with its lifespan running."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from sirrd.clock import NANOSECONDS
from sirrd.config.settings import Settings
from sirrd.deaddrop.usecases import DeadDrop
from sirrd.entropy import SystemEntropy
from sirrd.http.app import create_app
from sirrd.http.context import Readiness
from sirrd.keyring.masters import MasterKey, MasterKeys
from sirrd.store.sqlite.store import SqliteStore
from tests.faults.shim import compiled
from tests.parts import SIRRD, Process, settings_of, started

MASTER_KEY = "0f" * 32
API_KEY = "correct-horse-battery-staple"
NOW = 1_800_000_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tests."""
    parser.addoption("--long", action="store_true", help="let random walks and workloads go much further")
    parser.addoption("--kills", type=int, default=320, help="how often tests/crash kills the daemon, over all folders")
    parser.addoption("--runs", type=int, default=3, help="how often an answer is lost on the way, before each client")
    parser.addoption("--examples", type=int, default=25, help="how hard schemathesis and the fuzzers try")


def pytest_configure(config: pytest.Config) -> None:
    """Say how the fuzzers try: the same way each time, in so many examples; and let signals do what they do."""
    _heed_signals()
    hypothesis_settings.register_profile(
        "fuzz",
        max_examples=12 * config.getoption("--examples"),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def _heed_signals() -> None:
    """Let children heed what whoever started the tests ignored, in the background or under nohup: it is inherited."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class SetClock:
    """A clock that stands still until time passes (`at` is changed), or until it jumps, or the machine starts anew."""

    def __init__(self, now: int = NOW) -> None:
        self.at = now
        self.jumped = 0
        self.boots = 1

    def now(self) -> int:
        """Return Unix seconds."""
        return self.at

    def system_ns(self) -> int:
        """Return Unix nanoseconds."""
        return self.at * NANOSECONDS

    def elapsed_ns(self) -> int:
        """Return what has passed in nanoseconds, but for jumps."""
        return (self.at - self.jumped) * NANOSECONDS

    def boot(self) -> str:
        """Return which start of the machine this is."""
        return f"boot {self.boots}"

    def jump(self, seconds: int) -> None:
        """Set the system's clock; no time passes."""
        self.at += seconds
        self.jumped += seconds

    def reboot(self) -> None:
        """Start the machine again, in no time: the boot clock begins at 0."""
        self.boots += 1
        self.jumped = self.at


@dataclass
class Daemon:
    """The application with its lifespan running, in process.

    Attributes:
        client: Speaks to it without a network; sends the API key if one is set.
        stranger: The same without the API key.
        drop: The use cases, for what has no route.
        app: The application.
        served: The application with its lifespan state, as ASGI.
        settings: What it runs with.
        clock: Its clock.
        readiness: Whether it drains.
    """

    client: httpx.AsyncClient
    stranger: httpx.AsyncClient
    drop: DeadDrop
    app: Starlette
    served: ASGIApp
    settings: Settings
    clock: SetClock
    readiness: Readiness

    async def put(self, value: str = "s3cret", **terms: Any) -> str:
        """Store a dead drop and return its id."""
        answer = await self.client.post("/secrets", json={"value": value, **terms})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def put_in(self, org: str, key: str, value: str = "s3cret", **terms: Any) -> str:
        """Store an org secret and return the path of its org route."""
        answer = await self.client.post(f"/orgs/{org}/secrets", json={"key": key, "value": value, **terms})
        assert answer.status_code == 201, answer.text
        return f"/orgs/{org}/secrets/{key}"


class _Served:
    """Gives every request the lifespan state, as the server does."""

    def __init__(self, app: Starlette, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(self._state)
        await self._app(scope, receive, send)


def settings_for(data_dir: Path, **changes: Any) -> Settings:
    """Return settings for a test: an API key is set, and nothing depends on the machine's free space."""
    given: dict[str, Any] = {
        "data_dir": data_dir,
        "master_api_key": API_KEY,
        "master_encryption_key": MASTER_KEY,
        "min_free_bytes": 0,
        "log_format": "json",
        # The clients of the tests call the server by this name, as if it were known by it.
        "allowed_hosts": ("sirrd.test",),
        "prune_interval_seconds": 0,
    }
    return Settings(**(given | changes))


@contextlib.asynccontextmanager
async def running(
    settings: Settings, clock: SetClock | None = None, *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Daemon]:
    """Run the application in process."""
    clock = clock or SetClock()
    readiness = Readiness()
    app = create_app(settings, clock=clock, readiness=readiness, monotonic=monotonic)
    key = settings.master_api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    async with app.router.lifespan_context(app) as state, contextlib.AsyncExitStack() as stack:
        drop: DeadDrop = (state or {})["drop"]
        served = _Served(app, dict(state or {}))
        transport = httpx.ASGITransport(served)
        base = "http://sirrd.test"
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=base, headers=headers))
        stranger = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=base))
        yield Daemon(client, stranger, drop, app, served, settings, clock, readiness)


Start = Callable[..., contextlib.AbstractAsyncContextManager[Daemon]]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim that makes calls on database files fail, compiled once."""
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the daemon runs on."""
    return "asyncio"


@pytest.fixture
def clock() -> SetClock:
    """A clock to set."""
    return SetClock()


@pytest.fixture
def start(tmp_path: Path, clock: SetClock) -> Start:
    """Start the application on this test's data folder, with settings of the test's own."""

    def begin(**changes: Any) -> contextlib.AbstractAsyncContextManager[Daemon]:
        return running(settings_for(tmp_path / "data", **changes), clock)

    return begin


@pytest.fixture
async def daemon(start: Start) -> AsyncIterator[Daemon]:
    """The application with an API key set, and defaults otherwise."""
    async with start() as found:
        yield found


def masters(*keys: str) -> MasterKeys:
    """Return master keys of 64 hex digits each; without any, the tests' own."""
    secrets = [bytes.fromhex(key) for key in keys or (MASTER_KEY,)]
    return MasterKeys([MasterKey.of(secret) for secret in secrets], SystemEntropy())


Opener = Callable[..., Awaitable[SqliteStore]]


@pytest.fixture
async def opened(clock: SetClock) -> AsyncIterator[Opener]:
    """Opens stores in folders, and closes at the end those that the test did not."""
    stores: list[SqliteStore] = []

    async def store_in(folder: Path, **changes: Any) -> SqliteStore:
        given: dict[str, Any] = {"masters": masters(), "clock": clock}
        store = await SqliteStore.open(folder / "sirrd.db", **(given | changes))
        stores.append(store)
        return store

    yield store_in
    for store in stores:
        if not store._writer._closing:
            await store.close()


@pytest.fixture
async def store(tmp_path: Path, opened: Opener) -> SqliteStore:
    """A store on a file of its own."""
    return await opened(tmp_path)


Launch: TypeAlias = Callable[..., contextlib.AbstractContextManager[Process]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Start daemons on this test's data folder."""

    @contextlib.contextmanager
    def begin(**changes: str) -> Iterator[Process]:
        number = len(list(tmp_path.glob("*.log")))
        env = settings_of(tmp_path / "data", **changes)
        with started([*SIRRD, "serve"], log=tmp_path / f"{number}.log", cwd=tmp_path, env=env) as process:
            process.address()
            yield process

    return begin
