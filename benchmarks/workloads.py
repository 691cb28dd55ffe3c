"""What is asked of the daemon. A workload prepares what a period needs, and says what load follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.heads import Heads
from benchmarks.processes import Server
from benchmarks.wrk import LoadError, Wrk

Load = Wrk | Heads
BARE: Final = Wrk("/")
"""What the yardstick is asked."""


_STORE = Path(__file__).with_name("store.lua")
_BURN = Path(__file__).with_name("burn.lua")
_PEEKED = 10_000
_FILL_SECONDS = 1
_FILL_CONNECTIONS = 64
_FILL_PERIODS = 120

Prepare = Callable[[Server, Path, int], Load]
"""Takes the daemon, a folder for files, and how many requests a period can have at most."""


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    Attributes:
        name: What stands in the table.
        prepare: Makes ready for a period on the daemon.
        bare: The load on the yardstick in the same pair.
    """

    name: str
    prepare: Prepare
    bare: Load = BARE


def _health(server: Server, folder: Path, most: int) -> Load:  # noqa: ARG001 - every workload is called alike
    return Wrk("/health")


def _store(server: Server, folder: Path, most: int) -> Load:  # noqa: ARG001
    return Wrk("/secrets", _STORE)


def _burn(server: Server, folder: Path, most: int) -> Load:
    """Make as many secrets as can be read within the period, so that each GET burns one of its own."""
    ids = folder / "burn.ids"
    _fill(server, ids, most)
    return Wrk("/secrets", _BURN, (str(ids),))


def _peek(server: Server, folder: Path, most: int) -> Load:
    ids = folder / "peek.ids"
    if not ids.exists():
        _fill(server, ids, min(most, _PEEKED))
    return Heads([f"/secrets/{line}" for line in ids.read_text().split()])


WORKLOADS = (
    Workload("GET /health", _health),
    Workload("POST /secrets", _store),
    Workload("GET /secrets/:id, burning", _burn),
    Workload("HEAD /secrets/:id", _peek, bare=Heads(["/"])),
)


def _fill(server: Server, ids: Path, count: int) -> None:
    """Store secrets, and write their ids into a file."""
    ids.write_text("")
    load = Wrk("/secrets", _STORE, (str(ids),))
    for _ in range(_FILL_PERIODS):
        load.run(server.address, seconds=_FILL_SECONDS, connections=_FILL_CONNECTIONS)
        if ids.read_text().count("\n") >= count:
            return
    raise LoadError(f"storing {count} secrets took too long")
