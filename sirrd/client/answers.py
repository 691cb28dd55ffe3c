"""What a server says, checked in one place: nothing of an answer is used that has not been through here.

A server is named by whoever made a link, and between it and the client may be anything. So every answer has a longest
body, no deeper nesting and no more members than it needs, and a model: strict in types, in ranges and in alphabets.
Members that are not known are left out, since a newer release may send more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from sirrd.client import addresses
from sirrd.client.addresses import BadAddressError
from sirrd.link import BadLinkError, Link

LONGEST_VALUE_BODY: Final = 6 * 64 * 1024 * 1024 + 64 * 1024
"""The longest value that any server can be told to take, however JSON escapes it, in bytes."""
LONGEST_BODY: Final = 4 * 1024 * 1024
"""Of all other answers; a page of a list has 500 KiB at most."""
_LONGEST_UNPACKED: Final = 8 * 1024 * 1024
_LONGEST_SKELETON: Final = 256 * 1024
_DEEPEST: Final = 8
_LATEST: Final = 253_402_300_799
_LONGEST_TEXT: Final = 300

# A string, or what is left of one that does not end: nothing is looked at twice, so this takes linear time.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
ModelT = TypeVar("ModelT", bound=BaseModel)


class BadAnswerError(ValueError):
    """An answer is none that a sirrd gives; the message repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        content: The body, or what came of it.
        is_whole: Whether that is all of it, within its bounds.
        has_broken_off: If not, whether the connection ended it, rather than its bounds.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    is_whole: bool = True
    has_broken_off: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300  # noqa: PLR2004

    def read(self, model: type[ModelT]) -> ModelT:
        """Return the body as what it has to be.

        Raises:
            BadAnswerError: It is something else.
        """
        if not self.is_whole or not _is_flat(self.content):
            raise BadAnswerError
        try:
            return model.model_validate_json(self.content)
        except (ValidationError, ValueError, RecursionError):
            raise BadAnswerError from None


class Body:
    """Collects the body of an answer, and no more of it than it may have.

    Args:
        longest: How many bytes.
        coding: The `Content-Encoding`. None was asked for; some proxies compress all the same, and a value that is
            spent must not be lost by that, so what they know is unpacked, within a bound.
    """

    def __init__(self, longest: int, coding: str = "") -> None:
        self._taken = bytearray()
        self._longest = longest
        self._unpack: Any = None
        self.is_whole = True
        name = coding.strip().lower()
        if name in _CODINGS:
            self._unpack = zlib.decompressobj(wbits=47)
            self._longest = min(longest, _LONGEST_UNPACKED)
        elif name not in {"", "identity"}:
            self.is_whole = False

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._taken)

    def take(self, chunk: bytes) -> bool:
        """Add a piece; return whether more is wanted."""
        room = self._longest - len(self._taken)
        if self._unpack is not None:
            try:
                chunk = self._unpack.decompress(chunk, room + 1)
            except zlib.error:
                self.is_whole = False
                return False
        if not self.is_whole or len(chunk) > room:
            self.is_whole = False
            return False
        self._taken += chunk
        return True

    def taken(self, *, ended: bool) -> tuple[bytes, bool]:
        """Return what came, and whether that is all."""
        is_whole = self.is_whole and ended and (self._unpack is None or self._unpack.eof or not self._taken)
        return bytes(self._taken), is_whole


