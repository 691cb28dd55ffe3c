"""Says what was measured, and on what: figures without that mean nothing. No name of a host and no path is among it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import sqlite3
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import sirrd
from benchmarks import wrk

_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "cryptography", "pydantic", "aiosqlite")
_BYTES_PER_GIB = 1 << 30


def described(folder: Path) -> dict[str, str]:
    """Return machine and versions by what they are; `folder` is where the data goes."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _BYTES_PER_GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "data on": filesystem(folder),
        "sirrd": f"{sirrd.__version__}, source {_source_hash()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "load": f"wrk {wrk.version()}, or a client in Python for HEAD, mixed and paced loads",
    }


def lines(folder: Path) -> Iterator[str]:
    """Yield the same for a terminal."""
    for name, what in described(folder).items():
        yield f"{name:<11}{what}"


def filesystem(folder: Path) -> str:
    """Return the type of the file system that holds a folder."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]


class Others:
    """How much of the machine other processes use, from when this was made: at best nothing."""

    def __init__(self) -> None:
        self._begin = self._now()

    def processors(self) -> float:
        """Return how many processors worked for others, in the mean; who was started here must have ended."""
        took, all_worked, own_worked = (now - then for now, then in zip(self._now(), self._begin, strict=True))
        return max(0.0, (all_worked - own_worked) / took)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return (
            time.perf_counter(),
            (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"),
            sum(each.ru_utime + each.ru_stime for each in used),
        )


def _source_hash() -> str:
    """Return what tells one state of the daemon's source from another."""
    root = Path(sirrd.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.suffix in {".py", ".sql"})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\0{file.read_text(encoding='utf-8')}\0".encode())
    return digest.hexdigest()[:12]


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
