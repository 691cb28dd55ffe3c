"""The command line `sirr`: push, get, head, patch, delete, list, prune, set, pull, run, login, me.

Exit codes: 0 done, 1 failed, 2 usage, 4 gone, 5 sealed, 6 unauthorised, 7 locked or wrong passphrase, 8 unreachable.
What can be checked is checked before a read is spent. What is read goes to standard output, everything else to standard
error. The client is imported by the commands that need it, so that help and completion stay quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from sirrd import __version__
from sirrd.clock import SystemClock
from sirrd.sirr import configuration, values
from sirrd.sirr.configuration import Configuration, ConfigurationError

if TYPE_CHECKING:
    from sirrd.client import Content, Metadata, SirrClient, SirrError

FAILED: Final = 1
USAGE: Final = 2
GONE: Final = 4
SEALED: Final = 5
UNAUTHORISED: Final = 6
LOCKED: Final = 7
UNREACHABLE: Final = 8
_CODES: Final = {
    "NotFoundError": GONE,
    "SealedError": SEALED,
    "UnauthorisedError": UNAUTHORISED,
    "LockedError": LOCKED,
    "UnavailableError": UNREACHABLE,
    "MaybeSpentError": UNREACHABLE,
}
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class _Failure(click.ClickException):
    """Ends a command with a message and an exit code of its own."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # each failure has its own


class _Parsed(click.ParamType[Any]):
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


_TTL: Final = click.option(
    "--ttl", type=_Parsed("duration", values.duration), help="How long it lives: 90s, 15m, 1h, 7d, 1h30m."
)
_READS: Final = click.option(
    "--reads",
    type=_Parsed("reads", values.reads),
    default=...,
    help="How often it can be read: a number, or unlimited.",
)
_KEEP: Final = click.option("--keep", is_flag=True, help="Seal it with its last read, rather than burn it.")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ORG: Final = click.option("--org", metavar="ORG", help="The org. Default: SIRR_ORG.")


def _connected(command: CommandT) -> CommandT:
    """Give a command the options that name a server."""
    command = click.option("--token", metavar="TOKEN", help="The server's API key. Better: SIRR_TOKEN, or sirr login.")(
        command
    )
    return click.option("--server", metavar="URL", help="The server. Default: SIRR_SERVER, or sirr login.")(command)


@contextlib.contextmanager
def _client(
    server: str | None, token: str | None, org: str | None = None, *, what: str = "", kept: bool = True
) -> Iterator[SirrClient]:
    """Open a client for a command, and turn what it raises into messages and exit codes.

    Args:
        server: An option, or None.
        token: An option, or None.
        org: An option, or None.
        what: A link that is asked for, which names a server of its own.
        kept: Whether what `sirr login` has kept counts.
    """
    found = _configured(server, token, org) if kept else Configuration(server, token)
    address, word = found.server, found.token
    from sirrd.client import BadContentError, BadLinkError, Link, SirrClient, SirrError  # noqa: PLC0415

    try:
        if "://" in what and address is None:
            # Whoever made the link has named this server: no token is for it.
            address, word = Link.parse(what).server, None
        if address is None:
            raise _Failure("which server? name it with --server or SIRR_SERVER, or run sirr login", USAGE)
        with contextlib.ExitStack() as stack:
            try:
                client = stack.enter_context(SirrClient(address, word))
            except ValueError:
                raise _Failure("the server is named by its URL, like https://drop.example", USAGE) from None
            yield client
    except SirrError as error:
        raise _Failure(str(error), _CODES.get(type(error).__name__, FAILED)) from None
    except (BadLinkError, BadContentError) as error:
        raise _Failure(str(error), USAGE) from None


