"""What a client raises.

::

    SirrError                       status, code
    ├── NotFoundError               burned, expired, deleted, or never there
    ├── SealedError                 its reads are used up, and its owner kept it
    ├── ExistsError                 a live secret of the org has that key
    ├── UnauthorisedError           the token is missing or wrong
    ├── LockedError                 the proof is missing or wrong: another passphrase, or a link without its fragment
    ├── RefusedError                the request itself was refused
    ├── UnavailableError            no answer, or one that says: not now
    │   └── MaybeSpentError         a read was asked for and not answered: it may be spent
    └── CannotOpenError             a value came that does not open: carries it, since the read is spent

No message holds a value, an id, a key, a token or a link.
"""

from __future__ import annotations


class SirrError(Exception):
    """The root of the tree.

    Attributes:
        status: The HTTP status, or None where there was no answer.
        code: The server's name for it, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


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
    """The server does not do what was asked for; the message says why."""


class UnavailableError(SirrError):
    """The server cannot be reached, or cannot do it now."""


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
