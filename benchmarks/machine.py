"""Says what was measured, and on what: figures without that mean nothing."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from importlib.metadata import version
from pathlib import Path

import sirrd
from benchmarks import wrk

_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "cryptography", "pydantic")


def lines(folder: Path) -> list[str]:
    """Return lines about machine and versions; `folder` is where the data goes."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"machine   {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"data on   {filesystem(folder)}",
        f"versions  sirrd {sirrd.__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        f"          {packages}",
        f"          wrk {wrk.version()}",
    ]


def filesystem(folder: Path) -> str:
    """Return the type of the file system that holds a folder."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
