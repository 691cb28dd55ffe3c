"""What the command line `sirrd` understands, and what it says about what it does not.

An argument that is not understood is never repeated: it may be an id or a key that belongs on standard input.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from sirrd import __version__
from sirrd.config.settings import CONFIG_FILE
from sirrd.config.sources import nearest

_EPILOG: Final = (
    "Exit codes: 0 done, 1 failed, 2 usage, 3 cannot start, 128+N ended by signal N. Settings: `sirrd example-config` "
    "explains them all; flags count before the environment, the environment before the settings file."
)
_USAGE: Final = 2
_WITHOUT_SETTINGS: Final = ("example-config", "example-unit")
_MORE: Final = {
    "serve": "It runs until SIGTERM, SIGINT or SIGHUP; `kill -9` loses nothing that was answered.",
    "prune": "It prints how many were removed. Beside a daemon it needs SIRR_MASTER_API_KEY, as any caller does.",
    "rotate-key": "Beside a daemon it needs SIRR_MASTER_API_KEY. Backups that were made before need the older key.",
    "backup": "The key is not in the copy, and what burns afterwards is alive in it: keep it short, and apart from "
    "the key.",
    "restore": "What burned since the backup is alive again, unless --burn is given.",
    "verify-burn": "For example: sirrd verify-burn < file-with-the-id",
    "check-config": "It fails where `serve` would refuse the settings.",
    "health": "It asks where the daemon says that it listens, in the data folder's lock file; else at SIRR_HOST and "
    "SIRR_PORT. The API key is not shown.",
    "example-config": "For example: sirrd example-config > sirrd.toml",
    "example-unit": "For example: sirrd example-unit > /etc/systemd/system/sirrd.service",
}


class _Parser(argparse.ArgumentParser):
    """A parser that says what may have been meant."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **(options | {"allow_abbrev": False}))  # type: ignore[arg-type]  # handed on
        self.commands: Mapping[str, argparse.ArgumentParser] = {}

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in a line and a hint, and end with 2."""
        self.print_usage(sys.stderr)
        text, hint = self._told(message)
        self.exit(_USAGE, f"sirrd: {text}\n" + (f"hint: {hint}\n" if hint else ""))

    def _told(self, message: str) -> tuple[str, str | None]:
        if found := re.match(r"argument COMMAND: invalid choice: (['\"])(.*)\1 \(", message, re.DOTALL):
            return self._unknown_command(found[2])
        if found := re.match("argument (.*): ignored explicit argument", message):
            return f"{found[1]} takes no value", f"see {self.prog} --help"
        if found := re.match("unrecognized arguments: (.*)", message, re.DOTALL):
            return self._unknown_arguments(found[1])
        if message.endswith("required: COMMAND"):
            return "no command is named", f"one of: {', '.join(self.commands)}"
        return message, f"see {self.prog} --help"

    def _unknown_command(self, given: str) -> tuple[str, str]:
        meant = None if given == "help" else nearest(given, self.commands)
        hint = f"did you mean {meant}?" if meant else f"one of: {', '.join(self.commands)}"
        return "there is no such command; flags stand behind the command", hint

    def _unknown_arguments(self, given: str) -> tuple[str, str]:
        flag = next((part.partition("=")[0] for part in given.split() if part.startswith("-") and part != "-"), None)
        if flag is None:
            return (
                "one argument too many",
                "see --help; what is secret goes to standard input, never behind the command",
            )
        known = {name for command in self.commands.values() for name in command._option_string_actions}  # noqa: SLF001
        meant = nearest(flag, known)
        text = f"{flag} is not a flag of this command" if flag in known else f"there is no flag {flag}"
        return text, f"did you mean {meant}?" if meant and meant != flag else "see --help behind the command"


def parser_of(commands: Mapping[str, tuple[Callable[..., None], str]]) -> argparse.ArgumentParser:
    """Return what parses the command line.

    Args:
        commands: By name, what runs the command, and what it does in a few words.

    Returns:
        A parser whose result has `command`, and `own` with the names of the arguments that are not settings.
    """
    parser = _Parser(prog="sirrd", description="A burn-after-read dead drop daemon.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"sirrd {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (command, text) in commands.items():
        sub = subparsers.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. {_MORE[name]}", epilog=_EPILOG
        )
        sub.set_defaults(command=command, own=())
        if name not in _WITHOUT_SETTINGS:
            _add_settings(sub)
    parser.commands = dict(subparsers.choices)
    _add_own(parser.commands)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    settings = parser.add_argument_group("settings")
    settings.add_argument("--config", type=Path, metavar="FILE", help=f"settings file (default: ./{CONFIG_FILE})")
    settings.add_argument("--host", metavar="ADDRESS", help="listen address (SIRR_HOST)")
    settings.add_argument("--port", type=int, metavar="PORT", help="listen port (SIRR_PORT)")
    settings.add_argument("--data-dir", metavar="FOLDER", help="data folder (SIRR_DATA_DIR)")
    settings.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (SIRR_LOG_LEVEL)")


def _add_own(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add the arguments that only some commands have."""
    commands["health"].set_defaults(own=("host", "port"))
    commands["rotate-key"].set_defaults(own=("renew",))
    commands["rotate-key"].add_argument(
        "--renew",
        action="store_true",
        help="after a key was stolen: renew what names are found by and the audit trail is sealed with, too",
    )
    commands["backup"].set_defaults(own=("file",))
    commands["backup"].add_argument(
        "file", type=Path, metavar="FILE", help="a file that does not exist yet, or - for standard output"
    )
    restore = commands["restore"]
    restore.set_defaults(own=("file", "replace", "burn"))
    restore.add_argument("file", type=Path, metavar="FILE", help="what backup made, or - for standard input")
    restore.add_argument("--replace", action="store_true", help="put it in the place of the database that is there")
    restore.add_argument("--burn", action="store_true", help="delete every secret with a limit of reads")
