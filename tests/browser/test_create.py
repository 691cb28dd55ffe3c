"""The page that makes dead drops, as the person sees it who has something to send."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, Route

from sirrd.http.pages.texts import LANGUAGES
from sirrd.http.pages.texts.en import ENGLISH
from sirrd.link import Content, Link, open_sealed
from tests.browser.conftest import API_KEY, INSECURE_HOST, Gate, Site, Visit, Visitor, site_with
from tests.parts import ask

DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([text], name));
  const give = (kind) => document.body.dispatchEvent(
    new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
  give("dragover");
  give("drop");
}"""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A daemon where anyone may store."""
    settings = {"SIRR_PUBLIC_CREATE": "true", "SIRR_PUBLIC_MAX_VALUE_BYTES": "20000"}
    with site_with(tmp_path_factory.mktemp("public"), **settings) as found:
        yield found


@pytest.fixture
def sender(site: Site, visit: Visit) -> Visitor:
    """Someone with the API key, who opened the page."""
    visitor = visit()
    visitor.page.goto(f"{site.address}/")
    visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
    return visitor


def made(visitor: Visitor) -> str:
    """Press the button, and return the link that is shown then."""
    visitor.presses(ENGLISH.create)
    visitor.page.locator("#ready:focus").wait_for()
    visitor.page.locator("#qr svg").wait_for(state="attached")
    return visitor.page.get_by_label(ENGLISH.link, exact=True).input_value()


def destroyed(visitor: Visitor) -> None:
    """Press the button that destroys, and confirm."""
    visitor.presses(ENGLISH.destroy)
    visitor.page.locator("dialog").get_by_role("button", name=ENGLISH.destroy).click()


def is_head(route: Route) -> bool:
    """Tell whether a request only looks."""
    return route.request.method == "HEAD"


def type_value(page: Page, value: str) -> None:
    """Type a value."""
    page.get_by_label(ENGLISH.secret, exact=True).fill(value)


def sent(visitor: Visitor) -> dict[str, Any]:
    """Return the body of the one request that stored."""
    (request,) = visitor.asked("POST", "/secrets")
    assert request.post_data is not None
    found: dict[str, Any] = json.loads(request.post_data)
    return found


# What is made.


def test_what_the_page_makes_sirr_gets(site: Site, sender: Visitor) -> None:
    """A link of the page opens in the command, once; what went to the server was neither the value nor the key."""
    type_value(sender.page, "pässword\n漢字 🎉")
    link = made(sender)
    fragment = Link.parse(link).fragment
    assert fragment is not None
    body = sent(sender)
    assert body["value"].startswith("sirr1.")
    assert body["lock"] == hashlib.sha256(fragment.keys().proof).hexdigest()
    assert (body["max_reads"], body["delete"], body["ttl_seconds"]) == (1, True, 7 * 86_400)
    for request in sender.requests:
        assert str(fragment) not in request.url + (request.post_data or "")
    assert site.get(link).decode() == "pässword\n漢字 🎉"
    assert site.described(link) is None


def test_the_page_makes_what_the_page_reveals(visit: Visit, sender: Visitor) -> None:
    """A link with a passphrase, from one browser to another."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.passphrase_optional).fill("Käse")
    link = made(sender)
    sender.sees(ENGLISH.ready_passphrase)
    reader = visit(locale="de")
    reader.page.goto(link)
    reader.page.get_by_label(LANGUAGES["de"].passphrase).fill("Käse")
    reader.page.keyboard.press("Enter")
    reader.page.locator("#value:focus").wait_for()
    assert reader.page.locator("#value").input_value() == "s3cret"


