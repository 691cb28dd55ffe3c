"""The edge of the command: whatever is raised inside leaves here as one line and an exit code.

Standard output and standard error can be closed, full, or of an encoding without the letters; none of that may raise
anywhere else, and no text of a stranger reaches a terminal as it came.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, TextIO

import click

from sirrd.sirr.signals import Ended

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
GONE: Final = 4
SEALED: Final = 5
UNAUTHORISED: Final = 6
LOCKED: Final = 7
UNREACHABLE: Final = 8
OWN_FAILURE: Final = 125
"""Of `run`, whose other codes are those of the command that it runs."""
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
BY_SIGNAL: Final = 128
_PIPE_CLOSED: Final = BY_SIGNAL + 13
_STREAMS: Final = 3


class Failure(click.ClickException):
    """Ends a command with a message and an exit code of its own."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # each failure has its own


class ReaderLeftError(Exception):
    """Whoever read standard output has gone. It is no `OSError`: click would end with 1 for that."""


def run(main: Callable[[], object]) -> NoReturn:
    """Run the command and end the process with its exit code."""
    _prepare()
    code = _code_of(main)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        give_up_output()
        code = code or _of_output(error)
    sys.exit(code)


def _code_of(main: Callable[[], object]) -> int:  # noqa: PLR0911 - one return for each way to end
    try:
        found = main()
    except click.exceptions.NoArgsIsHelpError as error:
        note(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("ended by the keyboard")
        return BY_SIGNAL + 2
    except Ended as ended:
        complain(str(ended))
        return BY_SIGNAL + ended.number
    except ReaderLeftError:
        give_up_output()
        return _PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the edge: a traceback helps nobody who shares a secret
        complain(said_of(error))
        return FAILED
    return found if isinstance(found, int) else DONE


def _of_output(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return _PIPE_CLOSED  # whoever reads has enough: nothing to complain about
    complain(reason_of(error))
    return FAILED


def said_of(error: Exception) -> str:
    """Say what nobody expected: in the words of the system, or as a fault."""
    return reason_of(error) if isinstance(error, OSError) else _as_fault(error)


def _as_fault(error: Exception) -> str:
    """Say what a programmer needs, and nothing that the exception holds."""
    places = traceback.extract_tb(error.__traceback__)
    own = [each for each in places if "sirrd" in Path(each.filename).parts] or places
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "an unknown place"
    return f"a fault of sirr itself, please report it: {type(error).__name__} at {where}"


def reason_of(error: OSError) -> str:
    """Say what the system says, on one line."""
    reason = error.strerror or type(error).__name__
    return reason if error.filename is None else f"{name_of(error.filename)}: {reason}"


def name_of(path: str | bytes | int | Path) -> str:
    """Return a path as text, whatever its bytes are."""
    return str(path) if isinstance(path, int) else os.fsencode(path).decode(errors="backslashreplace")


def shown(text: str) -> str:
    """Return a text on one line, with everything escaped that a terminal might obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def complain(message: str) -> None:
    """Tell what went wrong, on one line of standard error, if anybody can hear it."""
    note(f"Error: {message}")


def note(text: str) -> bool:
    """Write lines to standard error; return whether that worked."""
    stream = sys.stderr
    if stream is None:
        return False
    try:
        click.echo("\n".join(map(shown, text.split("\n"))), file=stream)
        stream.flush()
    except (OSError, ValueError):
        # What waits in the buffer would be tried again when Python ends, and change the exit code.
        _give_up(stream)
        sys.stderr = None  # so that nobody takes what goes nowhere for said
        return False
    return True


def tell(text: str, *, flush: bool = True) -> None:
    """Write a line to standard output.

    Raises:
        OSError: It takes nothing.
    """
    click.echo(text, file=sys.stdout)
    if flush:
        sys.stdout.flush()


def check_output() -> None:
    """Make sure that standard output can be written to, before anything is done.

    Raises:
        Failure: It is closed, or open for reading alone.
    """
    if sys.stdout is None or not _can_be_written(sys.stdout):
        raise Failure("standard output is closed; nothing was done", USAGE)


def _can_be_written(stream: TextIO) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none
    except ImportError:
        return True
    try:
        return fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False
    except ValueError:  # no file at all
        return True


def give_up_output() -> None:
    """Send what is left for standard output nowhere: Python would try again when it ends, and end with 120."""
    if sys.stdout is not None:
        _give_up(sys.stdout)


def _give_up(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _prepare() -> None:
    """Make sure that no file or socket gets the number of a stream that is closed, and that no letter is too much."""
    for number in range(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
