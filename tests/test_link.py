"""Links of version 1 and the values that they open: vectors, the module of the pages, and what is refused."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd import link
from sirrd.link import BadContentError, BadLinkError, CannotOpenError, Content, Fragment, Keys, Link
from tests.parts import require

VECTORS: Final = sorted((Path(__file__).parent / "vectors" / "link-v1").glob("*.json"))
WEBCRYPTO: Final = Path(__file__).parent / "webcrypto" / "link.mjs"
ID: Final = "ab" * 32
KEY: Final = bytes(range(32))
FRAGMENT: Final = Fragment(bytes(range(32)))


def loaded(file: Path) -> dict[str, Any]:
    """Return a vector."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def webcrypto(tasks: list[dict[str, Any]]) -> list[Any]:
    """Have the module of the pages do something, in Node."""
    require(shutil.which("node"), "node")
    ran = subprocess.run(
        ["node", WEBCRYPTO], input=json.dumps(tasks), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout)
    return found


EVERY_VECTOR: Final = pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in VECTORS])


def test_there_are_vectors() -> None:
    """With and without a passphrase, a name and a media type, and without a byte."""
    found = [loaded(file) for file in VECTORS]
    assert {vector["passphrase"] is None for vector in found} == {True, False}
    assert {vector["name"] is None for vector in found} == {True, False}
    assert "" in {vector["data"] for vector in found}


@EVERY_VECTOR
def test_a_vector_opens(file: Path) -> None:
    """What was sealed by an earlier release, or by another program, opens, with the same proof and lock."""
    vector = loaded(file)
    fragment = Fragment.parse(vector["fragment"])
    keys = fragment.keys(vector["passphrase"])
    assert str(fragment) == vector["fragment"]
    assert (keys.encryption.hex(), keys.shown_proof, keys.lock) == (vector["key"], vector["proof"], vector["lock"])
    expected = Content(bytes.fromhex(vector["data"]), vector["name"], vector["type"])
    assert link.open_sealed(vector["value"], keys.encryption) == expected
    assert link.sealed_size(expected) == len(vector["value"])


def test_the_pages_open_what_was_sealed_here() -> None:
    """The module of the pages, in Node's WebCrypto, and the other way round."""
    cases = [
        (None, Content(b"s3cret")),
        ("grüße", Content("grüße\n\0".encode())),
        (None, Content(bytes(range(256)) * 100, "photo 1.png", "image/png")),
        (None, Content("\ufeffmark".encode())),
    ]
    tasks: list[dict[str, Any]] = []
    for passphrase, content in cases:
        fragment = Fragment.make(secrets.token_bytes, needs_passphrase=passphrase is not None)
        keys = fragment.keys(passphrase)
        asked = {"fragment": str(fragment), "passphrase": passphrase}
        shape = {"name": content.name, "type": content.media_type, "data": content.data.hex()}
        tasks.append({"open": {**asked, "value": link.seal(content, keys.encryption, secrets.token_bytes)}})
        tasks.append({"seal": {**asked, **shape}})
    for (passphrase, content), opened, sealed, task in zip(
        cases, *(iter(webcrypto(tasks)),) * 2, tasks[1::2], strict=True
    ):
        keys = Fragment.parse(task["seal"]["fragment"]).keys(passphrase)
        assert Content(bytes.fromhex(opened["data"]), opened["name"], opened["type"]) == content
        assert {(each["proof"], each["lock"]) for each in (opened, sealed)} == {(keys.shown_proof, keys.lock)}
        assert link.open_sealed(sealed["value"], keys.encryption) == content
        assert sealed["size"] == len(sealed["value"]) == link.sealed_size(content)


@EVERY_VECTOR
def test_the_pages_open_the_vectors(file: Path) -> None:
    """So they are not only what this one happens to make."""
    vector = loaded(file)
    (opened,) = webcrypto([{"open": {name: vector[name] for name in ("fragment", "passphrase", "value")}}])
    assert opened == {name: vector[name] for name in ("proof", "lock", "name", "type", "data")}


# Links.


