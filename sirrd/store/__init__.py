"""Where sealed records live: one protocol, one implementation per engine.

A store seals and opens records with the keyring it is given, so that opening is part of the claim (I4), and it writes
the audit row of every transition in the same transaction (I3). Above it nobody knows which engine it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from sirrd.errors import ProofRequired
from sirrd.events import Event
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Amendment, Attempt, Caller, Identity, Metadata, Opened, Plaintext, Target, Terms
from sirrd.store.portable import Units

Unlock: TypeAlias = Callable[[bytes, str, int], None]
"""Is given a lock, the fingerprint of the secret and seconds of the store's time; raises `SecretError` to refuse."""


def refuse(lock: bytes, fingerprint: str, now: int) -> None:  # noqa: ARG001 - an `Unlock`
    """Let nobody pass: nothing was shown.

    Raises:
        ProofRequired: Always.
    """
    raise ProofRequired(fingerprint)


class Page(NamedTuple):
    """A page of a list.

    Attributes:
        metadata: Newest first.
        before: Where the next page begins, or None at the end.
    """

    metadata: Sequence[Metadata]
    before: int | None


class Rotation(Protocol):
    """How every engine moves its records to another master key. Every method may raise `StorageError`.

    Attributes:
        key_changes: How often another key came first, or inner keys were renewed: what had moved has to move again.
    """

    @property
    def key_changes(self) -> int:
        """See above."""
        ...

    async def adopt(self, masters: MasterKeys) -> bool:
        """Seal with the first of these master keys from now on; tell whether it is another one than before.

        Raises:
            WrongKey: They do not open everything that is stored; nothing was changed.
        """
        ...

    async def renew(self, *, by: Caller) -> bool:
        """Name and audit with new inner keys from now on, unless those of now were made under the first master key.

        What attempts have left is over; secrets go on to be found under the older keys until they have moved.

        Returns:
            Whether new ones were made.
        """
        ...

    async def remaining(self) -> int:
        """Return how many records are under another master key than the first, or under older inner keys."""
        ...

    async def has_older_keys(self) -> bool:
        """Tell whether another master key than the first, or the index of older inner keys, is still needed."""
        ...

    async def move(self, *, after: int, by: Caller) -> int | None:
        """Move a batch of records, from that number on, to the first master key.

        Returns:
            The number that the next batch begins after, or None if there is none left.
        """
        ...

    async def forget_older_keys(self) -> None:
        """Note that nothing needs any master key but the first.

        Raises:
            Unavailable: Something does, or another key came first meanwhile; all are kept.
        """
        ...


class Store(Protocol):
    """What every engine does. Every method may raise `StorageError`; nothing is half done then.

    Attributes:
        rotation: Moves records to another master key.
        units: Runs the work of everything but dead drops.
    """

    @property
    def units(self) -> Units:
        """See above."""
        ...

    @property
    def rotation(self) -> Rotation:
        """See above."""
        ...

    async def put(
        self, identity: Identity, plaintext: Plaintext, terms: Callable[[int], Terms], *, by: Caller
    ) -> Metadata:
        """Store a secret durably; `terms` turns the store's time into its terms.

        Raises:
            KeyExists: A live secret has that identity.
        """
        ...

    def claim(
        self, target: Target, *, by: Caller, unlock: Unlock = refuse, attempt: Attempt | None = None
    ) -> Awaitable[Opened]:
        """Spend one read, durably, and return the value; a locked one only if `unlock` lets it pass.

        An attempt that has read the secret before spends nothing, and needs no lock to let it pass: within its window
        it is given the same value again.

        Raises:
            Gone: It is not there, or has expired.
            Sealed: Its reads are used up.
            AmbiguousKey: Several orgs hold the bare key.
            SecretError: As `unlock` raises.
            AttemptOver: The attempt has read it, too long ago.
            TooManyRepeats: The attempt was answered again as often as it may be.
            Unreadable: It does not open; nothing was spent.
        """
        ...

    async def received(self, target: Target, attempt: Attempt) -> None:
        """Erase what an attempt has left: its reader has the value. Whether there was anything, nobody is told."""
        ...

    def peek(self, target: Target) -> Coroutine[Any, Any, Metadata]:
        """Return the metadata of a secret, spending nothing; sealed ones too.

        Raises:
            Gone: It is not there, or has expired.
            AmbiguousKey: Several orgs hold the bare key.
            Unreadable: Its label does not open, so nothing that stands in the row can be believed.
        """
        ...

    async def amend(
        self, target: Target, amendment: Amendment, terms: Callable[[Terms, int], Terms], *, by: Caller
    ) -> Metadata:
        """Change a secret and set its count to 0; `terms` turns old terms and the store's time into new terms.

        Raises:
            Gone: It is not there, or has expired.
            AmbiguousKey: Several orgs hold the bare key.
            NotAmendable: It burns on its last read.
            Unreadable: It does not open; nothing was changed.
        """
        ...

    async def remove(self, target: Target, *, by: Caller) -> str:
        """Delete a secret for good, locked or not, and return its fingerprint.

        Raises:
            Gone: It is not there, or has expired.
            AmbiguousKey: Several orgs hold the bare key.
            Unreadable: The record that a bare key leads to does not say that it is its own; nothing was deleted.
        """
        ...

    async def destroy(self, target: Target, *, by: Caller, unlock: Unlock) -> str:
        """Delete a locked secret for good, if `unlock` lets it pass, and return its fingerprint.

        Raises:
            Unauthorised: It is not locked, so no proof can say that it may be deleted.
            SecretError: As in `remove`, or as `unlock` raises.
        """
        ...

    async def page(self, *, org: str | None, before: int | None, limit: int) -> Page:
        """Return at most `limit` live secrets that are older than the sequence number `before`."""
        ...

    async def prune(self, *, org: str | None, by: Caller, before: int | None = None, gently: bool = True) -> int:
        """Remove one batch of expired secrets and return how many; 0 means that none is left.

        Args:
            org: Whose, or None for all.
            by: Who asks.
            before: Only what had expired at that instant of the store's time, or None for now.
            gently: Whether to take small steps, with rests, while there are requests.
        """
        ...

    async def record(self, events: Sequence[Event]) -> None:
        """Write events that belong to no transition into the audit trail; their instants are the store's time."""
        ...

    def now(self) -> int:
        """Return the store's time in seconds: lives and minutes are counted by it, whatever the system's clock does.

        It is not what is shown: all that the store returns, and all that it writes into the trail, is in Unix seconds.
        """
        ...

    def fingerprint(self, identity: Identity) -> str:
        """Return what logs call a secret by."""
        ...

    def has_room(self, needed: int = 0) -> bool:
        """Tell whether, with that many bytes more stored, free space would still be above the operator's limit."""
        ...

    async def check(self) -> None:
        """Read from the store, and raise `Unavailable` if that or the last write failed, or the disk is full."""
        ...

    async def tidy(self) -> dict[str, Any]:
        """Make what is gone leave the files, return free space, and say what the operator's log should keep."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, tidy, and let go of everything."""
        ...
