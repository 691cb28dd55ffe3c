"""What the contract says about records, and no more: no storage, no concurrency, no cryptography.

A record that has expired is gone for everyone; it stays in `records` until it is pruned, since its going is audited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from sirrd.model import MAX_READS, MAX_TTL_SECONDS, BareKey, Identity, Target
from sirrd.policy import Caps
from sirrd.store.sqlite.attempts import MOST_REPEATS, REMEMBERED_SECONDS

REDELIVERY_SECONDS = 60

Fields: TypeAlias = Mapping[str, Any]
"""The members of a body that may be there; a value is whatever `str` makes the text of."""


class Refused(Exception):
    """An answer that is no success: its code."""


class Seen(NamedTuple):
    """What may be told about a record without spending a read."""

    identity: Identity
    created_at: int
    expires_at: int | None
    max_reads: int | None
    delete: bool
    read_count: int
    status: str


@dataclass(eq=False)
class Note:
    """What is known of an attempt that has read a record.

    Attributes:
        attempt: Its name.
        at: When it has read.
        ends_at: Until when it is answered again; 0 once that is over.
        is_open: Whether it has left a delivery that was not ended.
        repeats: How often it was answered again.
    """

    attempt: str
    at: int
    ends_at: int
    is_open: bool
    repeats: int = 0

    def end(self) -> None:
        """Answer it never again."""
        self.ends_at, self.is_open = 0, False


@dataclass(eq=False)
class Record:
    """A secret that was stored and is not gone, but for expiry."""

    identity: Identity
    value: str
    created_at: int
    expires_at: int | None
    max_reads: int | None
    delete: bool
    read_count: int = 0
    is_older: bool = False
    notes: list[Note] = field(default_factory=list)

    def note_of(self, attempt: str) -> Note | None:
        """Return what is known of an attempt at this record."""
        return next((note for note in self.notes if note.attempt == attempt), None)

    def seen(self, offset: int) -> Seen:
        """Return its metadata as they are now."""
        status = "sealed" if self.read_count == self.max_reads else "active"
        until = None if self.expires_at is None else self.expires_at + offset
        life = (self.created_at + offset, until, self.max_reads, self.delete)
        return Seen(self.identity, *life, self.read_count, status)


@dataclass
class Model:
    """All records, the oldest first, and the audit rows that are due: an action and whose record it was.

    Attributes:
        now: What has passed, in seconds, wherever it began; lives are in it.
        offset: What makes Unix seconds of it, as the system's clock stands: whatever is shown moves along with that.
    """

    caps: Caps
    now: int
    offset: int = 0
    records: list[Record] = field(default_factory=list)
    spent: list[Record] = field(default_factory=list)
    audit: list[tuple[str, Identity]] = field(default_factory=list)

    def live(self, org: str | None = None) -> list[Record]:
        """Return what a list shows, the newest first."""
        return [each for each in self.records[::-1] if not self._expired(each) and org in {None, each.identity.org}]

    def find(self, target: Target) -> Record:
        """Return the one live record that a target names."""
        found = [each for each in self.live() if each.identity == target or _is_bare(target, each)]
        if len(found) != 1:
            raise Refused("ambiguous_key" if found else "not_found")
        return found[0]

    def put(self, identity: Identity, fields: Fields) -> Seen:
        """Store a record; a key is free as soon as what had it is gone."""
        self._check(fields)
        if any(each.identity == identity for each in self.live()):
            raise Refused("key_exists")
        self._remove("expired", [each for each in self.records if each.identity == identity])
        self._forget_spent(identity)
        expires_at = self._expiry(fields.get("ttl_seconds", self.caps.default_ttl_seconds))
        max_reads = fields.get("max_reads", self.caps.default_max_reads)
        terms = (self.now, expires_at, max_reads, fields.get("delete", True))
        self.records.append(Record(identity, str(fields["value"]), *terms))
        self.audit.append(("created", identity))
        return self.records[-1].seen(self.offset)

    def read(self, target: Target, attempt: str | None = None) -> str:
        """Spend a read, unless the attempt has one; the last one burns or seals."""
        if attempt is not None and (known := self._known(target, attempt)) is not None:
            return self._repeat(*known)
        record = self.find(target)
        if record.read_count == record.max_reads:
            raise Refused("sealed")
        record.read_count += 1
        if attempt is not None and record.max_reads is not None:
            ends_at = min(self.now + REDELIVERY_SECONDS, record.expires_at or math.inf)
            record.notes.append(Note(attempt, self.now, int(ends_at), record.delete))
        if record.read_count != record.max_reads:
            self.audit.append(("read", record.identity))
        elif record.delete:
            self._remove("burned", [record])
            if any(note.is_open and note.ends_at > self.now for note in record.notes):
                self.spent.append(record)
        else:
            self.audit.append(("sealed", record.identity))
        return record.value

    def amend(self, target: Target, fields: Fields) -> Seen:
        """Change what is given, and begin to count anew."""
        self._check(fields)
        record = self.find(target)
        if record.delete:
            raise Refused("not_amendable")
        record.read_count, record.is_older = 0, False
        for note in record.notes:
            note.end()
        record.value = str(fields.get("value", record.value))
        record.max_reads = fields.get("max_reads", record.max_reads)
        if "ttl_seconds" in fields:
            record.expires_at = self._expiry(fields["ttl_seconds"])
        self.audit.append(("amended", record.identity))
        return record.seen(self.offset)

    def jump(self, seconds: int) -> None:
        """Let the system's clock be set: what is shown moves, and nothing else."""
        self.offset += seconds

    def sleep(self, seconds: int) -> None:
        """Let the machine be off for what the system's clock takes for so many seconds; time does not run back."""
        self.now += max(0, seconds)
        self.offset += min(0, seconds)

    def delete(self, target: Target) -> None:
        """Remove a record, sealed or not, and what one that has burned has left."""
        try:
            record = self.find(target)
        except Refused as refused:
            if str(refused) == "not_found":
                self._forget_spent(target)
            raise
        self._remove("deleted", [record])

    def received(self, target: Target, attempt: str) -> None:
        """End what an attempt has left."""
        if (known := self._known(target, attempt)) is not None:
            known[1].end()
            self._drop_spent()

    def sweep(self) -> None:
        """End what is over, and forget what is a day old."""
        for record in [*self.records, *self.spent]:
            for note in record.notes:
                if note.is_open and note.ends_at <= self.now:
                    note.end()
            record.notes = [n for n in record.notes if n.is_open or n.at > self.now - REMEMBERED_SECONDS]
        self._drop_spent()

    def begin_rotation(self) -> None:
        """Let all that is there be under an older master key."""
        for record in [*self.records, *self.spent]:
            record.is_older = True

    def move(self, most: int | None = None) -> int:
        """Move the oldest records to the newest master key, or all; what burned under an older one then ends."""
        for record in [each for each in self.records if each.is_older][:most]:
            record.is_older = False
        if most is None:
            self.spent = [each for each in self.spent if not each.is_older]
        return 0

    def _known(self, target: Target, attempt: str) -> tuple[Record, Note] | None:
        """Return what an attempt has read, of what lives before what has burned, the oldest first."""
        for record in [*self.records, *self.spent]:
            is_meant = record.identity == target or _is_bare(target, record)
            if is_meant and not self._expired(record) and (note := record.note_of(attempt)) is not None:
                return record, note
        return None

    def _repeat(self, record: Record, note: Note) -> str:
        if self.now >= note.ends_at:
            raise Refused("attempt_over")
        if note.repeats >= MOST_REPEATS:
            raise Refused("too_many_repeats")
        note.repeats += 1
        return record.value

    def _forget_spent(self, target: Target) -> None:
        self.spent = [each for each in self.spent if not (each.identity == target or _is_bare(target, each))]

    def _drop_spent(self) -> None:
        self.spent = [each for each in self.spent if any(note.is_open for note in each.notes)]

    def prune(self, org: str | None = None) -> int:
        """Remove what has expired."""
        return self._remove("expired", [e for e in self.records if self._expired(e) and org in {None, e.identity.org}])

    def _remove(self, action: str, records: list[Record]) -> int:
        for record in records:
            self.records.remove(record)
            self.audit.append((action, record.identity))
        return len(records)

    def _expired(self, record: Record) -> bool:
        return record.expires_at is not None and self.now >= record.expires_at

    def _expiry(self, ttl: int | None) -> int | None:
        longest = self.caps.max_ttl_seconds if ttl is None else ttl
        return None if longest is None else self.now + longest

    def _check(self, fields: Fields) -> None:
        if len(str(fields.get("value", "")).encode()) > self.caps.max_value_bytes:
            raise Refused("value_too_large")
        for name, longest in (("ttl_seconds", self.caps.max_ttl_seconds or MAX_TTL_SECONDS), ("max_reads", MAX_READS)):
            if fields.get(name) is not None and not 1 <= fields[name] <= longest:
                raise Refused("bad_field")


def _is_bare(target: Target, record: Record) -> bool:
    return isinstance(target, BareKey) and record.identity.org is not None and record.identity.name == target.name
