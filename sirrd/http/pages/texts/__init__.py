"""All texts of the pages, and whose language a page speaks: the one chosen by hand, else what the browser asks for."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Scope

from sirrd.http.pages.texts.de import GERMAN
from sirrd.http.pages.texts.en import ENGLISH
from sirrd.http.pages.texts.es import SPANISH
from sirrd.http.pages.texts.fr import FRENCH
from sirrd.http.pages.texts.words import Notice, Notices, Words
from sirrd.http.pages.texts.zh import CHINESE
from sirrd.http.peers import fields

__all__ = ["LANGUAGES", "PARAMETER", "Notice", "Notices", "Words", "chosen"]

LANGUAGES: Final = {words.tag: words for words in (ENGLISH, GERMAN, SPANISH, FRENCH, CHINESE)}
PARAMETER: Final = "lang"
"""The query parameter of a language that was chosen by hand."""

_BY_HAND: Final = re.compile(rb"(?:^|&)%b=([^&]*)" % PARAMETER.encode())
_MOST_QUERY: Final = 1024
_MOST_ACCEPTED: Final = 1024
_MOST_RANGES: Final = 32
_RANGE: Final = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,32})?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def chosen(scope: Scope) -> Words:
    """Return the texts in which a request is answered."""
    # What stands far behind is not looked for: a query can be as long as a head.
    by_hand = _BY_HAND.search(scope["query_string"][:_MOST_QUERY])
    words = None if by_hand is None else LANGUAGES.get(by_hand[1].decode("latin-1"))
    return words or preferred(b",".join(fields(scope, b"accept-language")).decode("latin-1"))


def preferred(accepted: str) -> Words:
    """Return the texts that an `Accept-Language` (RFC 9110, 12.5.4) likes best; English where it likes none of ours.

    Regions count for nothing: whoever wants `de-AT` is served German. The first 32 are looked at.
    """
    best, weight = ENGLISH, 0.0
    for part in accepted[:_MOST_ACCEPTED].split(",", _MOST_RANGES)[:_MOST_RANGES]:
        found = _RANGE.fullmatch(part)
        words = None if found is None else LANGUAGES.get(found[1].lower())
        if found is None or words is None:
            continue
        liked = float(found[2] or 1)
        if liked > weight:
            best, weight = words, liked
    return best
