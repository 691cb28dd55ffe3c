"""What a power cut would have left of the database files, worked out from the trace that the shim keeps.

The kernel keeps what was written as pages, and a sync that succeeds brings the changed ones to the disk. After a sync
that failed, Linux takes these pages for written: no later sync tries them again unless they are written to anew. So a
page is on the disk as it was at the last sync that succeeded while it was changed; what was changed since may have
reached the disk or not, page by page.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.shim import Call, File

PAGE: Final = 4096
_HEAD: Final = struct.Struct("=IIqqq")


class Record(NamedTuple):
    """One call, in the order in which they were made.

    Attributes:
        end: Where its record ends in the traces, one after the other.
        call: What was called.
        file: On which file.
        offset: Where the data goes; of a truncation, the new length.
        data: What was written.
        has_failed: Whether a sync failed.
    """

    end: int
    call: Call
    file: File
    offset: int
    data: bytes
    has_failed: bool


class Medium:
    """One file, as processes see it and as it stands on the disk."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._kept = bytearray()
        self._changed: set[int] = set()

    def take(self, record: Record) -> None:
        """Let a call happen."""
        if record.call == Call.WRITE:
            end = record.offset + len(record.data)
            self._seen.extend(bytes(max(0, end - len(self._seen))))
            self._seen[record.offset : end] = record.data
            self._changed.update(range(record.offset // PAGE, -(-end // PAGE)))
        elif record.call == Call.TRUNCATE:
            self._resize(self._seen, record.offset)
        else:
            if not record.has_failed:
                self._resize(self._kept, len(self._seen))
                self._write_back(self._kept, self._changed)
            self._changed.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """Return what is there when the power comes back: of what no sync was tried for, some pages, by chance."""
        kept = bytearray(self._kept)
        self._write_back(kept, [page for page in sorted(self._changed) if chance.random() < 0.5])
        return bytes(kept)

    def _write_back(self, kept: bytearray, pages: Iterable[int]) -> None:
        for page in pages:
            content = self._seen[page * PAGE : (page + 1) * PAGE]
            kept.extend(bytes(max(0, page * PAGE + len(content) - len(kept))))
            kept[page * PAGE : page * PAGE + len(content)] = content

    @staticmethod
    def _resize(content: bytearray, length: int) -> None:
        del content[length:]
        content.extend(bytes(length - len(content)))


def records(trace: bytes, before: int) -> Iterator[Record]:
    """Yield the calls in a trace; the last one may have been cut short by a kill, before it was made."""
    at = 0
    while at + _HEAD.size <= len(trace):
        call, file, offset, length, failed = _HEAD.unpack_from(trace, at)
        at += _HEAD.size
        size = length if call == Call.WRITE else 0
        if at + size > len(trace):
            return
        yield Record(before + at + size, Call(call), File(file), offset, trace[at : at + size], bool(failed))
        at += size


def all_records(traces: Iterable[Path]) -> Iterator[Record]:
    """Yield the calls of one process after the other."""
    before = 0
    for trace in traces:
        content = trace.read_bytes()
        yield from records(content, before)
        before += len(content)


def cut(traces: Iterable[Path], at: Iterable[int], chance: random.Random) -> Iterator[tuple[int, dict[File, bytes]]]:
    """Yield, for lengths that the traces had at some instants, the files that a cut at that instant would have left."""
    media = {File.DATABASE: Medium(), File.WAL: Medium()}
    rest = all_records(traces)
    record = next(rest, None)
    for instant in sorted(at):
        while record is not None and record.end <= instant:
            media[record.file].take(record)
            record = next(rest, None)
        yield instant, {file: medium.after_a_cut(chance) for file, medium in media.items()}
