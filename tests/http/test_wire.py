"""The wire: what only a unit shows."""

from __future__ import annotations

import pytest

from sirrd.errors import BadField
from sirrd.http import cors
from sirrd.http.wire import queries


@pytest.mark.parametrize("before", [0, 1, 2**31, 2**62, 2**63 - 1])
def test_a_cursor_stands_for_its_place(before: int) -> None:
    """A cursor is base64url without padding and is read back as the place that it was made for."""
    text = queries.cursor(before)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert queries.parse_cursor(text) == before


def test_a_place_has_one_cursor() -> None:
    """The alphabet of plain base64 is not taken: a cursor has one spelling."""
    text = queries.cursor(2**62 + 2**58 - 1)
    plain = text.replace("-", "+").replace("_", "/")
    assert plain != text
    with pytest.raises(BadField):
        queries.parse_cursor(plain)


@pytest.mark.parametrize(
    "path", ["/s/x", "/s/", "/secrets/x", "/secrets/x/y", "/orgs/a/secrets/k", "/orgs/a/secrets/", "/orgs/a/b/c/d"]
)
def test_no_read_is_for_others(path: str) -> None:
    """Whatever resembles the path of a secret has no GET or HEAD that another origin may read."""
    assert not {b"GET", b"HEAD"} & set(cors.methods_for_others(path))
