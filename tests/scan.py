"""Finds many byte strings in a folder at once, whole or in large part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

_WORD: Final = 8
NEEDLE_BYTES: Final = 2 * _WORD - 1
"""What a needle must be long at least: so much of it holds an aligned word wherever it lies."""


def found_in(folder: Path, needles: Iterable[bytes]) -> set[bytes]:
    """Return those needles of which at least 15 bytes in a row stand in a file of the folder.

    Every file is read as aligned words of 8 bytes, and those are looked up among all words of all needles: that costs
    one pass, however many needles there are.
    """
    words: dict[bytes, list[tuple[bytes, int]]] = {}
    for needle in needles:
        if len(needle) < NEEDLE_BYTES:
            raise ValueError("a needle is too short to be found at any alignment")
        for at in range(len(needle) - _WORD + 1):
            words.setdefault(needle[at : at + _WORD], []).append((needle, at))
    found = set()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for start in range(0, len(content) - _WORD + 1, _WORD):
            for needle, at in words.get(content[start : start + _WORD], ()):
                if _agrees(content, start - at, needle):
                    found.add(needle)
    return found


def _agrees(content: bytes, start: int, needle: bytes) -> bool:
    """Tell whether a needle that would begin at `start` agrees with the content over at least 15 bytes in a row."""
    longest = run = 0
    for at, byte in enumerate(needle):
        place = start + at
        run = run + 1 if 0 <= place < len(content) and content[place] == byte else 0
        longest = max(longest, run)
    return longest >= NEEDLE_BYTES
