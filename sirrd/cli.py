"""The command line `sirrd`: serve, prune, rotate-key, backup, restore, verify-burn, check-config, health.

Exit codes: 0 done, 1 failed, 2 usage, 3 cannot start. The heavy parts are imported by the commands that need them, so
that a health check every few seconds stays cheap.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import http.client
import ipaddress
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sirrd import __version__
from sirrd.config import CONFIG_FILE, Settings, load, local_url
from sirrd.errors import BadPath, BadSetting, FolderInUse, NoNewerKey, SirrdError, StartupError
from sirrd.log import Format, default_format, set_up, stderr
from sirrd.sink import Sink

if TYPE_CHECKING:
    from sirrd.keyring import MasterKey

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CANNOT_START: Final = 3
_HTTP_SECONDS: Final = 10
_PRUNE_SECONDS: Final = 600
_LONGEST_NAME: Final = 512
_RESULT_BYTES: Final = 1024 * 1024
logger = logging.getLogger(__name__)


class CommandError(Exception):
    """A command did not do what it should; the message says why."""


class RefusedError(CommandError):
    """The daemon did not do what it was asked for.

    Attributes:
        status: The HTTP status of its answer.
    """

    def __init__(self, address: str, status: int) -> None:
        super().__init__(f"the daemon at {address} answered {status}")
        self.status = status


class UsageError(Exception):
    """What a command was given makes no sense; the message says why."""


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
        sys.stdout = open(1, "w", buffering=_RESULT_BYTES, closefd=False, encoding="utf-8")  # noqa: SIM115 - see above
    sys.stderr = sink = Sink(2)
    atexit.register(sink.settle)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings, warnings = load(
            flags={name: getattr(options, name, None) for name in ("host", "port", "data_dir", "log_level")},
            environ=os.environ,
            folder=Path.cwd(),
            config=options.config,
        )
        command: Callable[..., None] = options.command
        own = {name: getattr(options, name) for name in _OWN if hasattr(options, name)}
        if command is _serve:
            set_up(settings.log_level, _log_format(settings), stderr())
        else:
            set_up("warning", "text", stderr())
        for warning in warnings:
            logger.warning(warning)
        command(settings, **own)
    except StartupError as error:
        complain(error)
        return CANNOT_START
    except (UsageError, NoNewerKey) as error:
        complain(error)
        return USAGE
    except (CommandError, SirrdError) as error:
        complain(error)
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sirrd", description="A burn-after-read dead drop daemon.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"sirrd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command, text in (
        ("serve", _serve, "run the daemon"),
        ("prune", _prune, "remove expired secrets, through the daemon if it is running"),
        ("rotate-key", _rotate_key, "make a new encryption key and move all records to it; goes on where it was ended"),
        ("backup", _backup, "copy the database into a new file, beside a running daemon or not"),
        ("restore", _restore, "make a backup the database, while no daemon runs"),
        ("verify-burn", _verify_burn, "check that the secret named on standard input (an id, or org/key) is gone"),
        ("check-config", _check_config, "print the effective settings, secrets redacted"),
        ("health", _health, "ask the daemon whether it is alive"),
    ):
        sub = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=_EPILOG)
        sub.set_defaults(command=command)
        sub.add_argument("--config", type=Path, metavar="FILE", help=f"settings file (default: ./{CONFIG_FILE})")
        sub.add_argument("--host", metavar="ADDRESS", help="listen address (SIRR_HOST)")
        sub.add_argument("--port", type=int, metavar="PORT", help="listen port (SIRR_PORT)")
        sub.add_argument("--data-dir", metavar="FOLDER", help="data folder (SIRR_DATA_DIR)")
        sub.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (SIRR_LOG_LEVEL)")
    commands.choices["backup"].add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")
    restore = commands.choices["restore"]
    restore.add_argument("file", type=Path, metavar="FILE", help="what backup made")
    restore.add_argument("--replace", action="store_true", help="put it in the place of the database that is there")
    restore.add_argument("--burn", action="store_true", help="delete every secret with a limit of reads")
    return parser


_OWN: Final = ("file", "replace", "burn")
"""Arguments that only some commands have; the others are settings."""
_EPILOG: Final = "Exit codes: 0 done, 1 failed, 2 usage, 3 cannot start. Settings: sirrd.toml.example."


def _serve(settings: Settings) -> None:
    _refuse_open_server(settings)
    from sirrd.server import serve  # noqa: PLC0415 - see the module's docstring

    serve(settings, started=lambda address: _announce(settings, address))


def _prune(settings: Settings) -> None:
    from sirrd.assembly import deaddrop_of  # noqa: PLC0415 - see the module's docstring
    from sirrd.background import tick  # noqa: PLC0415
    from sirrd.clock import SystemClock  # noqa: PLC0415
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415
    from sirrd.model import Caller  # noqa: PLC0415
    from sirrd.store.folder import DataFolder  # noqa: PLC0415

    async def offline() -> object:
        async with deaddrop_of(settings, clock=SystemClock(), entropy=SystemEntropy()) as drop:
            pruned, _ = await drop.prune(by=Caller("local"))
            await tick(drop)
            return pruned

    os.umask(0o077)
    try:
        pruned = asyncio.run(offline())
    except FolderInUse:
        address = DataFolder(settings.data_dir).holder()
        if not address:
            raise CommandError("another process holds the data folder, and it is not a daemon that listens") from None
        pruned = _asked(settings, "POST", address + "/prune", "pruned", seconds=_PRUNE_SECONDS)
    print(f"pruned {pruned}")


def _rotate_key(settings: Settings) -> None:
    from sirrd.rotate import rotate  # noqa: PLC0415 - see the module's docstring

    def begin(address: str) -> int | None:
        try:
            return int(str(_asked(settings, "POST", address + "/rotate-key", "remaining")))
        except RefusedError as error:
            if error.status == http.client.CONFLICT:
                return None
            raise

    os.umask(0o077)
    rotate(settings, begin=begin, say=_say)
    print("every record is under the newest key")


def _backup(settings: Settings, *, file: Path) -> None:
    from sirrd.store.backup import backup  # noqa: PLC0415 - see the module's docstring
    from sirrd.store.folder import DataFolder  # noqa: PLC0415

    print(f"backed up {backup(DataFolder(settings.data_dir.absolute()).database, file.absolute())} secrets")
    _say("sirrd: the key is not in the backup: keep it elsewhere; restoring revives what burned since")


def _restore(settings: Settings, *, file: Path, replace: bool, burn: bool) -> None:
    from sirrd.clock import SystemClock  # noqa: PLC0415 - see the module's docstring
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415
    from sirrd.keyring import MasterKeys  # noqa: PLC0415
    from sirrd.store.folder import DataFolder  # noqa: PLC0415
    from sirrd.store.restore import restore  # noqa: PLC0415

    os.umask(0o077)
    folder = DataFolder(settings.data_dir.absolute())
    masters = MasterKeys(_given_keys(settings) or folder.kept_master_keys(), SystemEntropy())
    kept, burned = asyncio.run(
        restore(file.absolute(), folder, masters=masters, clock=SystemClock(), replace=replace, burn=burn)
    )
    print(f"restored {kept} secrets, {burned} burned")
    if not burn:
        _say("sirrd: what burned or was deleted since the backup is alive again: see --burn")


def _verify_burn(settings: Settings) -> None:
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415 - see the module's docstring
    from sirrd.keyring import MasterKeys  # noqa: PLC0415
    from sirrd.store.folder import DataFolder  # noqa: PLC0415
    from sirrd.store.verify import parse_name, verify_burn  # noqa: PLC0415

    try:
        identity = parse_name(sys.stdin.buffer.read(_LONGEST_NAME).decode().removesuffix("\n").removesuffix("\r"))
    except (BadPath, UnicodeDecodeError):
        raise UsageError("standard input holds neither an id of 64 hex digits nor org/key") from None
    folder = DataFolder(settings.data_dir.absolute())
    masters = MasterKeys(_given_keys(settings) or folder.kept_master_keys(), SystemEntropy())
    findings = verify_burn(folder.path, folder.database, identity, masters=masters)
    for finding in findings:
        print(f"{'ok' if finding.holds else 'FAILED'}: {finding.text}")
    if not all(finding.holds for finding in findings):
        raise CommandError("the burn could not be verified")


def _given_keys(settings: Settings) -> tuple[MasterKey, ...] | None:
    from sirrd.keyring import parse_master_keys  # noqa: PLC0415 - see the module's docstring

    given = settings.master_encryption_key
    return None if given is None else parse_master_keys(given.get_secret_value())


def _check_config(settings: Settings) -> None:
    from sirrd.keyring import parse_master_keys  # noqa: PLC0415 - see the module's docstring

    for name, value in settings.shown().items():
        print(f"{name} = {value}")
    if settings.master_encryption_key is not None:
        parse_master_keys(settings.master_encryption_key.get_secret_value())
    _refuse_open_server(settings)


def _health(settings: Settings) -> None:
    print(_asked(settings, "GET", local_url(settings.host, settings.port) + "/health", "status"))


def _asked(settings: Settings, method: str, url: str, member: str, *, seconds: float = _HTTP_SECONDS) -> object:
    """Ask the daemon on this machine, directly (no proxy, no redirect), and return a member of what it says."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    key = settings.master_api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    try:
        connection.request(method, parts.path, headers=headers)
        response = connection.getresponse()
        content = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        raise CommandError(f"no daemon answers at {parts.netloc}") from None
    finally:
        connection.close()
    if response.status not in {http.client.OK, http.client.ACCEPTED}:
        raise RefusedError(parts.netloc, response.status)
    if not isinstance(content, dict) or member not in content:
        raise CommandError(f"what answers at {parts.netloc} is no sirrd")
    return content[member]


