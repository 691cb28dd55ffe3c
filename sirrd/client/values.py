"""What a client returns, and how it says that something is left as it is."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

from sirrd.link import Link


class Unset(enum.Enum):
    """Marks what is left to the server, where None has a meaning of its own."""

    UNSET = enum.auto()


UNSET: Final = Unset.UNSET
Number = int | None | Unset


class Pushed(NamedTuple):
    """A dead drop that was stored.

    Attributes:
        id: Its id.
        link: What the recipient is given.
    """

    id: str
    link: Link

    def __repr__(self) -> str:
        return "<Pushed>"

    @property
    def url(self) -> str:
        """The link as text."""
        return str(self.link)


class Metadata(NamedTuple):
    """What a list and an amendment tell of a secret; times are Unix seconds.

    Attributes:
        key: The id of a dead drop, or the key of an org secret.
        org: The org, or None.
        fingerprint: What log and audit trail call it by.
        created_at: When it was stored.
        expires_at: When it expires, or None: never.
        max_reads: How often it may be read, or None: any number of times.
        read_count: How often it was read.
        delete: Whether its last read burns it, rather than seals it.
        locked: Whether a reader has to show a proof.
        status: `active` or `sealed`.
    """

    key: str
    org: str | None
    fingerprint: str
    created_at: int
    expires_at: int | None
    max_reads: int | None
    read_count: int
    delete: bool
    locked: bool
    status: str

    def __repr__(self) -> str:
        return f"<Metadata of {self.fingerprint}>"


class Head(NamedTuple):
    """What `HEAD` tells of a secret, spending nothing; times are Unix seconds.

    Attributes:
        read_count: How often it was read.
        reads_remaining: How often it can still be read, or None: any number of times.
        delete: Whether its last read burns it, rather than seals it.
        created_at: When it was stored.
        expires_at: When it expires, or None: never.
        locked: Whether a reader has to show a proof.
        status: `active` or `sealed`.
        fingerprint: What log and audit trail call it by; None where the server does not tell.
    """

    read_count: int
    reads_remaining: int | None
    delete: bool
    created_at: int
    expires_at: int | None
    locked: bool
    status: str
    fingerprint: str | None


class Page(NamedTuple):
    """A page of a list; `cursor` is where the next one begins, or None."""

    secrets: Sequence[Metadata]
    cursor: str | None
