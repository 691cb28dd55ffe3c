"""Two states of sirrd, loaded in pairs within one run.

`python -m benchmarks.against TREE` compares this source tree with another one, a work tree of an earlier commit, say:
what both can do is asked of both, one right after the other, the first one first in every other round, each on new data
in every round. The other tree runs in its own virtual environment if it has one, and in this one otherwise. What counts
is the ratio within each pair; above 1, this tree is the faster one.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.pairs import Period, Shape, Side, Spread, pair, writes_expected
from benchmarks.processes import Server, daemon_command, started
from benchmarks.workloads import WORKLOADS, Workload

_THIS: Final = Path(__file__).parent.parent
_COMPARED: Final = [workload for workload in WORKLOADS if workload.server == "daemon"]


@contextlib.contextmanager
def _daemon_of(tree: Path, folder: Path) -> Iterator[Server]:
    """Run the daemon of a source tree on new data."""
    folder.mkdir(parents=True)
    own = tree / ".venv" / "bin" / "python"
    command = [str(own) if own.exists() else sys.executable, *daemon_command(folder / "data")[1:]]
    with started(command, folder / "log", {"PYTHONPATH": str(tree)}) as server:
        yield server


def _round(
    other: Path, folder: Path, shape: Shape, workloads: list[Workload], number: int
) -> list[tuple[Period, Period]]:
    """Load both with every workload once; each pair has the other tree's period first."""
    pairs = []
    with _daemon_of(other, folder / "other") as old, _daemon_of(_THIS, folder / "this") as new:
        expected = writes_expected(new, shape)
        for workload in workloads:
            sides = [
                Side(server, workload.prepare, folder / name / workload.name, shape, expected=expected)
                for name, server in (("other", old), ("this", new))
            ]
            pairs.append(pair(sides[0], sides[1], number=number))
    return pairs


def main() -> int:
    """Measure, print, and return an exit code."""
    names = [workload.name for workload in _COMPARED]
    parser = argparse.ArgumentParser(prog="benchmarks.against", description="Compare with another source tree.")
    parser.add_argument("tree", type=Path, help="the root of the other source tree")
    parser.add_argument("--workload", action="append", choices=names, help="only this one; can be repeated")
    parser.add_argument("--rounds", type=int, default=9, help="pairs per workload (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a period (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="of the load (default: %(default)s)")
    options = parser.parse_args()
    chosen = options.workload or [workload.name for workload in _COMPARED if workload.is_hot]
    workloads = [workload for workload in _COMPARED if workload.name in chosen]
    shape = Shape(options.rounds, options.seconds, options.connections)
    pairs: dict[str, list[tuple[Period, Period]]] = {workload.name: [] for workload in workloads}
    for number in range(shape.rounds):
        print(f"round {number + 1} of {shape.rounds}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="against-", dir=_THIS) as name:
            for workload, found in zip(
                workloads, _round(options.tree.resolve(), Path(name), shape, workloads, number), strict=True
            ):
                pairs[workload.name].append(found)
    print("| workload | throughput, this of other | CPU time, this of other |\n| --- | ---: | ---: |")
    for workload in workloads:
        rates = Spread.of([this.result.rate / other.result.rate for other, this in pairs[workload.name]])
        times = Spread.of([this.cpu_us / other.cpu_us for other, this in pairs[workload.name]])
        print(f"| {workload.name} | {_told(rates)} | {_told(times)} |")
    return 0


def _told(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.min:.2f}..{spread.max:.2f})"


if __name__ == "__main__":
    sys.exit(main())
