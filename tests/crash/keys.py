"""The master keys of a run, in the key file or in a setting, and how they are changed, beside a daemon or without."""

from __future__ import annotations

import hashlib
import http.client
from pathlib import Path
from typing import Final
from unittest import mock

from pydantic import SecretStr

from sirrd.cli import rotate
from sirrd.config.settings import Settings
from sirrd.keyring.masters import MasterKey, parse_master_keys
from sirrd.store.sqlite.folder import DATABASE, KEY_FILE
from sirrd.store.sqlite.needs import needs_of
from tests.crash.clients import API_KEY
from tests.crash.steps import FILE_CUTS, STATEMENT_CUTS, Cut
from tests.parts import ask

FIRST_KEY: Final = "5f" * 32
KEPT_KEY: Final = "5e" * 32
_REMARK: Final = "# of an old backup"
_ROTATION_PAUSE_SECONDS: Final = 0.01


class Keys:
    """The keys in the key file, as an operator has them who keeps the key of an old backup.

    Attributes:
        cuts: Where the command that changes them can be killed.
        most_rotations: How often they can be changed beside one daemon.
    """

    cuts: tuple[Cut, ...] = FILE_CUTS + STATEMENT_CUTS
    most_rotations = 20

    def __init__(self, data: Path) -> None:
        self._data = data
        self._file = data / KEY_FILE
        self._begin()

    def _begin(self) -> None:
        self._file.write_text(f"{FIRST_KEY}\n{_REMARK}\n{KEPT_KEY}\n")

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be told of them."""
        return {}

    @property
    def text(self) -> str:
        """All keys, as the product reads them."""
        return self._file.read_text()

    def add(self) -> None:
        """Do what an operator has to do before keys can be changed: nothing."""

    def rotate(self, *, renews: bool) -> None:
        """Change the master key by the code of the command: beside a daemon, or without one if it is gone."""
        chosen = Settings(
            data_dir=self._data,
            master_api_key=SecretStr(API_KEY),
            master_encryption_key=self._setting(),
            min_free_bytes=0,
        )
        with mock.patch.object(rotate, "_PAUSE_SECONDS", _ROTATION_PAUSE_SECONDS):
            rotate.rotate(chosen, begin=begin_rotation, say=lambda _: None, renew=begin_renewal if renews else None)

    def _setting(self) -> SecretStr | None:
        return None

    def faults(self) -> list[str]:
        """Tell what is wrong with the keys, whatever has happened: none that is needed may be missing."""
        if not (self._data / DATABASE).exists():
            return []
        held = {key.id for key in parse_master_keys(self.text)}
        missing = needs_of(self._data / DATABASE).every - held
        found = [f"the database needs a key that is nowhere: {key.hex()}" for key in missing]
        return found + ([] if KEPT_KEY in self.text else ["the key of an old backup is gone"])

    def last_faults(self) -> list[str]:
        """Tell what is wrong with the keys after a change that came to its end."""
        first, *others = self.text.splitlines()
        found = self.faults()
        if others != [_REMARK, KEPT_KEY]:
            found.append("behind the newest key does not stand what stood behind the first")
        if needs_of(self._data / DATABASE).every != {MasterKey.of(bytes.fromhex(first)).id}:
            found.append("the database needs more than the newest key")
        return found


class KeysOfSetting(Keys):
    """The keys in a setting: the operator puts a newer one first, and takes those out that nothing needs."""

    cuts = STATEMENT_CUTS
    most_rotations = 1

    def _begin(self) -> None:
        self._keys = [FIRST_KEY, KEPT_KEY]

    @property
    def env(self) -> dict[str, str]:
        """See `Keys.env`."""
        return {"SIRR_MASTER_ENCRYPTION_KEY": ",".join(self._keys)}

    @property
    def text(self) -> str:
        """See `Keys.text`."""
        return "\n".join([self._keys[0], *self._keys[1:-1], _REMARK, self._keys[-1]])

    def add(self) -> None:
        """Put a newer key first, before the next process starts."""
        self._drop_older()
        self._keys.insert(0, hashlib.sha256(self._keys[0].encode()).hexdigest())

    def rotate(self, *, renews: bool) -> None:
        """See `Keys.rotate`; a key that nothing needs any more is taken out then."""
        super().rotate(renews=renews)
        self._drop_older()

    def _setting(self) -> SecretStr:
        return SecretStr(",".join(self._keys))

    def _drop_older(self) -> None:
        if (self._data / DATABASE).exists():
            needed = needs_of(self._data / DATABASE).every
            self._keys = [k for k in self._keys if MasterKey.of(bytes.fromhex(k)).id in needed or k == KEPT_KEY]

    def last_faults(self) -> list[str]:
        """See `Keys.last_faults`."""
        return super().last_faults() + (["a key file was made"] if self._file.exists() else [])


def begin_rotation(address: str, path: str = "/rotate-key") -> int | None:
    """Ask the daemon to move; None if there is nothing left to do."""
    status, answer = ask(address, "POST", path, bearer=API_KEY)
    if status == http.client.CONFLICT:
        return None
    if status != http.client.ACCEPTED:
        raise http.client.HTTPException(f"answered {status}")
    return int(answer["remaining"])


def begin_renewal(address: str) -> int | None:
    """Ask the daemon to renew the inner keys, too, and to move."""
    return begin_rotation(address, "/rotate-key?renew=true")
