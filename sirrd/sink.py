"""Standard error that nobody has to read: a thread writes, and whoever logs never waits.

A pipe that is full, a terminal that was stopped, a disk that hangs: a write to any of them waits for as long as
somebody likes, and would take all requests and signals along. So what is written waits here, within a bound; beyond it,
or where writing fails, whole lines are dropped and counted, and their number stands in the place where they are missing
as soon as anything can be written again.

The descriptor is left as it is: it is shared with other processes, a shell say, which do not expect it to stop
blocking.
"""

from __future__ import annotations

import io
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from typing import Final

MAX_WAITING_BYTES: Final = 1024 * 1024
PAUSE_SECONDS: Final = 0.005  # for which lines come together, so that it costs little to log much
SETTLE_SECONDS: Final = 1.0
MOST_SETTLE_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.001
_SLICE_BYTES: Final = 65_536
_POLL_MS: Final = 1000
_LINE_FEED: Final = ord("\n")


def _notice(lines: int) -> str:
    return f"sirrd: {lines} {'line was' if lines == 1 else 'lines were'} dropped\n"


class Sink(io.TextIOBase):
    """A text stream over a descriptor, whose `write` never waits and never fails.

    It may be used by all threads, and from within a destructor that interrupts it.

    Args:
        descriptor: Where to; it stays open.

    Attributes:
        notice: Makes the line that tells how many are missing; whoever sets up a log gives it the log's form.
        lost: How many lines were dropped in all.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.notice: Callable[[int], str] = _notice
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._pieces: list[bytes] = []
        self._bytes = self._written = 0
        self._dropped = self.lost = 0
        self._fails = False
        self._is_torn = False
        self._is_awake = False
        self._is_hurried = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # the one primitive that a destructor may use
        threading.Thread(target=self._work, name="sirrd-log", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8: what another encoding could not say must not be an error in the middle of something else."""
        return "utf-8"

    def writable(self) -> bool:
        """See `io.IOBase.writable`."""
        return True

    def fileno(self) -> int:
        """See `io.IOBase.fileno`."""
        return self._descriptor

    def isatty(self) -> bool:
        """See `io.IOBase.isatty`."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def write(self, text: str) -> int:
        """Have it written soon, or drop it; return its length either way, since nobody could do anything about it."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            # Once something is missing, all is until what came before it has left: so the gap has one place.
            if (self._dropped and not self._fails) or self._bytes + len(data) > MAX_WAITING_BYTES:
                self._lose(data)
            else:
                self._pieces.append(data)
                self._bytes += len(data)
            if not self._is_awake:
                self._is_awake = True
                self._wake.put(None)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def settle(self) -> bool:
        """Wait until everything is written, as long as somebody takes it, but not for long; tell whether it is."""
        began = moved = time.monotonic()
        written, self._is_hurried = self._written, True
        while self._is_awake:
            now = time.monotonic()
            if self._written != written:
                written, moved = self._written, now
            if now - moved >= SETTLE_SECONDS or now - began >= MOST_SETTLE_SECONDS:
                return False
            time.sleep(_STEP_SECONDS)
        return True

    def _lose(self, data: bytes) -> None:
        """Count lines that are dropped; the lock is held."""
        lines = _lines(data)
        self._dropped += lines
        self.lost += lines

    # The thread.

    def _work(self) -> None:
        while True:
            self._wake.get()
            while (data := self._next()) is not None:
                self._pass_on(data)

    def _next(self) -> bytes | None:
        """Return what waits; nothing, if only a gap is left to be told of; None, if the thread may sleep."""
        if not self._is_hurried:
            time.sleep(PAUSE_SECONDS)
        with self._lock:
            data, self._pieces = b"".join(self._pieces), []
            if not data and (self._fails or not self._dropped):
                self._is_awake = False
                return None
        return data

    def _pass_on(self, data: bytes) -> None:
        """Write what stands before a gap, then the word of the gap; where writing failed, that word comes first."""
        missing = self._dropped
        if missing and (self._fails or not data):
            word = b"\n" * self._is_torn + self.notice(missing).encode("utf-8", "backslashreplace")
            self._fails = bool(self._write(word))
            if not self._fails:
                with self._lock:
                    self._dropped -= missing
        rest = data if self._fails else self._write(data)
        with self._lock:
            self._bytes -= len(data)
            if rest:
                self._fails = True
                self._lose(rest)

    def _write(self, data: bytes) -> bytes:
        """Write, for as long as it takes, and return what could not be written."""
        rest = memoryview(data)
        while rest:
            try:
                size = os.write(self._descriptor, rest[:_SLICE_BYTES])
            except BlockingIOError:
                # Somebody who shares the descriptor has set it so.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(_POLL_MS)
                continue
            except OSError:
                # Nobody reads any more, it is closed, or the disk is full: there is nobody who could be told.
                return bytes(rest)
            self._is_torn = rest[size - 1] != _LINE_FEED
            self._written += size
            rest = rest[size:]
        return b""


def _lines(data: bytes) -> int:
    """Return how many lines are in a piece; what is less than one counts as one, since it makes a gap, too."""
    return data.count(b"\n") or 1
