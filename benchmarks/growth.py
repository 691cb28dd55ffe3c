"""What many secrets cost: throughput over a large stock, a list of all of it, a prune beside readers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import listing, pruning
from benchmarks.client import Client, heads
from benchmarks.pairs import Shape, Side, Spread, Tell, pair, writes_expected
from benchmarks.processes import Server, daemon_command, started
from benchmarks.stock import Stock
from benchmarks.workloads import STORE, Load, Prepare, always, burn, paths
from benchmarks.wrk import Wrk

FEW: Final = 1_000
_PEEKED_SHARE = 10


@dataclass(frozen=True)
class Throughput:
    """A workload over many secrets, beside the same over few; medians over all rounds.

    Attributes:
        workload: Its name.
        few_rate: Requests per second over few.
        many_rate: The same over many.
        ratio: The second over the first.
    """

    workload: str
    few_rate: float
    many_rate: float
    ratio: Spread


@dataclass(frozen=True)
class Growth:
    """All of it.

    Attributes:
        few: The small stock.
        many: The large stock.
        throughput: By workload.
        listed: The list of the large stock.
        pruned: Prunes of half as many secrets as the large stock has.
    """

    few: int
    many: int
    throughput: list[Throughput]
    listed: listing.Listed
    pruned: pruning.Pruned


@dataclass(frozen=True)
class Stocked:
    """A daemon over a stock.

    Attributes:
        server: The daemon.
        burned: Paths of the stock to read, each once, in random order.
        peeked: Other paths of the stock.
    """

    server: Server
    burned: Iterator[str]
    peeked: list[str]


def measure(folder: Path, cache: Path, shape: Shape, *, many: int, tell: Tell) -> Growth:
    """Fill stocks of `FEW` and `many` secrets where they are not there yet, and measure on copies.

    Raises:
        LoadError: The load did not go as it should.
    """
    tell(f"a stock of {many:,} secrets; where it is not there yet, this takes minutes")
    with _over(Stock(many), cache, folder) as large:
        tell("a list of everything")
        # First of all, in a fresh process, whose memory no other load has stretched.
        listed = listing.measure(large.server)
        with _over(Stock(FEW), cache, folder) as small:
            throughput = list(_throughput(folder, shape, small, large, tell))
    pruned = pruning.measure(folder, cache, expired=many // 2, tell=tell)
    return Growth(FEW, many, throughput, listed, pruned)


@contextlib.contextmanager
def _over(stock: Stock, cache: Path, folder: Path) -> Iterator[Stocked]:
    """Run a daemon over a copy of a stock."""
    with stock.copied(cache, folder) as (data, ids):
        names = list(paths(ids))
        random.Random(len(names)).shuffle(names)
        peeked = len(names) // _PEEKED_SHARE
        with started(daemon_command(data), folder / f"{data.name}.log") as server:
            yield Stocked(server, iter(names[peeked:]), names[:peeked])


def _throughput(folder: Path, shape: Shape, small: Stocked, large: Stocked, tell: Tell) -> Iterator[Throughput]:
    for name, over_few, over_many in (
        ("POST", STORE, STORE),
        ("GET, burning what was just stored", burn, burn),
        # The small stock would be gone at once; there, too, it is what was just stored.
        ("GET, burning the stock at random", burn, _burn_of(large.burned)),
        ("HEAD of the stock at random", always(Client(heads(small.peeked))), always(Client(heads(large.peeked)))),
    ):
        sides = [
            Side(each.server, prepare, folder / label, shape, expected=writes_expected(each.server, shape))
            for each, prepare, label in ((small, over_few, "few"), (large, over_many, "many"))
        ]
        pairs = []
        for number in range(shape.rounds):
            tell(f"many and few, round {number + 1} of {shape.rounds}: {name}")
            pairs.append(pair(sides[0], sides[1], number=number))
        yield Throughput(
            name,
            few_rate=median(few.result.rate for few, _ in pairs),
            many_rate=median(many.result.rate for _, many in pairs),
            ratio=Spread.of_rates(pairs),
        )


def _burn_of(stocked: Iterator[str]) -> Prepare:
    def prepare(_server: Server, folder: Path, most: int) -> Load:
        ids = folder / "stock.ids"
        taken = (path.rpartition("/")[2] for path, _ in zip(stocked, range(most), strict=False))
        ids.write_text("".join(f"{name}\n" for name in taken))
        return Wrk("/secrets", ("read", str(ids)))

    return prepare
