"""What can be asked of a sirrd, as calls: values are sealed and opened here, and links taken apart."""

from __future__ import annotations

import base64
import os
from typing import Any, Final

from sirrd import link
from sirrd.client import answers
from sirrd.client.answers import LONGEST_VALUE_BODY, Answer
from sirrd.client.calls import SHORT_SECONDS, Again, Call, path_of
from sirrd.client.errors import CannotOpenError, RefusedError
from sirrd.client.named import Named, check_key, checked_org, derived
from sirrd.client.refusals import unlooked
from sirrd.client.values import UNSET, Head, Metadata, Number, Page, Pushed, Unset
from sirrd.link import BadContentError, Content, Fragment, Keys, Link

ATTEMPT_BYTES: Final = 32
_LARGEST: Final = (1 << 63) - 1
_SEALED: Final = 410


def content_of(value: str | bytes | Content) -> Content:
    """Return a value as content: a text, or bytes that are none.

    Raises:
        BadContentError: The text holds what is no character.
    """
    if isinstance(value, Content):
        return value
    if isinstance(value, str):
        try:
            return Content(value.encode())
        except UnicodeEncodeError:
            raise BadContentError("the value holds what is no character") from None
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
) -> Call[Pushed]:
    """Store a dead drop.

    Raises:
        RefusedError: There is nothing in it, or a passphrase that would protect nothing; nothing was sent.
    """
    content, fragment = _filled(content_of(value)), None
    if passphrase is not None and not (passphrase and encrypt):
        raise RefusedError("a passphrase is not empty, and needs encryption; nothing was sent")
    if encrypt:
        fragment = Fragment.make(os.urandom, needs_passphrase=passphrase is not None)
        members = _sealed(content, derived(fragment, passphrase))
    else:
        members = {"value": _plain(content)}
    size = _size(members)
    members |= _numbers(ttl_seconds=ttl, max_reads=reads) | ({"delete": False} if keep else {})

    def read(answer: Answer) -> Pushed:
        stored = answer.read(answers.Created).link
        return Pushed(stored.id, Link(stored.server, stored.id, fragment))

    return Call("POST", "/secrets", read, Again.UNSENT, members, size=size)


def get(named: Named, *, passphrase: str | None = None) -> Call[Content]:
    """Read a secret, spending one read: an attempt of its own."""
    keys = named.keys(passphrase)
    headers = {"X-Sirr-Attempt": base64.urlsafe_b64encode(os.urandom(ATTEMPT_BYTES)).rstrip(b"=").decode()}
    if keys is not None:
        headers["X-Sirr-Proof"] = keys.shown_proof

    def read(answer: Answer) -> Content:
        value = answer.read(answers.Value).value
        if keys is None:
            return Content(value.encode())
        try:
            return link.open_sealed(value, keys.encryption)
        except link.CannotOpenError:
            raise CannotOpenError("the value does not open with this link", value=value) from None

    return Call("GET", named.path, read, Again.AS_ATTEMPT, headers=headers, longest=LONGEST_VALUE_BODY)


def received(reading: Call[Content]) -> Call[None]:
    """Say that a value is where it belongs, so that the server forgets what it kept to give the answer again."""
    headers = {"X-Sirr-Attempt": reading.headers["X-Sirr-Attempt"]}
    path = f"{reading.path}/received"
    return Call("POST", path, lambda _: None, Again.NEVER, headers=headers, seconds=SHORT_SECONDS)


def head(named: Named) -> Call[Head]:
    """Describe a secret, spending nothing; a sealed one, too."""

    def is_error(answer: Answer) -> bool:
        is_sealed = answer.status == _SEALED and "x-sirr-status" in answer.headers
        return not (answer.is_success or is_sealed)

    return Call(
        "HEAD",
        named.path,
        lambda answer: Head(**answers.looked(answer.headers).model_dump()),
        Again.ALWAYS,
        headers={"X-Sirr-Look": "true"},
        is_error=is_error,
        refused=unlooked,
    )