def test_a_passphrase_is_that_of_the_link_format(site: Site, sender: Visitor) -> None:
    """What the page derives from a passphrase is what programs derive."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.passphrase_optional).fill("Ka\u0308se")
    link = Link.parse(made(sender))
    assert link.fragment is not None
    assert link.fragment.needs_passphrase
    keys = link.fragment.keys("Käse")
    body = sent(sender)
    assert body["lock"] == keys.lock
    assert open_sealed(body["value"], keys.encryption).data == b"s3cret"
    assert site.spent(link.id) == 0


@pytest.mark.parametrize("by", ["choice", "drop"])
def test_a_file_is_sent_with_its_name(site: Site, sender: Visitor, tmp_path: Path, by: str) -> None:
    """A file, chosen or dropped, comes out of the command under its name, byte for byte."""
    name = "schlüssel 漢.unknown"
    (tmp_path / name).write_bytes(b"-----BEGIN\r\n\x00\x01")
    if by == "choice":
        sender.page.get_by_label(ENGLISH.file).set_input_files(tmp_path / name)
    else:
        sender.page.evaluate(DROP, [[name, "-----BEGIN\r\n\x00\x01"]])
    assert not sender.page.get_by_label(ENGLISH.secret, exact=True).is_visible()
    assert sender.page.get_by_label(ENGLISH.encrypt).is_disabled()
    link = Link.parse(made(sender))
    assert link.fragment is not None
    content = open_sealed(sent(sender)["value"], link.fragment.keys().encryption)
    assert (content.name, content.media_type) == (name, "application/octet-stream")
    site.sirr("get", "--out", str(tmp_path / "out"), str(link))
    assert (tmp_path / "out").read_bytes() == b"-----BEGIN\r\n\x00\x01"


def test_a_file_is_encrypted_whatever_was_chosen_for_a_text(sender: Visitor) -> None:
    """A text can be sent in the clear, a file cannot; a passphrase counts exactly where one can be typed."""
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.encrypt).uncheck()
    assert sender.page.get_by_label(ENGLISH.passphrase_optional).is_disabled()
    sender.page.evaluate(DROP, [["a.txt", "a"]])
    sender.page.get_by_label(ENGLISH.passphrase_optional).fill("x")
    link = Link.parse(made(sender))
    assert link.fragment is not None
    assert link.fragment.needs_passphrase
    assert sent(sender)["value"].startswith("sirr1.")


def test_a_file_can_be_taken_back(sender: Visitor) -> None:
    """Whoever removes the file types again."""
    sender.page.evaluate(DROP, [["a.txt", "a"]])
    sender.presses(ENGLISH.file_remove)
    type_value(sender.page, "typed")
    made(sender)


def test_every_choice_reaches_the_server(site: Site, sender: Visitor) -> None:
    """Lifetime, reads, and what becomes of it are as they were chosen."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_label(ENGLISH.ttl).select_option(ENGLISH.ttl_hour)
    sender.page.get_by_label(ENGLISH.reads, exact=True).select_option(ENGLISH.reads_times.format(n=3))
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.last).select_option(ENGLISH.last_seals)
    found = site.described(made(sender))
    assert found is not None
    assert (found["max_reads"], found["delete"], found["locked"]) == (3, False, True)
    assert found["expires_at"] - found["created_at"] == 3600


