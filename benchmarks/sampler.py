"""Samples, inside the daemon or the yardstick, where the thread of the event loop is, a thousand times a second.

A timer interrupts the process; Python runs the handler of the signal at the next instruction of its main thread that
looks for one: right after the C function that was under way, in the frame that called it, or at the entry of the next
function. So a sample at the entry of a function belongs to who called it, and where nobody in Python did, to the event
loop: its own code, system calls, and waiting. The thread that commits is not sampled; its processor time is taken.
"""

from __future__ import annotations

import dis
import json
import linecache
import re
import signal
import time
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

EVENT_LOOP: Final = "event loop, sockets, kernel, waiting"
AUDIT: Final = "audit trail"
_INTERVAL_SECONDS: Final = 0.001
_LAYERS: Final = (
    (r"/sirrd/store/sqlite/trail\.py$", AUDIT),
    (r"/sirrd/store/", "store: batches, units, slots"),
    (r"/sirrd/keyring/|/sirrd/entropy\.py$", "keyring"),
    (r"/sirrd/deaddrop/|/sirrd/(policy|model|events|clock)\.py$", "use cases and policy"),
    (r"/sirrd/log\.py$", "request log"),
    (r"/sirrd/http/", "HTTP: routes, bodies, answers"),
    (r"/sirrd/server/|/uvicorn/", "HTTP server: parser, protocol"),
    (r"/starlette/|/benchmarks/bare\.py$", "Starlette"),
)
"""Which layer a file belongs to; what is in none of them counts for who called it."""

_BOTTOM: Final = "/asyncio/runners.py"
"""What runs the event loop; below it is only how the process was started."""

_CALLS: Final = (
    (r"/sirrd/store/", r"\bexecute|\bfetch(all|one|many)\b", "SQLite statements"),
    (r"/uvicorn/|/sirrd/server/", r"transport\.write", "socket writes"),
)
"""Which calls in which files are layers of their own."""


class Sampler:
    """Begins to sample at a SIGUSR1, and at the next one ends and writes what it found into a file; then all over."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._counts: Counter[str] = Counter()
        self._begin: tuple[float, float, float] | None = None

    def listen(self) -> None:
        """Wait for the signal; nothing is spent before it comes."""
        signal.signal(signal.SIGUSR1, self._turn)
        signal.signal(signal.SIGALRM, self._sample)

    def _turn(self, _number: int, _frame: FrameType | None) -> None:
        now = (time.perf_counter(), time.thread_time(), time.process_time())
        if self._begin is None:
            self._begin = now
            signal.setitimer(signal.ITIMER_REAL, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        wall, loop, process = (end - begin for end, begin in zip(now, self._begin, strict=True))
        found = {"seconds": wall, "loop_seconds": loop, "other_seconds": process - loop, "samples": self._counts}
        whole = self._file.with_suffix(".part")
        whole.write_text(json.dumps(found))
        whole.rename(self._file)
        self._begin = None
        self._counts.clear()

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        self._counts[layer(frame)] += 1


def layer(frame: FrameType | None) -> str:
    """Return the layer that a thread is in whose innermost frame this is."""
    if frame is not None and frame.f_lasti in _entries(frame.f_code):
        frame = frame.f_back
    found = None
    while frame is not None and not frame.f_code.co_filename.endswith(_BOTTOM):
        here = _layer_of(frame.f_code.co_filename)
        if here == AUDIT:
            return AUDIT
        if found is None and here is not None:
            found = _call(frame.f_code, frame.f_lasti) or here
        frame = frame.f_back
    return found or EVENT_LOOP


@cache
def _layer_of(file: str) -> str | None:
    return next((name for pattern, name in _LAYERS if re.search(pattern, file)), None)


@cache
def _entries(code: CodeType) -> frozenset[int]:
    """Return where a function is entered or resumed, and looks for signals before anything else."""
    return frozenset(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")


@cache
def _call(code: CodeType, offset: int) -> str | None:
    """Return which of `_CALLS` an instruction makes, going by its source."""
    text = _source(code, offset)
    return next(
        (name for file, call, name in _CALLS if re.search(file, code.co_filename) and re.search(call, text)), None
    )


def _source(code: CodeType, offset: int) -> str:
    first, last, begin, end = list(code.co_positions())[offset // 2]
    if first is None or last is None:
        return ""
    lines = [linecache.getline(code.co_filename, number) for number in range(first, last + 1)]
    # Columns count bytes, not characters; where they differ is in comments and texts only.
    return lines[0][begin:end] if first == last else "".join(lines)
