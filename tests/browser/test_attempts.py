"""What is lost on the way, in a real browser: one view is spent, and the value is shown all the same."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Route

from sirrd.http.pages.texts.en import ENGLISH
from tests.browser.conftest import API_KEY, Site, Visit, Visitor, site_with
from tests.parts import PATIENCE_SECONDS
from tests.relay import Asked, Loses, Relay, relay

NOTICES: Final = ENGLISH.notices
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@pytest.fixture
def between(site: Site) -> Iterator[Relay]:
    """A relay before the daemon."""
    with relay(site.address) as found:
        yield found


def is_read(asked: Asked) -> bool:
    """Tell whether a request spends: the page's, or the form's."""
    return re.fullmatch(r"GET /secrets/\w+|POST /s/\w+", asked.line) is not None


def losing(times: int) -> Loses:
    """Lose the answers to so many reads."""
    left = threading.Semaphore(times)
    return lambda asked: is_read(asked) and left.acquire(blocking=False)


def reads(between: Relay) -> list[Asked]:
    """Return the reads that came by."""
    return [asked for asked in between.asked if is_read(asked)]


def via(link: str, site: Site, between: Relay) -> str:
    """Return a link by way of the relay."""
    return link.replace(site.address, between.address)


def value_of(visitor: Visitor) -> str:
    """Wait for the value that is shown, and return it."""
    visitor.page.locator("#value:visible").wait_for()
    return visitor.page.locator("#value").input_value()


@pytest.fixture
def runs(pytestconfig: pytest.Config) -> int:
    """How often what may depend on chance is tried."""
    found: int = pytestconfig.getoption("--runs")
    return found


# One answer is lost.


@pytest.mark.parametrize("keeps", [True, False], ids=["kept connection", "new connection"])
def test_a_lost_answer_is_healed_by_the_page(
    site: Site, visit: Visit, between: Relay, runs: int, *, keeps: bool
) -> None:
    """Whether the browser asks again of itself or the page does: one view is spent, and the value is shown."""
    between.keeps = keeps
    visitor = visit()
    for n in range(runs):
        link = site.seal(b"s3cret %d" % n, max_reads=2)
        between.loses = losing(1)
        visitor.page.goto("about:blank")
        visitor.page.goto(via(link, site, between))
        visitor.presses(ENGLISH.reveal)
        assert value_of(visitor) == f"s3cret {n}"
        visitor.sees(ENGLISH.left_one)
        assert site.spent(link) == 1
    assert between.lost == runs
    assert len(reads(between)) == 2 * runs
    assert len({asked.field("X-Sirr-Attempt") for asked in reads(between)}) == runs
    assert {asked.is_first for asked in reads(between)} <= ({True, False} if keeps else {True})


@pytest.mark.parametrize("keeps", [True, False], ids=["kept connection", "new connection"])
def test_a_lost_answer_is_healed_without_script(
    site: Site, visit: Visit, between: Relay, runs: int, *, keeps: bool
) -> None:
    """The browser sends the form again of itself, or the person does who loads the page again: one view is spent."""
    between.keeps = keeps
    visitor = visit(java_script_enabled=False)
    for n in range(runs):
        link = site.put(f"s3cret {n}", max_reads=2)
        between.loses = losing(1)
        visitor.page.goto(via(link, site, between))
        visitor.page.get_by_role("button", name=ENGLISH.reveal).click(no_wait_after=True)
        visitor.page.locator("#reveal").wait_for(state="detached")
        if visitor.page.url.startswith("chrome-error:"):
            visitor.page.reload()
        assert value_of(visitor) == f"s3cret {n}"
        assert site.spent(link) == 1
    assert between.lost == runs
    assert len(reads(between)) == 2 * runs


def test_a_form_that_the_browser_gives_up_is_sent_again_by_hand(
    site: Site, visit: Visit, between: Relay, runs: int
) -> None:
    """Whoever loads the page of the error again gets the value, and has spent one view."""
    visitor = visit(java_script_enabled=False)
    for n in range(runs):
        link = site.put(f"s3cret {n}", max_reads=2)
        between.loses = is_read
        visitor.page.goto(via(link, site, between))
        with visitor.page.expect_event("requestfailed"):
            visitor.page.get_by_role("button", name=ENGLISH.reveal).click(no_wait_after=True)
        visitor.page.locator("#reveal").wait_for(state="detached")
        between.loses = losing(0)
        visitor.page.reload()
        assert value_of(visitor) == f"s3cret {n}"
        assert site.spent(link) == 1


@pytest.mark.parametrize("often", [1, 2])
def test_the_page_that_the_form_leads_to_can_be_loaded_again(site: Site, visit: Visit, often: int) -> None:
    """Within the time it shows the same value, also of a secret that burned, and spends nothing more."""
    link = site.put("CANARY7731", max_reads=often)
    visitor = visit(java_script_enabled=False)
    visitor.page.goto(link)
    visitor.presses(ENGLISH.reveal)
    for _ in range(3):
        assert value_of(visitor) == "CANARY7731"
        visitor.page.reload()
    assert value_of(visitor) == "CANARY7731"
    assert site.spent(link) == (None if often == 1 else 1)


# What the page does about it itself.


class Losses:
    """Loses the answers to some reads of a page, so that its browser knows nothing of them.

    Attributes:
        attempts: The attempt of every read.
    """

    def __init__(self, *ways: str) -> None:
        self._ways = list(ways)
        self.attempts: list[str | None] = []

    def __call__(self, route: Route) -> None:
        """Take a request."""
        if route.request.method != "GET":
            route.continue_()
            return
        self.attempts.append(route.request.headers.get("x-sirr-attempt"))
        way = self._ways.pop(0) if self._ways else "through"
        if way == "through":
            route.continue_()
            return
        if way != "unsent":
            route.fetch()
        if way in {"cut", "unsent"}:
            route.abort()
        elif way == "half":
            route.fulfill(status=200, content_type="application/json", body='{"id": "0", "val')
        else:
            route.fulfill(status=int(way), content_type="text/html", body=f"<h1>{way}</h1>")


def opened(visit: Visit, link: str, losses: Losses) -> Visitor:
    """Open a link where answers are lost, and press the button."""
    visitor = visit()
    visitor.page.route("**/secrets/*", losses)
    visitor.page.goto(link)
    visitor.presses(ENGLISH.reveal)
    return visitor


@pytest.mark.parametrize("way", ["cut", "unsent", "half", "502", "503", "504"])
def test_the_page_asks_again(site: Site, visit: Visit, way: str) -> None:
    """Whatever came instead of a whole answer, the same attempt is sent again, the page says so, one view is spent."""
    link = site.seal(max_reads=2)
    losses = Losses(way)
    visitor = opened(visit, link, losses)
    visitor.sees(ENGLISH.retrying)
    assert value_of(visitor) == "s3cret"
    assert site.spent(link) == 1
    first, second = losses.attempts
    assert first is not None
    assert TOKEN.fullmatch(first)
    assert first == second


def test_the_page_asks_four_times_and_goes_on_when_it_is_told_to(site: Site, visit: Visit) -> None:
    """Then it says that the view may be used up; whoever tries again goes on with the same attempt."""
    link = site.seal()
    losses = Losses(*["cut"] * 4)
    visitor = opened(visit, link, losses)
    visitor.sees(NOTICES.lost.title)
    assert len(losses.attempts) == 4
    assert site.described(link) is None
    visitor.presses(ENGLISH.again)
    assert value_of(visitor) == "s3cret"
    assert len(losses.attempts) == 5
    assert len(set(losses.attempts)) == 1


STALLS: Final = """
const real = window.fetch;
window.stalled = 0;
window.fetch = async (what, how = {}) => {
  const answer = await real(what, how);
  if ((how.method ?? "GET") !== "GET" || window.stalled++) return answer;
  const start = (control) => {
    control.enqueue(new TextEncoder().encode('{"id": "0", "val'));
    how.signal.addEventListener("abort", () => control.error(how.signal.reason));
    document.documentElement.dataset.stalled = "yes";
  };
  return new Response(new ReadableStream({ start }));
};
"""


def test_an_answer_that_stops_in_the_middle_is_asked_for_again(site: Site, visit: Visit) -> None:
    """Nothing breaks, and nothing more comes: after 20 s the page sends the same attempt again."""
    link = site.seal(max_reads=2)
    visitor = visit()
    losses = Losses()
    visitor.context.add_init_script(STALLS)
    visitor.page.clock.install()
    visitor.page.route("**/secrets/*", losses)
    visitor.page.goto(link)
    visitor.presses(ENGLISH.reveal)
    visitor.page.locator("html[data-stalled]").wait_for(state="attached")
    visitor.page.clock.run_for(19_000)
    assert len(losses.attempts) == 1
    for _ in range(50):  # the silence begins when the page has taken the piece
        if len(losses.attempts) > 1:
            break
        visitor.page.clock.run_for(500)
    assert value_of(visitor) == "s3cret"
    assert site.spent(link) == 1
    assert len(set(losses.attempts)) == 1


def test_every_reading_is_an_attempt_of_its_own(site: Site, visit: Visit) -> None:
    """Whoever views a secret twice has spent two views."""
    link = site.seal(max_reads=3)
    losses = Losses()
    visitor = opened(visit, link, losses)
    visitor.sees(ENGLISH.left_more.format(n=2))
    visitor.leaves()
    visitor.presses(ENGLISH.reveal)
    visitor.sees(ENGLISH.left_one)
    assert len(set(losses.attempts)) == 2


def test_the_server_forgets_what_has_arrived(site: Site, visit: Visit, between: Relay) -> None:
    """Once the value is shown, the page says so: the attempt opens nothing any more."""
    is_said = threading.Event()

    def watch(asked: Asked) -> bool:
        if re.fullmatch(r"POST /secrets/\w+/received", asked.line):
            is_said.set()
        return False

    between.loses = watch
    link = site.seal()
    visitor = visit()
    visitor.page.goto(via(link, site, between))
    visitor.presses(ENGLISH.reveal)
    visitor.sees(ENGLISH.shown_last)
    assert is_said.wait(PATIENCE_SECONDS)
    (read,) = reads(between)
    attempt = read.field("X-Sirr-Attempt")
    assert attempt is not None
    answer = httpx.get(link.replace("/s/", "/secrets/").partition("#")[0], headers={"X-Sirr-Attempt": attempt})
    assert answer.status_code == 404


def test_too_late_is_told(visit: Visit, tmp_path: Path) -> None:
    """After the time of repeats the view is used up: the page says that, and the next press is another view."""
    with site_with(tmp_path, SIRR_REDELIVERY_SECONDS="1") as site:
        link = site.seal(max_reads=2)
        losses = Losses("cut", "unsent", "unsent")
        visitor = opened(visit, link, losses)
        visitor.sees(NOTICES.over.title)
        assert site.spent(link) == 1
        visitor.presses(ENGLISH.again)
        visitor.presses(ENGLISH.reveal)
        assert value_of(visitor) == "s3cret"
        assert len(set(losses.attempts)) == 2


def test_what_someone_else_took_meanwhile_may_be_used_up(site: Site, visit: Visit) -> None:
    """Where an answer was lost and the secret is gone then, nobody knows whose view it was."""
    link = site.seal()
    losses = Losses("unsent")
    visitor = visit()

    def take(route: Route) -> None:
        losses(route)
        if route.request.method == "GET" and len(losses.attempts) == 1:
            site.get(link)

    visitor.page.route("**/secrets/*", take)
    visitor.page.goto(link)
    visitor.presses(ENGLISH.reveal)
    visitor.sees(NOTICES.lost.title)
    visitor.presses(ENGLISH.again)
    visitor.presses(ENGLISH.reveal)
    visitor.sees(NOTICES.gone.title)


def test_another_passphrase_on_a_repeat_loses_nothing(site: Site, visit: Visit) -> None:
    """A repeat is asked for no proof: the page itself finds that the passphrase is another one than before."""
    link = site.seal(passphrase="right")
    visitor = visit()
    visitor.page.route("**/secrets/*", Losses(*["cut"] * 4))
    visitor.page.goto(link)
    field = visitor.page.get_by_label(ENGLISH.passphrase)
    field.fill("right")
    visitor.presses(ENGLISH.reveal)
    visitor.sees(NOTICES.lost.title)
    visitor.page.evaluate("document.querySelector('#passphrase').value = 'wrong'")
    visitor.presses(ENGLISH.again)
    visitor.sees(ENGLISH.passphrase_wrong)
    field.fill("right")
    visitor.presses(ENGLISH.reveal)
    assert value_of(visitor) == "s3cret"


def test_a_left_page_asks_no_more(site: Site, visit: Visit) -> None:
    """Whoever goes while the page waits to ask again has asked once."""
    losses = Losses(*["cut"] * 4)
    visitor = visit()
    visitor.page.route("**/secrets/*", losses)
    visitor.page.goto(site.seal())
    visitor.page.evaluate("addEventListener('pagehide', () => (window.isLeft = true))")
    visitor.page.evaluate(
        """new MutationObserver(() => document.querySelector("#working").textContent &&
          window.said++ && dispatchEvent(new PageTransitionEvent("pagehide", {persisted: true})))
          .observe(document.querySelector("#working"), {childList: true}); window.said = 0"""
    )
    visitor.presses(ENGLISH.reveal)
    visitor.page.locator("button[aria-busy]").wait_for(state="detached")
    assert len(losses.attempts) == 2


def test_without_randomness_a_secret_is_read_all_the_same(site: Site, visit: Visit) -> None:
    """A browser that has none to give sends no attempt, and what it loses is asked for once."""
    losses = Losses("through", "cut")
    visitor = visit()
    visitor.context.add_init_script("Crypto.prototype.getRandomValues = undefined")
    visitor.page.route("**/secrets/*", losses)
    for seen in ("s3cret", None):
        visitor.page.goto("about:blank")
        visitor.page.goto(site.seal())
        visitor.presses(ENGLISH.reveal)
        if seen:
            assert value_of(visitor) == seen
            visitor.presses(ENGLISH.hide)
            visitor.page.on("dialog", lambda dialog: dialog.accept())
        else:
            visitor.sees(NOTICES.lost.title)
    assert losses.attempts == [None, None]
    assert visitor.asked("POST", "/received") == []


def test_a_server_that_is_busy_for_a_moment(site: Site, visit: Visit) -> None:
    """What the server refuses for a moment is asked for again; where it goes on refusing, nothing is called lost."""
    visitor = visit()
    answers: list[int] = []

    def refuse(route: Route) -> None:
        if route.request.method == "GET":
            answers.append(503)
            route.fulfill(status=503, content_type="application/json", body='{"error": "", "code": "busy"}')
        else:
            route.continue_()

    visitor.page.route("**/secrets/*", refuse)
    visitor.page.goto(site.seal())
    visitor.presses(ENGLISH.reveal)
    visitor.sees(NOTICES.unavailable.title)
    assert len(answers) == 4


# A look that becomes a read.


def test_a_look_that_a_proxy_makes_a_read_spends_nothing(site: Site, visit: Visit, between: Relay) -> None:
    """A proxy that makes a GET of every HEAD burns nothing: the page goes on, and says what it could not check."""
    between.changes = lambda head: head.replace(b"HEAD /", b"GET /", 1)
    link = site.put(max_reads=2)
    visitor = visit()
    visitor.page.goto(via(link, site, between))
    visitor.presses(ENGLISH.reveal)
    assert value_of(visitor) == "s3cret"
    visitor.sees(ENGLISH.shown_unchecked)
    asked = [re.fullmatch(r"(\w+) /secrets/\w+", each.line) for each in between.asked]
    assert [found[1] for found in asked if found] == ["HEAD", "GET", "HEAD"]
    assert site.spent(link) == 1


def test_a_status_that_a_proxy_makes_a_read_spends_nothing(site: Site, visit: Visit, between: Relay) -> None:
    """Neither does the page of the sender, which looks again and again."""
    between.changes = lambda head: head.replace(b"HEAD /", b"GET /", 1)
    visitor = visit()
    visitor.page.goto(f"{between.address}/")
    visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
    visitor.page.get_by_label(ENGLISH.secret, exact=True).fill("plain")
    visitor.page.get_by_text(ENGLISH.more).click()
    visitor.page.get_by_label(ENGLISH.encrypt).uncheck()
    visitor.presses(ENGLISH.create)
    visitor.page.locator("#ready:focus").wait_for()
    visitor.presses(ENGLISH.check)
    visitor.sees(ENGLISH.status_unknown)
    assert site.spent(visitor.page.get_by_label(ENGLISH.link, exact=True).input_value()) == 0
