"""What is asked of a server and how its answers are read, without any I/O: both clients stand on it.

A `Call` is one request, with the way to read its answer. `exchange` drives it: a generator that says what to send and
how long to wait, and is told what came of it, until it returns the result or raises.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from sirrd.client.errors import (
    ExistsError,
    LockedError,
    MaybeSpentError,
    NotFoundError,
    RefusedError,
    SealedError,
    SirrError,
    UnauthorisedError,
    UnavailableError,
)

T = TypeVar("T")
ATTEMPTS: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LATER: Final = frozenset({429, 502, 503, 504})
_REFUSED: Final = 400
_MAYBE_SPENT: Final = "the read may have been spent, so it is not tried again"
_BROKEN: Final = 500
_LONGEST_TEXT: Final = 300


class Again(enum.Enum):
    """When a call may be sent a second time."""

    UNSENT = enum.auto()
    """Only if it certainly did not reach the server: a read is spent, or a secret made, once at most."""
    ALWAYS = enum.auto()
    """Also if there was no answer: sent twice, it does what it does once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        content: The body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300  # noqa: PLR2004

    def member(self, name: str, kind: type[T]) -> T:
        """Return a member of the JSON object of the body.

        Raises:
            UnavailableError: There is none of that kind: something else than a sirrd answered.
        """
        found = self.members().get(name)
        if not isinstance(found, kind):
            raise UnavailableError("what answered is no sirrd", status=self.status)
        return found

    def members(self) -> dict[str, Any]:
        """Return the JSON object of the body.

        Raises:
            UnavailableError: It is none: something else than a sirrd answered.
        """
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UnavailableError("what answered is no sirrd", status=self.status)
        return found


@dataclass(frozen=True, slots=True)
class Failure:
    """There was no answer.

    Attributes:
        was_sent: Whether the request may have reached the server.
        reason: Why, in a few words.
    """

    was_sent: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        method: The HTTP method.
        path: Path and query.
        read: Makes the result of an answer that is no error.
        again: When it may be sent a second time.
        members: The JSON body, or None.
        headers: Beside those that every request has.
        is_error: Tells an answer that is an error; for most, whatever is no success.
        spends: Whether an answer that does not come may have cost a read.
    """

    method: str
    path: str = field(repr=False)
    read: Callable[[Answer], T]
    again: Again
    members: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_error: Callable[[Answer], bool] = lambda answer: not answer.is_success
    spends: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Says: send the call."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Says: wait for so long."""

    seconds: float


Step = Send | Wait
Outcome = Answer | Failure | None


def exchange(call: Call[T], *, jitter: Callable[[], float]) -> Generator[Step, Outcome, T]:
    """Send a call, again where that can spend nothing twice, and return what its answer is read as.

    Args:
        call: What to send.
        jitter: Returns a number from 0 to 1, so that many clients do not come back at once.

    Raises:
        SirrError: The answer is an error, or there was none.
    """
    attempt = 0
    while True:
        outcome = yield Send()
        if outcome is None:
            raise TypeError("what was sent has an outcome")
        pause = _pause(call, outcome, attempt, jitter)
        if pause is None:
            break
        yield Wait(pause)
        attempt += 1
    if isinstance(outcome, Failure):
        raise _unanswered(call, outcome)
    try:
        if call.is_error(outcome):
            raise _refused(outcome)
        return call.read(outcome)
    except UnavailableError as error:
        if call.spends and error.code is None:
            # A proxy in between may have lost the answer of a read that was spent.
            raise MaybeSpentError(f"{error}: {_MAYBE_SPENT}", status=error.status) from None
        raise


def _pause(call: Call[T], outcome: Answer | Failure, attempt: int, jitter: Callable[[], float]) -> float | None:
    """Return how long to wait before the next attempt, or None if there is to be none."""
    if attempt + 1 == ATTEMPTS:
        return None
    wanted = 0.0
    if isinstance(outcome, Failure):
        may = not outcome.was_sent or call.again is Again.ALWAYS
    else:
        may = call.again is Again.ALWAYS and outcome.status in _LATER
        wanted = _retry_after(outcome)
    if not may or wanted > _LONGEST_PAUSE_SECONDS:
        return None
    return max(wanted, _FIRST_PAUSE_SECONDS * (1 << attempt) * (0.5 + jitter() / 2))


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _unanswered(call: Call[T], failure: Failure) -> SirrError:
    if failure.was_sent and call.spends:
        return MaybeSpentError(f"{failure.reason}: {_MAYBE_SPENT}")
    return UnavailableError(failure.reason)


_BY_CODE: Final[dict[str, type[SirrError]]] = {
    "not_found": NotFoundError,
    "sealed": SealedError,
    "key_exists": ExistsError,
    "unauthorized": UnauthorisedError,
    "proof_required": LockedError,
    "proof_mismatch": LockedError,
    "too_many_proofs": LockedError,
    "locked": LockedError,
}
_TEXTS: Final = {401: "a valid bearer is required", 404: "there is no such secret, or not any more"}
_BY_STATUS: Final[dict[int, type[SirrError]]] = {401: UnauthorisedError, 404: NotFoundError, 410: SealedError}


def _refused(answer: Answer) -> SirrError:
    """Return the error that an answer is. The server's own sentence never repeats what was sent."""
    status = answer.status
    is_refusal = _REFUSED <= status < _BROKEN and status not in _LATER
    otherwise = RefusedError if is_refusal else UnavailableError
    if not answer.content:  # of HEAD
        return _BY_STATUS.get(status, otherwise)(_TEXTS.get(status, f"the server answered {status}"), status=status)
    found = answer.members()
    code, text = found.get("code"), found.get("error")
    if not isinstance(code, str) or not isinstance(text, str):
        return UnavailableError(f"what answered {status} is no sirrd", status=status)
    # What answers may be anybody, and a message may end on a terminal.
    shown = "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_TEXT])
    return _BY_CODE.get(code, otherwise)(shown, status=status, code=code)


def path_of(*segments: str, **query: object) -> str:
    """Return a path from its segments, and a query from what is not None."""
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return "/" + "/".join(quote(segment, safe="") for segment in segments) + (f"?{asked}" if asked else "")
