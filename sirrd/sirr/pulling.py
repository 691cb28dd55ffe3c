"""The commands that read all secrets of an org at once: pull and run.

What could go wrong is looked for before the first read. What was read when something goes wrong all the same is put
aside, since it is spent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sirrd.sirr import formats, names, output, signals
from sirrd.sirr.commands import ORG, OUTPUT, Command, placed
from sirrd.sirr.configuration import key_of
from sirrd.sirr.edge import FAILED, GONE, LOCKED, NOT_EXECUTABLE, OWN_FAILURE, SEALED, Failure, note, reason_of, shown
from sirrd.sirr.place import Place, failure_of
from sirrd.sirr.program import Program, inherited

if TYPE_CHECKING:
    from sirrd.client import Content, Metadata, Reading, SirrClient

_MAYBE_SPENT: Final = "some of the reads may have been spent"
_ASIDE: Final = "secrets.json"
_SHORT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which secrets of an org are meant.

    Attributes:
        only: Their keys, or none for all.
        allowed: Names that may be passed on although programs obey them.
        skips: Whether what cannot be the name of a variable is left out.
        may_be_empty: Whether it is no failure if there are none.
    """

    only: Sequence[str]
    allowed: Sequence[str]
    skips: bool
    may_be_empty: bool


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was read.

    Attributes:
        values: By their keys.
        readings: To say where they are.
    """

    values: Mapping[str, str] = field(repr=False)
    readings: Sequence[Reading] = field(repr=False)

    def received(self) -> None:
        """Say that they are where they belong, for as long as a server takes such words: it can do without them."""
        until = time.monotonic() + _SHORT_SECONDS
        for each in self.readings:
            if time.monotonic() > until:
                return
            each.received()


def _chosen(command: Any) -> Any:  # noqa: ANN401 - a decorator of a command
    """Give a command the options that say which secrets are meant."""
    for option in (
        click.option("--allow-empty", is_flag=True, help="Go on where the org has no secrets."),
        click.option("--allow", multiple=True, metavar="NAME", help="Pass on a name that programs obey, as PATH."),
        click.option("--skip-unusable", is_flag=True, help="Leave out keys that cannot be names of variables."),
        click.option("--only", multiple=True, metavar="KEY", help="This one, and no others; can be given repeatedly."),
    ):
        command = option(command)
    return command


@click.command(
    cls=Command,
    examples=("sirr pull --org acme --output .env", 'eval "$(sirr pull --org acme --format shell)"'),
)
@ORG
@OUTPUT
@click.option(
    "--format", "form", type=click.Choice(formats.NAMES), default="dotenv", show_default=True, help="For which reader."
)
@_chosen
@placed
def pull(
    output: Path | None,
    form: str,
    place: Place,
    *,
    only: tuple[str, ...],
    allow: tuple[str, ...],
    skip_unusable: bool,
    allow_empty: bool,
) -> None:
    """Print all secrets of an org as an environment file, spending one read of each."""
    _pull(output, form, place, Choice(only, allow, skip_unusable, allow_empty))


def _pull(out: Path | None, form: str, place: Place, choice: Choice) -> None:
    org = place.needed_org()
    with output.opened(out) as write, place.client() as client:
        keys = _keys(client, org, choice, is_obeyed=form != "json")
        with signals.held(_MAYBE_SPENT):
            pulled = _all_of(client, org, keys, form)
            write(_content(formats.file_of(form, pulled.values)))
            pulled.received()


@click.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    own_code=OWN_FAILURE,
    examples=("sirr run --org acme -- ./deploy --now",),
)
@ORG
@_chosen
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@placed
def run(
    command: tuple[str, ...],
    place: Place,
    *,
    only: tuple[str, ...],
    allow: tuple[str, ...],
    skip_unusable: bool,
    allow_empty: bool,
) -> int:
    """Run a command with all secrets of an org in its environment, and nowhere else, spending one read of each.

    The exit code is that of the command; 125 if sirr fails, 126 if the command cannot be run, 127 if it is not there.
    """
    org = place.needed_org()
    program = Program.found(command)
    with place.client() as client:
        keys = _keys(client, org, Choice(only, allow, skip_unusable, allow_empty), is_obeyed=True)
        with signals.held(_MAYBE_SPENT) as held:
            pulled = _all_of(client, org, keys, "env")
            if held.came is not None:
                # The command is not run, and these are nowhere else.
                note(f"the command was not run{_kept(pulled.values)}")
            # They are in this process, which becomes the command: nobody could say it later.
            pulled.received()
    found = pulled.values
    try:
        return program.become({**inherited(os.environ), **found})
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "an environment cannot hold one of the values"
        code = NOT_EXECUTABLE if isinstance(error, PermissionError) else OWN_FAILURE
        raise Failure(f"{shown(command[0])}: {reason}{_kept(found)}", code) from None


def _keys(client: SirrClient, org: str, choice: Choice, *, is_obeyed: bool) -> list[str]:
    """Return the keys to read, if all can be read and passed on.

    Raises:
        Failure: One cannot; nothing was read.
    """
    listed = {each.key: each for each in client.list(org=org)}
    if choice.only:
        wanted = {key_of(key) for key in choice.only}
        if missing := sorted(wanted - listed.keys()):
            raise Failure(f"{', '.join(missing)}: not there in {org}, or not any more; nothing was read", GONE)
        listed = {key: listed[key] for key in wanted}
    keys = sorted(listed)
    if strange := [key for key in keys if not names.is_variable(key)]:
        if not choice.skips:
            said = f"{shown(strange[0])} cannot be the name of a variable; nothing was read"
            raise Failure(f"{said}: see --only and --skip-unusable")
        note(f"left out: {', '.join(map(shown, strange))}")
        keys = [key for key in keys if key not in strange]
    if not keys and not choice.may_be_empty:
        raise Failure(f"there are no secrets in {org}, or not any more; nothing was read: see --allow-empty", GONE)
    _check_open([listed[key] for key in keys])
    if is_obeyed and (obeyed := names.refused(keys, allowed=choice.allowed)):
        said = f"{', '.join(obeyed)}: shells, loaders or programs obey variables of this name; nothing was read"
        raise Failure(f"{said}: see --allow and --only")
    return keys


def _check_open(wanted: Sequence[Metadata]) -> None:
    """Refuse to begin where a read would fail."""
    if any(each.locked for each in wanted):
        raise Failure("a secret of this org is locked; nothing was read", LOCKED)
    if any(each.status == "sealed" for each in wanted):
        raise Failure("a secret of this org is sealed; nothing was read", SEALED)


def _all_of(client: SirrClient, org: str, keys: Sequence[str], form: str) -> Pulled:
    """Spend a read of each key.

    Raises:
        Failure: One could not be read, or not be passed on. What was read by then is put aside.
    """
    from sirrd.client import SirrError  # noqa: PLC0415

    found: dict[str, str] = {}
    readings: list[Reading] = []
    try:
        for key in keys:
            readings.append(client.read(key, org=org))
            found[key] = readings[-1].content.data.decode()
            formats.check(form, key, found[key])
    except SirrError as error:
        failure = failure_of(error, has_token=True)
        raise Failure(f"{key}: {failure.message}{_kept(found)}", failure.exit_code) from None
    except formats.UnfitError as error:
        raise Failure(f"{keys[len(found) - 1]}: {error}; --format json can hold it{_kept(found)}", FAILED) from None
    except BaseException:
        note(f"ended{_kept(found)}")
        raise
    return Pulled(found, readings)


def _kept(found: Mapping[str, str]) -> str:
    """Put aside what was read, if anything was, and say where."""
    if not found:
        return ""
    return f"; what was read is in {output.put_aside(_content(formats.file_of('json', found)), _ASIDE)}"


def _content(text: str) -> Content:
    from sirrd.client import Content  # noqa: PLC0415

    return Content(text.encode())
