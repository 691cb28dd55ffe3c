"""What a test needs beyond the package: parts of the machine, and daemons in processes of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
"""The checkout."""

PATIENCE_SECONDS = 30
SIRRD = (sys.executable, "-m", "sirrd")
_ADDRESS = re.compile(r"""(?:listens on |"address": ")(http://[^\s"]+)""")


def require(condition: object, what: str) -> None:
    """Go on where the machine has a part; without it fail in CI, where nothing may be missing, and skip elsewhere."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"this machine lacks {what}")
    pytest.skip(f"needs {what}")


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without any setting of sirrd, with changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIRR_")}
    return kept | changes


@dataclass
class Process:
    """A daemon in a process of its own.

    Attributes:
        process: The process.
        log: The file that its standard error goes to.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def address(self, *, patience: float = PATIENCE_SECONDS) -> str:
        """Wait for the word that it listens, for people or in JSON, and return the address in it."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := _ADDRESS.search(self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"no address within {patience} s: {self.log.read_text()}")

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def started(command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str]) -> Iterator[Process]:
    """Start a daemon, and end it at the latest when the test ends."""
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, cwd=cwd, env=env) as process:
        try:
            yield Process(process, log)
        finally:
            process.kill()


def ask(address: str, method: str, path: str, body: Any = None, *, bearer: str | None = None) -> tuple[int, Any]:
    """Send one request over the network, and return status and JSON."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        headers = {} if body is None else {"Content-Type": "application/json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def settings_of(data_dir: Path, **changes: str) -> dict[str, str]:
    """Return an environment in which the daemon runs on a folder of its own, on any free port."""
    given = {"SIRR_DATA_DIR": str(data_dir), "SIRR_PORT": "0", "SIRR_MIN_FREE_BYTES": "0"}
    return environment(**(given | changes))


def sirrd(tmp_path: Path, *arguments: str, given: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*SIRRD, *arguments],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data", **changes),
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def put(address: str, value: str = "s3cret", *, bearer: str | None = None, **terms: Any) -> str:
    """Store a dead drop and return its path."""
    status, answer = ask(address, "POST", "/secrets", {"value": value, **terms}, bearer=bearer)
    assert status == 201
    return f"/secrets/{answer['id']}"


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something outside of this process, within a bound."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
