"""The command line of the benchmarks.

One run compares the daemon, as it is with its default settings, with a bare Starlette endpoint. Every store and every
burn is durable before it is answered. Traffic goes over the loopback interface only, to servers that this run started.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import commits, growth, machine, page, profile, results, startup, tables, wrk
from benchmarks.pairs import Comparison, Row, Shape
from benchmarks.workloads import WORKLOADS
from benchmarks.wrk import LoadError

_ROOT: Final = Path(__file__).parent.parent
_BUILD: Final = _ROOT / "build"
_CONNECTIONS: Final = 64
_OTHER_CONNECTIONS: Final = (1, 8, 256)
_FEWER_ROUNDS: Final = 3
_STARTS: Final = 5
_HELP: Final = """\
parts:
  compare      every workload at 64 connections, in pairs with the yardstick
  connections  the same at 1, 8 and 256 connections
  commits      group commit beside one commit per request, with and without slow syncs (needs a C compiler)
  growth       a million secrets: throughput, a list of all, a prune beside readers (needs 3 GB of disk)
  startup      import, start and memory
  profile      where the time goes on the event loop's thread

Without options: the hot workloads, 3 rounds, and the start; about a minute and a half. --full: all parts, 9 rounds;
about an hour on an idle machine of two cores. Each part is kept as soon as it is there, so that a part can be
measured again. The load is wrk on one thread, or a client in Python for what wrk cannot send (HEAD, mixed, paced). Both
wait for an answer before they send the next request. So a stall holds back requests that would have felt it; their
latencies are put back as wrk does it, which is an estimate. Only the load beside a prune has a pace of its own.
"""


@dataclass(frozen=True)
class Run:
    """What the parts need to know."""

    folder: Path
    cache: Path
    rounds: int
    seconds: int
    secrets: int
    only_hot: bool

    def shape(self, connections: int = _CONNECTIONS) -> Shape:
        """Return how load is laid on; other numbers of connections than the usual one get fewer rounds."""
        rounds = self.rounds if connections == _CONNECTIONS else min(self.rounds, _FEWER_ROUNDS)
        return Shape(rounds, self.seconds, connections)


def _compare(run: Run) -> list[Row]:
    workloads = [workload for workload in WORKLOADS if workload.is_hot or not run.only_hot]
    return Comparison(run.folder, run.shape(), workloads).run(_tell)


def _connections(run: Run) -> list[Row]:
    shapes = [run.shape(connections) for connections in _OTHER_CONNECTIONS]
    return [row for shape in shapes for row in Comparison(run.folder, shape, WORKLOADS).run(_tell)]


PARTS: Final[dict[str, Callable[[Run], Any]]] = {
    "startup": lambda run: startup.measure(run.folder, times=_STARTS),
    "compare": _compare,
    "profile": lambda run: profile.measure(run.folder, run.shape(), _tell),
    "commits": lambda run: commits.measure(run.folder, run.shape(), _tell),
    "connections": _connections,
    "growth": lambda run: growth.measure(run.folder, run.cache, run.shape(), many=run.secrets, tell=_tell),
}


def main() -> int:
    """Measure, print, and return an exit code."""
    options = _options()
    if options.publish is not None:
        page.publish(options.publish, _ROOT / "docs")
        return 0
    if not wrk.installed():
        return _fail("wrk is not there; on Debian and Ubuntu: apt-get install wrk")
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as name:
        if machine.filesystem(Path(name)) in {"tmpfs", "ramfs"}:
            return _fail("the data would lie in memory, where durable costs nothing; name another --folder")
        try:
            _measure(Path(name).resolve(), options)
        except LoadError as error:
            return _fail(str(error))
    return 0


def _measure(folder: Path, options: argparse.Namespace) -> None:
    names: Sequence[str] = options.part or (list(PARTS) if options.full else ["startup", "compare"])
    whole = options.full or bool(options.part)
    run = Run(
        folder,
        cache=options.cache.resolve(),
        rounds=options.rounds or (9 if whole else 3),
        seconds=options.seconds,
        secrets=options.secrets,
        only_hot=not whole,
    )
    print(*machine.lines(folder), "daemon     default settings, request log to a file\n", sep="\n", flush=True)
    described = machine.described(folder)
    for name in names:
        _tell(f"part {name}")
        others = machine.Others()
        found = results.plain(PARTS[name](run))
        rounds = run.shape(_OTHER_CONNECTIONS[0]).rounds if name == "connections" else run.rounds
        part = {"rounds": rounds, "seconds": run.seconds, "others": others.processors(), "found": found}
        results.keep(options.results or _BUILD / ("bench.json" if whole else "short.json"), described, name, part)
        print(*(table.markdown() for table in tables.of({name: part})), sep="\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure the daemon beside a bare Starlette endpoint.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--full", action="store_true", help="measure all parts")
    what.add_argument("--part", action="append", choices=list(PARTS), help="measure this part; can be repeated")
    what.add_argument(
        "--profile", action="append_const", dest="part", const="profile", help="the same as --part profile"
    )
    what.add_argument("--publish", type=Path, metavar="FILE", help="measure nothing; write results into the documents")
    parser.add_argument("--rounds", type=_positive, help="pairs per workload (default: 3, or 9 with --full or --part)")
    parser.add_argument("--seconds", type=_positive, default=2, help="length of a period (default: %(default)s)")
    parser.add_argument("--secrets", type=_positive, default=1_000_000, help="the large stock (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=_BUILD, help="where the data goes, on a real disk")
    parser.add_argument("--cache", type=Path, default=_BUILD / "stocks", help="where filled data folders are kept")
    parser.add_argument("--results", type=Path, metavar="FILE", help="where results are kept (default: in build)")
    return parser.parse_args()


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
