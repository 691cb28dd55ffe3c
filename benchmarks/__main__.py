"""The command line of the benchmarks.

One run compares the daemon, as it is with its default settings, with a bare Starlette endpoint. Every store and every
burn is durable before it is answered. Traffic goes over the loopback interface only, to servers that this run started.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import machine, pairs, startup, wrk
from benchmarks.pairs import Shape
from benchmarks.wrk import LoadError

_BUILD = Path(__file__).parent.parent / "build"


def main() -> int:
    """Measure, print, and return an exit code."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as name:
        folder = Path(name)
        if machine.filesystem(folder) in {"tmpfs", "ramfs"}:
            return _fail(f"{options.folder} is in memory, where durable costs nothing; name another --folder")
        try:
            _report(folder, options)
        except LoadError as error:
            return _fail(str(error))
    return 0


def _report(folder: Path, options: argparse.Namespace) -> None:
    shape = Shape(options.rounds, options.seconds, options.connections)
    print(*machine.lines(folder), sep="\n")
    if not options.startup:
        print(
            f"load      wrk on loopback, 1 thread, {shape.connections} connections; {shape.rounds} rounds of pairs of "
            f"{shape.seconds} s, bare and daemon in turns; medians",
            "daemon    default settings, request log to a file\n",
            sep="\n",
        )
        measured = pairs.measure(folder, shape, _tell)
        print(*pairs.table(measured.rows), sep="\n")
        print(f"\nresident memory after the load    {measured.resident_mib:7.1f} MiB")
    print(*startup.lines(folder, times=options.starts), sep="\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure the daemon beside a bare Starlette endpoint."
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="pairs per workload (default: %(default)s)")
    parser.add_argument("--seconds", type=_positive, default=3, help="length of a period (default: %(default)s)")
    parser.add_argument("--connections", type=_positive, default=64, help="connections of wrk (default: %(default)s)")
    parser.add_argument("--starts", type=_positive, default=5, help="daemons to start (default: %(default)s)")
    parser.add_argument("--startup", action="store_true", help="measure import, start and memory only")
    parser.add_argument("--folder", type=Path, default=_BUILD, help="where the data goes, on a real disk")
    options = parser.parse_args()
    if not wrk.installed():
        parser.exit(_fail("wrk is not there; on Debian and Ubuntu: apt-get install wrk"))
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str) -> int:
    _tell(f"scripts/bench: {text}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
