"""What went wrong, by what a server answered, or something in its stead: which error that is, and in which words."""

from __future__ import annotations

from typing import Final

from sirrd.client import addresses
from sirrd.client.answers import Answer, BadAnswerError, Problem
from sirrd.client.errors import (
    CannotLookError,
    Cause,
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

LATER: Final = frozenset({429, 502, 503, 504})
_REFUSED: Final = 400
_BROKEN: Final = 500
_REDIRECTS: Final = range(300, 400)
_TOO_LARGE: Final = 413
_BY_CODE: Final[dict[str, type[SirrError]]] = {
    "not_found": NotFoundError,
    "sealed": SealedError,
    "key_exists": ExistsError,
    "unauthorized": UnauthorisedError,
    "proof_required": LockedError,
    "proof_mismatch": LockedError,
    "too_many_proofs": LockedError,
    "locked": LockedError,
    "look_only": CannotLookError,
    "attempt_over": MaybeSpentError,
    "too_many_repeats": MaybeSpentError,
}
_BY_STATUS: Final[dict[int, type[SirrError]]] = {401: UnauthorisedError, 404: NotFoundError, 410: SealedError}
_TEXTS: Final = {401: "a valid bearer is required", 404: "there is no such secret, or not any more"}
_CANNOT_LOOK: Final = frozenset({403, 405, 501})
_MAY_BE_OF_AN_ANSWER: Final = frozenset({403, 408, 451, 499})
"""What proxies also answer once a server has answered: they read it, and did not like it, or had no more time."""
_REFUSALS: Final = frozenset(
    {"api_key_needed", "body_timeout", "foreign_request", "look_only", "proof_mismatch", "proof_required"}
)
"""Codes of a sirrd with a status of these; others may be of whatever stands before it, and read its answer."""
_UNSPENT: Final = frozenset({"unreadable", "busy", "storage_unavailable", "insufficient_storage"})
"""Codes of a sirrd that fails, and has spent nothing."""


def refused(answer: Answer) -> SirrError:
    """Return the error that an answer is. The server's own sentence never repeats what was sent."""
    if answer.status in _REDIRECTS:
        return _redirected(answer)
    try:
        problem = answer.read(Problem)
    except BadAnswerError:
        return foreign(answer)
    kind = _BY_CODE.get(problem.code, _by_status(answer.status))
    return kind(problem.error, status=answer.status, code=problem.code)


def unlooked(answer: Answer) -> SirrError:
    """Return the error that an answer to `HEAD` is: it has no body that would tell."""
    status = answer.status
    if status in _REDIRECTS:
        return _redirected(answer)
    if status in _CANNOT_LOOK:
        return CannotLookError(
            f"{status} came: something before the server does not let a secret be looked at; nothing was spent",
            status=status,
            cause=Cause.FOREIGN,
        )
    if status in _BY_STATUS and not answer.headers.get("content-type", "").lower().startswith("application/json"):
        return foreign(answer)  # of a sirrd the head is that of its error: nobody has looked
    kind = _BY_STATUS.get(status, _by_status(status))
    return kind(_TEXTS.get(status, f"the server answered {status}"), status=status)


def _by_status(status: int) -> type[SirrError]:
    is_refusal = _REFUSED <= status < _BROKEN and status not in LATER
    return RefusedError if is_refusal else UnavailableError


def _redirected(answer: Answer) -> SirrError:
    target = addresses.target_of(answer.headers.get("location", ""))
    return UnavailableError(
        f"{answer.status} came, a redirect to {target}; no redirect is followed, so name the server's own address",
        status=answer.status,
        cause=Cause.REDIRECT,
    )


def foreign(answer: Answer) -> SirrError:
    """Return the error that an answer is which no sirrd gives."""
    status = answer.status
    if status == _TOO_LARGE:
        text = "413 came, and not from sirrd: something before the server takes nothing of this size"
        return RefusedError(text, status=status, cause=Cause.FOREIGN)
    if answer.has_broken_off:
        return UnavailableError(f"the answer, a {status}, broke off", status=status, cause=Cause.BROKEN)
    if not answer.is_whole:
        text = f"{status} came with an answer that is longer than any of sirrd, too slow, or packed"
        return UnavailableError(text, status=status, cause=Cause.FOREIGN)
    what = "a page" if "html" in answer.headers.get("content-type", "").lower() else "something"
    text = f"{status} came with {what} that is not of sirrd: "
    if answer.is_success:
        text += "is this its address, and is there a page to log in to the network?"
    elif status >= _BROKEN:
        text += "a proxy has no answer of the server"
    else:
        text += "another server, or a proxy that refuses this"
    return UnavailableError(text, status=status, cause=Cause.FOREIGN)


def may_be_spent(error: SirrError) -> bool:
    """Tell whether an error that came for a read leaves open whether that was spent.

    What a sirrd refuses by one of its own codes it has not spent, and a redirect spends nothing. An answer of another
    kind may stand where a proxy has lost the one of a sirrd; but not where it refuses the request itself.
    """
    status = error.status
    if isinstance(error, MaybeSpentError):
        return True
    if status is None or error.cause is Cause.REDIRECT:
        return False
    if status in _MAY_BE_OF_AN_ANSWER:
        return error.code not in _REFUSALS
    return not (_REFUSED <= status < _BROKEN or error.code in _UNSPENT)


def with_words(error: SirrError, words: str, *, kind: type[SirrError] | None = None) -> SirrError:
    """Return an error with more words, of the same kind or of another."""
    return (kind or type(error))(f"{error}; {words}", status=error.status, code=error.code, cause=error.cause)
