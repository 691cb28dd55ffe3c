"""Whatever answers: the errors are those of the client, and what they say of a read is true.

A server is named by whoever made a link. Between it and the client may be a proxy, a login page, or nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import re
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from sirrd.client import (
    AsyncSirrClient,
    BadLinkError,
    CannotLookError,
    CannotOpenError,
    Cause,
    Content,
    Link,
    MaybeSpentError,
    NotFoundError,
    RefusedError,
    SirrClient,
    SirrError,
    UnauthorisedError,
    UnavailableError,
)
from sirrd.client.answers import Answer, BadAnswerError, Body, Value
from sirrd.link import BadContentError, Fragment
from tests.client.servers import ID, SILENCE, Asked, Drops, received, reply, scripted

LINK: Final = Link("https://drop.example", ID, Fragment(bytes(range(32))))
HTML: Final = "text/html; charset=utf-8"
Ask = Callable[[SirrClient], Any]
Said = httpx.Response

ASKS: Final[dict[str, Ask]] = {
    "get": lambda sirr: sirr.get(ID),
    "get a link": lambda sirr: sirr.get(LINK),
    "read": lambda sirr: sirr.read("KEY", org="acme"),
    "head": lambda sirr: sirr.head(ID),
    "push": lambda sirr: sirr.push("s3cret"),
    "push plain": lambda sirr: sirr.push("s3cret", encrypt=False),
    "patch": lambda sirr: sirr.patch(ID, value="new"),
    "delete": lambda sirr: sirr.delete(ID),
    "list": lambda sirr: list(sirr.list()),
    "set": lambda sirr: sirr.set("acme", "KEY", "value"),
    "prune": lambda sirr: sirr.prune(),
    "check_token": lambda sirr: sirr.check_token(),
    "health": lambda sirr: sirr.health(),
}
READS: Final = {name: ASKS[name] for name in ("get", "get a link", "read")}


def every(asks: dict[str, Ask]) -> pytest.MarkDecorator:
    """Give a test each of some calls."""
    return pytest.mark.parametrize("ask", [pytest.param(ask, id=name) for name, ask in asks.items()])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody really waits."""

    async def pause(_: float) -> None:
        return None

    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(asyncio, "sleep", pause)


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> SirrClient:
    """Return a client of a server that is a function."""
    return SirrClient("https://drop.example", "token", transport=httpx.MockTransport(answer))


def problem(status: int, code: str, text: str = "no") -> httpx.Response:
    """Return an error as a sirrd makes it."""
    return Said(status, json={"error": text, "code": code})


DESCRIBED: Final[dict[str, Any]] = {
    "key": ID, "org": None, "fingerprint": "f" * 16, "created_at": 1, "expires_at": None, "max_reads": 1,
    "read_count": 0, "delete": True, "locked": False, "status": "active",
}  # fmt: skip
LOOKED: Final = {
    "X-Sirr-Read-Count": "0", "X-Sirr-Reads-Remaining": "1", "X-Sirr-Delete": "true", "X-Sirr-Created-At": "1",
    "X-Sirr-Status": "active",
}  # fmt: skip

