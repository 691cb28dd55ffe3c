"""Which server, with which token: options over environment over what `sirr login` has kept.

The one place that looks at what the environment says, and says what is wrong with it, by name, before anything is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sirrd.sirr.edge import USAGE, Failure, name_of

_FILE: Final = "sirr.json"
_LONGEST_FILE: Final = 64 * 1024
_LONGEST_URL: Final = 2048
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
_ORG: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,128}")
_KEY: Final = re.compile(r"(?!\.{1,2}\Z|[0-9A-Fa-f]{64}\Z)[A-Za-z0-9_.-]{1,256}")
_SHARED: Final = re.compile(r"/s/[0-9A-Fa-f]{64}")


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


def server_of(text: str, name: str = "") -> str:
    """Check the URL of a server, and return it without a slash at its end.

    Args:
        text: What was given.
        name: Of the variable that it stands in, if it does.

    Raises:
        Failure: It is none.
    """
    where = f"{name}: " if name else ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
        is_sound = parts.scheme in {"http", "https"} and bool(host) and not (parts.query or parts.fragment)
    except ValueError:  # a UnicodeError is one
        is_sound = False
    if _SHARED.search(text):
        raise Failure(f"{where}this is a link, and the server is named by its URL alone", USAGE)
    if not is_sound or not text.isprintable() or " " in text or len(text) > _LONGEST_URL:
        raise Failure(f"{where}the server is named by its URL, like https://drop.example", USAGE)
    if "@" in parts.netloc:
        raise Failure(f"{where}the URL of the server must not hold a name or a password", USAGE)
    return text.rstrip("/")


def token_of(text: str, name: str = "--token") -> str:
    """Check a token, which has to fit a header.

    Raises:
        Failure: It does not.
    """
    if _TOKEN.fullmatch(text) is None:
        raise Failure(f"{name}: a token is printable ASCII without blanks or line breaks", USAGE)
    return text


def org_of(text: str, name: str = "--org") -> str:
    """Check the name of an org.

    Raises:
        Failure: It is none.
    """
    if _ORG.fullmatch(text) is None:
        raise Failure(f"{name}: an org has 1 to 128 letters, digits, _, . and - for a name", USAGE)
    return text


def key_of(text: str) -> str:
    """Check the key of an org secret.

    Raises:
        Failure: It is none.
    """
    if _KEY.fullmatch(text) is None:
        raise Failure("a key has 1 to 256 letters, digits, _, . and -, and is no id; nothing was sent", USAGE)
    return text


def path() -> Path:
    """Return where `sirr login` keeps server and token.

    Raises:
        ConfigurationError: There is no such place.
    """
    import platformdirs  # noqa: PLC0415

    try:
        folder = platformdirs.user_config_path("sirr", appauthor=False)
    except (RuntimeError, OSError):  # neither HOME nor an entry for this user
        folder = Path()
    if not folder.is_absolute():
        # Of a relative one it would be the working folder that says where a token goes.
        raise ConfigurationError("there is no folder to keep a server in: set HOME, or SIRR_SERVER and SIRR_TOKEN")
    return folder / _FILE


def load(environment: Mapping[str, str], *, server: str | None, token: str | None, org: str | None) -> Configuration:
    """Put together what holds; an empty variable counts as none.

    A token that was kept belongs to the server that it was kept for: to another one it is not shown. Where options or
    variables say all, what was kept is not even read.

    Raises:
        ConfigurationError: The file is malformed, or others can read it.
        Failure: An option or a variable is malformed.
    """
    named = {
        name: check(given) if given else check(text, f"SIRR_{name.upper()}") if text else None
        for name, given, check in (("server", server, server_of), ("token", token, token_of), ("org", org, org_of))
        for text in (environment.get(f"SIRR_{name.upper()}"),)
    }
    server, token = named["server"], named["token"]
    if not (server and token):
        kept = _kept()
        server = server or kept.server
        token = token or (kept.token if server == kept.server else None)
    return Configuration(server, token, named["org"])


def keep(server: str, token: str | None) -> Path:
    """Keep server and token in a file that nobody else can read, and return where.

    Raises:
        ConfigurationError: There is no place for it.
        OSError: It could not be written.
    """
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as out:
            json.dump({"server": server} | ({} if token is None else {"token": token}), out)
        new.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    return file


def forget() -> Path | None:
    """Remove what was kept; return where it was, or None if there was nothing.

    Raises:
        ConfigurationError: There is no place for it.
        OSError: It could not be removed.
    """
    file = path()
    try:
        file.unlink()
    except FileNotFoundError:
        return None
    return file


def _kept() -> Configuration:
    try:
        file = path()
    except ConfigurationError:
        return Configuration()  # nothing can have been kept
    again = ConfigurationError(f"{name_of(file)} cannot be read: sirr login again")
    try:
        with file.open("rb") as opened:
            _check_eyes(file, os.fstat(opened.fileno()))
            found = json.loads(opened.read(_LONGEST_FILE))
        server, token = found["server"], found.get("token")
        if not isinstance(server, str) or not isinstance(token, str | None):
            raise again
        return Configuration(server_of(server), None if token is None else token_of(token))
    except FileNotFoundError:
        return Configuration()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, Failure):
        raise again from None


def _check_eyes(file: Path, found: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"others can read {name_of(file)}, which holds a token: chmod 600 it, or sirr login again"
        )
    if hasattr(os, "geteuid") and found.st_uid not in {os.geteuid(), 0}:
        raise ConfigurationError(f"{name_of(file)} belongs to another user: remove it, or sirr login again")
