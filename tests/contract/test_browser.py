"""Browsers: what other sites and previews cannot spend, and the pages that people see."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from sirrd.http.pages import assets
from tests.conftest import Daemon, Start
from tests.contract.test_raw import BEARER, ask, reads_of

OWN: Final = "http://sirrd.test"
NAVIGATION: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
ID, BARE, ORG = "/secrets/<id>", "/secrets/k", "/orgs/acme/secrets/k"


def site(name: str, **more: str) -> dict[str, str]:
    """Return the Fetch Metadata of a request."""
    return {"Sec-Fetch-Site": name, **{f"Sec-Fetch-{part.title()}": value for part, value in more.items()}}


READS: Final = [
    # (headers, passes to an id, passes to a key)
    ({}, True, True),
    (site("none"), True, True),
    (site("same-origin"), True, True),
    (site("same-origin", mode="cors", dest="empty"), True, True),
    (site("none", mode="navigate", dest="document"), True, True),
    (site("cross-site"), False, False),
    (site("same-site"), False, False),
    (site("Same-Origin"), False, False),
    (site("same-origin, none"), False, False),
    (site(""), False, False),
    (site("unheard-of"), False, False),
    (site("cross-site", mode="cors", dest="empty"), False, False),
    (site("cross-site", mode="no-cors", dest="image"), False, False),
    (site("cross-site", mode="no-cors", dest="script"), False, False),
    (site("cross-site", mode="navigate"), False, False),
    (site("cross-site", mode="navigate", dest="iframe"), False, False),
    (site("cross-site", mode="navigate", dest="frame"), False, False),
    (site("cross-site", mode="navigate", dest="embed"), False, False),
    (site("cross-site", mode="navigate", dest="object"), False, False),
    (site("cross-site", mode="nested-navigate", dest="document"), False, False),
    (site("cross-site", mode="no-cors", dest="document"), False, False),
    (site("cross-site", dest="document"), False, False),
    (site("cross-site", mode="navigate", dest="document"), True, False),
    (site("same-site", mode="navigate", dest="document"), True, False),
    ({"Sec-Purpose": "prefetch"}, False, False),
    ({"Sec-Purpose": "prefetch;prerender"}, False, False),
    ({"Purpose": "prefetch"}, False, False),
    ({"Purpose": "Prefetch"}, False, False),
    ({"Sec-Purpose": "prefetch", **site("same-origin")}, False, False),
    ({"Sec-Purpose": "prefetch", **site("none", mode="navigate", dest="document")}, False, False),
    ({"Purpose": "prefetch", **site("cross-site", mode="navigate", dest="document")}, False, False),
    *(
        ({name: value}, False, False)
        for name in ("Purpose", "X-Purpose", "X-Moz")
        for value in (
            "preview",
            "Preview",
            ": preview",
            "prefetch",
            "prerender",
            "preload",
            "instant",
            "link-preview; x",
        )
    ),
    ({"X-Purpose": "preview", **site("none", mode="navigate", dest="document")}, False, False),
    ({"X-Moz": "prefetch", **site("same-origin")}, False, False),
    ({"Purpose": "something else"}, True, True),
    ({"X-Purpose": "something else", "X-Moz": ""}, True, True),
    # What a read does not look at.
    ({"Origin": "https://evil.example"}, True, True),
    ({"Origin": "null", "Referer": "https://evil.example/"}, True, True),
    (NAVIGATION, True, True),
]


@pytest.mark.parametrize(("headers", "to_id", "to_key"), READS, ids=[str(list(row[0].items())) for row in READS])
async def test_other_sites_cannot_burn(daemon: Daemon, headers: dict[str, str], *, to_id: bool, to_key: bool) -> None:
    """What another site or a prefetch causes is 403 and spends nothing; but a person may follow a link to an id."""
    await daemon.put_in("acme", "k", max_reads=9)
    own = f"/secrets/{await daemon.put(max_reads=9)}"
    for path, passes in ((own, to_id), (BARE, to_key), (ORG, to_key)):
        before = int(await reads_of(daemon, path))
        answer = await daemon.client.get(path, headers=headers)
        assert answer.status_code == (200 if passes else 403)
        if not passes:
            assert answer.json()["code"] == "foreign_request"
        assert int(await reads_of(daemon, path)) - before == passes


@pytest.mark.parametrize("value", ["true", "false", "", "x"])
async def test_a_look_never_reads(daemon: Daemon, value: str) -> None:
    """A `GET` that says it is a look was a `HEAD` before a proxy got it: 403, and nothing is spent; a `HEAD` looks."""
    await daemon.put_in("acme", "k", max_reads=9)
    for path in (f"/secrets/{await daemon.put()}", BARE, ORG):
        for headers in ({"X-Sirr-Look": value}, {"X-Sirr-Look": value, **site("cross-site"), "Purpose": "prefetch"}):
            answer = await daemon.client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "look_only")
            assert (await daemon.client.head(path, headers=headers)).headers["x-sirr-read-count"] == "0"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-origin")],
        [(b"sec-fetch-site", b"\xff")],
        [(b"purpose", b"x"), (b"purpose", b"prefetch")],
        [(b"sec-purpose", b"")],
    ],
)
async def test_doubled_or_broken_metadata_is_foreign(daemon: Daemon, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Metadata that no browser sends is not taken for our own."""
    secret = await daemon.put()
    answer = await ask(daemon, "GET", f"/secrets/{secret}", headers)
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "foreign_request")
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 200


