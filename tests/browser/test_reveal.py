"""The page of a secret, as the person sees it who was sent the link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Error, Route

from sirrd.http.pages.texts import LANGUAGES
from sirrd.http.pages.texts.en import ENGLISH
from sirrd.link import Content, Link
from tests.browser.conftest import API_KEY, INSECURE_HOST, Gate, Site, Visit, Visitor
from tests.parts import ask

REVEAL = ENGLISH.reveal
NOTICES = ENGLISH.notices


def opened(visit: Visit, link: str, **options: Any) -> Visitor:
    """Let a person open a link."""
    visitor = visit(**options)
    visitor.page.goto(link)
    return visitor


def revealed(visitor: Visitor) -> str:
    """Press the button, and return the value that is shown then, and has the focus."""
    visitor.presses(REVEAL)
    visitor.page.locator("#value:focus").wait_for()
    return visitor.page.locator("#value").input_value()


# What can be seen once.


def test_what_sirr_pushed_is_revealed_once(site: Site, visit: Visit) -> None:
    """A link of the command opens in the page, after a deliberate action, and opens nothing the second time."""
    link = site.push("pässword\n漢字 🎉".encode(), "--reads", "1")
    visitor = opened(visit, link)
    assert visitor.page.locator("h1:visible").inner_text() == ENGLISH.reveal_title
    visitor.sees(ENGLISH.often_once)
    assert site.spent(link) == 0
    assert revealed(visitor) == "pässword\n漢字 🎉"
    visitor.sees(ENGLISH.shown_last)
    assert site.described(link) is None
    visitor.page.goto("about:blank")
    visitor.page.goto(link)
    visitor.sees(NOTICES.gone.title)


def test_the_page_says_who_and_how_often_and_how_long(site: Site, visit: Visit) -> None:
    """Who runs the server, how many times are left, and the expiry in the reader's own way of writing it."""
    link = site.seal(max_reads=3, ttl_seconds=86_400)
    visitor = opened(visit, link, timezone_id="Asia/Tokyo")
    assert "Example Works" in visitor.page.locator("header").inner_text()
    assert site.address.removeprefix("http://") in visitor.page.locator("header").inner_text()
    visitor.sees(ENGLISH.left_more.format(n=3))
    shown = visitor.page.locator("time")
    moment = shown.get_attribute("datetime")
    wanted = (
        "(moment) => new Date(moment).toLocaleString('en-GB', {month: 'long', hour: 'numeric', timeZoneName: 'short'})"
    )
    month, _, hour = visitor.page.evaluate(wanted, moment).partition(" at ")
    assert month in shown.inner_text()
    assert hour.partition(" ")[0] in shown.inner_text()
    assert "GMT+9" in shown.inner_text()
    assert revealed(visitor) == "s3cret"
    visitor.sees(ENGLISH.left_more.format(n=2))


@pytest.mark.parametrize(
    ("terms", "before", "after"),
    [
        ({"max_reads": None}, ENGLISH.often_unlimited, ENGLISH.often_unlimited),
        ({"delete": False}, ENGLISH.often_once_kept, ENGLISH.shown_sealed),
        ({"max_reads": 2}, ENGLISH.left_more.format(n=2), ENGLISH.left_one),
    ],
)
def test_what_is_left_is_said(site: Site, visit: Visit, terms: dict[str, Any], before: str, after: str) -> None:
    """Before and after it is revealed the page says what becomes of it."""
    visitor = opened(visit, site.put(**terms))
    visitor.sees(before)
    assert revealed(visitor) == "s3cret"
    visitor.sees(after)


def test_opening_and_reloading_spend_nothing(site: Site, visit: Visit) -> None:
    """A page that is opened, reloaded and left has asked for no value."""
    link = site.seal()
    visitor = opened(visit, link)
    for _ in range(3):
        visitor.page.reload()
    assert visitor.asked("GET", "/secrets/") == []
    assert site.spent(link) == 0


