"""The keyboard: what is typed or pasted is taken whole, and shown to nobody.

A terminal in its usual mode hands over one line of at most 4095 bytes, and the rest of what was pasted goes to the
shell. So it is put into another mode, in which each byte arrives as it comes. Enter ends what was typed; line breaks
within what was pasted belong to it. Terminals that can, mark where pasted text begins and ends; with others a line
break counts as pasted if more stands behind it already.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, Final

from sirrd.sirr import edge
from sirrd.sirr.edge import USAGE, Failure

_LONGEST: Final = 64 * 1024 * 1024
_AT_ONCE: Final = 64 * 1024
_PENDING_SECONDS: Final = 0.1
_MARKS_ON: Final = b"\x1b[?2004h"
_MARKS_OFF: Final = b"\x1b[?2004l"
_PASTE: Final = b"\x1b[200~"
_PASTED: Final = b"\x1b[201~"
_CUT: Final = (_PASTE, _PASTED, b"\r\n")
"""What may stand across two readings."""
_END: Final = 0x04  # Ctrl-D
_ERASE: Final = frozenset({0x08, 0x7F})
_ERASE_LINE: Final = 0x15  # Ctrl-U
_SHORT_LINE: Final = 4096


class Typed:
    """What was typed so far, byte by byte.

    Attributes:
        is_over: Whether it has ended.
        lines: How many line breaks it has.
    """

    def __init__(self, *, several: bool) -> None:
        self.is_over = False
        self.lines = 0
        self._several = several
        self._has_marks = False
        self._in_paste = False
        self._value = bytearray()
        self._waiting = b""

    @property
    def value(self) -> bytes:
        """What was typed. A line break at the end of a single line is not part of it."""
        found = bytes(self._value)
        return found[:-1] if found.count(b"\n") == 1 and found.endswith(b"\n") else found

    @property
    def needs_end(self) -> bool:
        """Whether it has several lines, so that a person has to say where it ends."""
        return self.lines > 0 and not self.is_over

    def take(self, data: bytes, *, is_pending: bool) -> None:
        """Take what the terminal handed over.

        Args:
            data: Some bytes.
            is_pending: Whether more stands behind them already.

        Raises:
            Failure: It is too long, or has several lines where there can be one.
        """
        data = self._waiting + data
        self._waiting = b""
        at = 0
        while at < len(data) and not self.is_over:
            rest = data[at : at + len(_PASTE)]
            if rest in {_PASTE, _PASTED}:
                self._in_paste, self._has_marks = rest == _PASTE, True
                at += len(rest)
            elif is_pending and len(rest) < len(_PASTE) and any(each.startswith(rest) for each in _CUT):
                self._waiting = data[at:]
                return
            else:
                at += self._take_one(data, at, is_pending=is_pending)
        if len(self._value) > _LONGEST:
            raise Failure("what was typed is too long; nothing was sent: use --file", USAGE)

    def _take_one(self, data: bytes, at: int, *, is_pending: bool) -> int:
        """Take the byte at a place; return how many bytes that were."""
        each = data[at]
        if each in b"\r\n":
            size = 2 if data[at : at + 2] == b"\r\n" else 1
            is_last = at + size == len(data) and not is_pending
            self._break(is_last=is_last)
            return size
        if self._in_paste:
            self._value.append(each)
        elif each == _END:
            self.is_over = True
        elif each in _ERASE:
            self._erase()
        elif each == _ERASE_LINE:
            del self._value[self._value.rfind(b"\n") + 1 :]
        else:
            self._value.append(each)
        return 1

    def _break(self, *, is_last: bool) -> None:
        """Take a line break: the end, or a part of what was pasted."""
        is_typed = not self._in_paste and (is_last or self._has_marks)
        if is_typed and (self.lines == 0 or self._has_marks or not self._several):
            self.is_over = True
            return
        self.lines += 1
        self._value += b"\n"

    def _erase(self) -> None:
        """Take the last letter back, which may be several bytes."""
        while self._value and self._value[-1] & 0xC0 == 0x80:  # noqa: PLR2004 - UTF-8
            self._value.pop()
        if self._value and self._value[-1] != ord("\n"):
            self._value.pop()


def can_ask() -> bool:
    """Tell whether there is a keyboard, whatever standard input is."""
    if not _has_termios():
        return sys.stdin is not None and sys.stdin.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _has_termios() -> bool:
    """Tell whether terminals here are those of POSIX."""
    try:
        importlib.import_module("termios")
    except ImportError:
        return False
    return True


def ask(prompt: str, *, several: bool = False) -> bytes:
    """Ask for a value that is not shown.

    Args:
        prompt: What is shown.
        several: Whether it may have several lines.

    Raises:
        Failure: There is no keyboard, or nothing is typed.
    """
    if not _has_termios():
        return _ask_elsewhere(prompt)
    try:
        keyboard = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise Failure(f"there is no keyboard to ask for this: {prompt.strip(' :').lower()}", USAGE) from None
    try:
        typed = Typed(several=several)
        with _silent(keyboard):
            _write(keyboard, prompt.encode())
            _read(keyboard, typed)
            _write(keyboard, b"\n")
    finally:
        os.close(keyboard)
    if typed.lines and not several and b"\n" in typed.value:
        raise Failure("that was more than one line; nothing was sent", USAGE)
    return typed.value


def _read(keyboard: int, typed: Typed) -> None:
    is_told = False
    while not typed.is_over:
        try:
            data = os.read(keyboard, _AT_ONCE)
        except OSError:
            data = b""
        if not data:
            raise Failure("the terminal is gone; nothing was sent", USAGE)
        is_pending = True
        if data[-1:] in {b"\r", b"\n", b"\x1b"} or len(data) < _SHORT_LINE:
            is_pending = _is_pending(keyboard)
        typed.take(data, is_pending=is_pending)
        if typed.needs_end and not is_told and not is_pending:
            is_told = True
            _write(keyboard, b"\n(several lines; Ctrl-D ends them)")


def _is_pending(keyboard: int) -> bool:
    return bool(select.select([keyboard], [], [], _PENDING_SECONDS)[0])


def _write(keyboard: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(keyboard, data)


@contextlib.contextmanager
def _silent(keyboard: int) -> Iterator[None]:
    """Turn off echo, lines, and the keys that would leave the terminal so; and turn them on again.

    What has not been read by then is dropped, so that no shell runs it.
    """
    import termios  # noqa: PLC0415 - Windows has none

    before: list[Any] = termios.tcgetattr(keyboard)
    now = [*before[:6], list(before[6])]
    now[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
    now[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    never = os.fpathconf(keyboard, "PC_VDISABLE").to_bytes()
    for key in (termios.VSUSP, termios.VQUIT):
        now[6][key] = never
    has_marks = os.environ.get("TERM", "dumb") not in {"", "dumb"}
    try:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, now)
        if has_marks:
            _write(keyboard, _MARKS_ON)
        yield
    finally:
        if has_marks:
            _write(keyboard, _MARKS_OFF)
        with contextlib.suppress(termios.error):  # of a terminal that is gone
            termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _ask_elsewhere(prompt: str) -> bytes:
    """Ask where there is no terminal of POSIX: one line, or nothing of it."""
    import getpass  # noqa: PLC0415

    try:
        line = getpass.getpass(prompt, stream=sys.stderr)
        if importlib.import_module("msvcrt").kbhit():  # what is there on Windows alone
            raise Failure("that was more than one line; nothing was sent: use --file", USAGE)
    except (EOFError, OSError, ImportError):
        raise Failure(f"there is no keyboard to ask for this: {prompt.strip(' :').lower()}", USAGE) from None
    return line.encode("utf-8", "surrogateescape")


def choose(prompt: str, default: str) -> str | None:
    """Ask for something that may be seen; Enter takes the default. None if nobody answers."""
    try:
        with open("/dev/tty", "r+b", buffering=0) as keyboard:  # noqa: PTH123 - a device
            keyboard.write(f"{edge.shown(prompt)} [{edge.shown(default)}]: ".encode())
            line = keyboard.readline(_SHORT_LINE)
    except OSError:
        return None
    return (line.decode(errors="replace").strip() or default) if line.endswith((b"\n", b"\r")) else None
