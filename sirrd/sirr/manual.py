"""The manual page, made of what the commands say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from sirrd import __version__
from sirrd.sirr.commands import Command

_ENVIRONMENT = (
    ("SIRR_SERVER", "The URL of the server."),
    ("SIRR_TOKEN", "Its API key."),
    ("SIRR_ORG", "The org, where --org names none."),
    ("SIRR_PASSPHRASE_FILE", "As --passphrase-file."),
    ("NO_COLOR", "Set to anything: no colours."),
)


def page(group: click.Command, ctx: click.Context) -> str:
    """Return the manual page of a group of commands, for man(1)."""
    return "\n".join(_lines(group, ctx)) + "\n"


def _lines(group: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f'.TH SIRR 1 "" "sirrd {__version__}" "User Commands"'
    yield from (".SH NAME", r"sirr \- share a secret that can be read once")
    yield from (".SH SYNOPSIS", r".B sirr", r"[options] command [options] [arguments]")
    yield from (".SH DESCRIPTION", *_prose(group.help or ""))
    yield from (".SH OPTIONS", *_options(group, ctx))
    yield ".SH COMMANDS"
    commands = group.commands if isinstance(group, click.Group) else {}
    for name, command in commands.items():
        yield from _command(name, command, click.Context(command, parent=ctx, info_name=name))
    yield ".SH ENVIRONMENT"
    for name, text in _ENVIRONMENT:
        yield from (".TP", f".B {name}", _escaped(text))
    yield ".SH EXIT STATUS"
    for line in getattr(group, "exit_codes", ()):
        code, _, text = line.strip().partition(" ")
        yield from (".TP", f".B {code}", _escaped(text.strip()))


def _command(name: str, command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f".SS {name}"
    yield from (".B " + _escaped(f"sirr {name} " + " ".join(command.collect_usage_pieces(ctx))), ".PP")
    yield from _prose(command.help or "")
    yield from _options(command, ctx)
    if isinstance(command, Command) and command.examples:
        yield from (".PP", ".nf", *(_escaped(each) for each in command.examples), ".fi")


def _prose(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.split()))


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in command.get_params(ctx):
        if (record := parameter.get_help_record(ctx)) is not None:
            yield from (".TP", ".B " + _escaped(record[0]), _escaped(record[1]))


def _escaped(text: str) -> str:
    """Return a text that man(1) shows as it stands."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + text if text.startswith((".", "'")) else text