def test_the_value_is_nowhere_but_in_the_field(site: Site, visit: Visit) -> None:
    """Neither address, nor title, nor any storage, nor the history has it."""
    visitor = opened(visit, site.seal(b"CANARY7731"))
    revealed(visitor)
    held = visitor.page.evaluate(
        """async () => JSON.stringify([location.href, document.title, {...localStorage}, {...sessionStorage},
        history.state, document.cookie, await caches.keys(), (await indexedDB.databases()).map((each) => each.name),
        document.documentElement.outerHTML])"""
    )
    assert "CANARY7731" not in held
    assert visitor.context.cookies() == []
    assert all("CANARY7731" not in request.url for request in visitor.requests)


def test_coming_back_shows_nothing(site: Site, visit: Visit) -> None:
    """Whoever goes on to another page, and back, finds the value neither shown nor in the page's memory."""
    visitor = opened(visit, site.seal(b"CANARY7731"))
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.evaluate("window.revoked = []; URL.revokeObjectURL = (url) => window.revoked.push(url); 0")
    revealed(visitor)
    visitor.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    assert visitor.page.locator("#value").input_value() == ""
    assert len(visitor.page.evaluate("window.revoked")) == 1
    visitor.presses(ENGLISH.copy)
    visitor.sees(ENGLISH.copied)
    reader = visitor.context.new_page()
    reader.goto(f"{site.address}/health")
    assert reader.evaluate("navigator.clipboard.readText()") == ""
    visitor.page.bring_to_front()
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(dialog.type))
    with visitor.page.expect_navigation():
        visitor.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    visitor.page.goto(f"{site.address}/s/{'0' * 64}")
    visitor.page.go_back()
    visitor.sees(NOTICES.gone.title)
    assert visitor.page.locator("#value").count() == 0


def test_coming_back_without_script_shows_nothing(site: Site, visit: Visit) -> None:
    """The page of the plain form, which no script can clear, is not kept by the browser either."""
    visitor = opened(visit, site.put("CANARY7731"), java_script_enabled=False)
    visitor.presses(REVEAL)
    assert visitor.page.locator("#value").input_value() == "CANARY7731"
    visitor.page.goto(f"{site.address}/s/{'0' * 64}")
    # The browser would have to send the form again, and asks before it does.
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        visitor.page.go_back()
    visitor.page.wait_for_url("chrome-error://**")
    assert "CANARY7731" not in visitor.page.content()


# The value.


def test_a_value_is_copied_as_it_is(site: Site, visit: Visit) -> None:
    """The copy has every line break as it was, and the page says that it was made."""
    visitor = opened(visit, site.seal(b"one\r\ntwo\rthree\n"))
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    revealed(visitor)
    visitor.presses(ENGLISH.copy)
    visitor.sees(ENGLISH.copied)
    # The page itself may not read the clipboard: that is asked of a page without a policy.
    reader = visitor.context.new_page()
    reader.goto(f"{site.address}/health")
    assert reader.evaluate("navigator.clipboard.readText()") == "one\r\ntwo\rthree\n"


def test_a_value_is_selected_where_the_clipboard_is_refused(site: Site, visit: Visit) -> None:
    """Without a clipboard the value is selected, so that it can be copied by hand; the page says so."""
    visitor = visit()
    visitor.context.add_init_script("""
        Object.defineProperty(navigator, "clipboard", {value: undefined});
        Document.prototype.execCommand = () => false;
    """)
    visitor.page.goto(site.seal())
    revealed(visitor)
    visitor.presses(ENGLISH.copy)
    visitor.sees(ENGLISH.not_copied)
    selected = (
        "() => { const f = document.getElementById('value'); return f.value.slice(f.selectionStart, f.selectionEnd) }"
    )
    assert visitor.page.evaluate(selected) == "s3cret"


def test_a_hidden_value_is_not_said_to_be_copied(site: Site, visit: Visit) -> None:
    """Where only what is shown can be copied, what is hidden is not, and the page does not pretend."""
    visitor = opened(visit, site.put().replace("127.0.0.1", INSECURE_HOST))
    visitor.complaints.clear()
    revealed(visitor)
    visitor.presses(ENGLISH.hide)
    visitor.presses(ENGLISH.copy)
    visitor.sees(ENGLISH.not_copied)
    visitor.presses(ENGLISH.show)
    visitor.presses(ENGLISH.copy)
    visitor.sees(ENGLISH.copied)


