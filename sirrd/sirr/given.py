"""The value and the passphrase that a person gives: from standard input, a file, the keyboard, or the command line."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sirrd.sirr import terminal, values
from sirrd.sirr.edge import USAGE, Failure, name_of, note, reason_of

if TYPE_CHECKING:
    from sirrd.link import Content

_LONGEST: Final = 64 * 1024 * 1024
"""As much as a server can be set to take."""
_LONGEST_PASSPHRASE: Final = 64 * 1024


def value(given: str | None, file: Path | None, *, command: str) -> bytes | Content:
    """Take a value from where it is.

    Args:
        given: The argument; None or `-` is standard input, or the keyboard.
        file: An option.
        command: What to type for a file, for the message about it.

    Raises:
        Failure: There is none, or it is empty.
    """
    if file is not None:
        if given is not None:
            raise Failure("a value or --file, not both", USAGE)
        return _of_file(file)
    found = _given(given, command)
    if not found:
        raise Failure("there is nothing to store: the value is empty", USAGE)
    if len(found) > _LONGEST:
        raise Failure("the value is longer than any server takes", USAGE)
    return found


def _given(given: str | None, command: str) -> bytes:
    if given is not None and given != "-":
        _refuse_file(given, command)
        if given:
            note("warning: a value on the command line is kept by the shell and seen by others; pipe it in instead")
        return os.fsencode(given)
    if sys.stdin is None:
        raise Failure("standard input is closed, and no value was given", USAGE)
    try:
        if given == "-" or not sys.stdin.isatty():
            return sys.stdin.buffer.read(_LONGEST + 1)
    except OSError as error:
        raise Failure(f"standard input: {reason_of(error)}", USAGE) from None
    return terminal.ask("Value: ", several=True)


def _refuse_file(given: str, command: str) -> None:
    """Refuse the name of a file as a value: what was meant is what is in it."""
    if not given:
        return
    try:
        found = Path(given).lstat()
    except (OSError, ValueError):
        return
    kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a file"
    raise Failure(
        f"this is the name of {kind}, and not a value; to send what is in a file: {command} --file {given}; "
        "to send these letters, pipe them in",
        USAGE,
    )


def _of_file(file: Path) -> Content:
    try:
        found = values.of_file(file, longest=_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "this cannot be the name of a file"
        raise Failure(reason, USAGE) from None
    if len(found.data) > _LONGEST:
        raise Failure(f"{name_of(file)}: this is longer than any server takes", USAGE)
    if not found.data:
        raise Failure(f"{name_of(file)}: there is nothing to send, the file is empty", USAGE)
    return found


def passphrase_in(file: Path) -> str:
    """Read a passphrase from a file; a line break at its end is none of it.

    Raises:
        Failure: It cannot be read, or is empty, or no text.
    """
    try:
        with file.open("rb") as opened:
            if os.name == "posix" and stat.S_ISREG(mode := os.fstat(opened.fileno()).st_mode) and mode & 0o044:
                note(f"warning: others can read {name_of(file)}, which holds a passphrase: chmod 600 it")
            data = opened.read(_LONGEST_PASSPHRASE + 1)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "this cannot be the name of a file"
        raise Failure(reason, USAGE) from None
    return _passphrase(data, name_of(file))


def _passphrase(data: bytes, source: str) -> str:
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(data) > _LONGEST_PASSPHRASE:
        raise Failure(f"{source}: this is too long for a passphrase", USAGE)
    if not data:
        raise Failure(f"{source}: a passphrase is not empty", USAGE)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(f"{source}: a passphrase is text", USAGE) from None


def asked_passphrase(file: Path | None, *, twice: bool = False) -> str:
    """Return the passphrase of a link, from a file or the keyboard.

    Args:
        file: An option, or None.
        twice: Whether to ask a second time, where nothing else would notice a slip.

    Raises:
        Failure: There is none.
    """
    if file is not None:
        return passphrase_in(file)
    if not terminal.can_ask():
        raise Failure(
            "the link needs a passphrase, and there is no keyboard to ask for it: use --passphrase-file", USAGE
        )
    word = _passphrase(terminal.ask("Passphrase: "), "nothing was sent")
    if twice and word.encode() != terminal.ask("Again: "):
        raise Failure("the passphrases differ; nothing was sent", USAGE)
    return word


def new_passphrase() -> str:
    """Ask for a passphrase for a new link, or make one where none is typed.

    Raises:
        Failure: The two that were typed differ, or the one that was made reaches nobody.
    """
    if terminal.can_ask():
        typed = terminal.ask("Passphrase (leave it empty to have one made): ")
        if typed:
            word = _passphrase(typed, "nothing was sent")
            if terminal.ask("Again: ") != typed:
                raise Failure("the passphrases differ; nothing was sent", USAGE)
            return word
    word = values.made_passphrase()
    if not note(f"passphrase: {word}\ngive it to the recipient in another way than the link"):
        raise Failure("the passphrase cannot be shown: standard error takes nothing; nothing was sent", USAGE)
    return word