def test_for_ever_and_as_often_as_one_likes(site: Site, sender: Visitor) -> None:
    """Both can be chosen where the operator sets no maximum."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_label(ENGLISH.ttl).select_option(ENGLISH.ttl_never)
    sender.page.get_by_label(ENGLISH.reads, exact=True).select_option(ENGLISH.reads_unlimited)
    found = site.described(made(sender))
    assert found is not None
    assert (found["max_reads"], found["expires_at"]) == (None, None)


def test_unencrypted_on_demand(site: Site, visit: Visit, sender: Visitor) -> None:
    """Whoever unticks the box sends the value as it is; the link has no fragment, and opens without script."""
    type_value(sender.page, "plain")
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.encrypt).uncheck()
    assert sender.page.get_by_label(ENGLISH.passphrase_optional).is_disabled()
    link = made(sender)
    assert "#" not in link
    assert sent(sender)["value"] == "plain"
    reader = visit(java_script_enabled=False)
    reader.page.goto(link)
    reader.presses(ENGLISH.reveal)
    assert reader.page.locator("#value").input_value() == "plain"
    assert site.described(link) is None


def test_the_link_is_that_of_the_public_url(visit: Visit, tmp_path: Path) -> None:
    """Where the operator says by which URL people reach the daemon, links have that one."""
    with site_with(tmp_path, SIRR_PUBLIC_URL="https://drop.example.org/under") as site:
        visitor = visit()
        visitor.page.goto(f"{site.address}/")
        visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
        type_value(visitor.page, "s3cret")
        assert Link.parse(made(visitor)).server == "https://drop.example.org/under"


# What takes the place of something else.

PASTE = """(given) => {
  const transfer = new DataTransfer();
  for (const [name, text] of given.files ?? []) transfer.items.add(new File([text], name));
  if (given.text) transfer.setData("text/plain", given.text);
  const event = new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
  (document.querySelector(given.at ?? "body")).dispatchEvent(event);
}"""


def give_file(page: Page, by: str, name: str, folder: Path) -> None:
    """Choose, drop or paste a file whose content is its name."""
    if by == "choice":
        if not (folder / name).exists():
            (folder / name).write_text(name)
        page.get_by_label(ENGLISH.file).set_input_files(folder / name)
    elif by == "drop":
        page.evaluate(DROP, [[name, name]])
    else:
        page.evaluate(PASTE, {"files": [[name, name]], "at": "#value"})


def isolated(name: str) -> str:
    """Return a name as buttons say it."""
    return f"\u2068{name}\u2069"


def opened_of(visitor: Visitor) -> Content:
    """Make the link, and open what was sent for it."""
    link = Link.parse(made(visitor))
    assert link.fragment is not None
    return open_sealed(sent(visitor)["value"], link.fragment.keys().encryption)


@pytest.mark.parametrize("answer", ["text", "file", "Escape"])
@pytest.mark.parametrize("by", ["choice", "drop", "paste"])
def test_a_file_does_not_silently_take_the_place_of_a_text(
    sender: Visitor, tmp_path: Path, by: str, answer: str
) -> None:
    """Until it is decided which of them is sent both are there; whoever closes the question keeps the text."""
    type_value(sender.page, "typed")
    give_file(sender.page, by, "a.txt", tmp_path)
    sender.sees(ENGLISH.which)
    value = sender.page.locator("#value")
    assert (value.input_value(), value.is_visible()) == ("typed", True)
    if answer == "Escape":
        sender.page.keyboard.press("Escape")
    else:
        sender.presses(ENGLISH.which_text if answer == "text" else isolated("a.txt"))
    sender.page.locator("#which:not([open])").wait_for(state="attached")
    held = sender.page.locator("#file").evaluate("(field) => [...field.files].map((file) => file.name)")
    assert held == (["a.txt"] if answer == "file" else [])
    assert value.is_visible() == (answer != "file")
    content = opened_of(sender)
    assert (content.name, content.data) == (("a.txt", b"a.txt") if answer == "file" else (None, b"typed"))


@pytest.mark.parametrize("answer", ["old", "new"])
@pytest.mark.parametrize("by", ["choice", "drop", "paste"])
def test_a_file_does_not_silently_take_the_place_of_another(
    sender: Visitor, tmp_path: Path, by: str, answer: str
) -> None:
    """Both are named, and one of them is sent; the same one again is no question."""
    for _ in range(2):
        give_file(sender.page, "choice", "old", tmp_path)
    give_file(sender.page, by, "new", tmp_path)
    sender.sees(ENGLISH.which)
    sender.presses(isolated(answer))
    assert opened_of(sender).name == answer


@pytest.mark.parametrize("answer", ["text", "file"])
def test_a_text_does_not_silently_take_the_place_of_a_file(sender: Visitor, tmp_path: Path, answer: str) -> None:
    """A text that is pasted while a file is chosen is asked about, too."""
    give_file(sender.page, "choice", "a.txt", tmp_path)
    sender.page.evaluate(PASTE, {"text": "pasted"})
    sender.sees(ENGLISH.which)
    sender.presses(ENGLISH.which_text if answer == "text" else isolated("a.txt"))
    content = opened_of(sender)
    assert (content.name, content.data) == ((None, b"pasted") if answer == "text" else ("a.txt", b"a.txt"))


def test_a_choice_that_is_cancelled_changes_nothing(sender: Visitor, tmp_path: Path) -> None:
    """Some browsers empty the field when the dialogue of files is closed without one."""
    give_file(sender.page, "choice", "a.txt", tmp_path)
    sender.page.get_by_label(ENGLISH.file).set_input_files([])
    assert sender.page.locator("#file").evaluate("(field) => field.files.length") == 1
    assert opened_of(sender).name == "a.txt"


@pytest.mark.parametrize(
    ("given", "is_file"),
    [
        ({"files": [["a.txt", "a"]]}, True),
        ({"files": [["a.txt", "a"]], "text": "a.txt"}, True),
        ({"files": [["image.png", "a"]], "text": "a paragraph"}, False),
        ({"text": "a paragraph"}, False),
    ],
)
def test_what_is_pasted_is_a_file_where_it_is_no_text(sender: Visitor, given: dict[str, Any], *, is_file: bool) -> None:
    """Finders copy a file with its name as a text, and editors a text with its picture."""
    sender.page.evaluate(PASTE, given)
    assert sender.page.get_by_role("button", name=ENGLISH.file_remove).is_visible() == is_file


def test_the_question_is_answered_by_keyboard(sender: Visitor, tmp_path: Path) -> None:
    """It has the focus, which comes back to what is sent; nothing else can be pressed meanwhile."""
    type_value(sender.page, "typed")
    give_file(sender.page, "drop", "a.txt", tmp_path)
    dialog = sender.page.get_by_role("dialog", name=ENGLISH.which)
    dialog.wait_for()
    assert dialog.evaluate("(each) => each.matches(':modal')")
    assert dialog.get_by_role("button", name=ENGLISH.which_text).evaluate("(each) => each === document.activeElement")
    sender.page.keyboard.press("Tab")
    sender.page.keyboard.press("Enter")
    sender.page.locator("#file:focus").wait_for()
    sender.presses(ENGLISH.file_remove)
    assert sender.page.get_by_label(ENGLISH.secret, exact=True).input_value() == "typed"


def test_a_passphrase_is_not_silently_left_out(sender: Visitor) -> None:
    """Without encryption there is none: whoever typed one and unticks the box has to say which of both is meant."""
    type_value(sender.page, "plain")
    sender.page.get_by_text(ENGLISH.more).click()
    passphrase = sender.page.get_by_label(ENGLISH.passphrase_optional)
    passphrase.fill("x")
    sender.page.get_by_label(ENGLISH.encrypt).uncheck()
    sender.page.get_by_text(ENGLISH.more).click()
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_passphrase)
    assert sender.page.locator("#encrypt:focus").is_visible()
    assert sender.asked("POST", "/secrets") == []
    passphrase.fill("")
    made(sender)
    assert sent(sender)["value"] == "plain"


def test_a_file_does_not_change_what_was_chosen_for_a_text(sender: Visitor, tmp_path: Path) -> None:
    """A file is encrypted; when it goes, the box is as it was."""
    sender.page.get_by_text(ENGLISH.more).click()
    box = sender.page.get_by_label(ENGLISH.encrypt)
    box.uncheck()
    give_file(sender.page, "choice", "a.txt", tmp_path)
    assert box.is_checked()
    sender.presses(ENGLISH.file_remove)
    assert not box.is_checked()
    sender.sees(ENGLISH.create_plain)


@pytest.mark.parametrize("state", ["draft", "file", "link", "nothing"])
def test_another_language_asks_first(sender: Visitor, tmp_path: Path, state: str) -> None:
    """It loads the page anew, and not every browser asks: the page does, once, and who stays has lost nothing."""
    if state == "file":
        give_file(sender.page, "choice", "a.txt", tmp_path)
    elif state != "nothing":
        type_value(sender.page, "typed")
    if state == "link":
        made(sender)
    asked: list[tuple[str, str]] = []

    def answer(dialog: Dialog) -> None:
        asked.append((dialog.type, dialog.message))
        if len(asked) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    sender.page.on("dialog", answer)
    deutsch = sender.page.get_by_role("link", name="Deutsch")
    if state != "nothing":
        deutsch.click()
        assert asked == [("confirm", ENGLISH.leave_sure)]
        assert (
            sender.page.locator(
                "#link" if state == "link" else f"#{'file' if state == 'file' else 'value'}"
            ).input_value()
            != ""
        )
    deutsch.click()
    sender.sees(LANGUAGES["de"].create_title)
    assert [kind for kind, _ in asked] == ([] if state == "nothing" else ["confirm", "confirm"])


# The key of the server.


def test_a_wrong_key_is_told_and_loses_nothing(sender: Visitor) -> None:
    """The value stays typed, and the right key makes the link; the key is in no storage and in no address."""
    type_value(sender.page, "s3cret")
    key = sender.page.get_by_label(ENGLISH.api_key)
    key.fill("wrong")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_key)
    assert key.evaluate("(element) => document.activeElement === element")
    assert key.get_attribute("aria-invalid") == "true"
    key.fill(API_KEY)
    made(sender)
    held = sender.page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state, document.cookie])"
    )
    assert API_KEY not in held
    assert sender.context.cookies() == []
    assert all(API_KEY not in request.url + (request.post_data or "") for request in sender.requests)
    sender.page.reload()
    assert key.input_value() == ""


def test_where_no_key_is_needed_none_is_asked_for(visit: Visit, tmp_path: Path) -> None:
    """A server without a key is open to whoever reaches it."""
    with site_with(tmp_path, bearer=None) as site:
        visitor = visit()
        visitor.page.goto(f"{site.address}/")
        assert visitor.page.get_by_label(ENGLISH.api_key).count() == 0
        type_value(visitor.page, "s3cret")
        link = made(visitor)
        destroyed(visitor)
        visitor.sees(ENGLISH.status_destroyed)
        assert ask(site.address, "GET", f"/secrets/{Link.parse(link).id}")[0] == 404


# Anyone.


def test_anyone_may_store_where_the_operator_says_so(public: Site, visit: Visit) -> None:
    """No key is asked for, the limits are those of strangers, and who made it can destroy it."""
    visitor = visit()
    visitor.page.goto(f"{public.address}/")
    assert visitor.page.get_by_label(ENGLISH.api_key).count() == 0
    visitor.sees(ENGLISH.create_public.format(size="14.9 kB"))
    lives = visitor.page.get_by_label(ENGLISH.ttl).locator("option").all_inner_texts()
    assert lives[-1] == ENGLISH.ttl_week
    assert visitor.page.get_by_label(ENGLISH.last).count() == 0
    type_value(visitor.page, "s3cret")
    link = made(visitor)
    destroyed(visitor)
    visitor.sees(ENGLISH.status_destroyed)
    assert public.described(link) is None


def test_strangers_are_limited(visit: Visit, tmp_path: Path) -> None:
    """One too many is told with the time to wait, and what was typed stays."""
    with site_with(tmp_path, SIRR_PUBLIC_CREATE="true", SIRR_PUBLIC_CREATES_PER_HOUR="6") as site:
        visitor = visit()
        visitor.page.goto(f"{site.address}/")
        type_value(visitor.page, "first")
        made(visitor)
        visitor.page.once("dialog", lambda dialog: dialog.accept())
        visitor.presses(ENGLISH.another)
        type_value(visitor.page, "second")
        visitor.presses(ENGLISH.create)
        visitor.sees(ENGLISH.problem_limited.format(when="in 10 minutes"))
        assert visitor.page.get_by_label(ENGLISH.secret, exact=True).input_value() == "second"


def test_what_a_stranger_sent_in_the_clear_cannot_be_destroyed(public: Site, visit: Visit) -> None:
    """Without a lock nobody could show that it is theirs, so the page does not offer it."""
    visitor = visit()
    visitor.page.goto(f"{public.address}/")
    type_value(visitor.page, "plain")
    visitor.page.get_by_text(ENGLISH.more).click()
    visitor.page.get_by_label(ENGLISH.encrypt).uncheck()
    made(visitor)
    assert not visitor.page.get_by_role("button", name=ENGLISH.destroy).is_visible()


# What cannot be made.


def test_nothing_to_send(sender: Visitor) -> None:
    """An empty form says what is missing, and asks for nothing."""
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_empty)
    assert sender.asked("POST", "/secrets") == []


@pytest.mark.parametrize("size", [14_964, 20_001])
def test_too_large_is_told_before_it_is_sent(public: Site, visit: Visit, size: int) -> None:
    """One byte too many is refused in the page, which says how much fits; that much does fit."""
    visitor = visit()
    visitor.page.goto(f"{public.address}/")
    type_value(visitor.page, "x" * size)
    visitor.presses(ENGLISH.create)
    visitor.sees(ENGLISH.problem_large.format(size="14.9 kB"))
    assert visitor.asked("POST", "/secrets") == []
    type_value(visitor.page, "x" * 14_963)
    made(visitor)


def test_several_files_at_once(sender: Visitor) -> None:
    """Two files are one too many."""
    sender.page.evaluate(DROP, [["a", "a"], ["b", "b"]])
    sender.sees(ENGLISH.problem_files)


def test_no_answer_loses_nothing(sender: Visitor) -> None:
    """Without a network the page says so, and what was typed is sent once there is one."""
    type_value(sender.page, "s3cret")
    sender.context.set_offline(offline=True)
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_lost)
    sender.context.set_offline(offline=False)
    made(sender)


def test_a_refusal_of_the_server_is_repeated(sender: Visitor) -> None:
    """What the server says is shown, as text."""
    sender.page.route(
        "**/secrets", lambda route: route.fulfill(status=400, body='{"error": "<b>no room", "code": "x"}')
    )
    type_value(sender.page, "s3cret")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_server.format(why="<b>no room"))


@pytest.mark.parametrize("status", [503, 507])
def test_a_server_that_cannot_store(sender: Visitor, status: int) -> None:
    """A storage that fails or is full is told in the reader's language, and what was typed stays."""
    sender.page.route("**/secrets", lambda route: route.fulfill(status=status, body='{"error": "x", "code": "x"}'))
    type_value(sender.page, "s3cret")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_unavailable)
    sender.page.unroute("**/secrets")
    made(sender)


