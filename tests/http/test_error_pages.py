"""Errors for people: a page where a browser asks, JSON for everyone else."""

from __future__ import annotations

import json
from html import escape
from typing import Final

import pytest

from sirrd.http.pages import html
from sirrd.http.pages.texts import LANGUAGES
from tests.conftest import Daemon, Start
from tests.contract.test_browser import Seen, is_harmless
from tests.contract.test_raw import ask

BROWSERS: Final = [
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "text/html",
    "TEXT/HTML; charset=utf-8",
    "text/*",
    "text/html;q=0.5, application/json;q=0.4",
    "application/json;q=0.1,text/html;level=1;q=0.2",
    "*/*;q=0.1, text/html",
]
PROGRAMS: Final = [
    None,
    "",
    "*/*",
    "application/json",
    "application/*",
    "application/json, text/html",
    "text/html, */*",
    "text/html;q=0.4, application/json;q=0.5",
    "text/html;q=0, */*;q=0.1",
    "image/*",
    "nonsense",
    "text/html" + "x" * 70_000,
    "a/b," * 32 + "text/html",
]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", "/a/b/c/d", 404),
        ("GET", "/secrets", 401),
        ("GET", "/%73ecrets", 400),
        ("GET", "/secrets/" + "0" * 64, 404),
        ("GET", "/orgs/acme/secrets/k", 401),
        ("GET", "/prune", 405),
        ("POST", "/health", 405),
        ("POST", "/secrets", 401),
        ("PUT", "/", 405),
    ],
)
async def test_a_person_gets_a_page_and_a_program_json(daemon: Daemon, method: str, path: str, status: int) -> None:
    """With the same status and headers of its kind, harmless, and in the language that was asked for."""
    for accepted in BROWSERS:
        sent = {"Accept": accepted, "Accept-Language": "de"}
        answer = await daemon.stranger.request(method, path, headers=sent)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert answer.headers["content-language"] == "de"
        assert {(name.decode(), value.decode()) for name, value in html.HEADERS} <= set(answer.headers.multi_items())
        assert ("accept" in answer.headers["vary"].lower().replace("accept-language", "")) == (path != "/")
        assert is_harmless(Seen(answer.text))
    for program in PROGRAMS if path != "/" else []:
        fields = [] if program is None else [(b"accept", program.encode())]
        heard = await ask(daemon, method, path, [*fields, (b"accept-language", b"de")])
        assert heard.status == status
        assert set(json.loads(heard.body)) == {"error", "code"}
        assert dict(heard.headers)["vary"] == "Accept"


@pytest.mark.parametrize("accepted", ["text/html", "*/*"])
async def test_gone_is_one_answer_for_each_kind_of_reader(daemon: Daemon, accepted: str) -> None:
    """Burned, expired, deleted and never there: alike to the byte, as a page and as JSON."""
    burned, expired, deleted = await daemon.put(), await daemon.put(ttl_seconds=1), await daemon.put()
    await daemon.client.get(f"/secrets/{burned}")
    await daemon.client.delete(f"/secrets/{deleted}")
    daemon.clock.at += 1
    seen = set()
    for secret in (burned, expired, deleted, "0" * 64):
        answer = await daemon.stranger.get(f"/secrets/{secret}", headers={"Accept": accepted})
        headers = tuple(field for field in answer.headers.multi_items() if field[0] != "x-request-id")
        seen.add((answer.status_code, answer.text, headers))
    assert len(seen) == 1


@pytest.mark.parametrize("tag", LANGUAGES)
async def test_the_root_without_its_page_says_so_to_a_person(start: Start, tag: str) -> None:
    """Where only the pages of secrets are served, `/` is a page for a browser that tells where to go."""
    async with start(pages="reveal") as daemon:
        answer = await daemon.stranger.get("/", headers={"Accept": BROWSERS[0], "Accept-Language": tag})
        assert answer.status_code == 404
        assert escape(LANGUAGES[tag].notices.nowhere.title) in answer.text
        assert (await daemon.stranger.get("/")).json()["code"] == "no_such_route"


async def test_who_asked_for_another_host_is_told_what_helps(daemon: Daemon) -> None:
    """In a browser, too."""
    sent = [(b"host", b"evil.test"), (b"accept", b"text/html")]
    answer = await ask(daemon, "GET", "/secrets", sent)
    assert answer.status == 421
    assert escape(LANGUAGES["en"].notices.elsewhere.title).encode() in answer.body


async def test_without_pages_there_are_none_for_errors(start: Start) -> None:
    """Who turned them off gets JSON alone, and no word of `Accept`."""
    async with start(pages="off") as daemon:
        for path in ("/", "/nowhere", "/secrets", "/s/" + "0" * 64):
            answer = await daemon.stranger.get(path, headers={"Accept": "text/html"})
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert "vary" not in answer.headers


async def test_an_answer_that_is_no_error_stays_as_it_is(daemon: Daemon) -> None:
    """A secret that is opened at its API in a browser is JSON: it is never taken for markup."""
    answer = await daemon.stranger.get(f"/secrets/{await daemon.put('<b>')}", headers={"Accept": "text/html"})
    assert answer.json()["value"] == "<b>"
