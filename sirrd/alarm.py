"""An alarm for what blocks: a time limit of a socket begins anew with each byte, so it bounds no whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def after(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Do something, in a thread of its own, if what is within takes longer than so many seconds."""
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
