"""The commands of `sirrd`. What is heavy is imported by the command that needs it: a health check stays cheap."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sirrd.cli.asking import CommandError, RefusedError, ask
from sirrd.config.settings import Settings, local_url
from sirrd.errors import BadFolder, BadPath, FolderInUse

if TYPE_CHECKING:
    from sirrd.keyring.masters import MasterKey
    from sirrd.store.sqlite.folder import DataFolder
from sirrd.cli.told import announce, refuse_open_server, say

logger = logging.getLogger(__name__)

_HTTP_SECONDS: Final = 10
_PRUNE_SECONDS: Final = 600
_LONGEST_NAME: Final = 512
_STREAM: Final = Path("-")


class UsageError(CommandError):
    """What a command was given makes no sense; the message says why."""


def as_owner(settings: Settings, *, for_long: bool = False) -> DataFolder:
    """Return the data folder, as its owner."""
    from sirrd.cli.rights import folder_of  # noqa: PLC0415 - see the module's docstring

    return folder_of(settings, say=say, for_long=for_long)


def _serve(settings: Settings) -> None:
    refuse_open_server(settings)
    from sirrd.server.process import serve  # noqa: PLC0415 - see the module's docstring

    as_owner(settings, for_long=True)

    serve(settings, started=lambda address: announce(settings, address))


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

    folder = as_owner(settings)
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
    from sirrd.cli.rotate import rotate  # noqa: PLC0415 - see the module's docstring

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

    as_owner(settings)
    rotate(settings, begin=begin, say=say, renew=begin_renewing if renew else None)
    print("every record is under the newest key" + (", and the inner keys are new" if renew else ""))


def _backup(settings: Settings, *, file: Path) -> None:
    from sirrd.cli.rights import folder_to_copy  # noqa: PLC0415 - see the module's docstring
    from sirrd.store.sqlite.backup import backup, backup_to  # noqa: PLC0415

    if file == _STREAM:
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal, and a copy is no text", hint="sirrd backup - > FILE")
        say(f"backed up {backup_to(1, as_owner(settings).database)} secrets")
    else:
        folder, owner = folder_to_copy(settings, file.absolute().parent, say=say)
        print(f"backed up {backup(folder.database, file.absolute(), owner=owner)} secrets")
        if file.absolute().is_relative_to(folder.path):
            say("sirrd: a copy in the data folder keeps what burns meanwhile: move it elsewhere")
    say("sirrd: the key is not in the backup: keep it elsewhere; restoring revives what burned since")


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
        folder = as_owner(settings)
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
        say("sirrd: what burned or was deleted since the backup is alive again: see --burn")


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
    folder = as_owner(settings)
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
    from sirrd.cli.rights import foreign_owner  # noqa: PLC0415
    from sirrd.keyring.masters import parse_master_keys  # noqa: PLC0415 - see the module's docstring
    from sirrd.store.sqlite.folder import DataFolder  # noqa: PLC0415

    for name, value in settings.shown().items():
        print(f"{name} = {value}")
    if settings.master_encryption_key is not None:
        parse_master_keys(settings.master_encryption_key.get_secret_value())
    refuse_open_server(settings)
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
    from sirrd.cli.examples import text_of  # noqa: PLC0415 - see the module's docstring

    print(text_of("sirrd.toml.example"), end="")


def _example_unit() -> None:
    from sirrd.cli.examples import text_of  # noqa: PLC0415 - see the module's docstring

    print(text_of("sirrd.service"), end="")


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
WITHOUT_SETTINGS: Final = (_example_config, _example_unit)
