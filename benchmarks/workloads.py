"""What is asked of the daemon. A workload prepares what a period needs, and says what load follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.client import VALUE, Client, heads, mixed
from benchmarks.processes import Server
from benchmarks.wrk import LoadError, Result, Wrk

ONCE: Final = json.dumps({"value": VALUE})
UNLIMITED: Final = json.dumps({"value": VALUE, "max_reads": None})
_KEPT = 5_000
_FILL_SECONDS = 1
_FILL_CONNECTIONS = 64
_FILL_PERIODS = 120
_SHARE_OF_MIX_THAT_BURNS = 0.5


class Load(Protocol):
    """Asks a server for something, many times."""

    def run(self, address: str, *, seconds: int, connections: int) -> Result:
        """Load a server.

        Raises:
            LoadError: Something other than success was answered, or a connection failed.
        """
        ...


Prepare = Callable[[Server, Path, int], Load]
"""Takes a server, a folder of its own for files, and how many requests a period can have at most."""


@dataclass(frozen=True)
class Bare:
    """A row of the yardstick: its name, and what the yardstick is asked."""

    name: str
    load: Load


BARE: Final = Bare("bare Starlette", Wrk("/"))
BARE_HEAD: Final = Bare("bare Starlette, HEAD", Client(heads(["/"])))


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    Attributes:
        name: What stands in the table.
        prepare: Makes ready for a period on the daemon.
        bare: What the yardstick is asked in the same pair.
        server: The server it is for: `daemon`, or `single`, which commits once per request.
        is_hot: Whether a short run measures it, too.
    """

    name: str
    prepare: Prepare
    bare: Bare = BARE
    server: str = "daemon"
    is_hot: bool = False


def always(load: Load) -> Prepare:
    """Need no preparation."""
    return lambda _server, _folder, _most: load


def burn(server: Server, folder: Path, most: int) -> Load:
    """Make as many secrets as can be read within the period, so that each GET burns one of its own."""
    ids = folder / "burn.ids"
    ids.write_text("")
    fill(server, ids, most)
    return Wrk("/secrets", ("read", str(ids)))


def _count(server: Server, folder: Path, most: int) -> Load:  # noqa: ARG001 - every workload is called alike
    return Wrk("/secrets", ("read", str(_kept(server, folder, UNLIMITED)), "again"))


def peek(server: Server, folder: Path, most: int) -> Load:  # noqa: ARG001
    """Store secrets once and for all periods, and ask for their headers."""
    return Client(heads(list(paths(_kept(server, folder, ONCE)))))


def _list(server: Server, folder: Path, most: int) -> Load:  # noqa: ARG001
    _kept(server, folder, ONCE)
    return Wrk("/secrets?limit=100")


def _mix(server: Server, folder: Path, most: int) -> Load:
    ids = folder / "mix.ids"
    ids.write_text("")
    fill(server, ids, int(most * _SHARE_OF_MIX_THAT_BURNS) + 1)
    return Client(mixed(list(paths(ids)), list(paths(_kept(server, folder, ONCE)))))


STORE: Final = always(Wrk("/secrets", ("store", ONCE)))

WORKLOADS: Final = (
    Workload("GET /health", always(Wrk("/health")), is_hot=True),
    Workload("POST", STORE, is_hot=True),
    Workload("GET, burning", burn, is_hot=True),
    Workload("GET, counted", _count),
    Workload("HEAD", peek, bare=BARE_HEAD, is_hot=True),
    Workload("list, pages of 100", _list),
    Workload("mixed", _mix),
    Workload("POST, a commit each", STORE, server="single"),
    Workload("GET, burning, a commit each", burn, server="single"),
)


def fill(server: Server, ids: Path, count: int, body: str = ONCE) -> None:
    """Store secrets until a file has so many ids.

    Raises:
        LoadError: It took too long.
    """
    load = Wrk("/secrets", ("store", body, str(ids)))
    for _ in range(_FILL_PERIODS):
        load.run(server.address, seconds=_FILL_SECONDS, connections=_FILL_CONNECTIONS)
        if ids.read_text().count("\n") >= count:
            return
    raise LoadError(f"storing {count} secrets took too long")


def paths(ids: Path) -> Iterator[str]:
    """Yield the path of each secret whose id stands in a file."""
    return (f"/secrets/{line}" for line in ids.read_text().split())


def _kept(server: Server, folder: Path, body: str) -> Path:
    """Return the ids of secrets that are stored once and for all periods."""
    ids = folder / ("once.ids" if body == ONCE else "unlimited.ids")
    if not ids.exists():
        ids.write_text("")
        fill(server, ids, _KEPT, body)
    return ids
