"""A head may be 64 KiB of anything: what is done about it stays small, however it is filled."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final, Self
from urllib.parse import unquote

import pytest

from sirrd.http.pages import texts
from sirrd.http.peers import MOST_MEMBERS, Peers
from tests.conftest import API_KEY, Daemon, Start
from tests.contract.test_raw import ask

FULL: Final = 62_000
BEARER: Final = (b"authorization", f"Bearer {API_KEY}".encode())
MOST_STEPS: Final = 1_500
"""Function calls, of C and of Python: an ordinary request takes some hundred, one for each member thousands."""


def filled(piece: str) -> str:
    """Return a piece over and over, as much as a head holds."""
    return piece * (FULL // len(piece))


QUERIES: Final = ["a=1&", "&", "a&", "lang=de&", "limit=1&", "%61=%61&", "%6cimit=1&", ";", "a=%C3%A9&", "+"]
FIELDS: Final = [
    (name, piece)
    for name, pieces in {
        "accept-language": ["de,", ",", "de;q=0.5,", "*,", " ,", "x-y-", "de;q=1.000 , "],
        "accept": ["text/html,", ",", "*/*;q=0.1,", "a/b;c=d;", "text/html;q=0.5,", " "],
        "x-forwarded-for": ["10.0.0.1,", ",", "10.0.0.1", "::1,", "[::1]:80,", " ", "x,", ":"],
        "x-forwarded-host": ["a.example,", ",", "a.", "[::1],", " "],
        "x-forwarded-proto": ["https,", ",", "x"],
        "host": ["a.", "a", "[::1]", "_"],
        "authorization": ["Bearer ", "a", " "],
        "origin": ["http://a", "a,"],
        "content-type": ["application/json;", " ", "application/json; charset=utf-8,", ";", "\t"],
        "cookie": ["a=1; "],
        "purpose": ["prefetch", "pre", "a,"],
        "x-moz": ["pre"],
        "sec-fetch-site": ["none,", "same-origin"],
        "sec-purpose": ["prefetch;"],
        "x-sirr-proof": ["a"],
        "x-sirr-attempt": ["a", "-"],
        "range": ["0-1,"],
        "if-none-match": ['"a",'],
        "x-request-id": ["a"],
        "access-control-request-method": ["GET,"],
        "access-control-request-headers": ["a,"],
        "expect": ["100-continue,"],
    }.items()
    for piece in pieces
]
PATHS: Final = ["/", "/s/", "/%61", "/%2f", "/secrets/a", "/orgs", "/.", "/..", "a", "/secrets", ";a", "%"]
A_DROP: Final = "0" * 64
ASKED: Final = [
    *(("GET", path) for path in ("/", f"/s/{A_DROP}", "/secrets", f"/secrets/{A_DROP}", "/nowhere")),
    *(("POST", path) for path in ("/secrets", f"/s/{A_DROP}")),
    ("OPTIONS", "/secrets"),
]


class Steps:
    """Counts the calls that are made meanwhile, those of built-in functions among them."""

    def __init__(self) -> None:
        self.taken = 0

    def _count(self, _frame: FrameType, event: str, _arg: Any) -> None:
        if event in {"call", "c_call"}:
            self.taken += 1

    def __enter__(self) -> Self:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


async def steps_of(daemon: Daemon, method: str, target: str, *fields: tuple[bytes, bytes]) -> int:
    """Return how many calls a request takes, once its answer was made before."""
    sent = [BEARER, *fields]
    await ask(daemon, method, target, sent, [b'{"value": "v"}'])
    with Steps() as steps:
        await ask(daemon, method, target, sent, [b'{"value": "v"}'])
    return steps.taken


@pytest.fixture(autouse=True)
def _as_the_protocol_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is too long for any name is not decoded before it comes here: see `sirrd.server.protocol`."""
    monkeypatch.setattr("tests.contract.test_raw.unquote", lambda path: unquote(path) if len(path) <= 2048 else path)