def test_a_link_too_long_for_a_code_is_made_all_the_same(visit: Visit, tmp_path: Path) -> None:
    """What no code holds is a link without a code."""
    with site_with(tmp_path, SIRR_PUBLIC_URL="https://drop.example.org/" + "x" * 600) as site:
        visitor = visit()
        visitor.page.goto(f"{site.address}/")
        visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
        type_value(visitor.page, "s3cret")
        visitor.presses(ENGLISH.create)
        visitor.page.locator("#ready:focus").wait_for()
        assert Link.parse(visitor.page.get_by_label(ENGLISH.link, exact=True).input_value()).fragment is not None
        assert not visitor.page.locator("summary", has_text=ENGLISH.qr).is_visible()


def test_a_refusal_of_a_proxy_is_none_of_the_network(sender: Visitor) -> None:
    """What something else answers in the server's stead is told by its status."""
    sender.page.route("**/secrets", lambda route: route.fulfill(status=413, content_type="text/html", body="<h1>413"))
    type_value(sender.page, "s3cret")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_server.format(why=413))


def test_a_key_that_fits_no_header_is_a_wrong_key(sender: Visitor) -> None:
    """Pasted with its quotation marks it is no fault of the network."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_label(ENGLISH.api_key).fill(f"\u201c{API_KEY}\u201d")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_key)
    assert sender.asked("POST", "/secrets") == []


def test_an_impatient_sender_stores_once(sender: Visitor) -> None:
    """A second press while the first is under way changes nothing."""
    type_value(sender.page, "s3cret")
    gate = Gate()
    sender.page.route("**/secrets", gate)
    sender.page.evaluate("for (let n = 0; n < 3; n++) document.querySelector('#create').requestSubmit()")
    sender.sees(ENGLISH.working)
    assert sender.page.get_by_label(ENGLISH.secret, exact=True).is_disabled()
    gate.open()
    sender.page.locator("#ready:focus").wait_for()
    assert len(sender.asked("POST", "/secrets")) == 1


def test_over_plain_http_nothing_is_sent(site: Site, visit: Visit) -> None:
    """Where the browser gives no cryptography there is no form, but the word that https is needed."""
    visitor = visit()
    visitor.page.goto(f"{site.address}/".replace("127.0.0.1", INSECURE_HOST))
    visitor.sees(ENGLISH.create_insecure)
    visitor.complaints.clear()
    assert visitor.page.get_by_role("button").locator("visible=true").count() == 0


@pytest.mark.parametrize("why", ["forbidden", "blocked"])
def test_without_script_there_is_a_way_on(site: Site, visit: Visit, why: str) -> None:
    """Without script, whoever forbade or blocked it, the page names the command."""
    visitor = visit(java_script_enabled=why != "forbidden")
    visitor.page.route("**/*.mjs", lambda route: route.abort())
    visitor.page.goto(f"{site.address}/")
    visitor.sees(ENGLISH.create_script)
    assert visitor.page.get_by_role("button").locator("visible=true").count() == 0


# The result.


def test_the_link_is_copied(site: Site, sender: Visitor) -> None:
    """Link and message reach the clipboard, and the page says so."""
    sender.context.grant_permissions(["clipboard-read", "clipboard-write"])
    type_value(sender.page, "s3cret")
    link = made(sender)
    reader = sender.context.new_page()
    reader.goto(f"{site.address}/health")
    sender.page.bring_to_front()
    sender.presses(ENGLISH.copy_link)
    sender.sees(ENGLISH.copied)
    reader.bring_to_front()
    assert reader.evaluate("navigator.clipboard.readText()") == link
    sender.page.bring_to_front()
    sender.page.locator("summary", has_text=ENGLISH.message).click()
    sender.presses(ENGLISH.copy_message)
    sender.page.locator("#copy-message ~ [role=status]", has_text=ENGLISH.copied).wait_for()
    message = sender.page.get_by_label(ENGLISH.message).input_value()
    reader.bring_to_front()
    assert reader.evaluate("navigator.clipboard.readText()") == message
    assert link in message
    assert "You can view it once. It expires on" in message


def test_the_code_has_a_quiet_zone_and_every_module(sender: Visitor) -> None:
    """The QR code is drawn dark on light, four modules from the edge, without a style that the policy would refuse."""
    type_value(sender.page, "s3cret")
    link = made(sender)
    sender.page.locator("summary", has_text=ENGLISH.qr).click()
    code = sender.page.get_by_role("img", name=ENGLISH.qr)
    assert code.is_visible()
    matrix = sender.page.evaluate(
        "async ([link, at]) => (await import(at)).qr(link)",
        [link, sender.page.locator("script").get_attribute("src").replace("create", "qr").replace("./", "/")],  # type: ignore[union-attr]
    )
    dark = [f"M{x + 4} {y + 4}h1v1h-1z" for y, row in enumerate(matrix) for x, module in enumerate(row) if module]
    assert code.locator("path").get_attribute("d") == "".join(dark)
    assert code.locator("svg").evaluate("(each) => getComputedStyle(each).backgroundColor") == "rgb(255, 255, 255)"
    side = len(matrix) + 8
    assert code.locator("svg").get_attribute("viewBox") == f"0 0 {side} {side}"


def test_the_status_follows_the_secret(site: Site, sender: Visitor) -> None:
    """Not viewed, once, twice, gone: told from `HEAD`, which spends nothing; one view is not "1 views"."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_label(ENGLISH.reads, exact=True).select_option("3")
    link = made(sender)
    status = sender.page.locator("#status")
    assert status.inner_text() == ENGLISH.status_unopened
    for words in ("Viewed once. 2 views left.", "Viewed 2 times. 1 view left.", ENGLISH.status_gone):
        site.get(link)
        sender.presses(ENGLISH.check)
        sender.sees(words)
    assert not sender.page.get_by_role("button", name=ENGLISH.check).is_visible()
    assert sender.page.locator("#another:focus").count() == 1
    assert {request.method for request in sender.requests if link.split("#")[0][-64:] in request.url} == {"HEAD"}


