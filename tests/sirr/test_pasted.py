"""What people paste, and what is made of it: a link in any wrapping is understood, a piece of one never leaves."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd.link import Fragment, Link
from sirrd.sirr.edge import USAGE, Failure
from sirrd.sirr.pasted import understood

ID = "0123456789abcdef" * 4
FRAGMENT = str(Fragment(bytes(range(32))))
LINK = f"https://drop.example/s/{ID}#{FRAGMENT}"
MIDDLE = len(LINK) // 2

WRAPPED = {
    "nothing": LINK,
    "blanks": f"  {LINK}\t\n",
    "angles": f"<{LINK}>",
    "angles and a name": f"<URL:{LINK}>",
    "a full stop": f"{LINK}.",
    "a comma": f"{LINK},",
    "a semicolon": f"{LINK};",
    "an exclamation": f"{LINK}!",
    "quotes": f'"{LINK}"',
    "apostrophes": f"'{LINK}'",
    "typographic quotes": f"\u201e{LINK}\u201c",
    "parentheses": f"({LINK}).",
    "brackets": f"[{LINK}]",
    "backquotes": f"`{LINK}`",
    "markdown": f"[the secret]({LINK})",
    "markdown with a full stop": f"[x]({LINK}).",
    "bold": f"**{LINK}**",
    "italics": f"_{LINK}_",
    "a line break": f"{LINK[:MIDDLE]}\n{LINK[MIDDLE:]}",
    "a line break of Windows": f"{LINK[:30]}\r\n{LINK[30:]}",
    "a quoted mail": f"> {LINK[:MIDDLE]}\n> {LINK[MIDDLE:]}",
    "blanks within": f"{LINK[:20]} {LINK[20:40]}  {LINK[40:]}",
    "a blank before the fragment": LINK.replace("#", " #"),
    "no width": f"\u200b{LINK[:25]}\u200d{LINK[25:]}\ufeff",
    "a soft hyphen": f"{LINK[:70]}\u00ad{LINK[70:]}",
    "a direction": f"\u202a{LINK}\u202c",
    "a tracker": LINK.replace("#", "?utm_source=chat&utm_medium=x#"),
    "a language": LINK.replace("#", "?lang=de#"),
    "a tracker at the end": f"{LINK}?utm_source=chat",
    "a tracker at the end, with an ampersand": f"{LINK}&fbclid=x",
    "a text fragment": f"{LINK}:~:text=x",
    "an escaped number sign": LINK.replace("#", "%23"),
    "a twice escaped number sign": LINK.replace("#", "%2523"),
    "all escaped": quote(LINK, safe=""),
    "HTML": LINK.replace("#", "&#35;"),
    "a slash at the end": LINK.replace("#", "/#"),
    "capital scheme and host": LINK.replace("https://drop.example", "HTTPS://DROP.Example"),
    "a capital id": LINK.replace(ID, ID.upper()),
    "no scheme": LINK.removeprefix("https://"),
    "no scheme, with slashes": LINK.removeprefix("https:"),
    "a sentence": f"Here it is: {LINK} - be quick",
    "a sentence on lines": f"Hello,\n\n{LINK}\n\nBye",
    "Outlook": f"https://nam01.safelinks.protection.outlook.com/?url={quote(LINK, safe='')}&data=05%7C02&reserved=0",
    "a mark that chooses a look": f"{LINK[:70]}\ufe0f{LINK[70:]}\ufe0f",
    "twice the same": f"{LINK}\n{LINK}\n",
    "HTML with its link": f'<a href="{LINK}">{LINK}</a>',
    "no scheme, with a blank behind the server": LINK.removeprefix("https://").replace("/s/", " /s/"),
    "Google": f"https://www.google.com/url?q={quote(LINK, safe='')}&sa=D",
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=WRAPPED.keys())
def test_a_link_is_understood_in_any_wrapping(text: str) -> None:
    """The link that was meant comes out, to the letter."""
    found = understood(text)
    assert (found.what, found.is_link) == (LINK, True)
    assert str(Link.parse(found.what)) == LINK


@pytest.mark.parametrize("end", ["_", "-"])
def test_an_old_link_keeps_its_last_letter(end: str) -> None:
    """Links of older releases may end in what else surrounds a link."""
    fragment = next(text for each in range(256) if (text := str(Fragment(bytes([7] * 31 + [each])))).endswith(end))
    link = f"https://drop.example/s/{ID}#{fragment}"
    for text in (link, f"<{link}>", f"{link}.", f"*{link}*"):
        assert understood(text).what == link


@pytest.mark.parametrize(
    ("host", "server", "scheme"),
    [
        ("drop.example", None, "https"),
        ("drop.example:8443", None, "https"),
        ("localhost:39999", None, "http"),
        ("127.0.0.1:39999", None, "http"),
        ("[::1]:39999", None, "http"),
        ("192.168.1.2", None, "https"),
        ("intern.example", "http://intern.example", "http"),
        ("other.example", "http://intern.example", "https"),
    ],
)
def test_a_link_without_its_scheme_is_of_https_but_on_this_machine(host: str, server: str | None, scheme: str) -> None:
    """Or of that with which the same server is set."""
    link = f"{host}/prefix/s/{ID}#{FRAGMENT}"
    assert understood(link, server=server).what == f"{scheme}://{link}"


def test_ids_and_keys_are_what_they_are() -> None:
    """A bare id is one of a dead drop, whatever its letters; a key keeps its case."""
    assert understood(f" {ID.upper()}\n").what == ID
    assert not understood(ID).is_link
    for key in ("DB_PASSWORD", "my-key", "a.b", "Z" * 256, "x" * 44):
        assert (understood(key).what, understood(key).is_key) == (key, True)


PIECES = {
    "the fragment": FRAGMENT,
    "the fragment with its sign": f"#{FRAGMENT}",
    "a cut fragment": FRAGMENT[:-3],
    "a longer fragment": FRAGMENT + "x9",
    "id and fragment": f"{ID}#{FRAGMENT}",
    "path, id and fragment": f"/s/{ID}#{FRAGMENT}",
    "path without a slash": f"s/{ID}#{FRAGMENT}",
    "the id with something before": f"x{ID}",
    "the id with something behind": f"{ID}0",
    "two ids": ID + ID,
    "an id with a dot": f"{ID}.txt",
    "a cut id": f"https://drop.example/s/{ID[:-1]}#{FRAGMENT}",
    "a long id": f"https://drop.example/s/{ID}a#{FRAGMENT}",
    "a damaged fragment": LINK[:-1],
    "a fragment of another version": f"https://drop.example/s/{ID}#A{FRAGMENT[1:]}",
    "a name and a password": LINK.replace("drop", "name:word@drop"),
    "another scheme": LINK.replace("https", "ftp"),
    "a scheme that was made harmless": LINK.replace("https", "hxxps").replace(".", "[.]"),
    "an org before": f"acme/{ID}",
    "a link without s": LINK.replace("/s/", "/x/"),
    "two links": f"{LINK} https://drop.example/s/{'cd' * 32}#{FRAGMENT}",
    "Outlook, cut": f"https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fdrop.example%2Fs%2F{ID[:9]}&data=x",
    "a proof-like key": "aB3" * 15,
    "a fragment without a digit": "EA" + "a" * 42,
    "a word before a link without its scheme": f"see drop.example/s/{ID}#{FRAGMENT}",
    "a name before a link without its scheme": f"Link: drop.example/s/{ID}#{FRAGMENT}",
    "a link without its scheme in parentheses": f"the secret (drop.example/s/{ID}#{FRAGMENT})",
    "words with a slash before one": f"and/or drop.example/s/{ID}#{FRAGMENT}",
    "a server on two lines, without its scheme": f"drop.exa\nmple/s/{ID}#{FRAGMENT}",
    "two plain links": f"https://drop.example/s/{ID}\nhttps://other.example/s/{'cd' * 32}",
    "a plain link and a whole one": f"https://drop.example/s/{ID} https://other.example/s/{'cd' * 32}#{FRAGMENT}",
    "a plain link with a tracker and a whole one": f"https://drop.example/s/{ID}?x=1 {LINK.replace('01', 'cd')}",
    "two without their schemes": f"drop.example/s/{ID} other.example/s/{'cd' * 32}#{FRAGMENT}",
    "a link behind a link": f"drop.example/s/{ID}/s/{'cd' * 32}#{FRAGMENT}",
}
NOTHING = {
    "nothing": "",
    "blanks": " \n",
    "a dot": ".",
    "two dots": "..",
    "a path": "org/key",
    "a question mark": "key?x",
    "words": "not a key",
    "a number sign": "#",
    "a letter of elsewhere": "schlüssel",
    "a null": "a\0b/c",
    "too long": "a" * 257,
    "no server": f"https:///s/{ID}",
    "brackets": f"http://[::1/s/{ID}",
}


@pytest.mark.parametrize("text", [*PIECES.values(), *NOTHING.values()], ids=[*PIECES, *NOTHING])
def test_what_is_neither_link_id_nor_key_never_leaves(text: str) -> None:
    """It is a mistake in use, and the message repeats nothing of it."""
    with pytest.raises(Failure) as caught:
        understood(text, server="https://drop.example")
    assert caught.value.exit_code == USAGE
    assert "nothing was sent" in caught.value.message
    assert not any(part in caught.value.message for part in (ID[:12], FRAGMENT[:12]))


@pytest.mark.parametrize(
    "piece", ["/", "/s/", "a/s/", "https://a", "[x](", " ", "[x]( ", "?u=https://a/s/", "&#35;", "EA"]
)
def test_a_long_text_takes_no_time(piece: str) -> None:
    """As much as is read of a file, of whatever kind."""
    began = time.process_time()
    with pytest.raises(Failure, match="nothing was sent"):
        understood(piece * (65_536 // len(piece)))
    assert time.process_time() - began < 5


@settings.get_profile("fuzz")
@given(st.text(max_size=80) | st.text("abAB019:/#?.@[]%s\n <>", max_size=120))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Whatever it is: no other error, and what comes out is a link, an id or a key."""
    try:
        found = understood(text)
    except Failure:
        return
    assert Link.parse(found.what) if found.is_link else found.what.replace("-", "").replace(".", "").isascii()


@settings.get_profile("fuzz")
@given(st.data())
def test_no_part_of_a_link_passes_for_a_key(data: st.DataObject) -> None:
    """Cut anywhere at its front, it is the link, its id, or refused: never a key."""
    at = data.draw(st.integers(1, len(LINK) - 40))
    try:
        found = understood(LINK[at:])
    except Failure:
        return
    assert found.is_link
