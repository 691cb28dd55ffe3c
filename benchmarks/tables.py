"""Results as tables, for the terminal and for the page alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Part = dict[str, Any]
"""What was measured of one part: its `rounds` and `seconds`, what `others` used, and `found`, the part's own."""

HOT: Final = ("POST", "GET, burning", "HEAD")
MIB_LIMIT: Final = 20


@dataclass(frozen=True)
class Table:
    """A table with a title above it and perhaps a sentence below.

    The first column is text. Whether the others are numbers, says `numbers`.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numbers: bool = True

    def markdown(self) -> str:
        """Return it in Markdown, with columns aligned for who reads it as it is."""
        lines = [list(self.head), *(list(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        rule = ["-" * widths[0], *("-" * (width - 1) + (":" if self.numbers else "-") for width in widths[1:])]
        drawn = [self._line(line, widths) for line in (self.head, rule, *self.rows)]
        return f"### {self.title}\n\n" + "\n".join(drawn) + (f"\n\n{self.note}" if self.note else "") + "\n"

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        first, *others = cells
        align = str.rjust if self.numbers else str.ljust
        aligned = [align(cell, width) for cell, width in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join([first.ljust(widths[0]), *aligned])} |"


def of(parts: dict[str, Part]) -> Iterator[Table]:
    """Yield the tables of all parts that were measured, the targets first."""
    targets = list(_targets(parts))
    if targets:
        yield Table("Targets", ["what", "at least", "at most", "measured", "min..max"], targets)
    for name, draw in _DRAWN.items():
        if name in parts:
            yield from draw(parts[name])


def _spread(spread: dict[str, float]) -> str:
    return f"{spread['min']:.2f}..{spread['max']:.2f}"


def _shape(part: Part) -> str:
    return f"Medians of {part['rounds']} rounds of {part['seconds']} s. {_others(part)}"


def _others(part: Part) -> str:
    return f"Other processes used {part['others']:.2f} of a processor meanwhile."


# Targets.


def _targets(parts: dict[str, Part]) -> Iterator[list[str]]:
    rows = {row["workload"]: row for row in parts["compare"]["found"]} if "compare" in parts else {}
    for workload, floor in (("GET, burning", "0.45"), ("POST", "0.40"), ("HEAD", "0.50")):
        if workload in rows:
            share = rows[workload]["of_bare"]
            yield [f"{workload}, of bare Starlette", floor, "", f"{share['median']:.2f}", _spread(share)]
    for workload in HOT:
        if workload in rows:
            row = rows[workload]
            ratio = f"{row['p99_ms'] / row['p50_ms']:.1f}"
            yield [f"{workload}, p99 of p50 at {row['connections']} connections", "", "4", ratio, ""]
    for row in parts["commits"]["found"] if "commits" in parts else ():
        floor = "15" if row["delay_ms"] else "3"
        what = f"{row['workload']}, group commit of one commit each{_delayed(row)}"
        yield [what, floor, "", f"{row['gain']['median']:.1f}", _spread(row["gain"])]
    if "growth" in parts:
        yield from _growth_targets(parts["growth"]["found"])


def _delayed(row: dict[str, Any]) -> str:
    return f", syncs {row['delay_ms']} ms longer" if row["delay_ms"] else ""


def _growth_targets(found: dict[str, Any]) -> Iterator[list[str]]:
    for row in found["throughput"]:
        what = f"{row['workload']}, {found['many']:,} of {found['few']:,}"
        yield [what, "0.70", "", f"{row['ratio']['median']:.2f}", _spread(row["ratio"])]
    listed = found["listed"]
    what = f"list of {listed['secrets']:,}, growth of memory in MiB"
    yield [what, "", str(MIB_LIMIT), f"{listed['resident_growth_mib']:.1f}", ""]
    for row in found["pruned"]["beside"]:
        what = f"{row['workload']}, p99 beside a prune of {found['pruned']['expired']:,}, of without"
        yield [what, "", "3", f"{row['ratio']['median']:.1f}", _spread(row["ratio"])]


# Parts.


def _loads(part: Part) -> Iterator[Table]:
    for connections in dict.fromkeys(row["connections"] for row in part["found"]):
        own = [row for row in part["found"] if row["connections"] == connections]
        head = ["workload", "req/s", "of bare", "min..max", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/1000", "MiB", "busy"]
        yield Table(f"{connections} connections", head, [_load(row) for row in own], _shape(part))


def _load(row: dict[str, Any]) -> list[str]:
    return [
        row["workload"],
        f"{row['rate']:,.0f}",
        f"{row['of_bare']['median']:.2f}",
        _spread(row["of_bare"]),
        f"{row['p50_ms']:.2f}",
        f"{row['p99_ms']:.2f}",
        f"{row['p999_ms']:.2f}",
        f"{row['cpu_us'] / 1000:.3f}",
        f"{row['resident_mib']:.0f}",
        f"{row['busy']:.0%}",
    ]


def _commits(part: Part) -> Iterator[Table]:
    head = [
        "workload",
        "added to a sync",
        "req/s, grouped",
        "one each",
        "gain",
        "min..max",
        "req/sync, grouped",
        "one each",
    ]
    rows = [
        [
            row["workload"],
            f"{row['delay_ms']} ms",
            f"{row['grouped_rate']:,.0f}",
            f"{row['single_rate']:,.0f}",
            f"{row['gain']['median']:.1f}",
            _spread(row["gain"]),
            f"{row['grouped_per_sync']:.1f}",
            f"{row['single_per_sync']:.2f}",
        ]
        for row in part["found"]
    ]
    yield Table("Group commit", head, rows, f"64 connections. {_shape(part)}")


def _growth(part: Part) -> Iterator[Table]:
    found = part["found"]
    rows = [
        [
            row["workload"],
            f"{row['few_rate']:,.0f}",
            f"{row['many_rate']:,.0f}",
            f"{row['ratio']['median']:.2f}",
            _spread(row["ratio"]),
        ]
        for row in found["throughput"]
    ]
    head = ["workload", f"req/s over {found['few']:,}", f"over {found['many']:,}", "ratio", "min..max"]
    yield Table("Growth", head, rows, f"64 connections. {_shape(part)}")
    listed = found["listed"]
    yield Table(
        "A list of everything",
        ["secrets", "seconds", "to the first bytes", "MiB sent", "MiB resident before", "more at the peak"],
        [
            [
                f"{listed['secrets']:,}",
                f"{listed['seconds']:.1f}",
                f"{listed['first_seconds']:.3f}",
                f"{listed['mib']:.0f}",
                f"{listed['resident_before_mib']:.1f}",
                f"{listed['resident_growth_mib']:.1f}",
            ]
        ],
    )
    yield _pruned(found["pruned"])


def _pruned(found: dict[str, Any]) -> Table:
    rows = [
        [
            row["workload"],
            f"{row['calm_p50_ms']:.2f}",
            f"{row['calm_p99_ms']:.2f}",
            f"{row['pruning_p50_ms']:.2f}",
            f"{row['pruning_p99_ms']:.2f}",
            f"{row['ratio']['median']:.1f}",
            _spread(row["ratio"]),
        ]
        for row in found["beside"]
    ]
    note = (
        f"A prune of {found['expired']:,} among {found['live']:,} took {found['seconds']:.0f} s, and beside it each "
        f"workload asked {found['rate']:.0f} times a second. A latency counts from when a request was due."
    )
    head = ["workload", "p50 ms, calm", "p99 ms, calm", "p50 ms, pruning", "p99 ms, pruning", "p99 ratio", "min..max"]
    return Table("A prune beside readers", head, rows, note)


def _startup(part: Part) -> Iterator[Table]:
    found = part["found"]
    rows = [[f"{found['import_ms']:.0f} ms", f"{found['start_ms']:.0f} ms", f"{found['resident_mib']:.1f} MiB"]]
    head = ["import of sirrd.server.process", "start on a new data folder", "resident memory, idle"]
    yield Table("Start", head, rows, f"Medians. {_others(part)}")


def _profile(part: Part) -> Iterator[Table]:
    profiles = part["found"]
    longest: dict[str, float] = {}
    for profile in profiles:
        for layer, microseconds in profile["layers"].items():
            longest[layer] = max(longest.get(layer, 0.0), microseconds)
    layers = sorted(longest, key=lambda layer: -longest[layer])
    rows = [[layer, *(_microseconds(profile["layers"].get(layer)) for profile in profiles)] for layer in layers]
    for title, member in (
        ("**on the event loop's thread**", "loop_us"),
        ("of it not running", "waiting_us"),
        ("other threads, beside it", "other_us"),
    ):
        rows.append([title, *(_microseconds(profile[member]) for profile in profiles)])
    samples = min(profile["samples"] for profile in profiles)
    note = f"Microseconds per request at 64 connections, from at least {samples:,} samples each. {_others(part)}"
    yield Table("Where the time goes", ["layer", *(profile["workload"] for profile in profiles)], rows, note)


def _microseconds(value: float | None) -> str:
    return "" if value is None else f"{max(0.0, value):.1f}"


_DRAWN: Final[dict[str, Callable[[Part], Iterator[Table]]]] = {
    "compare": _loads,
    "connections": _loads,
    "commits": _commits,
    "growth": _growth,
    "startup": _startup,
    "profile": _profile,
}
