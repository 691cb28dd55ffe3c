"""Runs the load generator wrk and reads what it reports."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_GRACE_SECONDS = 30


class LoadError(Exception):
    """The load did not go as the benchmark promises; its figures would mean nothing."""


class OutOfSecretsError(LoadError):
    """More was read within a period than had been stored for it."""


@dataclass(frozen=True)
class Result:
    """What a load generator saw.

    Attributes:
        requests: How many were answered.
        rate: The same per second.
        p50_ms: Median latency. This and the other latencies are corrected for coordinated omission as wrk does it: a
            wait of several mean intervals counts for the requests, too, that it kept from being sent.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
        busy: The share of a core that the generator used; near 1 it is the generator that was measured.
    """

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    busy: float


@dataclass(frozen=True)
class Wrk:
    """A load by wrk.

    Attributes:
        path: The path that is asked for.
        arguments: What `load.lua` is given; nothing for plain GET requests.
    """

    path: str
    arguments: tuple[str, ...] = ()

    def run(self, address: str, *, seconds: int, connections: int) -> Result:
        """Load a server from one thread.

        Raises:
            LoadError: Something other than success was answered, or a connection failed.
        """
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"]
        command += ["--script", str(_SCRIPT), address + self.path, "--", *self.arguments]
        before = _children_seconds()
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _GRACE_SECONDS, check=False)
        spent = _children_seconds() - before
        if ran.returncode or re.search(r"Non-2xx or 3xx responses|Socket errors| 0 requests in", ran.stdout):
            is_short = "Non-2xx" in ran.stdout and self.arguments[:1] == ("read",)
            raise (OutOfSecretsError if is_short else LoadError)(f"{self.path}: {ran.stdout}{ran.stderr}")
        return Result(
            requests=int(_found(r"(\d+) requests in", ran.stdout)),
            rate=float(_found(r"Requests/sec:\s+([\d.]+)", ran.stdout)),
            p50_ms=_milliseconds(_found(r" 50%\s+(\S+)", ran.stdout)),
            p99_ms=_milliseconds(_found(r" 99%\s+(\S+)", ran.stdout)),
            p999_ms=int(_found(r"99\.9th percentile (\d+) us", ran.stdout)) / 1000,
            busy=spent / seconds,
        )


def installed() -> bool:
    """Tell whether wrk is there."""
    return shutil.which("wrk") is not None


def version() -> str:
    """Return wrk's own word on its version."""
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return said.split(" Copyright")[0].removeprefix("wrk ").strip()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _found(pattern: str, output: str) -> str:
    found = re.search(pattern, output)
    if found is None:
        raise LoadError(f"wrk said nothing of {pattern}: {output}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS_MS[unit]