def test_a_left_page_asks_nothing(site: Site, visit: Visit) -> None:
    """Whoever comes back to a page that was cleared is not held on it, and sees no name of a file."""
    visitor = opened(visit, site.seal(Content(b"\x00", "CANARY7731.bin")))
    visitor.presses(REVEAL)
    visitor.page.locator("#download:focus").wait_for()
    visitor.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    assert "CANARY7731" not in visitor.page.content()
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(dialog.type))
    with visitor.page.expect_navigation():
        visitor.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")


def test_leaving_while_it_works_spends_nothing(site: Site, visit: Visit) -> None:
    """The browser asks; and whoever goes all the same, before the read was asked for, leaves it unspent."""
    link = site.seal()
    visitor = opened(visit, link)
    gate = Gate()
    visitor.page.route("**/secrets/*", gate)
    visitor.presses(REVEAL)
    visitor.sees(ENGLISH.working)
    with visitor.page.expect_event("dialog") as asked:
        visitor.page.evaluate("setTimeout(() => location.reload()); 0")
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    visitor.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    gate.open()
    visitor.page.locator("button[aria-busy]").wait_for(state="detached")
    assert visitor.asked("GET", "/secrets/") == []
    assert site.spent(link) == 0


@pytest.mark.parametrize("keep", ["nothing", "button", "keyboard", "a letter"])
def test_leaving_asks_until_it_is_kept(site: Site, visit: Visit, keep: str) -> None:
    """A value is nowhere else any more: the browser asks before it is left, unless it was copied."""
    visitor = opened(visit, site.seal())
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    revealed(visitor)
    if keep == "button":
        visitor.presses(ENGLISH.copy)
        visitor.sees(ENGLISH.copied)
    elif keep == "keyboard":
        visitor.page.keyboard.press("Control+A")
        visitor.page.keyboard.press("Control+C")
    elif keep == "a letter":
        visitor.page.keyboard.press("Shift+ArrowRight")
        visitor.page.keyboard.press("Control+C")
    assert visitor.leaves() == (["beforeunload"] if keep in {"nothing", "a letter"} else [])


def test_what_is_shown_stays(site: Site, visit: Visit) -> None:
    """Nothing takes a value away once it is shown: neither another fragment, nor a language to choose."""
    visitor = opened(visit, site.seal())
    assert revealed(visitor) == "s3cret"
    visitor.page.evaluate("location.hash = 'x'")
    visitor.page.wait_for_function("document.querySelector('nav a').hash === '#x'")
    assert visitor.page.locator("#value").input_value() == "s3cret"
    assert visitor.page.locator("#value").is_visible()
    assert not visitor.page.locator("footer nav").is_visible()


def test_an_impatient_reader_spends_one_read(site: Site, visit: Visit) -> None:
    """However often the button is pressed while it works, one read is spent; that it works is said."""
    link = site.seal(max_reads=5)
    visitor = opened(visit, link)
    gate = Gate()
    visitor.page.route("**/secrets/*", gate)
    visitor.page.evaluate("for (let n = 0; n < 3; n++) document.querySelector('#reveal').requestSubmit()")
    visitor.sees(ENGLISH.working)
    visitor.page.evaluate("location.hash = 'x'")  # Changed meanwhile, it counts for the next press only.
    gate.open()
    visitor.page.locator("#value:focus").wait_for()
    assert len(visitor.asked("GET", "/secrets/")) == 1
    assert site.spent(link) == 1


@pytest.mark.parametrize("tags", [["en-US@posix"], ["en-US@posix", "en-GB"], []])
def test_odd_names_of_languages_lose_nothing(site: Site, visit: Visit, tags: list[str]) -> None:
    """Some systems name languages as no browser takes them; what was read is shown all the same."""
    visitor = visit()
    visitor.context.add_init_script(f"Object.defineProperty(navigator, 'languages', {{get: () => {json.dumps(tags)}}})")
    visitor.page.goto(site.seal(Content(b"\x00\xff", "a.bin", "image/png"), ttl_seconds=60))
    visitor.presses(REVEAL)
    visitor.page.locator("#download:focus").wait_for()
    assert "2 B" in visitor.page.locator("#file").inner_text()


