"""What readers show: proofs and attempts."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from sirrd.errors import BadAttempt
from sirrd.http.context import Request
from sirrd.http.peers import fields
from sirrd.http.wire.bodies import has_body, ignored
from sirrd.model import (
    Attempt,
    Proof,
)

_32_BYTES: Final = re.compile(rb"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # no padding, and no bit left over
_FORM: Final = b"application/x-www-form-urlencoded"
_MAX_FORM_BYTES: Final = 4096


def proof(request: Request) -> Proof | None:
    """Return what the request shows for a lock; what is malformed, or there more than once, proves nothing."""
    shown = fields(request.scope, b"x-sirr-proof")
    if not shown:
        return None
    return Proof((_bytes_of(shown[0]) or b"") if len(shown) == 1 else b"")


def attempt(request: Request) -> Attempt | None:
    """Return what the reader calls this read by, or None.

    Raises:
        BadAttempt: It is malformed, or there more than once.
    """
    return _attempt(fields(request.scope, b"x-sirr-attempt"))


async def form_attempt(request: Request) -> Attempt | None:
    """Read the body of a form to its end, and return the attempt in it, or None; any other body has none.

    Raises:
        BadAttempt: It is malformed, or there more than once.
        RequestError: As of `complete`.
    """
    if not has_body(request):
        return None
    body = await ignored(request, keep=_MAX_FORM_BYTES + 1)
    kind = b",".join(fields(request.scope, b"content-type")).partition(b";")[0].strip().lower()
    if kind != _FORM or len(body) > _MAX_FORM_BYTES:
        return None
    # Any byte may stand there, whether or not it is text: one is one character here.
    given = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return _attempt([value.encode("latin-1") for name, value in given if name == "attempt"])


def _attempt(shown: Sequence[bytes]) -> Attempt | None:
    if not shown:
        return None
    secret = _bytes_of(shown[0]) if len(shown) == 1 else None
    if secret is None:
        raise BadAttempt
    return Attempt(secret)


def _bytes_of(text: bytes) -> bytes | None:
    """Return the 32 bytes that 43 characters of base64url stand for, or None."""
    return base64.urlsafe_b64decode(text + b"=") if _32_BYTES.fullmatch(text) else None


def base64url(secret: bytes) -> str:
    """Return the form in which 32 bytes stand in a header or a form."""
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
