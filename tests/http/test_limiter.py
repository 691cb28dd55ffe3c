"""The limiter of strangers: how much passes, who counts as one, what a refusal says, and what it never does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd.errors import RateLimited
from sirrd.http import limiter
from sirrd.http.limiter import UNLIMITED, Allowance
from sirrd.http.pages import assets
from sirrd.http.pages.texts.en import ENGLISH
from sirrd.http.routes import DESCRIPTION, RESOURCES, Routes
from tests.conftest import API_KEY, Daemon, Launch, SetClock, Start, running, settings_for
from tests.contract.test_peers import OWN, TRUSTING, seen_from
from tests.contract.test_raw import app_of, ask
from tests.http.test_openapi import resolved
from tests.parts import put

GONE: Final = "/secrets/" + "0" * 64
WRONG: Final = {"Authorization": "Bearer wrong"}
SLOW: Final = {"rate_limit_per_second": 0.5, "rate_limit_burst": 2}
"""Two requests at once, then one in two seconds."""


class SetTime:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time_of() -> SetTime:
    """The limiter's time."""
    return SetTime()


Limited = Callable[..., contextlib.AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def limited(tmp_path: Path, clock: SetClock, time_of: SetTime) -> Limited:
    """Start the application with a slow limit, and with settings of the test's own."""

    def begin(**changes: Any) -> contextlib.AbstractAsyncContextManager[Daemon]:
        return running(settings_for(tmp_path / "data", **(SLOW | changes)), clock, monotonic=time_of)

    return begin


@pytest.fixture
async def slow(limited: Limited) -> AsyncIterator[Daemon]:
    """The application with a slow limit."""
    async with limited() as found:
        yield found


async def used_up(client: httpx.AsyncClient, *, headers: Mapping[str, str] | None = None) -> None:
    """Use up what an address may ask at once."""
    for _ in range(2):
        assert (await client.get(GONE, headers=headers)).status_code == 404
    assert (await client.get(GONE, headers=headers)).status_code == 429


def told(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return an answer without what differs each time."""
    return answer.status_code, answer.content, [(k, v) for k, v in answer.headers.items() if k != "x-request-id"]


# How much passes.


def passes(allowance: Allowance, who: str = "203.0.113.7") -> int:
    """Take one; return 0, or for how many seconds nothing is left."""
    try:
        allowance.take(who)
    except RateLimited as error:
        return error.retry_seconds
    return 0


@pytest.mark.parametrize(
    ("per_second", "burst", "wait"),
    [(0.001, 1, 1000), (0.1, 3, 10), (0.3, 3, 4), (1, 1, 1), (1, 10, 1), (7, 13, 1), (20, 40, 1), (1000, 2000, 1)],
)
@pytest.mark.parametrize("begun", [0.0, 1.1, 12_345.678, 1e7 / 3])
def test_a_burst_passes_and_then_the_rate(per_second: float, burst: int, wait: int, begun: float) -> None:
    """The whole burst passes at once, whatever the time; then nothing until as long as the answer said."""
    at = SetTime()
    at.at = begun
    allowance = Allowance(per_second=per_second, burst=burst, monotonic=at)
    assert [passes(allowance) for _ in range(burst)] == [0] * burst
    assert [passes(allowance) for _ in range(100)] == [wait] * 100
    at.at += wait
    assert passes(allowance) == 0
    at.at += 10 * burst / per_second
    assert [passes(allowance) for _ in range(burst + 1)] == [*([0] * burst), wait]


@given(
    per_second=st.sampled_from([0.25, 1.0, 3.0, 20.0]),
    burst=st.integers(1, 12),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
@settings(derandomize=True, max_examples=150, deadline=None, database=None)
def test_no_stretch_of_time_has_more_than_its_share(per_second: float, burst: int, pauses: list[float]) -> None:
    """Between any two instants no more passes than the burst and what the rate gives for the time between them."""
    at = SetTime()
    allowance = Allowance(per_second=per_second, burst=burst, monotonic=at)
    passed: list[float] = []
    for pause in pauses:
        at.at += pause
        if passes(allowance) == 0:
            passed.append(at.at)
    for first, begun in enumerate(passed):
        for last, ended in enumerate(passed[first:], start=first):
            # The library counts whole milliseconds.
            assert last - first + 1 <= burst + per_second * (ended - begun + 0.001)


def test_a_flood_of_addresses_fills_no_memory(monkeypatch: pytest.MonkeyPatch, time_of: SetTime) -> None:
    """The table has a bound; one who goes on asking is not forgotten, and those who are begin anew."""
    monkeypatch.setattr(limiter, "MAX_ADDRESSES", 8)
    allowance = Allowance(per_second=1, burst=1, monotonic=time_of)
    for n in range(1000):
        assert passes(allowance, f"2001:db8:0:{n:x}::/64") == 0
        assert passes(allowance) == (1 if n else 0)
    assert len(allowance) == 8
    assert passes(allowance, "2001:db8:0:3e7::/64") == 1
    assert passes(allowance, "2001:db8::/64") == 0


def test_a_check_takes_nothing(time_of: SetTime) -> None:
    """To look whether something is left leaves no trace, and says the same."""
    allowance = Allowance(per_second=1, burst=1, monotonic=time_of)
    for _ in range(3):
        allowance.check("192.0.2.1")
    assert len(allowance) == 0
    allowance.take("192.0.2.1")
    with pytest.raises(RateLimited):
        allowance.check("192.0.2.1")


# What is refused.

PUBLIC: Final = ["GET /secrets/{}", "HEAD /secrets/{}", "GET /s/{}", "HEAD /s/{}", "POST /s/{}"]


@pytest.mark.parametrize("line", PUBLIC)
async def test_a_hit_and_a_miss_are_refused_alike(slow: Daemon, time_of: SetTime, line: str) -> None:
    """Over the limit the answer is the same, byte for byte, whether or not a secret is there; it spends nothing."""
    secret = await slow.put()
    await used_up(slow.stranger)
    method, path = line.split(" ")
    hit = await slow.stranger.request(method, path.format(secret))
    miss = await slow.stranger.request(method, path.format("f" * 64))
    malformed = await slow.stranger.request(method, path.format("a b"))
    assert hit.status_code == 429
    assert hit.headers["retry-after"] == "2"
    assert told(hit) == told(miss) == told(malformed)
    time_of.at += 2
    assert (await slow.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"


@pytest.mark.parametrize("line", PUBLIC)
async def test_hits_and_misses_count_alike(slow: Daemon, line: str) -> None:
    """A request counts one, whatever it finds."""
    method, path = line.split(" ")
    for segment in (await slow.put(), "f" * 64):
        assert (await slow.stranger.request(method, path.format(segment))).status_code in {200, 404}
    assert (await slow.stranger.get(GONE)).status_code == 429


async def test_bare_keys_are_limited_where_reads_are_public(limited: Limited) -> None:
    """Keys can be guessed, which is what the limit is for; found or not, a guess counts."""
    async with limited(org_reads="public") as daemon:
        await daemon.put_in("acme", "DB_PASSWORD", max_reads=5)
        answers = [await daemon.stranger.get(f"/secrets/{key}") for key in ("nothing", "DB_PASSWORD", "DB_PASSWORD")]
        assert [answer.status_code for answer in answers] == [404, 200, 429]
        listed = (await daemon.client.get("/secrets")).json()["secrets"]
        assert [secret["read_count"] for secret in listed] == [1]


async def test_what_is_refused_is_not_looked_up(slow: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused request does not reach the store."""
    await used_up(slow.stranger)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("claim", "peek", "fingerprint"):
        monkeypatch.setattr(slow.drop._store, name, fail)
    for line in PUBLIC:
        method, path = line.split(" ")
        assert (await slow.stranger.request(method, path.format("0" * 64))).status_code == 429


async def test_no_flood_locks_a_secret(slow: Daemon) -> None:
    """However often one address asks for a secret, another reads it at once."""
    secret = await slow.put(max_reads=3)
    for _ in range(2):
        assert (await slow.stranger.get(f"/secrets/{secret}")).status_code == 200
    for _ in range(50):
        assert (await slow.stranger.get(f"/secrets/{secret}")).status_code == 429
    async with seen_from(slow, "198.51.100.1") as other:
        answer = await other.get(f"/secrets/{secret}", headers={"Authorization": ""})
    assert answer.json()["value"] == "s3cret"


async def test_a_program_gets_json_and_a_person_a_page(slow: Daemon) -> None:
    """The problem has a code of its own; under /s/ it is a page that says in plain words that nothing is lost."""
    await used_up(slow.stranger)
    answer = await slow.stranger.get(GONE)
    assert answer.json() == {
        "error": "too many requests from this network address; try again later",
        "code": "rate_limited",
    }
    page = await slow.stranger.post("/s/" + "0" * 64)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["retry-after"] == "2"
    assert escape(ENGLISH.notices.limited.title) in page.text
    assert escape(ENGLISH.notices.limited.text) in page.text


# Who is limited.


async def test_who_shows_the_key_is_not_limited(slow: Daemon) -> None:
    """The operator asks as often as they like, from an address whose strangers have used theirs up."""
    await used_up(slow.stranger)
    secret = await slow.put(max_reads=None)
    for _ in range(20):
        assert (await slow.client.get(f"/secrets/{secret}")).status_code == 200
        assert (await slow.client.get("/secrets")).status_code == 200


async def test_guesses_at_the_key_are_limited(slow: Daemon, time_of: SetTime) -> None:
    """Wrong keys are few, and then none is compared: not even the right one tells a guesser anything."""
    for _ in range(2):
        assert (await slow.stranger.get("/secrets", headers=WRONG)).status_code == 401
    for client in (slow.stranger, slow.client):
        answer = await client.get("/secrets", headers=WRONG if client is slow.stranger else None)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    # Reading without a key goes on, and so does everything from elsewhere.
    assert (await slow.stranger.get(GONE)).status_code == 404
    async with seen_from(slow, "198.51.100.1") as elsewhere:
        assert (await elsewhere.get("/secrets")).status_code == 200
    time_of.at += 2
    assert (await slow.client.get("/secrets")).status_code == 200


@pytest.mark.parametrize("path", ["/secrets/k", "/orgs/acme/secrets/k", GONE])
async def test_every_door_counts_guesses(slow: Daemon, path: str) -> None:
    """There is no route where keys could be tried for free, those for anyone included."""
    for _ in range(2):
        assert (await slow.stranger.head(path, headers=WRONG)).status_code in {401, 404}
    assert (await slow.client.head(path)).status_code == 429


async def test_a_missing_key_counts_too(slow: Daemon) -> None:
    """Strangers at a protected route are refused there as well."""
    statuses = [(await slow.stranger.post("/prune")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]


async def test_without_a_key_everyone_is_a_stranger(limited: Limited) -> None:
    """Where no key is set nobody can show one, and a made-up one makes no difference."""
    async with limited(master_api_key=None) as daemon:
        assert (await daemon.client.get("/secrets")).status_code == 200
        assert (await daemon.client.get("/secrets", headers=WRONG)).status_code == 200
        assert (await daemon.client.get("/secrets", headers=WRONG)).status_code == 429
        assert (await daemon.client.get("/health")).status_code == 200


async def test_probes_and_wrong_addresses_are_free(limited: Limited) -> None:
    """A load balancer is never limited; what finds no handler, or is a preflight, costs nobody anything."""
    async with limited(cors_origins=OWN) as daemon:
        for _ in range(5):
            for template in sorted(UNLIMITED):
                path = template.format(version=assets.VERSION, file="style.css")
                assert (await daemon.stranger.get(path)).status_code == 200
                assert (await daemon.stranger.head(path, headers=WRONG)).status_code == 200
            assert (await daemon.stranger.get("/favicon.ico")).status_code == 404
            assert (await daemon.stranger.put(GONE)).status_code == 405
            asked = {"Origin": OWN, "Access-Control-Request-Method": "DELETE"}
            assert (await daemon.stranger.options(GONE, headers=asked)).status_code == 204
        await used_up(daemon.stranger)
        assert (await daemon.stranger.get("/health")).status_code == 200
        assert (await daemon.stranger.get("/ready")).status_code == 200


def test_what_is_unlimited_touches_no_secret() -> None:
    """A new route is limited unless somebody says otherwise."""
    below = ("/secrets", "/s/", "/orgs/", "/prune", "/rotate-key", "/metrics")
    assert {resource.path for resource in RESOURCES if not resource.path.startswith(below)} == UNLIMITED


# Who counts as one.


@pytest.mark.parametrize(
    ("changes", "first", "second", "is_one"),
    [
        ({}, ("192.0.2.1", None), ("192.0.2.1", None), True),
        ({}, ("192.0.2.1", None), ("192.0.2.2", None), False),
        ({}, ("2001:db8::1", None), ("2001:db8::ffff:1", None), True),
        ({}, ("2001:db8::1", None), ("2001:db8:0:1::1", None), False),
        ({}, ("::ffff:192.0.2.1", None), ("192.0.2.1", None), True),
        ({}, ("::ffff:192.0.2.1", None), ("::ffff:192.0.2.2", None), False),
        ({}, ("192.0.2.1", "203.0.113.1"), ("192.0.2.1", "203.0.113.2"), True),
        (TRUSTING, ("10.0.0.1", "203.0.113.1"), ("10.0.0.2", "203.0.113.1"), True),
        (TRUSTING, ("10.0.0.1", "203.0.113.1"), ("10.0.0.1", "203.0.113.2"), False),
        (TRUSTING, ("10.0.0.1", "198.51.100.1, 203.0.113.1"), ("10.0.0.1", "198.51.100.2, 203.0.113.1"), True),
        (TRUSTING, ("192.0.2.1", "203.0.113.1"), ("192.0.2.1", "203.0.113.2"), True),
        (TRUSTING, ("10.0.0.1", "2001:db8::1"), ("fd00::1", "[2001:db8::2]:443"), True),
        (TRUSTING, ("10.0.0.1", "unknown"), ("10.0.0.1", None), True),
    ],
)
async def test_an_address_is_counted_as_one(
    limited: Limited,
    changes: Mapping[str, Any],
    first: tuple[str, str | None],
    second: tuple[str, str | None],
    is_one: bool,
) -> None:
    """What trusted proxies report counts, a stranger's header does not; an IPv6 network of 64 bits is one address."""
    async with limited(rate_limit_burst=1, **changes) as daemon:
        statuses = []
        for address, forwarded in (first, second):
            headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
            transport = httpx.ASGITransport(app_of(daemon), client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url=OWN, headers=headers) as client:
                statuses.append((await client.get(GONE)).status_code)
        assert statuses == [404, 429 if is_one else 404]


async def test_an_encoded_path_is_the_same_request(slow: Daemon) -> None:
    """No spelling of a path is free."""
    for _ in range(2):
        assert (await ask(slow, "GET", GONE.replace("0", "%30", 1))).status == 404
    assert (await ask(slow, "GET", GONE)).status == 429


async def test_who_has_no_address_is_counted_together(slow: Daemon) -> None:
    """Connections without an address, as over a Unix socket, share one allowance rather than pass unseen."""
    app = app_of(slow)

    async def nameless(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": None}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(nameless), base_url=OWN) as client:
        await used_up(client)


# What is told of it.


async def test_a_refusal_is_logged_and_counted(capsys: pytest.CaptureFixture[str], limited: Limited) -> None:
    """The log has its line with the template, the audit trail one row a minute and address, and neither a secret."""
    async with limited() as daemon:
        await used_up(daemon.stranger)
        await daemon.stranger.get("/s/" + "0" * 64)
        await daemon.drop.flush(everything=True)
        rows = await daemon.drop._store._queries._reading.execute_fetchall(  # type: ignore[attr-defined]
            "SELECT caller, fingerprint, count FROM audit WHERE action = 'limited'"
        )
        assert rows == [("anonymous", None, 2)]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"status":429' in line]
    assert [(line["route"], line["caller"], line["fingerprint"]) for line in lines] == [
        ("/secrets/{id}", "anonymous", None),
        ("/s/{id}", "anonymous", None),
    ]


def test_the_description_has_it() -> None:
    """Every operation that can be refused says so, with the header; no other does."""
    described = DESCRIPTION.document()
    for path, item in described["paths"].items():
        for method in set(item) - {"parameters"}:
            refused = item[method]["responses"].get("429")
            assert (refused is None) == (path in UNLIMITED)
            if refused is not None:
                header = resolved(described, resolved(described, refused)["headers"]["Retry-After"])
                assert header["schema"] == {"type": "integer", "minimum": 1}


# Off, it is not there.


async def test_without_a_rate_there_is_no_limiter(start: Start) -> None:
    """The application is built without the layer: nothing is counted, and a request passes no more than before."""
    async with start() as daemon:
        edge: Any = daemon.app.served  # type: ignore[attr-defined]
        assert isinstance(edge._app._app, Routes)
        for _ in range(100):
            assert (await daemon.stranger.get(GONE)).status_code == 404


def test_without_a_rate_its_library_is_not_loaded(tmp_path: Path) -> None:
    """The start does not wait for what most daemons do not use."""
    program = (
        "import sys\nfrom pathlib import Path\nimport sirrd.cli.program, sirrd.server.process\n"
        "from sirrd.config.settings import Settings\nfrom sirrd.http.app import create_app\n"
        "create_app(Settings(data_dir=Path('data')))\nprint('pyrate_limiter' in sys.modules)\n"
        "create_app(Settings(data_dir=Path('data'), rate_limit_per_second=1))\nprint('pyrate_limiter' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# The real daemon.


def asked(address: str, path: str, hops: Sequence[str], **headers: str) -> httpx.Response:
    """Ask as a proxy does for a client."""
    return httpx.get(address + path, headers=[("X-Forwarded-For", hop) for hop in hops] + list(headers.items()))


def test_the_daemon_limits_strangers_behind_a_proxy(launch: Launch) -> None:
    """A client behind a trusted proxy is refused after its burst; others, probes and the operator are not."""
    changes = {"SIRR_RATE_LIMIT_PER_SECOND": "0.001", "SIRR_RATE_LIMIT_BURST": "3"}
    with launch(
        **changes, SIRR_TRUSTED_PROXIES="127.0.0.1", SIRR_MASTER_API_KEY=API_KEY, SIRR_LOG_FORMAT="json"
    ) as daemon:
        address = daemon.address()
        path = put(address, bearer=API_KEY)
        for forged in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            assert asked(address, GONE, [forged, "203.0.113.9"]).status_code == 404
        refused = asked(address, path, ["192.0.2.4", "203.0.113.9"])
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 990 <= int(refused.headers["retry-after"]) <= 1000
        assert refused.headers["cache-control"] == "no-store"
        assert asked(address, "/health", ["203.0.113.9"]).status_code == 200
        operator = {"Authorization": f"Bearer {API_KEY}"}
        assert asked(address, "/secrets", ["203.0.113.9"], **operator).status_code == 200
        assert asked(address, path, ["203.0.113.10"]).json()["value"] == "s3cret"
        assert daemon.stop() == 0
        log = daemon.log.read_text()
    assert "limited to 0.001/s and 3 at once for each address that the trusted proxies report" in log
    lines = [json.loads(line) for line in log.splitlines() if '"status":429' in line]
    assert [(line["route"], line["address"]) for line in lines] == [("/secrets/{id}", "203.0.113.9")]
