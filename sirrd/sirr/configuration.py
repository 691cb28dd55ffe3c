"""Which server, with which token: options over environment over what `sirr login` has kept."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

_FILE: Final = "sirr.json"


class ConfigurationError(Exception):
    """What was kept cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where commands go.

    Attributes:
        server: The URL of the server, or None.
        token: Its master API key, or None.
        org: The org that is meant where none is named, or None.
    """

    server: str | None = None
    token: str | None = field(default=None, repr=False)
    org: str | None = None


def path() -> Path:
    """Return where `sirr login` keeps server and token."""
    return platformdirs.user_config_path("sirr", appauthor=False) / _FILE


def load(environment: Mapping[str, str], *, server: str | None, token: str | None, org: str | None) -> Configuration:
    """Put together what holds; an empty variable counts as none.

    A token that was kept belongs to the server that it was kept for: to another one it is not shown. Where options or
    variables say all, what was kept is not even read.

    Raises:
        ConfigurationError: The file is malformed, or others can read it.
    """
    server = (server or environment.get("SIRR_SERVER") or "").rstrip("/")
    token = token or environment.get("SIRR_TOKEN")
    if not (server and token):
        kept = _kept()
        server = server or kept.server or ""
        token = token or (kept.token if server == kept.server else None)
    return Configuration(server or None, token or None, org or environment.get("SIRR_ORG") or None)


def keep(server: str, token: str | None) -> Path:
    """Keep server and token in a file that nobody else can read, and return where."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as out:
        json.dump({"server": server} | ({} if token is None else {"token": token}), out)
    new.replace(file)
    return file


def _kept() -> Configuration:
    file = path()
    try:
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigurationError(f"others can read {file}, which holds a token: chmod 600 it, or sirr login again")
        found = json.loads(file.read_text())
        server, token = found["server"], found.get("token")
    except FileNotFoundError:
        return Configuration()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{file} cannot be read: sirr login again") from None
    if not isinstance(server, str) or not isinstance(token, str | None):
        raise ConfigurationError(f"{file} cannot be read: sirr login again")
    return Configuration(server, token)
