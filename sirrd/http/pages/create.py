"""The page that makes dead drops. It encrypts by script, and talks to the same API as every other client."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Final

from sirrd.errors import NoRoute
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.endpoints import PAGE, Endpoint
from sirrd.http.pages import html, texts
from sirrd.http.pages.texts import Words
from sirrd.http.wire.answers import Answer
from sirrd.model import Caller

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_LIVES: Final = (_HOUR, _DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY)
_USUAL_LIFE: Final = 7 * _DAY
_TIMES: Final = (2, 3, 5, 10)


async def show(request: Request, _: Caller) -> Answer:
    """Answer with the form."""
    words = texts.chosen(request.scope)
    return html.page(request.scope, 200, words.create_title, _form(request, words), module="create")


def _form(request: Request, words: Words) -> str:
    context = request.state["context"]
    needs_key = context.stranger_caps is None
    caps = context.stranger_caps or context.caps
    is_public = context.bearer is not None and not needs_key
    state = {
        "data-base": context.peers.public_url or "",
        "data-bytes": str(caps.max_value_bytes),
    }
    public = ""
    if is_public:
        # How much fits once it is encrypted, the script works out.
        public = " " + escape(words.create_public).format(size='<span id="limit"></span>')
    return html.filled(
        "create",
        words,
        PUBLIC=public,
        STATE="".join(f' {name}="{escape(value)}"' for name, value in state.items()),
        TTLS=_ttls(words, caps.max_ttl_seconds),
        READS=_reads(words),
        # Nobody but who has the API key can open a sealed secret again.
        LAST="" if is_public else html.filled("last", words),
        KEY=html.filled("key", words) if needs_key else "",
        TEXTS=html.dictionary(
            words, "copied", "not_copied", "working", "problem_empty", "problem_large", "problem_files",
            "problem_file", "problem_passphrase", "problem_key", "problem_limited", "problem_lost",
            "problem_unavailable", "problem_server", "message_text", "status_unopened", "viewed_one", "viewed_more",
            "left_one", "left_more", "often_unlimited", "status_gone", "status_sealed", "status_expired",
            "status_destroyed", "status_alive", "status_unknown", "expires", "expires_never", "another_sure",
            "which_text", "leave_sure",
        ),
    )  # fmt: skip


def _ttls(words: Words, longest: int | None) -> str:
    """Return the choices of a life: those that the operator allows, and the longest where there is one."""
    lives = [life for life in _LIVES if longest is None or life < longest]
    if longest is not None:
        lives.append(longest)
    usual = max((life for life in lives if life <= _USUAL_LIFE), default=lives[0])
    choices = [_option(str(life), _life(words, life), chosen=life == usual) for life in lives]
    if longest is None:
        choices.append(_option("", words.ttl_never))
    return "\n".join(choices)


def _life(words: Words, seconds: int) -> str:
    named = {_HOUR: words.ttl_hour, _DAY: words.ttl_day, 7 * _DAY: words.ttl_week, 30 * _DAY: words.ttl_month}
    if seconds in named:
        return named[seconds]
    for size, text in ((_DAY, words.ttl_days), (_HOUR, words.ttl_hours), (_MINUTE, words.ttl_minutes)):
        if seconds % size == 0 and seconds > size:
            return text.format(n=seconds // size)
    return words.ttl_second if seconds == 1 else words.ttl_seconds.format(n=seconds)


def _reads(words: Words) -> str:
    choices = [("1", words.reads_once), *((str(n), words.reads_times.format(n=n)) for n in _TIMES)]
    return "\n".join(_option(value, text) for value, text in [*choices, ("", words.reads_unlimited)])


def _option(value: str, text: str, *, chosen: bool = False) -> str:
    return f'<option value="{value}"{" selected" if chosen else ""}>{escape(text)}</option>'


_SHOW: Final = Endpoint(
    method="GET",
    path="/",
    name="createPage",
    summary="The page that makes dead drops, unless the operator has turned it off.",
    who=auth.unasked,
    handler=show,
    answers={200: PAGE},
    refuses=(NoRoute,),
    is_page=True,
)

ENDPOINTS: Final = (
    _SHOW,
    replace(_SHOW, method="HEAD", name="headCreatePage", summary="The headers of that page."),
)
