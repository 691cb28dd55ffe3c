"""Pure decisions: what terms a secret gets. No clock, no store, no cryptography.

Whether a secret may be read *now* is decided in one place only, the conditional claim of the store (I1, I9); it is not
repeated here.
"""

from __future__ import annotations

from typing import NamedTuple

from sirrd.errors import BadField, ValueTooLarge
from sirrd.model import MAX_READS, MAX_TTL_SECONDS, Amendment, Draft, Plaintext, Terms, Unset


class Caps(NamedTuple):
    """The operator's limits and defaults.

    Attributes:
        max_value_bytes: The longest value, in bytes of UTF-8.
        default_max_reads: For drafts that do not say; None means unlimited.
        default_ttl_seconds: For drafts that do not say; None means the maximum.
        max_ttl_seconds: The longest life; None means that a secret may live for ever.
    """

    max_value_bytes: int = 1024 * 1024
    default_max_reads: int | None = 1
    default_ttl_seconds: int | None = None
    max_ttl_seconds: int | None = None


def check_draft(draft: Draft, *, caps: Caps) -> None:
    """Check what is asked for before anything is stored.

    Args:
        draft: What is asked for.
        caps: What the operator allows.

    Raises:
        BadField: A number is out of bounds.
        ValueTooLarge: The value is too long.
    """
    _check_size(draft.plaintext, caps)
    _check_ttl(draft.ttl_seconds, caps)
    _check_reads(draft.max_reads)


def check_amendment(amendment: Amendment, *, caps: Caps) -> None:
    """Check an amendment before any record is looked up; errors as in `check_draft`."""
    if not isinstance(amendment.plaintext, Unset):
        _check_size(amendment.plaintext, caps)
    _check_ttl(amendment.ttl_seconds, caps)
    _check_reads(amendment.max_reads)


def drafted(draft: Draft, *, caps: Caps, now: int) -> Terms:
    """Return the terms that a new secret gets, at a time in Unix seconds; the draft was checked."""
    ttl = caps.default_ttl_seconds if isinstance(draft.ttl_seconds, Unset) else draft.ttl_seconds
    max_reads = caps.default_max_reads if isinstance(draft.max_reads, Unset) else draft.max_reads
    return Terms(now, _expiry(ttl, caps, now), max_reads, draft.delete, draft.lock)


def amended(terms: Terms, amendment: Amendment, *, caps: Caps, now: int) -> Terms:
    """Return the terms that a secret gets by an amendment, at a time in Unix seconds; the amendment was checked."""
    ttl, max_reads = amendment.ttl_seconds, amendment.max_reads
    return terms._replace(
        expires_at=terms.expires_at if isinstance(ttl, Unset) else _expiry(ttl, caps, now),
        max_reads=terms.max_reads if isinstance(max_reads, Unset) else max_reads,
        lock=terms.lock if isinstance(amendment.lock, Unset) else amendment.lock,
    )


def _check_size(plaintext: Plaintext, caps: Caps) -> None:
    if len(plaintext) > caps.max_value_bytes:
        raise ValueTooLarge("value", f"value must not exceed {caps.max_value_bytes} bytes of UTF-8")


def _check_ttl(ttl: int | Unset | None, caps: Caps) -> None:
    longest = MAX_TTL_SECONDS if caps.max_ttl_seconds is None else caps.max_ttl_seconds
    if isinstance(ttl, int) and not 1 <= ttl <= longest:
        raise BadField("ttl_seconds", f"ttl_seconds must be an integer from 1 to {longest}, or null")


def _check_reads(max_reads: int | Unset | None) -> None:
    if isinstance(max_reads, int) and not 1 <= max_reads <= MAX_READS:
        raise BadField("max_reads", f"max_reads must be an integer from 1 to {MAX_READS}, or null")


def _expiry(ttl: int | None, caps: Caps, now: int) -> int | None:
    """Return when a life ends; null means as long as the operator allows."""
    longest = caps.max_ttl_seconds if ttl is None else ttl
    return None if longest is None else now + longest
