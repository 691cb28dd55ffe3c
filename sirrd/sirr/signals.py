"""Signals: a command that is asked to end does so, but not between a server's answer and its place."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_NUMBERS: Final = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)


class Ended(BaseException):
    """A signal asks the command to end.

    Attributes:
        number: Of the signal.
        told: What the person has to know about what was under way.
    """

    def __init__(self, number: int, told: str | None = None) -> None:
        super().__init__(number, told)
        self.number = number
        self.told = told

    def __str__(self) -> str:
        name = "the keyboard" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return f"ended by {name}" + (f": {self.told}" if self.told else "")


class Held:
    """A stretch that a first signal does not end.

    Attributes:
        told: What a second signal, which does end it, would leave behind.
        came: The signal that came, or None.
    """

    def __init__(self, told: str) -> None:
        self.told = told
        self.came: int | None = None


_held: list[Held] = []


def install() -> None:
    """Turn signals into `Ended`, but for those that whoever started this wants ignored (nohup, background jobs)."""
    for number in _NUMBERS:
        if signal.getsignal(number) not in {signal.SIG_IGN, None}:
            signal.signal(number, _on_signal)


def _on_signal(number: int, _: FrameType | None) -> None:
    if not _held:
        raise Ended(number)
    held = _held[-1]
    if held.came is not None:
        raise Ended(number, held.told)
    held.came = number
    with contextlib.suppress(OSError):
        # Not by `note`: this may have come in the middle of one.
        os.write(2, b"waiting for the answer, so that nothing is lost; once more ends it now\n")


@contextlib.contextmanager
def held(told: str) -> Iterator[Held]:
    """Let the first signal wait until the end of a stretch, where `Ended` is raised for it.

    Args:
        told: What a second signal, which does end it, would leave behind.
    """
    stretch = Held(told)
    _held.append(stretch)
    try:
        yield stretch
    finally:
        _held.remove(stretch)
    if stretch.came is not None:
        raise Ended(stretch.came)
