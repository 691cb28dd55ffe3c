"""What people type and see: durations, reads, values, passphrases, environment files."""

from __future__ import annotations

import mimetypes
import re
import secrets
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from sirrd.link import MAX_NAME_BYTES, Content

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s?)?"
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_LONGEST_NAME_BYTES: Final = 200  # with room for a number before it
_GROUPS: Final = 5
_LETTERS_IN_GROUP: Final = 4


def duration(text: str) -> int:
    """Parse a lifetime, as `90`, `1h`, `7d` or `1h30m`, into seconds.

    Raises:
        ValueError: It is none, or 0.
    """
    found = _DURATION.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * _UNITS[unit] for part, unit in zip(parts, "wdhms", strict=False))
    if not seconds:
        raise ValueError("a lifetime is written as 90s, 15m, 1h, 7d or 1h30m")
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


def of_file(file: Path) -> Content:
    """Read a file as content with its name and media type."""
    name = file.name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore") or None
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Content(file.read_bytes(), name, media_type)


def is_for_a_terminal(content: Content) -> bool:
    """Tell whether a content is text that does no harm to a terminal."""
    try:
        text = content.data.decode()
    except UnicodeDecodeError:
        return False
    return all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in text)


def safe_name(name: str | None) -> str:
    """Return a name for a file in this folder from what a stranger suggests: no path, nothing hidden, no control."""
    last = PureWindowsPath(PurePosixPath(name or "").name).name
    kept = "".join(each for each in last if each.isprintable() and each not in '<>:"|?*').strip(" .")
    return kept.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore") or "secret"


def expires_in(expires_at: int | None, *, now: int) -> str:
    """Say how long something still lives; both times are Unix seconds."""
    if expires_at is None:
        return "never"
    left = max(0, expires_at - now)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"in {left // size} {unit}"
    return f"in {left} s"


def is_variable(name: str) -> bool:
    """Tell whether a key can be the name of an environment variable."""
    return _NAME.fullmatch(name) is not None


def dotenv_line(name: str, value: str) -> str:
    """Return a line of an environment file, quoted as a shell reads it."""
    if _UNQUOTED.fullmatch(value):
        return f"{name}={value}\n"
    quoted = value.replace("'", "'\"'\"'")
    return f"{name}='{quoted}'\n"
