"""The master keys of a walk, kept as an operator keeps them: in the key file, or in one of the forms of a setting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from sirrd.cli import rotate
from sirrd.clock import Clock
from sirrd.config.settings import Settings
from sirrd.config.sources import load
from sirrd.errors import BadSetting, NoNewerKey
from sirrd.keyring.keyfile import mark_in
from sirrd.keyring.masters import parse_master_keys
from sirrd.policy import Caps
from sirrd.store.sqlite import folder
from sirrd.store.sqlite.needs import needs_of
from tests.cli.test_rotation_keys import SOURCES, id_of, sources
from tests.conftest import MASTER_KEY
from tests.parts import settings_of

KEPT_KEY = "01" * 32


class CutShort(BaseException):
    """What ends the command in its midst, as somebody's Ctrl-C does."""


class Keys:
    """Where the daemon and the commands have their master keys from, and which they are.

    A key for an old backup stands behind all others, and has to be there at the end.

    Args:
        data: The data folder.
        clock: What the command goes by.
    """

    def __init__(self, data: Path, clock: Clock) -> None:
        self.source = SOURCES[0]
        self._folder = data
        self._file = data / "master.key"
        self._clock = clock
        self._setting = [MASTER_KEY, KEPT_KEY]
        self._file.write_text(f"{MASTER_KEY}\n{KEPT_KEY}  # of an old backup\n")

    @property
    def is_setting(self) -> bool:
        """Whether the keys come from a setting: no command changes that."""
        return self.source != SOURCES[0]

    @property
    def held(self) -> list[str]:
        """The keys, the first one first."""
        return [key.hex for key in parse_master_keys(self._file.read_text())] if not self.is_setting else self._setting

    def carry_to(self, source: str) -> None:
        """Carry all keys to another source, before the next start."""
        keys, self.source = self.held, source
        if self.is_setting:
            self._setting = keys
        elif keys != self.held:
            self._file.write_text("\n".join(keys))

    def put_first(self, key: str) -> None:
        """Put a newer key before all others, by hand."""
        if self.is_setting:
            self._setting = [key, *self._setting]
        else:
            self._file.write_text(f"{key}\n{self._file.read_text()}")

    def drop_older(self) -> None:
        """Take out by hand what the database does not need, but for the key of the old backup."""
        needed = needs_of(self._folder / "sirrd.db").every
        keys = [key for key in self.held if id_of(key) in needed or key == KEPT_KEY]
        if self.is_setting:
            self._setting = keys
        else:
            self._file.write_text("\n".join(keys))

    def settings(self, caps: Caps, source: str | None = None) -> Settings:
        """Return the settings of a process that has these keys, from where the daemon has them or from elsewhere."""
        given = sources(self._folder, source or self.source, ",".join(self.held))
        found, _ = load(flags={}, environ=settings_of(self._folder, **given), folder=None)
        limits: dict[str, Any] = caps._asdict()
        if caps.default_max_reads is None:
            limits["default_max_reads"] = "unlimited"
        return found.model_copy(update=limits)

    def run_command(self, caps: Caps, *, begin: rotate.Begin, renew: rotate.Begin | None, cut_at: int | None) -> Run:
        """Run the code of `sirrd rotate-key`, which may end at one of the lines that it says, and check its keys."""
        before, was_cut = self.held, self._is_cut()
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            if len(said) - 1 == cut_at:
                raise CutShort

        is_ended = False
        with (
            contextlib.suppress(CutShort, NoNewerKey),
            mock.patch.object(rotate, "SystemClock", return_value=self._clock),
            _without_pauses(),
        ):
            rotate.rotate(self.settings(caps), begin=begin, say=say, renew=renew)
            is_ended = True
        self._check(before, was_cut=was_cut, is_ended=is_ended)
        return Run(said, is_ended)

    def refuse_elsewhere(self, caps: Caps, begin: rotate.Begin) -> None:
        """See that the command changes nothing if it has its keys from elsewhere than the daemon."""
        before = self._file.read_text(), needs_of(self._folder / "sirrd.db")
        for source in SOURCES:
            if (source == SOURCES[0]) != self.is_setting:
                continue
            for renew in (None, begin):
                with _without_pauses(), pytest.raises(BadSetting, match="SIRR_MASTER_ENCRYPTION_KEY"):
                    rotate.rotate(self.settings(caps, source), begin=begin, say=_say_nothing, renew=renew)
        assert (self._file.read_text(), needs_of(self._folder / "sirrd.db")) == before

    def _check(self, before: list[str], *, was_cut: bool, is_ended: bool) -> None:
        """See that the keys are those that they have to be after a run, whatever it came to."""
        after, needs, is_cut = self.held, needs_of(self._folder / "sirrd.db").every, self._is_cut()
        assert needs <= {id_of(key) for key in after}
        assert after[-1] == KEPT_KEY
        if is_ended:
            assert (set(needs), is_cut) == ({id_of(after[0])}, False)
        if self.is_setting:
            assert after == before
        elif was_cut:
            # Its key is the one that was made then, and one key goes at its end.
            assert after[0] == before[0]
            assert after == [key for key in before if key in after]
            assert len(before) - len(after) <= (0 if is_cut else 1)
        elif is_ended or after != before:
            assert after[0] not in before
            assert after[1:] == (before if is_cut else before[1:])

    def _is_cut(self) -> bool:
        """Tell whether the key file says that a run was cut short."""
        return not self.is_setting and mark_in(self._file.read_text()) is not None


class Run(NamedTuple):
    """What came of a run of the command.

    Attributes:
        said: The lines that it said.
        is_ended: Whether it came to its end.
    """

    said: list[str]
    is_ended: bool

    @property
    def has_begun(self) -> bool:
        """Whether it took the newest key, renewed the inner keys if it was to, and counted what had to move."""
        return any(_counts(line) for line in self.said)

    @property
    def has_moved(self) -> bool:
        """Whether it moved all of that."""
        return self.has_begun and (self.is_ended or not _counts(self.said[-1]))


def _counts(line: str) -> bool:
    return line.endswith("records to move")


@contextlib.contextmanager
def _without_pauses() -> Iterator[None]:
    with mock.patch.object(rotate, "_PAUSE_SECONDS", 0), mock.patch.object(folder, "_LOCK_PAUSE_SECONDS", 0):
        yield


def _say_nothing(_: str) -> None:
    return
