"""The use cases where metrics are wanted: they count the reads that spend nothing. Those that do, the store counts."""

from __future__ import annotations

from collections.abc import Callable

from sirrd.deaddrop.usecases import MEANS, DeadDrop
from sirrd.entropy import Entropy
from sirrd.errors import SecretError, StorageError
from sirrd.events import Action
from sirrd.keyring.masters import MasterKeys
from sirrd.measures import Measures
from sirrd.model import Attempt, Caller, Opened, Proof, Target
from sirrd.policy import Caps
from sirrd.store import Store


class MeasuredDeadDrop(DeadDrop):
    """See `DeadDrop`."""

    def __init__(
        self,
        store: Store,
        *,
        caps: Caps,
        public_caps: Caps,
        entropy: Entropy,
        master_keys: Callable[[], MasterKeys],
        measures: Measures,
    ) -> None:
        super().__init__(store, caps=caps, public_caps=public_caps, entropy=entropy, master_keys=master_keys)
        self._unspent = measures.unspent

    async def read(
        self, target: Target, *, by: Caller, proof: Proof | None = None, attempt: Attempt | None = None
    ) -> Opened:
        """See `DeadDrop.read`."""
        try:
            opened = await super().read(target, by=by, proof=proof, attempt=attempt)
        except SecretError as error:
            self._unspent[MEANS.get(type(error), Action.REFUSED)] += 1
            raise
        except StorageError:
            self._unspent["failed"] += 1
            raise
        if opened.repeats:
            self._unspent[Action.REDELIVERED] += 1
        return opened
