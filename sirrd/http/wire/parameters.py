"""What stands in paths, queries, headers and forms, as the description of all routes shows it.

The patterns are as strict as what parses, to the letter.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from sirrd.http.wire.queries import MAX_LIMIT

_HEX: Final = "[0-9a-f]{64}"
_NO_DOTS: Final = r"(?!\.{1,2}$)"
_A_KEY: Final = rf"{_NO_DOTS}(?![0-9A-Fa-f]{{64}}$)[A-Za-z0-9_.\-]{{1,256}}"
ID_PATTERN: Final = f"^{_HEX}$"
KEY_PATTERN: Final = f"^{_A_KEY}$"
ID_OR_KEY_PATTERN: Final = f"^({_HEX}|{_A_KEY})$"
ORG_PATTERN: Final = rf"^{_NO_DOTS}[A-Za-z0-9_.\-]{{1,128}}$"
CURSOR_PATTERN: Final = "^A[Q-X][A-Za-z0-9_-]{10}$"
"""What `queries.cursor` makes: a version byte of 1, and a number below 2^63."""

_32_BYTES: Final = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"


class Parameter(NamedTuple):
    """One thing that a request may say beside its body.

    Attributes:
        where: What it is a part of.
        name: What it is called there.
        schema: What it may be, as JSON Schema.
        text: What it is for; empty where its name says it.
        required: Whether it has to be there.
    """

    where: Literal["path", "query", "header", "form"]
    name: str
    schema: dict[str, Any]
    text: str = ""
    required: bool = False


def _segment(name: str, pattern: str, text: str) -> Parameter:
    return Parameter("path", name, {"type": "string", "pattern": pattern}, text, required=True)


ID: Final = _segment("id", ID_PATTERN, "The id of a dead drop.")
ID_OR_KEY: Final = _segment(
    "id", ID_OR_KEY_PATTERN, "The id of a dead drop (64 lower-case hex digits), or the bare key of an org secret."
)
ORG: Final = _segment("org", ORG_PATTERN, "The org.")
KEY: Final = _segment("key", KEY_PATTERN, "The key.")

LIMIT: Final = Parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
CURSOR: Final = Parameter(
    "query",
    "cursor",
    {"type": "string", "pattern": CURSOR_PATTERN},
    "A next_cursor of an earlier answer; opaque.",
)
OF_ORG: Final = Parameter("query", "org", {"type": "string", "pattern": ORG_PATTERN})
RENEW: Final = Parameter(
    "query",
    "renew",
    {"type": "boolean"},
    "Whether the inner keys are to be new, too, unless they were made under that master key already.",
)

PROOF: Final = Parameter(
    "header",
    "X-Sirr-Proof",
    {"type": "string"},
    "What opens the lock of a locked secret: 32 bytes in unpadded base64url.",
)
ATTEMPT: Final = Parameter(
    "header",
    "X-Sirr-Attempt",
    {"type": "string", "pattern": _32_BYTES},
    "What the reader calls this read by: 32 random bytes in unpadded base64url, new for each read. Sent "
    "again after a lost answer, it gets the same answer and spends nothing.",
)
ATTEMPT_OF_FORM: Final = Parameter("form", "attempt", {"type": "string", "pattern": _32_BYTES})
