"""The command `sirrd rotate-key`: a new master key, and every record moved to it, beside a running daemon or without.

It is safe to end at any instant, and goes on where it was ended: the new key is in its file, with a mark that a
rotation has begun, before anything is sealed with it, and the key in whose place it came is taken out of the file only
after the database itself says that nothing needs it any more. No other key is taken out: backups may need it.

Keys are changed only where the daemon has them from. Which that is the daemon says in the lock file; whether the keys
are the right ones the database says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from sirrd.assembly import deaddrop_of
from sirrd.clock import SystemClock
from sirrd.config.settings import Settings
from sirrd.deaddrop.usecases import DeadDrop
from sirrd.entropy import SystemEntropy
from sirrd.errors import BadFolder, BadSetting, FolderInUse, NoNewerKey, Unreadable, WrongKey
from sirrd.keyring.forms import KEY_BYTES
from sirrd.keyring.keyfile import Mark, ids_in, mark_in, with_first, without, without_marks
from sirrd.keyring.masters import MasterKey, MasterKeys, parse_master_keys
from sirrd.model import Caller
from sirrd.store.sqlite.connections import check_keys
from sirrd.store.sqlite.folder import DataFolder
from sirrd.store.sqlite.needs import Needs, needs_of

PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5

Begin = Callable[[str], int | None]
"""Asks the daemon at an address to move, or to go on; returns how many are left, or None if there is nothing to do."""


@dataclass(frozen=True)
class _Run:
    """What one run of the command works with.

    Attributes:
        settings: What the operator chose.
        folder: The data folder; locked by this process if no daemon holds it.
        address: Where the daemon listens that holds the folder; empty without one.
        begin: Asks that daemon.
        say: Told about progress.
        renew: Asks it to renew the inner keys, too; None if they are to stay.
    """

    settings: Settings
    folder: DataFolder
    address: str
    begin: Begin
    say: Callable[[str], None]
    renew: Begin | None


def rotate(settings: Settings, *, begin: Begin, say: Callable[[str], None], renew: Begin | None = None) -> None:
    """Move every record to a new master key.

    Args:
        settings: What the operator chose.
        begin: Asks a running daemon.
        say: Told about progress.
        renew: Asks a running daemon to renew the inner keys, too; None if they are to stay.

    Raises:
        NoNewerKey: The keys come from a setting, and none is before those that records are under.
        Unreadable: Some records do not open, so older keys have to stay.
        FolderInUse: Another process changes the key file, or holds the folder without listening.
        BadSetting: The daemon has its keys from elsewhere than this command; nothing was changed.
        StartupError: The folder or its keys cannot be used.
        StorageError: The store failed; what was moved is moved.
    """
    folder = DataFolder(settings.data_dir)
    if not folder.has_database():
        raise BadFolder("the data folder holds no database, so there is no key to change", hint="see SIRR_DATA_DIR")
    folder.prepare()
    with folder.rotating(), _holding(folder) as address:
        run = _Run(settings, folder, address, begin, say, renew)
        if settings.master_encryption_key is None:
            _refuse_other_source(folder, has_setting=False)
            _change_file(run)
        else:
            _refuse_other_source(folder, has_setting=True)
            _use_setting(run, parse_master_keys(settings.master_encryption_key.get_secret_value()))


@contextlib.contextmanager
def _holding(folder: DataFolder) -> Iterator[str]:
    """Hold the folder; where a daemon does, give its address instead.

    Raises:
        FolderInUse: Whoever holds it does not listen.
    """
    try:
        folder.lock()
        address = ""
    except FolderInUse:
        if not (address := folder.holder()):
            raise
    try:
        yield address
    finally:
        folder.unlock()


def _refuse_other_source(folder: DataFolder, *, has_setting: bool) -> None:
    """Refuse to work with keys from elsewhere than those of the daemon that holds the folder, or held it last."""
    told = folder.told_keys()
    if told is None or (told.source == "setting") == has_setting:
        return
    if has_setting:
        raise BadSetting(
            "this command has its keys from SIRR_MASTER_ENCRYPTION_KEY, and the daemon has them from the key file",
            hint="run it with the daemon's settings; if the daemon is to use that setting, start it with it first",
        )
    raise BadSetting(
        "the daemon has its keys from SIRR_MASTER_ENCRYPTION_KEY, and this command sees no such setting",
        hint="run it with the daemon's settings (environment, SIRR_CONFIG, --config); "
        "if the daemon is to use the key file, start it without that setting first",
    )


# Keys from a setting.


def _use_setting(run: _Run, keys: tuple[MasterKey, ...]) -> None:
    """Have the records moved to the first key of a setting, and change no file."""
    told = run.folder.told_keys()
    if run.address and told is not None and told.first != keys[0].id.hex():
        if told.first in {key.id.hex() for key in keys}:
            raise NoNewerKey(
                "the daemon was started before the newest key stood first in its setting", hint="restart it first"
            )
        raise WrongKey(
            "the daemon runs with another encryption key than this command",
            hint="run it with the daemon's settings, or restart the daemon with these",
        )
    _check(run.folder, keys)
    _move(run)
    _check_renewed(run, keys[0])


def _check(folder: DataFolder, keys: tuple[MasterKey, ...]) -> Needs:
    """Refuse keys that do not open the database, before anything is touched; return what the database needs."""
    needs = needs_of(folder.database)
    check_keys(folder.database, MasterKeys(keys, SystemEntropy()))
    if needs.first not in {key.id for key in keys}:
        raise WrongKey(
            "the database needs a master encryption key that is not here",
            hint="put the older keys behind the first one",
        )
    return needs


# Keys from the key file.


def _change_file(run: _Run) -> None:
    """Put a new key first in the key file, have all records moved to it, and take out the key that was first before."""
    text = run.folder.key_text()
    keys = parse_master_keys(text)
    needs = _check(run.folder, keys)
    if (mark := mark_in(text)) is not None:
        change = _Change(run.folder, keys[0], mark, run.say)
        run.say("going on with a rotation that was cut short: its new key stands first in the key file")
    else:
        if run.address:
            # A daemon that will not be asked is found out before anything is changed.
            run.begin(run.address)
        new = MasterKey.of(SystemEntropy()(KEY_BYTES))
        # A first key that the daemon has not taken up yet is somebody's plan; it stays.
        old = keys[0].id if needs.first == keys[0].id else None
        change = _Change(run.folder, new, Mark(new.id, old), run.say)
        run.folder.replace_key_text(with_first(without_marks(text), new, old=old))
        run.say("a new key stands first in the key file")
    try:
        _move(run, before_asking=change.keep)
    except NoNewerKey:
        run.say("every record was moved before")
    except Unreadable:
        change.end_with_older_keys()
        raise
    except BaseException:
        change.keep()
        raise
    _check_renewed(run, change.new)
    change.end()
    if mark is not None:
        run.say("that ends the rotation that was cut short; run the command again for another new key")


@dataclass(frozen=True)
class _Change:
    """A new first key in the key file, which others may edit meanwhile.

    Attributes:
        folder: The data folder.
        new: The new key.
        mark: What stands in the file about this rotation.
        say: Told about progress.
    """

    folder: DataFolder
    new: MasterKey
    mark: Mark
    say: Callable[[str], None]

    def keep(self) -> str:
        """Return what stands in the key file; if the new key is no longer there, put it back first.

        Records may be under it already, and the daemon has it in its memory alone.
        """
        try:
            text = self.folder.key_text()
        except WrongKey:
            text = ""
        if self.new.id not in ids_in(text):
            text = with_first(without_marks(text), self.new, old=self.mark.old)
            self.folder.replace_key_text(text)
            self.say("the key file was changed meanwhile: the new key stands first in it again")
        return text

    def end_with_older_keys(self) -> None:
        """Take out the mark alone: this rotation was not cut short, and the next one makes a key of its own."""
        self.folder.replace_key_text(without_marks(self.keep()))

    def end(self) -> None:
        """Take the older key out of the file, if the database says that it may go.

        Raises:
            WrongKey: The daemon did not take the new key.
            BadSetting: Somebody left no usable keys in the file.
        """
        needs = needs_of(self.folder.database)
        if needs.first != self.new.id:
            self._refuse(needs)
        text = without_marks(self.keep())
        ids = {key.id for key in parse_master_keys(text)}
        if self.mark.old in ids and self.mark.old is not None:
            if self.mark.old in needs.every:
                self.say("the older key stays in the key file: something in the database needs it")
            else:
                text, ids = without(text, self.mark.old), ids - {self.mark.old}
                self.say("the older key is no longer in the key file; backups that were made before need it")
        self.folder.replace_key_text(text)
        if kept := len(ids) - 1:
            self.say(f"{kept} older {'key stays' if kept == 1 else 'keys stay'} in the key file, behind the new one")

    def _refuse(self, needs: Needs) -> NoReturn:
        """Say that another key than the new one seals; if nothing knows the new one, the file is as it was before."""
        if self.new.id not in needs.every:
            self.folder.replace_key_text(without(without_marks(self.folder.key_text()), self.new.id))
        raise WrongKey(
            "the daemon did not take the new key, so its records were not moved to it",
            hint="does it have its keys from elsewhere than the key file of this folder?",
        )


# Moving.


def _check_renewed(run: _Run, first: MasterKey) -> None:
    """Make sure that the inner keys were renewed, if they were to be."""
    if run.renew is not None and needs_of(run.folder.database).renewed_under != first.id:
        raise WrongKey(
            "the daemon did not renew the inner keys",
            hint="is it of an older release? restart it, and run the command again: it goes on",
        )


def _move(run: _Run, *, before_asking: Callable[[], object] = lambda: None) -> None:
    def begin() -> int | None:
        before_asking()
        return (run.renew or run.begin)(run.address)

    remaining = _move_beside(begin, run.say) if run.address else asyncio.run(_move_offline(run))
    if remaining:
        run.say(f"{remaining} records do not open and were not moved: the log names them")
        raise Unreadable


async def _move_offline(run: _Run) -> int:
    clock, entropy, say = SystemClock(), SystemEntropy(), run.say
    async with deaddrop_of(run.settings, clock=clock, entropy=entropy, held=run.folder) as drop:
        by = Caller("local")
        say(f"{await drop.begin_rotation(renewed_by=by if run.renew else None)} records to move")
        moving = asyncio.create_task(drop.rotate(by=by))
        while not (await asyncio.wait([moving], timeout=1))[0]:
            await _report(drop, say)
        remaining = await moving
        await drop.tidy()
        return remaining


async def _report(drop: DeadDrop, say: Callable[[str], None]) -> None:
    say(f"{await drop.remaining()} records left")


def _move_beside(begin: Callable[[], int | None], say: Callable[[str], None]) -> int:
    """Ask the daemon until nothing is left, and nothing needs an older key; return what does not get less."""
    remaining = begin()
    if remaining is None:
        raise NoNewerKey
    say(f"{remaining} records to move")
    lowest, since = remaining, time.monotonic()
    while time.monotonic() - since < PATIENCE_SECONDS:
        time.sleep(_PAUSE_SECONDS)
        remaining = begin()
        if remaining is None:
            return 0
        if remaining < lowest:
            lowest, since = remaining, time.monotonic()
            say(f"{remaining} records left")
    return lowest