@pytest.mark.parametrize(
    "server", ["https://drop.example", "http://127.0.0.1:7002", "https://drop.example/team/a", "http://[::1]:7002"]
)
@pytest.mark.parametrize("fragment", [None, FRAGMENT, Fragment(bytes(32), needs_passphrase=True)])
def test_a_link_is_what_it_was(server: str, fragment: Fragment | None) -> None:
    """Server, id and fragment come back from the text."""
    made = Link(server, ID, fragment)
    assert Link.parse(str(made)) == made


def test_a_link_out_of_the_address_bar_is_a_link() -> None:
    """Where a language was chosen in the page, the address has it; it is no part of the link."""
    made = Link("https://drop.example", ID, FRAGMENT)
    assert Link.parse(str(made).replace("#", "?lang=de#")) == made


@pytest.mark.parametrize("needs_passphrase", [False, True])
def test_a_new_link_ends_in_a_letter_or_a_digit(needs_passphrase: bool) -> None:
    """Chats leave a `-` or `_` at the end out of what they make clickable; so made here, and by the pages."""
    made = [str(Fragment.make(secrets.token_bytes, needs_passphrase=needs_passphrase)) for _ in range(2000)]
    (pages,) = webcrypto([{"make": {"needsPassphrase": needs_passphrase, "times": 2000}}])
    for fragments in (made, pages):
        assert len(set(fragments)) == 2000
        assert all(each[-1].isalnum() for each in fragments)
        assert {Fragment.parse(each).needs_passphrase for each in fragments} == {needs_passphrase}


def test_the_last_character_is_drawn_again_and_nothing_else() -> None:
    """A secret whose fragment ends in `-` or `_` is not taken; a source that gives no other is an error, not a wait."""
    draws = iter([bytes(31) + b"\xfe", bytes(31) + b"\xff", KEY])
    assert Fragment.make(lambda _: next(draws)) == Fragment(KEY)
    with pytest.raises(ValueError, match="randomness"):
        Fragment.make(lambda size: b"\xff" * size)


def test_an_older_link_opens_whatever_it_ends_in() -> None:
    """Releases before this one made them."""
    for end in (b"\xfe", b"\xff"):
        fragment = Fragment(bytes(31) + end)
        assert str(fragment)[-1] in "-_"
        assert Fragment.parse(str(fragment)) == fragment


NO_LINKS: Final = {
    "nothing": "",
    "an id": ID,
    "no host": f"https:///s/{ID}",
    "another scheme": f"ftp://drop.example/s/{ID}",
    "a script": f"javascript:/s/{ID}",
    "another path": f"https://drop.example/secrets/{ID}",
    "a short id": f"https://drop.example/s/{ID[:-1]}",
    "an id in capitals": f"https://drop.example/s/{ID.upper()}",
    "something behind it": f"https://drop.example/s/{ID}/",
    "a query": f"https://drop.example/s/{ID}?a=1",
    "a longer query": f"https://drop.example/s/{ID}?lang=de&a=1",
    "a password": f"https://user:pass@drop.example/s/{ID}",
    "a bad port": f"https://drop.example:x/s/{ID}",
    "a bad address": f"https://[::1/s/{ID}",
    "a cut fragment": f"{Link('https://drop.example', ID, FRAGMENT)}"[:-1],
    "a longer fragment": f"{Link('https://drop.example', ID, FRAGMENT)}A",
    "a strange fragment": f"https://drop.example/s/{ID}#" + "A" * 43 + "=",
    "another version": f"https://drop.example/s/{ID}#" + "A" * 44,
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in NO_LINKS.items()])
def test_what_is_no_link_is_refused(text: str) -> None:
    """The error says so, and repeats nothing of the text."""
    with pytest.raises(BadLinkError) as caught:
        Link.parse(text)
    assert ID not in str(caught.value)
    assert "A" * 10 not in str(caught.value)


def test_nothing_shows_the_secret() -> None:
    """Whatever is printed or logged of a link, a key or a content, it says nothing of them (I6)."""
    made = Link("https://drop.example", ID, FRAGMENT)
    shown = f"{made!r} {FRAGMENT!r} {FRAGMENT.keys()!r} {Content(b's3cret', 'name.txt')!r}"
    for hidden in (ID, FRAGMENT.secret.hex(), repr(FRAGMENT.secret), str(FRAGMENT), "s3cret", "name.txt"):
        assert hidden not in shown


