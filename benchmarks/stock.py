"""Fills data folders with many secrets: through the store itself, in process, since HTTP would take an hour.

A stock is made once and kept; who measures works on a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from unittest import mock

from benchmarks.client import VALUE
from sirrd.assembly import deaddrop_of
from sirrd.clock import NANOSECONDS, SystemClock
from sirrd.config.settings import Settings
from sirrd.deaddrop.usecases import DeadDrop
from sirrd.entropy import SystemEntropy
from sirrd.model import Caller, Draft, Plaintext
from sirrd.store.sqlite import writer
from sirrd.store.sqlite.migrate import migrations

_AGE_SECONDS: Final = 86_400
_TTL_SECONDS: Final = 60
_AT_ONCE: Final = 2_000
_READY = "ready"
_IDS = "live.ids"
_DATA = "data"


@dataclass(frozen=True)
class Stock:
    """A data folder with secrets in it, all stored a day ago.

    Attributes:
        live: How many never expire.
        expired: How many have expired since; they lie among the others.
        max_reads: Of each; None means unlimited.
    """

    live: int
    expired: int = 0
    max_reads: int | None = 1

    @contextlib.contextmanager
    def copied(self, cache: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
        """Make the stock unless it is there, and yield a copy of its data folder, and the ids of what is live."""
        kept = self._kept(cache)
        copy = folder / f"copy-of-{self._name}"
        shutil.copytree(kept / _DATA, copy)
        try:
            yield copy, kept / _IDS
        finally:
            shutil.rmtree(copy)

    @property
    def _name(self) -> str:
        return f"{self.live}-{self.expired}-{self.max_reads}"

    def _kept(self, cache: Path) -> Path:
        # A stock of another schema would be migrated first, which is not what a measurement is about.
        schema = hashlib.sha256("".join(migrations()).encode()).hexdigest()[:8]
        kept = cache / f"{schema}-{self._name}"
        if not (kept / _READY).exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            asyncio.run(_fill(self, kept.resolve()))
            (kept / _READY).touch()
        return kept


class _Yesterday(SystemClock):
    """Clocks of a day ago, and of another start of the machine: what is stored is a day old at once."""

    def now(self) -> int:
        """Return Unix seconds."""
        return super().now() - _AGE_SECONDS

    def system_ns(self) -> int:
        """Return Unix nanoseconds."""
        return super().system_ns() - _AGE_SECONDS * NANOSECONDS

    def boot(self) -> str:
        """Return no name."""
        return ""


async def _fill(stock: Stock, kept: Path) -> None:
    settings = Settings(data_dir=kept / _DATA, min_free_bytes=0)
    lives = Draft(Plaintext.of(VALUE), None, stock.max_reads, delete=True)
    dies = replace(lives, ttl_seconds=_TTL_SECONDS)
    # Larger batches make fewer commits; what they leave in the tables is the same.
    with (kept / _IDS).open("w") as ids, mock.patch.object(writer, "MAX_BATCH", _AT_ONCE):
        async with deaddrop_of(settings, clock=_Yesterday(), entropy=SystemEntropy()) as drop:
            total = stock.live + stock.expired
            for done in range(0, total, _AT_ONCE):
                count = min(_AT_ONCE, total - done)
                live = (done + count) * stock.live // total - done * stock.live // total
                ids.writelines(f"{name}\n" for name in await _store(drop, lives, live))
                await _store(drop, dies, count - live)


async def _store(drop: DeadDrop, draft: Draft, count: int) -> list[str]:
    stored = await asyncio.gather(*(drop.drop(draft, by=Caller("open")) for _ in range(count)))
    return [metadata.name for metadata in stored]
