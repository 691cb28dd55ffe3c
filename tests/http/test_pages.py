"""What the pages are made of: templates, texts and files, without a browser. Those with one are in tests/browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from string import Formatter
from typing import Any, Final

import pytest

from sirrd.config.settings import Settings
from sirrd.http.pages import assets, html, notices
from sirrd.http.pages.texts import LANGUAGES, Notices, Words
from sirrd.http.pages.texts.en import ENGLISH
from tests.conftest import Daemon, Start
from tests.parts import ROOT

MOST_BYTES: Final = 40_000
PAGES: Final = ROOT / "sirrd" / "http" / "pages"
IMPORTED: Final = re.compile(r'^import .* from "\./(\w+\.mjs)";$', re.MULTILINE)
LOCK: Final = "0" * 64


class Links(HTMLParser):
    """The files that a page names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's
        self.files += [str(value) for name, value in attrs if name in {"src", "href"} and "static/" in str(value)]


async def whole(daemon: Daemon, path: str, tag: str) -> dict[str, bytes]:
    """Load a page and everything that it loads, as a browser would."""
    answer = await daemon.stranger.get(path, headers={"Accept-Language": tag})
    loaded = {path: answer.content}
    waiting = Links(answer.text).files
    while waiting:
        name = waiting.pop()
        url = str(answer.url.join(name))
        if url in loaded:
            continue
        file = await daemon.stranger.get(url)
        assert file.status_code == 200
        loaded[url] = file.content
        if name.endswith(".mjs"):
            waiting += [name.rpartition("/")[0] + f"/{each}" for each in IMPORTED.findall(file.text)]
    return loaded


@pytest.mark.parametrize("tag", LANGUAGES)
async def test_a_whole_page_is_below_40_kb(start: Start, tag: str) -> None:
    """Each page with its style, icon and modules, uncompressed, in each language; and nothing is shipped but those."""
    async with start(public_url="https://drop.example.org/team", instance_name="Example Works") as daemon:
        pages = [await whole(daemon, path, tag) for path in ("/", f"/s/{await daemon.put(lock=LOCK)}")]
    for loaded in pages:
        assert sum(map(len, loaded.values())) < MOST_BYTES, {name: len(body) for name, body in loaded.items()}
    used = {url.rpartition("/")[2] for loaded in pages for url in loaded if "static" in url}
    assert used == set(assets.FILES)


def test_files_are_served_without_comments() -> None:
    """Whole lines of them and the indentation are left out, which are no part of anything else, and nothing besides."""
    for path in (PAGES / "static").iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.count("`") % 2] == [], f"{path.name}: a text over several lines"
        comments = [line for line in lines if line.strip().startswith(("//", "/*"))]
        assert all(line.startswith("//") or line.endswith("*/") for line in map(str.strip, comments)), path.name
        assert [line.lstrip(" ") for line in lines if line not in comments] == assets.FILES[
            path.name
        ].decode().splitlines()


async def test_static_files_may_be_kept_for_ever(daemon: Daemon) -> None:
    """Each has its type, and may be kept, since its path changes with its content; every page names this version."""
    kinds = {"css": "text/css", "mjs": "text/javascript", "svg": "image/svg+xml"}
    for name, body in assets.FILES.items():
        answer = await daemon.stranger.get(f"/static/{assets.VERSION}/{name}")
        assert answer.content == body
        assert answer.headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert (await daemon.stranger.get(f"/static/{'0' * 16}/{name}")).status_code == 404
    page = (await daemon.stranger.get("/")).text
    assert set(re.findall(r"static/(\w+)/", page)) == {assets.VERSION}


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", ".", "", "style.css/", "STYLE.CSS"])
async def test_no_other_file_is_served(daemon: Daemon, name: str) -> None:
    """Names are looked up in what was loaded at the start: there is no path to leave."""
    status = (await daemon.stranger.get(f"/static/{assets.VERSION}/{name}")).status_code
    assert status == (400 if name == "%2e%2e/app.py" else 404)


