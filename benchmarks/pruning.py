"""A prune of very many secrets beside readers: what it does to their latency.

The readers ask at a fixed, gentle pace. Their latency counts from the instant at which a request was due, so that no
stall hides from them what it does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, TypeVar
from urllib.parse import urlsplit

from benchmarks.client import Paced, Requests, heads, percentiles, reads
from benchmarks.pairs import Spread, Tell
from benchmarks.processes import Server, daemon_command, started
from benchmarks.stock import Stock
from benchmarks.workloads import paths
from benchmarks.wrk import LoadError

TIMES: Final = 3
RATE: Final = 200.0
_CONNECTIONS: Final = 64
CALM_SECONDS: Final = 10
_LIVE_SHARE = 5
_PATIENCE_SECONDS: Final = 900
_NOT_FIRST: Final = ["--no-first-prune"]
_ONLY_WHEN_ASKED: Final = {"SIRR_PRUNE_INTERVAL_SECONDS": "0"}
_WATCHED: Final[dict[str, Callable[[list[str]], Requests]]] = {"GET, counted": reads, "HEAD": heads}
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Beside:
    """Latencies without and with a prune beside them; medians over all prunes.

    Attributes:
        workload: What was asked.
        calm_p50_ms: Latency without.
        calm_p99_ms: The same.
        pruning_p50_ms: Latency while the prune went on.
        pruning_p99_ms: The same.
        ratio: Of the 99th percentiles, prune by prune.
    """

    workload: str
    calm_p50_ms: float
    calm_p99_ms: float
    pruning_p50_ms: float
    pruning_p99_ms: float
    ratio: Spread


@dataclass(frozen=True)
class Pruned:
    """Some prunes, each of a new copy of the same stock.

    Attributes:
        expired: How many secrets each removed.
        live: How many lay among them.
        seconds: How long a prune took, the median.
        rate: Requests per second of each workload beside it.
        beside: By workload.
    """

    expired: int
    live: int
    seconds: float
    rate: float
    beside: list[Beside]


@dataclass(frozen=True)
class _Once:
    """One prune: its duration, and by workload the latencies in seconds before and during."""

    seconds: float
    calm: dict[str, list[float]]
    pruning: dict[str, list[float]]


def measure(folder: Path, cache: Path, *, expired: int, tell: Tell) -> Pruned:
    """Prune some times.

    Raises:
        LoadError: The load did not go as it should, or the prune removed something else.
    """
    stock = Stock(expired // _LIVE_SHARE, expired, max_reads=None)
    prunes = []
    for number in range(TIMES):
        tell(f"a prune of {expired:,} secrets, {number + 1} of {TIMES}")
        with stock.copied(cache, folder) as (data, ids):
            names = list(paths(ids))
            random.Random(number).shuffle(names)
            with started(
                daemon_command(data, altered=_NOT_FIRST), folder / f"{data.name}.log", _ONLY_WHEN_ASKED
            ) as server:
                prunes.append(_once(server, names, expired))
    beside = [_beside(name, prunes) for name in _WATCHED]
    return Pruned(expired, stock.live, median(prune.seconds for prune in prunes), RATE, beside)


def _once(server: Server, names: list[str], expired: int) -> _Once:
    _, calm = _watched(server, names, lambda: time.sleep(CALM_SECONDS))
    begin = time.perf_counter()
    pruned, pruning = _watched(server, names, lambda: _prune(server))
    seconds = time.perf_counter() - begin
    if pruned != expired:
        raise LoadError(f"{pruned} of {expired} expired secrets were pruned")
    return _Once(seconds, calm, pruning)


def _watched(server: Server, names: list[str], act: Callable[[], AnswerT]) -> tuple[AnswerT, dict[str, list[float]]]:
    """Do something while all workloads go on beside it, and return their latencies, too."""
    watchers = {
        name: Paced(server.address, requests(names), rate=RATE, connections=_CONNECTIONS)
        for name, requests in _WATCHED.items()
    }
    for watcher in watchers.values():
        watcher.start()
    try:
        answer = act()
    finally:
        latencies = {name: watcher.stop() for name, watcher in watchers.items()}
    return answer, latencies


def _prune(server: Server) -> int:
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=_PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/prune")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise LoadError(f"a prune was answered with {answer.status}")
        return int(json.loads(answer.read())["pruned"])


def _beside(workload: str, prunes: list[_Once]) -> Beside:
    calm = [_p50_p99_ms(prune.calm[workload]) for prune in prunes]
    pruning = [_p50_p99_ms(prune.pruning[workload]) for prune in prunes]
    return Beside(
        workload,
        calm_p50_ms=median(p50 for p50, _ in calm),
        calm_p99_ms=median(p99 for _, p99 in calm),
        pruning_p50_ms=median(p50 for p50, _ in pruning),
        pruning_p99_ms=median(p99 for _, p99 in pruning),
        ratio=Spread.of([during / before for (_, before), (_, during) in zip(calm, pruning, strict=True)]),
    )


def _p50_p99_ms(latencies: list[float]) -> tuple[float, float]:
    p50, p99 = percentiles(latencies, (0.5, 0.99))
    return p50 * 1000, p99 * 1000
