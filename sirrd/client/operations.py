"""What can be asked of a sirrd, as calls: values are sealed and opened here, and links taken apart."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sirrd import link
from sirrd.client.calls import Again, Answer, Call, path_of
from sirrd.client.errors import CannotOpenError, LockedError, RefusedError, UnavailableError
from sirrd.link import Content, Fragment, Keys, Link

DEFAULT_MAX_VALUE_BYTES: Final = 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f]{64}")
_SEALED: Final = 410
_STATUSES: Final = {name: name for name in ("active", "sealed")}


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


@dataclass(frozen=True, slots=True)
class Named:
    """What a caller names a secret by.

    Attributes:
        segments: Of its path.
        server: The server of a link, or None: the client's own.
        fragment: Of a link, or None.
    """

    segments: tuple[str, ...] = field(repr=False)
    server: str | None = None
    fragment: Fragment | None = None

    @classmethod
    def by(cls, what: str | Link, org: str | None = None) -> Named:
        """Take a link, an id, or a key, with its org or bare.

        Raises:
            BadLinkError: It looks like a link and is none.
        """
        if isinstance(what, str) and "://" in what:
            what = Link.parse(what)
        if isinstance(what, Link):
            return cls(("secrets", what.id), what.server, what.fragment)
        if org is not None and _ID.fullmatch(what) is None:
            return cls(("orgs", org, "secrets", what))
        return cls(("secrets", what))

    @property
    def path(self) -> str:
        """The path of its resource."""
        return path_of(*self.segments)

    def keys(self, passphrase: str | None) -> Keys | None:
        """Derive its keys, or None where there is no fragment.

        Raises:
            LockedError: A passphrase is needed, and none was given.
        """
        if self.fragment is None:
            return None
        if self.fragment.needs_passphrase and not passphrase:
            raise LockedError("this link needs a passphrase")
        return self.fragment.keys(passphrase if self.fragment.needs_passphrase else None)


def content_of(value: str | bytes | Content) -> Content:
    """Return a value as content: a text, or bytes that are none."""
    if isinstance(value, Content):
        return value
    if isinstance(value, str):
        return Content(value.encode())
    try:
        value.decode()
    except UnicodeDecodeError:
        return Content(value, media_type="application/octet-stream")
    return Content(value)


def push(
    value: str | bytes | Content,
    *,
    ttl: Number = UNSET,
    reads: Number = UNSET,
    keep: bool = False,
    encrypt: bool = True,
    passphrase: str | None = None,
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES,
) -> Call[Pushed]:
    """Store a dead drop.

    Raises:
        RefusedError: It would be too long; nothing was sent.
    """
    content, fragment = content_of(value), None
    if encrypt:
        fragment = Fragment.make(os.urandom, needs_passphrase=bool(passphrase))
        members = _sealed(content, fragment.keys(passphrase or None), max_value_bytes)
    else:
        members = {"value": _plain(content, max_value_bytes)}
    members |= _numbers(ttl_seconds=ttl, max_reads=reads) | ({"delete": False} if keep else {})

    def read(answer: Answer) -> Pushed:
        try:
            stored = Link.parse(answer.member("url", str))
        except link.BadLinkError:
            raise UnavailableError("the server names a link that is none", status=answer.status) from None
        return Pushed(stored.id, Link(stored.server, stored.id, fragment))

    return Call("POST", "/secrets", read, Again.UNSENT, members)


def get(named: Named, *, passphrase: str | None = None) -> Call[Content]:
    """Read a secret, spending one read."""
    keys = named.keys(passphrase)
    headers = {} if keys is None else {"X-Sirr-Proof": keys.shown_proof}

    def read(answer: Answer) -> Content:
        value = answer.member("value", str)
        if keys is None:
            return Content(value.encode())
        try:
            return link.open_sealed(value, keys.encryption)
        except link.CannotOpenError:
            raise CannotOpenError("the value does not open with this link", value=value) from None

    return Call("GET", named.path, read, Again.UNSENT, headers=headers, spends=True)


def head(named: Named) -> Call[Head]:
    """Describe a secret, spending nothing; a sealed one, too."""

    def read(answer: Answer) -> Head:
        shown = {name.removeprefix("x-sirr-"): text for name, text in answer.headers.items()}
        try:
            remaining, expires_at = shown["reads-remaining"], shown.get("expires-at")
            return Head(
                read_count=int(shown["read-count"]),
                reads_remaining=None if remaining == "unlimited" else int(remaining),
                delete=shown["delete"] == "true",
                created_at=int(shown["created-at"]),
                expires_at=None if expires_at is None else int(expires_at),
                locked=shown.get("locked") == "true",
                status=_STATUSES[shown["status"]],
                fingerprint=shown.get("fingerprint"),
            )
        except (KeyError, ValueError):
            raise UnavailableError("what answered is no sirrd", status=answer.status) from None

    def is_error(answer: Answer) -> bool:
        is_sealed = answer.status == _SEALED and "x-sirr-status" in answer.headers
        return not (answer.is_success or is_sealed)

    return Call("HEAD", named.path, read, Again.ALWAYS, is_error=is_error)


def patch(
    named: Named,
    *,
    value: str | bytes | Content | Unset = UNSET,
    ttl: Number = UNSET,
    reads: Number = UNSET,
    passphrase: str | None = None,
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES,
) -> Call[Metadata]:
    """Change a secret that seals, and revive it. A new value for a link is sealed so that the link goes on to open it.

    Raises:
        RefusedError: It would be too long; nothing was sent.
    """
    members: dict[str, Any] = _numbers(ttl_seconds=ttl, max_reads=reads)
    if not isinstance(value, Unset):
        keys, content = named.keys(passphrase), content_of(value)
        sealed = None if keys is None else _sealed(content, keys, max_value_bytes)
        members |= sealed or {"value": _plain(content, max_value_bytes)}
    return Call("PATCH", named.path, lambda answer: _metadata(answer.members()), Again.UNSENT, members)


def delete(named: Named, *, passphrase: str | None = None, as_owner: bool) -> Call[None]:
    """Delete a secret: as its owner, or as the recipient of a link, by its proof."""
    keys = None if as_owner else named.keys(passphrase)
    headers = {} if keys is None else {"X-Sirr-Proof": keys.shown_proof}
    return Call(
        "DELETE", named.path, lambda answer: _done(answer.member("deleted", bool)), Again.UNSENT, headers=headers
    )


def page(*, org: str | None, cursor: str | None, limit: int) -> Call[Page]:
    """Read a page of a list."""
    segments = ("secrets",) if org is None else ("orgs", org, "secrets")

    def read(answer: Answer) -> Page:
        secrets = answer.member("secrets", list)
        return Page([_metadata(each) for each in secrets], answer.members().get("next_cursor"))

    return Call("GET", path_of(*segments, limit=limit, cursor=cursor), read, Again.ALWAYS)


def set_in(
    org: str,
    key: str,
    value: str,
    *,
    ttl: Number = UNSET,
    reads: Number = UNSET,
    keep: bool = False,
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES,
) -> Call[None]:
    """Store an org secret, as it is.

    Raises:
        RefusedError: It would be too long; nothing was sent.
    """
    members: dict[str, Any] = {"key": key, "value": _plain(content_of(value), max_value_bytes)}
    members |= _numbers(ttl_seconds=ttl, max_reads=reads) | ({"delete": False} if keep else {})
    path = path_of("orgs", org, "secrets")
    return Call("POST", path, lambda answer: _done(answer.member("key", str)), Again.UNSENT, members)


def prune(*, org: str | None) -> Call[int]:
    """Remove what has expired; return how many there were."""
    path = "/prune" if org is None else path_of("orgs", org, "prune")
    return Call("POST", path, lambda answer: answer.member("pruned", int), Again.ALWAYS)


def health() -> Call[bool]:
    """Tell whether a sirrd is there and takes work."""
    return Call("GET", "/ready", lambda answer: answer.status == 200, Again.ALWAYS, is_error=lambda _: False)  # noqa: PLR2004


def _done(_: object) -> None:
    """Return nothing: that the answer has the member that it should have is all."""


def _metadata(members: Any) -> Metadata:  # noqa: ANN401 - JSON
    try:
        found = Metadata(*(members[name] for name in Metadata._fields))
        texts: list[Any] = [found.key, found.org or "", found.fingerprint, found.status]
        is_sound = all(isinstance(text, str) and text.isprintable() for text in texts)
    except (KeyError, TypeError):
        is_sound = False
    if not is_sound:
        raise UnavailableError("what answered is no sirrd, or one of another release")
    return found


def _numbers(**members: Number) -> dict[str, Any]:
    return {name: number for name, number in members.items() if not isinstance(number, Unset)}


def _sealed(content: Content, keys: Keys, most: int) -> dict[str, Any]:
    _check_size(link.sealed_size(content), most)
    return {"value": link.seal(content, keys.encryption, os.urandom), "lock": keys.lock}


def _plain(content: Content, most: int) -> str:
    _check_size(len(content.data), most)
    try:
        return content.data.decode()
    except UnicodeDecodeError:
        raise RefusedError("bytes that are no text can only be stored encrypted") from None


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedError(f"the value would take {size} bytes once sealed, and the server takes {most}")
