"""The one table from exceptions to answers. No answer repeats anything that was sent."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.types import Scope

from sirrd import errors
from sirrd.errors import SirrdError
from sirrd.events import Action
from sirrd.http import accept, html
from sirrd.http.context import State
from sirrd.http.wire import Answer, Header, as_json
from sirrd.model import Caller

RETRY_SECONDS: Final = b"1"


class Problem(NamedTuple):
    """How an exception is answered.

    Attributes:
        status: The HTTP status.
        text: One sentence, unless the exception brings its own.
    """

    status: int
    text: str


TABLE: Final[dict[type[SirrdError], Problem]] = {
    errors.BadHost: Problem(400, "the request must name one host"),
    errors.WrongHost: Problem(421, "this server is not known by that host"),
    errors.NoRoute: Problem(404, "there is nothing at this address"),
    errors.MethodNotAllowed: Problem(405, "this address does not take that method"),
    errors.RateLimited: Problem(429, "too many requests from this network address; try again later"),
    errors.Unauthorised: Problem(401, "a valid bearer is required"),
    errors.BadPath: Problem(400, "a segment of the path is malformed"),
    errors.ForeignRequest: Problem(403, "a request from another site or a prefetch cannot read a secret"),
    errors.LookOnly: Problem(403, "this was a look, and something on the way made a read of it; nothing was spent"),
    errors.UnsupportedMediaType: Problem(415, "the body must be application/json in UTF-8"),
    errors.BodyTooLarge: Problem(413, "the body is too large"),
    errors.BodyStalled: Problem(408, "the body made no progress in time"),
    errors.BadBody: Problem(400, "the body is malformed"),
    errors.BadField: Problem(400, "a field is malformed"),
    errors.ValueTooLarge: Problem(413, "the value is too large"),
    errors.BadAttempt: Problem(400, "an attempt is 32 bytes of unpadded base64url, and there is one at most"),
    errors.ApiKeyNeeded: Problem(403, "this needs a server that has a master API key"),
    errors.NoNewerKey: Problem(409, "there is no newer key to move to"),
    errors.Gone: Problem(404, "there is no such secret, or not any more"),
    errors.Sealed: Problem(410, "the secret is sealed: all its reads are used up"),
    errors.KeyExists: Problem(409, "a secret with this key exists in this org"),
    errors.AmbiguousKey: Problem(409, "several orgs hold this key: use /orgs/{org}/secrets/{key}"),
    errors.NotAmendable: Problem(409, "a secret that burns on its last read cannot be changed"),
    errors.ProofRequired: Problem(403, "the secret is locked: the request has to show its proof"),
    errors.ProofMismatch: Problem(403, "the secret is locked, and this is not its proof"),
    errors.TooManyProofs: Problem(429, "too many wrong proofs for this secret; try again later"),
    errors.AttemptOver: Problem(409, "this attempt has read the secret before, too long ago to get it again"),
    errors.TooManyRepeats: Problem(429, "this attempt was answered too often"),
    errors.Locked: Problem(409, "the secret is locked: a new value has to come with a lock, or with null"),
    errors.Unreadable: Problem(500, "the stored record cannot be opened; the read was not spent"),
    errors.Busy: Problem(503, "too much is waiting; try again"),
    errors.Unavailable: Problem(503, "the storage is not available; try again"),
    errors.NoRoom: Problem(507, "there is not enough free disk space to store anything"),
}
CRASHED: Final = Problem(500, "something went wrong on the server")
CRASHED_CODE: Final = "internal"

_COUNTED: Final[dict[type[SirrdError], Action]] = {
    errors.Unauthorised: Action.DENIED,
    errors.RateLimited: Action.LIMITED,
    errors.ForeignRequest: Action.REFUSED,
    errors.WrongHost: Action.REFUSED,
}


def solve(scope: Scope, error: Exception) -> Answer | None:
    """Return the answer to an exception of ours, and count what a stranger tried; None if nobody expected it."""
    if not isinstance(error, SirrdError) or type(error) not in TABLE:
        return None
    state: State = scope["state"]
    trace = state["trace"]
    if (action := _COUNTED.get(type(error))) is not None:
        state["drop"].note(action, by=Caller("anonymous", trace.address))
    if isinstance(error, errors.SecretError):
        trace.fingerprint = error.fingerprint
    problem = TABLE[type(error)]
    field = error.field if isinstance(error, errors.BadField) else None
    return _present(scope, problem.status, str(error) or problem.text, error.code, field, _headers(error))


def crashed(scope: Scope) -> Answer:
    """Answer what nobody expected."""
    return _present(scope, CRASHED.status, CRASHED.text, CRASHED_CODE, None, [])


def _is_page(scope: Scope) -> bool:
    """Tell whether a person, rather than a program, waits for the answer."""
    path: str = scope["path"]
    state: State = scope["state"]
    pages = state["context"].pages
    return (path.startswith("/s/") and pages != "off") or (path == "/" and pages == "all")


def _headers(error: SirrdError) -> list[Header]:
    if isinstance(error, errors.MethodNotAllowed):
        return [(b"allow", error.allowed.encode())]
    if isinstance(error, errors.Unauthorised):
        return [(b"www-authenticate", b"Bearer")]
    if isinstance(error, errors.RateLimited | errors.TooManyProofs | errors.TooManyRepeats):
        return [(b"retry-after", b"%d" % error.retry_seconds)]
    if isinstance(error, errors.Busy | errors.Unavailable):
        return [(b"retry-after", RETRY_SECONDS)]
    if isinstance(error, errors.BodyStalled):
        return [(b"connection", b"close")]
    return []


def _present(scope: Scope, status: int, text: str, code: str, field: str | None, headers: list[Header]) -> Answer:
    if _is_page(scope):
        # What crashed after a claim has spent a read.
        name = "lost" if code == CRASHED_CODE and scope["method"] == "POST" else _NOTICES.get(code, "refused")
        return html.notice(scope, status, name, headers)
    state: State = scope["state"]
    if state["context"].pages != "off":
        headers = [*headers, (b"vary", b"Accept")]
        if accept.prefers_page(scope):
            # Whoever opens a path for programs in a browser: what is said of links would lead them astray.
            name = "lost" if code == CRASHED_CODE else _NOTICES_ELSEWHERE.get(code, "nowhere")
            return html.notice(scope, status, name, headers)
    return as_json(status, {"error": text, "code": code} | ({} if field is None else {"field": field}), headers)


_NOTICES: Final[dict[str, str]] = {
    errors.NoRoute.code: "incomplete",
    errors.BadPath.code: "incomplete",
    errors.Gone.code: "gone",
    errors.Sealed.code: "sealed",
    errors.ProofRequired.code: "needs_script",
    errors.RateLimited.code: "limited",
    errors.TooManyRepeats.code: "over",
    errors.AttemptOver.code: "over",
    errors.ForeignRequest.code: "foreign",
    errors.BadHost.code: "elsewhere",
    errors.WrongHost.code: "elsewhere",
    errors.Unreadable.code: "unreadable",
    errors.Busy.code: "unavailable",
    errors.Unavailable.code: "unavailable",
}
"""Which notice of `texts` a page shows instead of a code."""

_NOTICES_ELSEWHERE: Final = {code: name for code, name in _NOTICES.items() if name not in {"incomplete", "foreign"}}
"""The same where the path is no page's."""
