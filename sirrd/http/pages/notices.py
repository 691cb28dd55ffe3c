"""Errors for people: the same answers as `problems` gives to programs, as pages."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from sirrd import errors
from sirrd.http.context import State
from sirrd.http.pages import accept, html
from sirrd.http.problems import CRASHED_CODE, Solution, as_problem
from sirrd.http.wire.answers import Answer

NOTICES: Final[dict[str, str]] = {
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

_ELSEWHERE: Final = {code: name for code, name in NOTICES.items() if name not in {"incomplete", "foreign"}}
"""The same where the path is no page's."""


def present(scope: Scope, solution: Solution) -> Answer:
    """Show a page to a person, and answer a program in JSON."""
    has_crashed = solution.code == CRASHED_CODE
    if _is_page(scope):
        # What crashed after a claim has spent a read.
        name = "lost" if has_crashed and scope["method"] == "POST" else NOTICES.get(solution.code, "refused")
        return html.notice(scope, solution.status, name, solution.headers)
    state: State = scope["state"]
    if state["context"].pages != "off":
        solution = solution._replace(headers=[*solution.headers, (b"vary", b"Accept")])
        if accept.prefers_page(scope):
            # Whoever opens a path for programs in a browser: what is said of links would lead them astray.
            name = "lost" if has_crashed else _ELSEWHERE.get(solution.code, "nowhere")
            return html.notice(scope, solution.status, name, solution.headers)
    return as_problem(solution)


def _is_page(scope: Scope) -> bool:
    """Tell whether a person, rather than a program, waits for the answer."""
    path: str = scope["path"]
    state: State = scope["state"]
    pages = state["context"].pages
    return (path.startswith("/s/") and pages != "off") or (path == "/" and pages == "all")
