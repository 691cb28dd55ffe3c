"""With which rights a command works on the data folder: with those of the folder's owner, whoever runs it.

The change is for good and comes before the folder is touched; settings, and the files that they name, have been read by
then. What a command imports is imported before, too: root may run it from a place that nobody else can read, and what
ends in the middle of its work for want of a module has done half of it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sirrd.config.settings import Settings
from sirrd.errors import BadFolder
from sirrd.owner import ROOT, Owner, acting_as, become, owner_of, run_as, who
from sirrd.store.sqlite.folder import DataFolder
from sirrd.store.sqlite.migrate import migrations

_NEEDED: Final = (
    "concurrent.futures.thread",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "grp",
    "pwd",
    "sirrd.background",
    "sirrd.cli.rotate",
    "sirrd.store.sqlite.backup",
    "sirrd.store.sqlite.restore",
    "sirrd.store.sqlite.verify",
)
_PROGRAM: Final = (Path(__file__), Path(os.__file__))


def folder_of(settings: Settings, *, say: Callable[[str], None], for_long: bool = False) -> DataFolder:
    """Return the data folder, and become its owner where root runs the command.

    Args:
        settings: What the operator chose.
        say: Told as whom the command works.
        for_long: Whether the process stays, and may need more of the program than is loaded by now.

    Raises:
        BadFolder: It belongs to another user, and this one cannot become that; or others could have changed it.
    """
    owner = foreign_owner(settings)
    if owner is not None:
        _become(owner, settings.data_dir)
        say(f"sirrd: working as {owner}, who owns the data folder")
        if for_long and not all(os.access(path, os.R_OK) for path in _PROGRAM):
            raise BadFolder(
                f"{owner}, who owns the data folder, cannot read the program",
                hint="install it, and its Python, where everybody may read, such as /opt",
            )
    folder = DataFolder(settings.data_dir.absolute())
    folder.check(os.geteuid())
    return folder


def folder_to_copy(settings: Settings, target: Path, *, say: Callable[[str], None]) -> tuple[DataFolder, Owner | None]:
    """Return the data folder, and as whom root reads it while it keeps its rights for what it writes elsewhere.

    Into a folder of the owner's, such as the data folder, the owner writes.

    Args:
        settings: What the operator chose.
        target: The folder that gets the copy.
        say: Told as whom the command works, where that is for good.

    Raises:
        BadFolder: That user cannot read it, root cannot be that user, or others could have changed it.
    """
    owner = foreign_owner(settings)
    if owner is not None and (writer := owner_of(target)) is not None and writer.uid == owner.uid:
        return folder_of(settings, say=say), None
    folder = DataFolder(settings.data_dir.absolute())
    if owner is not None:
        _load()
    try:
        with acting_as(owner):
            folder.check(os.geteuid())
    except OSError:
        raise _not_here(owner, folder.path) from None
    return folder, owner


def foreign_owner(settings: Settings) -> Owner | None:
    """Return who owns the data folder, if root runs the command and the folder is not root's."""
    owner = owner_of(settings.data_dir) if os.geteuid() == ROOT else None
    return owner if owner is not None and owner.uid != ROOT else None


def _become(owner: Owner, folder: Path) -> None:
    _load()
    try:
        become(owner)
    except OSError:
        raise _not_here(owner, folder) from None


def _load() -> None:
    for name in _NEEDED:
        importlib.import_module(name)
    migrations()


def _not_here(owner: Owner | None, folder: Path) -> BadFolder:
    uid = os.geteuid() if owner is None else owner.uid
    return BadFolder(
        f"the data folder {folder} belongs to {who(uid)}, and root cannot work as that user here",
        hint=f"run it as that user: {run_as(uid)}",
    )
