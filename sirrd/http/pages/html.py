"""Makes pages from the templates, in the language of whoever asks, with the headers that keep them harmless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields as members
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from starlette.types import Scope

from sirrd.http.context import State
from sirrd.http.pages import assets, texts
from sirrd.http.pages.texts import Notice, Notices, Words
from sirrd.http.wire.answers import Answer, Header

HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
            b"require-trusted-types-for 'script'; trusted-types 'none'"
        ),
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        (
            b"accelerometer=(), camera=(), clipboard-read=(), clipboard-write=(self), display-capture=(), "
            b"geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
        ),
    ),
    # With no-referrer a browser would send `Origin: null` on the page's own form.
    (b"referrer-policy", b"same-origin"),
    (b"vary", b"Accept-Language"),
)
_DEEPEST: Final = 16
"""No page lies deeper, and a path of slashes alone must not make one of megabytes."""

_TEMPLATES: Final = {
    path.stem: Template(path.read_text(encoding="utf-8")) for path in (Path(__file__).parent / "templates").iterdir()
}


def filled(template: str, words: Words, **parts: str) -> str:
    """Return a template with the texts of a language in it, escaped.

    Args:
        template: Its name.
        words: The texts; the template names them by the names that they have there.
        parts: HTML: whatever varies in it must have been escaped.
    """
    return _TEMPLATES[template].substitute(_escaped(words), **parts)


@cache
def _escaped(words: Words) -> dict[str, str]:
    found = {member.name: getattr(words, member.name) for member in members(words)}
    return {name: escape(text) for name, text in found.items() if isinstance(text, str)}


def page(
    scope: Scope,
    status: int,
    title: str,
    body: str,
    headers: Sequence[Header] = (),
    *,
    module: str | None = None,
    switches: bool = True,
    fingerprint: str | None = None,
) -> Answer:
    """Answer with a page.

    Args:
        scope: What is answered.
        status: The HTTP status.
        title: Text, not yet escaped.
        body: HTML: whatever varies in it must have been escaped.
        headers: More headers.
        module: The module that works on the page, or None: then it runs no script.
        switches: Whether the page offers other languages: one that cannot be loaded again must not.
        fingerprint: For the log.
    """
    words = texts.chosen(scope)
    root = _root(scope)
    static = f"{root}static/{assets.VERSION}"
    state: State = scope["state"]
    context = state["context"]
    # Who asked for another host is told neither that one nor the own.
    host = context.peers.origin(scope).partition("://")[2] if state["trace"].is_meant else ""
    name = context.instance_name or host or "sirrd"
    text = filled(
        "frame",
        words,
        TITLE=f"{escape(title)} · {escape(name)}",
        STATIC=static,
        SCRIPT="" if module is None else f'<script type="module" src="{static}/{module}.mjs"></script>\n',
        INSTANCE=escape(name) if name == host or not host else f"{escape(name)} <small>{escape(host)}</small>",
        BODY=body,
        LANGUAGES=_languages(words) if switches else "",
    ).encode()
    own = ((b"content-length", b"%d" % len(text)), (b"content-language", words.tag.encode()))
    return Answer(status, text, [*HEADERS, *own, *headers], fingerprint=fingerprint)


def notice(scope: Scope, status: int, name: str, headers: Sequence[Header] = ()) -> Answer:
    """Answer with what takes the place of a page: the name of a member of `Notices`."""
    found: Notice = getattr(texts.chosen(scope).notices, name)
    # The module takes the fragment along to another language: on a later day the link may work.
    return page(scope, status, found.title, _shown(found, name), headers, module="page")


def notices(words: Words) -> str:
    """Return every notice, hidden, for a module to show."""
    named = [(member.name, getattr(words.notices, member.name)) for member in members(Notices)]
    return "\n".join(
        f'<section data-notice="{name}" tabindex="-1" aria-labelledby="{name}" hidden>\n'
        f"{_shown(found, name)}\n</section>"
        for name, found in named
    )


def dictionary(words: Words, *names: str) -> str:
    """Return texts for a module: it has none of its own, so that all are in one place."""
    said = _escaped(words)
    lines = [f'<p id="{name}">{said[name]}</p>' for name in names]
    return "\n".join(['<template id="texts">', *lines, "</template>"])


def _shown(found: Notice, name: str) -> str:
    return f'<h1 id="{name}">{escape(found.title)}</h1>\n<p>{escape(found.text)}</p>'


def _languages(words: Words) -> str:
    links = []
    for tag, other in texts.LANGUAGES.items():
        mark = ' aria-current="true"' if other is words else ""
        link = f'<a href="?{texts.PARAMETER}={tag}" lang="{tag}"{mark}>{other.name}</a>'
        links.append(f"<li>{link}</li>")
    return f'<nav aria-label="{escape(words.language)}"><ul>\n{chr(10).join(links)}\n</ul></nav>'


def _root(scope: Scope) -> str:
    """Return the way from the page to the root: relative, so that a path prefix of the proxy does not matter.

    The path counts as it was sent, since that is the one which a browser resolves links against.
    """
    sent: bytes = scope.get("raw_path") or scope["path"].encode()
    return "../" * min(sent.count(b"/") - 1, _DEEPEST) or "./"
