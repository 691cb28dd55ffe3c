"""What people type and see: durations, reads, passphrases, files and their names."""

from __future__ import annotations

import mimetypes
import os
import re
import secrets
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from sirrd.clock import SystemClock
from sirrd.link import MAX_NAME_BYTES, Content

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?|([0-9]{1,9})"
)
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_LONGEST_NAME_BYTES: Final = 200  # with room for a number before it
_TURNING: Final = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of writing, so that a text is not what it looks like."""
_DEVICES: Final = frozenset(
    {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        "CONIN$",
        "CONOUT$",
        *(f"{name}{n}" for name in ("COM", "LPT") for n in "0123456789¹²³"),
    }
)
"""What Windows takes for a device, in any folder."""
_ORDERS: Final = """
makefile gnumakefile bsdmakefile sirrd.toml conftest.py pytest.ini tox.ini setup.py setup.cfg pyproject.toml
sitecustomize.py usercustomize.py noxfile.py package.json package-lock.json dockerfile containerfile compose.yaml
compose.yml docker-compose.yaml docker-compose.yml jenkinsfile vagrantfile rakefile gemfile procfile justfile
taskfile.yml cmakelists.txt build.gradle build.gradle.kts pom.xml build.xml desktop.ini autorun.inf web.config
cargo.toml go.mod authorized_keys
"""
_OBEYED: Final = frozenset(_ORDERS.split())
"""What a program obeys that is started in the folder."""
_GROUPS: Final = 5
_LETTERS_IN_GROUP: Final = 4


def duration(text: str) -> int | None:
    """Parse a lifetime, as `90`, `1h`, `7d` or `1h30m`, into seconds; `never` is None. `1h30` may mean two things.

    Raises:
        ValueError: It is none, or 0.
    """
    if text == "never":
        return None
    found = _DURATION.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * _UNITS[unit] for part, unit in zip(parts, "wdhmss", strict=False))
    if not seconds:
        raise ValueError("a lifetime is written as 90s, 15m, 1h, 7d or 1h30m, or never")
    return seconds


def reads(text: str) -> int | None:
    """Parse how often a secret may be read: a number, or `unlimited`.

    Raises:
        ValueError: It is neither.
    """
    if text == "unlimited":
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) < 1:
        raise ValueError("a number of reads is 1 or more, or unlimited")
    return int(text[:20])


def made_passphrase() -> str:
    """Make a passphrase that can be read out: 20 letters and digits without those that look alike, about 99 bits."""
    letters = iter(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _LETTERS_IN_GROUP))
    return "-".join("".join(next(letters) for _ in range(_LETTERS_IN_GROUP)) for _ in range(_GROUPS))


def of_file(file: Path, *, longest: int = -1) -> Content:
    """Read a file, or so many bytes of it, as content with its name and media type."""
    # A name of this system may hold bytes that are no letters anywhere else.
    name = os.fsencode(file.name).decode(errors="replace").encode()[-MAX_NAME_BYTES:].decode(errors="ignore") or None
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    with file.open("rb") as opened:
        return Content(opened.read(longest), name, media_type)


def text_of(content: Content) -> str | None:
    """Return a content as text, with its line breaks as one character each, or None if it is none."""
    try:
        return content.data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def is_for_a_terminal(content: Content) -> bool:
    """Tell whether a content is text that does no harm to a terminal: nothing in it moves, hides or turns letters."""
    text = text_of(content)
    return text is not None and not any(map(_is_obeyed, text))


def escaped(text: str) -> str:
    """Return a text with everything escaped that a terminal would obey, and the backslash, too."""
    return "".join(
        each.encode("unicode_escape").decode() if _is_obeyed(each) or each == "\\" else each for each in text
    )


def _is_obeyed(character: str) -> bool:
    return character not in "\n\t" and (unicodedata.category(character) in {"Cc", "Zl", "Zp"} or character in _TURNING)


def safe_name(name: str | None) -> str:
    """Return a name for a file from what a stranger suggests.

    It has no path, nothing hidden, no control, and is none that a program or a system takes for something else.
    """
    last = PureWindowsPath(PurePosixPath(name or "").name).name
    kept = "".join(each for each in last if each.isprintable() and each not in '<>:"|?*').strip(" .").lstrip("-~ .")
    kept = kept.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore").rstrip(" .")
    if kept.partition(".")[0].rstrip().upper() in _DEVICES or kept.lower() in _OBEYED:
        return f"received-{kept}"
    return kept or "secret"


def expires_in(expires_at: int | None, *, now: int) -> str:
    """Say how long something still lives; both times are Unix seconds."""
    if expires_at is None:
        return "never"
    left = max(0, expires_at - now)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"in {left // size} {unit}"
    return f"in {left} s"


def expires_at(at: int | None) -> str:
    """Say how long something still lives that expires at a time in Unix seconds."""
    return expires_in(at, now=SystemClock().now())
