"""Draws results as small SVG files by hand, for light and dark backgrounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from benchmarks.tables import HOT, Part

_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.dim{fill:#59636e}"
    ".grid{stroke:#848d97;stroke-opacity:.35}.mark{stroke:#1f2328;stroke-width:1.5}"
    ".target{stroke:#d1242f;stroke-width:2;stroke-dasharray:4 3}"
    ".c0{fill:#2f81f7;stroke:#2f81f7}.c1{fill:#d18616;stroke:#d18616}.c2{fill:#2da44e;stroke:#2da44e}"
    "path{fill:none!important;stroke-width:2}.p99{stroke-dasharray:6 4}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.mark{stroke:#e6edf3}.dim{fill:#9198a1}.target{stroke:#f85149}}"
)
_WIDTH: Final = 720
_BAR: Final = 22
_ROW: Final = 34


class Drawing:
    """A picture that grows by marks; sizes are pixels from the upper left corner."""

    def __init__(self, height: int, title: str) -> None:
        size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        ]
        self.text(0, 16, title)

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> None:
        """Write a line of text."""
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line."""
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        """Draw a bar."""
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" class="{kind}"/>')

    def curve(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Join points."""
        joined = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._parts.append(f'<path d="M{joined}" class="{kind}"/>')

    def whole(self) -> str:
        """Return the file."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def of(parts: dict[str, Part]) -> dict[str, str]:
    """Return the plots of the parts that were measured, by the names of their files."""
    plots = {}
    if "compare" in parts:
        plots["throughput.svg"] = throughput(parts["compare"]["found"])
    if "compare" in parts and "connections" in parts:
        plots["latency.svg"] = latency([*parts["compare"]["found"], *parts["connections"]["found"]])
    if "growth" in parts:
        plots["growth.svg"] = growth(parts["growth"]["found"])
    return plots


def throughput(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the share of the yardstick's throughput that each workload has."""
    floors = {"GET, burning": 0.45, "POST": 0.40, "HEAD": 0.50}
    bars = [(row["workload"], row["of_bare"], floors.get(row["workload"])) for row in rows]
    return _bars("Throughput as a share of bare Starlette, 64 connections (dashed: the target)", bars)


def growth(found: dict[str, Any]) -> str:
    """Draw what is left of the throughput over many secrets."""
    bars = [(row["workload"], row["ratio"], 0.7) for row in found["throughput"]]
    return _bars(f"Throughput over {found['many']:,} secrets as a share of that over {found['few']:,}", bars)


def _bars(title: str, bars: Sequence[tuple[str, dict[str, float], float | None]]) -> str:
    left, top, bottom = 250, 36, 26
    height = top + _ROW * len(bars) + bottom
    most = max(1.0, *(spread["max"] for _, spread, _ in bars))
    scale = (_WIDTH - left - 50) / most
    drawing = Drawing(height, title)
    for tenth in range(0, int(most * 10) + 1, 2):
        x = left + tenth / 10 * scale
        drawing.line(x, top, x, height - bottom, "grid")
        drawing.text(x, height - 8, f"{tenth / 10:.1f}", anchor="middle", kind="dim")
    for number, (name, spread, floor) in enumerate(bars):
        y = top + number * _ROW + (_ROW - _BAR) / 2
        middle = y + _BAR / 2
        drawing.text(left - 8, middle + 4, name, anchor="end")
        drawing.bar(left, y, spread["median"] * scale, "c0")
        drawing.line(left + spread["min"] * scale, middle, left + spread["max"] * scale, middle, "mark")
        if floor is not None:
            drawing.line(left + floor * scale, y - 4, left + floor * scale, y + _BAR + 4, "target")
        drawing.text(left + max(spread["max"], floor or 0.0) * scale + 6, middle + 4, f"{spread['median']:.2f}")
    return drawing.whole()


def latency(rows: Sequence[dict[str, Any]]) -> str:
    """Draw latency by the number of connections, on a logarithmic scale."""
    left, top, right, bottom, height = 60, 56, 20, 42, 380
    shown = [row for row in rows if row["workload"] in HOT]
    steps = sorted({row["connections"] for row in shown})
    low = math.floor(math.log10(min(row["p50_ms"] for row in shown)))
    high = max(low + 1, math.ceil(math.log10(max(row["p99_ms"] for row in shown))))

    def x(connections: int) -> float:
        return left + (_WIDTH - left - right) * (steps.index(connections) + 0.5) / len(steps)

    def y(milliseconds: float) -> float:
        share = (math.log10(milliseconds) - low) / (high - low)
        return height - bottom - (height - top - bottom) * share

    drawing = Drawing(height, "Latency in ms by connections: median (solid) and 99th percentile (dashed)")
    for power in range(low, high + 1):
        drawing.line(left, y(10**power), _WIDTH - right, y(10**power), "grid")
        drawing.text(left - 8, y(10**power) + 4, f"{10**power:g}", anchor="end", kind="dim")
    for connections in steps:
        drawing.text(x(connections), height - 18, str(connections), anchor="middle", kind="dim")
    for number, workload in enumerate(HOT):
        own = sorted((row for row in shown if row["workload"] == workload), key=lambda row: int(row["connections"]))
        for member, kind in (("p50_ms", "p50"), ("p99_ms", "p99")):
            drawing.curve([(x(row["connections"]), y(row[member])) for row in own], f"c{number} {kind}")
        drawing.bar(left + number * 150, 26, 14, f"c{number}")
        drawing.text(left + number * 150 + 20, 42, workload)
    return drawing.whole()
