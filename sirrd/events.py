"""What happened, as values. They feed the audit trail, and whatever else wants to know.

Transitions are recorded one by one, in the same transaction as what they tell about. What strangers can cause at will
(misses, refusals, failed authentication, requests over the rate limit, page openings) is counted instead, in a bounded
table of the current minute: one event per action, secret, address and minute, so that nobody can fill the disk.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Final, NamedTuple

from sirrd.model import Caller


class Action(enum.StrEnum):
    """What was done to a secret, or attempted."""

    CREATED = "created"
    READ = "read"
    REDELIVERED = "redelivered"
    BURNED = "burned"
    SEALED = "sealed"
    AMENDED = "amended"
    DELETED = "deleted"
    EXPIRED = "expired"
    ROTATED = "rotated"
    RENEWED = "renewed"
    MISSED = "missed"
    REFUSED = "refused"
    UNPROVEN = "unproven"
    DENIED = "denied"
    LIMITED = "limited"
    UNREADABLE = "unreadable"
    PAGE_OPENED = "page_opened"


class Event(NamedTuple):
    """One thing that happened, or several alike within a minute.

    Attributes:
        action: What was done.
        at: Seconds of the store's time; of a count, the start of its minute. The trail has it in Unix seconds.
        caller: Who did it.
        fingerprint: The secret, or None where there is none to name.
        org: The org of an org secret that was changed or read, or None.
        key: Its key, or None. The id of a dead drop is never kept: the fingerprint says enough.
        times: How often.
    """

    action: Action
    at: int
    caller: Caller
    fingerprint: str | None
    org: str | None = None
    key: str | None = None
    times: int = 1

    def __repr__(self) -> str:
        return f"<Event {self.action} {self.fingerprint}>"


_MINUTE: Final = 60
_MAX_ENTRIES: Final = 256
_MAX_KEPT: Final = 16 * _MAX_ENTRIES


class Tally:
    """Counts events of one kind per minute; at most 256 kinds a minute are told apart.

    The counts live in memory until their minute is over: a crash may lose them, which nothing relies on.
    """

    def __init__(self) -> None:
        self._counts: dict[Event, int] = {}
        self._kinds_in_minute: dict[int, int] = {}

    def add(self, action: Action, *, at: int, caller: Caller, fingerprint: str | None) -> None:
        """Count one event at a time in seconds."""
        minute = at - at % _MINUTE
        kind = Event(action, minute, caller._replace(address=neighbourhood(caller.address)), fingerprint)
        if kind not in self._counts:
            if self._kinds_in_minute.get(minute, 0) >= _MAX_ENTRIES:
                kind = Event(action, minute, Caller(caller.kind), None)
            self._kinds_in_minute[minute] = self._kinds_in_minute.get(minute, 0) + 1
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def drain(self, *, before: int) -> list[Event]:
        """Remove and return what was counted in minutes that ended at or before a time in seconds."""
        over = [kind for kind in self._counts if kind.at + _MINUTE <= before]
        for minute in [minute for minute in self._kinds_in_minute if minute + _MINUTE <= before]:
            del self._kinds_in_minute[minute]
        return [kind._replace(times=self._counts.pop(kind)) for kind in over]

    def restore(self, events: list[Event]) -> None:
        """Put back what could not be stored, within a bound: a store that fails for days must not fill memory."""
        for event in events[: max(0, _MAX_KEPT - len(self._counts))]:
            kind = event._replace(times=1)
            self._counts[kind] = self._counts.get(kind, 0) + event.times


def neighbourhood(address: str) -> str:
    """Return the /64 of an IPv6 address, which one person can hold, and any other address as it is."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return ""
