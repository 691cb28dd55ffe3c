"""Throughput of two servers, loaded in turns, so that both see the same moods of the machine.

What counts is the ratio within each pair. A period's own figures are medians over all rounds.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.processes import Server, bare_command, daemon_command, started
from benchmarks.workloads import STORE, Prepare, Workload, always
from benchmarks.wrk import OutOfSecretsError, Result

_ROOM = 2
"""A side makes ready for so many times the requests of its last period."""

_TRIES = 4
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Shape:
    """How the load is laid on: periods of `seconds` over `connections`, `rounds` times."""

    rounds: int
    seconds: int
    connections: int


@dataclass(frozen=True)
class Period:
    """One period of load on one server.

    Attributes:
        result: What the load generator saw.
        cpu_us: Processor time of the server per request, over all its threads, in user and kernel.
        resident_mib: Its memory afterwards.
        syncs: How often it synced a file meanwhile, where that was counted.
    """

    result: Result
    cpu_us: float
    resident_mib: float
    syncs: int


@dataclass(frozen=True)
class Spread:
    """Ratios of pairs: the median, the smallest, the largest."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Spread:
        """Summarise ratios."""
        return cls(median(ratios), min(ratios), max(ratios))

    @classmethod
    def of_rates(cls, pairs: Sequence[tuple[Period, Period]]) -> Spread:
        """Summarise what the rate of the second of each pair is of the first's."""
        return cls.of([second.result.rate / first.result.rate for first, second in pairs])


@dataclass(frozen=True)
class Row:
    """A line of the table, medians over all periods of a workload.

    Attributes:
        workload: Its name.
        connections: How many there were.
        rate: Requests per second.
        of_bare: The same as a share of the yardstick's.
        p50_ms: Latency; see `wrk.Result`.
        p99_ms: The same.
        p999_ms: The same.
        cpu_us: See `Period`.
        resident_mib: See `Period`.
        busy: The share of a core that the load generator used.
    """

    workload: str
    connections: int
    rate: float
    of_bare: Spread
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float
    resident_mib: float
    busy: float

    @classmethod
    def of(cls, workload: str, connections: int, pairs: Sequence[tuple[Period, Period]]) -> Row:
        """Summarise pairs of yardstick and workload."""
        periods = [loaded for _, loaded in pairs]
        results = [period.result for period in periods]
        return cls(
            workload,
            connections,
            rate=median(result.rate for result in results),
            of_bare=Spread.of_rates(pairs),
            p50_ms=median(result.p50_ms for result in results),
            p99_ms=median(result.p99_ms for result in results),
            p999_ms=median(result.p999_ms for result in results),
            cpu_us=median(period.cpu_us for period in periods),
            resident_mib=median(period.resident_mib for period in periods),
            busy=median(result.busy for result in results),
        )


class Side:
    """One server of a pair, and what it is asked.

    Args:
        server: The server.
        prepare: Makes ready for a period.
        folder: Where its files go; those of one server only.
        shape: How long, over how many connections.
        expected: Requests that a period may have, for a start.
        syncs: Counts the server's syncs.
    """

    def __init__(
        self,
        server: Server,
        prepare: Prepare,
        folder: Path,
        shape: Shape,
        *,
        expected: int = 0,
        syncs: Callable[[], int] = int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server, self._prepare, self._folder, self._shape = server, prepare, folder, shape
        self._syncs = syncs
        self.expected = expected

    def get_ready(self) -> None:
        """Prepare a period."""
        self._load = self._prepare(self._server, self._folder, self.expected * _ROOM)

    def run(self) -> Period:
        """Load the server for a period; where it was faster than expected, prepare for more and do it again."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(OutOfSecretsError):
                return self._run()
            self.expected *= _ROOM
            self.get_ready()
        return self._run()

    def _run(self) -> Period:
        before, synced = self._server.cpu_seconds(), self._syncs()
        result = self._load.run(self._server.address, seconds=self._shape.seconds, connections=self._shape.connections)
        spent, syncs = self._server.cpu_seconds() - before, self._syncs() - synced
        self.expected = result.requests
        return Period(result, spent / result.requests * 1e6, self._server.resident_mib(), syncs)


def pair(first: Side, second: Side, *, number: int) -> tuple[Period, Period]:
    """Load both, the first one first in every other round."""
    first.get_ready()
    second.get_ready()
    if number % 2:
        later = second.run()
        return first.run(), later
    return first.run(), second.run()


def writes_expected(server: Server, shape: Shape) -> int:
    """Return how many requests that write a server may answer in a period, from a short probe."""
    probe = STORE(server, Path(), 0).run(server.address, seconds=1, connections=shape.connections)
    return probe.requests * shape.seconds


@contextlib.contextmanager
def servers(folder: Path, names: Iterable[str]) -> Iterator[dict[str, Server]]:
    """Run the yardstick, as `bare`, and the named daemons, each on new data."""
    altered = {"daemon": None, "single": ["--one-commit-each"]}
    with contextlib.ExitStack() as stack:
        new = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        running = {"bare": stack.enter_context(started(bare_command(), new / "bare.log"))}
        for name in sorted(set(names)):
            command = daemon_command(new / name, altered=altered[name])
            running[name] = stack.enter_context(started(command, new / f"{name}.log"))
        yield running


class Comparison:
    """The yardstick and the daemons, loaded with workload after workload.

    Every round has new servers on new data, so that what one round stores is no burden for the next.
    """

    def __init__(self, folder: Path, shape: Shape, workloads: Sequence[Workload]) -> None:
        self._folder, self._shape, self._workloads = folder, shape, workloads
        self._expected: dict[str, int] = {}
        self._pairs: dict[str, list[tuple[Period, Period]]] = {workload.name: [] for workload in workloads}

    def run(self, tell: Tell) -> list[Row]:
        """Measure, and return the rows, the yardstick's own first.

        Raises:
            LoadError: A server answered something else than success.
        """
        connections, rounds = self._shape.connections, self._shape.rounds
        for number in range(rounds):
            tell(f"{connections} connections, round {number + 1} of {rounds}")
            with servers(self._folder, (workload.server for workload in self._workloads)) as running:
                self._run_round(running, number, Path(tempfile.mkdtemp(dir=self._folder)))
        bare: dict[str, list[tuple[Period, Period]]] = {}
        for each in self._workloads:
            bare.setdefault(each.bare.name, []).extend((plain, plain) for plain, _ in self._pairs[each.name])
        return [Row.of(name, connections, pairs) for name, pairs in (*bare.items(), *self._pairs.items())]

    def _run_round(self, running: dict[str, Server], number: int, folder: Path) -> None:
        probed = {name: writes_expected(server, self._shape) for name, server in running.items() if name != "bare"}
        for workload in self._workloads:
            bare = Side(running["bare"], always(workload.bare.load), folder, self._shape)
            expected = self._expected.get(workload.name, probed[workload.server])
            server = running[workload.server]
            loaded = Side(server, workload.prepare, folder / workload.server, self._shape, expected=expected)
            self._pairs[workload.name].append(pair(bare, loaded, number=number))
            self._expected[workload.name] = loaded.expected
