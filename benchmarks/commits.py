"""Group commit beside one commit per request, on the disk as it is and with syncs that take 5 ms longer.

The delay is injected where it would occur: a small library, compiled here and preloaded into the daemon, waits in
`fsync` and `fdatasync` and counts them, so that the results say how many requests shared a sync.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.pairs import Period, Shape, Side, Spread, Tell, pair, writes_expected
from benchmarks.processes import daemon_command, started
from benchmarks.workloads import STORE, Prepare, burn
from benchmarks.wrk import LoadError

DELAYS_MS: Final = (0, 5)
_SOURCE = Path(__file__).with_name("slow_sync.c")
_COUNT_BYTES = 8
_WORKLOADS: Final[dict[str, Prepare]] = {"POST": STORE, "GET, burning": burn}


@dataclass(frozen=True)
class Commits:
    """Group commit (`grouped`) beside one commit per request (`single`), medians over all rounds.

    Attributes:
        workload: What was asked.
        delay_ms: What was added to each sync.
        grouped_rate: Requests per second.
        single_rate: The same.
        gain: The first over the second.
        grouped_per_sync: Requests per sync.
        single_per_sync: The same.
    """

    workload: str
    delay_ms: int
    grouped_rate: float
    single_rate: float
    gain: Spread
    grouped_per_sync: float
    single_per_sync: float


def compiler() -> str | None:
    """Return the system's C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Syncs:
    """Counts and delays the syncs of a daemon.

    Args:
        library: The compiled library.
        folder: Where the count is kept.
        delay_ms: What is added to each sync.
    """

    def __init__(self, library: Path, folder: Path, *, delay_ms: int) -> None:
        self._count = folder / "syncs"
        self._count.write_bytes(bytes(_COUNT_BYTES))
        self.variables = {
            "LD_PRELOAD": str(library),
            "SLOW_SYNC_US": str(delay_ms * 1000),
            "SLOW_SYNC_COUNT": str(self._count),
        }

    def count(self) -> int:
        """Return how many there were so far."""
        return int.from_bytes(self._count.read_bytes(), sys.byteorder)


def measure(folder: Path, shape: Shape, tell: Tell) -> list[Commits]:
    """Compare both, for each delay and workload.

    Raises:
        LoadError: There is no compiler, or the load did not go as it should.
    """
    library = compiled(folder)
    return [found for delay_ms in DELAYS_MS for found in _compared(folder, shape, library, delay_ms, tell)]


def compiled(folder: Path) -> Path:
    """Compile the library that delays and counts syncs.

    Raises:
        LoadError: That does not work here.
    """
    if (program := compiler()) is None:
        raise LoadError("a C compiler is not there; on Debian and Ubuntu: apt-get install gcc libc6-dev")
    library = folder / "slow_sync.so"
    command = [program, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise LoadError(f"{_SOURCE.name} could not be compiled: {ran.stderr}")
    return library


def _compared(folder: Path, shape: Shape, library: Path, delay_ms: int, tell: Tell) -> Iterator[Commits]:
    with tempfile.TemporaryDirectory(dir=folder) as name, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(_sides(Path(name) / kind, altered, library, delay_ms, shape))
            for kind, altered in (("single", ["--one-commit-each"]), ("grouped", None))
        ]
        for workload in _WORKLOADS:
            pairs = []
            for number in range(shape.rounds):
                tell(f"{workload}, syncs {delay_ms} ms longer, round {number + 1} of {shape.rounds}")
                pairs.append(pair(sides[0][workload], sides[1][workload], number=number))
            yield _summary(workload, delay_ms, pairs)


@contextlib.contextmanager
def _sides(
    folder: Path, altered: Sequence[str] | None, library: Path, delay_ms: int, shape: Shape
) -> Iterator[dict[str, Side]]:
    """Start a daemon, and yield it with each of the workloads."""
    folder.mkdir()
    syncs = Syncs(library, folder, delay_ms=delay_ms)
    command = daemon_command(folder / "data", altered=altered)
    with started(command, folder / "log", syncs.variables) as server:
        expected = writes_expected(server, shape)
        yield {
            name: Side(server, prepare, folder, shape, expected=expected, syncs=syncs.count)
            for name, prepare in _WORKLOADS.items()
        }


def _summary(workload: str, delay_ms: int, pairs: Sequence[tuple[Period, Period]]) -> Commits:
    singles, groups = zip(*pairs, strict=True)
    return Commits(
        workload,
        delay_ms,
        grouped_rate=median(period.result.rate for period in groups),
        single_rate=median(period.result.rate for period in singles),
        gain=Spread.of_rates(pairs),
        grouped_per_sync=median(_per_sync(period) for period in groups),
        single_per_sync=median(_per_sync(period) for period in singles),
    )


def _per_sync(period: Period) -> float:
    if not period.syncs:
        raise LoadError("the daemon made no sync that could be seen: a delay of syncs would mean nothing")
    return period.result.requests / period.syncs
