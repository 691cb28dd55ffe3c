"""What happened, as values. They feed the audit trail, and whatever else wants to know.

Transitions are recorded one by one, in the same transaction as what they tell about. What strangers can cause at will
(misses, refusals, failed authentication, requests over the rate limit, page openings) is counted instead, in a bounded
table: one event per action, secret, address and minute, and beyond a budget one per action, address and hour, so that
nobody can fill the disk.
"""

from __future__ import annotations

import enum
import ipaddress
import math
from collections import Counter
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
    """One thing that happened, or several alike within a minute or an hour.

    Attributes:
        action: What was done.
        at: Seconds of the store's time; of a count, the start of its minute or hour. The trail has it in Unix seconds.
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
_HOUR: Final = 3600
_DAY: Final = 86_400
_MAX_ENTRIES: Final = 256
_MAX_KEPT: Final = 16 * _MAX_ENTRIES
_FINGERPRINTS: Final = 16
ROWS_A_DAY: Final = 1024
ADDRESSES_AN_HOUR: Final = 8


class Tally:
    """Counts events of one kind per minute, and, when strangers cause too many rows, per hour.

    In a minute at most 256 kinds are told apart, and of one action by one address 16 secrets. For each action there is
    a budget of rows, 1024 at once and as many a day. While it lasts, each kind of a minute is a row; what is beyond it
    is counted by the hour, without a secret, and at the end of the hour the eight addresses that did most have a row
    each, and all others one together. So an action costs some 1 300 rows a day, however long somebody goes on, and who
    that is stays to be seen.

    The counts live in memory until their minute or hour is over: a crash may lose them, which nothing relies on.
    """

    def __init__(self) -> None:
        self._counts: dict[Event, int] = {}
        self._kinds_in_minute: Counter[int] = Counter()
        self._fingerprints: Counter[Event] = Counter()
        self._hours: dict[Event, int] = {}
        self._budgets: dict[Action, _Budget] = {}
        self._owed: list[Event] = []

    def add(self, action: Action, *, at: int, caller: Caller, fingerprint: str | None) -> None:
        """Count one event at a time in seconds."""
        minute = at - at % _MINUTE
        caller = caller._replace(address=neighbourhood(caller.address))
        kind = Event(action, minute, caller, fingerprint)
        if kind not in self._counts:
            kind = self._new(kind)
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def _new(self, kind: Event) -> Event:
        """Return by what a kind is told apart that is the first of its minute."""
        of_caller = kind._replace(fingerprint=None)
        if kind.fingerprint is not None:
            if self._fingerprints[of_caller] >= _FINGERPRINTS:
                kind = of_caller
            else:
                self._fingerprints[of_caller] += 1
        if kind in self._counts:
            return kind
        if self._kinds_in_minute[kind.at] >= _MAX_ENTRIES:
            return of_caller._replace(caller=Caller(kind.caller.kind))
        self._kinds_in_minute[kind.at] += 1
        return kind

    def drain(self, *, before: int, is_last: bool = False) -> list[Event]:
        """Remove and return what is to be stored.

        Args:
            before: Minutes and hours that ended at or before this time, in seconds, are over.
            is_last: Whether no other call will come, so that hours that go on count as over, too.
        """
        rows, self._owed = self._owed, []
        for action, kinds in self._minutes_over(before).items():
            most = self._budgets.setdefault(action, _Budget(before)).take(len(kinds), now=before)
            kinds.sort(key=lambda kind: kind.times, reverse=True)
            rows += kinds[:most]
            for kind in kinds[most:]:
                self._count_by_hour(kind)
        return rows + self._hours_over(math.inf if is_last else before)

    def _minutes_over(self, before: int) -> dict[Action, list[Event]]:
        """Remove and return the counts of past minutes, by action."""
        over: dict[Action, list[Event]] = {}
        for kind in [kind for kind in self._counts if kind.at + _MINUTE <= before]:
            over.setdefault(kind.action, []).append(kind._replace(times=self._counts.pop(kind)))
        for minute in [minute for minute in self._kinds_in_minute if minute + _MINUTE <= before]:
            del self._kinds_in_minute[minute]
        for kind in [kind for kind in self._fingerprints if kind.at + _MINUTE <= before]:
            del self._fingerprints[kind]
        return over

    def _count_by_hour(self, event: Event) -> None:
        kind = event._replace(at=event.at - event.at % _HOUR, fingerprint=None, times=1)
        if kind not in self._hours and len(self._hours) >= _MAX_KEPT:
            kind = kind._replace(caller=Caller(kind.caller.kind))
        self._hours[kind] = self._hours.get(kind, 0) + event.times

    def _hours_over(self, before: float) -> list[Event]:
        """Remove and return the counts of past hours: for each action and kind of caller, who did most, and a rest."""
        groups: dict[Event, list[Event]] = {}
        for kind in [kind for kind in self._hours if kind.at + _HOUR <= before]:
            rest = kind._replace(caller=Caller(kind.caller.kind))
            groups.setdefault(rest, []).append(kind._replace(times=self._hours.pop(kind)))
        rows = []
        for rest, kinds in groups.items():
            named = sorted((kind for kind in kinds if kind.caller.address), key=lambda kind: kind.times, reverse=True)
            rows += named[:ADDRESSES_AN_HOUR]
            others = sum(kind.times for kind in kinds) - sum(kind.times for kind in named[:ADDRESSES_AN_HOUR])
            rows += [rest._replace(times=others)] if others else []
        return rows

    def restore(self, events: list[Event]) -> None:
        """Put back what could not be stored, within a bound: a store that fails for days must not fill memory."""
        self._owed += events[: max(0, _MAX_KEPT - len(self._owed))]


class _Budget:
    """How many rows an action may still have."""

    def __init__(self, now: int) -> None:
        self._left = float(ROWS_A_DAY)
        self._at = now

    def take(self, wanted: int, *, now: int) -> int:
        """Take so many, or as many as there are, and return their number; `now` is in seconds."""
        self._left = min(ROWS_A_DAY, self._left + max(0, now - self._at) * ROWS_A_DAY / _DAY)
        self._at = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken


def neighbourhood(address: str) -> str:
    """Return the /64 of an IPv6 address, which one person can hold, and any other address as it is."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return ""
