"""QR codes that the page makes: the same as segno's, module by module, under the mask of the lowest penalty."""

from __future__ import annotations

import json
import random
import shutil
import string
import subprocess
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import pytest
import segno
import segno.encoder

from tests.parts import ROOT, require

DRIVER: Final = ROOT / "tests" / "webcrypto" / "qr.mjs"
CAPACITIES: Final = (14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666)
"""Bytes that each version holds at level M: table 7 of ISO/IEC 18004:2015."""

Rows = list[str]
"""A symbol, in which 1 is dark; or the name of an error alone."""

seeded: Final = random.Random(18004)


def ascii_text(length: int) -> str:
    """Return any printable text."""
    return "".join(seeded.choices(string.printable, k=length))


def a_link() -> str:
    """Return a link as senders give it away."""
    key = "".join(seeded.choices(f"{string.ascii_letters}{string.digits}-_", k=44))
    return f"https://drop.example.org/s/{seeded.randbytes(32).hex()}#{key}"


FULL: Final = [ascii_text(capacity) for capacity in CAPACITIES]
ONE_MORE: Final = [ascii_text(capacity + 1) for capacity in CAPACITIES[:-1]]
LINKS: Final = [a_link() for _ in range(20)]
SHORT: Final = [ascii_text(length) for length in range(1, 30)]
BEYOND_ASCII: Final = [
    "é",
    "grüße",
    "日本語",
    "\N{KEY}" * 20,
    "\0",
    "\u00ff" * 7,
    "https://drop.example/s/é#\U0010ffff",
]
UNBALANCED: Final = [" " * 64, "\0" * 40, "\x7f" * 44, "@" * 79]
"""Texts of which the share of dark modules decides about the mask."""

TOO_LONG: Final = ["a" * 667, "é" * 334]


@pytest.fixture(scope="module")
def ours() -> dict[str, Rows]:
    """All the codes of this module, made by one process."""
    require(shutil.which("node"), "node")
    texts = [*FULL, *ONE_MORE, *LINKS, *SHORT, *BEYOND_ASCII, *UNBALANCED, *TOO_LONG]
    ran = subprocess.run(
        ["node", DRIVER], input=json.dumps(texts), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return dict(zip(texts, json.loads(ran.stdout), strict=True))


@pytest.fixture
def segno_pads_as_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have segno leave out a codeword.

    Of segno 1.6.6, a code that is not full holds a codeword of zeros between terminator and pad codewords. Readers
    stop at the terminator, so it does no harm; but section 7.4.10 adds zeros only up to the end of a codeword.
    """

    def write_padding_bits(buffer: Any, version: int, length: int) -> None:
        buffer.extend([0] * (-length % 8))

    monkeypatch.setattr(segno.encoder, "write_padding_bits", write_padding_bits)


def theirs(text: str, mask: int) -> Rows:
    """Have segno make a code; of bytes, so that it chooses no encoding."""
    made = segno.make(text.encode(), error="m", mode="byte", mask=mask, micro=False, boost_error=False)
    return ["".join(map(str, row)) for row in made.matrix]


def mask_of(symbol: Rows) -> int:
    """Return the mask that the format information names."""
    return int(symbol[8][2:5], 2) ^ 0b101


def penalty(symbol: Rows) -> int:
    """Return the penalty of a symbol by section 7.8.3, feature by feature."""
    size = len(symbol)
    found = 0
    for line in [*symbol, *map("".join, zip(*symbol, strict=True))]:
        found += sum(length - 2 for length in (len(list(run)) for _, run in groupby(line)) if length >= 5)
        wide = f"0000{line}0000"
        for at in range(4, size - 2):
            if wide[at : at + 7] == "1011101" and "0000" in {wide[at - 4 : at], wide[at + 7 : at + 11]}:
                found += 40
    for i in range(size - 1):
        for j in range(size - 1):
            if len(set(symbol[i][j : j + 2] + symbol[i + 1][j : j + 2])) == 1:
                found += 3
    dark = "".join(symbol).count("1")
    return found + 10 * (abs(20 * dark - 10 * size**2) // size**2)


def differing(texts: Sequence[str], ours: dict[str, Rows]) -> list[str]:
    """Return the texts of which segno makes another code under the same mask."""
    return [text for text in texts if theirs(text, mask_of(ours[text])) != ours[text]]


def test_a_version_is_filled_to_its_last_byte(ours: dict[str, Rows]) -> None:
    """Of every version the longest text: same size, function patterns, codewords and information as segno's."""
    assert [len(ours[text]) for text in FULL] == [17 + 4 * version for version in range(1, 21)]
    assert differing(FULL, ours) == []


@pytest.mark.usefixtures("segno_pads_as_the_standard")
def test_one_byte_more_takes_the_next_version(ours: dict[str, Rows]) -> None:
    """And the rest of it is padded."""
    assert [len(ours[text]) for text in ONE_MORE] == [17 + 4 * version for version in range(2, 21)]
    assert differing(ONE_MORE, ours) == []


@pytest.mark.usefixtures("segno_pads_as_the_standard")
@pytest.mark.parametrize(
    "texts", [LINKS, SHORT, BEYOND_ASCII, UNBALANCED], ids=["links", "short", "UTF-8", "unbalanced"]
)
def test_a_code_is_that_of_segno(texts: list[str], ours: dict[str, Rows]) -> None:
    """Whatever is in it; UTF-8 goes in as its bytes, without a header."""
    assert differing(texts, ours) == []


@pytest.mark.usefixtures("segno_pads_as_the_standard")
@pytest.mark.parametrize("text", [*LINKS[:6], *SHORT, *UNBALANCED, *FULL[4:8]])
def test_no_other_mask_has_a_lower_penalty(text: str, ours: dict[str, Rows]) -> None:
    """All eight are tried, and of equals the first is taken.

    segno is no measure here: it counts before format and version information are there.
    """
    penalties = [penalty(theirs(text, mask)) for mask in range(8)]
    assert mask_of(ours[text]) == penalties.index(min(penalties))


@pytest.mark.parametrize("text", TOO_LONG, ids=["ASCII", "UTF-8"])
def test_what_fits_no_version_is_refused(text: str, ours: dict[str, Rows]) -> None:
    """Bytes count, not characters."""
    assert ours[text] == ["RangeError"]
