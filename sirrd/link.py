"""Links with the key in the fragment, and the values that they open: version 1, byte by byte in docs/formats.md.

A browser does not send what stands behind the `#` of a link, so the server learns neither the key of a value nor the
proof that opens its lock. Both are derived here from the fragment, and from a passphrase if there is one. Everything
here can be done with WebCrypto alone.

Used by the client, the command line and the tests; the daemon itself knows only locks.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import unicodedata
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sirrd.entropy import Entropy
from sirrd.kdf import hkdf

SECRET_BYTES: Final = 32
KEY_BYTES: Final = 32
MARKER: Final = "sirr1."
ROUNDS: Final = 600_000
MAX_NAME_BYTES: Final = 255

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">H")
_WITHOUT_PASSPHRASE: Final = 0x10
_WITH_PASSPHRASE: Final = 0x11
_FRAGMENT: Final = re.compile(r"[A-Za-z0-9_-]{44}")
_DRAWS: Final = 100
_PATH: Final = re.compile(r"(.*)/s/([0-9a-f]{64})")
_QUERY: Final = re.compile(r"(?:lang=[a-z]{2})?")  # the page adds it to what the address bar shows
_SEALED: Final = re.compile(rf"{re.escape(MARKER)}([A-Za-z0-9_-]+)")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


class BadLinkError(ValueError):
    """A text is no link of a version that is known here; the message says in which way, and repeats nothing of it."""


class BadContentError(ValueError):
    """A content cannot be sealed: its name or its media type is malformed."""


class CannotOpenError(ValueError):
    """A value does not open: another key or passphrase, a damaged value, or no sealed value at all."""


class Keys(NamedTuple):
    """What is derived from a fragment and a passphrase.

    Attributes:
        encryption: 32 bytes: the key of the value.
        proof: 32 bytes: what is shown to the server.
    """

    encryption: bytes
    proof: bytes

    def __repr__(self) -> str:
        return "<Keys>"

    @property
    def lock(self) -> str:
        """What the server is given with the value: 64 hex digits."""
        return hashlib.sha256(self.proof).hexdigest()

    @property
    def shown_proof(self) -> str:
        """The proof as it stands in `X-Sirr-Proof`."""
        return _encoded(self.proof)


@dataclass(frozen=True, slots=True)
class Fragment:
    """What stands behind the `#` of a link.

    Attributes:
        secret: 32 random bytes.
        needs_passphrase: Whether the sender has set one.
    """

    secret: bytes = field(repr=False)
    needs_passphrase: bool = False

    @classmethod
    def make(cls, entropy: Entropy, *, needs_passphrase: bool = False) -> Fragment:
        """Make the fragment of a new link, which ends in a letter or a digit.

        Chats and mail programs take a `-` or `_` at the end of a link for punctuation, and leave it out of what they
        make clickable. One secret in 32 would end so; it is drawn again.
        """
        for _ in range(_DRAWS):
            made = cls(entropy(SECRET_BYTES), needs_passphrase)
            if str(made)[-1].isalnum():
                return made
        raise ValueError("the source of randomness says the same again and again")

    @classmethod
    def parse(cls, text: str) -> Fragment:
        """Parse a fragment, without its `#`.

        Raises:
            BadLinkError: It is not one.
        """
        if _FRAGMENT.fullmatch(text) is None:
            raise BadLinkError("the part of the link behind the # is not complete")
        version, secret = (decoded := _decoded(text))[0], decoded[1:]
        if version not in {_WITHOUT_PASSPHRASE, _WITH_PASSPHRASE}:
            raise BadLinkError("the link is of a version that is not known here: a newer release is needed")
        return cls(secret, version == _WITH_PASSPHRASE)

    def __str__(self) -> str:
        version = _WITH_PASSPHRASE if self.needs_passphrase else _WITHOUT_PASSPHRASE
        return _encoded(bytes([version]) + self.secret)

    def keys(self, passphrase: str | None = None) -> Keys:
        """Derive the keys; with a passphrase that takes a good part of a second, on purpose.

        Raises:
            ValueError: There is a passphrase, and the link needs none, or the other way round.
        """
        if (passphrase is not None) != self.needs_passphrase or passphrase == "":
            raise ValueError("a passphrase is given exactly where the link needs one")
        stretched = b"" if passphrase is None else self._stretched(passphrase)
        return Keys(*(self._derived(self.secret + stretched, purpose) for purpose in ("key", "proof")))

    def _stretched(self, passphrase: str) -> bytes:
        text = unicodedata.normalize("NFC", passphrase).encode()
        return hashlib.pbkdf2_hmac("sha256", text, self._derived(self.secret, "salt"), ROUNDS)

    @staticmethod
    def _derived(secret: bytes, purpose: str) -> bytes:
        return hkdf(secret, salt=b"", info=b"sirr link v1 " + purpose.encode(), size=KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Link:
    """A link as people share it.

    Attributes:
        server: The public URL of the server, without a slash at the end.
        id: The id of the dead drop.
        fragment: What stands behind the `#`, or None: then the value is as the server stores it.
    """

    server: str
    id: str = field(repr=False)
    fragment: Fragment | None = None

    @classmethod
    def parse(cls, text: str) -> Link:
        """Parse a link.

        Raises:
            BadLinkError: It is not one.
        """
        try:
            if not (text.isascii() and text.isprintable()):
                raise BadLinkError("this is not a link")
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise BadLinkError("this is not a link") from None
        path = _PATH.fullmatch(parts.path)
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or path is None:
            raise BadLinkError("this is not the link of a secret: those end in /s/ and 64 hex digits")
        if _QUERY.fullmatch(parts.query) is None:
            raise BadLinkError("this is not the link of a secret: those have no query")
        fragment = Fragment.parse(parts.fragment) if parts.fragment else None
        return cls(f"{parts.scheme}://{parts.netloc}{path[1]}", path[2], fragment)

    def __str__(self) -> str:
        end = "" if self.fragment is None else f"#{self.fragment}"
        return f"{self.server}/s/{self.id}{end}"


@dataclass(frozen=True, slots=True)
class Content:
    """What is sealed into a value.

    Attributes:
        data: The bytes; of a text, its UTF-8.
        name: The name of a file, or None.
        media_type: What the bytes are, or None: a text.
    """

    data: bytes = field(repr=False)
    name: str | None = field(default=None, repr=False)
    media_type: str | None = None


def seal(content: Content, key: bytes, entropy: Entropy) -> str:
    """Seal a content into a value that the server stores.

    Raises:
        BadContentError: Its name is longer than 255 bytes or empty, or its media type is malformed.
    """
    nonce = entropy(_NONCE_BYTES)
    plain = _labelled(content.name, content.media_type) + content.data
    return MARKER + _encoded(nonce + AESGCM(key).encrypt(nonce, plain, MARKER.encode()))


def sealed_size(content: Content) -> int:
    """Return how many bytes a value takes once it is sealed; errors as in `seal`."""
    size = _NONCE_BYTES + len(_labelled(content.name, content.media_type)) + len(content.data) + _TAG_BYTES
    return len(MARKER) + -(-size * 4 // 3)


def is_sealed(value: str) -> bool:
    """Tell whether a value has the form of a sealed one."""
    return _SEALED.fullmatch(value) is not None


def open_sealed(value: str, key: bytes) -> Content:
    """Open what `seal` made.

    Raises:
        CannotOpenError: It does not open.
    """
    found = _SEALED.fullmatch(value)
    if found is None:
        raise CannotOpenError("the value is not sealed")
    try:
        packed = _decoded(found[1])
        plain = AESGCM(key).decrypt(packed[:_NONCE_BYTES], packed[_NONCE_BYTES:], MARKER.encode())
        name, rest = _taken(plain)
        media_type, data = _taken(rest)
        return Content(data, name.decode() or None, media_type.decode() or None)
    except (InvalidTag, ValueError, struct.error):
        raise CannotOpenError("the value does not open with this key") from None


def _labelled(name: str | None, media_type: str | None) -> bytes:
    """Return what stands before the data: name and media type, each after its length."""
    try:
        size = None if name is None else len(name.encode())
    except UnicodeEncodeError:  # of a file whose name is in another encoding than UTF-8
        raise BadContentError("the name of the file holds what is no character") from None
    if size is not None and not 1 <= size <= MAX_NAME_BYTES:
        raise BadContentError(f"a name has 1 to {MAX_NAME_BYTES} bytes")
    if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) is None:
        raise BadContentError("the media type is malformed")
    labels = ((text or "").encode() for text in (name, media_type))
    return b"".join(_LENGTH.pack(len(label)) + label for label in labels)


def _taken(packed: bytes) -> tuple[bytes, bytes]:
    """Take a label from the front; return it, and the rest."""
    (length,) = _LENGTH.unpack_from(packed)
    end = _LENGTH.size + length
    if end > len(packed):
        raise ValueError("truncated")
    return packed[_LENGTH.size : end], packed[end:]


def _encoded(data: bytes) -> str:
    """Return unpadded base64url (RFC 4648)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """Decode unpadded base64url; only the one text that `_encoded` makes of the bytes is taken.

    Raises:
        ValueError: It is another.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(data) != text:
        raise ValueError("not canonical")
    return data
