"""Keeps results as JSON: one file, for one state of the source on one machine, part by part."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks.tables import Part


def load(file: Path) -> dict[str, Any]:
    """Read a file of results."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(file: Path, machine: dict[str, str], name: str, part: Part) -> dict[str, Any]:
    """Add a part to a file, and return all that it holds now.

    What was measured on another machine, or of another source, does not stay: figures of one file can be compared.
    """
    kept = load(file) if file.exists() else {}
    parts = kept["parts"] if kept.get("machine") == machine else {}
    results = {"machine": machine, "parts": parts | {name: part}}
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".part")
    whole.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    whole.rename(file)
    return results


def plain(found: Any) -> Any:  # noqa: ANN401 - whatever a part measured
    """Return what JSON can hold: dataclasses become objects."""
    if isinstance(found, list):
        return [plain(each) for each in found]
    return asdict(found) if is_dataclass(found) and not isinstance(found, type) else found
