"""What the daemon counts of itself, as plain numbers: what counts them knows nothing of how they are told.

They exist only where metrics are wanted; elsewhere nothing counts. Nothing in here names a secret, an org or an address
(I6): every key is one of a closed set.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
"""How long something took is told apart by these."""

UNITS: Final = (1, 2, 8, 32, 128)
COMMITTED: Final = (
    "read", "burned", "sealed", "created", "amended", "deleted", "expired", "rotated", "renewed",
)  # fmt: skip
"""What is done to secrets in a transaction, in the words of the audit trail."""

UNSPENT: Final = ("redelivered", "missed", "refused", "unproven", "unreadable", "failed")
"""How a read ends that spends nothing."""

STATES: Final = ("active", "sealed", "expired", "spent")


class Histogram:
    """How often a number was how large.

    Attributes:
        bounds: The largest number of each bucket but the last, ascending.
        counts: How many numbers fell into each bucket, and into none of them.
        sum: Of all numbers.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, number: float) -> None:
        """Count one number."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.sum += number


class Vitals(NamedTuple):
    """How the storage is at an instant.

    Attributes:
        waiting_units: How many units of work wait for the writer.
        wal_bytes: How long the write-ahead log is.
        free_bytes: How much of the disk is free.
        is_failing: Whether a transaction or a checkpoint failed, and none has worked since.
        clock_jumps: How often the system's clock was found to have jumped.
    """

    waiting_units: int
    wal_bytes: int
    free_bytes: int
    is_failing: bool
    clock_jumps: int


class Measures:
    """All numbers of one daemon.

    Attributes:
        requests: How long answers took, by method, template of the path, and status.
        committed: How often what was done to a secret, and is durable.
        unspent: How many reads spent nothing, by why.
        batches: How many units of work were committed at once.
        commits: How long that took.
        failed_transactions: How many transactions failed.
        checkpoints: How many checkpoints ended how.
        ticks: How often the periodic work on the storage ended how.
        secrets: How many secrets there were in each state when they were last counted; empty before.
        vitals: Asks the storage how it is; None while there is none.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[object, ...], Histogram] = {}
        self.committed = dict.fromkeys(COMMITTED, 0)
        self.unspent = dict.fromkeys(UNSPENT, 0)
        self.batches = Histogram(UNITS)
        self.commits = Histogram()
        self.failed_transactions = 0
        self.checkpoints = {"truncated": 0, "blocked": 0, "failed": 0}
        self.ticks = {"done": 0, "failed": 0}
        self.secrets: dict[str, int] = {}
        self.vitals: Callable[[], Vitals] | None = None
