"""What the contract says about records, and no more: no storage, no concurrency, no cryptography.

A record that has expired is gone for everyone; it stays in `records` until it is pruned, since its going is audited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from sirrd.deaddrop.locks import MAX_WRONG, WINDOW_SECONDS
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
    is_locked: bool


class RecordKeys(NamedTuple):
    """What a record is sealed under, and found by.

    Attributes:
        master: The master key, as hex digits.
        generation: The number of the inner keys.
    """

    master: str
    generation: int


@dataclass(eq=False)
class Note:
    """What is known of an attempt that has read a record.

    Attributes:
        attempt: Its name.
        generation: Of the inner keys that it is known by.
        at: When it has read.
        ends_at: Until when it is answered again; 0 once that is over.
        is_open: Whether it has left a delivery that was not ended.
        repeats: How often it was answered again.
    """

    attempt: str
    generation: int
    at: int
    ends_at: int
    is_open: bool
    repeats: int = 0

    def end(self) -> None:
        """Answer it never again."""
        self.ends_at, self.is_open = 0, False


@dataclass(eq=False)
class Record:
    """A secret that was stored and is not gone, but for expiry.

    Attributes:
        lock: The proof that opens it, or None.
        keys: What it is sealed under and found by.
    """

    identity: Identity
    value: str
    created_at: int
    expires_at: int | None
    max_reads: int | None
    delete: bool
    lock: str | None
    keys: RecordKeys
    read_count: int = 0
    notes: list[Note] = field(default_factory=list)

    def move_to(self, keys: RecordKeys) -> None:
        """Stand under other keys; under another generation of inner keys nothing that attempts have left goes on."""
        if self.keys.generation != keys.generation:
            self.end_notes()
        self.keys = keys

    def end_notes(self) -> None:
        """Answer no attempt again."""
        for note in self.notes:
            note.end()

    def seen(self, offset: int) -> Seen:
        """Return its metadata as they are now."""
        status = "sealed" if self.read_count == self.max_reads else "active"
        until = None if self.expires_at is None else self.expires_at + offset
        life = (self.created_at + offset, until, self.max_reads, self.delete)
        return Seen(self.identity, *life, self.read_count, status, self.lock is not None)


@dataclass
class Model:
    """All records, the oldest first, and the audit rows that are due: an action, whose record, and its generation.

    Attributes:
        now: What has passed, in seconds, wherever it began; lives are in it.
        keys: What is sealed and found by from now on.
        made_under: The master key that was first when the inner keys were made.
        offset: What makes Unix seconds of it, as the system's clock stands: whatever is shown moves along with that.
        wrong: When wrong proofs were shown for what is locked.
        ended: When each older generation of inner keys ended.
        moving: Those of them that secrets may still be found by.
        has_older_keys: Whether master keys are kept that are not the first.
    """

    caps: Caps
    now: int
    keys: RecordKeys
    made_under: str
    offset: int = 0
    records: list[Record] = field(default_factory=list)
    spent: list[Record] = field(default_factory=list)
    audit: list[tuple[str, Identity, int]] = field(default_factory=list)
    wrong: dict[Identity, list[int]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    moving: set[int] = field(default_factory=set)
    has_older_keys: bool = False

    def live(self, org: str | None = None) -> list[Record]:
        """Return what a list shows, the newest first."""
        return [each for each in self.records[::-1] if not self._expired(each) and org in {None, each.identity.org}]

    def find(self, target: Target) -> Record:
        """Return the one live record that a target names."""
        found = [each for each in self.live() if _is_meant(target, each)]
        if len(found) != 1:
            raise Refused("ambiguous_key" if found else "not_found")
        return found[0]

    def put(self, identity: Identity, fields: Fields) -> Seen:
        """Store a record; a key is free as soon as what had it is gone."""
        self._check(fields)
        if any(each.identity == identity for each in self.live()):
            raise Refused("key_exists")
        self._remove("expired", [each for each in self.records if each.identity == identity])
        self._remove_spent(identity)
        expires_at = self._expiry(fields.get("ttl_seconds", self.caps.default_ttl_seconds))
        max_reads = fields.get("max_reads", self.caps.default_max_reads)
        terms = (self.now, expires_at, max_reads, fields.get("delete", True), fields.get("lock"))
        self.records.append(Record(identity, str(fields["value"]), *terms, self.keys))
        self._note("created", identity)
        return self.records[-1].seen(self.offset)

    def read(self, target: Target, attempt: str | None = None, proof: str | None = None) -> str:
        """Spend a read, unless the attempt has one; the last one burns or seals. A lock wants its proof."""
        if attempt is not None and (known := self._known(target, attempt)) is not None:
            return self._repeat(*known)
        record = self.find(target)
        if record.read_count == record.max_reads:
            raise Refused("sealed")
        self._unlock(record, proof)
        if record.keys.generation != self.keys.generation:
            record.move_to(self.keys)
        record.read_count += 1
        if attempt is not None and record.max_reads is not None:
            ends_at = min(self.now + REDELIVERY_SECONDS, record.expires_at or math.inf)
            record.notes.append(Note(attempt, self.keys.generation, self.now, int(ends_at), record.delete))
        if record.read_count != record.max_reads:
            self._note("read", record.identity)
        elif record.delete:
            self._remove("burned", [record])
            if any(note.is_open and note.ends_at > self.now for note in record.notes):
                self.spent.append(record)
        else:
            self._note("sealed", record.identity)
        return record.value

    def amend(self, target: Target, fields: Fields) -> Seen:
        """Change what is given, and begin to count anew."""
        self._check(fields)
        record = self.find(target)
        if record.delete:
            raise Refused("not_amendable")
        if record.lock is not None and "value" in fields and "lock" not in fields:
            raise Refused("locked")
        record.read_count, record.keys = 0, self.keys
        record.end_notes()
        record.value = str(fields.get("value", record.value))
        record.max_reads = fields.get("max_reads", record.max_reads)
        record.lock = fields.get("lock", record.lock)
        if "ttl_seconds" in fields:
            record.expires_at = self._expiry(fields["ttl_seconds"])
        self._note("amended", record.identity)
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
                self._remove_spent(target)
            raise
        self._remove("deleted", [record])

    def destroy(self, target: Target, proof: str) -> None:
        """Remove a locked record, for whoever shows its proof."""
        record = self.find(target)
        if record.lock is None:
            raise Refused("unauthorized")
        self._unlock(record, proof)
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

    def adopt(self, master: str) -> bool:
        """Seal under another master key from now on, if it is another one."""
        if master == self.keys.master:
            return False
        self.keys = self.keys._replace(master=master)
        self.has_older_keys = True
        return True

    def renew(self) -> bool:
        """Begin a generation of inner keys, unless the master key has one: attempts are over, and names are new."""
        if self.made_under == self.keys.master:
            return False
        self.ended[self.keys.generation] = self.now
        self.moving.add(self.keys.generation)
        self.keys = self.keys._replace(generation=self.keys.generation + 1)
        self.made_under = self.keys.master
        for record in [*self.records, *self.spent]:
            for note in record.notes:
                note.ends_at = 0
        self.wrong.clear()
        return True

    def begin_rotation(self, master: str, *, renews: bool) -> None:
        """Take a master key, and renew the inner keys if that is asked for; refused if nothing is left to do."""
        is_new = self.adopt(master)
        is_renewed = renews and self.renew()
        if not (is_new or is_renewed or self.is_moving()):
            raise Refused("no_newer_key")

    def remaining(self) -> list[Record]:
        """Return what has not moved to the keys of now."""
        return [each for each in self.records if each.keys != self.keys]

    def is_moving(self) -> bool:
        """Tell whether anything has to move, or an older key to go."""
        return bool(self.remaining() or self.has_older_keys or self.moving)

    def move(self, most: int | None = None) -> int:
        """Move the oldest records to the keys of now, or all; what burned under an older master key then ends."""
        for record in self.remaining()[:most]:
            record.move_to(self.keys)
        if most is None:
            self.spent = [each for each in self.spent if each.keys.master == self.keys.master]
            self.moving.clear()
            self.has_older_keys = False
        return 0

    def _unlock(self, record: Record, proof: str | None) -> None:
        """Ask for the proof of a locked record; too many wrong ones in a minute, and none is looked at."""
        if record.lock is None:
            return
        wrong = self.wrong.get(record.identity, [])[-MAX_WRONG:]
        if len(wrong) == MAX_WRONG and self.now - wrong[0] < WINDOW_SECONDS:
            raise Refused("too_many_proofs")
        if proof is None:
            raise Refused("proof_required")
        if proof != record.lock:
            self.wrong[record.identity] = [*wrong, self.now]
            raise Refused("proof_mismatch")

    def _known(self, target: Target, attempt: str) -> tuple[Record, Note] | None:
        """Return what an attempt has read: by the newest names first, of what lives before what has burned."""
        known_by = [self.keys.generation]
        known_by += [each for each in sorted(self.ended)[::-1] if self.now < self.ended[each] + REMEMBERED_SECONDS]
        for found_by in self._found_by():
            for record in [*self.records, *self.spent]:
                if record.keys.generation != found_by or not _is_meant(target, record) or self._expired(record):
                    continue
                notes = [note for note in record.notes if note.attempt == attempt and note.generation in known_by]
                if notes:
                    return record, max(notes, key=lambda note: note.generation)
        return None

    def _found_by(self) -> list[int]:
        """Return the generations of inner keys that anything is found by, the newest first."""
        return [self.keys.generation, *sorted(self.moving)[::-1]]

    def _repeat(self, record: Record, note: Note) -> str:
        if self.now >= note.ends_at:
            raise Refused("attempt_over")
        if note.repeats >= MOST_REPEATS:
            raise Refused("too_many_repeats")
        note.repeats += 1
        return record.value

    def _remove_spent(self, target: Target) -> None:
        found_by = self._found_by()
        self.spent = [e for e in self.spent if not (_is_meant(target, e) and e.keys.generation in found_by)]

    def _drop_spent(self) -> None:
        self.spent = [each for each in self.spent if any(note.is_open for note in each.notes)]

    def prune(self, org: str | None = None) -> int:
        """Remove what has expired."""
        expired = [each for each in self.records if self._expired(each) and org in {None, each.identity.org}]
        for record in expired:
            # What has not moved by now is called what it was called.
            self.audit.append(("expired", record.identity, record.keys.generation))
            self.records.remove(record)
        return len(expired)

    def _remove(self, action: str, records: list[Record]) -> None:
        for record in records:
            self.records.remove(record)
            self._note(action, record.identity)

    def _note(self, action: str, identity: Identity) -> None:
        self.audit.append((action, identity, self.keys.generation))

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


def _is_meant(target: Target, record: Record) -> bool:
    identity = record.identity
    return identity == target or (
        isinstance(target, BareKey) and identity.org is not None and identity.name == target.name
    )