@pytest.mark.parametrize(("status", "kind"), [(405, "application/json"), (200, "text/html"), (404, "text/html")])
def test_a_status_that_cannot_be_checked(sender: Visitor, status: int, kind: str) -> None:
    """Where looking is refused, or something else than sirrd answers, nothing is claimed."""
    type_value(sender.page, "s3cret")
    made(sender)
    sender.page.route("**/secrets/*", lambda route: route.fulfill(status=status, content_type=kind))
    sender.presses(ENGLISH.check)
    sender.sees(ENGLISH.status_unknown)
    assert [look.headers.get("x-sirr-look") for look in sender.asked("HEAD", "/secrets/")] == ["true"]
    assert sender.page.get_by_role("button", name=ENGLISH.check).is_visible()


def test_the_status_of_what_seals(site: Site, sender: Visitor) -> None:
    """A secret that is kept is closed after its last read."""
    type_value(sender.page, "s3cret")
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.last).select_option(ENGLISH.last_seals)
    site.get(made(sender))
    sender.presses(ENGLISH.check)
    sender.sees(ENGLISH.status_sealed)


def test_the_status_is_asked_for_by_itself(site: Site, visit: Visit) -> None:
    """Nobody has to press for it: the page looks every quarter of a minute."""
    visitor = visit()
    visitor.page.clock.install()
    visitor.page.goto(f"{site.address}/")
    visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
    type_value(visitor.page, "s3cret")
    link = made(visitor)
    site.get(link)
    visitor.page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.isHidden, configurable: true})")
    visitor.page.evaluate("window.isHidden = true")
    visitor.page.clock.run_for(60_000)
    assert visitor.asked("HEAD", "/secrets/") == []
    visitor.page.evaluate("window.isHidden = false")
    visitor.page.clock.run_for(15_000)
    visitor.sees(ENGLISH.status_gone)


