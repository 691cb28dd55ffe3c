"""Where a command goes: the client that follows from what is set, and its errors in the words of who typed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sirrd.sirr.configuration import Configuration, ConfigurationError, load
from sirrd.sirr.edge import FAILED, GONE, LOCKED, SEALED, UNAUTHORISED, UNREACHABLE, USAGE, Failure, reason_of

if TYPE_CHECKING:
    from sirrd.client import SirrClient, SirrError

_CODES: Final = {
    "SettingError": USAGE,
    "NotFoundError": GONE,
    "SealedError": SEALED,
    "UnauthorisedError": UNAUTHORISED,
    "LockedError": LOCKED,
    "UnavailableError": UNREACHABLE,
    "MaybeSpentError": UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Place:
    """What the options of a command say about where it goes; each None where it is not given.

    Attributes:
        server: The URL of the server.
        token: Its master API key.
        org: The org.
        cacert: A file with the certificate of the server's CA.
    """

    server: str | None = None
    token: str | None = field(default=None, repr=False)
    org: str | None = None
    cacert: Path | None = None

    def found(self) -> Configuration:
        """Put together what holds.

        Raises:
            Failure: The environment, or what was kept, is malformed.
        """
        try:
            return load(os.environ, server=self.server, token=self.token, org=self.org)
        except ConfigurationError as error:
            raise Failure(str(error)) from None

    def needed_org(self) -> str:
        """Return the org that is meant.

        Raises:
            click.UsageError: None is.
        """
        if (org := self.found().org) is None:
            raise click.UsageError("which org? name it with --org or SIRR_ORG")
        return org

    @contextlib.contextmanager
    def client(self, *, link: str | None = None, kept: bool = True) -> Iterator[SirrClient]:
        """Open a client for a command, and turn what it raises into messages and exit codes.

        Args:
            link: A link that is asked for, which names a server of its own.
            kept: Whether what `sirr login` has kept counts.
        """
        from sirrd.client import BadContentError, BadLinkError, Link, SirrError  # noqa: PLC0415

        found = self.found() if kept else Configuration(self.server, self.token)
        server, token = found.server, found.token
        shows_token = token is not None
        try:
            if link is not None and server is None:
                # Whoever made the link has named this server: no token is for it.
                server, token = Link.parse(link).server, None
            if server is None:
                raise Failure("which server? name it with --server or SIRR_SERVER, or run sirr login", USAGE)
            with self._open(server, token) as client:
                shows_token = token is not None and (link is None or client.owns(link))
                yield client
        except SirrError as error:
            raise failure_of(error, has_token=shows_token) from None
        except (BadLinkError, BadContentError) as error:
            raise Failure(str(error), USAGE) from None

    def _open(self, server: str, token: str | None) -> SirrClient:
        from sirrd.client import SirrClient  # noqa: PLC0415

        more: dict[str, Any] = {} if self.cacert is None else {"cacert": self.cacert}
        try:
            return SirrClient(server, token, **more)
        except OSError as error:
            raise Failure(reason_of(error), USAGE) from None
        except ValueError as error:
            raise Failure(str(error), USAGE) from None


def failure_of(error: SirrError, *, has_token: bool) -> Failure:
    """Say what a client met in the words of the person who typed."""
    code = _CODES.get(type(error).__name__, FAILED)
    if code == UNAUTHORISED:
        said = "the server does not take this token" if has_token else "the server wants a token for this"
        return Failure(f"{said}: set SIRR_TOKEN, or run sirr login", code)
    texts = {
        "proof_required": "the part of the link behind the # is missing, and nothing opens without it; nothing was "
        "spent: ask for the whole link",
        "proof_mismatch": "this is not the passphrase, or not the whole link; nothing was spent: try again",
        "too_many_proofs": "too many wrong passphrases; nothing was spent: wait a minute, and try again",
    }
    return Failure(texts.get(error.code or "", str(error)), code)