def _refuse_open_server(settings: Settings) -> None:
    """Refuse what would let strangers store and list, unless that is wanted.

    Raises:
        BadSetting: No master API key is set, and the address or the CORS policy is open to others.
    """
    if settings.master_api_key is not None or settings.allow_open:
        return
    hint = "set SIRR_MASTER_API_KEY, or SIRR_ALLOW_OPEN=true if everyone may store, list and delete"
    if not is_loopback(settings.host):
        raise BadSetting("without a master API key sirrd listens on loopback addresses only", hint=hint)
    if settings.cors_origins == ("*",):
        raise BadSetting("without a master API key sirrd does not serve every origin", hint=hint)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listening address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _announce(settings: Settings, address: str) -> None:
    """Tell the operator that the daemon has started: people by a banner, programs by lines of the log."""
    if _log_format(settings) == "text":
        _say(banner(settings, address))
        return
    started = {"version": __version__, "address": address, "data_dir": str(settings.data_dir)}
    logger.info("started", extra={"fields": started | protections(settings)})
    for found in protections(settings).values():
        if found.startswith(_LOUD):
            logger.warning(found)


_LOUD: Final = ("OPEN", "PUBLIC")


def protections(settings: Settings) -> dict[str, str]:
    """Return what is protected, by what, and what is open."""
    told = {
        "encrypted": "with the key file in the data folder; without that file the data cannot be read"
        if settings.master_encryption_key is None
        else "with SIRR_MASTER_ENCRYPTION_KEY; without that key the data cannot be read",
        "protected": "OPEN: no SIRR_MASTER_API_KEY is set, so whoever reaches this address can store, list and delete"
        if settings.master_api_key is None
        else f"{'store in an org' if settings.public_create else 'store'}, list, amend, delete and prune need the "
        "master API key",
        "org_secrets": "PUBLIC: whoever guesses the key of an org secret can read it (SIRR_ORG_READS=public)"
        if settings.org_reads == "public"
        else "need the master API key, by bare key too (SIRR_ORG_READS=protected; the original serves them to anyone)",
    }
    told["hosts"] = _hosts(settings)
    if settings.public_create:
        told["dead_drops"] = _public(settings)
    if settings.rate_limit_per_second is not None:
        told["strangers"] = _limit(settings)
    return told