def test_an_unchanged_status_is_not_repeated(site: Site, sender: Visitor) -> None:
    """What a live region is given anew a screen reader says anew."""
    type_value(sender.page, "s3cret")
    link = made(sender)
    sender.page.evaluate(
        "window.said = 0; new MutationObserver(() => window.said++)"
        ".observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true})"
    )
    for _ in range(2):
        with sender.page.expect_response("**/secrets/*"):
            sender.presses(ENGLISH.check)
    site.get(link)
    sender.presses(ENGLISH.check)
    sender.sees(ENGLISH.status_gone)
    assert sender.page.evaluate("window.said") == 1


def test_the_status_after_the_expiry(site: Site, visit: Visit) -> None:
    """What is gone then has expired, unless it was opened before: the page does not claim to know."""
    visitor = visit()
    visitor.page.clock.install()
    visitor.page.goto(f"{site.address}/")
    visitor.page.get_by_label(ENGLISH.api_key).fill(API_KEY)
    type_value(visitor.page, "s3cret")
    site.get(made(visitor))
    visitor.page.clock.set_system_time(time.time() + 8 * 86_400)
    visitor.presses(ENGLISH.check)
    visitor.sees(ENGLISH.status_expired)


@pytest.mark.parametrize("how", [503, 429, "abort"])
def test_a_destruction_that_fails_is_told(site: Site, sender: Visitor, how: int | str) -> None:
    """Nobody goes away in the belief that it is gone, and it can be tried again."""
    type_value(sender.page, "s3cret")
    link = made(sender)

    def fail(route: Route) -> None:
        if isinstance(how, int):
            route.fulfill(status=how, content_type="application/json", body='{"error": "", "code": "x"}')
        else:
            route.abort()

    sender.page.route("**/secrets/*", fail)
    destroyed(sender)
    sender.sees(ENGLISH.status_alive)
    sender.page.unroute("**/secrets/*")
    destroyed(sender)
    sender.sees(ENGLISH.status_destroyed)
    assert site.described(link) is None


