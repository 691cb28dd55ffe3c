"""What the commands have in common: their help, their options, and which server they go to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from sirrd.sirr import edge, values
from sirrd.sirr.pasted import LinkOptions
from sirrd.sirr.place import Place

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help has examples, each on a line of its own.

    Args:
        examples: Command lines.
        own_code: The exit code of whatever fails before the command does what it is for, or None: each its own.
    """

    def __init__(
        self,
        *given: Any,  # noqa: ANN401
        examples: Sequence[str] = (),
        own_code: int | None = None,
        **more: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*given, **more)
        self.examples = tuple(examples)
        self._own_code = own_code

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command.format_epilog`."""
        write_lines(formatter, "Examples", self.examples)
        super().format_epilog(ctx, formatter)

    def make_context(self, *given: Any, **more: Any) -> click.Context:  # noqa: ANN401
        """See `click.Command.make_context`."""
        try:
            return super().make_context(*given, **more)
        except click.ClickException as error:
            raise self._owned(error) from None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """See `click.Command.invoke`."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise self._owned(error) from None
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if self._own_code is None:
                raise
            raise edge.Failure(edge.said_of(error), self._own_code) from None

    def _owned(self, error: click.ClickException) -> click.ClickException:
        if self._own_code is not None and error.exit_code not in {edge.NOT_FOUND, edge.NOT_EXECUTABLE}:
            error.exit_code = self._own_code  # type: ignore[misc]  # each failure has its own
        return error


def write_lines(formatter: click.HelpFormatter, title: str, lines: Sequence[str]) -> None:
    """Write a section of help whose lines stay as they are."""
    if not lines:
        return
    with formatter.section(title):
        for line in lines:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Parsed(click.ParamType[Any]):
    """An option that a function parses."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """See `click.ParamType.convert`."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


TTL: Final = click.option(
    "--ttl",
    type=Parsed("duration", values.duration),
    default=...,
    help="How long it lives: 90s, 15m, 1h, 7d, 1h30m, or never.",
)
READS: Final = click.option(
    "--reads",
    type=Parsed("reads", values.reads),
    default=...,
    help="How often it can be read: a number, or unlimited.",
)
KEEP: Final = click.option("--keep", is_flag=True, help="Seal it with its last read, rather than burn it.")
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ORG: Final = click.option("--org", metavar="ORG", help="The org. Default: SIRR_ORG.")
FILE: Final = click.option("--file", type=click.Path(path_type=Path), help="A file as the value, with its name.")
OUTPUT: Final = click.option(
    "--output", "--out", "-o", type=click.Path(path_type=Path), help="Write it into a new file; - is standard output."
)
PASSPHRASE_FILE: Final = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SIRR_PASSPHRASE_FILE",
    show_envvar=True,
    help="A file with the passphrase, rather than to ask for it.",
)


def terms(ttl: Any, reads: Any, *, keep: bool) -> dict[str, Any]:  # noqa: ANN401 - a number, None, or the ellipsis
    """Return what a client is told of the terms: what was not given is left to the server."""
    given: dict[str, Any] = {"keep": keep} if keep else {}
    given |= {} if ttl is ... else {"ttl": ttl}
    return given if reads is ... else {**given, "reads": reads}


def termed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a secret's terms, and hand it what a client is told of them, as `more`."""

    @functools.wraps(command)
    def with_terms(**given: Any) -> Any:  # noqa: ANN401
        more = terms(given.pop("ttl"), given.pop("reads"), keep=given.pop("keep"))
        return command(more=more, **given)

    return TTL(READS(KEEP(with_terms)))


def server_options(command: FunctionT) -> FunctionT:
    """Give a command, or the group, the options that name a server."""
    for option in (
        click.option("--cacert", type=click.Path(path_type=Path), help="A file with the CA of the server."),
        click.option("--token", metavar="TOKEN", help="The server's API key. Better: SIRR_TOKEN, or sirr login."),
        click.option("--server", metavar="URL", help="The server. Default: SIRR_SERVER, or sirr login."),
    ):
        command = option(command)
    return command


def placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name a server, and hand it the `Place` that they name.

    Options may stand before the name of the command as well; those behind it count first.
    """

    @functools.wraps(command)
    def with_place(**given: Any) -> Any:  # noqa: ANN401
        before = click.get_current_context().find_root().params
        named = {name: given.pop(name, None) or before.get(name) for name in ("server", "token", "org", "cacert")}
        if named["token"] is not None:
            edge.note("warning: others of this machine may have read the token; use SIRR_TOKEN or sirr login")
        return command(place=Place(**named), **given)

    return server_options(with_place)


def linked(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument and the option that name a secret, and hand it the `LinkOptions` that they are."""

    @functools.wraps(command)
    def with_link(**given: Any) -> Any:  # noqa: ANN401
        return command(named=LinkOptions(given.pop("what"), given.pop("link_file")), **given)

    option = click.option("--link-file", type=click.Path(path_type=Path), help="A file with the link.")
    return click.argument("what", metavar="[-|LINK|ID|KEY]", required=False)(option(with_link))
