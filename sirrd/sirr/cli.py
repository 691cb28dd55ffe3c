"""The command line `sirr`, for those who send and receive secrets.

| module | what it is for |
|---|---|
| `cli` | the group of commands, and where the process begins |
| `sending`, `receiving`, `orgs`, `pulling`, `accounts` | the commands |
| `commands` | what they have in common: help, options, which server |
| `configuration`, `place` | what variables and `sirr login` say, and the client that follows from it |
| `pasted`, `given`, `terminal` | what a person pastes, gives and types |
| `output`, `formats`, `names`, `program` | where it goes what was read: files and screens, environment files, a child |
| `edge`, `signals`, `arguments` | how the process ends, what may interrupt it, what others see of it |

What can be checked is checked before a read is spent. What is read goes to standard output, everything else to standard
error. The client is imported by the commands that need it, so that help and completion stay quick.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import click

from sirrd import __version__
from sirrd.sirr import accounts, arguments, edge, orgs, pulling, receiving, sending, signals
from sirrd.sirr.commands import server_options, write_lines

_EXAMPLES: Final = (
    "sirr push             asks for a value, prints a link",
    "sirr get              asks for the link, prints the value; after that it is gone",
)


class _Group(click.Group):
    """All commands, in the order in which people need them."""

    exit_codes = (
        "0    done",
        "1    failed",
        "2    usage",
        "4    gone",
        "5    sealed",
        "6    unauthorised",
        "7    locked, or a wrong passphrase",
        "8    unreachable",
        "125  run: sirr itself failed, and the command was not run",
        "126  run: the command cannot be executed",
        "127  run: there is no such command",
        "128+ ended by that signal",
    )

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """See `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise edge.ReaderLeftError from error

    def list_commands(self, _: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command.format_epilog`."""
        write_lines(formatter, "Examples", _EXAMPLES)
        write_lines(formatter, "Exit codes", self.exit_codes)
        super().format_epilog(ctx, formatter)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--org", metavar="ORG", help="The org. Default: SIRR_ORG.")
@server_options
@click.version_option(__version__, prog_name="sirr")
def group(**_: object) -> None:
    """Share a secret that can be read once.

    Values are encrypted here, before they are sent. The key is in the link, behind the #, and no server sees it.
    """


for _command in (
    sending.push,
    receiving.get,
    receiving.head,
    sending.patch,
    receiving.delete,
    orgs.list_,
    orgs.prune,
    orgs.set_,
    orgs.import_,
    pulling.pull,
    pulling.run,
    accounts.login,
    accounts.logout,
    accounts.me,
    accounts.completion,
    accounts.man,
):
    group.add_command(_command)


def main() -> NoReturn:
    """Begin, and end, the process."""
    signals.install()
    arguments.wipe(group.commands)
    edge.run(lambda: group.main(prog_name="sirr", standalone_mode=False))
