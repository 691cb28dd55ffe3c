"""What the daemon costs before it has anything to do: import, start, memory."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.processes import Server, daemon_command, running

_GIVE_UP_SECONDS = 30
_IMPORT = "import time; begin = time.perf_counter(); import sirrd.server.process; print(time.perf_counter() - begin)"


@dataclass(frozen=True)
class Startup:
    """Medians of fresh processes.

    Attributes:
        import_ms: Import of `sirrd.server.process`.
        start_ms: From the start on a new data folder to the first answer of `/health`.
        resident_mib: Memory then.
    """

    import_ms: float
    start_ms: float
    resident_mib: float


def measure(folder: Path, *, times: int) -> Startup:
    """Start so many processes."""
    imports = [_import_seconds() for _ in range(times)]
    starts = [_start(folder / f"start{number}") for number in range(times)]
    return Startup(
        median(imports) * 1000,
        median(took for took, _ in starts) * 1000,
        median(mib for _, mib in starts),
    )


def _import_seconds() -> float:
    """Import the server in a fresh interpreter."""
    return float(subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout)


def _start(data: Path) -> tuple[float, float]:
    """Start the daemon and return the seconds until it answers, and its memory in MiB then."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = time.perf_counter()
    with running(daemon_command(data, port=port), subprocess.DEVNULL) as process:
        while time.perf_counter() - begin < _GIVE_UP_SECONDS:
            if _answers(port):
                return time.perf_counter() - begin, Server(process.pid, "").resident_mib()
            time.sleep(0.002)
    raise RuntimeError(f"the daemon did not answer within {_GIVE_UP_SECONDS} s")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_GIVE_UP_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
