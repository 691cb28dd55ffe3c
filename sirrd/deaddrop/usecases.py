"""The use cases: put, read, peek, amend, list, delete, prune.

Every surface (JSON, page, org route, bare key) ends in the methods of `DeadDrop`, so that a rule that holds here holds
everywhere. What a stranger can cause is counted here; what changes a secret is recorded by the store, in the same
transaction as the change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from sirrd import policy
from sirrd.deaddrop.locks import Guesses
from sirrd.entropy import Entropy
from sirrd.errors import (
    AttemptOver,
    Gone,
    NoNewerKey,
    NoRoom,
    ProofMismatch,
    ProofRequired,
    Sealed,
    SecretError,
    StartupError,
    StorageError,
    TooManyProofs,
    TooManyRepeats,
    Unavailable,
    Unreadable,
)
from sirrd.events import Action, Tally
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Amendment, Attempt, Caller, Draft, Identity, Metadata, Opened, Plaintext, Proof, Target, Unset
from sirrd.store import Page, Store

ID_BYTES: Final = 32
LIST_BATCH: Final = 100
AnswerT = TypeVar("AnswerT")
logger = logging.getLogger(__name__)


class DeadDrop:
    """What sirrd does, for whoever may ask: callers are authenticated before they come here."""

    def __init__(
        self,
        store: Store,
        *,
        caps: policy.Caps,
        public_caps: policy.Caps,
        entropy: Entropy,
        master_keys: Callable[[], MasterKeys],
    ) -> None:
        self._store = store
        self._master_keys = master_keys
        self._caps = caps
        self._public_caps = public_caps
        self._entropy = entropy
        self._tally = Tally()
        self._guesses = Guesses()

    async def drop(self, draft: Draft, *, by: Caller) -> Metadata:
        """Store a dead drop under a new random id, within the limits of whoever asks.

        Raises:
            BadField: A number is out of bounds.
            ValueTooLarge: The value is too long.
            StorageError: It was not stored.
        """
        caps = self._caps if by.is_operator else self._public_caps
        return await self._put(Identity(self._entropy(ID_BYTES).hex()), draft, caps=caps, by=by)

    async def put(self, identity: Identity, draft: Draft, *, by: Caller) -> Metadata:
        """Store an org secret under its key; errors as in `drop`, and `KeyExists`."""
        return await self._put(identity, draft, caps=self._caps, by=by)

    async def _put(self, identity: Identity, draft: Draft, *, caps: policy.Caps, by: Caller) -> Metadata:
        policy.check_draft(draft, caps=caps)
        self._check_room(draft.plaintext)
        stored = self._store.put(
            identity, draft.plaintext, lambda now: policy.drafted(draft, caps=caps, now=now), by=by
        )
        return await self._counted(stored, by)

    def read(
        self, target: Target, *, by: Caller, proof: Proof | None = None, attempt: Attempt | None = None
    ) -> Coroutine[Any, Any, Opened]:
        """Reveal a secret, spending one read; a locked one to whoever shows the proof.

        An attempt that has read it before is answered again for a while, and never spends.

        Raises:
            SecretError: It cannot be read; nothing was spent.
            StorageError: The read could not be made durable, so the value stays here.
        """
        claimed = self._counted(
            self._store.claim(target, by=by, unlock=self._guesses.unlock(proof), attempt=attempt), by
        )
        return claimed if attempt is None else self._noted(claimed, by)

    async def _noted(self, claimed: Awaitable[Opened], by: Caller) -> Opened:
        """Await a read, and count repeats but the first, which the store has recorded."""
        opened = await claimed
        if opened.repeats > 1:
            self._tally.add(Action.REDELIVERED, at=self._store.now(), caller=by, fingerprint=opened.fingerprint)
        return opened

    async def received(self, target: Target, attempt: Attempt) -> None:
        """Erase what an attempt has left, since its reader has the value; nobody is told whether there was anything.

        Raises:
            StorageError: It stays until its time is over.
        """
        await self._store.received(target, attempt)

    def peek(self, target: Target, *, by: Caller) -> Coroutine[Any, Any, Metadata]:
        """Return what may be known without spending a read; of a sealed secret, too. Errors: `SecretError`."""
        return self._counted(self._store.peek(target), by)

    async def amend(self, target: Target, amendment: Amendment, *, by: Caller) -> Metadata:
        """Change value, reads or lifetime of a secret that seals, and set its count to 0.

        Raises:
            BadField: A number is out of bounds.
            ValueTooLarge: The new value is too long.
            SecretError: The secret does not allow it; nothing was changed.
            StorageError: Nothing was changed.
        """
        policy.check_amendment(amendment, caps=self._caps)
        self._check_room(amendment.plaintext)
        amended = self._store.amend(
            target, amendment, lambda old, now: policy.amended(old, amendment, caps=self._caps, now=now), by=by
        )
        return await self._counted(amended, by)

    async def delete(self, target: Target, *, by: Caller) -> str:
        """Delete a secret for good, sealed or not, and return its fingerprint. Errors: `SecretError`."""
        return await self._counted(self._store.remove(target, by=by), by)

    async def destroy(self, target: Target, proof: Proof, *, by: Caller) -> str:
        """Delete a locked secret for good, for whoever shows its proof, and return its fingerprint.

        Raises:
            Unauthorised: It is not locked.
            SecretError: It is not there, or this is not its proof.
        """
        unlock = self._guesses.unlock(proof)
        return await self._counted(self._store.destroy(target, by=by, unlock=unlock), by)

    async def page(self, *, org: str | None = None, before: int | None = None, limit: int) -> Page:
        """Return one page of a list, newest first."""
        return await self._store.page(org=org, before=before, limit=limit)

    async def everything(self, *, org: str | None = None, before: int | None = None) -> AsyncIterator[Page]:
        """Yield all pages of a list; each is a read of its own, so no cursor is open between them."""
        while True:
            page = await self._store.page(org=org, before=before, limit=LIST_BATCH)
            yield page
            if page.before is None:
                return
            before = page.before

    async def prune(
        self, *, org: str | None = None, by: Caller, seconds: float = math.inf, gently: bool = True
    ) -> tuple[int, bool]:
        """Remove what has expired by now, in batches that let requests have their turn.

        Args:
            org: Whose, or None for all.
            by: Who asks.
            seconds: How long it may take.
            gently: As in `Store.prune`.

        Returns:
            How many there were, and whether that was all.
        """
        now, ends_at = self._store.now(), time.monotonic() + seconds
        pruned = 0
        while time.monotonic() < ends_at:
            batch = await self._store.prune(org=org, by=by, before=now, gently=gently)
            pruned += batch
            if not batch:
                return pruned, True
        return pruned, False

    async def begin_rotation(self, *, renewed_by: Caller | None = None) -> int:
        """Seal with the newest master key from now on, and return how many records are still under another one.

        Args:
            renewed_by: Who wants the inner keys to be new, too, if they were not made under that key already.

        Raises:
            NoNewerKey: There is nothing to move to, or nothing left to move.
            Unavailable: The master keys cannot be read now, or would not open everything.
        """
        rotation = self._store.rotation
        try:
            is_new = await rotation.adopt(self._master_keys())
        except StartupError as error:
            logger.error("the master keys cannot be used: %s", error)
            raise Unavailable from None
        if renewed_by is not None and await rotation.renew(by=renewed_by):
            is_new = True
        remaining = await rotation.remaining()
        if not (is_new or remaining or await rotation.has_older_keys()):
            raise NoNewerKey
        return remaining

    async def rotate(self, *, by: Caller) -> int:
        """Move every record to the first master key, and return how many could not be moved: they do not open.

        Older keys are forgotten at the end if nothing needs them. Where another key comes first meanwhile, or inner
        keys are renewed, it begins anew: whoever asked for that was told that everything moves.
        """
        rotation = self._store.rotation
        while True:
            changes = rotation.key_changes
            after: int | None = 0
            while after is not None:
                after = await rotation.move(after=after, by=by)
            remaining = await rotation.remaining()
            try:
                if not remaining:
                    await rotation.forget_older_keys()
            except Unavailable:
                if rotation.key_changes == changes:
                    raise
            if rotation.key_changes == changes:
                return remaining

    async def remaining(self) -> int:
        """Return how many records are sealed under another master key than the first."""
        return await self._store.rotation.remaining()

    async def check(self) -> None:
        """Raise `Unavailable` if the store cannot be read from, or was last seen failing to write."""
        await self._store.check()

    async def tidy(self) -> dict[str, Any]:
        """Make what is gone leave the files; return what the log should keep of it."""
        return await self._store.tidy()

    def note(self, action: Action, *, by: Caller, identity: Identity | None = None) -> None:
        """Count what a stranger did."""
        fingerprint = None if identity is None else self._store.fingerprint(identity)
        self._tally.add(action, at=self._store.now(), caller=by, fingerprint=fingerprint)

    async def flush(self, *, everything: bool = False) -> None:
        """Write what was counted in past minutes and hours (or everything, at the end) into the audit trail."""
        counted = self._tally.drain(before=self._store.now() + (60 if everything else 0), is_last=everything)
        if not self._store.has_room():
            # What strangers cause must not take the last of the disk.
            self._tally.restore(counted)
            return
        try:
            # Shielded, since a caller that is cancelled would take the counts along.
            await asyncio.shield(self._store.record(counted))
        except StorageError:
            self._tally.restore(counted)
            raise

    def _check_room(self, plaintext: Plaintext | Unset) -> None:
        if not self._store.has_room(0 if isinstance(plaintext, Unset) else len(plaintext)):
            raise NoRoom

    async def _counted(self, answer: Awaitable[AnswerT], by: Caller) -> AnswerT:
        """Await what the store answers, and count a miss or a refusal."""
        try:
            return await answer
        except SecretError as error:
            if isinstance(error, Unreadable):
                logger.error("UNREADABLE: the record of %s does not open; nothing was spent", error.fingerprint)
            self._tally.add(
                MEANS.get(type(error), Action.REFUSED), at=self._store.now(), caller=by, fingerprint=error.fingerprint
            )
            raise


MEANS: Final = {
    Gone: Action.MISSED,
    Sealed: Action.REFUSED,
    Unreadable: Action.UNREADABLE,
    ProofRequired: Action.UNPROVEN,
    ProofMismatch: Action.UNPROVEN,
    TooManyProofs: Action.UNPROVEN,
    AttemptOver: Action.REFUSED,
    TooManyRepeats: Action.REFUSED,
}
"""What is counted of a secret that was not given; of all that is not here, a refusal."""
