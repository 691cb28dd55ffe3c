"""The frame of the pages: plain HTML that needs no script, and the headers that keep it so."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Final

from sirrd.http.wire import Answer, Header

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.05rem/1.6 system-ui,sans-serif;max-width:38rem;margin:12vh auto;padding:0 1.25rem}"
    "h1{font-size:1.5rem;line-height:1.25}"
    "button{font:inherit;font-weight:600;padding:.6rem 1.4rem;border:0;border-radius:.4rem;"
    "background:#0b5c4b;color:#fff;cursor:pointer}"
    "button:focus-visible,textarea:focus-visible{outline:3px solid #e0a100;outline-offset:2px}"
    "textarea{font:1rem/1.5 ui-monospace,monospace;width:100%;box-sizing:border-box;padding:.75rem;border-radius:.4rem}"
    "small{opacity:.75}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/html; charset=utf-8"),
    # With no-referrer a browser would send `Origin: null` on the page's own form.
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
)


def page(
    status: int, title: str, body: str, headers: Sequence[Header] = (), *, fingerprint: str | None = None
) -> Answer:
    """Answer with a page.

    Args:
        status: The HTTP status.
        title: Text, not yet escaped.
        body: HTML: whatever varies in it must have been escaped.
        headers: More headers.
        fingerprint: For the log.
    """
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="robots" content="noindex, nofollow">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        f"</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode()
    length = (b"content-length", b"%d" % len(text))
    return Answer(status, text, [*HEADERS, length, *headers], fingerprint=fingerprint)
