"""The running process: socket, signals, draining, the end.

uvicorn parses HTTP and drives the application. How the process starts and stops is decided here, because uvicorn turns
an error at the start into a traceback, closes its listener before anyone could see a 503, and re-raises the signal
that ended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import uvicorn
import uvloop
from starlette.types import ASGIApp

from sirrd.config.settings import Settings, local_url
from sirrd.errors import PortTaken
from sirrd.http.app import create_app
from sirrd.http.context import Readiness
from sirrd.memory import Memory
from sirrd.server.listener import Acceptor, raise_file_limit
from sirrd.server.protocol import Protocol
from sirrd.server.reading import Reader
from sirrd.server.turns import Outbox, Turns
from sirrd.server.unread import Unread

logger = logging.getLogger(__name__)
BACKLOG: Final = 2048
_BINDING: Final = {
    errno.EADDRINUSE: "is another sirrd running? `ss -ltnp` says who listens there; see {names}",
    errno.EADDRNOTAVAIL: "{host} has to be an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all",
    errno.EACCES: "ports below 1024 are root's: take another one behind a proxy, or give the unit CAP_NET_BIND_SERVICE",
    errno.EINVAL: "an address that begins with fe80 needs its interface, such as fe80::1%eth0; see {host}",
}
"""What to do about an address that the system does not give."""

_GC_THRESHOLD: Final = 20_000  # allocations; requests leave few cycles behind
_SWITCH_SECONDS: Final = 0.0002
_TICKS_A_SECOND: Final = 10  # of uvicorn
_SWEEP_TICKS: Final = 100
_UNREAD_TICKS: Final = _TICKS_A_SECOND
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
_MEANINGLESS: Final = (signal.SIGUSR1, signal.SIGUSR2)


def serve(settings: Settings, *, started: Callable[[str], None]) -> None:
    """Run the daemon until a signal ends it.

    Args:
        settings: What the operator chose.
        started: Called with the address once requests are answered.

    Raises:
        StartupError: It could not start; nothing was served.
    """
    os.umask(0o077)
    raise_file_limit()
    # The thread that commits goes on after each call of SQLite only when the event loop gives way to it. Beside clients
    # that keep the loop busy, the default of 5 ms was most of what all others waited for.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(_listening(settings.host, settings.port, "SIRR_HOST and SIRR_PORT"))]
        if (beside := settings.metrics_listener) is not None:
            listeners.append(stack.enter_context(_listening(*beside, "SIRR_METRICS_ADDRESS")))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_serve(settings, listeners, started))
    logger.info("stopped")


async def _serve(settings: Settings, listeners: list[socket.socket], started: Callable[[str], None]) -> None:
    address = local_url(settings.host, listeners[0].getsockname()[1])
    readiness = Readiness()
    memory = Memory()
    unread = Unread(memory.answers)
    app = create_app(settings, readiness=readiness, announced=address, memory=memory)
    made = _made(settings, unread)
    configs = [_configured(each, settings, made) for each in (app.served, app.metrics) if each is not None]
    async with app.router.lifespan_context(app) as state:
        _spare_the_collector()
        server = _Server(configs, settings, readiness, unread, state or {}, lambda: started(address))
        if (beside := settings.metrics_listener) is not None:
            url = local_url(beside[0], listeners[1].getsockname()[1])
            logger.info("metrics are served", extra={"fields": {"url": f"{url}/metrics"}})
        await server.serve(sockets=listeners)
    _end_deaf()


def _configured(app: ASGIApp, settings: Settings, made: Callable[..., Protocol]) -> uvicorn.Config:
    """Return uvicorn's settings for what is served on one address."""
    return uvicorn.Config(
        app,
        loop="none",
        http=made,  # type: ignore[arg-type]  # made like a class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(settings.idle_seconds),
    )


def _made(settings: Settings, unread: Unread) -> Callable[..., Protocol]:
    """Return what makes the protocol of a connection."""
    return functools.partial(
        Protocol,
        outbox=Outbox(),
        unread=unread,
        turns=Turns(),
        most_framing=settings.body_limit,
        idle_seconds=settings.idle_seconds,
    )


def _end_deaf() -> None:
    """Let no signal that comes late, a second one of a terminal say, turn the end that all went well into another."""
    loop = asyncio.get_running_loop()
    for number in (*_STOPS, *_MEANINGLESS):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking through all modules again and again: what is there now stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