@pytest.mark.parametrize("meanwhile", ["destroyed", "another"])
def test_an_older_look_does_not_overtake(sender: Visitor, meanwhile: str) -> None:
    """A look that was under way when it was destroyed, or given up for another one, changes no word."""
    gate = Gate()
    sender.page.route("**/secrets/*", lambda route: gate(route) if is_head(route) else route.continue_())
    type_value(sender.page, "s3cret")
    made(sender)
    with sender.page.expect_request("**/secrets/*"):
        sender.presses(ENGLISH.check)
    if meanwhile == "destroyed":
        destroyed(sender)
        sender.sees(ENGLISH.status_destroyed)
    else:
        sender.page.once("dialog", lambda dialog: dialog.accept())
        sender.presses(ENGLISH.another)
    expected = ENGLISH.status_destroyed if meanwhile == "destroyed" else ""
    with sender.page.expect_response("**/secrets/*"):
        gate.open(status=404)
    # A request that is answered after it shows that the page has dealt with it.
    sender.page.evaluate("fetch('health').then((answer) => answer.text())")
    assert sender.page.locator("#status").text_content() == expected


def test_an_exception_does_not_lock_the_form(sender: Visitor) -> None:
    """Whatever goes wrong in the page is said, and what was typed can be sent again."""
    sender.page.evaluate("window.real = crypto.subtle.encrypt; crypto.subtle.encrypt = () => Promise.reject(); 0")
    type_value(sender.page, "s3cret")
    sender.presses(ENGLISH.create)
    sender.sees(ENGLISH.problem_lost)
    sender.page.evaluate("crypto.subtle.encrypt = window.real; 0")
    made(sender)


def test_a_server_that_was_closed_meanwhile(visit: Visit, public: Site) -> None:
    """A refusal for want of a key, on a page that has no field for one, is told in the server's words."""
    visitor = visit()
    visitor.page.goto(f"{public.address}/")
    body = '{"error": "a valid bearer is required", "code": "unauthorized"}'
    visitor.page.route("**/secrets", lambda route: route.fulfill(status=401, body=body))
    type_value(visitor.page, "s3cret")
    visitor.presses(ENGLISH.create)
    visitor.sees(ENGLISH.problem_server.format(why="a valid bearer is required"))


def test_a_lost_answer_to_a_destruction(site: Site, sender: Visitor) -> None:
    """If it is gone afterwards nobody knows why, and the page does not pretend to."""
    type_value(sender.page, "s3cret")
    link = made(sender)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    sender.page.route("**/secrets/*", lose)
    destroyed(sender)
    sender.sees(ENGLISH.status_alive)
    sender.page.unroute("**/secrets/*")
    assert site.described(link) is None
    sender.presses(ENGLISH.check)
    sender.sees(ENGLISH.status_gone)


def test_what_was_opened_is_not_called_destroyed(site: Site, sender: Visitor) -> None:
    """Whoever comes too late with it learns that."""
    type_value(sender.page, "s3cret")
    site.get(made(sender))
    destroyed(sender)
    sender.sees(ENGLISH.status_gone)