# What came: whether a read can have been spent by it.
ANSWERS: Final[dict[str, tuple[httpx.Response, bool]]] = {
    **{
        f"a redirect {status}": (Said(status, headers={"Location": "https://x.example/a"}), False)
        for status in (301, 302, 303, 307, 308)
    },
    "a redirect to nowhere": (Said(302), False),
    "a redirect that is none": (Said(302, headers={"Location": "http://[::1"}), False),
    "not modified": (Said(304), False),
    "bad request of a proxy": (Said(400, text="<html>", headers={"Content-Type": HTML}), False),
    "a password of a proxy": (Said(401, text="who are you?"), False),
    "forbidden by a proxy": (Said(403, text="<html>", headers={"Content-Type": HTML}), True),
    "not found by a proxy": (Said(404, text="default backend - 404"), False),
    "a method that a proxy forbids": (Said(405), False),
    "a proxy with a password": (Said(407, text="<html>"), False),
    "too large for a proxy": (Said(413, text="<html>", headers={"Content-Type": HTML}), False),
    "a teapot": (Said(418), False),
    "many requests for a proxy": (Said(429, text="slow down"), False),
    "censored": (Said(451, text="<html>"), True),
    "a server that crashed": (Said(500, text="<html>"), True),
    "a gateway": (Said(502, text="<html>", headers={"Content-Type": HTML}), True),
    "a gateway that is busy": (Said(503, text="<html>"), True),
    "a gateway that waited": (Said(504), True),
    "forbidden by a gateway that speaks JSON": (Said(403, json={"error": "blocked", "code": "waf"}), True),
    "too slow for a gateway that speaks JSON": (Said(408, json={"error": "slow", "code": "timed_out"}), True),
    "of another site": (problem(403, "foreign_request"), False),
    "a gateway that speaks JSON": (Said(502, json={"error": "upstream", "code": "bad_gateway"}), True),
    "a login page": (Said(200, text="<html>log in</html>", headers={"Content-Type": HTML}), True),
    "a page behind a login": (Said(511, text="<html>", headers={"Content-Type": HTML}), True),
    "nothing": (Said(204), True),
    "created": (Said(201, json={}), True),
    "garbage": (Said(200, content=b"\x00\xff" * 500), True),
    "another status": (Said(299, json=[]), True),
    "a status of nobody": (Said(999, json={}), True),
    "an array": (Said(200, json=[]), True),
    "another object": (Said(200, json={"status": "ok"}), True),
    "numbers": (Said(200, json=dict.fromkeys(["value", "secrets", "pruned", "deleted", "key", "url"], 1.5)), True),
    "null": (Said(200, json={"value": None}), True),
    "cut": (Said(200, content=b'{"id":"x","value":"s3cr'), True),
    "a bad escape": (Said(200, content=b'{"value":"\\ud800"}'), True),
    "bad UTF-8": (Said(200, content=b'{"value":"\xff"}'), True),
    "NaN": (Said(200, content=b'{"value":NaN,"pruned":NaN}'), True),
    "a thousand deep": (Said(200, content=b'{"value":' + b"[" * 1000 + b"]" * 1000 + b"}"), True),
    "a million deep": (Said(200, content=b"[" * 1_000_000), True),
    "an endless list": (Said(200, content=b"[" + b"0," * 1_000_000 + b"0]"), True),
    "its own refusal": (problem(400, "bad_field"), False),
    "its own crash": (problem(500, "internal"), True),
    "not to be opened": (problem(500, "unreadable"), False),
    "busy": (problem(503, "busy"), False),
    "failing storage": (problem(503, "storage_unavailable"), False),
    "another site's": (problem(403, "foreign_request"), False),
    "look only": (problem(403, "look_only"), False),
    "gone": (problem(404, "not_found"), False),
    "sealed": (problem(410, "sealed"), False),
    "over": (problem(409, "attempt_over"), True),
    "repeated too often": (problem(429, "too_many_repeats"), True),
    "a code that is none": (Said(404, json={"error": "no", "code": "\x1b[2J"}), False),
    "an error that is a number": (Said(500, json={"error": 1, "code": 2}), True),
    "another encoding": (Said(200, content=b"abc", headers={"Content-Encoding": "br"}), True),
    "an encoding that lies": (Said(200, stream=httpx.ByteStream(b"abc"), headers={"Content-Encoding": "gzip"}), True),
}  # fmt: skip
EVERY_ANSWER: Final = pytest.mark.parametrize(
    ("answer", "may_be_spent"), [pytest.param(*each, id=name) for name, each in ANSWERS.items()]
)


