"""Throughput: the daemon and the yardstick are loaded in turns, so that both see the same moods of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.processes import Server, bare_command, daemon_command, started
from benchmarks.workloads import BARE, WORKLOADS, Load
from benchmarks.wrk import Result

_ROOM = 2
"""A workload makes ready for so many times the requests of its last period; at first, for the yardstick's."""


@dataclass(frozen=True)
class Shape:
    """How the load is laid on: periods of `seconds` over `connections`, `rounds` times."""

    rounds: int
    seconds: int
    connections: int


@dataclass(frozen=True)
class Period:
    """One period of load on one server."""

    result: Result
    cpu_us: float


@dataclass(frozen=True)
class Row:
    """A line of the table, medians over all periods of a workload.

    Attributes:
        name: The workload.
        rate: Requests per second.
        share: The same as a share of the yardstick's, pair by pair.
        p50_ms: Median latency.
        p99_ms: 99th percentile of the latency.
        cpu_us: Processor time of the server per request, over all its threads, in user and kernel.
    """

    name: str
    rate: float
    share: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True)
class Measured:
    """All rows, the yardstick's first, and the daemon's memory after the load in MiB."""

    rows: list[Row]
    resident_mib: float


def measure(folder: Path, shape: Shape, tell: Callable[[str], None]) -> Measured:
    """Load both servers with every workload.

    Raises:
        LoadError: A server answered something else than success.
    """
    with (
        started(bare_command(), folder / "bare.log") as bare,
        started(daemon_command(folder / "data"), folder / "daemon.log") as daemon,
    ):
        first = _period(bare, BARE, shape).result.requests
        expected = {workload.name: first // _ROOM for workload in WORKLOADS}
        yardstick: list[Period] = []
        periods: dict[str, list[Period]] = {workload.name: [] for workload in WORKLOADS}
        ratios: dict[str, list[float]] = {workload.name: [] for workload in WORKLOADS}
        for number in range(shape.rounds):
            for workload in WORKLOADS:
                tell(f"round {number + 1} of {shape.rounds}: {workload.name}")
                load = workload.prepare(daemon, folder, expected[workload.name] * _ROOM)
                plain, loaded = _pair((bare, workload.bare), (daemon, load), shape, swapped=number % 2 == 1)
                if workload.bare is BARE:
                    yardstick.append(plain)
                periods[workload.name].append(loaded)
                expected[workload.name] = loaded.result.requests
                ratios[workload.name].append(loaded.result.rate / plain.result.rate)
        rows = [_row("bare GET", yardstick, [1.0])]
        rows += [_row(name, periods[name], ratios[name]) for name in periods]
        return Measured(rows, daemon.resident_mib())


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'workload':<26}{'req/s':>9}{'of bare':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/req':>12}"
    for row in rows:
        yield (
            f"{row.name:<26}{row.rate:>9,.0f}{row.share:>9.0%}{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}{row.cpu_us:>12.1f}"
        )


def _pair(
    bare: tuple[Server, Load], daemon: tuple[Server, Load], shape: Shape, *, swapped: bool
) -> tuple[Period, Period]:
    if swapped:
        loaded = _period(*daemon, shape)
        return _period(*bare, shape), loaded
    return _period(*bare, shape), _period(*daemon, shape)


def _period(server: Server, load: Load, shape: Shape) -> Period:
    before = server.cpu_seconds()
    result = load.run(server.address, seconds=shape.seconds, connections=shape.connections)
    return Period(result, (server.cpu_seconds() - before) / result.requests * 1e6)


def _row(name: str, periods: list[Period], ratios: list[float]) -> Row:
    return Row(
        name,
        rate=median(period.result.rate for period in periods),
        share=median(ratios),
        p50_ms=median(period.result.p50_ms for period in periods),
        p99_ms=median(period.result.p99_ms for period in periods),
        cpu_us=median(period.cpu_us for period in periods),
    )
