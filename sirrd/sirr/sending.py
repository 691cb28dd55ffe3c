"""The commands that send: push and patch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sirrd.sirr import edge, given, signals, values
from sirrd.sirr.commands import FILE, JSON, KEEP, ORG, PASSPHRASE_FILE, READS, TTL, Command, linked, placed, terms
from sirrd.sirr.edge import Failure, note, reason_of, tell
from sirrd.sirr.pasted import LinkOptions
from sirrd.sirr.place import Place

if TYPE_CHECKING:
    from sirrd.client import Pushed, SirrClient

_WEEK_SECONDS: Final = 7 * 86_400
_MAYBE_STORED: Final = "the secret may have been stored, and nobody has its link"


@click.command(
    cls=Command,
    examples=(
        "sirr push",
        "echo -n s3cret | sirr push --ttl 1h",
        "sirr push --file id_ed25519 --passphrase",
    ),
)
@click.argument("value", required=False)
@TTL
@READS
@KEEP
@FILE
@click.option(
    "--passphrase", is_flag=True, help="Ask for a passphrase, or make one, without which the link opens nothing."
)
@PASSPHRASE_FILE
@click.option("--plain", is_flag=True, help="Do not encrypt: the server, and whoever has the bare link, can read it.")
@click.option("--qr", is_flag=True, help="Show the link as a QR code, too.")
@JSON
@placed
@click.pass_context
def push(  # noqa: PLR0913 - a command's options
    ctx: click.Context,
    value: str | None,
    ttl: Any,  # noqa: ANN401 - seconds, None, or the ellipsis where it is not given
    reads: Any,  # noqa: ANN401
    *,
    keep: bool,
    file: Path | None,
    passphrase: bool,
    passphrase_file: Path | None,
    plain: bool,
    qr: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Store a secret and print the link for its recipient.

    It is read from standard input, or asked for. A VALUE is better not given: what stands on a command line is kept by
    the shell and seen by others. Without --ttl it lives for a week, or as long as the server allows if that is shorter.
    """
    is_by_option = ctx.get_parameter_source("passphrase_file") is not click.core.ParameterSource.ENVIRONMENT
    if plain and (passphrase or (passphrase_file is not None and is_by_option)):
        raise click.UsageError("--plain and --passphrase exclude each other")
    edge.check_output()
    with place.client() as client:
        content = given.value(value, file, command="sirr push")
        word = None
        if passphrase_file is not None and not plain:
            word = given.passphrase_in(passphrase_file)
        elif passphrase:
            word = given.new_passphrase()
        with signals.held(_MAYBE_STORED) as held:
            pushed = _pushed(client, content, ttl, terms(..., reads, keep=keep), encrypt=not plain, passphrase=word)
            if held.came is not None:
                _destroy(client, pushed, word)
            else:
                _hand_over(client, pushed, word, as_json=as_json)
    if qr:
        _show_qr(pushed.url)


def _pushed(client: SirrClient, content: Any, ttl: Any, more: dict[str, Any], **how: Any) -> Pushed:  # noqa: ANN401
    """Store a secret; where no time was given, for a week, or for as long as the server allows if that is shorter."""
    from sirrd.client import RefusedError  # noqa: PLC0415

    if ttl is not ...:
        return client.push(content, ttl=ttl, **more, **how)
    seconds = _lifetime(client)
    try:
        pushed = client.push(content, ttl=seconds, **more, **how)
    except RefusedError as error:
        if error.code != "bad_field" or "ttl_seconds" not in str(error):
            raise
        # Of strangers it may take less than it says of its owners; None is as long as it does.
        pushed = client.push(content, ttl=None, **more, **how)
        note("it expires when the longest time is over that this server allows; --ttl says when")
        return pushed
    if seconds == _WEEK_SECONDS:
        note("it expires in 7 days; --ttl says when, --ttl never that it does not")
    else:
        note(f"it expires {values.expires_in(seconds, now=0)}, as this server has it; --ttl says when")
    return pushed