def test_a_value_can_be_hidden_again(site: Site, visit: Visit) -> None:
    """A button hides it from who walks by, and shows it again."""
    visitor = opened(visit, site.seal())
    revealed(visitor)
    field = visitor.page.locator("#value")
    visitor.presses(ENGLISH.hide)
    assert not field.is_visible()
    visitor.presses(ENGLISH.show)
    assert field.is_visible()
    assert field.input_value() == "s3cret"


@pytest.mark.parametrize(
    ("content", "name", "is_shown"),
    [
        (Content(bytes(range(256)) * 40, "schlüssel 漢.bin", "application/octet-stream"), "schlüssel 漢.bin", False),
        (Content(b"-----BEGIN KEY-----\n", "id_ed25519", "text/plain"), "id_ed25519", True),
        (Content(b"\xff\xfe no text"), "secret", False),
        (Content(b"x" * 300_000, "large.txt", "text/plain"), "large.txt", False),
        (Content(b"<script>alert(1)</script>", "evil.html", "text/html"), "evil.html", True),
        (Content(b"\x00\xff", "invoice\u202efdp.\x07exe"), "invoicefdp.exe", False),
        (Content(b"", "empty"), "empty", True),
    ],
    ids=["binary", "text", "nameless", "large", "markup", "spoof", "empty"],
)
def test_a_file_is_downloaded_as_it_was(
    site: Site, visit: Visit, tmp_path: Path, content: Content, name: str, *, is_shown: bool
) -> None:
    """A file comes with its name and every byte; a short one that is text is shown, too."""
    visitor = opened(visit, site.seal(content))
    visitor.presses(REVEAL)
    visitor.page.locator("#download:focus").wait_for()
    assert f"\u2068{name}\u2069" in visitor.page.locator("#file").inner_text()
    with visitor.page.expect_download() as found:
        visitor.presses(ENGLISH.download)
    assert found.value.suggested_filename == name
    found.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == content.data
    assert visitor.page.locator("#value").is_visible() == is_shown


def test_a_file_of_sirr_is_downloaded(site: Site, visit: Visit, tmp_path: Path) -> None:
    """What the command sends as a file is one in the page."""
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)))
    visitor = opened(visit, site.push(b"", "--file", str(tmp_path / "photo.jpg")))
    visitor.presses(REVEAL)
    with visitor.page.expect_download() as found:
        visitor.presses(ENGLISH.download)
    assert found.value.suggested_filename == "photo.jpg"
    assert found.value.path().read_bytes() == bytes(range(256))


# Passphrases.


def test_a_wrong_passphrase_spends_nothing(site: Site, visit: Visit) -> None:
    """A wrong one is told and can be typed again; the right one opens, however its letters were composed."""
    link = site.seal(passphrase="Käse und Brot")
    visitor = opened(visit, link)
    field = visitor.page.get_by_label(ENGLISH.passphrase)
    field.fill("Kase und Brot")
    visitor.presses(REVEAL)
    visitor.sees(ENGLISH.passphrase_wrong)
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("(element) => document.activeElement === element")
    assert site.spent(link) == 0
    field.fill("Ka\u0308se und Brot")
    field.press("Enter")
    visitor.page.locator("#value:focus").wait_for()
    assert visitor.page.locator("#value").input_value() == "s3cret"
    assert site.described(link) is None


def test_a_passphrase_has_to_be_typed(site: Site, visit: Visit) -> None:
    """Without one nothing is asked."""
    link = site.seal(passphrase="x")
    visitor = opened(visit, link)
    visitor.presses(REVEAL)
    assert visitor.page.locator("#passphrase:invalid").count() == 1
    assert visitor.asked("GET", "/secrets/") == []