def patch(
    named: Named,
    *,
    value: str | bytes | Content | Unset = UNSET,
    ttl: Number = UNSET,
    reads: Number = UNSET,
    passphrase: str | None = None,
) -> Call[Metadata]:
    """Change a secret that seals, and revive it. A new value for a link is sealed so that the link goes on to open it.

    Raises:
        RefusedError: There is nothing in the value; nothing was sent.
    """
    members: dict[str, Any] = _numbers(ttl_seconds=ttl, max_reads=reads)
    size = None
    if not isinstance(value, Unset):
        keys, content = named.keys(passphrase), _filled(content_of(value))
        members |= {"value": _plain(content)} if keys is None else _sealed(content, keys)
        size = _size(members)

    def read(answer: Answer) -> Metadata:
        return Metadata(**answer.read(answers.Described).model_dump())

    return Call("PATCH", named.path, read, Again.UNSENT, members, size=size)


def delete(named: Named, *, passphrase: str | None = None, as_owner: bool) -> Call[None]:
    """Delete a secret: as its owner, or as the recipient of a link, by its proof."""
    keys = None if as_owner else named.keys(passphrase)
    headers = {} if keys is None else {"X-Sirr-Proof": keys.shown_proof}
    return Call("DELETE", named.path, lambda answer: _done(answer.read(answers.Deleted)), Again.UNSENT, headers=headers)


def page(*, org: str | None, cursor: str | None, limit: int) -> Call[Page]:
    """Read a page of a list."""
    segments = ("secrets",) if org is None else ("orgs", checked_org(org), "secrets")

    def read(answer: Answer) -> Page:
        found = answer.read(answers.Listed)
        return Page([Metadata(**each.model_dump()) for each in found.secrets], found.next_cursor)

    return Call("GET", path_of(*segments, limit=limit, cursor=cursor), read, Again.ALWAYS)


def set_in(
    org: str,
    key: str,
    value: str,
    *,
    ttl: Number = UNSET,
    reads: Number = UNSET,
    keep: bool = False,
) -> Call[None]:
    """Store an org secret, as it is.

    Raises:
        RefusedError: There is nothing in it, or the org or the key cannot be called so; nothing was sent.
    """
    check_key(key)
    members: dict[str, Any] = {"key": key, "value": _plain(_filled(content_of(value)))}
    size = _size(members)
    members |= _numbers(ttl_seconds=ttl, max_reads=reads) | ({"delete": False} if keep else {})
    path = path_of("orgs", checked_org(org), "secrets")
    return Call("POST", path, lambda answer: _done(answer.read(answers.Stored)), Again.UNSENT, members, size=size)


def prune(*, org: str | None) -> Call[int]:
    """Remove what has expired; return how many there were."""
    path = "/prune" if org is None else path_of("orgs", checked_org(org), "prune")
    return Call("POST", path, lambda answer: answer.read(answers.Pruned).pruned, Again.ALWAYS)


def health() -> Call[bool]:
    """Tell whether a sirrd is there and takes work."""

    def is_error(answer: Answer) -> bool:
        return answer.status not in {200, 503}

    def read(answer: Answer) -> bool:
        return answer.read(answers.Ready).status == "ready"

    return Call("GET", "/ready", read, Again.ALWAYS, is_error=is_error)


def _done(_: object) -> None:
    """Return nothing: that the answer has the member that it should have is all."""


def _numbers(**members: Number) -> dict[str, Any]:
    """Return what was given; a whole number is all that can be sent, and its bounds are the server's affair."""
    given: dict[str, Any] = {name: number for name, number in members.items() if not isinstance(number, Unset)}
    for number in given.values():
        if number is not None and (type(number) is not int or abs(number) > _LARGEST):
            raise RefusedError("a lifetime, in seconds, and a number of reads are whole numbers; nothing was sent")
    return given


def _filled(content: Content) -> Content:
    """Return a content with something in it. A file may be empty: its name says that somebody meant it."""
    if not content.data and content.name is None:
        raise RefusedError("the value is empty, and a link to nothing helps nobody; nothing was sent")
    return content


def _sealed(content: Content, keys: Keys) -> dict[str, Any]:
    return {"value": link.seal(content, keys.encryption, os.urandom), "lock": keys.lock}


def _plain(content: Content) -> str:
    if not content.data:
        raise RefusedError("an empty file can only be stored encrypted; nothing was sent")
    try:
        return content.data.decode()
    except UnicodeDecodeError:
        raise RefusedError("bytes that are no text can only be stored encrypted; nothing was sent") from None


def _size(members: dict[str, Any]) -> int:
    return len(members["value"].encode())
