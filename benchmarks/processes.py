"""Server processes: started, watched and ended by the one who started them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"""(?:listens on |"address": ")(http://[^\s"]+)""")
"""How a server tells its address, for people or in JSON."""

_START_SECONDS = 30
_STOP_SECONDS = 30
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        pid: Its process.
        address: Where it listens, as `http://host:port`.
    """

    pid: int
    address: str

    def cpu_seconds(self) -> float:
        """Return what all its threads have used so far, in user and kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def resident_mib(self) -> float:
        """Return its resident memory in MiB."""
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        if found is None:
            raise RuntimeError(f"/proc/{self.pid}/status has no VmRSS")
        return int(found[1]) / 1024


def daemon_command(data: Path, *, port: int = 0, altered: Sequence[str] | None = None) -> list[str]:
    """Return the command of the daemon with its default settings, but for where it listens and stores.

    Args:
        data: Its data folder.
        port: Its port; 0 takes a free one.
        altered: Options of `benchmarks.altered`, to start it with what no setting of it can change.
    """
    module = ["sirrd"] if altered is None else ["benchmarks.altered", *altered]
    return [sys.executable, "-m", *module, "serve", "--port", str(port), "--data-dir", str(data)]


def bare_command(*options: str) -> list[str]:
    """Return the command of the yardstick."""
    return [sys.executable, "-m", "benchmarks.bare", *options]


@contextlib.contextmanager
def started(command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start a server, with its log in a file, and end it afterwards."""
    with log.open("wb") as sink, running(command, sink.fileno(), variables) as process:
        yield Server(process.pid, _announced(process, log))


@contextlib.contextmanager
def running(
    command: Sequence[str], sink: int, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process without settings of sirrd in its environment but those given, and end it afterwards."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIRR_")} | dict(variables or {})
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the process says where it listens."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := _ADDRESS.search(log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"a server did not start: {log.read_text()}")
