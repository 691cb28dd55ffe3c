"""Answers that their clients do not take: how much memory they hold, and when their connections are cut."""

from __future__ import annotations

from typing import Final, Protocol

from sirrd.memory import Quota

PATIENCE_SECONDS: Final = 30.0
HURRIED_SECONDS: Final = 5.0


class Sends(Protocol):
    """A connection, as far as its unsent answers are concerned."""

    def unsent(self) -> int:
        """Return how many bytes its client has not taken."""
        ...

    def cut(self) -> None:
        """End it, whatever was not taken."""
        ...


class Unread:
    """All connections whose clients leave more lying than the event loop likes.

    One that takes nothing for half a minute is cut, or for five seconds where all together hold too much. The reads
    behind what it was sent are spent.

    Args:
        quota: Counts what they hold.
    """

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._held: dict[Sends, tuple[int, float]] = {}

    def add(self, connection: Sends, *, at: float) -> None:
        """Watch a connection from a time on the event loop's clock; it must not be watched already."""
        size = connection.unsent()
        self._held[connection] = (size, at)
        self._quota.used += size

    def remove(self, connection: Sends) -> None:
        """Watch it no more, if it was watched."""
        if (held := self._held.pop(connection, None)) is not None:
            self._quota.give(held[0])

    def sweep(self, *, at: float) -> None:
        """See who has taken something, and cut those who did not for too long."""
        patience = HURRIED_SECONDS if self._quota.is_full else PATIENCE_SECONDS
        for connection, (size, since) in list(self._held.items()):
            left = connection.unsent()
            if left != size:
                self._held[connection] = (left, at)
                self._quota.used += left - size
            elif at - since > patience:
                connection.cut()
