"""When a call is sent again: only where nothing can be spent twice. What attempts add is in `test_attempts`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from sirrd.client import (
    MaybeSpentError,
    Metadata,
    NotFoundError,
    RefusedError,
    SirrClient,
    SirrError,
    UnauthorisedError,
    UnavailableError,
)

ID: Final = "ab" * 32
BUSY: Final = {"error": "too much is waiting", "code": "busy"}
Ask = Callable[[SirrClient], Any]

SPENDS: Final[dict[str, Ask]] = {"get": lambda sirr: sirr.get(ID)}
CHANGES: Final[dict[str, Ask]] = {
    "push": lambda sirr: sirr.push("s3cret"),
    "patch": lambda sirr: sirr.patch(ID, reads=2),
    "delete": lambda sirr: sirr.delete(ID),
    "set": lambda sirr: sirr.set("acme", "k", "v"),
}
LOOKS: Final[dict[str, Ask]] = {
    "head": lambda sirr: sirr.head(ID),
    "list": lambda sirr: list(sirr.list()),
    "prune": lambda sirr: sirr.prune(),
    "health": lambda sirr: sirr.health(),
}
ONCE: Final = SPENDS | CHANGES
ALL: Final = ONCE | LOOKS


class Server:
    """Fails a number of times in a way of its own, then answers as one without any secret; it knows no attempts.

    Attributes:
        asked: How many requests arrived, but for those that ask what it is.
        waited: How long the client paused before each new attempt.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fail: Callable[[httpx.Request], httpx.Response], times: int
    ) -> None:
        self.asked = 0
        self.waited: list[float] = []
        self._fail = fail
        self._times = times
        monkeypatch.setattr(time, "sleep", self.waited.append)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.url.path == "/version":
            return httpx.Response(200, json={"name": "sirrd", "version": "0.0.9"})
        self.asked += 1
        if self.asked <= self._times:
            return self._fail(request)
        return httpx.Response(404, json={"error": "gone", "code": "not_found"})

    def client(self) -> SirrClient:
        """Return a client of it."""
        return SirrClient("https://drop.example", transport=httpx.MockTransport(self))


def unreachable(request: httpx.Request) -> httpx.Response:
    """Fail before anything is sent."""
    raise httpx.ConnectError("refused", request=request)


def silent(request: httpx.Request) -> httpx.Response:
    """Fail after everything was sent."""
    raise httpx.ReadTimeout("silence", request=request)


def broken(request: httpx.Request) -> httpx.Response:
    """Fail in the middle."""
    raise httpx.RemoteProtocolError("disconnected", request=request)


def busy(_: httpx.Request) -> httpx.Response:
    """Ask to come back."""
    return httpx.Response(503, json=BUSY, headers={"Retry-After": "3"})


def every(asks: dict[str, Ask]) -> pytest.MarkDecorator:
    """Give a test each of some calls."""
    return pytest.mark.parametrize("ask", [pytest.param(ask, id=name) for name, ask in asks.items()])


@every(ALL)
def test_what_did_not_reach_the_server_is_sent_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times more, with growing pauses; then the error says that nobody is there."""
    server = Server(monkeypatch, unreachable, 99)
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        ask(server.client())
    assert not isinstance(caught.value, MaybeSpentError)
    assert server.asked == 4
    assert all(0.1 * 2**n <= pause <= 0.2 * 2**n for n, pause in enumerate(server.waited))


@every(ONCE)
@pytest.mark.parametrize("fail", [silent, broken, busy])
def test_what_may_have_reached_it_is_sent_once(
    ask: Ask, fail: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second read, a second secret or a second revival would cost something."""
    server = Server(monkeypatch, fail, 99)
    with pytest.raises(UnavailableError):
        ask(server.client())
    assert server.asked == 1


@every(SPENDS)
@pytest.mark.parametrize("fail", [silent, broken])
def test_a_read_without_an_answer_may_be_spent(
    ask: Ask, fail: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, rather than that it can be tried again."""
    with pytest.raises(MaybeSpentError, match="may have been spent"):
        ask(Server(monkeypatch, fail, 99).client())


@every({name: ask for name, ask in LOOKS.items() if name != "health"})
@pytest.mark.parametrize("fail", [silent, broken, busy, unreachable])
def test_what_spends_nothing_is_sent_again(
    ask: Ask, fail: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever went wrong, until there is an answer; `Retry-After` is kept."""
    server = Server(monkeypatch, fail, 2)
    with pytest.raises(NotFoundError):
        ask(server.client())
    assert server.asked == 3
    if fail is busy:
        assert server.waited == [3.0, 3.0]


def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for a minute gets an error instead, which says what it said."""
    server = Server(monkeypatch, lambda _: httpx.Response(429, json=BUSY, headers={"Retry-After": "60"}), 99)
    with pytest.raises(UnavailableError, match="too much is waiting"):
        server.client().prune()
    assert (server.asked, server.waited) == (1, [])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(200, text="<html>"), UnavailableError),
        (httpx.Response(200, json=[]), UnavailableError),
        (httpx.Response(200, json={}), UnavailableError),
        (httpx.Response(404, text="nothing here"), UnavailableError),
        (httpx.Response(404, json={"error": "no route", "code": "no_such_route"}), RefusedError),
        (httpx.Response(401, json={"error": "no", "code": "unauthorized"}), UnauthorisedError),
        (httpx.Response(302, headers={"Location": "https://evil.example"}), UnavailableError),
        (httpx.Response(500, json={"error": "crashed", "code": "internal"}), UnavailableError),
        (httpx.Response(500, json={"error": 1}), UnavailableError),
    ],
)
def test_every_answer_is_understood_or_an_error(
    answer: httpx.Response, kind: type[SirrError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers may be another program, a proxy, or a newer release."""
    for ask in (SPENDS["get"], CHANGES["push"], CHANGES["patch"], LOOKS["list"]):
        server = Server(monkeypatch, lambda _: answer, 99)
        with pytest.raises(kind):
            ask(server.client())


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(504, text="<html>gateway"),
        httpx.Response(502),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
    ],
)
def test_a_read_that_a_proxy_answered_may_be_spent(answer: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not speak like a sirrd may have lost the answer of one."""
    server = Server(monkeypatch, lambda _: answer, 99)
    with pytest.raises(MaybeSpentError):
        SPENDS["get"](server.client())
    assert server.asked == 1


def test_a_read_that_was_refused_is_not_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sirrd that is busy says so itself."""
    with pytest.raises(UnavailableError) as caught:
        SPENDS["get"](Server(monkeypatch, busy, 99).client())
    assert not isinstance(caught.value, MaybeSpentError)


def test_what_answers_cannot_write_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is named by whoever made the link: its sentences are cut and cleaned, its names refused."""
    said = {"error": "gone \x1b[2J\r\n" + "x" * 1000, "code": "not_found"}
    with pytest.raises(NotFoundError) as caught:
        SPENDS["get"](Server(monkeypatch, lambda _: httpx.Response(404, json=said), 99).client())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 300
    listed: dict[str, Any] = dict.fromkeys(Metadata._fields, 1) | {"key": "a\x1b[2J", "org": None}
    listed |= {"fingerprint": "f", "status": "active"}
    with pytest.raises(UnavailableError):
        LOOKS["list"](Server(monkeypatch, lambda _: httpx.Response(200, json={"secrets": [listed]}), 99).client())
