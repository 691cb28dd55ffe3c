"""The program `sirrd`: its streams, its commands, its exit codes.

Exit codes: 0 done, 1 failed, 2 usage, 3 cannot start, 128 and the signal's number where one ended it. The heavy parts
are imported by the commands that need them, so that a health check every few seconds stays cheap.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from sirrd.cli.asking import CommandError
from sirrd.cli.commands import COMMANDS, WITHOUT_SETTINGS, UsageError
from sirrd.cli.told import complain, log_format, say
from sirrd.cli.usage import parser_of
from sirrd.config.sources import load
from sirrd.errors import NoNewerKey, SirrdError, StartupError
from sirrd.log import set_up, stderr
from sirrd.sink import Sink

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CANNOT_START: Final = 3
ENDED: Final = 128
_RESULT_BYTES: Final = 1024 * 1024
logger = logging.getLogger(__name__)


class _Ended(KeyboardInterrupt):
    """A signal ends the command; what is half done is undone on the way out.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit."""
    _prepare_streams()
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would end with 120 when it tries again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError) and code == DONE:
            complain(CommandError(f"the output could not be written: {error.strerror}"))
            code = FAILED
    sys.exit(code)


def _prepare_streams() -> None:
    """Let nobody who does not read what is said hold up what is done.

    A descriptor of the three that the process was started without would be taken by the next file that is opened, the
    database say, and whatever is said would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None or not sys.stdout.isatty():
        # A result leaves in one piece, at the end: whoever does not take it is met there, and not in the midst of work.
        # A path in it may hold what is no text.
        sys.stdout = open(  # noqa: SIM115 - see above
            1, "w", buffering=_RESULT_BYTES, closefd=False, encoding="utf-8", errors="backslashreplace"
        )
    sys.stderr = sink = Sink(2)
    atexit.register(sink.settle)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser_of(COMMANDS).parse_args(arguments)
    command: Callable[..., None] = options.command
    try:
        if command in WITHOUT_SETTINGS:
            command()
        else:
            _work(command, vars(options))
    except KeyboardInterrupt as ended:
        number = getattr(ended, "number", signal.SIGINT)
        say(f"sirrd: ended by {signal.Signals(number).name}")
        return ENDED + number
    except (CommandError, SirrdError, OSError) as error:
        return _failed(error)
    return DONE


def _failed(error: Exception) -> int:
    """Say what went wrong, and return the exit code that says so."""
    if isinstance(error, OSError):
        # No command lets one of these through on purpose; a traceback would help nobody who operates this.
        error = CommandError(f"the system refused: {error.strerror or type(error).__name__}")
    complain(error)
    if isinstance(error, StartupError):
        return CANNOT_START
    return USAGE if isinstance(error, UsageError | NoNewerKey) else FAILED


def _work(command: Callable[..., None], options: dict[str, Any]) -> None:
    _refuse_other_systems()
    settings, warnings = load(
        flags={name: options[name] for name in ("host", "port", "data_dir", "log_level")},
        environ=os.environ,
        folder=_working_folder(),
        config=options["config"],
        without_foreign=command is COMMANDS["health"][0],
    )
    if command is COMMANDS["serve"][0]:
        set_up(settings.log_level, log_format(settings), stderr())
    else:
        set_up("warning", "text", stderr())
        _end_in_order()
    for warning in warnings:
        logger.warning(warning)
    os.umask(0o077)
    command(settings, **{name: options[name] for name in options["own"]})


def _refuse_other_systems() -> None:
    try:
        import fcntl  # noqa: F401, PLC0415 - it is what the data folder needs
    except ImportError:
        raise StartupError(
            "the daemon and its commands need a POSIX system, such as Linux",
            hint="the client works here, too: sirr --help; the daemon runs in WSL or in a container",
        ) from None


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _end_in_order() -> None:
    """Have the signals that end a process end a command as Ctrl-C does, so that it takes back what is half done."""

    def end(number: int, _frame: FrameType | None) -> None:
        # Whoever sends a second one does not want to wait.
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        raise _Ended(number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup a command outlives its terminal.
        if signal.getsignal(each) is signal.SIG_DFL:
            signal.signal(each, end)
