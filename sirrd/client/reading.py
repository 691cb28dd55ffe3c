"""What a read returns: the content, and how to say that it has arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sirrd.link import Content


@dataclass(frozen=True, slots=True)
class Reading:
    """A secret that was read.

    Attributes:
        content: What was in it.
    """

    content: Content
    _say: Callable[[], None] = field(repr=False)

    def received(self) -> None:
        """Say that it is where it belongs: the server forgets it then, not some time later. Nothing is raised."""
        self._say()


@dataclass(frozen=True, slots=True)
class AsyncReading:
    """A secret that was read; see `Reading`."""

    content: Content
    _say: Callable[[], Awaitable[None]] = field(repr=False)

    async def received(self) -> None:
        """See `Reading.received`."""
        await self._say()