# Keys.


def test_every_key_is_another() -> None:
    """Key, proof and lock differ from each other, from the secret, and between two links."""
    keys = [*FRAGMENT.keys(), bytes.fromhex(FRAGMENT.keys().lock), FRAGMENT.secret, *Fragment(KEY[::-1]).keys()]
    assert len(set(keys)) == len(keys)


def test_a_passphrase_changes_everything() -> None:
    """And so does each letter of it; two ways to write the same letters do not."""
    fragment = Fragment(FRAGMENT.secret, needs_passphrase=True)
    keys = [fragment.keys(text) for text in ("caf\u00e9", "cafe\u0301", "cafe", "caf\u00e9 ")]
    assert keys[0] == keys[1]
    assert len({part for each in [*keys, FRAGMENT.keys()] for part in each}) == 8


@pytest.mark.parametrize(("needed", "passphrase"), [(True, None), (False, "x"), (True, ""), (False, "")])
def test_a_passphrase_is_given_where_it_is_needed(needed: bool, passphrase: str | None) -> None:
    """To leave it out, or to give one for nothing, is an error of the caller."""
    with pytest.raises(ValueError, match="exactly where"):
        Fragment(FRAGMENT.secret, needed).keys(passphrase)


# Values.


@settings.get_profile("fuzz")
@given(
    st.binary(max_size=200),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.sampled_from([None, "text/plain", "application/octet-stream", "image/svg+xml"]),
)
def test_what_is_sealed_opens(data: bytes, name: str | None, media_type: str | None) -> None:
    """Whatever is in it; it is as long as was said; and no two seals are alike."""
    content = Content(data, name, media_type)
    sealed = link.seal(content, KEY, secrets.token_bytes)
    assert link.is_sealed(sealed)
    assert len(sealed) == link.sealed_size(content)
    assert link.open_sealed(sealed, KEY) == content
    assert link.seal(content, KEY, secrets.token_bytes) != sealed


def test_every_change_is_noticed() -> None:
    """Not one character of a value can be another."""
    sealed = link.seal(Content(b"s3cret"), KEY, secrets.token_bytes)
    for at, character in enumerate(sealed):
        changed = sealed[:at] + ("A" if character != "A" else "B") + sealed[at + 1 :]
        with pytest.raises(CannotOpenError):
            link.open_sealed(changed, KEY)


@pytest.mark.parametrize("value", ["", "s3cret", "sirr1.", "sirr1.AAAA", "sirr1.A", "sirr2." + "A" * 80, "sirr1.AA=="])
def test_what_is_not_sealed_is_refused(value: str) -> None:
    """A value that was stored in the clear, or cut, is no error of its own kind."""
    with pytest.raises(CannotOpenError):
        link.open_sealed(value, KEY)


def test_another_key_opens_nothing() -> None:
    """Nor does it tell what is wrong."""
    with pytest.raises(CannotOpenError, match="does not open with this key"):
        link.open_sealed(link.seal(Content(b"s3cret"), KEY, secrets.token_bytes), KEY[::-1])


@pytest.mark.parametrize(
    "content",
    [
        Content(b"", name=""),
        Content(b"", name="ü" * 128),
        Content(b"", name="\udcfc.txt"),
        Content(b"", media_type=""),
        Content(b"", media_type="text"),
        Content(b"", media_type="text/plain; charset=utf-8"),
        Content(b"", media_type="text/" + "x" * 128),
    ],
)
def test_a_malformed_label_is_refused(content: Content) -> None:
    """Before anything is sealed or sent."""
    for refuse in (lambda: link.seal(content, KEY, secrets.token_bytes), lambda: link.sealed_size(content)):
        with pytest.raises(BadContentError):
            refuse()


def test_keys_are_a_pair() -> None:
    """Of 32 bytes each."""
    assert [len(part) for part in Keys(*FRAGMENT.keys())] == [32, 32]
