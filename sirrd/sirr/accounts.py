"""The commands about this command: login, logout, me, completion and man."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from sirrd.sirr import configuration, edge, terminal
from sirrd.sirr.commands import JSON, Command, placed
from sirrd.sirr.configuration import ConfigurationError
from sirrd.sirr.edge import FAILED, USAGE, Failure, name_of, note, reason_of, shown, tell
from sirrd.sirr.place import Place

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete


@click.command(cls=Command, examples=("sirr login https://drop.example",))
@click.argument("url", required=False)
@placed
def login(url: str | None, place: Place) -> None:
    """Keep a server and its token in a file that only you can read."""
    server = configuration.server_of(
        *_first((url, ""), (place.server, ""), (os.environ.get("SIRR_SERVER"), "SIRR_SERVER"))
    )
    word: str | None = place.token or os.environ.get("SIRR_TOKEN") or None
    if word is None and not terminal.can_ask():
        note("no token was given, so none is kept: set SIRR_TOKEN to keep one")
    elif word is None:
        word = terminal.ask("Token (empty for none): ").decode(errors="replace").strip()
    token = configuration.token_of(word, "--token" if place.token else "the token") if word else None
    with Place(server, token, cacert=place.cacert).client(kept=False) as client:
        if not client.health():
            note("warning: the server takes no work right now")
        if token is not None:
            client.check_token()
    try:
        note(f"kept in {name_of(configuration.keep(server, token))}")
    except ConfigurationError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"nothing was kept: {reason_of(error)}") from None


def _first(*found: tuple[str | None, str]) -> tuple[str, str]:
    """Return the first that is there, with the name of the variable that it stands in, or ask for it."""
    for text, name in found:
        if text:
            return text, name
    if not terminal.can_ask():
        raise Failure("which server? name it: sirr login https://drop.example", USAGE)
    return terminal.ask("Server: ").decode(errors="replace").strip(), ""


@click.command(cls=Command)
def logout() -> None:
    """Remove the server and the token that login has kept."""
    try:
        file = configuration.forget()
    except ConfigurationError:
        file = None
    except OSError as error:
        raise Failure(f"what was kept is still there: {reason_of(error)}", FAILED) from None
    note("nothing was kept" if file is None else f"removed {name_of(file)}")
    if kept := [name for name in ("SIRR_SERVER", "SIRR_TOKEN") if os.environ.get(name)]:
        note(f"still set in this shell: {', '.join(kept)}")


@click.command(cls=Command)
@JSON
@placed
def me(*, as_json: bool, place: Place) -> None:
    """Show which server is meant, and whether its token works."""
    edge.check_output()
    found = place.found()
    with place.client() as client:
        is_up = client.health()
        if found.token is not None:
            client.check_token()
    told = {"server": found.server, "ready": is_up, "token": "works" if found.token else None, "org": found.org}
    if as_json:
        tell(json.dumps(told))
        return
    for name, text in told.items():
        tell(f"{name + ':':<8} {shown(str(text)) if text is not None else 'none'}")


@click.command(
    cls=Command,
    examples=(
        "sirr completion bash > ~/.local/share/bash-completion/completions/sirr",
        "sirr completion fish > ~/.config/fish/completions/sirr.fish",
        'sirr completion zsh > "${fpath[1]}/_sirr"',
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete the options of this command."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    edge.check_output()
    found: type[ShellComplete] | None = get_completion_class(shell)
    if found is None:
        raise Failure(f"{shell} is not known to click", USAGE)
    written = found(ctx.find_root().command, {}, "sirr", "_SIRR_COMPLETE")
    # Not `source()`, which starts the shell to see its version: this may be for another machine.
    tell(written.source_template % written.source_vars())


@click.command(cls=Command, examples=("sirr man > ~/.local/share/man/man1/sirr.1", "sirr man | man -l -"))
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print the manual page."""
    from sirrd.sirr.manual import page  # noqa: PLC0415

    edge.check_output()
    root = ctx.find_root()
    tell(page(root.command, root).rstrip("\n"))
