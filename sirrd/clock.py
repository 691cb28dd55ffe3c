"""The only place that reads the system's clocks.

There are two. The system's clock is what people see; somebody, or a time service, may set it to anything at any moment.
The boot clock counts from the start of the machine, through suspend, and cannot be set; nobody can read a date off it.
What has to last a minute, or a life, is measured by the second alone: see `sirrd.store.sqlite.timeline`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

NANOSECONDS: Final = 1_000_000_000
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/time")


class Clock(Protocol):
    """Reads both clocks."""

    def now(self) -> int:
        """Return the system's time in whole Unix seconds; it may stand anywhere, so it is for what is shown only."""
        ...

    def system_ns(self) -> int:
        """Return the same in nanoseconds."""
        ...

    def elapsed_ns(self) -> int:
        """Return nanoseconds of the boot clock: suspended or not, it goes on, and it never runs back."""
        ...

    def boot(self) -> str:
        """Return a name for what the boot clock counts from; an empty string where none can be told."""
        ...


def _boot_clock() -> Callable[[], int]:
    """Return what reads the boot clock.

    Linux has a clock of that name. The monotonic clock of macOS counts through sleep if it is asked for by its number,
    which `time.monotonic` does not do. Elsewhere there is only what Python offers, for clients.
    """
    number = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    if number is None:
        return time.monotonic_ns
    return functools.partial(time.clock_gettime_ns, number)


elapsed_ns: Final = _boot_clock()


def elapsed_seconds() -> float:
    """Return seconds of the boot clock."""
    return elapsed_ns() / NANOSECONDS


class SystemClock:
    """The clocks of the machine: see `Clock`."""

    # No functions of their own: every transaction reads both.
    system_ns = staticmethod(time.time_ns)
    elapsed_ns = staticmethod(elapsed_ns)

    def now(self) -> int:
        """See `Clock.now`."""
        return int(time.time())  # noqa: TID251 - the one reading of the clock

    def boot(self) -> str:
        """See `Clock.boot`; a hash, since the name of a boot is for the machine's own programs alone."""
        with contextlib.suppress(OSError):
            # In a time namespace of its own the boot clock counts from elsewhere.
            namespace = os.stat(_NAMESPACE).st_ino if _NAMESPACE.exists() else 0  # noqa: PTH116 - a link to follow
            named = f"{_BOOT_ID.read_text(encoding='ascii').strip()} {namespace}"
            return hashlib.sha256(named.encode()).hexdigest()[:32]
        return ""
