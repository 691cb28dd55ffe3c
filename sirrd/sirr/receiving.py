"""The commands of recipients, and of whoever looks after what was sent: get, head and delete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sirrd.sirr import edge, output, signals, values
from sirrd.sirr.commands import JSON, ORG, OUTPUT, PASSPHRASE_FILE, Command, linked, placed
from sirrd.sirr.edge import Failure, note, shown, tell
from sirrd.sirr.pasted import LinkOptions
from sirrd.sirr.place import Place
from sirrd.sirr.sending import passphrase_of

if TYPE_CHECKING:
    from sirrd.client import Metadata

_MAYBE_SPENT = "the read may have been spent"


@click.command(
    cls=Command,
    examples=(
        "sirr get",
        "sirr get - < link",
        "sirr get --link-file link --output report.pdf",
        "sirr get --org acme DB_PASSWORD",
    ),
)
@linked
@ORG
@OUTPUT
@PASSPHRASE_FILE
@placed
def get(named: LinkOptions, output: Path | None, passphrase_file: Path | None, place: Place) -> None:
    """Read a secret, spending one read, and print it.

    The link is asked for, or comes from standard input or a file: what stands on a command line is seen by others of
    the machine, and whoever is first reads the secret. To a pipe the value goes as it is. On a terminal a line break
    follows, and what is no text is written into a file instead.
    """
    read_into(named, output, passphrase_file, place)


def read_into(named: LinkOptions, out: Path | None, passphrase_file: Path | None, place: Place) -> None:
    """Spend a read, and write what came where it is wanted."""
    from sirrd.client import CannotOpenError, Content  # noqa: PLC0415

    with output.opened(out) as write:
        target = named.target(server=place.found().server)
        org = place.found().org if target.is_key else None
        word = passphrase_of(target.link, passphrase_file)
        with place.client(link=target.link) as client, signals.held(_MAYBE_SPENT):
            try:
                reading = client.read(target.what, org=org, passphrase=word)
            except CannotOpenError as error:
                # Whoever runs the server chose these bytes: they must not be taken for the value.
                aside = output.put_aside(Content(error.value.encode("utf-8", "replace")), "unopened")
                raise Failure(
                    f"what came does not open with this link; as the server sent it, it is in {aside}"
                ) from None
            write(reading.content)
            reading.received()


@click.command(cls=Command, examples=("sirr head - < link",))
@linked
@ORG
@JSON
@placed
def head(named: LinkOptions, *, as_json: bool, place: Place) -> None:
    """Describe a secret, spending nothing."""
    edge.check_output()
    target = named.target(server=place.found().server)
    org = place.found().org if target.is_key else None
    with place.client(link=target.link) as client:
        found = client.head(target.what, org=org)
    if as_json:
        tell(json.dumps(found._asdict()))
        return
    remaining = "any number of" if found.reads_remaining is None else found.reads_remaining
    tell(f"status:      {coloured(found.status)}{', locked' if found.locked else ''}")
    tell(f"reads:       {found.read_count}, {remaining} left")
    tell(f"then:        {'burns' if found.delete else 'is sealed'}")
    tell(f"expires:     {values.expires_at(found.expires_at)}")
    if found.fingerprint is not None:
        tell(f"fingerprint: {shown(found.fingerprint)}")


@click.command(cls=Command, examples=("sirr delete - < link",))
@linked
@ORG
@PASSPHRASE_FILE
@placed
def delete(named: LinkOptions, passphrase_file: Path | None, place: Place) -> None:
    """Destroy a secret unread: as its owner by the token, as its recipient by the link."""
    target = named.target(server=place.found().server)
    org = place.found().org if target.is_key else None
    with place.client(link=target.link) as client:
        word = None if client.owns(target.what) else passphrase_of(target.link, passphrase_file)
        client.delete(target.what, org=org, passphrase=word)
    note("destroyed")


def coloured(status: str) -> str:
    """Return a status in colour; `click.echo` leaves colours out where it does not write to a terminal."""
    text = shown(status)
    if "NO_COLOR" in os.environ:
        return text
    return click.style(text, fg="green" if status == "active" else "yellow")


def line(each: Metadata) -> str:
    """Return what a list says of a secret."""
    most = "unlimited" if each.max_reads is None else each.max_reads
    name = shown(each.key if each.org is None else f"{each.org}/{each.key}")
    lock = " locked" if each.locked else ""
    reads = f"{each.read_count} of {most} reads"
    return f"{name}  {coloured(each.status)}{lock}  {reads}  expires {values.expires_at(each.expires_at)}"
