"""What opens a link before its recipient does: previews, scanners, prefetches. None of them spends a locked secret."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import pytest

from sirrd.http.pages.texts.en import ENGLISH
from tests.browser.conftest import Site, Visit

SCANNER = "Mozilla/5.0 (compatible; LinkPreview/1.0; +https://preview.example)"


def ask(link: str, method: str, headers: Mapping[str, str], body: str = "") -> tuple[int, str]:
    """Send what a robot sends: whatever stands behind the # stays with it."""
    authority, _, path = link.partition("#")[0].removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(authority, timeout=30)
    connection.request(method, f"/{path}", body or None, {"User-Agent": SCANNER, **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("GET", {}, ""),
        ("HEAD", {}, ""),
        ("GET", {"Sec-Purpose": "prefetch", "Purpose": "prefetch"}, ""),
        ("GET", {"Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Site": "none"}, ""),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, ""),
        ("OPTIONS", {}, ""),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, ""),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, "passphrase="),
        ("POST", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, "a=b"),
    ],
)
@pytest.mark.parametrize("path", ["/s/", "/secrets/"])
def test_a_robot_without_the_fragment_spends_nothing(
    site: Site, method: str, headers: dict[str, str], body: str, path: str
) -> None:
    """Neither the page nor the API gives a locked secret to a request that only has the bare link, form or not."""
    link = site.seal(b"CANARY7731")
    _, text = ask(link.replace("/s/", path), method, headers, body)
    assert "CANARY7731" not in text
    assert "sirr1." not in text
    assert site.spent(link) == 0
    assert site.get(link) == b"CANARY7731"


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_previewer_with_a_browser_spends_nothing(site: Site, visit: Visit, *, script: bool, whole: bool) -> None:
    """A scanner that renders the page, with or without script and fragment, has asked for no value."""
    link = site.seal()
    visitor = visit(java_script_enabled=script, user_agent=SCANNER)
    visitor.page.goto(link if whole else link.partition("#")[0], wait_until="networkidle")
    visitor.page.screenshot()
    assert visitor.asked("GET", "/secrets/") == []
    assert site.spent(link) == 0


def test_a_scanner_that_submits_every_form_spends_nothing(site: Site, visit: Visit) -> None:
    """A robot in a browser that follows the bare link, and submits whatever it finds, is refused by the server."""
    link = site.seal()
    visitor = visit(user_agent=SCANNER)
    visitor.page.goto(link.partition("#")[0])
    with visitor.page.expect_navigation() as found:
        visitor.page.evaluate("document.querySelector('form').submit()")
    assert found.value.status == 403
    visitor.sees(ENGLISH.notices.needs_script.title)
    assert site.spent(link) == 0


def test_a_prefetch_of_the_browser_spends_nothing(site: Site, visit: Visit) -> None:
    """A page that has the browser fetch, and render, the link beforehand gets the page and no value."""
    link = site.seal()
    visitor = visit()
    visitor.page.route(
        "**/hub",
        lambda route: route.fulfill(content_type="text/html", body=f'<link rel="prefetch" href="{link}"><p>hub'),
    )
    with visitor.page.expect_request(link.partition("#")[0]) as found:
        visitor.page.goto(f"{site.address}/hub")
    answer = found.value.response()
    assert answer is not None
    assert answer.status == 200
    assert site.spent(link) == 0


def test_a_preview_shows_what_it_is_and_nothing_else(site: Site) -> None:
    """The title of the page, which is what previews show, says what waits, and who runs the server."""
    link = site.seal(b"CANARY7731")
    status, text = ask(link, "GET", {})
    assert status == 200
    assert f"<title>{ENGLISH.reveal_title} · Example Works</title>" in text
    assert link.partition("#")[0][-64:] not in text