@EVERY_ANSWER
def test_only_errors_of_the_client_come(answer: httpx.Response, may_be_spent: bool) -> None:
    """Each method, under each answer: a result that this answer can mean, or one line that says what came."""
    for name, ask in ASKS.items():
        asked: list[str] = []

        def script(request: httpx.Request, asked: list[str] = asked) -> httpx.Response:
            asked.append(f"{request.method} {request.url.path}")
            return answer

        try:
            ask(client_of(script))
        except SirrError as error:
            check(error, answer, has_body=name != "head", of_read=may_be_spent if name in READS else None)
        else:
            assert answer.is_success or (name, answer.status_code) == ("health", 503)
        # A server that is not known to know attempts is asked for a read once.
        assert len([each for each in asked if re.fullmatch("GET /(secrets|orgs)/.+", each)]) <= 1


def check(error: SirrError, answer: httpx.Response, *, has_body: bool, of_read: bool | None) -> None:
    """Check that an error says what came, on a line, and of a read whether it can have been spent."""
    assert str(error).isprintable()
    assert len(str(error)) < 1000
    assert error.status == answer.status_code
    if error.code is None and has_body:
        assert str(answer.status_code) in str(error)
        assert error.cause in {Cause.REDIRECT, Cause.FOREIGN, Cause.BROKEN}
    if of_read is not None:
        assert isinstance(error, MaybeSpentError) == of_read
        assert ("may have been spent" in str(error)) == of_read
        if error.code is None and not of_read:
            assert "nothing was spent" in str(error)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/s/secret?token=1#f", "https://other.example;"),
        ("http://other.example:8443/", "http://other.example:8443;"),
        ("//other.example/x", "other.example;"),
        ("https://user:pass@other.example/", "https://other.example;"),
        ("https://[::1]:7/", "https://[::1]:7;"),
        ("/login", "another path of the same server;"),
        ("", "nowhere;"),
        ("http://[::1", "an address that is none;"),
        ("http://a\x1b[2Jb/", "an address that is none;"),
        ("javascript:alert(1)", "another path of the same server;"),
        ("ftp://other.example/", "other.example;"),
        ("http://" + "a" * 5000, "an address that is none;"),
    ],
)
@every({name: ASKS[name] for name in ("get", "head", "push", "list")})
def test_a_redirect_is_told_with_where_it_goes_and_no_more(ask: Ask, location: str, shown: str) -> None:
    """Status and host: path and query may hold anything. No redirect is followed, and none spends a read."""
    asked = []

    def script(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return Said(307, headers=[(b"Location", location.encode("latin-1"))] if location else [])

    with pytest.raises(UnavailableError, match="307") as caught:
        ask(client_of(script))
    assert not isinstance(caught.value, MaybeSpentError)
    assert caught.value.cause is Cause.REDIRECT
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value).replace("secrets", "")
    assert set(asked) == {"drop.example"}


# Broken connections.

