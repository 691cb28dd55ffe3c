"""The commands for the secrets of an org, one by one: set, import, list and prune."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sirrd.sirr import edge, given, names, signals
from sirrd.sirr.commands import FILE, JSON, ORG, Command, placed, termed
from sirrd.sirr.configuration import key_of
from sirrd.sirr.edge import USAGE, Failure, name_of, note, reason_of, shown, tell
from sirrd.sirr.place import Place, failure_of
from sirrd.sirr.receiving import line

if TYPE_CHECKING:
    from sirrd.client import SirrClient, SirrError

_LONGEST_IMPORT: Final = 64 * 1024 * 1024
_REPLACE: Final = click.option("--replace", is_flag=True, help="Put it in the place of a secret that has this key.")


@click.command(
    "set", cls=Command, examples=("sirr set --org acme DB_PASSWORD", "echo -n s3cret | sirr set DB_PASSWORD --replace")
)
@click.argument("key")
@click.argument("value", required=False)
@termed
@FILE
@_REPLACE
@ORG
@placed
def set_(
    key: str,
    value: str | None,
    more: dict[str, Any],
    *,
    file: Path | None,
    replace: bool,
    place: Place,
) -> None:
    """Store a secret under a key of an org, as it is, for pull and run; VALUE as in push."""
    org, key = place.needed_org(), key_of(key)
    with place.client() as client:
        found = given.value(value, file, command=f"sirr set {key}")
        text = _text(found if isinstance(found, bytes) else found.data)
        with signals.held(_left_by(key, replace=replace)):
            _store(client, org, key, text, more, replace=replace)
            note(f"stored {key} in {org}")
    _warn_of(key)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure("an org secret is text; encode it first", USAGE) from None


def _warn_of(key: str) -> None:
    """Say what pull and run will make of a key."""
    if not names.is_variable(key):
        note(f"warning: {key} cannot be the name of a variable: pull and run need --only or --skip-unusable for it")
    elif names.is_obeyed(key):
        note(f"warning: {key} is obeyed by programs: pull and run pass it on with --allow {key} alone")


def _store(
    client: SirrClient,
    org: str,
    key: str,
    text: str,
    more: dict[str, Any],
    *,
    replace: bool,
) -> None:
    """Store an org secret, in the place of another if that is wanted.

    Raises:
        Failure: The other one is gone, or may be, and this one is not stored, or may not be.
    """
    from sirrd.client import ExistsError, NotFoundError, SirrError, UnavailableError  # noqa: PLC0415

    try:
        client.set(org, key, text, **more)
    except ExistsError:
        if not replace:
            raise
    else:
        return
    # The server has looked at all of it, and refused the key alone: what comes now fails with the network only.
    try:
        client.delete(key, org=org)
    except NotFoundError:
        pass
    except UnavailableError as error:
        raise _torn(f"{key} may be deleted, and its new value is not stored: set it again", error) from None
    try:
        client.set(org, key, text, **more)
    except SirrError as error:
        raise _torn(f"{key} is deleted, and its new value may not be stored: set it again", error) from None


def _torn(said: str, error: SirrError) -> Failure:
    return Failure(f"{said} ({error})", failure_of(error, has_token=True).exit_code)


def _left_by(key: str, *, replace: bool) -> str:
    """Say what a signal may leave behind that ends the storing of a secret."""
    if replace:
        return f"{key} may be deleted, and its new value may not be stored: set it again"
    return f"{key} may have been stored"


@click.command("import", cls=Command, examples=("sirr import --org acme .env", "sirr import secrets.json --replace"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["dotenv", "json"]), help="Default: by the name of the file.")
@click.option("--replace", is_flag=True, help="Put them in the place of those that have these keys.")
@termed
@ORG
@placed
def import_(
    file: Path,
    form: str | None,
    more: dict[str, Any],
    *,
    replace: bool,
    place: Place,
) -> None:
    """Store all that stands in a FILE of variables under keys of an org; - is standard input.

    Everything is checked before the first is stored.
    """
    org = place.needed_org()
    found = _parsed(_read(file), form or ("json" if file.suffix == ".json" else "dotenv"))
    for key, text in found.items():
        if key_of(key) and not text:
            raise Failure(f"{key}: there is nothing to store, its value is empty; nothing was stored", USAGE)
    with place.client() as client:
        if not replace and (there := {each.key for each in client.list(org=org)} & found.keys()):
            raise Failure(f"{_listed(there)}: there already; nothing was stored: see --replace")
        stored: list[str] = []
        try:
            for key, text in found.items():
                with signals.held(_left_by(key, replace=replace)):
                    _store(client, org, key, text, more, replace=replace)
                    stored.append(key)
        finally:
            note(f"stored {len(stored)} of {len(found)} in {org}" + (f": {_listed(stored)}" if stored else ""))
    for key in found:
        _warn_of(key)


def _read(file: Path) -> str:
    try:
        if str(file) == "-":
            if sys.stdin is None:
                raise Failure("standard input is closed", USAGE)
            data = sys.stdin.buffer.read(_LONGEST_IMPORT + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(_LONGEST_IMPORT + 1)
        if len(data) > _LONGEST_IMPORT:
            raise Failure(f"{name_of(file)}: this is too long", USAGE)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise Failure(reason_of(error), USAGE) from None
    except ValueError:
        raise Failure(f"{name_of(file)}: this is no text", USAGE) from None


def _parsed(text: str, form: str) -> dict[str, str]:
    """Take a file of variables apart.

    Raises:
        Failure: It is malformed, or has a name twice.
    """
    pairs = _of_json(text) if form == "json" else _of_dotenv(text)
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise Failure(f"{shown(key)} stands there twice; nothing was stored", USAGE)
        found[key] = value
    if not found:
        raise Failure("there is no variable in it; nothing was stored", USAGE)
    return found


def _of_json(text: str) -> list[tuple[str, str]]:
    malformed = Failure("this is no JSON object of texts; nothing was stored", USAGE)
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise malformed from None
    if not text.lstrip().startswith("{") or not all(isinstance(value, str) for _, value in pairs):
        raise malformed
    try:
        text.encode()
        [value.encode() for _, value in pairs]
    except UnicodeEncodeError:
        raise malformed from None
    return [(key, value) for key, value in pairs]


def _of_dotenv(text: str) -> list[tuple[str, str]]:
    from dotenv.parser import parse_stream  # noqa: PLC0415

    pairs = []
    for each in parse_stream(io.StringIO(text)):
        if each.error or (each.key is not None and each.value is None):
            raise Failure(f"line {each.original.line} is none of a file of variables; nothing was stored", USAGE)
        if each.key is not None and each.value is not None:
            pairs.append((each.key, each.value))
    return pairs


def _listed(keys: Any) -> str:  # noqa: ANN401 - some names
    return ", ".join(sorted(keys))


@click.command("list", cls=Command)
@ORG
@JSON
@placed
def list_(*, as_json: bool, place: Place) -> None:
    """List what is stored, newest first; no value is shown or spent. With --json one object a line."""
    edge.check_output()
    org = place.found().org
    with place.client() as client:
        for each in client.list(org=org):
            tell(json.dumps(each._asdict()) if as_json else line(each), flush=False)


@click.command(cls=Command)
@ORG
@placed
def prune(place: Place) -> None:
    """Remove what has expired, and say how many there were."""
    edge.check_output()
    org = place.found().org
    with place.client() as client:
        tell(f"pruned {client.prune(org=org)}")
