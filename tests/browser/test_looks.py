"""How the pages look and handle: accessible to everyone, by keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from sirrd.http.pages.texts import LANGUAGES
from sirrd.http.pages.texts.en import ENGLISH
from tests.browser.conftest import API_KEY, Site, Visit, Visitor, site_with

DESKTOP: Final[dict[str, Any]] = {}
DARK: Final[dict[str, Any]] = {"color_scheme": "dark"}
PHONE: Final[dict[str, Any]] = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
LOOKS: Final = {"desktop": DESKTOP, "dark": DARK, "phone": PHONE, "dark phone": PHONE | DARK}


def offer(site: Site, page: Page) -> None:
    """Show a secret that can be revealed."""
    page.goto(site.seal(ttl_seconds=3600))


def asks(site: Site, page: Page) -> None:
    """Show one that needs a passphrase, after a wrong one."""
    page.goto(site.seal(passphrase="x"))
    page.get_by_label(ENGLISH.passphrase).fill("wrong")
    page.keyboard.press("Enter")
    page.locator("#wrong:visible").wait_for()


def shown(site: Site, page: Page) -> None:
    """Show a value."""
    page.goto(site.seal(b"correct horse battery staple"))
    page.get_by_role("button", name=ENGLISH.reveal).click()
    page.get_by_text(ENGLISH.shown_last).wait_for()


def form_result(site: Site, page: Page) -> None:
    """Show the value of the plain form."""
    page.goto(site.put())
    page.evaluate("document.querySelector('form').submit()")
    page.locator("#value:focus").wait_for()


def gone(site: Site, page: Page) -> None:
    """Show that there is nothing."""
    page.goto(f"{site.address}/s/{'0' * 64}")


def incomplete(site: Site, page: Page) -> None:
    """Show that the link lacks its fragment."""
    page.goto(site.seal().partition("#")[0])
    page.locator("[data-notice]:visible").wait_for()


def lost(site: Site, page: Page) -> None:
    """Show that no answer came."""
    offer(site, page)
    page.route("**/secrets/*", lambda route: route.abort())
    page.get_by_role("button", name=ENGLISH.reveal).click()
    page.locator("[data-notice]:visible").wait_for()


def form(site: Site, page: Page) -> None:
    """Show the form of a new secret, with everything open and something missing."""
    page.goto(f"{site.address}/")
    page.get_by_text(ENGLISH.more).click()
    page.get_by_label(ENGLISH.api_key).fill("x")
    page.get_by_role("button", name=ENGLISH.create).click()
    page.locator("#problem:visible").wait_for()


def ready(site: Site, page: Page) -> None:
    """Show a link, with everything open."""
    page.goto(f"{site.address}/")
    page.get_by_label(ENGLISH.secret, exact=True).fill("s3cret")
    page.get_by_label(ENGLISH.api_key).fill(API_KEY)
    page.get_by_role("button", name=ENGLISH.create).click()
    page.locator("#ready:focus").wait_for()
    for summary in page.locator("#ready summary").all():
        summary.click()


def sure(site: Site, page: Page) -> None:
    """Show the question before a link is destroyed."""
    ready(site, page)
    page.get_by_role("button", name=ENGLISH.destroy).click()
    page.locator("dialog[open]").wait_for()


def which(site: Site, page: Page) -> None:
    """Show the question which of two things is to be sent; one has a long name."""
    page.goto(f"{site.address}/")
    page.get_by_label(ENGLISH.secret, exact=True).fill("s3cret")
    name = "x" * 120
    page.get_by_label(ENGLISH.file).set_input_files({"name": name, "mimeType": "text/plain", "buffer": b"x"})
    page.locator("dialog[open]").wait_for()


STATES: Final[list[Callable[[Site, Page], None]]] = [
    offer, asks, shown, form_result, gone, incomplete, lost, form, ready, sure, which,
]  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(site: Site, visit: Visit, state: Callable[[Site, Page], None], look: str) -> None:
    """No rule of axe-core is broken in any state, light or dark, wide or narrow; nothing is wider than the screen."""
    # The tool itself needs what the policy forbids; every other test runs with the policy.
    visitor = visit(bypass_csp=True, **LOOKS[look])
    state(site, visitor.page)
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()
    # All that the tool may leave open is the contrast of what lies under an open dialogue.
    undecided = {each["id"] for each in found.response["incomplete"]}
    assert undecided <= ({"color-contrast"} if state in {sure, which} else set()), found.response["incomplete"]
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visitor.page.evaluate(overflow) == 0


@pytest.mark.parametrize("tag", LANGUAGES)
@pytest.mark.parametrize("path", ["/", "/s/" + "0" * 64])
def test_axe_finds_nothing_in_any_language(site: Site, visit: Visit, tag: str, path: str) -> None:
    """Long German words and Chinese characters fit a phone, too."""
    visitor = visit(bypass_csp=True, locale=tag, **PHONE)
    visitor.page.goto(f"{site.address}{path}")
    assert Axe().run(visitor.page).violations_count == 0
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("question", [sure, which])
def test_a_question_stands_in_the_middle(site: Site, visit: Visit, question: Callable[[Site, Page], None]) -> None:
    """A dialogue has as much room above it as below."""
    visitor = visit()
    question(site, visitor.page)
    box = visitor.page.locator("dialog[open]").bounding_box()
    assert box is not None
    assert abs(box["y"] - (900 - box["y"] - box["height"])) <= 1


# By keyboard.


def focused(visitor: Visitor) -> str:
    """Return what has the focus: the id, or else the text."""
    found: str = visitor.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
    return found


def test_revealing_by_keyboard_alone(site: Site, visit: Visit) -> None:
    """Tab to the passphrase, type, Enter; the focus goes to the value, then to its buttons, in this order."""
    visitor = visit()
    visitor.page.goto(site.seal(passphrase="x"))
    keyboard = visitor.page.keyboard
    keyboard.press("Tab")
    assert focused(visitor) == "passphrase"
    keyboard.type("x")
    keyboard.press("Tab")
    assert focused(visitor) == ENGLISH.reveal
    keyboard.press("Enter")
    visitor.page.locator("#value:focus").wait_for()
    order = []
    for _ in range(2):
        keyboard.press("Tab")
        order.append(focused(visitor))
    assert order == ["copy", "hide"]
    keyboard.press("Space")
    assert not visitor.page.locator("#value").is_visible()


def test_creating_by_keyboard_alone(site: Site, visit: Visit) -> None:
    """Every field and button is reached by Tab, in the order in which they stand; the dialogue closes by Escape."""
    visitor = visit()
    visitor.page.goto(f"{site.address}/")
    keyboard = visitor.page.keyboard
    order: list[str] = []
    while not order or order[-1] != "key":
        keyboard.press("Tab")
        order.append(focused(visitor))
        assert len(order) < 20, order
        if order[-1] == "value":
            keyboard.type("s3cret")
        if order[-1] == ENGLISH.more:
            keyboard.press("Enter")
    assert order == ["value", "file", "ttl", "reads", ENGLISH.more, "passphrase", "last", "encrypt", "key"]
    keyboard.type(API_KEY)
    keyboard.press("Enter")
    visitor.page.locator("#ready:focus").wait_for()
    order = []
    while not order or order[-1] != "destroy":
        keyboard.press("Tab")
        order.append(focused(visitor))
        assert len(order) < 20, order
    assert order == ["link", "copy-link", ENGLISH.qr, "message-label", "check", "destroy"]
    keyboard.press("Enter")
    visitor.page.locator("dialog[open]").wait_for()
    keyboard.press("Escape")
    visitor.page.locator("#sure:not([open])").wait_for(state="attached")
    assert focused(visitor) == "destroy"


def test_the_focus_can_be_seen(site: Site, visit: Visit) -> None:
    """What has the focus by keyboard has an outline."""
    visitor = visit()
    visitor.page.goto(site.seal())
    visitor.page.keyboard.press("Tab")
    style = visitor.page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "3px" in style
    assert "solid" in style


def test_what_happens_is_announced(site: Site, visit: Visit) -> None:
    """Errors are alerts and results are in live regions, that were there before their words."""
    visitor = visit()
    visitor.page.goto(f"{site.address}/")
    assert visitor.page.locator("#problem").get_attribute("role") == "alert"
    assert visitor.page.locator("#status").get_attribute("role") == "status"
    visitor.page.goto(site.seal())
    assert visitor.page.locator("#wrong").get_attribute("role") == "alert"
    assert visitor.page.locator("#left").get_attribute("role") == "status"
    assert visitor.page.locator("#copy ~ [role=status]").count() == 1
    assert visitor.page.locator("[aria-live]").count() == 0  # It would change what the roles mean.


# Preferences, and paper.


def test_dark_is_dark(site: Site, visit: Visit) -> None:
    """The ground follows what the person prefers."""
    shades = {}
    for scheme in ("light", "dark"):
        visitor = visit(color_scheme=scheme)
        visitor.page.goto(site.seal())
        colour = visitor.page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
        shades[scheme] = sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(","))
    assert shades["dark"] < 150
    assert shades["light"] > 700


def test_motion_is_for_those_who_like_it(site: Site, visit: Visit) -> None:
    """Whoever prefers less of it sees no transition."""
    durations = {}
    for preference in ("reduce", "no-preference"):
        visitor = visit(reduced_motion=preference)
        visitor.page.goto(site.seal())
        durations[preference] = visitor.page.evaluate(
            "getComputedStyle(document.querySelector('button')).transitionDuration"
        )
    assert durations == {"reduce": "0s", "no-preference": "0.15s"}


def test_on_paper_stands_the_value_alone(site: Site, visit: Visit) -> None:
    """A print has the value and no buttons, links or hints."""
    visitor = visit()
    visitor.page.goto(site.seal("\n".join(["x" * 300] * 60).encode()))
    visitor.page.get_by_role("button", name=ENGLISH.reveal).click()
    visitor.page.get_by_text(ENGLISH.shown_last).wait_for()
    visitor.page.emulate_media(media="print")
    value = visitor.page.locator("#value")
    assert value.is_visible()
    assert value.evaluate("(each) => each.scrollHeight - each.clientHeight") <= 1
    assert visitor.page.get_by_role("button").locator("visible=true").count() == 0
    assert not visitor.page.locator("footer").is_visible()


def test_targets_are_large_enough(site: Site, visit: Visit) -> None:
    """Everything that can be pressed is at least 24 pixels high and wide (WCAG 2.2, 2.5.8)."""
    visitor = visit(**PHONE)
    form(site, visitor.page)
    boxes = [each.bounding_box() for each in visitor.page.locator("a, button, input, select, summary, textarea").all()]
    sizes = [(box["width"], box["height"]) for box in boxes if box]
    assert len(sizes) > 10
    assert [size for size in sizes if min(size) < 24] == []


def test_a_long_name_of_the_server_fits_a_phone(visit: Visit, tmp_path: Path) -> None:
    """The longest name that is allowed, without a space in it, breaks where it must."""
    with site_with(tmp_path, SIRR_INSTANCE_NAME="W" * 80) as site:
        visitor = visit(**PHONE)
        visitor.page.goto(site.seal())
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
