"""The words of the domain, as frozen values.

Nothing here reads a clock, a file or a setting. Whatever holds a value, an id or a name shows nothing of it in its
repr (I6).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from sirrd.errors import BadField, BadPath

MAX_TTL_SECONDS: Final = 315_360_000
ATTEMPT_BYTES: Final = 32
PROOF_BYTES: Final = 32
MAX_READS: Final = 2_147_483_647

_ID = re.compile(r"[0-9a-f]{64}")
_ID_OF_EITHER_CASE = re.compile(r"[0-9A-Fa-f]{64}")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_ORG = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Unset(enum.Enum):
    """Marks a field that the caller left out, where null has a meaning of its own."""

    UNSET = enum.auto()


UNSET: Final = Unset.UNSET


def looks_like_id(text: str) -> bool:
    """Tell whether a text is 64 hex digits of either case, which no org key may be."""
    return _ID_OF_EITHER_CASE.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Tell whether a text can be the key of an org secret."""
    return _KEY.fullmatch(text) is not None and text not in {".", ".."} and not looks_like_id(text)


def is_org(text: str) -> bool:
    """Tell whether a text can be the name of an org."""
    return _ORG.fullmatch(text) is not None and text not in {".", ".."}


@dataclass(frozen=True, slots=True)
class Identity:
    """What one secret is called: the id of a dead drop, or a key together with its org.

    Attributes:
        name: 64 lower-case hex digits where `org` is None, else the key.
        org: The org, or None for a dead drop.
    """

    name: str = field(repr=False)
    org: str | None = field(default=None, repr=False)

    @classmethod
    def drop(cls, text: str) -> Identity:
        """Parse the id of a dead drop.

        Raises:
            BadPath: It is not 64 lower-case hex digits.
        """
        if _ID.fullmatch(text) is None:
            raise BadPath
        return cls(text)

    @classmethod
    def in_org(cls, org: str, key: str) -> Identity:
        """Parse an org and a key as they stand in a path.

        Raises:
            BadPath: One of them is outside its alphabet.
        """
        if not is_org(org) or not is_key(key):
            raise BadPath
        return cls(key, org)


@dataclass(frozen=True, slots=True)
class BareKey:
    """The key of an org secret without its org: to be looked up over all orgs."""

    name: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> BareKey:
        """Parse a key as it stands in a path.

        Raises:
            BadPath: It is outside the alphabet of keys.
        """
        if not is_key(text):
            raise BadPath
        return cls(text)


Target: TypeAlias = Identity | BareKey
"""What a request may name a secret by."""


class Terms(NamedTuple):
    """How long, and how often, a secret may be read. Bound into its sealed form.

    Attributes:
        created_at: Unix seconds.
        expires_at: Unix seconds, or None: never. Expired means `now >= expires_at`.
        max_reads: 1 to 2 147 483 647, or None: unlimited.
        delete: Whether the last read burns the secret (True) or seals it (False).
        lock: SHA-256 of the proof that a reader has to show, 32 bytes; or None.
    """

    created_at: int
    expires_at: int | None
    max_reads: int | None
    delete: bool
    lock: bytes | None = None


class Metadata(NamedTuple):
    """All that may be told about a secret without spending a read.

    Attributes:
        name: The id or the key.
        org: The org, or None for a dead drop.
        fingerprint: 16 hex digits: keyed, never changing, useless for reading.
        terms: Its terms.
        read_count: Reads since it was created or last amended.
    """

    name: str
    org: str | None
    fingerprint: str
    terms: Terms
    read_count: int

    def __repr__(self) -> str:
        return f"<Metadata of {self.fingerprint}>"

    @property
    def reads_remaining(self) -> int | None:
        """Reads that are left, or None: unlimited."""
        return None if self.terms.max_reads is None else max(0, self.terms.max_reads - self.read_count)

    @property
    def locked(self) -> bool:
        """Whether a reader has to show a proof."""
        return self.terms.lock is not None

    @property
    def status(self) -> Literal["active", "sealed"]:
        """Whether it can be read, or waits for its owner."""
        return "sealed" if self.reads_remaining == 0 else "active"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a reader shows for a lock, as it was decoded; nothing at all if it was malformed."""

    shown: bytes = field(repr=False)

    @property
    def is_well_formed(self) -> bool:
        """Whether it can be the proof of any lock."""
        return len(self.shown) == PROOF_BYTES


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a reader calls one read by, so that it can ask for the same answer again: 32 random bytes of its choice."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plaintext:
    """A value in the clear: UTF-8 text of at least one byte."""

    encoded: bytes = field(repr=False)

    @classmethod
    def of(cls, value: str) -> Plaintext:
        """Encode a value.

        Raises:
            BadField: It is empty or holds a lone surrogate, which UTF-8 cannot carry.
        """
        if not value:
            raise BadField("value", "value must hold at least one byte")
        try:
            return cls(value.encode())
        except UnicodeEncodeError:
            # The original error holds the value, hence `from None`.
            raise BadField("value", "value must be text that UTF-8 can carry") from None

    def __len__(self) -> int:
        return len(self.encoded)

    def text(self) -> str:
        """Return the value as text."""
        return self.encoded.decode()


class Opened(NamedTuple):
    """A read that was granted: the value, and whose it is.

    Attributes:
        plaintext: The value.
        fingerprint: What logs call the secret by.
        name: The id or the key.
        repeats: How often this attempt was answered before; 0 for a read, which was spent.
    """

    plaintext: Plaintext
    fingerprint: str
    name: str
    repeats: int = 0

    def __repr__(self) -> str:
        return f"<Opened {self.fingerprint}>"


@dataclass(frozen=True, slots=True)
class Draft:
    """What someone asks to be stored, before the operator's limits were applied.

    Attributes:
        plaintext: The value.
        ttl_seconds: Seconds to live, None for as long as the operator allows, UNSET for the operator's default.
        max_reads: Reads allowed, None for unlimited, UNSET for the operator's default.
        delete: Whether the last read burns (True) or seals (False).
        lock: As in `Terms`.
    """

    plaintext: Plaintext
    ttl_seconds: int | Unset | None = UNSET
    max_reads: int | Unset | None = UNSET
    delete: bool = True
    lock: bytes | None = None


@dataclass(frozen=True, slots=True)
class Amendment:
    """What someone asks to be changed; UNSET leaves things as they are.

    Attributes:
        plaintext: The new value, or UNSET.
        ttl_seconds: Seconds to live from now on, None for as long as the operator allows.
        max_reads: Reads allowed from now on, None for unlimited.
        lock: The new lock, None for no lock from now on.
    """

    plaintext: Plaintext | Unset = UNSET
    ttl_seconds: int | Unset | None = UNSET
    max_reads: int | Unset | None = UNSET
    lock: bytes | Unset | None = UNSET

    @property
    def leaves_lock_behind(self) -> bool:
        """Whether a value is to be replaced whose lock would stay, though it was made for the old one."""
        return not isinstance(self.plaintext, Unset) and isinstance(self.lock, Unset)


CallerKind: TypeAlias = Literal["bearer", "open", "anonymous", "local", "daemon"]


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        kind: `bearer` showed the master API key, `open` would have had to but no key is set, `anonymous` is anyone,
            `local` is the command line beside a stopped daemon, `daemon` is a periodic job.
        address: The client's IP address, or an empty string.
    """

    kind: CallerKind
    address: str = ""

    def __repr__(self) -> str:
        return f"<Caller {self.kind}>"

    @property
    def is_operator(self) -> bool:
        """Whether the caller may use the protected routes."""
        return self.kind != "anonymous"
