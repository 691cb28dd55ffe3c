"""What clients saw, as values, and a checker that says which rule a history breaks.

An operation takes effect, if at all, at one instant between its beginning and its end. One whose answer never came may
or may not have taken effect, and no later than the death of the daemon that it was sent to. Every rule counts in the
daemon's favour what is not known, so that a lawful history breaks none, whatever its timing.

Each secret has one put, under a name that is used once. An amendment always says how many reads it allows.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple


class Kind(enum.StrEnum):
    """What a client asked for; an expiry asks for itself."""

    PUT = "put"
    READ = "read"
    AMEND = "amend"
    DELETE = "delete"
    EXPIRE = "expire"


class Outcome(enum.StrEnum):
    """What a client was answered."""

    DONE = "done"
    MISS = "miss"
    SEALED = "sealed"
    UNKNOWN = "unknown"


class Rule(enum.StrEnum):
    """What must hold of every history."""

    TOO_MANY_READS = "too_many_reads"
    LOST_WRITE = "lost_write"
    RESURRECTED = "resurrected"
    WRONG_VALUE = "wrong_value"
    UNSPENT_READ = "unspent_read"
    UNAUDITED = "unaudited"
    UNEXPLAINED_AUDIT = "unexplained_audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as its client saw it.

    Attributes:
        secret: The name of the secret, or a name for a put whose answer, and with it the id, never came.
        kind: What was asked for.
        began: Seconds on a steady clock, before it was sent; of an expiry, the earliest instant of it.
        ended: After it was answered, or could no longer take effect; of an expiry, the latest instant of it.
        outcome: What was answered.
        value: What was written or read; None where an amendment leaves the value alone.
        max_reads: How many reads a put or an amendment allows.
        burns: Of a put: whether the secret burns with its last read, rather than being sealed.
    """

    secret: str
    kind: Kind
    began: float
    ended: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    value: str | None = None
    max_reads: int = 0
    burns: bool = True

    @property
    def may_have_happened(self) -> bool:
        """Whether it was answered with success, or not at all."""
        return self.outcome in {Outcome.DONE, Outcome.UNKNOWN}


class Violation(NamedTuple):
    """A rule that a history breaks.

    Attributes:
        rule: The rule.
        secret: The secret whose history breaks it.
        detail: What is wrong, in a few words.
    """

    rule: Rule
    secret: str
    detail: str


Audit = Mapping[str, Mapping[str, int]]
"""How many audit rows there are for each secret and action; secrets that no client can name stand under others."""

_SPENDING: Final = ("read", "burned", "sealed")
_ENDING: Final = ("burned", "deleted", "expired")


