"""The page behind the URL that people share: opening it spends nothing, pressing its button spends a read.

With a key in the fragment the page decrypts by script; without one, and without script, its button is a plain form.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import Final

from sirrd import errors
from sirrd.errors import Sealed
from sirrd.events import Action
from sirrd.http import auth, guards
from sirrd.http.context import Request
from sirrd.http.endpoints import IGNORED_BODY, LIMITED, PAGE, STORAGE, Endpoint, Form
from sirrd.http.pages import html, texts
from sirrd.http.pages.texts import Words
from sirrd.http.wire import drops, parameters, shown
from sirrd.http.wire.answers import Answer
from sirrd.model import ATTEMPT_BYTES, Caller, Identity, Metadata

_MOST_ROWS = 20


async def show(request: Request, caller: Caller) -> Answer:
    """Say what waits here, and wait for a deliberate action."""
    identity = Identity.drop(request.path_params["id"])
    drop = request.state["drop"]
    metadata = await drop.peek(identity, by=caller)
    drop.note(Action.PAGE_OPENED, by=caller, identity=identity)
    if metadata.status == "sealed":
        raise Sealed(metadata.fingerprint)
    words = texts.chosen(request.scope)
    context = request.state["context"]
    attempt = shown.base64url(context.entropy(ATTEMPT_BYTES))
    body = _offer(metadata, words, attempt=attempt, now=context.clock.now())
    return html.page(request.scope, 200, words.reveal_title, body, module="reveal", fingerprint=metadata.fingerprint)


async def reveal(request: Request, caller: Caller) -> Answer:
    """Reveal the secret, spending one read."""
    identity = Identity.drop(request.path_params["id"])
    guards.check_form(request)
    attempt = await shown.form_attempt(request)
    opened = await request.state["drop"].read(identity, by=caller, attempt=attempt)
    words = texts.chosen(request.scope)
    value = opened.plaintext.text()
    rows = min(_MOST_ROWS, value.count("\n") + 2)
    # The line break after the tag, which the template has, is dropped by browsers; without it one of the value's own
    # would be.
    body = html.filled("value", words, ROWS=str(rows), VALUE=escape(value))
    headers = [drops.REPEAT] if opened.repeats else []
    return html.page(
        request.scope, 200, words.shown_title, body, headers, switches=False, fingerprint=opened.fingerprint
    )


def _offer(metadata: Metadata, words: Words, *, attempt: str, now: int) -> str:
    terms, remaining, locked = metadata.terms, metadata.reads_remaining, metadata.locked
    state = {
        "data-locked": str(locked).lower(),
        "data-seconds": "" if terms.expires_at is None else str(max(0, terms.expires_at - now)),
    }
    attributes = "".join(f' {name}="{value}"' for name, value in state.items())
    if locked:
        needs_script = f'<p class="notice late">{escape(words.notices.needs_script.text)}</p>'
        about = f"<p>{escape(words.encrypted)}</p>\n{needs_script}"
    else:
        about = ""
    return html.filled(
        "reveal",
        words,
        OFTEN=escape(_how_often(words, remaining, burns=terms.delete)),
        EXPIRES=_until(words, terms.expires_at),
        ABOUT=about,
        # A form cannot open a lock, so that of a locked secret is there for the script alone.
        ATTEMPT=attempt,
        STATE=attributes + (" hidden" if locked else ""),
        NOTICES=html.notices(words),
        TEXTS=html.dictionary(
            words, "copied", "not_copied", "working", "retrying", "shown_last", "shown_sealed", "shown_unchecked",
            "left_one", "left_more", "often_unlimited", "shown_file", "hide", "show", "leave_sure",
        ),
    )  # fmt: skip


def _how_often(words: Words, remaining: int | None, *, burns: bool) -> str:
    if remaining is None:
        return words.often_unlimited
    if remaining == 1:
        return words.often_once if burns else words.often_once_kept
    return words.left_more.format(n=remaining)


def _until(words: Words, expires_at: int | None) -> str:
    if expires_at is None:
        return escape(words.expires_never)
    moment = datetime.fromtimestamp(expires_at, UTC)
    # The script says it in the time zone of the reader.
    shown = f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M} UTC</time>'
    return escape(words.expires).format(time=shown)


_SHOW: Final = Endpoint(
    method="GET",
    path="/s/{id}",
    name="showPage",
    summary="A page that says how the secret can be revealed; spends nothing.",
    who=auth.caller,
    handler=show,
    parameters=(parameters.ID,),
    answers={200: PAGE},
    refuses=(errors.BadPath, *LIMITED, errors.Gone, errors.Sealed, errors.Unreadable, *STORAGE),
    is_page=True,
)

ENDPOINTS: Final = (
    _SHOW,
    replace(_SHOW, method="HEAD", name="headPage", summary="The headers of that page; spends nothing."),
    replace(
        _SHOW,
        method="POST",
        name="revealPage",
        summary="Reveal the secret in a page, spending one read.",
        handler=reveal,
        form=Form(
            "Without the field `attempt`, or in any other form, each request is a read.",
            (parameters.ATTEMPT_OF_FORM,),
        ),
        refuses=(
            *(*_SHOW.refuses, *IGNORED_BODY, errors.BadAttempt, errors.ForeignRequest),
            *(errors.ProofRequired, errors.AttemptOver, errors.TooManyRepeats),
        ),
    ),
)
