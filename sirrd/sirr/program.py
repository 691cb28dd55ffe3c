"""The command that `sirr run` runs: whether it can be run is known before anything is read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sirrd.sirr.edge import NOT_EXECUTABLE, NOT_FOUND, Failure, name_of

_LONGEST_FIRST_LINE: Final = 256
_OWN: Final = frozenset({"SIRR_SERVER", "SIRR_ORG"})
"""What a child may know of this command: where the secrets are, and none of them."""
_SHELL: Final = "/bin/sh"
_IGNORED_BY_PYTHON: Final = ("SIGPIPE", "SIGXFSZ")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be run.

    Attributes:
        path: Where it is.
        arguments: With its name as the first.
    """

    path: str
    arguments: tuple[str, ...]

    @classmethod
    def found(cls, command: Sequence[str]) -> Program:
        """Find a program as a shell does.

        Raises:
            Failure: It is not there, or cannot be run.
        """
        name = command[0]
        path = shutil.which(name)
        if path is None:
            is_there = bool(os.path.dirname(name)) and os.path.lexists(name)  # noqa: PTH120 - "./x" has a folder, too
            is_there = is_there or any(
                os.path.lexists(Path(folder) / name) for folder in os.get_exec_path() if folder and name
            )
            said = "this cannot be executed" if is_there else "there is no such command"
            raise Failure(f"{name_of(name)}: {said}; nothing was read", NOT_EXECUTABLE if is_there else NOT_FOUND)
        _check_interpreter(path)
        return cls(path, tuple(command))

    def become(self, environment: Mapping[str, str]) -> int:
        """Run it in the place of this process, or, where a process has no such end, in one of its own.

        So its exit code, and the signals that it gets and dies of, are its own.

        Raises:
            OSError: It cannot be run.
            ValueError: The environment cannot hold a value.
        """
        if os.name != "posix":
            return subprocess.run([self.path, *self.arguments[1:]], env=dict(environment), check=False).returncode  # noqa: S603 - that is the command
        with _signals_of_the_system():
            try:
                os.execve(self.path, self.arguments, environment)  # noqa: S606 - that is the command
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script without a first line that names its interpreter: any shell runs it so.
                os.execve(_SHELL, (_SHELL, self.path, *self.arguments[1:]), environment)  # noqa: S606


@contextlib.contextmanager
def _signals_of_the_system() -> Iterator[None]:
    """Give back what Python ignores for itself, and what a command would inherit: it has to die of a closed pipe."""
    numbers = [number for name in _IGNORED_BY_PYTHON if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_interpreter(path: str) -> None:
    """Refuse a script whose interpreter is not there."""
    try:
        with open(path, "rb") as script:  # noqa: PTH123 - what stands in PATH
            first = script.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return  # one can be run that cannot be read
    words = first[2:].split() if first.startswith(b"#!") else []
    if words and not os.path.exists(words[0]):  # noqa: PTH110 - bytes
        raise Failure(f"{name_of(path)}: its interpreter {name_of(words[0])} is not there; nothing was read", NOT_FOUND)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a child gets of an environment: all but what is meant for this command alone."""
    return {name: text for name, text in environment.items() if not name.upper().startswith("SIRR_") or name in _OWN}
