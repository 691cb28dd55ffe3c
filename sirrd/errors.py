"""Everything sirrd raises on purpose.

::

    SirrdError                      code, hint
    ├── RequestError                the request itself is wrong: nothing was looked up
    │   ├── BadHost                 several hosts are named, or none that is one
    │   ├── WrongHost               the request is meant for another server
    │   ├── NoRoute                 no such path
    │   ├── MethodNotAllowed        the path exists, the method does not
    │   ├── RateLimited             too many requests from this address: carries how long to wait
    │   ├── Unauthorised            the bearer is missing, malformed or wrong
    │   ├── BadPath                 a path segment is outside its alphabet
    │   ├── ForeignRequest          another site, or a prefetch, tried to spend a read
    │   ├── LookOnly                a look, which something on the way made a read
    │   ├── UnsupportedMediaType    the body is not declared as JSON
    │   ├── BodyTooLarge            the body is over the limit
    │   ├── BodyStalled             the body made no progress
    │   ├── BadBody                 the body is not one strict JSON object
    │   ├── BadField                a field, or a query parameter, is wrong
    │   ├── ValueTooLarge           the value is over the limit
    │   ├── BadAttempt              the attempt is malformed, or there twice
    │   ├── ApiKeyNeeded            what it asks for needs a server that has an API key
    │   └── NoNewerKey              there is no newer master key that records could move to
    ├── SecretError                 the request is fine, the secret is not: carries its fingerprint
    │   ├── Gone                    burned, expired, deleted, or never there
    │   ├── Sealed                  all reads are used up, and its owner kept it
    │   ├── KeyExists               that key is live in that org
    │   ├── AmbiguousKey            a bare key that several orgs hold
    │   ├── NotAmendable            it burns on its last read, so it cannot be amended
    │   ├── ProofRequired           it is locked, and no proof was shown
    │   ├── ProofMismatch           it is locked, and what was shown is not its proof
    │   ├── TooManyProofs           of late too many wrong proofs were shown: carries how long to wait
    │   ├── AttemptOver             this attempt has read it, too long ago to be answered again
    │   ├── TooManyRepeats          this attempt was answered often enough: carries how long to wait
    │   ├── Locked                  a new value for a locked secret has to bring its lock
    │   └── Unreadable              the stored record does not open
    ├── StorageError                the store cannot do it now: nothing is half done
    │   ├── Busy                    the queue is full
    │   ├── Unavailable             the database failed or is closing
    │   └── NoRoom                  free disk space is below the operator's limit
    ├── BackupError                 a copy of the database cannot be made, or used
    └── StartupError                the process cannot start: exit code 3
        ├── BadSetting              a setting is missing, malformed or unsafe
        ├── FolderInUse             another process holds the data folder
        ├── BadFolder               the data folder, or a file in it, cannot be used
        │   └── BadSchema           somebody changed what the database is made of
        ├── WrongKey                the master encryption keys do not open this database
        └── PortTaken               the listening address cannot be bound

A message never holds a value, an id, a key name, a bearer or an encryption key (I6): messages are literals, and what
varies in them is the name of a field or of a setting, or a limit.
"""

from __future__ import annotations

from typing import ClassVar


class SirrdError(Exception):
    """The root of the tree.

    Attributes:
        code: A stable snake_case name, part of the public contract.
        hint: What the operator could do about it, or None.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(SirrdError):
    """The request is refused before any record is looked at."""


class BadHost(RequestError):
    """The request names several hosts, or something that is no host."""

    code = "bad_host"


class WrongHost(RequestError):
    """The request names a host that does not mean this server."""

    code = "wrong_host"


class NoRoute(RequestError):
    """No route has this path."""

    code = "no_such_route"


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method.

    Attributes:
        allowed: Every method of the path, as the value of an `Allow` header.
    """

    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__()
        self.allowed = allowed


class RateLimited(RequestError):
    """The address has asked too often; what was asked for was not looked at.

    Attributes:
        retry_seconds: After how many whole seconds, at least 1, it may ask again.
    """

    code = "rate_limited"

    def __init__(self, retry_seconds: int) -> None:
        super().__init__()
        self.retry_seconds = retry_seconds


class Unauthorised(RequestError):
    """The bearer is missing, malformed or wrong; nobody learns which."""

    code = "unauthorized"


class BadPath(RequestError):
    """A path segment is outside its alphabet."""

    code = "bad_path"


class ForeignRequest(RequestError):
    """Another site, or a prefetch, tried to spend a read."""

    code = "foreign_request"


class LookOnly(RequestError):
    """The request was to look at a secret, and something on the way made a read of it."""

    code = "look_only"


class UnsupportedMediaType(RequestError):
    """The body is not declared as UTF-8 JSON."""

    code = "unsupported_media_type"


