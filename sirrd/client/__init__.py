"""A client for sirrd: `SirrClient` and, for asyncio, `AsyncSirrClient`.

::

    with SirrClient("https://drop.example", token="…") as sirr:
        pushed = sirr.push("s3cret", ttl=3600)
        print(pushed.url)                     # give this to the recipient
        print(sirr.get(pushed.link).data)     # b"s3cret"; the read is spent

Values are encrypted before they are sent, with a key that stands in the fragment of the link, which no server sees.
Nothing of the daemon is imported here.
"""

from sirrd.client.answers import Version
from sirrd.client.clients import AsyncSirrClient, SirrClient
from sirrd.client.errors import (
    CannotLookError,
    CannotOpenError,
    Cause,
    ExistsError,
    LockedError,
    MaybeSpentError,
    NotFoundError,
    RefusedError,
    SealedError,
    SettingError,
    SirrError,
    UnauthorisedError,
    UnavailableError,
)
from sirrd.client.reading import AsyncReading, Reading
from sirrd.client.values import UNSET, Head, Metadata, Pushed
from sirrd.link import BadContentError, BadLinkError, Content, Link

__all__ = [
    "UNSET",
    "AsyncReading",
    "AsyncSirrClient",
    "BadContentError",
    "BadLinkError",
    "CannotLookError",
    "CannotOpenError",
    "Cause",
    "Content",
    "ExistsError",
    "Head",
    "Link",
    "LockedError",
    "MaybeSpentError",
    "Metadata",
    "NotFoundError",
    "Pushed",
    "Reading",
    "RefusedError",
    "SealedError",
    "SettingError",
    "SirrClient",
    "SirrError",
    "UnauthorisedError",
    "UnavailableError",
    "Version",
]
