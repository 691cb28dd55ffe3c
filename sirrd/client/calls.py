"""When something is asked of a server, and asked again, without any I/O: both clients stand on it.

A `Call` is one request, with the way to read its answer. `exchange` drives it: a generator that says what to send and
how long to wait, and is told what came of it, until it returns the result or raises.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from sirrd.client.answers import LONGEST_BODY, Answer, BadAnswerError, Version, retry_after
from sirrd.client.errors import (
    CannotOpenError,
    Cause,
    LockedError,
    MaybeSpentError,
    RefusedError,
    SirrError,
    UnavailableError,
)
from sirrd.client.failures import Failure
from sirrd.client.refusals import LATER, foreign, may_be_spent, refused, with_words

T = TypeVar("T")
ATTEMPTS: Final = 4
WINDOW_SECONDS: Final = 60.0
"""For how long a read is asked for again, from the first time on; a server may have a shorter one."""
SHORT_SECONDS: Final = 5.0
"""How long is waited for what is of use, and not needed."""
_PROBES: Final = 16
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LONGEST_PROBE_PAUSE_SECONDS: Final = 5.0
_TOO_LARGE: Final = 413
_MAYBE: Final = "a read may have been spent"
_NOTHING: Final = "nothing was spent"
_PERHAPS: Final = "it may have been done all the same"


class Again(enum.Enum):
    """When a call may be sent a second time."""

    UNSENT = enum.auto()
    """Only if it certainly did not reach the server: a secret is made or changed once at most."""
    ALWAYS = enum.auto()
    """Also if there was no answer: sent twice, it does what it does once."""
    AS_ATTEMPT = enum.auto()
    """A read, with an attempt: also if there was no answer, where the server is known to know attempts."""
    NEVER = enum.auto()
    """It is of use, and not needed."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        method: The HTTP method.
        path: Path and query.
        read: Makes the result of an answer that is no error; raises `BadAnswerError` where it is none of a sirrd.
        again: When it may be sent a second time.
        members: The JSON body, or None.
        headers: Beside those that every request has.
        is_error: Tells an answer that is an error; for most, whatever is no success.
        refused: Makes the error of such an answer.
        size: How many bytes the value has that it stores, or None.
        longest: How many bytes its answer may have.
        seconds: How long each step of it may take, or None: as long as for every other.
    """

    method: str
    path: str = field(repr=False)
    read: Callable[[Answer], T]
    again: Again
    members: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_error: Callable[[Answer], bool] = lambda answer: not answer.is_success
    refused: Callable[[Answer], SirrError] = refused
    size: int | None = None
    longest: int = LONGEST_BODY
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Says: send this call."""

    call: Call[Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Says: wait for so long."""

    seconds: float


Step = Send | Wait
Outcome = Answer | Failure | None
Steps = Generator[Step, Outcome, T]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What times are taken from.

    Attributes:
        jitter: Returns a number from 0 to 1, so that many clients do not come back at once.
        elapsed: Returns seconds since any moment; they count while the machine sleeps.
    """

    jitter: Callable[[], float]
    elapsed: Callable[[], float]

    def pause(self, tries: int, *, longest: float = _LONGEST_PAUSE_SECONDS) -> float:
        """Return how long to wait after so many tries, in seconds."""
        return min(longest, _FIRST_PAUSE_SECONDS * (1 << tries)) * (0.5 + self.jitter() / 2)


def exchange(call: Call[T], *, rhythm: Rhythm, is_stranger: bool) -> Steps[T]:
    """Send a call, again where that can spend nothing twice, and return what its answer is read as.

    Args:
        call: What to send.
        rhythm: For the pauses.
        is_stranger: Whether it shows no token.

    Raises:
        SirrError: The answer is an error, or there was none.
    """
    if call.again is Again.AS_ATTEMPT:
        return (yield from _read_once(call, rhythm))
    if call.size is None:
        return (yield from _send(call, rhythm))
    try:
        return (yield from _send(call, rhythm))
    except (RefusedError, UnavailableError) as error:
        # A server that refuses a long body may break the connection rather than read it to its end.
        if error.status == _TOO_LARGE or error.cause is Cause.BROKEN:
            yield from _explain_size(call.size, is_stranger=is_stranger)
        raise


def _send(call: Call[T], rhythm: Rhythm) -> Steps[T]:
    for tries in range(ATTEMPTS):
        outcome = yield Send(call)
        try:
            return _result(call, outcome)
        except SirrError as error:
            pause = None if call.again is Again.NEVER else _pause(outcome, tries, rhythm)
            is_safe = _is_unsent(outcome) or (call.again is Again.ALWAYS and _may_pass(outcome))
            if pause is None or not is_safe:
                if call.again is Again.UNSENT and _is_lost(error, outcome):
                    raise with_words(error, _PERHAPS) from None
                raise
        yield Wait(pause)
    raise TypeError("the last try returns or raises")


def _read_once(call: Call[T], rhythm: Rhythm) -> Steps[T]:
    """Ask for a read, and ask again with the same attempt while its answer may be lost: that spends nothing more.

    A server of an earlier release takes no notice of attempts, and would spend a second read. So before the read is
    asked for again the server is asked whether it knows them, each time, since it may be another one by now.
    """
    began, doubt = rhythm.elapsed(), None
    for tries in range(ATTEMPTS):
        outcome = yield Send(call)
        try:
            return _result(call, outcome)
        except CannotOpenError:
            raise
        except SirrError as error:
            found = error
        is_lost = _is_lost(found, outcome)
        if is_lost and doubt is None:
            doubt = found
        pause = _pause(outcome, tries, rhythm)
        if pause is None or found.code in {"attempt_over", "too_many_repeats"} or not (is_lost or _may_pass(outcome)):
            break
        yield Wait(pause)
        if doubt is not None or not _is_unsent(outcome):
            window = yield from _window(rhythm, began)
            if rhythm.elapsed() - began >= window:
                break
    raise _claimed(found, doubt)


def _claimed(found: SirrError, doubt: SirrError | None) -> SirrError:
    """Return the last error of a read, with the word whether it can have been spent by this or an earlier one."""
    if isinstance(found, LockedError):
        return found  # a server that knows an attempt does not ask for the proof again: it had not come there
    if doubt is None:
        return found if found.code is not None else with_words(found, _NOTHING)
    if found is doubt or str(found) == str(doubt):
        return with_words(found, _MAYBE, kind=MaybeSpentError)
    return with_words(found, f"before that, {doubt}; {_MAYBE}", kind=MaybeSpentError)


def _window(rhythm: Rhythm, began: float) -> Steps[float]:
    """Return for how many seconds the server gives the answer of an attempt again, 0 if it does not.

    This spends nothing, and a value may be waiting: so the server is given the whole time to come back.
    """
    call = version()
    for tries in range(_PROBES):
        outcome = yield Send(call)
        try:
            return min(float(_result(call, outcome).redelivery_seconds or 0), WINDOW_SECONDS)
        except SirrError:
            if not _may_pass(outcome):
                return 0.0
        pause = rhythm.pause(tries, longest=_LONGEST_PROBE_PAUSE_SECONDS)
        if rhythm.elapsed() - began + pause >= WINDOW_SECONDS:
            return 0.0
        yield Wait(pause)
    return 0.0


def _explain_size(size: int, *, is_stranger: bool) -> Steps[None]:
    """Raise the error that says how long a value may be, if the server says that, and it is longer."""
    call = version()
    try:
        found = _result(call, (yield Send(call)))
    except SirrError:
        return
    most = found.public_max_value_bytes if is_stranger else None
    most = most or found.max_value_bytes
    if most is not None and size > most:
        raise RefusedError(f"the value takes {size} bytes as it is stored, and the server takes {most}", status=413)


def version() -> Call[Version]:
    """Ask a server for its release, and what it can do."""
    return Call("GET", "/version", lambda answer: answer.read(Version), Again.ALWAYS, seconds=SHORT_SECONDS)


def _result(call: Call[T], outcome: Outcome) -> T:
    if outcome is None:
        raise TypeError("what was sent has an outcome")
    if isinstance(outcome, Failure):
        raise UnavailableError(outcome.reason, cause=outcome.cause)
    if call.is_error(outcome):
        raise call.refused(outcome)
    try:
        return call.read(outcome)
    except BadAnswerError:
        raise foreign(outcome) from None


def _is_lost(error: SirrError, outcome: Outcome) -> bool:
    """Tell whether the server may have done what was asked, and its answer be lost."""
    return may_be_spent(error) or (isinstance(outcome, Failure) and outcome.was_sent)


def _is_unsent(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and not outcome.was_sent


def _may_pass(outcome: Outcome) -> bool:
    """Tell whether what came of a call may be over in a moment."""
    return isinstance(outcome, Failure) or (outcome is not None and (outcome.status in LATER or outcome.has_broken_off))


def _pause(outcome: Outcome, tries: int, rhythm: Rhythm) -> float | None:
    """Return how long to wait before the next try, or None if there is to be none."""
    wanted = retry_after(outcome) if isinstance(outcome, Answer) else 0.0
    if tries + 1 == ATTEMPTS or wanted > _LONGEST_PAUSE_SECONDS:
        return None
    return max(wanted, rhythm.pause(tries))


def path_of(*segments: str, **query: object) -> str:
    """Return a path from its segments, and a query from what is not None."""
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return "/" + "/".join(quote(segment, safe="") for segment in segments) + (f"?{asked}" if asked else "")