WHOLE: Final = {
    "get": reply(200, {"id": ID, "value": "s3cret"}),
    "refused": reply(404, {"error": "there is no such secret", "code": "not_found"}),
    "redirect": reply(302, head="Location: https://other.example/\r\n"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'8\r\n{"value"\r\n8\r\n:"s3cre"\r\n1\r\n}\r\n0\r\n\r\n',
}


@pytest.mark.parametrize("kind", WHOLE)
def test_an_answer_may_break_off_at_every_byte(kind: str) -> None:
    """Until all of it is there, the error says that the read may be spent; where the status refuses, that it is not."""
    whole = WHOLE[kind]
    head_end = whole.index(b"\r\n\r\n") + 4
    at = 0

    def script(asked: Asked) -> Any:
        if asked.path == "/version":
            return reply(200, {"name": "sirrd", "version": "1"})
        return whole[:at] or None

    with scripted(script) as server, SirrClient(server.address) as sirr:
        for at in range(len(whole)):
            with pytest.raises(SirrError) as caught:
                sirr.get(ID)
            is_refused = kind in {"refused", "redirect"} and at >= head_end
            assert isinstance(caught.value, MaybeSpentError) != is_refused, (at, caught.value)


def test_silence_is_waited_for_and_no_longer() -> None:
    """A server that takes a request and says nothing: the read may be spent, a look says that it took too long."""
    with scripted(lambda _: SILENCE) as server, SirrClient(server.address, timeout=0.2) as sirr:
        with pytest.raises(MaybeSpentError, match="in time") as caught:
            sirr.get(ID)
        assert caught.value.cause is Cause.TIMEOUT
        with pytest.raises(UnavailableError, match="in time"):
            sirr.head(ID)


DRIPS: Final[dict[str, tuple[bytes, bytes]]] = {
    "a head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b" "),
    "answers before the answer": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("kind", DRIPS)
@pytest.mark.parametrize("uses_asyncio", [False, True])
def test_what_comes_in_drops_does_not_keep_a_client(kind: str, uses_asyncio: bool) -> None:
    """A piece now and then keeps every step within its time; the whole has a time, too."""
    first, then = DRIPS[kind]
    began = time.monotonic()

    def script(asked: Asked) -> Any:
        if asked.path == "/version":
            return reply(200, {"name": "sirrd", "version": "1"})
        return itertools.chain([first], itertools.repeat(then))

    with scripted(script) as server:

        async def asked() -> None:
            async with AsyncSirrClient(server.address, timeout=0.3) as sirr:
                await sirr.get(ID)

        def ask() -> None:
            if uses_asyncio:
                asyncio.run(asked())
            else:
                with SirrClient(server.address, timeout=0.3) as sirr:
                    sirr.get(ID)

        with pytest.raises(MaybeSpentError):
            ask()
        assert len(server.asked_for("GET", f"/secrets/{ID}")) == 1
    assert time.monotonic() - began < 30


# Bodies.


def test_what_unpacks_to_gigabytes_costs_little() -> None:
    """What was not asked for is unpacked as far as an answer may go, and no farther, however much is in it."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 8)) + packer.flush()
    assert len(bomb) < 1 << 20
    answer = reply(200, bomb, head="Content-Encoding: gzip\r\n")
    with scripted(lambda _: answer) as server, SirrClient(server.address) as sirr:
        tracemalloc.start()
        try:
            for ask in (lambda: sirr.get(ID), lambda: list(sirr.list()), lambda: sirr.push("s3cret")):
                with pytest.raises(UnavailableError):
                    ask()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 64 << 20
    assert len([each for each in server.asked if each.path != "/version"]) == 3


def test_nothing_packed_is_asked_for_and_a_little_is_understood() -> None:
    """Some proxies pack whatever they are told: a value that is spent is not lost by that."""
    body = json.dumps({"id": ID, "value": "s3cret"}).encode()
    asked = []

    def script(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        packed = httpx.ByteStream(gzip.compress(body))
        return Said(200, stream=packed, headers={"Content-Encoding": "gzip"})

    assert client_of(script).get(ID).data == b"s3cret"
    assert set(asked) == {"identity"}


@pytest.mark.parametrize(
    "content", [b'{"value":"' + b'\\"' * 500_000 + b'"}', b'{"value":"' + b"a" * 5_000_000 + b'"}']
)
def test_a_long_value_is_a_value(content: bytes) -> None:
    """However it is escaped."""
    assert Answer(200, {}, content).read(Value).value == json.loads(content)["value"]


@pytest.mark.parametrize(
    "content",
    [b'"' + b'\\"' * 2_000_000, b'"' * 2_000_001, b'"\\' * 2_000_001, b'{"a":' * 100_000, b"[[" * 10, b"0" * 5_000_000],
)
def test_what_is_no_json_is_seen_at_once(content: bytes) -> None:
    """In linear time, and without parsing what has no end."""
    began = time.process_time()
    with pytest.raises(BadAnswerError):
        Answer(200, {}, content).read(Value)
    assert time.process_time() - began < 5


def test_a_list_that_breaks_off_is_asked_for_again() -> None:
    """It spends nothing; what is too long is not asked for again, since it would be again."""
    whole = reply(200, {"secrets": [DESCRIBED], "next_cursor": None})
    answers = iter([whole[:-5], None, whole])
    with scripted(lambda _: next(answers)) as server, SirrClient(server.address) as sirr:
        assert [each.key for each in sirr.list()] == [ID]
    assert len(server.asked) == 3


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "deflate"])
def test_a_body_has_a_longest(coding: str) -> None:
    """One byte more is too much, however it comes."""
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    pack = packers.get(coding, bytes)
    for size, is_whole in ((100, True), (101, False)):
        body = Body(100, coding)
        packed = pack(b"a" * size)
        for at in range(0, len(packed), 7):
            body.take(packed[at : at + 7])
        assert body.taken(ended=True) == (b"a" * (size if is_whole else body.size), is_whole)
        assert body.size <= 100


# What a server says.

BAD_MEMBERS: Final = {
    "an id that is none": {"key": "abc"},
    "an id in capitals": {"key": ID.upper()},
    "a key with an escape": {"org": "acme", "key": "a\x1b[2J"},
    "a key with a line break": {"org": "acme", "key": "a\n"},
    "a key that is a path": {"org": "acme", "key": "../../etc/passwd"},
    "a key that is too long": {"org": "acme", "key": "a" * 257},
    "an org with an escape": {"org": "\u202e", "key": "a"},
    "a count with an escape": {"read_count": "1\x1b[2J"},
    "a negative count": {"read_count": -1},
    "a count beyond all": {"read_count": 10**400},
    "a count that is a float": {"read_count": 1.0},
    "a count that is true": {"read_count": True},
    "no reads": {"max_reads": 0},
    "a time before all": {"created_at": -1},
    "a time beyond all": {"expires_at": 10**20},
    "a status of its own": {"status": "\x1b[2Jactive"},
    "a boolean that is a text": {"delete": "true"},
    "a fingerprint with an escape": {"fingerprint": "f\x1b]0;x\x07"},
    "nothing": {"fingerprint": None},
}


@pytest.mark.parametrize("members", [pytest.param(each, id=name) for name, each in BAD_MEMBERS.items()])
def test_metadata_is_what_it_must_be(members: dict[str, Any]) -> None:
    """Types, ranges and alphabets; one member that is wrong, and nothing of it is used."""
    said = DESCRIBED | members

    def script(request: httpx.Request) -> httpx.Response:
        content = json.dumps(said if request.method == "PATCH" else {"secrets": [said], "next_cursor": None}).encode()
        return Said(200, content=content)

    sirr = client_of(script)
    for ask in (lambda: list(sirr.list()), lambda: sirr.patch(ID, reads=2)):
        with pytest.raises(UnavailableError, match="not of sirrd"):
            ask()


def test_what_is_new_is_left_out() -> None:
    """A later release may say more."""
    said = DESCRIBED | {"colour": "\x1b[2J", "labels": [{"a": 1}]}
    sirr = client_of(lambda _: Said(200, json={"secrets": [said], "next_cursor": None, "total": 1}))
    assert [each.key for each in sirr.list()] == [ID]


BAD_HEADERS: Final = {
    "an escape": {"X-Sirr-Read-Count": "1\x1b[2J"},
    "a negative count": {"X-Sirr-Read-Count": "-1"},
    "a count with a plus": {"X-Sirr-Read-Count": "+1"},
    "digits of another script": {"X-Sirr-Read-Count": "\u00b2"},
    "a count beyond all": {"X-Sirr-Read-Count": "1" + "0" * 400},
    "an empty count": {"X-Sirr-Read-Count": ""},
    "no number": {"X-Sirr-Reads-Remaining": "many"},
    "another boolean": {"X-Sirr-Delete": "yes"},
    "another lock": {"X-Sirr-Locked": "maybe"},
    "another status": {"X-Sirr-Status": "burning"},
    "a time beyond all": {"X-Sirr-Expires-At": "9" * 15},
    "a fingerprint with an escape": {"X-Sirr-Fingerprint": "\x1b[2J"},
    "a long fingerprint": {"X-Sirr-Fingerprint": "f" * 5000},
}


@pytest.mark.parametrize("headers", [pytest.param(each, id=name) for name, each in BAD_HEADERS.items()])
def test_headers_are_what_they_must_be(headers: dict[str, str]) -> None:
    """What `head` tells is checked like everything else."""
    said = [(name.encode(), text.encode("latin-1")) for name, text in (LOOKED | headers).items()]
    with pytest.raises(UnavailableError, match="not of sirrd"):
        client_of(lambda _: Said(200, headers=said)).head(ID)


def test_a_look_is_recognisable() -> None:
    """So that a server can tell it from a read, even after a proxy has made a `GET` of it."""
    asked = []

    def script(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.headers.get("x-sirr-look")))
        return Said(200, headers=LOOKED)

    assert client_of(script).head(ID).reads_remaining == 1
    assert asked == [("HEAD", "true")]


@pytest.mark.parametrize("status", [403, 405, 501])
def test_where_nobody_may_look_nothing_was_spent_and_nothing_found_out(status: int) -> None:
    """Something before the server refuses it: the secret can still be read."""
    with pytest.raises(CannotLookError, match="nothing was spent") as caught:
        client_of(lambda _: Said(status)).head(ID)
    assert caught.value.status == status


@pytest.mark.parametrize(("status", "kind"), [(401, UnauthorisedError), (404, NotFoundError)])
def test_only_a_sirrd_says_that_a_secret_is_gone(status: int, kind: type[SirrError]) -> None:
    """What stands before it has pages of its own for these, and an answer to HEAD has no body that would tell."""
    for head in ({"Content-Type": HTML}, {}):
        with pytest.raises(UnavailableError, match="not of sirrd") as caught:
            client_of(lambda _: Said(status, headers=head)).head(ID)  # noqa: B023 - used at once
        assert (caught.value.status, caught.value.cause) == (status, Cause.FOREIGN)
    with pytest.raises(kind):
        client_of(lambda _: Said(status, headers={"Content-Type": "application/json; charset=utf-8"})).head(ID)
    with pytest.raises(UnavailableError, match="not of sirrd"):
        client_of(lambda _: Said(410)).head(ID)


@pytest.mark.parametrize(
    "after", ["-1", "nan", "inf", "1e9", "9" * 400, "0x10", "Wed, 21 Oct 2099 07:28:00 GMT", "\u00b2", ""]
)
def test_how_long_to_wait_no_stranger_says(after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no small number of seconds is no wait."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    said = Said(503, json={"error": "no", "code": "busy"}, headers=[(b"Retry-After", after.encode("latin-1"))])
    with pytest.raises(UnavailableError):
        client_of(lambda _: said).prune()
    assert all(0 < each <= 10 for each in waited)


URLS: Final = {
    "a script": "javascript:alert(1)", "a file": f"file:///s/{ID}", "no host": f"https:///s/{ID}",
    "another secret": f"https://drop.example/s/{'cd' * 32}", "an escape": f"https://a\x1b[2Jb/s/{ID}",
    "a login": f"https://user:pass@drop.example/s/{ID}", "a key of its own": f"https://drop.example/s/{ID}#{LINK.fragment}",
    "another path": f"https://drop.example/x/{ID}", "a line break": f"https://drop.example/s/{ID}\n",
    "a dot too many": f"https://a..b/s/{ID}", "a port too many": f"https://a:99999/s/{ID}", "an open bracket": f"https://[::1/s/{ID}",
    "a thousand letters": f"https://{'a' * 5000}/s/{ID}",
}  # fmt: skip


@pytest.mark.parametrize("url", [pytest.param(each, id=name) for name, each in URLS.items()])
def test_a_link_that_a_server_names_is_a_link(url: str) -> None:
    """Well formed, of this secret, and with no key but the one that was made here."""
    with pytest.raises(UnavailableError, match="not of sirrd"):
        client_of(lambda _: Said(201, json={"id": ID, "url": url})).push("s3cret")


def test_a_server_may_be_known_by_another_name() -> None:
    """Its operator says which name is for the public."""
    said = Said(201, json={"id": ID, "url": f"https://public.example/team/s/{ID}"})
    pushed = client_of(lambda _: said).push("s3cret")
    assert pushed.url.startswith(f"https://public.example/team/s/{ID}#")


def test_a_value_that_does_not_open_is_carried() -> None:
    """Never taken for what was sent: not in the clear, not under another key, not cut."""
    for value in ("s3cret", "sirr1.AAAA", "sirr1." + "A" * 80, "\x1b[2J"):
        answer = Said(200, json={"value": value})
        with pytest.raises(CannotOpenError) as caught:
            client_of(lambda _, answer=answer: answer).get(LINK)  # type: ignore[misc]
        assert caught.value.value == value
        assert value not in str(caught.value)


@pytest.mark.parametrize("cursors", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "b"]])
def test_a_list_that_goes_in_circles_ends(cursors: list[str]) -> None:
    """With an error, after what came is given."""
    coming = iter(cursors * 3)
    sirr = client_of(lambda _: Said(200, json={"secrets": [DESCRIBED], "next_cursor": next(coming)}))
    found: list[str] = []

    def take() -> None:
        for each in sirr.list():
            found.append(each.key)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(UnavailableError, match="no end"):
        take()
    assert len(found) == len(cursors)


def test_a_list_of_nothing_ends() -> None:
    """Page after page with another cursor, and nothing on any."""
    numbers = iter(range(10**9))
    with pytest.raises(UnavailableError, match="no end"):
        list(client_of(lambda _: Said(200, json={"secrets": [], "next_cursor": f"c{next(numbers)}"})).list())
    assert next(numbers) < 2000


@pytest.mark.parametrize("cursor", ["", "a b", "\x1b", "a" * 600, 1, {}])
def test_a_cursor_is_a_word(cursor: Any) -> None:
    """It goes into a URL again."""
    with pytest.raises(UnavailableError):
        list(client_of(lambda _: Said(200, json={"secrets": [DESCRIBED], "next_cursor": cursor})).list())


# What the caller says.

NOT_SENT: Final[dict[str, Ask]] = {
    "a path": lambda sirr: sirr.get("../health"),
    "two dots": lambda sirr: sirr.delete(".."),
    "a dot": lambda sirr: sirr.get(".", org="acme"),
    "nothing": lambda sirr: sirr.get(""),
    "a blank": lambda sirr: sirr.head(" "),
    "half a link": lambda sirr: sirr.get(f"drop.example/s/{ID}"),
    "the end of a link": lambda sirr: sirr.get(str(LINK.fragment)),
    "the end of a link, in an org": lambda sirr: sirr.delete(str(LINK.fragment), org="acme"),
    "an id and its fragment": lambda sirr: sirr.head(f"{ID}#{LINK.fragment}"),
    "an id in capitals": lambda sirr: sirr.get(ID.upper()),
    "half a character": lambda sirr: sirr.get("\udcff"),
    "an org with a slash": lambda sirr: sirr.get("KEY", org="a/b"),
    "no org": lambda sirr: sirr.get("KEY", org=""),
    "an org to list": lambda sirr: list(sirr.list(org="..")),
    "an org to prune": lambda sirr: sirr.prune(org="\udcff"),
    "a key to set": lambda sirr: sirr.set("acme", "a b", "value"),
    "a value with half a character": lambda sirr: sirr.push("\udcff"),
    "a plain one, too": lambda sirr: sirr.push("\udcff", encrypt=False),
    "a name with half a character": lambda sirr: sirr.push(Content(b"x", "\udcfc.txt")),
    "a passphrase with half a character": lambda sirr: sirr.push("x", passphrase="\udcff"),
    "a lifetime that is none": lambda sirr: sirr.push("x", ttl=float("nan")),  # type: ignore[arg-type]
    "a lifetime of ages": lambda sirr: sirr.push("x", ttl=10**5000),
    "reads that are a text": lambda sirr: sirr.push("x", reads="1"),  # type: ignore[arg-type]
    "reads that are true": lambda sirr: sirr.patch(ID, reads=True),
    "a link of a server that is none": lambda sirr: sirr.get(f"http://a..b/s/{ID}"),
    "a link with a port too many": lambda sirr: sirr.get(f"http://a:99999/s/{ID}"),
}


@every(NOT_SENT)
def test_what_is_no_name_is_sent_nowhere(ask: Ask) -> None:
    """Neither a fragment nor anything that a path could be made of; an error of the client says so, on a line."""
    asked = []

    def script(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return problem(404, "not_found")

    with pytest.raises((SirrError, BadLinkError, BadContentError)) as caught:
        ask(client_of(script))
    assert not isinstance(caught.value, NotFoundError)
    assert str(caught.value).isprintable()
    assert str(LINK.fragment) not in str(caught.value)
    assert asked == []


def test_a_name_in_capitals_is_a_name() -> None:
    """Of 44 letters, and beginning like a fragment: nobody's random bytes look like that."""
    name = "ENTERPRISE_DATABASE_CONNECTION_PASSWORD_PROD"
    assert len(name) == 44
    Fragment.parse(name)
    assert client_of(lambda _: Said(200, json={"key": name, "value": "x"})).get(name, org="acme").data == b"x"


def test_a_body_too_large_for_a_proxy_is_told_as_such() -> None:
    """The server is asked for its limit; if that is not it, something in between has a smaller one."""

    def script(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return Said(200, json={"name": "sirrd", "version": "1", "max_value_bytes": 8_388_608})
        return Said(413, text="<html>", headers={"Content-Type": HTML})

    with pytest.raises(RefusedError, match="before the server") as caught:
        client_of(script).push("x" * 2_000_000)
    assert caught.value.status == 413


def test_a_server_that_breaks_off_a_long_body_is_asked_for_its_limit() -> None:
    """Rather than to say that the connection broke."""

    def script(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return Said(200, json={"name": "sirrd", "version": "1", "max_value_bytes": 1000})
        raise httpx.WriteError("reset", request=request)

    with pytest.raises(RefusedError, match="the server takes 1000"):
        client_of(script).push("x" * 2000)


def test_a_server_that_hangs_does_not_keep_who_has_the_value() -> None:
    """The word that it has arrived is of use, and not needed: its answer is waited for as long as for one step."""
    drips = itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X: y\r\n"))
    with scripted(lambda asked: drips if asked.path.endswith("/received") else Drops()(asked)) as server:
        with SirrClient(server.address, timeout=1) as sirr:
            reading = sirr.read(ID)
            began = time.monotonic()
            reading.received()
        assert time.monotonic() - began < 3


def test_a_connection_that_was_kept_does_not_keep_a_client_either() -> None:
    """A first answer as it should be; and then, on the same connection, a head in drops."""
    connections = 0

    def serve(connection: socket.socket) -> None:
        connection.settimeout(30)
        with connection, contextlib.suppress(OSError):
            while (asked := received(connection)) is not None:
                if asked.path == "/version":
                    connection.sendall(
                        reply(200, {"name": "sirrd", "version": "1"}).replace(b"Connection: close\r\n", b"")
                    )
                    continue
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(200):
                    connection.sendall(b"X: y\r\n")
                    threading.Event().wait(0.1)

    def accept(listener: socket.socket) -> None:
        nonlocal connections
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        with SirrClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5) as sirr:
            sirr.about()
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="in time"):
                sirr.push("s3cret")
            assert time.monotonic() - began < 6
        assert connections == 1
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", ["push", "patch", "delete", "set"])
def test_what_may_have_been_done_is_said(name: str) -> None:
    """Where the answer is lost; what was refused, or never sent, was not done."""

    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    for script, may_be in (
        (lose, True),
        (lambda _: Said(502, text="<html>"), True),
        (lambda _: Said(200, text="<html>"), True),
        (lambda _: problem(500, "internal"), True),
        (lambda _: problem(400, "bad_field"), False),
        (lambda _: problem(503, "busy"), False),
        (lambda _: Said(301), False),
    ):
        with pytest.raises(SirrError) as caught:
            ASKS[name](client_of(script))
        assert ("may have been done" in str(caught.value)) == may_be, caught.value
