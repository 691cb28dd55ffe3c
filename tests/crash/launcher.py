"""Starts one daemon after another on one folder, each in a process of its own, as it is told on standard input.

It imports sirrd once and forks, which saves most of the time that a start takes; the fork then runs the command
`sirrd serve`, or another one that the order names. Orders and answers are lines of JSON. When its input closes it kills
its daemon and ends.

Where an order names a point or a step, the fork alone is changed so that it kills itself there.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from typing import Any

import sirrd.cli.rotate
import sirrd.server.process  # noqa: F401 - what daemons and commands import when they start
from sirrd.cli import program as cli
from tests.crash.points import POINTS
from tests.crash.steps import set_step
from tests.crash.traps import set_trap


def run(order: dict[str, Any]) -> int:
    """Become a daemon, or run a command, whose standard output and error go to the file that an order names."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if (name := order.get("point")) is not None:
        set_trap(POINTS[name], passes=order["passes"], delay=order["delay"])
    if (step := order.get("step")) is not None:
        set_step(*step)
    os.environ.update(order.get("env", {}))
    return cli.run(order.get("command", ["serve"]))


class Launcher:
    """Has at most one daemon at a time."""

    def __init__(self) -> None:
        self._pid = 0
        self._daemon: int | None = None

    def work(self) -> None:
        """Obey until the input closes."""
        while True:
            watched = [0] if self._daemon is None else [0, self._daemon]
            ready, _, _ = select.select(watched, [], [])
            if self._daemon in ready:
                self._reap()
            if 0 in ready:
                orders = os.read(0, 65_536)
                if not orders:
                    self._signal(signal.SIGKILL)
                    return
                for order in orders.splitlines():
                    self._obey(json.loads(order))

    def _obey(self, order: dict[str, Any]) -> None:
        if "signal" in order:
            self._signal(order["signal"])
            return
        self._pid = os.fork()
        if not self._pid:
            code = cli.FAILED
            try:
                code = run(order)
            finally:
                os._exit(code)
        self._daemon = os.pidfd_open(self._pid)
        self._say(pid=self._pid)

    def _signal(self, number: int) -> None:
        """Send a signal to the daemon; one that has ended in the meantime does not mind."""
        if self._daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._daemon, number)

    def _reap(self) -> None:
        if self._daemon is not None:
            os.close(self._daemon)
            self._daemon = None
            _, status = os.waitpid(self._pid, 0)
            self._say(code=os.waitstatus_to_exitcode(status))

    def _say(self, **answer: int) -> None:
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    Launcher().work()
