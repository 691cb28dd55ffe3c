"""Where the time of a request goes: the event loop's thread of daemon and yardstick, sampled under full load.

At 64 connections that thread is what limits the throughput, so its time per request is what there is to be saved.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.pairs import Period, Shape, Side, Tell, writes_expected
from benchmarks.processes import Server, bare_command, daemon_command, started
from benchmarks.workloads import BARE, STORE, Prepare, always, burn, peek
from benchmarks.wrk import LoadError

_WORKLOADS: Final[dict[str, Prepare]] = {"POST": STORE, "GET, burning": burn, "HEAD": peek}
_GIVE_UP_SECONDS = 30


@dataclass(frozen=True)
class Profile:
    """Where a workload spends its time, in microseconds per request.

    Attributes:
        workload: Its name.
        rate: Requests per second while sampled.
        loop_us: Time that passed on the event loop's thread.
        waiting_us: The part of it in which the thread did not run: it waited for requests, a lock, or a processor.
        other_us: Processor time of all other threads, beside it: the commits.
        layers: The time on the event loop's thread by layer, the longest first.
        samples: How many samples that rests on.
    """

    workload: str
    rate: float
    loop_us: float
    waiting_us: float
    other_us: float
    layers: dict[str, float]
    samples: int


def measure(folder: Path, shape: Shape, tell: Tell) -> list[Profile]:
    """Sample the yardstick, and the daemon with each workload; one period each, after one to warm up.

    Raises:
        LoadError: The load did not go as it should.
    """
    return list(_profiles(folder, shape, tell))


def _profiles(folder: Path, shape: Shape, tell: Tell) -> Iterator[Profile]:
    samples = folder / "samples.json"
    tell("profile: bare Starlette")
    with started(bare_command("--samples", str(samples)), folder / "bare.log") as server:
        yield _sampled("bare Starlette", server, Side(server, always(BARE.load), folder, shape), samples)
    for name, prepare in _WORKLOADS.items():
        tell(f"profile: {name}")
        files = folder / f"files-{len(list(folder.iterdir()))}"
        command = daemon_command(files / "data", altered=["--samples", str(samples)])
        files.mkdir()
        with started(command, files / "log") as server:
            side = Side(server, prepare, files, shape, expected=writes_expected(server, shape))
            yield _sampled(name, server, side, samples)


def _sampled(name: str, server: Server, side: Side, samples: Path) -> Profile:
    samples.unlink(missing_ok=True)
    side.get_ready()
    side.run()
    side.get_ready()
    os.kill(server.pid, signal.SIGUSR1)
    period = side.run()
    os.kill(server.pid, signal.SIGUSR1)
    return _profile(name, period, _awaited(samples))


def _awaited(file: Path) -> dict[str, Any]:
    """Wait for what the sampler writes."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise LoadError("the sampler wrote nothing")
        time.sleep(0.02)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _profile(name: str, period: Period, found: dict[str, Any]) -> Profile:
    requests, samples = period.result.requests, sum(found["samples"].values())
    if not samples:
        raise LoadError("nothing was sampled")
    loop_us = found["seconds"] / requests * 1e6
    by_time = sorted(found["samples"].items(), key=lambda item: -item[1])
    return Profile(
        name,
        period.result.rate,
        loop_us,
        waiting_us=(found["seconds"] - found["loop_seconds"]) / requests * 1e6,
        other_us=found["other_seconds"] / requests * 1e6,
        layers={layer: loop_us * count / samples for layer, count in by_time},
        samples=samples,
    )
