"""The page behind the URL that people share: opening it spends nothing, pressing its button spends a read."""

from __future__ import annotations

from html import escape

from sirrd.errors import Sealed
from sirrd.events import Action
from sirrd.http import auth, guards, html
from sirrd.http.context import Request
from sirrd.http.wire import Answer
from sirrd.model import Identity, Metadata


async def show(request: Request) -> Answer:
    """Say what waits here, and wait for a deliberate action."""
    identity = Identity.drop(request.path_params["id"])
    caller = auth.caller(request)
    drop = request.state["drop"]
    metadata = await drop.peek(identity, by=caller)
    drop.note(Action.PAGE_OPENED, by=caller, identity=identity)
    if metadata.status == "sealed":
        raise Sealed(metadata.fingerprint)
    return html.page(200, "Someone shared a secret with you", _invitation(metadata), fingerprint=metadata.fingerprint)


async def reveal(request: Request) -> Answer:
    """Reveal the secret, spending one read."""
    identity = Identity.drop(request.path_params["id"])
    guards.check_form(request)
    opened = await request.state["drop"].read(identity, by=auth.caller(request))
    return html.page(200, "The secret", _revealed(opened.plaintext.text()), fingerprint=opened.fingerprint)


def _invitation(metadata: Metadata) -> str:
    if metadata.locked:
        return (
            "<p>It is locked: only the whole link, with the part behind the #, opens it. "
            "Open that link with the command <code>sirr get</code>.</p>\n"
            "<p><small>Opening this page has not used it up.</small></p>"
        )
    remaining = metadata.reads_remaining
    if remaining is None:
        often = "It can be opened any number of times until it expires or is removed."
    elif remaining == 1:
        often = "It can be opened <strong>once</strong>. After that it is gone from this server."
        if not metadata.terms.delete:
            often = "It can be opened <strong>once</strong>. After that it is closed until its owner opens it again."
    else:
        often = f"It can be opened <strong>{remaining} more times</strong>."
    # The action is relative, so that a path prefix of the proxy does not matter.
    return (
        f"<p>{often}</p>\n"
        '<form method="post" action=""><button type="submit">Reveal the secret</button></form>\n'
        "<p><small>Opening this page has not used it up. Be ready to keep what you see: copy it to a safe place."
        "</small></p>"
    )


def _revealed(value: str) -> str:
    rows = min(20, value.count("\n") + 2)
    # The line break after the tag is dropped by browsers; without it one of the value's own would be.
    return (
        '<p><label for="value">Keep it safe: this page cannot be loaded again.</label></p>\n'
        f'<textarea id="value" rows="{rows}" readonly autofocus spellcheck="false" autocomplete="off">\n'
        f"{escape(value)}</textarea>"
    )
