"""Environment files: what each reader makes of a line, and what it cannot be told.

Every format has readers of its own, and each of them reads quotes, backslashes, dollars and line breaks in another way.
A value that a reader would take for another is never written: it is refused, by its name.

| format | read by |
|---|---|
| dotenv | python-dotenv, node --env-file, the dotenv of npm: all three alike |
| shell | sh, bash, dash: `eval "$(…)"`, or sourced |
| docker | docker run --env-file, podman |
| systemd | EnvironmentFile= |
| json | every program |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_UNQUOTED: Final = re.compile(r"[!$-&(-_a-~](?:[ -\"$-~]*[!-\"$-~])?")
_LONGEST_DOCKER_LINE: Final = 64 * 1024 - 2
_NO_DOTENV: Final = re.compile(r"[\r\0\u0085\u2028\u2029\ufeff]|\$\{")
_SYSTEMD_ESCAPED: Final = re.compile(r'["$`\\]')
_QUOTE: Final = "'\\''"
"""A single quote within single quotes: they end, it stands escaped, and they begin again."""
_NO_CONTROLS: Final = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")


class UnfitError(ValueError):
    """A format cannot carry a value; the message says why, and repeats nothing of it."""


def dotenv(name: str, value: str) -> str:
    """Return a line that python-dotenv, node and the dotenv of npm read alike; and a shell, for most values.

    They agree about little: python-dotenv replaces `${…}` in any quotes and takes backslashes in them for escapes, npm
    makes line feeds of carriage returns, and none knows how to write both kinds of quotes into quotes.

    Raises:
        UnfitError: Not all of them would read it as it is.
    """
    if _NO_DOTENV.search(value):
        raise UnfitError("it has ${…}, a carriage return, or a separator that readers of .env files change")
    if _PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    if "'" not in value and "\\\\" not in value and not value.endswith("\\"):
        return f"{name}='{value}'\n"
    if '"' not in value and "\\" not in value:
        return f'{name}="{value}"\n'
    if _UNQUOTED.fullmatch(value):
        return f"{name}={value}\n"
    raise UnfitError("it mixes quotes, backslashes or line breaks in a way that .env files cannot hold")


def shell(name: str, value: str) -> str:
    """Return a line that a shell reads: between single quotes everything is as it stands.

    Raises:
        UnfitError: There is a NUL in it.
    """
    _refuse_nul(value)
    quoted = value if _PLAIN.fullmatch(value) else "'" + value.replace("'", _QUOTE) + "'"
    return f"export {name}={quoted}\n"


def docker(name: str, value: str) -> str:
    """Return a line of which docker takes everything behind the first `=` as it stands.

    Raises:
        UnfitError: It has a line break, or makes a line of more than 64 KiB.
    """
    _refuse_nul(value)
    if "\n" in value or "\r" in value:
        raise UnfitError("it has a line break, and docker knows no way to write one")
    line = f"{name}={value}"
    if len(line.encode()) > _LONGEST_DOCKER_LINE:
        raise UnfitError("it is longer than the lines that docker reads, which have 64 KiB")
    return f"{line}\n"


def systemd(name: str, value: str) -> str:
    """Return a line that systemd reads: in double quotes, with a backslash before what they do not take as it is.

    Raises:
        UnfitError: There is a control character in it.
    """
    if _NO_CONTROLS.search(value):
        raise UnfitError("it has control characters, which systemd does not pass on")
    if _PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    escaped = _SYSTEMD_ESCAPED.sub(r"\\\g<0>", value)
    return f'{name}="{escaped}"\n'


def _refuse_nul(value: str) -> None:
    if "\0" in value:
        raise UnfitError("it has a NUL, which no environment can hold")


LINES: Final[Mapping[str, Callable[[str, str], str]]] = {
    "dotenv": dotenv,
    "shell": shell,
    "docker": docker,
    "systemd": systemd,
}
NAMES: Final = (*LINES, "json")


def check(form: str, name: str, value: str) -> None:
    """Make sure that a format can carry a value.

    Raises:
        UnfitError: It cannot.
    """
    if form in LINES:
        LINES[form](name, value)


def file_of(form: str, found: Mapping[str, str]) -> str:
    """Return an environment file.

    Raises:
        UnfitError: The format cannot carry one of the values.
    """
    if form == "json":
        return json.dumps(dict(found), ensure_ascii=False, indent=1) + "\n"
    return "".join(LINES[form](name, value) for name, value in found.items())