class BodyTooLarge(RequestError):
    """The body is over the limit of whoever sends it: `SIRR_MAX_BODY_BYTES`, or less for strangers."""

    code = "body_too_large"


class BodyStalled(RequestError):
    """The body made no progress in time."""

    code = "body_timeout"


class BadBody(RequestError):
    """The body is not one strict JSON object; the message says in which way."""

    code = "bad_body"


class BadField(RequestError):
    """A field of the body, or a query parameter, is missing, unknown or out of bounds.

    Attributes:
        field: The name of the field; for an unknown member, which may hold anything, an empty string.
    """

    code = "bad_field"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ValueTooLarge(BadField):
    """The value is over the limit of whoever stores it: `SIRR_MAX_VALUE_BYTES`, or less for strangers."""

    code = "value_too_large"


class BadAttempt(RequestError):
    """The attempt is not 32 bytes of unpadded base64url, or there is more than one; nothing was spent."""

    code = "bad_attempt"


class ApiKeyNeeded(RequestError):
    """What the request asks for is not given away on a server without a master API key."""

    code = "api_key_needed"


class NoNewerKey(RequestError):
    """Every record is under the first master key already."""

    code = "no_newer_key"


class SecretError(SirrdError):
    """The request is fine, the secret it names does not allow it.

    Attributes:
        fingerprint: What logs and audit call the secret by, or None where no single secret is meant.
    """

    def __init__(self, fingerprint: str | None = None) -> None:
        super().__init__()
        self.fingerprint = fingerprint


class Gone(SecretError):
    """Burned, expired, deleted, or never there: one answer for all."""

    code = "not_found"


class Sealed(SecretError):
    """All reads are used up; the owner can revive it."""

    code = "sealed"


class KeyExists(SecretError):
    """A live secret of the org has that key."""

    code = "key_exists"


class AmbiguousKey(SecretError):
    """Several orgs hold the bare key."""

    code = "ambiguous_key"


class NotAmendable(SecretError):
    """A secret that burns on its last read cannot be amended."""

    code = "not_amendable"


class ProofRequired(SecretError):
    """The secret is locked, and no proof was shown; nothing was spent."""

    code = "proof_required"


class ProofMismatch(SecretError):
    """The secret is locked, and what was shown is not its proof; nothing was spent."""

    code = "proof_mismatch"


class TooManyProofs(SecretError):
    """Too many wrong proofs for this secret within a minute; this one was not looked at, and nothing was spent.

    Attributes:
        retry_seconds: After how many whole seconds, 1 to 60, another one is looked at.
    """

    code = "too_many_proofs"

    def __init__(self, fingerprint: str, retry_seconds: int) -> None:
        super().__init__(fingerprint)
        self.retry_seconds = retry_seconds


class AttemptOver(SecretError):
    """This attempt has read the secret before, and its time for being answered again is over; nothing was spent."""

    code = "attempt_over"


class TooManyRepeats(SecretError):
    """This attempt was answered as often as it may be; nothing was spent.

    Attributes:
        retry_seconds: After how many whole seconds its time is over.
    """

    code = "too_many_repeats"

    def __init__(self, fingerprint: str, retry_seconds: int) -> None:
        super().__init__(fingerprint)
        self.retry_seconds = retry_seconds


class Locked(SecretError):
    """A new value under an old lock could be read by nobody, or by the wrong people: the lock has to come with it."""

    code = "locked"


class Unreadable(SecretError):
    """The stored record does not open: a wrong key, or a damaged or foreign row."""

    code = "unreadable"


class StorageError(SirrdError):
    """The store cannot serve the request now; nothing is half done."""


class Busy(StorageError):
    """The writer's queue is full."""

    code = "busy"


class Unavailable(StorageError):
    """The database failed, or the store is closing."""

    code = "storage_unavailable"


class NoRoom(StorageError):
    """Free disk space is below `SIRR_MIN_FREE_BYTES`."""

    code = "insufficient_storage"


class BackupError(SirrdError):
    """A copy of the database cannot be made, or used."""

    code = "backup_failed"


class StartupError(SirrdError):
    """The process cannot start."""


class BadSetting(StartupError):
    """A setting is missing, malformed or unsafe."""

    code = "bad_setting"


class FolderInUse(StartupError):
    """Another process holds the lock of the data folder."""

    code = "folder_in_use"


class BadFolder(StartupError):
    """The data folder, or a file in it, cannot be used."""

    code = "bad_folder"


class BadSchema(BadFolder):
    """A database holds what no migration made, or lacks what one made."""

    code = "bad_schema"


class WrongKey(StartupError):
    """The master encryption keys and the database do not belong together."""

    code = "wrong_key"


class PortTaken(StartupError):
    """The listening address cannot be bound."""

    code = "port_taken"