@contextlib.contextmanager
def _listening(host: str, port: int, names: str) -> Iterator[socket.socket]:
    """Bind before anything else is touched, so that a taken port leaves no trace; `names` are the settings."""
    name = names.partition(" ")[0]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):
        raise PortTaken(
            "the listening address cannot be resolved",
            hint=f"{name} takes an address such as 127.0.0.1 or ::1, or a name that this machine knows",
        ) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Two sockets can be bound to one port as long as neither listens.
            listener.listen(BACKLOG)
        except OSError as error:
            raise PortTaken(
                f"port {port} cannot be bound: {error.strerror}",
                hint=_BINDING.get(error.errno or 0, "see {names}").format(names=names, host=name),
            ) from None
        yield listener


class _Server(uvicorn.Server):
    """uvicorn's server with an end of our own, and with more than one address; each has its own application.

    The first signal of those that ask for an end turns `/ready` to 503 and serves on for `drain_seconds`; then the
    listener closes and requests in flight have `shutdown_seconds`; the rest is cut. A second signal ends the draining,
    a third the waiting.
    """

    def __init__(
        self,
        configs: Sequence[uvicorn.Config],
        settings: Settings,
        readiness: Readiness,
        unread: Unread,
        state: Mapping[str, Any],
        started: Callable[[], None],
    ) -> None:
        super().__init__(configs[0])
        self._configs = configs
        self._settings = settings
        # Often enough that an idle connection lives hardly longer than it may.
        self._sweep_ticks = min(_SWEEP_TICKS, math.ceil(settings.idle_seconds * _TICKS_A_SECOND / 4))
        self._readiness = readiness
        self._unread = unread
        self._state = state
        self._announce_start = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the event loop have the signals, and never raise them again: the process ends with 0."""
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            # Under `nohup` the end of the terminal is no reason to end.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._told_to_stop, number)
        for number in _MEANINGLESS:
            loop.add_signal_handler(number, _ignore, number)
        # A shell that says `stty tostop` would stop the whole daemon for a line of its log.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        self.lifespan.state.update(self._state)
        pairs = zip(sockets or [], self._configs, strict=True)
        self.servers = [self._acceptor(*each) for each in pairs]  # type: ignore[misc]  # alike, as far as used
        self.started = True
        self._announce_start()

    def _acceptor(self, listener: socket.socket, config: uvicorn.Config) -> Acceptor:
        if not config.loaded:
            config.load()
        connections = self.server_state.connections

        def make() -> Reader:
            return Reader(
                config.http_protocol_class(  # type: ignore[call-arg, arg-type]
                    config=config, server_state=self.server_state, app_state=self.lifespan.state
                )
            )

        return Acceptor(listener, make, count=lambda: len(connections), make_room=self._make_room)

    def _make_room(self) -> None:
        """Close connections that have been open for a while and never asked for anything, the oldest first."""
        silent = [each for each in self.server_state.connections if isinstance(each, Protocol) and each.is_silent()]
        silent.sort(key=lambda connection: connection.idle_since)
        for connection in silent[: math.ceil(len(silent) / 4)]:
            connection.transport.abort()

    async def on_tick(self, counter: int) -> bool:
        """Cut who does not take answers, and close idle connections, from time to time."""
        if counter % _UNREAD_TICKS == 0:
            self._unread.sweep(at=asyncio.get_running_loop().time())
        if counter % self._sweep_ticks == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.close_if_idle()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, give requests in flight their time, and cut what is left."""
        self.config.timeout_graceful_shutdown = self._settings.shutdown_seconds  # type: ignore[assignment]
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()

    def _told_to_stop(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP and self._readiness.draining:
            return  # the kernel says that a terminal ended, and its shell says it again: nobody is in a hurry
        if self.should_exit:
            self.force_exit = True
        elif self._readiness.draining:
            self.should_exit = True
        else:
            self._readiness.draining = True
            fields = {"signal": number.name, "drain_seconds": self._settings.drain_seconds}
            logger.info("told to stop", extra={"fields": fields})
            asyncio.get_running_loop().call_later(self._settings.drain_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def _ignore(number: signal.Signals) -> None:
    """Survive a signal whose default is death: whoever sends it hopes for a new log file, or for a report."""
    logger.warning("%s means nothing here: SIGTERM ends the daemon", number.name)