def test_too_many_wrong_passphrases(site: Site, visit: Visit) -> None:
    """After ten wrong ones the page asks for patience, and still nothing is spent."""
    link = site.seal(passphrase="right")
    visitor = opened(visit, link)
    visitor.page.evaluate(
        "async (url) => { for (let n = 0; n < 10; n++) await fetch(url, {headers: {'X-Sirr-Proof': 'wrong'}}) }",
        f"{site.address}/secrets/{Link.parse(link).id}",
    )
    visitor.page.get_by_label(ENGLISH.passphrase).fill("wrong")
    visitor.presses(REVEAL)
    visitor.sees(NOTICES.limited.title)
    assert site.spent(link) == 0


def test_a_passphrase_counts_as_it_was_sent(site: Site, visit: Visit) -> None:
    """What is typed while it works changes nothing of what is tried."""
    visitor = opened(visit, site.seal(passphrase="right"))
    gate = Gate()
    visitor.page.route("**/secrets/*", gate)
    field = visitor.page.get_by_label(ENGLISH.passphrase)
    field.fill("right")
    visitor.presses(REVEAL)
    visitor.sees(ENGLISH.working)
    field.fill("")
    gate.open()
    visitor.page.locator("#value:focus").wait_for()
    assert visitor.page.locator("#value").input_value() == "s3cret"


def test_a_link_that_changes_while_it_works_is_looked_at_again(site: Site, visit: Visit) -> None:
    """Whoever pastes the right link meanwhile opens it with the next press."""
    link, other = site.seal(passphrase="x"), site.seal(passphrase="x")
    visitor = opened(visit, f"{link.partition('#')[0]}#{other.partition('#')[2]}")
    gate = Gate()
    visitor.page.route("**/secrets/*", gate)
    visitor.page.get_by_label(ENGLISH.passphrase).fill("x")
    visitor.presses(REVEAL)
    visitor.sees(ENGLISH.working)
    visitor.page.evaluate("(hash) => location.hash = hash", link.partition("#")[2])
    gate.open()
    visitor.sees(ENGLISH.passphrase_wrong)
    assert revealed(visitor) == "s3cret"


def test_what_is_hidden_describes_nothing(site: Site, visit: Visit) -> None:
    """A screen reader does not say of an empty field that what is in it was wrong."""
    visitor = opened(visit, site.seal(passphrase="x"))
    tree = visitor.context.new_cdp_session(visitor.page).send("Accessibility.getFullAXTree")
    described = [node["description"]["value"] for node in tree["nodes"] if node.get("description", {}).get("value")]
    assert ENGLISH.passphrase_needed in described
    assert [each for each in described if ENGLISH.passphrase_wrong in each] == []


# What cannot be opened.


def test_without_its_fragment_a_locked_secret_stays(site: Site, visit: Visit) -> None:
    """The bare link is not complete: the page says so, asks for nothing, and opens once the rest is there."""
    link = site.seal()
    bare, _, fragment = link.partition("#")
    visitor = opened(visit, bare)
    visitor.sees(NOTICES.incomplete.title)
    assert not visitor.page.get_by_role("button", name=REVEAL).is_visible()
    assert visitor.asked("GET", "/secrets/") == []
    visitor.page.evaluate(f"location.hash = '{fragment}'")
    assert revealed(visitor) == "s3cret"


@pytest.mark.parametrize("damage", [lambda f: f[:-1], lambda f: f[:-1] + "%", lambda f: "A" + f[1:], lambda f: f + "A"])
def test_a_damaged_fragment_is_told_before_anything_is_asked(site: Site, visit: Visit, damage: Any) -> None:
    """A fragment that lost a letter, or is of no known version, spends nothing and asks for nothing."""
    link = site.seal()
    bare, _, fragment = link.partition("#")
    visitor = opened(visit, f"{bare}#{damage(fragment)}")
    visitor.sees(NOTICES.incomplete.title)
    assert visitor.asked("GET", "/secrets/") == []


def test_the_fragment_of_another_link_spends_nothing(site: Site, visit: Visit) -> None:
    """A well-formed fragment that is not the one is refused by the server, and the page says what that means."""
    link, other = site.seal(), site.seal()
    visitor = opened(visit, f"{link.partition('#')[0]}#{other.partition('#')[2]}")
    visitor.presses(REVEAL)
    visitor.sees(NOTICES.incomplete.title)
    assert site.spent(link) == 0


