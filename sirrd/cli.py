"""The command line `sirrd`: serve, prune, rotate-key, backup, restore, verify-burn, check-config, health, examples.

Exit codes: 0 done, 1 failed, 2 usage, 3 cannot start, 128 and the signal's number where one ended it. The heavy parts
are imported by the commands that need them, so that a health check every few seconds stays cheap.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import http.client
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from sirrd import __version__
from sirrd.asking import CommandError, RefusedError, ask
from sirrd.config.settings import Settings, local_url
from sirrd.config.sources import load
from sirrd.errors import BadFolder, BadPath, BadSetting, FolderInUse, NoNewerKey, SirrdError, StartupError
from sirrd.log import Format, default_format, set_up, stderr
from sirrd.sink import Sink
from sirrd.usage import parser_of

if TYPE_CHECKING:
    from sirrd.keyring.masters import MasterKey
    from sirrd.store.sqlite.folder import DataFolder

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CANNOT_START: Final = 3
ENDED: Final = 128
_HTTP_SECONDS: Final = 10
_PRUNE_SECONDS: Final = 600
_LONGEST_NAME: Final = 512
_STREAM: Final = Path("-")
_RESULT_BYTES: Final = 1024 * 1024
logger = logging.getLogger(__name__)


class UsageError(CommandError):
    """What a command was given makes no sense; the message says why."""


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
        if command in _WITHOUT_SETTINGS:
            command()
        else:
            _work(command, vars(options))
    except KeyboardInterrupt as ended:
        number = getattr(ended, "number", signal.SIGINT)
        _say(f"sirrd: ended by {signal.Signals(number).name}")
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
        without_foreign=command is _health,
    )
    if command is _serve:
        set_up(settings.log_level, _log_format(settings), stderr())
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


def _folder_of(settings: Settings, *, for_long: bool = False) -> DataFolder:
    """Return the data folder, as its owner."""
    from sirrd.rights import folder_of  # noqa: PLC0415 - see the module's docstring

    return folder_of(settings, say=_say, for_long=for_long)


def _serve(settings: Settings) -> None:
    _refuse_open_server(settings)
    from sirrd.server.process import serve  # noqa: PLC0415 - see the module's docstring

    _folder_of(settings, for_long=True)

    serve(settings, started=lambda address: _announce(settings, address))


def _prune(settings: Settings) -> None:
    from sirrd.assembly import deaddrop_of  # noqa: PLC0415 - see the module's docstring
    from sirrd.background import tick  # noqa: PLC0415
    from sirrd.clock import SystemClock  # noqa: PLC0415
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415
    from sirrd.model import Caller  # noqa: PLC0415

    async def offline() -> object:
        async with deaddrop_of(settings, clock=SystemClock(), entropy=SystemEntropy()) as drop:
            pruned, _ = await drop.prune(by=Caller("local"))
            await tick(drop)
            return pruned

    folder = _folder_of(settings)
    try:
        pruned = asyncio.run(offline())
    except FolderInUse as error:
        address = folder.holder()
        if not address:
            raise CommandError(
                "another process holds the data folder, and it is not a daemon that listens", hint=error.hint
            ) from None
        pruned = ask(address, "POST", "/prune", "pruned", key=settings.master_api_key, seconds=_PRUNE_SECONDS)
    print(f"pruned {pruned}")


def _rotate_key(settings: Settings, *, renew: bool) -> None:
    from sirrd.rotate import rotate  # noqa: PLC0415 - see the module's docstring

    def begin(address: str, path: str = "/rotate-key") -> int | None:
        try:
            key = settings.master_api_key
            return int(str(ask(address, "POST", path, "remaining", key=key, seconds=_HTTP_SECONDS)))
        except RefusedError as error:
            if error.status == http.client.CONFLICT:
                return None
            raise

    def begin_renewing(address: str) -> int | None:
        return begin(address, "/rotate-key?renew=true")

    _folder_of(settings)
    rotate(settings, begin=begin, say=_say, renew=begin_renewing if renew else None)
    print("every record is under the newest key" + (", and the inner keys are new" if renew else ""))


def _backup(settings: Settings, *, file: Path) -> None:
    from sirrd.rights import folder_to_copy  # noqa: PLC0415 - see the module's docstring
    from sirrd.store.sqlite.backup import backup, backup_to  # noqa: PLC0415

    if file == _STREAM:
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal, and a copy is no text", hint="sirrd backup - > FILE")
        _say(f"backed up {backup_to(1, _folder_of(settings).database)} secrets")
    else:
        folder, owner = folder_to_copy(settings, file.absolute().parent, say=_say)
        print(f"backed up {backup(folder.database, file.absolute(), owner=owner)} secrets")
        if file.absolute().is_relative_to(folder.path):
            _say("sirrd: a copy in the data folder keeps what burns meanwhile: move it elsewhere")
    _say("sirrd: the key is not in the backup: keep it elsewhere; restoring revives what burned since")


def _restore(settings: Settings, *, file: Path, replace: bool, burn: bool) -> None:
    from sirrd.clock import SystemClock  # noqa: PLC0415 - see the module's docstring
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415
    from sirrd.keyring.masters import MasterKeys  # noqa: PLC0415
    from sirrd.store.sqlite.restore import open_backup, received, restore  # noqa: PLC0415

    if file == _STREAM and sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint="sirrd restore - < FILE")
    with contextlib.ExitStack() as stack:
        if file != _STREAM:
            # Before root gives its rights up: the file is the operator's.
            opened = stack.enter_context(contextlib.closing(open_backup(file.absolute())))
        folder = _folder_of(settings)
        masters = MasterKeys(_given_keys(settings) or folder.kept_master_keys(), SystemEntropy())
        if file == _STREAM:
            opened = stack.enter_context(received(0, folder.path))
        kept, burned = asyncio.run(
            restore(
                file.absolute(),
                folder,
                masters=masters,
                clock=SystemClock(),
                replace=replace,
                burn=burn,
                opened=opened,
            )
        )
    print(f"restored {kept} secrets, {burned} burned")
    if not burn:
        _say("sirrd: what burned or was deleted since the backup is alive again: see --burn")


def _verify_burn(settings: Settings) -> None:
    from sirrd.entropy import SystemEntropy  # noqa: PLC0415 - see the module's docstring
    from sirrd.keyring.masters import MasterKeys  # noqa: PLC0415
    from sirrd.store.sqlite.verify import parse_name, verify_burn  # noqa: PLC0415

    try:
        identity = parse_name(sys.stdin.buffer.read(_LONGEST_NAME).decode().removesuffix("\n").removesuffix("\r"))
    except (BadPath, UnicodeDecodeError):
        raise UsageError(
            "standard input holds neither an id of 64 hex digits nor org/key",
            hint="sirrd verify-burn < file-with-the-id",
        ) from None
    folder = _folder_of(settings)
    masters = MasterKeys(_given_keys(settings) or folder.kept_master_keys(), SystemEntropy())
    findings = verify_burn(folder.path, folder.database, identity, masters=masters)
    for finding in findings:
        print(f"{'ok' if finding.holds else 'FAILED'}: {finding.text}")
    if not all(finding.holds for finding in findings):
        raise CommandError("the burn could not be verified")


def _given_keys(settings: Settings) -> tuple[MasterKey, ...] | None:
    from sirrd.keyring.masters import parse_master_keys  # noqa: PLC0415 - see the module's docstring

    given = settings.master_encryption_key
    return None if given is None else parse_master_keys(given.get_secret_value())


def _check_config(settings: Settings) -> None:
    from sirrd.keyring.masters import parse_master_keys  # noqa: PLC0415 - see the module's docstring
    from sirrd.rights import foreign_owner  # noqa: PLC0415
    from sirrd.store.sqlite.folder import DataFolder  # noqa: PLC0415

    for name, value in settings.shown().items():
        print(f"{name} = {value}")
    if settings.master_encryption_key is not None:
        parse_master_keys(settings.master_encryption_key.get_secret_value())
    _refuse_open_server(settings)
    owner = foreign_owner(settings)
    try:
        DataFolder(settings.data_dir).check(os.geteuid() if owner is None else owner.uid)
    except BadFolder as error:
        # The daemon may be meant for another user, or another machine.
        logger.warning("as the user who runs this, serve would not start: %s", error)


def _health(settings: Settings, *, host: str | None, port: int | None) -> None:
    """Ask whoever listens, and show no key: it may be somebody else by now."""
    from sirrd.store.sqlite.folder import DataFolder  # noqa: PLC0415 - see the module's docstring

    address = local_url(settings.host, settings.port)
    if host is None and port is None:
        address = DataFolder(settings.data_dir).holder() or address
    if address.endswith(":0"):
        raise CommandError(
            "no daemon holds the data folder, and with port 0 there is no other way to find one",
            hint="see SIRR_DATA_DIR, or say --port",
        )
    print(ask(address, "GET", "/health", "status", key=None, seconds=_HTTP_SECONDS))


def _example_config() -> None:
    from sirrd.examples import text_of  # noqa: PLC0415 - see the module's docstring

    print(text_of("sirrd.toml.example"), end="")


def _example_unit() -> None:
    from sirrd.examples import text_of  # noqa: PLC0415 - see the module's docstring

    print(text_of("sirrd.service"), end="")


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
        "org_secrets": _org_secrets(settings),
    }
    told["hosts"] = _hosts(settings)
    if settings.public_create:
        told["dead_drops"] = _public(settings)
    if settings.rate_limit_per_second is not None:
        told["strangers"] = _limit(settings)
    return told


def _org_secrets(settings: Settings) -> str:
    """Say who can read an org secret."""
    if settings.org_reads == "public":
        return "PUBLIC: whoever guesses the key of an org secret can read it (SIRR_ORG_READS=public)"
    if settings.master_api_key is None:
        return "OPEN: no SIRR_MASTER_API_KEY is set, so whoever reaches this address can list and read them"
    return "need the master API key, by bare key too (SIRR_ORG_READS=protected; the original serves them to anyone)"


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


COMMANDS: Final[dict[str, tuple[Callable[..., None], str]]] = {
    "serve": (_serve, "run the daemon"),
    "prune": (_prune, "remove expired secrets, through the daemon if it is running"),
    "rotate-key": (_rotate_key, "make a new encryption key and move all records to it; goes on where it was ended"),
    "backup": (_backup, "copy the database into a new file, beside a running daemon or not"),
    "restore": (_restore, "make a backup the database, while no daemon runs"),
    "verify-burn": (_verify_burn, "check that the secret named on standard input (an id, or org/key) is gone"),
    "check-config": (_check_config, "print the effective settings, secrets redacted"),
    "health": (_health, "ask the daemon whether it is alive"),
    "example-config": (_example_config, "print a settings file with every setting explained"),
    "example-unit": (_example_unit, "print a unit for systemd, with what to run first"),
}
_WITHOUT_SETTINGS: Final = (_example_config, _example_unit)