def _hosts(settings: Settings) -> str:
    """Say by which names the daemon is asked."""
    meant = settings.meant_hosts
    if meant is None:
        return "ANY: a page of another site may ask under its own name; set SIRR_PUBLIC_URL, or SIRR_ALLOWED_HOSTS"
    return f"requests must name {' or '.join([*sorted(meant), 'loopback'])}: see SIRR_PUBLIC_URL, SIRR_ALLOWED_HOSTS"


def _public(settings: Settings) -> str:
    """Say what anyone may store, and how often."""
    caps = settings.public_caps
    return (
        f"PUBLIC: anyone may store dead drops (SIRR_PUBLIC_CREATE=true), of {caps.max_value_bytes} bytes and "
        f"{caps.max_ttl_seconds} s at most, {settings.public_creates_per_hour} an hour for {_each_address(settings)}"
    )


def _limit(settings: Settings) -> str:
    """Say how often an address may ask."""
    limit = f"limited to {settings.rate_limit_per_second:g}/s and {settings.rate_burst} at once"
    return f"{limit} for {_each_address(settings)}"


def _each_address(settings: Settings) -> str:
    """Say what counts as one address."""
    if settings.trusted_proxies:
        return "each address that the trusted proxies report"
    return "each address that connects; behind a proxy set SIRR_TRUSTED_PROXIES"


def _pages(settings: Settings, address: str) -> str:
    """Say which pages there are."""
    if settings.pages == "all":
        return f"make and open links in a browser, at {address}/"
    return f"{'of links alone' if settings.pages == 'reveal' else 'none'} (SIRR_PAGES={settings.pages})"


def banner(settings: Settings, address: str) -> str:
    """Return what a person reads when the daemon has started."""
    bearer = "" if settings.master_api_key is None else '-H "Authorization: Bearer $SIRR_MASTER_API_KEY" '
    example = f"""curl {bearer}-H 'Content-Type: application/json' -d '{{"value":"hello"}}' {address}/secrets"""
    lines = {
        "data": str(settings.data_dir),
        **protections(settings),
        "pages": _pages(settings, address),
        "try": example,
    }
    told = (f"  {name.replace('_', ' '):<11} {text}" for name, text in lines.items())
    return "\n".join((f"sirrd {__version__} listens on {address}", *told))


def _log_format(settings: Settings) -> Format:
    return settings.log_format or default_format(stderr())


def complain(error: Exception) -> None:
    """Tell the operator what went wrong, and what could be done about it."""
    _say(f"sirrd: {str(error) or (error.__doc__ or type(error).__name__).partition('.')[0].lower()}")
    if (hint := getattr(error, "hint", None)) is not None:
        _say(f"hint: {hint}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
