"""Runs the load generator wrk and reads what it reports."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_GRACE_SECONDS = 30


class LoadError(Exception):
    """The load did not go as the benchmark promises; its figures would mean nothing."""


@dataclass(frozen=True)
class Result:
    """What a load generator saw: requests, requests per second, latencies in milliseconds."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Wrk:
    """A load by wrk.

    Attributes:
        path: The path that is asked for.
        script: A Lua script, or None for plain GET requests.
        arguments: What the script is given.
    """

    path: str
    script: Path | None = None
    arguments: Sequence[str] = ()

    def run(self, address: str, *, seconds: int, connections: int) -> Result:
        """Load a server from one thread.

        Raises:
            LoadError: Something other than success was answered, or a connection failed.
        """
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"]
        if self.script is not None:
            command += ["--script", str(self.script)]
        command += [address + self.path, "--", *self.arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _GRACE_SECONDS, check=False)
        if ran.returncode or re.search(r"Non-2xx or 3xx responses|Socket errors| 0 requests in", ran.stdout):
            raise LoadError(f"{self.path}: {ran.stdout}{ran.stderr}")
        return Result(
            requests=int(_found(r"(\d+) requests in", ran.stdout)),
            rate=float(_found(r"Requests/sec:\s+([\d.]+)", ran.stdout)),
            p50_ms=_milliseconds(_found(r" 50%\s+(\S+)", ran.stdout)),
            p99_ms=_milliseconds(_found(r" 99%\s+(\S+)", ran.stdout)),
        )


def installed() -> bool:
    """Tell whether wrk is there."""
    return shutil.which("wrk") is not None


def version() -> str:
    """Return wrk's own word on its version."""
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return said.split(" Copyright")[0].removeprefix("wrk ").strip()


def _found(pattern: str, output: str) -> str:
    found = re.search(pattern, output)
    if found is None:
        raise LoadError(f"wrk said nothing of {pattern}: {output}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS_MS[unit]
