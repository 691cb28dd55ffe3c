"""What monitoring asks: behind the bearer, or for anyone on an address of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sirrd import errors
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.endpoints import LIMITED, Answered, Endpoint, alike
from sirrd.http.wire import answers
from sirrd.model import Caller

PATH: Final = "/metrics"
_TYPE: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


async def show(request: Request, _: Caller) -> answers.Answer:
    """Tell the metrics."""
    text = await request.state["scrape"]()
    return answers.Answer(200, text, [_TYPE, (b"content-length", b"%d" % len(text))])


# What is declared.

ENDPOINTS: Final = alike(
    Endpoint(
        method="GET",
        path=PATH,
        name="metrics",
        summary="What the daemon counts, in the text format of Prometheus; only if it is turned on.",
        who=auth.operator,
        handler=show,
        answers={200: Answered("It.", types=("text/plain",))},
        refuses=(*LIMITED, errors.NoRoute),
    )
)
ALONE: Final = tuple(replace(each, who=auth.unasked) for each in ENDPOINTS)
"""The same on the address of the metrics, if they have one of their own."""