def _lifetime(client: SirrClient) -> int:
    """Return how many seconds a secret lives where nobody says: a week, or less where the server has less."""
    from sirrd.client import SirrError  # noqa: PLC0415

    try:
        said = client.about()
    except SirrError:
        return _WEEK_SECONDS
    return min(each for each in (_WEEK_SECONDS, said.default_ttl_seconds, said.max_ttl_seconds) if each is not None)


def _hand_over(client: SirrClient, pushed: Pushed, word: str | None, *, as_json: bool) -> None:
    """Print a link; if that fails, to standard error; if that fails as well, destroy what nobody can open.

    Raises:
        Failure: It is not on standard output.
    """
    text = json.dumps({"id": pushed.id, "url": pushed.url}) if as_json else pushed.url
    try:
        tell(text)
    except OSError as error:
        edge.give_up_output()
        if not note(f"standard output: {reason_of(error)}; this is the link:\n{text}"):
            _destroy(client, pushed, word)
        raise Failure("the link is not on standard output") from None


def _destroy(client: SirrClient, pushed: Pushed, word: str | None) -> None:
    """Destroy a secret whose link reached nobody, and say what came of it.

    With the token where it was stored; the link may name a host that is not reached from here. Without one, by the
    link, as its recipient could.
    """
    from sirrd.client import SirrError  # noqa: PLC0415

    try:
        if client.owns(pushed.id):
            client.delete(pushed.id)
        else:
            client.delete(pushed.link, passphrase=word)
    except SirrError as error:
        note(f"the secret is stored, nobody has its link, and it could not be destroyed: {error}")
    else:
        note("the secret was destroyed, since nobody has its link")


def _show_qr(url: str) -> None:
    import segno  # noqa: PLC0415

    if sys.stderr is None:
        return
    try:
        segno.make(url, error="m").terminal(out=sys.stderr, compact=True)
        sys.stderr.flush()
    except (OSError, ValueError) as error:
        note(f"the QR code cannot be shown: {type(error).__name__}")


@click.command(cls=Command, examples=("echo -n again | sirr patch --link-file link - --reads 2",))
@linked
@click.argument("value", required=False)
@TTL
@READS
@FILE
@PASSPHRASE_FILE
@ORG
@JSON
@placed
def patch(
    named: LinkOptions,
    value: str | None,
    ttl: Any,  # noqa: ANN401
    reads: Any,  # noqa: ANN401
    *,
    file: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
    place: Place,
) -> None:
    """Change a secret that is kept, and revive it: all its reads are there again.

    A new VALUE is taken from standard input with -. Given the link, rather than the id, the link goes on to open it.
    """
    if named.file is not None and value is None:
        # With the link in a file, the one argument is the value.
        named, value = LinkOptions(None, named.file), named.what
    if value == "-" and named.uses_input:
        raise click.UsageError("standard input holds the link or the value, not both: use --link-file")
    edge.check_output()
    target = named.target(server=place.found().server)
    org = place.found().org if target.is_key else None
    with place.client(link=target.link) as client:
        changes = terms(ttl, reads, keep=False)
        if file is not None or value is not None:
            changes["value"] = given.value(value, file, command="sirr patch")
            # Twice: the new value is sealed with it, and nothing would notice a slip.
            changes["passphrase"] = passphrase_of(target.link, passphrase_file, twice=True)
        changed = client.patch(target.what, org=org, **changes)
    if as_json:
        tell(json.dumps(changed._asdict()))
    else:
        tell(f"changed: expires {values.expires_at(changed.expires_at)}")


def passphrase_of(link: str | None, file: Path | None, *, twice: bool = False) -> str | None:
    """Return the passphrase of a link, or None if it needs none."""
    from sirrd.client import Link  # noqa: PLC0415

    fragment = None if link is None else Link.parse(link).fragment
    return given.asked_passphrase(file, twice=twice) if fragment is not None and fragment.needs_passphrase else None