def _is_flat(content: bytes) -> bool:
    """Tell whether JSON is nested as little and has as few members as any answer: parsed it takes far more room."""
    skeleton = _STRING.sub(b"", content)
    if len(skeleton) > _LONGEST_SKELETON:
        return False
    depth = 0
    for each in _BRACKET.finditer(skeleton):
        depth += 1 if each[0] in b"[{" else -1
        if depth > _DEEPEST:
            return False
    return True


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _shown(text: str) -> str:
    """Make a sentence of a server's fit for a terminal, on one line."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_TEXT])


Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,256}$")]
Org = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,512}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Release = Annotated[str, StringConstraints(max_length=64), AfterValidator(_printable)]
Time = Annotated[int, Field(ge=0, le=_LATEST)]
Count = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]
Reads = Annotated[int, Field(ge=1, le=(1 << 53) - 1)]
Seconds = Annotated[int, Field(ge=1, le=_LATEST)]
Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
Status = Literal["active", "sealed"]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class Problem(_Model):
    """An error: a sentence, and a name for programs."""

    error: Annotated[str, AfterValidator(_shown)]
    code: Code


class Created(_Model):
    """A dead drop that was stored. Its URL may name any host: the operator says which (`SIRR_PUBLIC_URL`)."""

    id: Id
    url: Annotated[str, StringConstraints(max_length=4096)]

    @property
    def link(self) -> Link:
        """The URL as a link.

        Raises:
            BadAnswerError: It is none, or one of another secret.
        """
        try:
            found = Link.parse(self.url)
            addresses.parse(found.server)
        except (BadLinkError, BadAddressError):
            raise BadAnswerError from None
        if found.id != self.id or found.fragment is not None:
            raise BadAnswerError
        return found


class Value(_Model):
    """What a read answers."""

    value: Annotated[str, StringConstraints(min_length=1)]


class Stored(_Model):
    """An org secret that was stored."""

    key: Key


class Deleted(_Model):
    """A secret that was deleted."""

    deleted: Literal[True]


class Pruned(_Model):
    """How many secrets were removed."""

    pruned: Count


class Described(_Model):
    """The metadata of a secret."""

    key: Key
    org: Org | None
    fingerprint: Fingerprint
    created_at: Time
    expires_at: Time | None
    max_reads: Reads | None
    read_count: Count
    delete: bool
    locked: bool
    status: Status

    @model_validator(mode="after")
    def _has_an_id(self) -> Described:
        if self.org is None and re.fullmatch(r"[0-9a-f]{64}", self.key) is None:
            raise ValueError("a dead drop has an id")
        return self


class Listed(_Model):
    """A page of a list."""

    secrets: Annotated[list[Described], Field(max_length=1000)]
    next_cursor: Cursor | None = None


class Ready(_Model):
    """Whether a server takes work."""

    status: Literal["ready", "unavailable"]


class Version(_Model):
    """What a server says of itself; an older release says less.

    Attributes:
        version: The release.
        max_value_bytes: The longest value that it takes.
        public_max_value_bytes: The same, of strangers; None where they may store nothing.
        redelivery_seconds: For how long a read is answered again to whoever shows its attempt; None or 0: not at all.
        default_ttl_seconds: How long a secret lives whose sender does not say; None: as long as it may.
        max_ttl_seconds: How long one may live; None: for ever.
    """

    name: Literal["sirrd"]
    version: Release
    max_value_bytes: Bytes | None = None
    public_max_value_bytes: Bytes | None = None
    redelivery_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    default_ttl_seconds: Seconds | None = None
    max_ttl_seconds: Seconds | None = None


class Looked(_Model):
    """What the headers of `HEAD` say of a secret."""

    read_count: Count
    reads_remaining: Count | None
    delete: bool
    created_at: Time
    expires_at: Time | None
    locked: bool
    status: Status
    fingerprint: Fingerprint | None


_PREFIX: Final = "x-sirr-"
_BOOLEANS: Final = {"true": True, "false": False}


def looked(headers: Mapping[str, str]) -> Looked:
    """Return what the headers of `HEAD` say.

    Raises:
        BadAnswerError: Something that no sirrd says, or not all of it.
    """
    said = {name.removeprefix(_PREFIX): text for name, text in headers.items() if name.startswith(_PREFIX)}
    try:
        return Looked(
            read_count=_number(said["read-count"]),
            reads_remaining=None if said["reads-remaining"] == "unlimited" else _number(said["reads-remaining"]),
            delete=_BOOLEANS[said["delete"]],
            created_at=_number(said["created-at"]),
            expires_at=_number(said["expires-at"]) if "expires-at" in said else None,
            locked=_BOOLEANS[said.get("locked", "false")],
            status=said["status"],  # type: ignore[arg-type]  # the model tells
            fingerprint=said.get("fingerprint"),
        )
    except (KeyError, ValueError):
        raise BadAnswerError from None


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("not a number")
    return int(text)


def retry_after(answer: Answer) -> float:
    """Return for how many seconds an answer asks to wait; 0 if for none, or in a way that no sirrd has."""
    text = answer.headers.get("retry-after", "")
    return float(text) if re.fullmatch("[0-9]{1,9}", text) else 0.0
