"""Secrets as callers name them: by link, id, or key in an org. What is none of these never leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from sirrd.client import addresses
from sirrd.client.addresses import BadAddressError
from sirrd.client.calls import path_of
from sirrd.client.errors import LockedError, RefusedError
from sirrd.link import BadLinkError, Fragment, Keys, Link

_ID: Final = re.compile(r"[0-9a-f]{64}")
_ID_OF_EITHER_CASE: Final = re.compile(r"[0-9A-Fa-f]{64}")
_KEY: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,256}")
_ORG: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}")


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
        """Take a link, an id, or a key, with its org or bare. What is none of them is sent nowhere.

        Raises:
            BadLinkError: It looks like a link and is none.
            RefusedError: It is neither a link nor an id nor a key, or the end of a link by itself.
        """
        if isinstance(what, str) and "://" in what:
            what = Link.parse(what)
        if isinstance(what, Link):
            return cls(("secrets", what.id), _server_of(what), what.fragment)
        if _ID.fullmatch(what) is not None:
            return cls(("secrets", what))
        check_key(what)
        return cls(("secrets", what)) if org is None else cls(("orgs", checked_org(org), "secrets", what))

    @property
    def path(self) -> str:
        """The path of its resource."""
        return path_of(*self.segments)

    def keys(self, passphrase: str | None) -> Keys | None:
        """Derive its keys, or None where there is no fragment.

        Raises:
            LockedError: A passphrase is needed, and none was given.
            RefusedError: It is no text.
        """
        if self.fragment is None:
            return None
        if self.fragment.needs_passphrase and not passphrase:
            raise LockedError("this link needs a passphrase")
        return derived(self.fragment, passphrase if self.fragment.needs_passphrase else None)


def _server_of(named: Link) -> str:
    try:
        return str(addresses.parse(named.server))
    except BadAddressError as error:
        raise BadLinkError(f"this is not the link of a secret: {error}") from None


def check_key(text: str) -> None:
    """Let nothing leave that is not a key or an id.

    Raises:
        RefusedError: It is something else; the end of a link, say.
    """
    if _ID_OF_EITHER_CASE.fullmatch(text) is not None:
        raise RefusedError("the letters of an id are small; nothing was sent")
    if _KEY.fullmatch(text) is None:
        raise RefusedError("this is neither a link nor an id nor a key; nothing was sent")
    # A name of 44 letters that would be a fragment as well has small letters once in 10^10 times only if it is one.
    if text != text.upper() and _is_fragment(text):
        raise RefusedError("this is the end of a link, which no server may see; nothing was sent")


def _is_fragment(text: str) -> bool:
    try:
        Fragment.parse(text)
    except ValueError:
        return False
    return True


def checked_org(org: str) -> str:
    """Return the name of an org.

    Raises:
        RefusedError: It is none.
    """
    if _ORG.fullmatch(org) is None:
        raise RefusedError("the name of an org is made of letters, digits, _, . and -; nothing was sent")
    return org


def derived(fragment: Fragment, passphrase: str | None) -> Keys:
    """Return the keys of a link.

    Raises:
        RefusedError: The passphrase is no text.
    """
    try:
        return fragment.keys(passphrase)
    except UnicodeEncodeError:
        raise RefusedError("the passphrase holds what is no character; nothing was sent") from None