def _configured(server: str | None, token: str | None, org: str | None = None) -> Configuration:
    try:
        return configuration.load(os.environ, server=server, token=token, org=org)
    except ConfigurationError as error:
        raise _Failure(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sirr")
def main() -> None:
    r"""Share a secret that can be read once.

    \b
    sirr push                  asks for a value, prints a link
    sirr get LINK              prints the value; after that it is gone

    Values are encrypted here, before they are sent. The key is in the link, behind the #, and no server sees it.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 4 gone, 5 sealed, 6 unauthorised,
    7 locked or wrong passphrase, 8 unreachable.
    """


@main.command()
@click.argument("value", required=False)
@_TTL
@_READS
@_KEEP
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Send a file, with its name."
)
@click.option(
    "--passphrase", is_flag=True, help="Ask for a passphrase, or make one, without which the link opens nothing."
)
@click.option("--plain", is_flag=True, help="Do not encrypt: the server, and whoever has the bare link, can read it.")
@click.option("--qr", is_flag=True, help="Show the link as a QR code, too.")
@_JSON
@_connected
def push(  # noqa: PLR0913 - a command's options
    value: str | None,
    ttl: int | None,
    reads: Any,  # noqa: ANN401 - a number, None, or the ellipsis where it is not given
    *,
    keep: bool,
    file: Path | None,
    passphrase: bool,
    plain: bool,
    qr: bool,
    as_json: bool,
    server: str | None,
    token: str | None,
) -> None:
    r"""Store a secret and print the link for its recipient.

    VALUE is better not given: what stands on a command line is kept by the shell and seen by others. Without it, or
    with -, it is read from standard input, or asked for.

    \b
    echo -n s3cret | sirr push --ttl 1h
    sirr push --file id_ed25519 --passphrase
    """
    if plain and passphrase:
        raise click.UsageError("--plain and --passphrase exclude each other")
    if file is not None and value is not None:
        raise click.UsageError("a value or --file, not both")
    _check_output()
    with _client(server, token) as client:
        content = values.of_file(file) if file is not None else _value(value)
        word = _new_passphrase() if passphrase else None
        pushed = client.push(content, **_terms(ttl, reads, keep=keep), encrypt=not plain, passphrase=word)
    if as_json:
        click.echo(json.dumps({"id": pushed.id, "url": pushed.url}))
    else:
        click.echo(pushed.url)
    if qr:
        _show_qr(pushed.url)


def _terms(ttl: int | None, reads: Any, *, keep: bool) -> dict[str, Any]:  # noqa: ANN401
    given: dict[str, Any] = {"keep": keep} if keep else {}
    if ttl is not None:
        given["ttl"] = ttl
    return given if reads is ... else {**given, "reads": reads}


def _value(given: str | None) -> bytes | str:
    """Take a value from where it is: the argument, standard input, or the keyboard."""
    if given is not None and given != "-":
        _note("warning: a value on the command line is kept by the shell and seen by others; pipe it in instead")
        return os.fsencode(given)
    if sys.stdin is None:
        raise _Failure("standard input is closed, and no value was given", USAGE)
    if given == "-" or not sys.stdin.isatty():
        return sys.stdin.buffer.read()
    return str(click.prompt("Value", hide_input=True, err=True))


def _new_passphrase() -> str:
    if not _has_terminal():
        word = values.made_passphrase()
    else:
        asked = "Passphrase (leave it empty to have one made)"
        word = str(click.prompt(asked, default="", show_default=False, hide_input=True, err=True))
        if word:
            if word != click.prompt("Again", hide_input=True, err=True):
                raise _Failure("the passphrases differ", USAGE)
            return word
        word = values.made_passphrase()
    _note(f"passphrase: {word}")
    _note("give it to the recipient in another way than the link")
    return word


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _show_qr(url: str) -> None:
    import segno  # noqa: PLC0415

    segno.make(url, error="m").terminal(out=sys.stderr, compact=True)


def _note(text: str) -> None:
    click.echo(text, err=True)


@main.command()
@click.argument("what", metavar="LINK|ID|KEY")
@_ORG
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it into a file, which must not be there."
)
@_connected
def get(what: str, org: str | None, out: Path | None, server: str | None, token: str | None) -> None:
    """Read a secret, spending one read, and print it.

    To a pipe it goes as it is. On a terminal a line break follows, and what is not text is written into a file beside
    you instead.
    """
    named_org = _configured(server, token, org).org if org or not _is_link_or_id(what) else None
    with _client(server, token, org, what=what) as client, _output(out) as write:
        content, opens = _read(client, what, named_org)
        write(content)
        if not opens:
            raise _Failure("what came does not open with this link; it was written as the server stored it")


