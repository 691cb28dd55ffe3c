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
    words: dict[int, list[tuple[bytes, int]]] = {}
    for needle in needles:
        if len(needle) < NEEDLE_BYTES:
            raise ValueError("a needle is too short to be found at any alignment")
        for at in range(len(needle) - _WORD + 1):
            (word,) = memoryview(needle[at : at + _WORD]).cast("Q")
            words.setdefault(word, []).append((needle, at))
    found: set[bytes] = set()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        aligned = memoryview(content)[: len(content) // _WORD * _WORD].cast("Q")
        known = words.keys() & set(aligned)
        for number, word in enumerate(aligned) if known else ():
            if word in known:
                start = number * _WORD
                found.update(needle for needle, at in words[word] if _agrees(content, start - at, needle))
    return found


def _agrees(content: bytes, start: int, needle: bytes) -> bool:
    """Tell whether a needle that would begin at `start` agrees with the content over at least 15 bytes in a row."""
    if start >= 0 and content.startswith(needle, start):
        return True
    longest = run = 0
    for at, byte in enumerate(needle):
        place = start + at
        run = run + 1 if 0 <= place < len(content) and content[place] == byte else 0
        longest = max(longest, run)
    return longest >= NEEDLE_BYTES