FORMS: Final = [
    ({}, True),
    (site("same-origin"), True),
    (site("same-origin", mode="navigate", dest="document"), True),
    ({**site("same-origin"), "Origin": OWN}, True),
    ({"Origin": OWN}, True),
    (site("none"), False),
    (site("same-site"), False),
    (site("cross-site"), False),
    (site("cross-site", mode="navigate", dest="document"), False),
    (site(""), False),
    ({**site("cross-site"), "Origin": OWN}, False),
    ({**site("none"), "Origin": OWN}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "https://sirrd.test"}, False),
    ({"Origin": "http://sirrd.test:8080"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "http://sirrd.test.evil.example"}, False),
    ({"Origin": "http://sirrd.test/"}, False),
    ({"Referer": "https://evil.example/"}, True),
]


@pytest.mark.parametrize(("headers", "passes"), FORMS, ids=[str(list(row[0].items())) for row in FORMS])
async def test_only_the_own_page_can_post(daemon: Daemon, headers: dict[str, str], *, passes: bool) -> None:
    """A form post from elsewhere is 403 and spends nothing; from the own page, or from a program, it reveals."""
    secret = await daemon.put("CANARY")
    answer = await daemon.stranger.post(f"/s/{secret}", headers=headers)
    assert answer.status_code == (200 if passes else 403)
    assert ("CANARY" in answer.text) == passes
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == (404 if passes else 200)


@pytest.mark.parametrize(
    ("public_url", "origin", "status"),
    [
        ("https://drop.example", "https://drop.example", 200),
        ("https://drop.example/under/here", "https://drop.example", 200),
        ("https://DROP.example", "https://drop.example", 200),
        ("https://drop.example:8443", "https://drop.example:8443", 200),
        ("https://drop.example:443", "https://drop.example", 200),
        ("http://drop.example:80", "http://drop.example", 200),
        ("https://drop.example", OWN, 403),
        ("https://drop.example", "http://drop.example", 403),
        ("https://drop.example", "https://drop.example:8443", 403),
    ],
)
async def test_the_own_origin_is_that_of_the_public_url(
    start: Start, public_url: str, origin: str, status: int
) -> None:
    """The own origin is that of `SIRR_PUBLIC_URL` as a browser writes it, whatever `Host` says."""
    async with start(public_url=public_url) as daemon:
        secret = await daemon.put()
        assert (await daemon.stranger.post(f"/s/{secret}", headers={"Origin": origin})).status_code == status


# Pages.


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.areas: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "textarea":
            self.areas.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "textarea":
            self.areas[-1] += data


KNOWN: Final = frozenset({
    "html", "head", "meta", "title", "link", "script", "body", "header", "main", "footer",
    "section", "div", "nav", "ul", "li", "a", "img", "h1", "p", "span",
    "small", "strong", "time", "label", "form", "input", "button", "textarea", "template",
})  # fmt: skip
OWN_FILE: Final = re.compile(rf"(\./|(\.\./)+)static/{assets.VERSION}/[a-z]+\.(css|mjs|svg)")
LANGUAGE: Final = re.compile(r"\?lang=[a-z]{2}")


def is_harmless(seen: Seen) -> bool:
    """Tell whether a page runs no script but the own modules, and asks nobody else for anything."""
    attributes = [(name, value or "") for _, given in seen.elements for name, value in given.items()]
    targets = [value for name, value in attributes if name in {"src", "href"}]
    forbidden = [name for name, _ in attributes if name.startswith("on") or name in {"style", "srcdoc", "formaction"}]
    inline = [tag for tag, given in seen.elements if tag == "script" and "src" not in given]
    return (
        {tag for tag, _ in seen.elements} <= KNOWN
        and not forbidden
        and not inline
        and all(OWN_FILE.fullmatch(target) or LANGUAGE.fullmatch(target) for target in targets)
    )


