"""Writes results into docs/performance.md, between two marks, with the plots and the results themselves beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from benchmarks import plots, results, tables

PAGE: Final = "performance.md"
BESIDE: Final = "performance"
RESULTS: Final = "results.json"
BEGIN: Final = "<!-- From here on `scripts/bench --publish` wrote what `scripts/bench --full` measured. -->\n"
END: Final = "<!-- So far. -->\n"
_CAPTIONS: Final = {
    "throughput.svg": "Throughput as a share of bare Starlette",
    "latency.svg": "Latency by the number of connections",
    "growth.svg": "Throughput over many secrets",
}


def publish(file: Path, docs: Path) -> None:
    """Write a file of results into the documents.

    Raises:
        ValueError: The page has no place for it.
    """
    found = results.load(file)
    page, beside = docs / PAGE, docs / BESIDE
    text = with_section(page.read_text(encoding="utf-8"), section(found))
    drawn = plots.of(found["parts"])
    beside.mkdir(exist_ok=True)
    if file.resolve() != (beside / RESULTS).resolve():
        shutil.copyfile(file, beside / RESULTS)
    for name, plot in drawn.items():
        (beside / name).write_text(plot, encoding="utf-8")
    page.write_text(text, encoding="utf-8")


def section(found: dict[str, Any]) -> str:
    """Return what stands between the marks."""
    machine = tables.Table("Machine", ["what", "which"], list(found["machine"].items()), numbers=False)
    pictures = "".join(f"![{_CAPTIONS[name]}]({BESIDE}/{name})\n\n" for name in plots.of(found["parts"]))
    drawn = "\n".join(table.markdown() for table in tables.of(found["parts"]))
    return f"\n{machine.markdown()}\n{pictures}{drawn}\n"


def with_section(text: str, section: str) -> str:
    """Return a page with another section between its marks.

    Raises:
        ValueError: It has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has no marks for what was measured")
    return f"{before}{begin}{section}{end}{after}"
