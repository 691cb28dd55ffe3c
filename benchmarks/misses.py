"""Times the misses: whether an id that was never there can be told from one that is gone, by how long the answer takes.

    .venv/bin/python -m benchmarks.misses

Requests for every kind of miss go to a daemon over the loopback interface, one at a time on one connection, in an order
that is drawn anew for each round, so that whatever drifts or disturbs meets all kinds alike. Each row is compared with
the misses that were never there, among them a second set of such, which shows what the measurement itself can tell.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import platform
import secrets
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.processes import Server, daemon_command, started

NEVER: Final = "never there"
CONTROL: Final = "never there, again"
KINDS: Final = (NEVER, CONTROL, "burned", "deleted", "sealed, then deleted", "expired", "expired, pruned")
ROUTES: Final = {
    "GET /secrets/{id}": ("GET", "/secrets/{}"),
    "HEAD /secrets/{id}": ("HEAD", "/secrets/{}"),
    "GET /s/{id}": ("GET", "/s/{}"),
    "POST /s/{id}": ("POST", "/s/{}"),
    "GET /secrets/{key}": ("GET", "/secrets/{}"),
}
_BY_KEY: Final = "GET /secrets/{key}"
_SETTINGS: Final = 'prune_interval_seconds = 0.0\norg_reads = "public"\n'
_LIVE: Final = 5_000
_TTL_SECONDS: Final = 1
_BLOCKS: Final = 20
_CERTAINTY: Final = 2.0  # standard errors
_SHUFFLE: Final = secrets.SystemRandom().shuffle


class Client:
    """One connection, one request at a time."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._json = http.client.HTTPConnection(parts.netloc)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask for something that must succeed."""
        headers = {"Content-Type": "application/json"}
        self._json.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._json.getresponse()
        content = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} was answered with {answer.status}")
        found: dict[str, Any] = json.loads(content)
        return found

    def rest(self) -> None:
        """Let go of the connection for what must succeed, before the daemon finds it idle."""
        self._json.close()

    def time(self, request: bytes) -> int:
        """Return how many nanoseconds a miss takes."""
        begin = time.perf_counter_ns()
        self._socket.sendall(request)
        answer = self._socket.recv(65_536)
        took = time.perf_counter_ns() - begin
        if not answer.startswith(b"HTTP/1.1 404 "):
            raise RuntimeError(f"a miss was answered with {answer[:40]!r}")
        return took


def names(client: Client, count: int, *, org: str | None) -> dict[str, list[str]]:
    """Return so many names of each kind of miss: ids, or keys of an org."""
    made: dict[str, list[str]] = {NEVER: _made_up(count, org), CONTROL: _made_up(count, org)}
    made["expired, pruned"] = [_store(client, org, ttl_seconds=_TTL_SECONDS) for _ in range(count)]
    time.sleep(_TTL_SECONDS + 1)
    client.ask("POST", "/prune")
    made["burned"] = [_store(client, org) for _ in range(count)]
    made["deleted"] = [_store(client, org) for _ in range(count)]
    made["sealed, then deleted"] = [_store(client, org, delete=False) for _ in range(count)]
    for name in made["burned"] + made["sealed, then deleted"]:
        client.ask("GET", f"/secrets/{name}")
    for name in made["deleted"] + made["sealed, then deleted"]:
        client.ask("DELETE", f"/secrets/{name}")
    for _ in range(_LIVE):
        _store(client, org)
    made["expired"] = [_store(client, org, ttl_seconds=_TTL_SECONDS) for _ in range(count)]
    time.sleep(_TTL_SECONDS + 1)
    return made


def _made_up(count: int, org: str | None) -> list[str]:
    return [_key() if org else os.urandom(32).hex() for _ in range(count)]


def _key() -> str:
    return f"key-{os.urandom(8).hex()}"