def test_gone_and_sealed_have_their_own_words(site: Site, visit: Visit) -> None:
    """What was never there is gone, what is sealed is closed; each names a way on."""
    visitor = opened(visit, f"{site.address}/s/{'0' * 64}")
    visitor.sees(NOTICES.gone.title)
    visitor.sees("ask the sender for a new link")
    sealed = site.put(delete=False)
    site.get(sealed)
    visitor.page.goto(sealed)
    visitor.sees(NOTICES.sealed.title)
    visitor.page.goto(f"{site.address}/s/no-id")
    visitor.sees(NOTICES.incomplete.title)


def test_someone_else_was_faster(site: Site, visit: Visit) -> None:
    """A secret that was opened, or sealed, between opening the page and pressing the button is told to be."""
    burns, seals = site.seal(), site.put(delete=False)
    for link, seen in ((burns, NOTICES.gone), (seals, NOTICES.sealed)):
        visitor = opened(visit, link)
        site.get(link)
        visitor.presses(REVEAL)
        visitor.sees(seen.title)
        assert visitor.asked("GET", "/secrets/") == []


def test_a_secret_that_expires_on_the_open_page(site: Site, visit: Visit) -> None:
    """Whoever waits too long is told that the time ran out, and that somebody may have been there before."""
    link = site.seal(ttl_seconds=3600)
    visitor = visit()
    visitor.page.clock.install()
    visitor.page.goto(link)
    visitor.page.get_by_role("button", name=REVEAL).wait_for()
    assert ask(site.address, "DELETE", f"/secrets/{Link.parse(link).id}", bearer=API_KEY)[0] == 200
    visitor.page.clock.fast_forward(3_600_000)
    visitor.presses(REVEAL)
    visitor.sees(NOTICES.expired.title)
    visitor.sees("unless someone viewed it before")


def test_an_expired_link_is_not_asked_for(site: Site, visit: Visit) -> None:
    """Where the time is known to be over, looking at the link again tells it without a request."""
    visitor = visit()
    visitor.page.clock.install()
    visitor.page.goto(site.seal(ttl_seconds=3600).partition("#")[0])
    visitor.sees(NOTICES.incomplete.title)
    visitor.page.clock.fast_forward(3_600_000)
    visitor.page.evaluate("location.hash = 'x'")
    visitor.sees(NOTICES.expired.title)
    assert visitor.asked("HEAD", "/secrets/") == []


def test_offline_spends_nothing(site: Site, visit: Visit) -> None:
    """Without a network nothing is spent, the page says so, and it works once there is one."""
    link = site.seal()
    visitor = opened(visit, link)
    visitor.context.set_offline(offline=True)
    visitor.presses(REVEAL)
    visitor.sees(NOTICES.offline.title)
    assert site.spent(link) == 0
    visitor.context.set_offline(offline=False)
    visitor.presses(ENGLISH.again)
    visitor.page.locator("#offer:focus").wait_for()
    assert revealed(visitor) == "s3cret"


NO_LOOKS: Final = {
    "405": (405, "application/json"),
    "501": (501, "text/html"),
    "look_only": (403, "application/json"),
    "forbidden": (403, "text/html"),
    "a page of something else": (200, "text/html"),
    "a miss of something else": (404, "text/html"),
}


@pytest.mark.parametrize("refusal", NO_LOOKS)
def test_where_looking_is_refused_the_page_goes_on(site: Site, visit: Visit, refusal: str) -> None:
    """Who may not look may still read: the value is shown, and what could not be checked is said."""
    status, kind = NO_LOOKS[refusal]
    link = site.seal(max_reads=2)
    visitor = opened(visit, link)

    def answer(route: Route) -> None:
        if route.request.method == "HEAD":
            route.fulfill(status=status, content_type=kind)
        else:
            route.continue_()

    visitor.page.route("**/secrets/*", answer)
    assert revealed(visitor) == "s3cret"
    visitor.sees(ENGLISH.shown_unchecked)
    assert site.spent(link) == 1


