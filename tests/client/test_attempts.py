"""An answer that is lost is asked for again, and no second read is ever spent."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from sirrd.client import (
    AsyncSirrClient,
    CannotOpenError,
    Link,
    LockedError,
    MaybeSpentError,
    NotFoundError,
    SirrClient,
    UnavailableError,
)
from sirrd.link import Fragment
from tests.client.servers import ID, Asked, Drops, relayed, reply, scripted
from tests.conftest import Launch

READ: Final = f"/secrets/{ID}"
Get = Callable[..., bytes]


def _get(server: str, what: str = ID) -> bytes:
    with SirrClient(server, timeout=10) as sirr:
        return sirr.get(what).data


def _aget(server: str, what: str = ID) -> bytes:
    async def got() -> bytes:
        async with AsyncSirrClient(server, timeout=10) as sirr:
            return (await sirr.get(what)).data

    return asyncio.run(got())


BOTH: Final = pytest.mark.parametrize("get", [pytest.param(_get, id="threads"), pytest.param(_aget, id="asyncio")])


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for; nobody really waits."""
    found: list[float] = []

    async def pause(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(asyncio, "sleep", pause)
    return found


class Losing:
    """Does what a server does, and loses the answers of the first reads."""

    def __init__(self, drops: Drops, times: int, instead: Callable[[bytes], Any] = lambda _: None) -> None:
        self._drops = drops
        self._left = times
        self._instead = instead

    def __call__(self, asked: Asked) -> Any:
        """Answer a request."""
        said = self._drops(asked)
        if asked.path == READ and self._left:
            self._left -= 1
            return self._instead(said)
        return said


def _first_of(cuts: Iterator[bool]) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(f"GET {READ} ".encode()) and next(cuts, False)


@BOTH
def test_a_hundred_lost_answers_cost_one_read_each(get: Get) -> None:
    """A relay takes the answer of a spent read in, and cuts the connection before the client has a byte of it."""
    for _ in range(100):
        drops, cuts = Drops(), iter([True])
        with scripted(drops) as server, relayed(server.port, cut=_first_of(cuts)) as relay:
            assert get(relay) == b"s3cret"
        assert drops.spent == 1
        assert [each.attempt for each in server.asked_for("GET", READ)] == drops.received * 2


class CutOnce:
    """Cuts the first answer to each read."""

    def __init__(self) -> None:
        self.cut: list[bytes] = []

    def __call__(self, head: bytes) -> bool:
        """Tell whether to cut."""
        first = head.split(b"\r\n")[0]
        if not first.startswith(b"GET /secrets/") or first in self.cut:
            return False
        self.cut.append(first)
        return True


@BOTH
@pytest.mark.parametrize("terms", [{"reads": 1}, {"reads": 3, "keep": True}], ids=["burns", "is kept"])
def test_i1_a_hundred_lost_answers_of_a_daemon_cost_one_read_each(
    get: Get, terms: dict[str, Any], launch: Launch
) -> None:
    """The whole daemon, behind the relay: one read is spent, and the value is there, 100 times of 100."""
    cut = CutOnce()
    with launch() as process, SirrClient(process.address()) as sirr:
        pushed = [sirr.push(str(number), **terms) for number in range(100)]
        with relayed(int(process.address().rpartition(":")[2]), cut=cut) as relay:
            got = [get(relay, str(Link(relay, each.id, each.link.fragment))) for each in pushed]
        assert got == [str(number).encode() for number in range(100)]
        assert len(cut.cut) == 100
        for each in pushed:
            if "keep" in terms:
                assert sirr.head(each.link).read_count == 1
            else:
                with pytest.raises(NotFoundError):
                    sirr.get(each.link)


LOSSES: Final[dict[str, Callable[[bytes], Any]]] = {
    "no byte": lambda _: None,
    "half of the head": lambda said: said[:20],
    "half of the body": lambda said: said[:-10],
    "a gateway that has no answer": lambda _: reply(502, b"<html>", type_="text/html"),
    "a gateway that waited": lambda _: reply(504),
    "a page": lambda _: reply(200, b"<html>log in</html>", type_="text/html"),
    "no value": lambda _: reply(200, {"id": ID}),
    "no content": lambda _: reply(204),
    "a crash": lambda _: reply(500, {"error": "something went wrong", "code": "internal"}),
}


@BOTH
@pytest.mark.parametrize("instead", [pytest.param(each, id=name) for name, each in LOSSES.items()])
@pytest.mark.parametrize("times", [1, 3])
def test_whatever_came_instead_the_value_is_got(get: Get, instead: Callable[[bytes], Any], times: int) -> None:
    """Once, or three times: it is there with the fourth, and one read is spent."""
    drops = Drops()
    with scripted(Losing(drops, times, instead)) as server:
        assert get(server.address) == b"s3cret"
    assert drops.spent == 1
    assert len(drops.received) == 1


@BOTH
def test_four_times_is_all(get: Get) -> None:
    """Then the error says what is true: the read may be spent."""
    drops = Drops()
    with scripted(Losing(drops, 99)) as server, pytest.raises(MaybeSpentError, match="may have been spent"):
        get(server.address)
    asked = server.asked_for("GET", READ)
    assert (len(asked), len({each.attempt for each in asked}), drops.spent) == (4, 1, 1)
    assert drops.received == []


@BOTH
@pytest.mark.parametrize("window", [None, 0])
def test_an_older_server_is_never_asked_twice(get: Get, window: int | None) -> None:
    """It takes no notice of attempts: a repeat would spend another read."""
    drops = Drops(reads=9, window=window)
    with scripted(Losing(drops, 99)) as server, pytest.raises(MaybeSpentError):
        get(server.address)
    assert (drops.spent, len(server.asked_for("GET", READ)), len(server.asked_for("GET", "/version"))) == (1, 1, 1)


@BOTH
def test_a_server_that_is_replaced_by_an_older_one_is_not_asked_again(get: Get) -> None:
    """Whether it knows attempts is asked before each repeat."""
    windows = iter([60])
    spent = []

    def script(asked: Asked) -> Any:
        if asked.path == "/version":
            window = next(windows, None)
            said = {"name": "sirrd", "version": "1"}
            return reply(200, said if window is None else said | {"redelivery_seconds": window})
        spent.append(asked.attempt)
        return None

    with scripted(script) as server, pytest.raises(MaybeSpentError):
        get(server.address)
    assert len(spent) == 2
    assert len(server.asked_for("GET", "/version")) == 2


@BOTH
def test_what_works_is_not_asked_about(get: Get) -> None:
    """A read whose answer comes asks for no version."""
    drops = Drops()
    with scripted(drops) as server:
        assert get(server.address) == b"s3cret"
    assert [(each.method, each.path) for each in server.asked] == [("GET", READ), ("POST", f"{READ}/received")]


def test_every_read_is_an_attempt_of_its_own() -> None:
    """32 random bytes in the one form that a server takes."""
    drops = Drops(reads=5)
    with scripted(drops) as server, SirrClient(server.address) as sirr:
        for _ in range(5):
            sirr.get(ID)
    attempts = [str(each.attempt) for each in server.asked_for("GET", READ)]
    assert len(set(attempts)) == 5
    for each in attempts:
        data = base64.urlsafe_b64decode(each + "=")
        assert len(data) == 32
        assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == each


def test_an_org_secret_is_read_in_an_attempt_too() -> None:
    """And said to be received under its own path."""
    drops = Drops()
    lost = iter([True])
    path = "/orgs/acme/secrets/KEY"

    def script(asked: Asked) -> Any:
        said = drops(asked)
        return None if asked.path == path and next(lost, False) else said

    with scripted(script) as server, SirrClient(server.address, "token") as sirr:
        assert sirr.get("KEY", org="acme").data == b"s3cret"
    assert len({each.attempt for each in server.asked if each.path != "/version"}) == 1
    assert len(server.asked_for("POST", f"{path}/received")) == 1
    assert drops.spent == 1


@BOTH
def test_the_server_may_be_gone_for_a_while(get: Get, waited: list[float]) -> None:
    """A daemon that is killed between commit and answer, and started again, still has the answer: it is waited for."""
    drops, down = Drops(), iter([None] * 8)
    losing = Losing(drops, 1)

    def script(asked: Asked) -> Any:
        return next(down, losing(asked)) if asked.path == "/version" else losing(asked)

    with scripted(script) as server:
        assert get(server.address) == b"s3cret"
    assert drops.spent == 1
    assert 5 < sum(waited) < 60


@BOTH
def test_after_its_time_nothing_is_asked_again(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time counts from the first try, and while the machine sleeps."""
    drops = Drops(reads=9, window=10)
    clock = iter(range(0, 1000, 11))
    monkeypatch.setattr(time, "clock_gettime", lambda _: float(next(clock)))
    with scripted(Losing(drops, 99)) as server, pytest.raises(MaybeSpentError):
        get(server.address)
    assert (drops.spent, len(server.asked_for("GET", READ))) == (1, 1)


AFTER_A_LOSS: Final = {
    "gone": reply(404, {"error": "there is no such secret, or not any more", "code": "not_found"}),
    "over": reply(409, {"error": "this attempt is over", "code": "attempt_over"}),
    "often": reply(429, {"error": "too many repeats", "code": "too_many_repeats"}, head="Retry-After: 5\r\n"),
    "limited": reply(429, {"error": "too many requests", "code": "rate_limited"}, head="Retry-After: 60\r\n"),
    "closed": reply(401, {"error": "a valid bearer is required", "code": "unauthorized"}),
    "sealed": reply(410, {"error": "the secret is sealed", "code": "sealed"}),
    "a redirect": reply(302, head="Location: https://other.example/\r\n"),
}


@BOTH
@pytest.mark.parametrize("second", [pytest.param(each, id=name) for name, each in AFTER_A_LOSS.items()])
def test_a_refusal_after_a_loss_leaves_it_open(get: Get, second: bytes) -> None:
    """The first try may have spent the read: nobody may say that nothing was."""
    answers = iter([None, second])

    def script(asked: Asked) -> Any:
        if asked.path == "/version":
            return reply(200, {"name": "sirrd", "version": "1", "redelivery_seconds": 60})
        return next(answers)

    with scripted(script) as server, pytest.raises(MaybeSpentError, match="may have been spent") as caught:
        get(server.address)
    assert "nothing" not in str(caught.value)


@BOTH
def test_an_attempt_that_is_over_was_spent(get: Get) -> None:
    """Also where it is the first answer: something sent the request twice."""
    said = reply(409, {"error": "this attempt has read it before", "code": "attempt_over"})
    with scripted(lambda _: said) as server, pytest.raises(MaybeSpentError) as caught:
        get(server.address)
    assert (caught.value.code, len(server.asked)) == ("attempt_over", 1)


@BOTH
def test_a_lock_that_is_asked_for_again_has_not_been_passed(get: Get) -> None:
    """A server that knows the attempt asks for no proof: so the first try had not come there."""
    answers = iter([None, reply(403, {"error": "this is not its proof", "code": "proof_mismatch"})])

    def script(asked: Asked) -> Any:
        if asked.path == "/version":
            return reply(200, {"name": "sirrd", "version": "1", "redelivery_seconds": 60})
        return next(answers)

    with scripted(script) as server, pytest.raises(LockedError):
        get(server.address)


@BOTH
def test_what_is_busy_is_asked_again(get: Get) -> None:
    """A sirrd that has no time spends nothing; where it knows attempts, to ask again is safe whatever it meant."""
    drops = Drops()
    busy = reply(503, {"error": "too much is waiting", "code": "busy"}, head="Retry-After: 1\r\n")
    answers = iter([busy, busy])

    def script(asked: Asked) -> Any:
        return next(answers, None) or drops(asked) if asked.path == READ else drops(asked)

    with scripted(script) as server:
        assert get(server.address) == b"s3cret"
    old = Drops(window=None)
    script_of_old = lambda asked: busy if asked.path == READ else old(asked)  # noqa: E731
    with scripted(script_of_old) as server, pytest.raises(UnavailableError) as caught:
        get(server.address)
    assert not isinstance(caught.value, MaybeSpentError)
    assert len(server.asked_for("GET", READ)) == 1


# Received.


@pytest.mark.parametrize(
    "said",
    [None, reply(404, {"error": "there is nothing here", "code": "no_such_route"}), reply(500, b"<html>"), b"garbage"],
)
@BOTH
def test_nothing_depends_on_the_word_that_it_has_arrived(get: Get, said: bytes | None) -> None:
    """It is said once; an older server does not understand, and the value is there all the same."""
    drops = Drops()
    with scripted(lambda asked: said if asked.path.endswith("/received") else drops(asked)) as server:
        assert get(server.address) == b"s3cret"
    assert len(server.asked_for("POST", f"{READ}/received")) == 1


def test_a_caller_can_say_it_later() -> None:
    """After the value was written where it belongs; saying it twice does no harm."""
    drops = Drops()
    with scripted(drops) as server, SirrClient(server.address) as sirr:
        reading = sirr.read(ID)
        assert reading.content.data == b"s3cret"
        assert "s3cret" not in repr(reading)
        assert drops.received == []
        reading.received()
        reading.received()
    assert drops.received == [server.asked_for("GET", READ)[0].attempt] * 2


async def test_a_caller_can_say_it_later_with_asyncio() -> None:
    """The same."""
    drops = Drops()
    with scripted(drops) as server:
        async with AsyncSirrClient(server.address) as sirr:
            reading = await sirr.read(ID)
            assert (reading.content.data, drops.received) == (b"s3cret", [])
            await reading.received()
    assert drops.received == [server.asked_for("GET", READ)[0].attempt]


def test_what_does_not_open_is_not_said_to_have_arrived() -> None:
    """It stands in the error, and nobody knows yet what becomes of it."""
    drops = Drops(value="something else")
    with scripted(drops) as server, SirrClient(server.address) as sirr, pytest.raises(CannotOpenError) as caught:
        sirr.get(Link(server.address, ID, Fragment(bytes(32))))
    assert (caught.value.value, drops.spent, drops.received) == ("something else", 1, [])


@BOTH
def test_a_secret_that_is_gone_is_gone(get: Get) -> None:
    """Without a loss before it a refusal is what it says."""
    with scripted(Drops(reads=0)) as server, pytest.raises(NotFoundError):
        get(server.address)
    assert len(server.asked) == 1


@BOTH
def test_a_read_that_was_never_sent_is_not_spent(get: Get) -> None:
    """Nobody listens there: four tries, and no word of a read that may be spent."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnavailableError, match="nothing was spent") as caught:
        get(f"http://127.0.0.1:{port}")
    assert not isinstance(caught.value, MaybeSpentError)