async def test_pages_are_kept_by_nobody(daemon: Daemon) -> None:
    """No cache, no cookie, no frame, no referrer for others, and none of the browser's sensors."""
    for path in ("/", f"/s/{await daemon.put()}", f"/s/{'0' * 64}"):
        shown = (await daemon.stranger.get(path)).headers
        assert shown["cache-control"] == "no-store"
        assert "set-cookie" not in shown
        assert shown["referrer-policy"] == "same-origin"
        assert shown["cross-origin-opener-policy"] == "same-origin"
        assert {"camera=()", "microphone=()", "geolocation=()"} <= set(shown["permissions-policy"].split(", "))
        assert shown["vary"] == "Accept-Language"
        policy = dict(part.split(" ", 1) for part in shown["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) <= {"'none'", "'self'", "'script'"}


async def test_a_page_varies_by_language_and_by_origin(start: Start) -> None:
    """Where origins are listed a page says both."""
    async with start(cors_origins=("https://app.example",)) as daemon:
        answer = await daemon.stranger.get("/", headers={"Origin": "https://app.example"})
    assert answer.headers.get_list("vary") == ["Accept-Language", "Origin"]


def test_files_name_nobody_else() -> None:
    """No file loads or names anything elsewhere, has a style or handler in its markup, or a text of its own."""
    for path in [*(PAGES / "static").iterdir(), *(PAGES / "templates").iterdir()]:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert named == set(), path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|\beval\(|localStorage|sessionStorage|cookie\b.*=", text
        )
        if path.suffix == ".html":
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=.module. src)", text), path.name


# The frame.


async def test_the_page_says_who_runs_the_server(start: Start) -> None:
    """The name that the operator gave with the host, or else the host alone; never as markup."""
    async with start(instance_name="Käse & <b>Co</b>", public_url="https://drop.example") as daemon:
        page = (await daemon.stranger.get("/")).text
    assert "<p>Käse &amp; &lt;b&gt;Co&lt;/b&gt; <small>drop.example</small></p>" in page
    assert "· Käse &amp; &lt;b&gt;Co&lt;/b&gt;</title>" in page
    async with start() as daemon:
        assert "<p>sirrd.test</p>" in (await daemon.stranger.get("/")).text


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x07b", "x" * 81])
def test_a_name_of_the_instance_is_one_line(name: str) -> None:
    """It stands in a title and a heading."""
    with pytest.raises(ValueError, match="instance_name"):
        Settings(instance_name=name)


@pytest.mark.parametrize(
    ("path", "root"), [("/", "./"), ("/s/x", "../"), ("/s/x/", "../../"), ("/s/a/b", "../../"), ("/s/a%2Fb", "../")]
)
async def test_a_page_finds_its_files_from_any_path(daemon: Daemon, path: str, root: str) -> None:
    """Links are relative to the path as the browser has it, so that a prefix of the proxy does no harm."""
    page = (await daemon.stranger.get(path)).text
    assert set(re.findall(r'"([^"]*)static/', page)) == {root}


async def test_the_expiry_is_there_without_script(daemon: Daemon) -> None:
    """In UTC, with the moment for the script to say it in the reader's own way."""
    page = (await daemon.stranger.get(f"/s/{await daemon.put(ttl_seconds=3600)}")).text
    assert '<time datetime="2027-01-15T09:00:00Z">2027-01-15 09:00 UTC</time>' in page
    assert 'data-seconds="3600"' in page


@pytest.mark.parametrize(
    ("longest", "lives", "usual"),
    [
        (None, ["3600", "86400", "259200", "604800", "2592000", ""], "604800"),
        (604_800, ["3600", "86400", "259200", "604800"], "604800"),
        (90_000, ["3600", "86400", "90000"], "90000"),
        (60, ["60"], "60"),
        (5_184_000, ["3600", "86400", "259200", "604800", "2592000", "5184000"], "604800"),
    ],
)
async def test_only_lives_that_are_allowed_can_be_chosen(
    start: Start, longest: int | None, lives: list[str], usual: str
) -> None:
    """Everyday choices up to the operator's maximum, and that itself; a week is usual where it is allowed."""
    async with start(max_ttl_seconds=longest) as daemon:
        page = (await daemon.stranger.get("/")).text
    select = page.partition('<select id="ttl">')[2].partition("</select>")[0]
    assert re.findall('value="(.*?)"', select) == lives
    assert re.findall('value="(.*?)" selected', select) == [usual]


@pytest.mark.parametrize(
    ("longest", "said"),
    [
        (1800, "30 minutes"),
        (7200, "2 hours"),
        (129_600, "36 hours"),
        (1_209_600, "14 days"),
        (1, "1 second"),
        (100, "100 seconds"),
        (60, "60 seconds"),
        (5400, "90 minutes"),
    ],
)
async def test_an_unusual_life_is_said_in_a_unit_that_fits(start: Start, longest: int, said: str) -> None:
    """In the largest unit of which it is a whole number."""
    async with start(max_ttl_seconds=longest) as daemon:
        page = (await daemon.stranger.get("/")).text
    select = page.partition('<select id="ttl">')[2].partition("</select>")[0]
    assert re.findall(f'value="{longest}"(?: selected)?>(.*?)<', select) == [said]


# Texts.


def all_texts(words: Words) -> Iterator[tuple[str, str]]:
    """Yield every text of a language with its name."""
    for member in fields(words):
        value = getattr(words, member.name)
        if isinstance(value, Notices):
            for each in fields(value):
                notice = getattr(value, each.name)
                yield f"{each.name} title", notice.title
                yield f"{each.name} text", notice.text
        elif member.name not in {"tag", "name"}:
            yield member.name, value


def holes(text: str) -> set[str]:
    """Return the names in braces of a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_language_fills_in_the_same(tag: str) -> None:
    """Each text is there, is no other language's, and has the same names in braces as the English one."""
    english, own = dict(all_texts(ENGLISH)), dict(all_texts(LANGUAGES[tag]))
    assert {name: holes(text) for name, text in own.items()} == {name: holes(text) for name, text in english.items()}
    assert [name for name, text in own.items() if not text.strip() or text != text.strip()] == []
    if tag != "en":
        alike = {name for name in own if own[name] == english[name]}
        assert alike <= {"link", "ttl_minutes", "message", "secret", "status"}


def test_every_text_is_used() -> None:
    """A text that no page shows is not kept."""
    sources = [*PAGES.glob("*.py"), *(PAGES / "static").glob("*.mjs"), *(PAGES / "templates").iterdir()]
    used = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for name in {member.name for member in fields(Words)} | {member.name for member in fields(Notices)}:
        assert re.search(rf"\$\{{?{name}\b|words\.{name}\b|notices\.{name}\b|[\"']{name}[\"']", used), name


@pytest.mark.parametrize("tag", LANGUAGES)
def test_what_is_counted_has_a_form_for_one(tag: str) -> None:
    """One view is not "1 views": each text with a number of views has a form for one, which is another."""
    texts = dict(all_texts(LANGUAGES[tag]))
    forms = {name.removesuffix("_more") for name in texts if name.endswith("_more")}
    assert forms == {name.removesuffix("_one") for name in texts if name.endswith("_one")} == {"left", "viewed"}
    for form in forms:
        assert "{n}" not in texts[f"{form}_one"]
        assert texts[f"{form}_one"] != texts[f"{form}_more"].format(n=2)


STIFF: Final = re.compile(r"\b(cannot|does not|whoever|any more|somebody|is not possible)\b", re.IGNORECASE)


def test_english_is_as_people_write_it() -> None:
    """Contracted and short: no sentence on a page is longer than a breath, or as from a manual."""
    for name, text in all_texts(ENGLISH):
        assert not STIFF.search(text), name
        longest = max(len(sentence.split()) for sentence in re.split(r"[.:?!\n]\s", text))
        assert longest <= 24, (name, longest)


def test_french_marks_do_not_begin_a_line() -> None:
    """What stands before a colon, a semicolon, a question or an exclamation mark is a space that does not break."""
    assert [text for _, text in all_texts(LANGUAGES["fr"]) if re.search(r" [:;?!](?!/)", text)] == []


@pytest.mark.parametrize(
    ("accepted", "tag"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("zh-Hant-TW,zh;q=0.9", "zh"),
        ("nl, fr;q=0.5", "fr"),
        ("en;q=0.4, de;q=0.8, fr;q=0.6", "de"),
        ("de;q=0", "en"),
        ("de;q=0, es;q=0.001", "es"),
        ("fr, de", "fr"),
        ("*", "en"),
        ("nl", "en"),
        ("de;q=nonsense, es", "es"),
        (";;,,=", "en"),
        ("deutsch", "en"),
        ("de;q=1.0 , en", "de"),
    ],
)
async def test_the_language_is_the_one_that_is_liked_best(daemon: Daemon, accepted: str, tag: str) -> None:
    """By weight, then by place; regions do not count; what is unknown or malformed counts for nothing."""
    answer = await daemon.stranger.get("/", headers={"Accept-Language": accepted})
    assert (answer.headers["content-language"], f'<html lang="{tag}">' in answer.text) == (tag, True)


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("?lang=es", "es"),
        ("?lang=xx", "de"),
        ("?lang=", "de"),
        ("?lang=ES", "de"),
        ("?a=1&lang=fr", "fr"),
        ("?%ff", "de"),
    ],
)
async def test_a_language_by_hand_comes_first(daemon: Daemon, query: str, tag: str) -> None:
    """On every page, one that is gone included; a language that is not there changes nothing."""
    for path in ("/", f"/s/{'0' * 64}"):
        answer = await daemon.stranger.get(f"{path}{query}", headers={"Accept-Language": "de"})
        assert answer.headers["content-language"] == tag


async def test_every_page_offers_every_language(daemon: Daemon) -> None:
    """But one that cannot be loaded again offers none."""
    links = {f'href="?lang={tag}"' for tag in LANGUAGES}
    secret = await daemon.put()
    for path in ("/", f"/s/{secret}", f"/s/{'0' * 64}"):
        page = (await daemon.stranger.get(path)).text
        assert {link for link in links if link in page} == links
    shown = await daemon.stranger.post(f"/s/{secret}?lang=de")
    assert "?lang=" not in shown.text
    assert shown.headers["content-language"] == "de"


def test_every_problem_has_a_notice() -> None:
    """What the net makes of an exception is a notice that there is."""
    assert set(notices.NOTICES.values()) <= {member.name for member in fields(Notices)}


def test_templates_are_filled_with_escaped_texts() -> None:
    """A text can hold any character, and none of them is markup."""
    values: dict[str, Any] = {member.name: getattr(ENGLISH, member.name) for member in fields(Words)}
    strange = Words(**(values | {"shown_title": "<b>&\"'"}))
    assert "&lt;b&gt;&amp;&quot;&#x27;" in html.filled("value", strange, ROWS="1", VALUE="")