def test_a_look_says_what_it_is(site: Site, visit: Visit) -> None:
    """Whoever makes a GET of it takes that along, and the server knows it for a look."""
    visitor = opened(visit, site.seal())
    revealed(visitor)
    visitor.sees(ENGLISH.shown_last)
    looks = visitor.asked("HEAD", "/secrets/")
    assert [look.headers.get("x-sirr-look") for look in looks] == ["true", "true"]
    (read,) = visitor.asked("GET", "/secrets/")
    assert "x-sirr-look" not in read.headers


@pytest.mark.parametrize("how", ["abort", "bad gateway", "half", "foreign"])
def test_an_answer_that_does_not_arrive_is_not_called_unspent(site: Site, visit: Visit, how: str) -> None:
    """Where the answer is lost on the way nobody knows whether the read was spent, and the page does not pretend to."""
    visitor = opened(visit, site.seal())

    def lose(route: Route) -> None:
        if route.request.method == "HEAD":
            route.continue_()
        elif how == "abort":
            route.abort()
        elif how == "foreign":
            route.fulfill(status=502, content_type="application/json", body='{"code": "gateway_timeout"}')
        elif how == "half":
            route.fulfill(status=200, content_type="application/json", body='{"id": "0", "val')
        else:
            route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    visitor.page.route("**/secrets/*", lose)
    visitor.presses(REVEAL)
    visitor.sees(NOTICES.lost.title)


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (404, "not_found", "gone"),
        (410, "sealed", "sealed"),
        (403, "proof_required", "incomplete"),
        (403, "foreign_request", "foreign"),
        (429, "rate_limited", "limited"),
        (429, "too_many_proofs", "limited"),
        (429, "too_many_repeats", "over"),
        (409, "attempt_over", "over"),
        (500, "unreadable", "unreadable"),
        (503, "busy", "unavailable"),
        (503, "storage_unavailable", "unavailable"),
        (500, "internal", "lost"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_refusal_has_its_words(site: Site, visit: Visit, status: int, code: str, name: str, method: str) -> None:
    """Each answer of the server that is no value is told in words, with the focus on them."""
    visitor = opened(visit, site.seal())

    def refuse(route: Route) -> None:
        if route.request.method == method:
            route.fulfill(status=status, content_type="application/json", body=json.dumps({"error": "", "code": code}))
        else:
            route.continue_()

    visitor.page.route("**/secrets/*", refuse)
    visitor.presses(REVEAL)
    if method == "HEAD" and status in {403, 409}:  # Looking alone is refused, and that says nothing of the secret.
        visitor.page.locator("#value:focus").wait_for()
        return
    # A HEAD has no code: what its status alone says is enough.
    expected = {500: "unavailable", 429: "limited"}.get(status, name) if method == "HEAD" else name
    visitor.page.locator(f'[data-notice="{expected}"]:focus').wait_for()
    assert visitor.page.locator("main > section:visible").count() == 1


def test_a_value_that_does_not_open_is_not_lost(site: Site, visit: Visit) -> None:
    """What was read but cannot be decrypted is shown as it came, since it is gone from the server."""
    link = site.seal()
    bare, _, fragment = link.partition("#")
    plain = site.put("no sealed value")
    visitor = opened(visit, f"{plain}#{fragment}")
    assert revealed(visitor) == "no sealed value"
    visitor.sees(ENGLISH.shown_undecrypted)
    assert visitor.page.locator("#undecrypted").get_attribute("role") == "alert"
    assert site.spent(bare) == 0


# Without script, without cryptography.


def test_without_script_the_form_reveals(site: Site, visit: Visit) -> None:
    """A secret without a lock needs no script: a form posts, and the value is on the next page."""
    link = site.put("first\n\nsecond <b>&amp;")
    visitor = opened(visit, link, java_script_enabled=False)
    visitor.sees(ENGLISH.often_once)
    assert site.spent(link) == 0
    visitor.presses(REVEAL)
    assert visitor.page.locator("#value").input_value() == "first\n\nsecond <b>&amp;"
    visitor.sees(ENGLISH.shown_form)
    assert site.described(link) is None
    assert visitor.page.locator("footer nav").count() == 0


def test_without_script_a_locked_secret_stays(site: Site, visit: Visit) -> None:
    """An encrypted one needs script; the page says so, and offers nothing to press."""
    link = site.seal()
    visitor = opened(visit, link, java_script_enabled=False)
    visitor.sees(NOTICES.needs_script.text)
    assert visitor.page.get_by_role("button").locator("visible=true").count() == 0
    assert site.spent(link) == 0


def test_over_plain_http_nothing_is_asked(site: Site, visit: Visit) -> None:
    """Where the browser gives no cryptography the page says that https is needed, and spends nothing."""
    link = site.seal()
    visitor = opened(visit, link.replace("127.0.0.1", INSECURE_HOST))
    visitor.complaints.clear()  # of the header that asks for a browsing context of its own, which http cannot have
    visitor.sees(NOTICES.insecure.title)
    assert visitor.asked("GET", "/secrets/") == []
    assert site.spent(link) == 0


def test_over_plain_http_an_open_secret_can_be_read(site: Site, visit: Visit) -> None:
    """A secret that was not encrypted needs no cryptography to be read."""
    visitor = opened(visit, site.put().replace("127.0.0.1", INSECURE_HOST))
    visitor.complaints.clear()
    assert revealed(visitor) == "s3cret"


# Languages.


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_page_speaks_the_language_of_the_browser(site: Site, visit: Visit, tag: str) -> None:
    """Each language is chosen by what the browser asks for, and reveals as the others do."""
    words = LANGUAGES[tag]
    visitor = opened(visit, site.seal(ttl_seconds=60), locale=tag)
    assert visitor.page.locator("html").get_attribute("lang") == tag
    visitor.sees(words.often_once)
    assert "{" not in visitor.page.locator("body").inner_text()
    visitor.presses(words.reveal)
    visitor.page.locator("#value:focus").wait_for()
    visitor.sees(words.shown_last)


def test_a_notice_of_the_server_takes_the_fragment_along(site: Site, visit: Visit) -> None:
    """A link that does not work today keeps its key when the language is changed."""
    visitor = opened(visit, f"{site.address}/s/{'0' * 64}#key")
    visitor.page.get_by_role("link", name="Deutsch").click()
    visitor.sees(LANGUAGES["de"].notices.gone.title)
    assert visitor.page.url.endswith("?lang=de#key")


def test_a_language_is_chosen_by_hand(site: Site, visit: Visit) -> None:
    """A link changes the language, and takes the fragment along, which only the page knows."""
    link = site.seal()
    visitor = opened(visit, link)
    deutsch = visitor.page.get_by_role("link", name="Deutsch")
    assert deutsch.evaluate("(each) => each.href") == link.replace("#", "?lang=de#")
    deutsch.click()
    visitor.sees(LANGUAGES["de"].often_once)
    assert visitor.page.url == link.replace("#", "?lang=de#")
    visitor.presses(LANGUAGES["de"].reveal)
    visitor.page.locator("#value:focus").wait_for()
    assert visitor.page.locator("#value").input_value() == "s3cret"


# Behind a proxy.


@pytest.mark.parametrize("script", [True, False])
def test_a_path_prefix_does_no_harm(site: Site, visit: Visit, *, script: bool) -> None:
    """Where a proxy strips a prefix everything on the page is found below it, and nothing is asked for beside it."""
    visitor = visit(java_script_enabled=script)
    stray: list[str] = []

    def strip(route: Route) -> None:
        url = route.request.url
        if "/under/here/" in url:
            route.continue_(url=url.replace("/under/here", ""))
        else:
            stray.append(url)
            route.abort()

    visitor.context.route("**/*", strip)
    link = site.seal() if script else site.put()
    visitor.page.goto(link.replace(site.address, f"{site.address}/under/here"))
    visitor.presses(REVEAL)
    visitor.page.locator("#value").wait_for()
    assert visitor.page.locator("#value").input_value() == "s3cret"
    assert stray == []