HOSTILE: Final = [
    "<script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; &amp; &quot;",
    "]]>--><!--",
    "'\"`${7*7}{{7*7}}",
    "\n\nfirst line breaks stay",
    "\u202eright to left\u2066",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_value_is_shown_as_text(daemon: Daemon, value: str) -> None:
    """Whatever a value holds, the page shows it as text, unchanged, and nothing of it becomes an element."""
    secret = await daemon.put(value)
    answer = await daemon.stranger.post(f"/s/{secret}")
    seen = Seen(answer.text)
    assert is_harmless(seen)
    assert [area.removeprefix("\n") for area in seen.areas] == [value]
    assert "x-frame-options" in answer.headers


async def test_a_value_in_json_is_no_page(daemon: Daemon) -> None:
    """JSON is declared as JSON and not to be sniffed, so that markup in a value stays text."""
    answer = await daemon.stranger.get(f"/secrets/{await daemon.put(HOSTILE[0])}")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%22%3E%3Cimg src=x%3E", "CANARY7731", "%00", "A" * 64]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_repeats_nothing_of_its_address(daemon: Daemon, method: str, name: str) -> None:
    """A page about a bad address shows nothing of it, and is as harmless as any other."""
    answer = await daemon.stranger.request(method, f"/s/{name}")
    assert answer.status_code in {400, 404}
    assert is_harmless(Seen(answer.text))
    for part in ("alert", "src=x", "CANARY7731", "AAAA"):
        assert part not in answer.text


async def test_the_page_posts_to_itself(daemon: Daemon) -> None:
    """The page holds one form that posts to its own address, relative to it, and shows neither value nor id."""
    secret = await daemon.put("CANARY")
    answer = await daemon.stranger.get(f"/s/{secret}")
    seen = Seen(answer.text)
    assert is_harmless(seen)
    (form,) = (given for tag, given in seen.elements if tag == "form")
    assert (form["method"], form["action"]) == ("post", "")
    assert "hidden" not in form
    assert "CANARY" not in answer.text
    assert secret not in answer.text


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, (404, None)),
        ({"max_reads": 3}, (200, "1")),
        ({"max_reads": None}, (200, "1")),
        ({"delete": False}, (410, "1")),
    ],
)
async def test_opening_the_page_spends_nothing(
    daemon: Daemon, terms: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """However often the page is opened, every read is still there, and one post spends one."""
    path = f"/secrets/{await daemon.put('CANARY', **terms)}"
    page = path.replace("/secrets/", "/s/")
    for method in ("GET", "HEAD", "GET", "OPTIONS"):
        assert (await daemon.stranger.request(method, page)).status_code in {200, 204}
    assert await reads_of(daemon, path) == "0"
    assert "CANARY" in (await daemon.stranger.post(page)).text
    shown = await daemon.stranger.head(path)
    assert (shown.status_code, shown.headers.get("x-sirr-read-count")) == expected


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
async def test_a_form_may_be_of_any_type(daemon: Daemon, content_type: str) -> None:
    """The form is exempt from the content type rule."""
    secret = await daemon.put("CANARY")
    answer = await daemon.stranger.post(f"/s/{secret}", content=b"a=b", headers={"Content-Type": content_type})
    assert "CANARY" in answer.text


@pytest.mark.parametrize(
    "body", [b"\xff\xfe=\x00&\xc3\xa9", b"%C2%95=2&%ff=%zz&=&&", "schlüssel=é".encode(), b"\x00" * 99]
)
async def test_a_form_may_hold_anything(daemon: Daemon, body: bytes) -> None:
    """Bytes that are no text in a form are no attempt, and no error."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await daemon.stranger.post(f"/s/{await daemon.put('CANARY')}", content=body, headers=headers)
    assert (answer.status_code, "CANARY" in answer.text) == (200, True)


async def test_request_ids_differ(daemon: Daemon) -> None:
    """Every answer has an id of its own, which no request chooses."""
    answers = [await ask(daemon, "GET", "/health", [BEARER, (b"x-request-id", b"chosen")]) for _ in range(20)]
    ids = {dict(answer.headers)["x-request-id"] for answer in answers}
    assert len(ids) == 20
    assert "chosen" not in ids


async def test_robots_stay_away(daemon: Daemon) -> None:
    """robots.txt disallows everything."""
    answer = await daemon.stranger.get("/robots.txt")
    assert answer.text == "User-agent: *\nDisallow: /\n"
    assert answer.headers["content-type"].startswith("text/plain")
