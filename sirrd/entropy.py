"""Randomness, handed as an argument to whoever needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeAlias

Entropy: TypeAlias = Callable[[int], bytes]
"""Returns that many random bytes, fit for keys."""

_BLOCK = 8192


class SystemEntropy:
    """The kernel's generator, read in blocks.

    `os.urandom` drops the interpreter's lock on every call, which costs a busy event loop far more than the bytes do.
    Every byte is handed out once and taken out of the block; a lock makes that true for any thread, and a forked child
    begins with an empty block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = bytearray()
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, size: int) -> bytes:
        """Return `size` random bytes."""
        with self._lock:
            if len(self._block) < size:
                self._block = bytearray(os.urandom(max(size, _BLOCK)))
            drawn = bytes(self._block[-size:])
            del self._block[-size:]
            return drawn

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._block = bytearray()