def _is_link_or_id(what: str) -> bool:
    return "://" in what or (len(what) == 64 and all(each in "0123456789abcdef" for each in what))  # noqa: PLR2004


def _read(client: SirrClient, what: str, org: str | None) -> tuple[Content, bool]:
    """Spend a read; return what came, and whether it opens: if not, it must not be lost all the same."""
    from sirrd.client import CannotOpenError, Content, Link  # noqa: PLC0415

    word = None
    if "://" in what:
        link = Link.parse(what)
        if link.fragment is not None and link.fragment.needs_passphrase:
            word = str(click.prompt("Passphrase", hide_input=True, err=True))
    try:
        return client.get(what, org=org, passphrase=word), True
    except CannotOpenError as error:
        return Content(error.value.encode()), False


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[Callable[[Content], None]]:
    """Make sure that there is somewhere to write to before a read is spent."""
    if out is None:
        _check_output()
        yield _print
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _Failure(f"{out}: {error.strerror}") from None
    is_used = False

    def write(content: Content) -> None:
        nonlocal is_used
        is_used = True
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.data)
        except OSError as error:
            _rescue(content, error)

    try:
        yield write
    finally:
        if not is_used:
            os.close(descriptor)
            out.unlink()


def _check_output() -> None:
    if sys.stdout is None:
        raise _Failure("standard output is closed; nothing was done", USAGE)


def _print(content: Content) -> None:
    if sys.stdout.isatty() and not values.is_for_a_terminal(content):
        _note(f"this is no text: it was written into {_put_aside(content)}")
        return
    line_break = b"\n" if sys.stdout.isatty() and not content.data.endswith(b"\n") else b""
    try:
        sys.stdout.buffer.write(content.data + line_break)
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python would try again when it ends, and end with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _rescue(content, error)