def _store(client: Client, org: str | None, **terms: object) -> str:
    if org is None:
        return str(client.ask("POST", "/secrets", {"value": "s3cret", **terms})["id"])
    return str(client.ask("POST", f"/orgs/{org}/secrets", {"key": _key(), "value": "s3cret", **terms})["key"])


def measure(client: Client, route: str, made: dict[str, list[str]], rounds: int) -> dict[str, list[list[int]]]:
    """Return the nanoseconds of each kind, in blocks of rounds that were taken together."""
    method, form = ROUTES[route]
    requests = [
        (kind, f"{method} {form.format(name)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for kind in KINDS
        for name in made[kind]
    ]
    blocks: dict[str, list[list[int]]] = {kind: [] for kind in KINDS}
    for block in range(_BLOCKS):
        for kind in KINDS:
            blocks[kind].append([])
        for _ in range(max(1, rounds // _BLOCKS)):
            _SHUFFLE(requests)
            for kind, request in requests:
                blocks[kind][block].append(client.time(request))
    return blocks


@dataclass(frozen=True)
class Row:
    """What was seen of one kind, in microseconds.

    Attributes:
        kind: The kind of miss.
        median: Of all its requests.
        apart: How much longer it took than one that was never there: the mean over the blocks of the difference of
            medians.
        error: The standard error of that.
        guess: How often a guess from one request, at the best threshold, would be right; 0.5 is chance.
    """

    kind: str
    median: float
    apart: float
    error: float
    guess: float


def rows(blocks: dict[str, list[list[int]]]) -> Iterator[Row]:
    """Compare every kind with what was never there."""
    plain = blocks[NEVER]
    for kind, own in blocks.items():
        apart = [(median(each) - median(other)) / 1000 for each, other in zip(own, plain, strict=True)]
        error = stdev(apart) / len(apart) ** 0.5
        all_own, all_plain = list(chain.from_iterable(own)), list(chain.from_iterable(plain))
        yield Row(kind, median(all_own) / 1000, fmean(apart), error, _guess(all_own, all_plain))


def _guess(own: Sequence[int], other: Sequence[int]) -> float:
    """Return the chance of a right guess at the best threshold: half of one and the Kolmogorov-Smirnov distance."""
    seen = sorted([(took, 1 / len(own)) for took in own] + [(took, -1 / len(other)) for took in other])
    height = farthest = 0.0
    for place, (took, step) in enumerate(seen):
        height += step
        if place + 1 == len(seen) or seen[place + 1][0] != took:
            farthest = max(farthest, abs(height))
    return (1 + farthest) / 2


def table(route: str, found: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of a route."""
    yield f"{route:<24}{'median µs':>10}{'apart µs':>10}{'± 2 s.e.':>10}{'guess':>8}"
    for row in found:
        yield f"  {row.kind:<22}{row.median:>10.2f}{row.apart:>+10.2f}{_CERTAINTY * row.error:>10.2f}{row.guess:>8.3f}"


def main() -> int:
    """Measure, print, and return an exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.misses", description="Time the misses.")
    parser.add_argument("--names", type=int, default=100, help="names of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=100, help="requests for each name (default: %(default)s)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    print(f"{options.names} names of a kind, {options.rounds} requests for each, {_LIVE} live secrets beside them\n")
    with tempfile.TemporaryDirectory(prefix="misses-") as name:
        folder = Path(name)
        (folder / "sirrd.toml").write_text(_SETTINGS)
        command = [*daemon_command(folder / "data"), "--config", str(folder / "sirrd.toml")]
        with started(command, folder / "log") as server:
            _report(server, options)
    return 0


def _report(server: Server, options: argparse.Namespace) -> None:
    client = Client(server.address)
    for org in (None, "acme"):
        made = names(client, options.names, org=org)
        client.rest()
        gc.disable()
        for route in ROUTES:
            if (route == _BY_KEY) == (org is not None):
                print(*table(route, list(rows(measure(client, route, made, options.rounds)))), "", sep="\n", flush=True)
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
