"""What a client raises.

::

    SirrError                       status, code, cause
    ├── SettingError                the server's URL, the token or the environment is unusable: nothing was sent
    ├── NotFoundError               burned, expired, deleted, or never there
    ├── SealedError                 its reads are used up, and its owner kept it
    ├── ExistsError                 a live secret of the org has that key
    ├── UnauthorisedError           the token is missing or wrong
    ├── LockedError                 the proof is missing or wrong: another passphrase, or a link without its fragment
    ├── RefusedError                the request itself was refused, here or by the server
    ├── UnavailableError            no answer, or one that says: not now, or one that no sirrd gives
    │   ├── CannotLookError         something before the server lets nobody look: nothing was spent, or found out
    │   └── MaybeSpentError         a read was asked for and not answered: it may be spent
    └── CannotOpenError             a value came that does not open: carries it, since the read is spent

Whatever is raised where a read was asked for says whether one can have been spent: with `MaybeSpentError` it can, with
`CannotOpenError` it is, with everything else it is not.

No message holds a value, an id, a key, a token or a link. Each is one line, and fit for a terminal.
"""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """Why there was no answer of a sirrd."""

    UNTRUSTED = "untrusted"
    """The certificate is signed by nobody who is trusted."""
    OTHER_NAME = "other name"
    """The certificate is that of another host."""
    EXPIRED = "expired"
    """The certificate is over, or not yet valid."""
    TLS = "tls"
    """There is no TLS, or none that both sides know."""
    DNS = "dns"
    """The host's name is not known."""
    REFUSED = "refused"
    """Nothing listens there."""
    UNREACHABLE = "unreachable"
    """There is no way to it."""
    TIMEOUT = "timeout"
    """It took too long."""
    PROXY = "proxy"
    """The proxy that the environment names is not there, or does not do it."""
    BROKEN = "broken"
    """The connection broke off."""
    REDIRECT = "redirect"
    """Another address was named; no redirect is followed."""
    FOREIGN = "foreign"
    """Something else than a sirrd answered."""


class SirrError(Exception):
    """The root of the tree.

    Attributes:
        status: The HTTP status, or None where there was no answer.
        code: The server's name for it, or None.
        cause: Why there was no answer of a sirrd, or None where there was one.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, cause: Cause | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.cause = cause


class SettingError(SirrError, ValueError):
    """What the client was given, or the environment says, cannot be used. Nothing was sent.

    Attributes:
        name: `server`, `token`, `cacert`, or the name of the environment variable.
    """

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class NotFoundError(SirrError):
    """There is no such secret, or not any more."""


class SealedError(SirrError):
    """All reads are used up; the owner can revive it."""


class ExistsError(SirrError):
    """A live secret of the org has that key."""


class UnauthorisedError(SirrError):
    """The server needs its token for this, and was shown none, or another."""


class LockedError(SirrError):
    """The secret is locked, and what was shown does not open it; nothing was spent."""


class RefusedError(SirrError):
    """What was asked for is not done; the message says why."""


class UnavailableError(SirrError):
    """The server cannot be reached, cannot do it now, or is no sirrd."""


class CannotLookError(UnavailableError):
    """Something before the server does not let a secret be looked at. Nothing was spent; it can still be read."""


class MaybeSpentError(UnavailableError):
    """A read was sent and not answered. Whether it was spent, the owner can see; to ask again could spend another."""


class CannotOpenError(SirrError):
    """The value that came does not open with this link. The read is spent, so it must not be lost.

    Attributes:
        value: The value as the server stored it.
    """

    def __init__(self, message: str, *, value: str) -> None:
        super().__init__(message)
        self.value = value
