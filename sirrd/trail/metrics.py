"""What `/metrics` says, in the text format of Prometheus, by the client library of that project.

Loaded only where metrics are wanted. The numbers are plain ones, counted elsewhere (`sirrd.measures`); here they are
read when somebody asks, on a thread. Labels come from closed sets: no id, no name, no address (I6).
"""

from __future__ import annotations

import asyncio
import itertools
import platform
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sirrd import __version__
from sirrd.measures import STATES, Histogram, Measures
from sirrd.memory import Memory

SPENDING: Final = ("read", "burned", "sealed")
"""What a read that is spent does to its secret."""


class Exposition:
    """Renders the metrics of one daemon.

    Args:
        measures: The numbers.
        memory: What is held for clients.
        min_free_bytes: How much of the disk is to stay free.
        dropped_lines: Tells how many lines the log has dropped.
    """

    def __init__(
        self, measures: Measures, *, memory: Memory, min_free_bytes: int, dropped_lines: Callable[[], int]
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Daemon(measures, memory, min_free_bytes, dropped_lines))
        ProcessCollector(registry=self._registry)
        self._rendering: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """Return all metrics; who asks while they are being rendered gets the same."""
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(asyncio.to_thread(generate_latest, self._registry))
        return await asyncio.shield(self._rendering)


class _Daemon(Collector):
    """Reads the numbers. They change meanwhile, so each table is copied in one step before it is walked through."""

    def __init__(
        self, measures: Measures, memory: Memory, min_free_bytes: int, dropped_lines: Callable[[], int]
    ) -> None:
        self._measures = measures
        self._memory = memory
        self._min_free_bytes = min_free_bytes
        self._dropped_lines = dropped_lines

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those without a sample, too."""
        yield from _of_requests([*self._measures.requests.items()])
        yield from self._of_secrets()
        yield from self._of_the_writer()
        yield from self._of_the_storage()
        yield from self._of_the_process()

    def _of_secrets(self) -> Iterator[Metric]:
        measures = self._measures
        committed = dict(measures.committed)
        spent = {name: committed.pop(name) for name in SPENDING}
        yield _counts("sirrd_claims", "Reads of secrets, by their outcome.", "outcome", spent | measures.unspent)
        yield _counts("sirrd_changes", "What else was done to secrets, as the audit trail has it.", "action", committed)
        secrets = GaugeMetricFamily("sirrd_secrets", "Stored secrets when they were last counted.", labels=["state"])
        for state in STATES if (counted := measures.secrets) else ():
            secrets.add_metric([state], counted[state])
        yield secrets

    def _of_the_writer(self) -> Iterator[Metric]:
        measures = self._measures
        batches = HistogramMetricFamily("sirrd_batch_units", "Units of work in a transaction that was committed.")
        _add(batches, [], measures.batches)
        yield batches
        commits = HistogramMetricFamily("sirrd_commit_duration_seconds", "How long commits took.")
        _add(commits, [], measures.commits)
        yield commits
        failed = measures.failed_transactions
        yield CounterMetricFamily("sirrd_failed_transactions", "Transactions that failed.", failed)
        yield _counts("sirrd_checkpoints", "Attempts to empty the WAL.", "outcome", measures.checkpoints)
        yield _counts("sirrd_ticks", "Rounds of the periodic work on the storage.", "outcome", measures.ticks)

    def _of_the_storage(self) -> Iterator[Metric]:
        if (ask := self._measures.vitals) is None:
            return
        vitals = ask()
        yield GaugeMetricFamily("sirrd_writer_waiting_units", "Units of work that wait.", vitals.waiting_units)
        yield GaugeMetricFamily("sirrd_wal_bytes", "The write-ahead log.", vitals.wal_bytes)
        yield GaugeMetricFamily("sirrd_disk_free_bytes", "Free space where the database is.", vitals.free_bytes)
        yield GaugeMetricFamily("sirrd_min_free_bytes", "SIRR_MIN_FREE_BYTES.", self._min_free_bytes)
        yield GaugeMetricFamily("sirrd_storage_failing", "1 from a failed write on until one works.", vitals.is_failing)
        jumps = vitals.clock_jumps
        yield CounterMetricFamily("sirrd_clock_jumps", "Jumps of the system's clock.", jumps)

    def _of_the_process(self) -> Iterator[Metric]:
        held = GaugeMetricFamily(
            "sirrd_held_bytes", "What is held for clients, but for what is small.", labels=["kind"]
        )
        for name in ("bodies", "waiting", "answers"):
            held.add_metric([name], getattr(self._memory, name).used)
        yield held
        dropped = self._dropped_lines()
        yield CounterMetricFamily("sirrd_log_lines_dropped", "Lines that the log dropped.", dropped)
        versions = {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        build = GaugeMetricFamily("sirrd_build_info", "Always 1: what is running.", labels=[*versions])
        build.add_metric([*versions.values()], 1)
        yield build


def _of_requests(requests: Sequence[tuple[tuple[object, ...], Histogram]]) -> Iterator[Metric]:
    """Yield how many requests there were, and how long they took, all statuses together."""
    total = CounterMetricFamily("sirrd_requests", "Answered requests.", labels=["method", "route", "status"])
    took: dict[tuple[str, str], Histogram] = {}
    for (method, route, status), seconds in requests:
        counts = [*seconds.counts]
        total.add_metric([str(method), str(route), str(status)], sum(counts))
        sums = took.setdefault((str(method), str(route)), Histogram())
        sums.counts = [one + other for one, other in zip(sums.counts, counts, strict=True)]
        sums.sum += seconds.sum
    yield total
    durations = HistogramMetricFamily(
        "sirrd_request_duration_seconds", "How long answers took.", labels=["method", "route"]
    )
    for labels, seconds in took.items():
        _add(durations, labels, seconds)
    yield durations


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    """Return a counter for each of some words."""
    family = CounterMetricFamily(name, text, labels=[label])
    for word, count in counts.items():
        family.add_metric([word], count)
    return family


def _add(family: HistogramMetricFamily, labels: Iterable[str], histogram: Histogram) -> None:
    """Add a histogram, whose buckets hold what is in those before, too."""
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    counts = itertools.accumulate([*histogram.counts])
    family.add_metric([*labels], [*zip(bounds, counts, strict=True)], histogram.sum)
