"""The text of the key file, and the changes that a rotation makes to it.

A change touches nothing but the key that it is about: comments, the order of the others, and line ends stay as the
operator wrote them. That a rotation is under way stands in the same text, as a comment, so that the new key and the
mark are there together, or neither is, and go wherever the file goes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sirrd.errors import BadSetting
from sirrd.keyring.forms import KEY_ID_BYTES
from sirrd.keyring.masters import MasterKey, parse_master_keys

_ID = f"[0-9a-f]{{{2 * KEY_ID_BYTES}}}"
_MARK = re.compile(rf"# rotate-key makes ({_ID}) the first key(?:, and takes out ({_ID}))?(?:[;,. ].*)?")


class Mark(NamedTuple):
    """What a rotation that has begun says of itself.

    Attributes:
        new: The id of the key that it made.
        old: The id of the key that it takes out at its end, or None if it takes out none.
    """

    new: bytes
    old: bytes | None


def mark_in(text: str) -> Mark | None:
    """Return the mark of a rotation that was cut short: the key that it made still stands first.

    Raises:
        BadSetting: There is no usable key in the text.
    """
    first = parse_master_keys(text)[0].id
    for line in text.splitlines():
        found = _MARK.fullmatch(line.strip())
        if found and bytes.fromhex(found[1]) == first:
            return Mark(first, bytes.fromhex(found[2]) if found[2] else None)
    return None


def with_first(text: str, key: MasterKey, *, old: bytes | None) -> str:
    """Return the text with a new key before all others, and the mark of a rotation that has begun."""
    lines = text.splitlines(keepends=True)
    at = next((number for number, line in enumerate(lines) if _keys_of(line)), len(lines))
    end = "\r\n" if lines[at:] and lines[at].endswith("\r\n") else "\n"
    if at == len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    out = "" if old is None else f", and takes out {old.hex()}"
    lines[at:at] = [f"# rotate-key makes {key.id.hex()} the first key{out}; run it again if it was cut short{end}"]
    lines[at + 1 : at + 1] = [key.hex + end]
    return "".join(lines)


def without_marks(text: str) -> str:
    """Return the text without the mark of any rotation."""
    return "".join(line for line in text.splitlines(keepends=True) if not _MARK.fullmatch(line.strip()))


def without(text: str, key_id: bytes) -> str:
    """Return the text without the key that has an id; a comment behind it stays."""
    return "".join(_line_without(line, key_id) for line in text.splitlines(keepends=True))


def ids_in(text: str) -> set[bytes]:
    """Return the ids of all keys in a text, whatever else stands there."""
    return {key.id for line in text.splitlines() for part in _keys_of(line) if (key := _key(part)) is not None}


def _keys_of(line: str) -> list[str]:
    return [part.strip() for part in line.split("#", 1)[0].split(",") if part.strip()]


def _key(part: str) -> MasterKey | None:
    try:
        return parse_master_keys(part)[0]
    except BadSetting:
        return None


def _line_without(line: str, key_id: bytes) -> str:
    parts = _keys_of(line)
    kept = [part for part in parts if (key := _key(part)) is None or key.id != key_id]
    if len(kept) == len(parts):
        return line
    bare = line.rstrip("\r\n")
    _, sign, comment = bare.partition("#")
    rest = " ".join(part for part in (", ".join(kept), sign + comment) if part)
    return rest + line[len(bare) :] if rest else ""
