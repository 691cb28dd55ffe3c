"""The only place that reads the system's clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time in whole Unix seconds."""

    def now(self) -> int:
        """Return the current time; never less than what an earlier call returned."""
        ...


class SystemClock:
    """The system's clock, kept from running backwards within this process.

    A clock that is set back must not bring an expired secret to life again (I9), so the latest time seen counts until
    the system has caught up with it.
    """

    def __init__(self) -> None:
        self._latest = 0

    def now(self) -> int:
        """Return Unix seconds."""
        self._latest = max(self._latest, int(time.time()))  # noqa: TID251 - the one reading of the clock
        return self._latest