@pytest.fixture
async def proxied(start: Start) -> Any:
    """A daemon that trusts its client as a proxy, takes any host, and has every layer."""
    settings = {"trusted_proxies": "127.0.0.0/8,10.0.0.0/8,::1/128", "allowed_hosts": "*"}
    limits = {"rate_limit_per_second": 1000, "rate_limit_burst": 100_000, "cors_origins": "https://app.example"}
    async with start(**settings, **limits) as daemon:
        yield daemon


async def test_the_work_of_a_field_is_bounded(proxied: Daemon) -> None:
    """Whatever a field is filled with, and wherever it is sent to."""
    for name, piece in FIELDS:
        for method, target in ASKED:
            taken = await steps_of(proxied, method, target, (name.encode(), filled(piece).encode()))
            assert taken < MOST_STEPS, (name, piece, method, target, taken)


async def test_the_work_of_a_query_is_bounded(proxied: Daemon) -> None:
    """Of every path, with a page or without."""
    for piece in QUERIES:
        for method, target in ASKED:
            taken = await steps_of(proxied, method, f"{target}?{filled(piece)}")
            assert taken < MOST_STEPS, (piece, method, target, taken)


async def test_the_work_of_a_path_is_bounded(proxied: Daemon) -> None:
    """However deep it is, and however much of it is escaped; no page grows with it."""
    for lead in ("", "/secrets/", "/s/", "/orgs/", "/static/"):
        for piece in PATHS:
            taken = await steps_of(proxied, "GET", lead + filled(piece), (b"accept", b"text/html"))
            assert taken < MOST_STEPS, (lead, piece, taken)
            assert len((await ask(proxied, "GET", lead + filled(piece), [(b"accept", b"text/html")])).body) < 20_000


async def test_many_fields_are_bounded(proxied: Daemon) -> None:
    """Five hundred of a kind are no more than one that is as long."""
    for name in ("accept-language", "x-forwarded-for", "purpose", "x-forwarded-host", "accept"):
        many = [(name.encode(), b"10.0.0.1, 10.0.0.1, 10.0.0.1, de;q=0.5")] * 500
        taken = await steps_of(proxied, "GET", "/nowhere", *many)
        assert taken < 2 * MOST_STEPS, (name, taken)


async def test_a_long_query_of_a_list_is_read_to_its_end(daemon: Daemon) -> None:
    """Unknown parameters are ignored, however many: a limit that stands behind them counts."""
    for before in ("a=1&" * 15_000, "a&" * 15_000, "%61=1&" * 31, "&" * 60_000, "%" * 60_000 + "&"):
        assert (await daemon.client.get(f"/secrets?{before}limit=1")).json()["next_cursor"] is None


@pytest.mark.parametrize("many", ["%61=1&" * 33, "limit=1&" * 33, "l%69mit=1&limit=1"])
async def test_what_a_list_may_know_is_bounded(daemon: Daemon, many: str) -> None:
    """What has to be read is refused beyond what anybody needs, and so is what stands there twice in two spellings."""
    answer = await daemon.client.get(f"/secrets?{many}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")


def test_no_more_ranges_are_weighed_than_people_have() -> None:
    """The thirty-second is, the next is not."""
    assert texts.preferred(",".join(["x"] * 31 + ["de"])).tag == "de"
    assert texts.preferred(",".join(["x"] * 32 + ["de"])).tag == "en"


def test_no_more_hops_are_believed_than_proxies_have() -> None:
    """The client is looked for among the last thirty-two."""
    peers = Peers(["10.0.0.0/8"], None)
    for more, client in ((0, "203.0.113.9"), (1, "10.0.0.1")):
        hops = ", ".join(["203.0.113.9", *["10.0.0.1"] * (MOST_MEMBERS - 1 + more)])
        assert peers.address({"client": ("10.0.0.2", 1), "headers": [(b"x-forwarded-for", hops.encode())]}) == client