def _rescue(content: Content, error: OSError | ValueError) -> NoReturn:
    """Keep what was read where it could not be written or used: the read is spent."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    raise _Failure(f"{reason}; what was read is in {_put_aside(content)}") from None


def _put_aside(content: Content) -> Path:
    """Write a content into a new file of this folder, or else of a temporary one."""
    name = values.safe_name(content.name)
    for number in range(1000):
        file = Path(f"{number}-{name}" if number else name)
        try:
            _write_new(file, content.data)
        except FileExistsError:
            continue
        except OSError:
            break
        return file
    file = Path(tempfile.mkdtemp(prefix="sirr-")) / "secret"
    _write_new(file, content.data)
    return file


def _write_new(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
        out.write(data)


@main.command()
@click.argument("what", metavar="LINK|ID|KEY")
@_ORG
@_JSON
@_connected
def head(what: str, org: str | None, *, as_json: bool, server: str | None, token: str | None) -> None:
    """Describe a secret, spending nothing."""
    named_org = None if _is_link_or_id(what) else _configured(server, token, org).org
    with _client(server, token, org, what=what) as client:
        found = client.head(what, org=named_org)
    if as_json:
        click.echo(json.dumps(found._asdict()))
        return
    remaining = "any number of" if found.reads_remaining is None else found.reads_remaining
    click.echo(f"status:      {_coloured(found.status)}{', locked' if found.locked else ''}")
    click.echo(f"reads:       {found.read_count}, {remaining} left")
    click.echo(f"then:        {'burns' if found.delete else 'is sealed'}")
    click.echo(f"expires:     {_expires(found.expires_at)}")
    if found.fingerprint is not None:
        click.echo(f"fingerprint: {found.fingerprint}")


@main.command()
@click.argument("what", metavar="LINK|ID|KEY")
@click.argument("value", required=False)
@_TTL
@_READS
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file as the new value.")
@_ORG
@_JSON
@_connected
def patch(  # noqa: PLR0913 - a command's options
    what: str,
    value: str | None,
    ttl: int | None,
    reads: Any,  # noqa: ANN401
    *,
    file: Path | None,
    org: str | None,
    as_json: bool,
    server: str | None,
    token: str | None,
) -> None:
    """Change a secret that is kept, and revive it: all its reads are there again.

    A new VALUE is taken from standard input with -. Given the link, rather than the id, the link goes on to open it.
    """
    if file is not None and value is not None:
        raise click.UsageError("a value or --file, not both")
    named_org = None if _is_link_or_id(what) else _configured(server, token, org).org
    with _client(server, token, org, what=what) as client:
        given = _terms(ttl, reads, keep=False)
        if file is not None or value is not None:
            given["value"] = values.of_file(file) if file is not None else _value(value)
            # Twice: the new value is sealed with it, and nothing would notice a slip.
            given["passphrase"] = _old_passphrase(what, twice=True)
        changed = client.patch(what, org=named_org, **given)
    click.echo(json.dumps(changed._asdict()) if as_json else f"changed: expires {_expires(changed.expires_at)}")


def _old_passphrase(what: str, *, twice: bool = False) -> str | None:
    from sirrd.client import Link  # noqa: PLC0415

    fragment = Link.parse(what).fragment if "://" in what else None
    if fragment is None or not fragment.needs_passphrase:
        return None
    word = str(click.prompt("Passphrase", hide_input=True, err=True))
    if twice and word != click.prompt("Again", hide_input=True, err=True):
        raise _Failure("the passphrases differ", USAGE)
    return word


@main.command()
@click.argument("what", metavar="LINK|ID|KEY")
@_ORG
@_connected
def delete(what: str, org: str | None, server: str | None, token: str | None) -> None:
    """Destroy a secret unread: as its owner by the token, as its recipient by the link."""
    named_org = None if _is_link_or_id(what) else _configured(server, token, org).org
    with _client(server, token, org, what=what) as client:
        is_owner = client.owns(what)
        client.delete(what, org=named_org, passphrase=None if is_owner else _old_passphrase(what))
    _note("destroyed")


@main.command("list")
@_ORG
@_JSON
@_connected
def list_(org: str | None, *, as_json: bool, server: str | None, token: str | None) -> None:
    """List what is stored, newest first; no value is shown or spent. With --json one object a line."""
    named_org = _configured(server, token, org).org
    with _client(server, token, org) as client:
        for each in client.list(org=named_org):
            click.echo(json.dumps(each._asdict()) if as_json else _line(each))


def _coloured(status: str) -> str:
    """Return a status in colour; `click.echo` leaves colours out where it does not write to a terminal."""
    if "NO_COLOR" in os.environ:
        return status
    return click.style(status, fg="green" if status == "active" else "yellow")


def _expires(at: int | None) -> str:
    return values.expires_in(at, now=SystemClock().now())


def _line(each: Metadata) -> str:
    most = "unlimited" if each.max_reads is None else each.max_reads
    name = each.key if each.org is None else f"{each.org}/{each.key}"
    lock = " locked" if each.locked else ""
    reads = f"{each.read_count} of {most} reads"
    return f"{name}  {_coloured(each.status)}{lock}  {reads}  expires {_expires(each.expires_at)}"


@main.command()
@_ORG
@_connected
def prune(org: str | None, server: str | None, token: str | None) -> None:
    """Remove what has expired, and say how many there were."""
    named_org = _configured(server, token, org).org
    with _client(server, token) as client:
        click.echo(f"pruned {client.prune(org=named_org)}")


@main.command("set")
@click.argument("key")
@click.argument("value", required=False)
@_TTL
@_READS
@_KEEP
@_ORG
@_connected
def set_(
    key: str,
    value: str | None,
    ttl: int | None,
    reads: Any,  # noqa: ANN401
    *,
    keep: bool,
    org: str | None,
    server: str | None,
    token: str | None,
) -> None:
    """Store a secret under a key of an org, as it is, for pull and run; VALUE as in push."""
    named_org = _needed_org(server, token, org)
    with _client(server, token, org) as client:
        found = _value(value)
        try:
            text = found if isinstance(found, str) else found.decode()
        except UnicodeDecodeError:
            raise _Failure("an org secret is text; encode it first") from None
        client.set(named_org, key, text, **_terms(ttl, reads, keep=keep))
    _note(f"stored {key} in {named_org}")


def _needed_org(server: str | None, token: str | None, org: str | None) -> str:
    found = _configured(server, token, org).org
    if found is None:
        raise click.UsageError("which org? name it with --org or SIRR_ORG")
    return found


@main.command()
@_ORG
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it into a file, which must not be there."
)
@_connected
def pull(org: str | None, out: Path | None, server: str | None, token: str | None) -> None:
    """Print all secrets of an org as an environment file, spending one read of each."""
    named_org = _needed_org(server, token, org)
    with _client(server, token, org) as client, _output(out) as write:
        found, failure = _all_of(client, named_org)
        # What was read before something failed is spent, and must not be lost.
        if found or failure is None:
            write(_as_file(found))
        if failure is not None:
            raise failure


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_ORG
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_connected
def run(org: str | None, command: tuple[str, ...], server: str | None, token: str | None) -> None:
    r"""Run a command with all secrets of an org in its environment, and nowhere else, spending one read of each.

    \b
    sirr run --org acme -- ./deploy --now
    """
    named_org = _needed_org(server, token, org)
    program = shutil.which(command[0])
    if program is None:
        raise _Failure(f"{command[0]}: there is no such command; nothing was read", USAGE)
    with _client(server, token, org) as client:
        found, failure = _all_of(client, named_org)
        if failure is not None:
            if found:
                _note(f"what was read is in {_put_aside(_as_file(found))}")
            raise failure
    passed_on = {name: text for name, text in os.environ.items() if name != "SIRR_TOKEN"}
    try:
        os.execve(program, list(command), passed_on | found)  # noqa: S606 - that is the command
    except (OSError, ValueError) as error:
        _rescue(_as_file(found), error)


def _keys_to_read(client: SirrClient, org: str) -> list[str]:
    """Return the keys of an org, if all can be read."""
    listed = list(client.list(org=org))
    if any(each.locked for each in listed):
        raise _Failure("a secret of this org is locked; nothing was read", LOCKED)
    if any(each.status == "sealed" for each in listed):
        raise _Failure("a secret of this org is sealed; nothing was read", SEALED)
    if strange := [each.key for each in listed if not values.is_variable(each.key)]:
        raise _Failure(f"{strange[0]} cannot be the name of a variable; nothing was read")
    return sorted(each.key for each in listed)


def _all_of(client: SirrClient, org: str) -> tuple[dict[str, str], SirrError | None]:
    """Spend a read of each secret of an org; return what was read, and what ended that early, if anything."""
    from sirrd.client import SirrError  # noqa: PLC0415

    found: dict[str, str] = {}
    for key in _keys_to_read(client, org):
        try:
            found[key] = client.get(key, org=org).data.decode()
        except SirrError as error:
            return found, error
    return found, None


def _as_file(found: Mapping[str, str]) -> Content:
    from sirrd.client import Content  # noqa: PLC0415

    return Content("".join(values.dotenv_line(name, text) for name, text in found.items()).encode(), "secrets.env")


@main.command()
@click.argument("server_url", metavar="[URL]", required=False)
@_connected
def login(server_url: str | None, server: str | None, token: str | None) -> None:
    """Keep a server and its token in a file that only you can read."""
    url = server_url or server or os.environ.get("SIRR_SERVER") or str(click.prompt("Server", err=True))
    word = token or os.environ.get("SIRR_TOKEN")
    if word is None:
        word = str(click.prompt("Token (empty for none)", default="", show_default=False, hide_input=True, err=True))
    with _client(url, word or None, kept=False) as client:
        if not client.health():
            _note("warning: the server takes no work right now")
        if word:
            client.check_token()
    _note(f"kept in {configuration.keep(url.rstrip('/'), word or None)}")


@main.command()
@_JSON
@_connected
def me(*, as_json: bool, server: str | None, token: str | None) -> None:
    """Show which server is meant, and whether its token works."""
    found = _configured(server, token)
    with _client(server, token) as client:
        is_up = client.health()
        if found.token is not None:
            client.check_token()
    told = {"server": found.server, "ready": is_up, "token": "works" if found.token else None, "org": found.org}
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, text in told.items():
        click.echo(f"{name + ':':<8} {text if text is not None else 'none'}")
