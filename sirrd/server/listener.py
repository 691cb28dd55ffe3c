"""Takes connections from the listening socket: a few in a turn, and no more than there is room for.

uvloop takes all that wait in one turn, and without a free descriptor it resets them, silently. Here a limit is known
beforehand, and what is beyond it waits in the kernel until a connection ends: nobody is refused, the data folder and
the log keep descriptors of their own, and the operator is told, with the limit and the remedy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)
MOST_CONNECTIONS: Final = 16_384
MOST_A_TURN: Final = 4
RESERVED_FILES: Final = 16
PAUSE_SECONDS: Final = 0.1
SILENT_SECONDS: Final = 60.0
_WANTED_FILES: Final = 65_536
_USUAL_FILES: Final = 32
_REMEDY: Final = "raise it: LimitNOFILE= in the systemd unit, --ulimit nofile= of a container, ulimit -n in a shell"
_TRANSIENT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ENOUGH: Final = 0
_CAUSES: Final = {
    _ENOUGH: "that many are the most; limit them in the proxy",
    errno.ENFILE: "the whole system is out of open files: see fs.file-max",
    errno.ENOBUFS: "the kernel has no memory for more sockets",
    errno.ENOMEM: "the kernel has no memory for more sockets",
}


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have, up to a number that is enough for all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Where that is forbidden, less has to do.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return for how many connections there are descriptors, beside what is open and what the daemon may need."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    try:
        opened = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        opened = _USUAL_FILES
    return max(1, min(MOST_CONNECTIONS, soft - opened - RESERVED_FILES))


class Acceptor:
    """Takes connections from a socket that listens, for as long as there is room.

    It has the methods that uvicorn calls on the servers of asyncio.

    Args:
        listener: The socket.
        make_protocol: Makes the protocol of a connection.
        count: Tells how many connections there are.
        make_room: Called when there are too many: closes what can be spared.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        count: Callable[[], int],
        make_room: Callable[[], None],
    ) -> None:
        listener.settimeout(0)
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._count = count
        self._make_room = make_room
        self._most = most_connections()
        self._opening: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._silent_until = 0.0
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._listener.fileno())
            if self._pause is not None:
                self._pause.cancel()

    async def wait_closed(self) -> None:
        """Wait until those that were taken have begun."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self) -> None:
        """Take some of those that wait."""
        for _ in range(MOST_A_TURN):
            if self._count() + len(self._opening) >= self._most:
                self._make_room()
                self._rest(_ENOUGH if self._most == MOST_CONNECTIONS else errno.EMFILE)
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _TRANSIENT:
                    self._rest(error.errno)
                    return
                continue  # it left before it was taken, or a firewall forbids it
            connection.settimeout(0)
            task = self._loop.create_task(self._begin(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()

    def _rest(self, number: int) -> None:
        """Take nothing for a while, and tell why, once in a while."""
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)
        if self._loop.time() >= self._silent_until:
            self._silent_until = self._loop.time() + SILENT_SECONDS
            self._tell(number)

    def _tell(self, number: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = f"the limit of open files is {soft} (RLIMIT_NOFILE; hard limit {hard}), {_REMEDY}"
        cause = _CAUSES.get(number, files)
        fields = {"connections": self._count(), "soft_limit": soft, "hard_limit": hard}
        logger.error("no more connections are taken until others end: %s", cause, extra={"fields": fields})

    def _go_on(self) -> None:
        self._pause = None
        if not self._is_closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)