class Life:
    """The operations on one secret."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        (self.put,) = self.of(Kind.PUT)
        self.tried = [read for read in self.of(Kind.READ) if read.may_have_happened]
        self.reads = [read for read in self.tried if read.outcome == Outcome.DONE]
        self.amendments = [amendment for amendment in self.of(Kind.AMEND) if amendment.may_have_happened]
        self.deletions = [deletion for deletion in self.of(Kind.DELETE) if deletion.may_have_happened]
        self.expiries = self.of(Kind.EXPIRE)
        self.misses = [operation for operation in operations if operation.outcome == Outcome.MISS]
        self.seals = [operation for operation in operations if operation.outcome == Outcome.SEALED]

    def of(self, kind: Kind) -> list[Operation]:
        """Return the operations of a kind."""
        return [operation for operation in self.operations if operation.kind == kind]

    @property
    def signs(self) -> list[Operation]:
        """The answers that only a secret which is there can give."""
        asked = (*self.reads, *self.seals, *self.amendments, *self.deletions)
        return [operation for operation in asked if operation.outcome != Outcome.UNKNOWN]

    @property
    def there_since(self) -> float:
        """The instant from which on it was certainly stored."""
        stored = [self.put] if self.put.outcome == Outcome.DONE else self.signs
        return min((operation.ended for operation in stored), default=math.inf)

    @property
    def gone_since(self) -> float:
        """The instant from which on it was certainly gone."""
        ends = [miss.ended for miss in self.misses if miss.began > self.put.ended]
        ends += [deletion.ended for deletion in self.deletions if deletion.outcome == Outcome.DONE]
        ends += [expiry.ended for expiry in self.expiries]
        if self.put.burns and len(self.reads) >= self.put.max_reads:
            ends.append(sorted(read.ended for read in self.reads)[self.put.max_reads - 1])
        return min(ends, default=math.inf)

    def current(self, writes: Sequence[Operation], during: Operation) -> list[Operation]:
        """Return those of some writes whose effect an operation can have met: not overwritten for certain before it."""
        over = [write for write in writes if write.outcome == Outcome.DONE and write.ended < during.began]
        begun = [write for write in writes if write.began < during.ended]
        return [write for write in begun if not any(write.ended < later.began for later in over)]


def violations(history: Sequence[Operation], audit: Audit) -> list[Violation]:
    """Return every rule that a history, with the audit trail after it, breaks; at most once a secret and rule.

    Args:
        history: The operations, in any order.
        audit: The rows of transitions.
    """
    by_secret: dict[str, list[Operation]] = {}
    for operation in history:
        by_secret.setdefault(operation.secret, []).append(operation)
    found = []
    for secret, operations in by_secret.items():
        life = Life(operations)
        broken: dict[Rule, str] = {}
        for rule, detail in (*_seen(life), *_audited(life, audit.get(secret, {}))):
            broken.setdefault(rule, detail)
        found += [Violation(rule, secret, detail) for rule, detail in broken.items()]
    return found + list(_strangers(by_secret, audit))


Finding = tuple[Rule, str]


def _seen(life: Life) -> Iterator[Finding]:
    """Yield what is wrong with what clients saw."""
    yield from _too_many_reads(life)
    yield from _resurrected(life)
    yield from _revived(life)
    yield from _lost(life)
    yield from _sealed_too_early(life)
    yield from _values(life)


def _too_many_reads(life: Life) -> Iterator[Finding]:
    """From each write on that surely took effect, count the reads after it and what can have allowed them."""
    for start in (life.put, *(each for each in life.amendments if each.outcome == Outcome.DONE)):
        after = [read for read in life.reads if start is life.put or read.began >= start.ended]
        others = [each for each in life.amendments if each is not start and each.ended > start.began]
        for last in after:
            counted = sum(read.ended <= last.ended for read in after)
            allowed = start.max_reads + sum(each.max_reads for each in others if each.began < last.ended)
            if counted > allowed:
                yield Rule.TOO_MANY_READS, f"{counted} reads since {start.kind}, {allowed} allowed"


def _resurrected(life: Life) -> Iterator[Finding]:
    for sign in life.signs:
        if sign.began > life.gone_since:
            yield Rule.RESURRECTED, f"{sign.kind} was answered {sign.outcome} after it was gone"


def _revived(life: Life) -> Iterator[Finding]:
    """A sealed secret stays sealed until an amendment."""
    for seal in life.seals:
        for read in life.reads:
            amended = any(each.ended > seal.began and each.began < read.ended for each in life.amendments)
            if read.began > seal.ended and not amended:
                yield Rule.RESURRECTED, "a value was read after it was sealed"


def _lost(life: Life) -> Iterator[Finding]:
    for miss in life.misses:
        if miss.began > life.there_since and not _explained(life, miss):
            yield Rule.LOST_WRITE, f"{miss.kind} missed what nothing can have ended"


def _explained(life: Life, miss: Operation) -> bool:
    """Tell whether a deletion, an expiry or enough reads can have come before the end of a miss."""
    spent = sum(read.began < miss.ended for read in life.tried)
    ended = any(end.began < miss.ended for end in (*life.deletions, *life.expiries))
    return ended or (life.put.burns and spent >= life.put.max_reads)


def _sealed_too_early(life: Life) -> Iterator[Finding]:
    """A secret is sealed by its reads, and only if it does not burn; else an amendment was lost."""
    for seal in life.seals:
        enough = False
        for write in life.current([life.put, *life.amendments], seal):
            spent = sum(read.ended > write.began and read.began < seal.ended for read in life.tried)
            enough |= spent >= write.max_reads
        if life.put.burns or not enough:
            yield Rule.LOST_WRITE, "it was sealed before its reads can have been used up"


def _values(life: Life) -> Iterator[Finding]:
    """A value that was read is one that was written, and not one that was overwritten before."""
    writes = [write for write in (life.put, *life.amendments) if write.value is not None]
    for read in life.reads:
        if read.value not in {write.value for write in writes}:
            yield Rule.WRONG_VALUE, "a value was read that was never written"
        elif read.value not in {write.value for write in life.current(writes, read)}:
            yield Rule.LOST_WRITE, "a value was read that had been overwritten"


def _audited(life: Life, rows: Mapping[str, int]) -> Iterator[Finding]:
    """Yield what is wrong between what clients saw and the audit trail."""
    yield from _audited_reads(life, rows)
    yield from _audited_writes(life, rows)
    yield from _audited_ends(life, rows)


def _audited_reads(life: Life, rows: Mapping[str, int]) -> Iterator[Finding]:
    spent = sum(rows.get(action, 0) for action in _SPENDING)
    if spent < len(life.reads):
        yield Rule.UNSPENT_READ, f"{len(life.reads)} reads were answered, {spent} are in the trail"
    if spent > len(life.tried):
        yield Rule.UNEXPLAINED_AUDIT, f"{spent} reads are in the trail, {len(life.tried)} were tried"


def _audited_writes(life: Life, rows: Mapping[str, int]) -> Iterator[Finding]:
    for action, tried in (("created", [life.put]), ("amended", life.amendments), ("deleted", life.deletions)):
        done, counted = sum(each.outcome == Outcome.DONE for each in tried), rows.get(action, 0)
        if counted < done:
            yield Rule.UNAUDITED, f"{done} answered, {counted} rows say {action}"
        if counted > len(tried):
            yield Rule.UNEXPLAINED_AUDIT, f"{len(tried)} tried, {counted} rows say {action}"
    if life.signs and not rows.get("created", 0):
        yield Rule.UNAUDITED, "it was seen, and no row says created"


def _audited_ends(life: Life, rows: Mapping[str, int]) -> Iterator[Finding]:
    """What was not answered may have happened, but then with its rows: an end that was seen has one, and one only."""
    ends = sum(rows.get(action, 0) for action in _ENDING)
    for miss in life.misses:
        expired = any(expiry.began < miss.ended for expiry in life.expiries)
        if miss.began > life.there_since and not expired and not ends:
            yield Rule.UNAUDITED, "it is gone, and no row says how"
    if life.seals and not rows.get("sealed", 0):
        yield Rule.UNAUDITED, "it is sealed, and no row says so"
    if rows.get("burned", 0) and rows.get("read", 0) + 1 != life.put.max_reads:
        yield Rule.UNAUDITED, f"it burned after {rows.get('read', 0)} reads in the trail"
    if ends > 1:
        yield Rule.UNEXPLAINED_AUDIT, "it ended more than once"
    if rows.get("expired", 0) > len(life.expiries) or rows.get("sealed" if life.put.burns else "burned", 0):
        yield Rule.UNEXPLAINED_AUDIT, "it ended in a way that it cannot end in"


def _strangers(named: Mapping[str, object], audit: Audit) -> Iterator[Violation]:
    """Secrets that no client can name come from puts without an answer, and nobody can have touched them."""
    strangers = {secret: rows for secret, rows in audit.items() if secret not in named}
    nameless = sum(secret.startswith(NAMELESS) for secret in named)
    if len(strangers) > nameless:
        detail = f"{len(strangers)} secrets have rows that no client knows, {nameless} puts had no answer"
        yield Violation(Rule.UNEXPLAINED_AUDIT, "", detail)
    for secret, rows in strangers.items():
        if not set(rows) <= {"created", "expired"} or max(rows.values()) > 1:
            yield Violation(Rule.UNEXPLAINED_AUDIT, secret, "rows say more than that it was created, and expired")


NAMELESS: Final = "nameless "


def told(history: Sequence[Operation], secret: str) -> str:
    """Return what clients saw of a secret, one line an operation, for people."""
    operations = sorted((each for each in history if each.secret == secret), key=lambda each: each.began)
    return "\n".join(
        f"  {each.began:.6f} {each.ended:.6f} {each.kind} {each.outcome} value={each.value}"
        + (f" max_reads={each.max_reads}" if each.max_reads else "")
        + (f" burns={each.burns}" if each.kind == Kind.PUT else "")
        for each in operations
    )
