"""How many bytes are held for clients: bounds that numbers of requests and connections do not give.

Whatever waits is counted where it waits: bodies that are being read, values that are to be written, answers that their
clients do not take. What is small is not counted, so that it passes when large things have filled the bounds.
"""

from __future__ import annotations

from typing import Final

MOST_HELD_BYTES: Final = 64 * 1024 * 1024


class Quota:
    """A number of bytes that many may hold together.

    Attributes:
        used: How many are held.
    """

    __slots__ = ("_most", "used")

    def __init__(self, most: int = MOST_HELD_BYTES) -> None:
        self._most = most
        self.used = 0

    @property
    def is_full(self) -> bool:
        """Whether as much is held as may be."""
        return self.used >= self._most

    def take(self, size: int, *, held: int = 0) -> bool:
        """Take so many bytes, beside those that the caller holds; tell whether there was room.

        Who is alone has room for anything, or a value that is allowed could be too large for ever.
        """
        if self.used > held and self.used + size > self._most:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.used -= size


class Memory:
    """What one daemon holds for its clients.

    Attributes:
        bodies: Those that are being read.
        waiting: Values that wait to be written.
        answers: Those that were made and that nobody takes.
    """

    def __init__(self) -> None:
        self.bodies = Quota()
        self.waiting = Quota()
        self.answers = Quota()