def test_a_look_does_not_hide_that_a_destruction_failed(site: Site, sender: Visitor) -> None:
    """Whatever is asked meanwhile, its answer counts."""
    type_value(sender.page, "s3cret")
    made(sender)
    gate = Gate()
    sender.page.route("**/secrets/*", lambda route: route.continue_() if is_head(route) else gate(route))
    destroyed(sender)
    sender.page.locator("#destroy[aria-busy]").wait_for()
    with sender.page.expect_response("**/secrets/*"):
        sender.presses(ENGLISH.check)
    gate.open(status=503)
    sender.sees(ENGLISH.status_alive)


def test_destroying_asks_first(site: Site, sender: Visitor) -> None:
    """Whoever has second thoughts keeps it; whoever has not finds it gone."""
    type_value(sender.page, "s3cret")
    link = made(sender)
    sender.presses(ENGLISH.destroy)
    sender.presses(ENGLISH.destroy_keep)
    assert site.spent(link) == 0
    destroyed(sender)
    sender.sees(ENGLISH.status_destroyed)
    assert site.described(link) is None
    # The answer to one question is none to the next.
    sender.presses(ENGLISH.another)
    type_value(sender.page, "another")
    link = made(sender)
    sender.presses(ENGLISH.destroy)
    sender.page.evaluate("document.querySelector('#sure').close()")
    sender.presses(ENGLISH.check)
    sender.sees(ENGLISH.status_unopened)
    assert site.spent(link) == 0


def test_another_one_begins_empty(sender: Visitor) -> None:
    """Nothing of the first is left for the second, but for the key of the server; a link not copied is asked about."""
    type_value(sender.page, "first")
    sender.page.get_by_label(ENGLISH.reads, exact=True).select_option("5")
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.get_by_label(ENGLISH.encrypt).uncheck()
    sender.sees(ENGLISH.create_plain)
    first = made(sender)
    sender.page.once("dialog", lambda dialog: dialog.dismiss())
    sender.presses(ENGLISH.another)
    assert sender.page.get_by_label(ENGLISH.link, exact=True).input_value() == first
    sender.page.once("dialog", lambda dialog: dialog.accept())
    sender.presses(ENGLISH.another)
    # What was chosen for one does not hold for the next.
    assert sender.page.get_by_label(ENGLISH.reads, exact=True).input_value() == "1"
    assert sender.page.get_by_label(ENGLISH.encrypt).is_checked()
    sender.sees(ENGLISH.create_text)
    assert not sender.page.get_by_text(ENGLISH.create_plain).is_visible()
    assert sender.page.get_by_label(ENGLISH.secret, exact=True).input_value() == ""
    assert sender.page.locator("#link").input_value() == ""
    type_value(sender.page, "second")
    assert "#" in made(sender)


@pytest.mark.parametrize("state", ["draft", "passphrase", "link", "copied", "copied by hand"])
def test_leaving_asks_first(sender: Visitor, state: str) -> None:
    """A draft, and a link that was not copied, are nowhere else: the browser asks before it leaves them."""
    sender.page.get_by_text(ENGLISH.more).click()
    sender.page.locator("#passphrase" if state == "passphrase" else "#value").fill("s3cret")
    sender.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if state not in {"draft", "passphrase"}:
        made(sender)
    if state == "copied":
        sender.presses(ENGLISH.copy_link)
        sender.sees(ENGLISH.copied)
    if state == "copied by hand":
        sender.page.get_by_label(ENGLISH.link, exact=True).focus()
        sender.page.keyboard.press("Control+C")
    assert sender.leaves() == ([] if state.startswith("copied") else ["beforeunload"])


def test_leaving_forgets(site: Site, sender: Visitor) -> None:
    """Whoever comes back finds neither value, nor link, nor key."""
    type_value(sender.page, "CANARY7731")
    made(sender)
    sender.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    fields = sender.page.locator("input:not([type=checkbox]), textarea").evaluate_all(
        "(all) => all.map((e) => e.value)"
    )
    assert set(fields) == {""}
    assert sender.page.locator("#qr svg").count() == 0
    sender.page.goto(f"{site.address}/health")
    sender.page.go_back()
    assert sender.page.get_by_label(ENGLISH.secret, exact=True).input_value() == ""


# Which pages there are.


@pytest.mark.parametrize(("pages", "create", "reveal"), [("off", 404, 404), ("reveal", 404, 200), ("all", 200, 200)])
def test_the_operator_chooses_the_pages(visit: Visit, tmp_path: Path, pages: str, create: int, reveal: int) -> None:
    """All, those of secrets alone, or none; the API is the same."""
    with site_with(tmp_path, SIRR_PAGES=pages) as site:
        visitor = visit()
        link = site.seal()
        for url, status in ((f"{site.address}/", create), (link, reveal)):
            answer = visitor.page.goto(url)
            assert answer is not None
            assert answer.status == status
        assert site.get(link) == b"s3cret"
