"""Public creation: what strangers may store, how much of it and how often, and that nothing else opens to them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from sirrd.cli.told import announce, banner, protections
from sirrd.http.context import Context
from sirrd.http.limiter import CREATION, Allowance
from sirrd.http.root.secrets import create
from sirrd.http.routes import Routes
from sirrd.model import MAX_TTL_SECONDS
from tests.conftest import API_KEY, NOW, Daemon, Launch, SetClock, Start, running, settings_for
from tests.contract.test_peers import OWN, TRUSTING
from tests.contract.test_raw import JSON, app_of, ask
from tests.contract.test_refusals import PROTECTED, WRONG
from tests.http.test_limiter import GONE, SetTime, passes
from tests.parts import ask as asked_of

WEEK: Final = 7 * 86_400
LARGEST: Final = 65_536
HOURLY: Final = 60
AT_ONCE: Final = 10
"""What passes at once by default: the dead drops of ten minutes."""

SHOWN: Final = {name: shown for name, shown in WRONG.items() if shown}


@pytest.fixture
def time_of() -> SetTime:
    """The limiter's time."""
    return SetTime()


Public = Callable[..., contextlib.AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def public(tmp_path: Path, clock: SetClock, time_of: SetTime) -> Public:
    """Start the application where anyone may store, with settings of the test's own."""

    def begin(**changes: Any) -> contextlib.AbstractAsyncContextManager[Daemon]:
        return running(settings_for(tmp_path / "data", **({"public_create": True} | changes)), clock, monotonic=time_of)

    return begin


@pytest.fixture
async def opened_up(public: Public) -> AsyncIterator[Daemon]:
    """The application where anyone may store, with the default limits."""
    async with public() as found:
        yield found


async def stored(client: httpx.AsyncClient, value: str = "s3cret", **terms: Any) -> httpx.Response:
    """Ask for a dead drop to be stored."""
    return await client.post("/secrets", json={"value": value, **terms})


def at(daemon: Daemon, address: str, **headers: str) -> httpx.AsyncClient:
    """Return a client that connects from an address, without the bearer."""
    transport = httpx.ASGITransport(app_of(daemon), client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url=OWN, headers=headers)


async def life_of(daemon: Daemon, answer: httpx.Response) -> int | None:
    """Return how many seconds a dead drop has that was just stored, or None: for ever."""
    assert answer.status_code == 201, answer.text
    head = await daemon.stranger.head(f"/secrets/{answer.json()['id']}")
    return int(head.headers["x-sirr-expires-at"]) - NOW if "x-sirr-expires-at" in head.headers else None


# Who may.


async def test_a_stranger_stores_and_anyone_reads_it_once(opened_up: Daemon) -> None:
    """Without a bearer a dead drop is stored as with one: it has an id and a URL, and burns when it is read."""
    answer = await stored(opened_up.stranger, "käpt")
    assert (answer.status_code, list(answer.json())) == (201, ["id", "url"])
    secret = answer.json()["id"]
    assert answer.json()["url"] == f"{OWN}/s/{secret}"
    assert (await opened_up.stranger.get(f"/secrets/{secret}")).json() == {"id": secret, "value": "käpt"}
    assert (await opened_up.stranger.get(f"/secrets/{secret}")).status_code == 404


async def test_it_is_closed_unless_it_is_opened(daemon: Daemon) -> None:
    """By default strangers store nothing, and no layer is there to count them."""
    assert (await stored(daemon.stranger)).status_code == 401
    assert (await daemon.client.get("/secrets")).json() == {"secrets": []}
    edge: Any = daemon.app.served  # type: ignore[attr-defined]
    assert isinstance(edge._app._app, Routes)


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
async def test_who_shows_a_wrong_key_is_no_stranger(opened_up: Daemon, shown: list[bytes]) -> None:
    """A bearer that is wrong in any way is the same 401 as ever: nobody gets the limits of strangers unawares."""
    headers = [(b"Authorization", value) for value in shown]
    answer = await opened_up.stranger.post("/secrets", headers=headers, json={"value": "v"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["code"] == "unauthorized"
    assert (await opened_up.client.get("/secrets")).json() == {"secrets": []}


@pytest.mark.parametrize("line", [*PROTECTED, "GET /rotate-key", "POST /rotate-key"])
async def test_strangers_may_store_and_nothing_else(opened_up: Daemon, line: str) -> None:
    """Every other route that needs the bearer still does, for what strangers stored, too."""
    secret = (await stored(opened_up.stranger, delete=False)).json()["id"]
    await opened_up.put_in("acme", "k")
    before = (await opened_up.client.get("/secrets")).json()
    method, path = line.format(id=secret).split(" ")
    answer = await opened_up.stranger.request(method, path, json={"key": "new", "value": "v"})
    if line == "POST /secrets":
        assert answer.json()["code"] == "bad_field"
    else:
        assert answer.status_code == 401
    assert (await opened_up.client.get("/secrets")).json() == before


async def test_a_sender_without_a_key_destroys_by_the_proof(opened_up: Daemon) -> None:
    """What a stranger has locked, whoever has the proof deletes, and nobody else without the bearer."""
    key = bytes(range(32))
    lock = hashlib.sha256(key).hexdigest()
    path = f"/secrets/{(await stored(opened_up.stranger, lock=lock)).json()['id']}"
    assert (await opened_up.stranger.delete(path)).status_code == 401
    proof = {"X-Sirr-Proof": base64.urlsafe_b64encode(key).decode().rstrip("=")}
    assert (await opened_up.stranger.delete(path, headers=proof)).json() == {"deleted": True}
    assert (await opened_up.stranger.get(path, headers=proof)).status_code == 404


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"public_create": True}, (LARGEST, WEEK)),
        ({"public_create": True, "public_max_value_bytes": 9, "public_max_ttl_seconds": 60}, (9, 60)),
        ({"master_api_key": None}, (1024 * 1024, None)),
    ],
)
async def test_handlers_know_what_strangers_may_store(
    start: Start, changes: Mapping[str, Any], expected: tuple[int, int | None] | None
) -> None:
    """What strangers may store is known to what shows it to them: nothing, little, or as much as everyone."""
    async with start(**changes) as daemon:
        context: Context = daemon.served._state["context"]  # type: ignore[attr-defined]
        caps = context.stranger_caps
        assert (None if caps is None else (caps.max_value_bytes, caps.max_ttl_seconds)) == expected


# How much.


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, LARGEST),
        ({"public_max_value_bytes": 4}, 4),
        ({"public_max_value_bytes": 5, "max_value_bytes": 4}, 4),
        ({"max_value_bytes": 4}, 4),
    ],
)
async def test_values_of_strangers_are_smaller(public: Public, changes: Mapping[str, Any], limit: int) -> None:
    """A value of just the limit is stored, one of a byte more is 413, which says what the limit is."""
    async with public(**changes) as daemon:
        kept = await stored(daemon.stranger, "ä" * (limit // 2))
        assert kept.status_code == 201
        assert (await daemon.stranger.get(f"/secrets/{kept.json()['id']}")).json()["value"] == "ä" * (limit // 2)
        answer = await stored(daemon.stranger, "ä" * (limit // 2) + "b")
        assert (answer.status_code, answer.json()) == (
            413,
            {
                "error": f"value must not exceed {limit} bytes of UTF-8",
                "code": "value_too_large",
                "field": "value",
            },
        )


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, WEEK),
        ({"public_max_ttl_seconds": 60}, 60),
        ({"public_max_ttl_seconds": 61, "max_ttl_seconds": 60}, 60),
        ({"max_ttl_seconds": 60}, 60),
        ({"public_max_ttl_seconds": MAX_TTL_SECONDS}, MAX_TTL_SECONDS),
    ],
)
async def test_lives_of_strangers_are_shorter(public: Public, changes: Mapping[str, Any], limit: int) -> None:
    """A life of just the limit is granted, one of a second more is 400, which says what the limit is."""
    async with public(**changes) as daemon:
        assert await life_of(daemon, await stored(daemon.stranger, ttl_seconds=limit)) == limit
        answer = await stored(daemon.stranger, ttl_seconds=limit + 1)
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": f"ttl_seconds must be an integer from 1 to {limit}, or null",
                "code": "bad_field",
                "field": "ttl_seconds",
            },
        )


@pytest.mark.parametrize(
    ("changes", "absent", "null"),
    [
        ({}, WEEK, WEEK),
        ({"public_max_ttl_seconds": 60}, 60, 60),
        ({"default_ttl_seconds": 30}, 30, WEEK),
        ({"default_ttl_seconds": WEEK + 1}, WEEK, WEEK),
        ({"public_max_ttl_seconds": 60, "default_ttl_seconds": 60}, 60, 60),
        ({"public_max_ttl_seconds": 60, "default_ttl_seconds": 61, "max_ttl_seconds": 90}, 60, 60),
        ({"max_ttl_seconds": 90}, 90, 90),
        ({"max_ttl_seconds": 90, "default_ttl_seconds": 30}, 30, 90),
    ],
)
async def test_what_strangers_store_fits_and_ends(
    public: Public, changes: Mapping[str, Any], absent: int, null: int
) -> None:
    """Whoever does not say, or asks for ever, gets the default life, or the longest one that strangers may have."""
    async with public(**changes) as daemon:
        assert await life_of(daemon, await stored(daemon.stranger)) == absent
        answer = await stored(daemon.stranger, ttl_seconds=None)
        assert await life_of(daemon, answer) == null
        daemon.clock.at += null
        assert (await daemon.stranger.get(f"/secrets/{answer.json()['id']}")).status_code == 404


async def test_the_bearer_has_the_limits_of_everyone(public: Public) -> None:
    """With the bearer nothing is smaller or shorter, and what a stranger stored is amended within everyone's limits."""
    async with public(public_max_value_bytes=4, public_max_ttl_seconds=60) as daemon:
        assert await life_of(daemon, await stored(daemon.client, "12345")) is None
        assert await life_of(daemon, await stored(daemon.client, "x" * 200_000, ttl_seconds=61)) == 61
        secret = (await stored(daemon.stranger, "1234", delete=False)).json()["id"]
        amended = await daemon.client.patch(f"/secrets/{secret}", json={"value": "12345", "ttl_seconds": None})
        assert (amended.status_code, amended.json()["expires_at"]) == (200, None)
        await daemon.put_in("acme", "k", "12345", ttl_seconds=61)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 6 * LARGEST + 65_536),
        ({"public_max_value_bytes": 4}, 24 + 65_536),
        ({"public_max_value_bytes": 4, "max_body_bytes": 2000}, 2000),
        ({"max_value_bytes": 4}, 24 + 65_536),
    ],
)
async def test_bodies_of_strangers_are_smaller(
    public: Public, changes: Mapping[str, Any], limit: int, declared: bool
) -> None:
    """A body of just the limit is read, one of a byte more is 413, by its length or as soon as so much has come."""
    start = b'{"value":"v"'
    async with public(**changes) as daemon:
        for length, status in ((limit, 201), (limit + 1, 413)):
            body = start + b" " * (length - len(start) - 1) + b"}"
            lengths = [(b"content-length", b"%d" % length)] if declared else []
            answer = await ask(daemon, "POST", "/secrets", [JSON, *lengths], [body[:1000], body[1000:]])
            assert answer.status == status, answer.body
        assert json.loads(answer.body)["code"] == "body_too_large"
        general = b'{"value":"v"' + b" " * (daemon.settings.body_limit - 13) + b"}"
        assert (
            await daemon.client.post("/secrets", content=general, headers={"Content-Type": "application/json"})
        ).is_success


async def test_a_declared_length_is_believed_unread(opened_up: Daemon) -> None:
    """What says that it is too large is refused before any of it is read."""
    headers = {"Content-Type": "application/json", "Content-Length": str(6 * LARGEST + 65_537)}
    answer = await opened_up.stranger.post("/secrets", content=never(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def never() -> AsyncIterator[bytes]:
    """Be a body that nobody may read."""
    raise AssertionError
    yield b""


async def test_a_form_of_another_site_stores_nothing(opened_up: Daemon) -> None:
    """What a browser sends without asking for leave is not declared as JSON, and so is 415."""
    headers = {"Content-Type": "text/plain", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = await opened_up.stranger.post("/secrets", content='{"value":"v"}', headers=headers)
    assert answer.status_code == 415
    assert (await opened_up.client.get("/secrets")).json() == {"secrets": []}


async def test_a_disk_that_is_full_is_full_for_everyone(public: Public) -> None:
    """Below the limit of free space neither strangers nor the operator store anything."""
    async with public(min_free_bytes=2**62) as daemon:
        for client in (daemon.stranger, daemon.client):
            assert (await stored(client)).json()["code"] == "insufficient_storage"


# How often.


@pytest.mark.parametrize(
    ("hourly", "at_once", "wait"), [(60, 10, 60), (1, 1, 3600), (6, 1, 600), (7, 2, 515), (100_000, 16_667, 1)]
)
def test_a_burst_passes_and_then_the_hour(hourly: int, at_once: int, wait: int, time_of: SetTime) -> None:
    """The dead drops of ten minutes pass at once, and then so many an hour, to the second."""
    settings = settings_for(Path("/nowhere"), public_create=True, public_creates_per_hour=hourly)
    assert settings.public_burst == at_once
    allowance = Allowance(per_second=hourly / 3600, burst=at_once, monotonic=time_of)
    assert [passes(allowance) for _ in range(at_once)] == [0] * at_once
    assert passes(allowance) == wait
    time_of.at += wait - 1
    if wait > 1:
        assert passes(allowance) == 1
    time_of.at += 1
    assert passes(allowance) == 0


def test_what_is_counted_is_what_stores() -> None:
    """The allowance stands on the route of the handler that strangers may use."""
    method, path = CREATION
    resource, _ = Routes().find(path)
    assert resource.endpoints[method].handler is create


async def test_the_next_one_is_refused_until_it_is_time(opened_up: Daemon, time_of: SetTime) -> None:
    """After the burst a stranger is told how long to wait, before anything of the body is read, and then may again."""
    for _ in range(AT_ONCE):
        assert (await stored(opened_up.stranger)).status_code == 201
    for _ in range(3):
        answer = await opened_up.stranger.post("/secrets", content=never(), headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert answer.json() == {
            "error": "too many requests from this network address; try again later",
            "code": "rate_limited",
        }
    time_of.at += 59
    assert (await stored(opened_up.stranger)).headers["retry-after"] == "1"
    time_of.at += 1
    assert (await stored(opened_up.stranger)).status_code == 201
    assert (await stored(opened_up.stranger)).headers["retry-after"] == "60"
    assert len((await opened_up.client.get("/secrets")).json()["secrets"]) == AT_ONCE + 1


async def test_what_is_malformed_counts(public: Public) -> None:
    """A request counts whatever comes of it."""
    async with public(public_creates_per_hour=6) as daemon:
        assert (await daemon.stranger.post("/secrets")).status_code == 415
        assert (await stored(daemon.stranger)).status_code == 429


async def test_the_bearer_is_not_counted(public: Public) -> None:
    """The operator stores as often as they like, from the address whose strangers have used theirs up."""
    async with public(public_creates_per_hour=6) as daemon:
        for _ in range(20):
            assert (await stored(daemon.client)).status_code == 201
        assert (await stored(daemon.stranger)).status_code == 201
        assert (await stored(daemon.stranger)).status_code == 429
        assert (await stored(daemon.client)).status_code == 201


async def test_nothing_else_is_limited(public: Public) -> None:
    """Without a rate strangers read, miss, guess and are refused as often as they like."""
    async with public(public_creates_per_hour=6) as daemon:
        secret = (await stored(daemon.stranger, max_reads=None)).json()["id"]
        assert (await stored(daemon.stranger)).status_code == 429
        wrong = {"Authorization": "Bearer wrong"}
        for _ in range(50):
            assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 200
            assert (await daemon.stranger.get(GONE)).status_code == 404
            assert (await daemon.stranger.post(f"/s/{secret}")).status_code == 200
            assert (await daemon.stranger.get("/secrets")).status_code == 401
            assert (await daemon.stranger.post("/orgs/acme/secrets")).status_code == 401
            assert (await daemon.stranger.post("/secrets", headers=wrong)).status_code == 401
            assert (await daemon.stranger.put("/secrets")).status_code == 405
            assert (await daemon.stranger.get("/nowhere")).status_code == 404
            assert (await daemon.stranger.get("/health")).status_code == 200
        assert (await stored(daemon.stranger)).headers["retry-after"] == "600"


@pytest.mark.parametrize(
    ("changes", "first", "second", "is_one"),
    [
        ({}, ("192.0.2.1", {}), ("192.0.2.1", {}), True),
        ({}, ("192.0.2.1", {}), ("192.0.2.2", {}), False),
        ({}, ("192.0.2.1", {"X-Forwarded-For": "203.0.113.1"}), ("192.0.2.1", {"X-Forwarded-For": "::1"}), True),
        ({}, ("2001:db8::1", {}), ("2001:db8::2", {}), True),
        ({}, ("2001:db8::1", {}), ("2001:db8:0:1::1", {}), False),
        (TRUSTING, ("10.0.0.1", {"X-Forwarded-For": "203.0.113.1"}), ("10.0.0.2", {"X-Forwarded-For": "::1"}), False),
    ],
)
async def test_an_address_is_counted_by_itself(
    public: Public,
    changes: Mapping[str, Any],
    first: tuple[str, dict[str, str]],
    second: tuple[str, dict[str, str]],
    is_one: bool,
) -> None:
    """One address uses up nothing of another; what counts as one is what the rate counts."""
    async with public(public_creates_per_hour=6, **changes) as daemon:
        statuses = []
        for address, headers in (first, second):
            async with at(daemon, address, **headers) as client:
                statuses.append((await stored(client)).status_code)
        assert statuses == [201, 429 if is_one else 201]


SLOW: Final = {"rate_limit_per_second": 0.5, "rate_limit_burst": 2, "public_creates_per_hour": 6}
"""Two requests at once, then one in two seconds; one dead drop at once, then one in 600 seconds."""


async def test_with_a_rate_both_count(public: Public, time_of: SetTime) -> None:
    """A stranger who stores uses both allowances; other requests use the general one alone."""
    async with public(**SLOW) as daemon:
        assert (await stored(daemon.stranger)).status_code == 201
        assert (await daemon.stranger.get(GONE)).status_code == 404
        assert (await daemon.stranger.get(GONE)).headers["retry-after"] == "2"
        time_of.at += 600
        assert [(await daemon.stranger.get(GONE)).status_code for _ in range(3)] == [404, 404, 429]
        time_of.at += 2
        assert (await stored(daemon.stranger)).status_code == 201


async def test_what_the_hour_refuses_takes_nothing_of_the_rate(public: Public) -> None:
    """Whoever has stored what they may still reads as often as the rate allows."""
    async with public(**SLOW) as daemon:
        assert (await stored(daemon.stranger)).status_code == 201
        for _ in range(5):
            assert (await stored(daemon.stranger)).headers["retry-after"] == "600"
        assert (await daemon.stranger.get(GONE)).status_code == 404


async def test_what_the_rate_refuses_takes_nothing_of_the_hour(public: Public, time_of: SetTime) -> None:
    """Whoever asked too often may still store when that is over."""
    async with public(**SLOW) as daemon:
        for _ in range(2):
            assert (await daemon.stranger.get(GONE)).status_code == 404
        for _ in range(5):
            assert (await stored(daemon.stranger)).headers["retry-after"] == "2"
        time_of.at += 2
        assert (await stored(daemon.stranger)).status_code == 201


@pytest.mark.parametrize(("per_second", "wait"), [(0.5, 600), (0.001, 1000)])
async def test_whoever_waits_as_told_is_let_through(
    public: Public, time_of: SetTime, per_second: float, wait: int
) -> None:
    """Where both refuse, the longer wait is told."""
    async with public(**(SLOW | {"rate_limit_per_second": per_second})) as daemon:
        assert (await stored(daemon.stranger)).status_code == 201
        assert (await daemon.stranger.get(GONE)).status_code == 404
        assert (await stored(daemon.stranger)).headers["retry-after"] == str(wait)
        time_of.at += wait
        assert (await stored(daemon.stranger)).status_code == 201


async def test_guesses_are_counted_where_a_rate_is_set(public: Public) -> None:
    """With a rate, guesses at the key have their own allowance there as everywhere, and use up no dead drops."""
    async with public(**SLOW) as daemon:
        wrong = {"Authorization": "Bearer wrong"}
        statuses = [(await daemon.stranger.post("/secrets", headers=wrong)).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert (await stored(daemon.stranger)).status_code == 201


# What is told of it.


async def test_log_and_audit_trail_say_who(capsys: pytest.CaptureFixture[str], public: Public) -> None:
    """What strangers store is recorded as anyone's deed, in the transaction that stores it; refusals are counted."""
    async with public(public_creates_per_hour=6) as daemon:
        assert (await stored(daemon.stranger)).status_code == 201
        assert (await stored(daemon.client)).status_code == 201
        for _ in range(2):
            assert (await stored(daemon.stranger)).status_code == 429
        fingerprints = [each["fingerprint"] for each in (await daemon.client.get("/secrets")).json()["secrets"]]
        await daemon.drop.flush(everything=True)
        rows = await daemon.drop._store._queries._reading.execute_fetchall(  # type: ignore[attr-defined]
            "SELECT action, caller, lower(hex(fingerprint)), count FROM audit ORDER BY seq"
        )
    assert rows == [
        ("created", "anonymous", fingerprints[1], 1),
        ("created", "bearer", fingerprints[0], 1),
        ("limited", "anonymous", "", 2),
    ]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"method":"POST"' in line]
    assert [(line["route"], line["status"], line["caller"]) for line in lines] == [
        ("/secrets", 201, "anonymous"),
        ("/secrets", 201, "bearer"),
        ("/secrets", 429, "anonymous"),
        ("/secrets", 429, "anonymous"),
    ]


SAYS: Final = (
    "PUBLIC: anyone may store dead drops (SIRR_PUBLIC_CREATE=true), of {} bytes and {} s at most, {} an hour for "
)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {},
            SAYS.format(LARGEST, WEEK, HOURLY) + "each address that connects; behind a proxy set SIRR_TRUSTED_PROXIES",
        ),
        (
            {"max_value_bytes": 9, "max_ttl_seconds": 5, "public_creates_per_hour": 1, "trusted_proxies": "::1"},
            SAYS.format(9, 5, 1) + "each address that the trusted proxies report",
        ),
    ],
)
def test_the_start_says_what_is_open(caplog: pytest.LogCaptureFixture, changes: Mapping[str, Any], says: str) -> None:
    """People read it in the banner; programs have it in the line of the start, and loudly in one of its own."""
    settings = settings_for(Path("/nowhere"), public_create=True, **changes)
    assert f"\n  dead drops  {says}\n" in banner(settings, OWN)
    assert "\n  protected   store in an org, list, amend, delete and prune need the master API key\n" in banner(
        settings, OWN
    )
    with caplog.at_level(logging.INFO, logger="sirrd.cli.told"):
        announce(settings, OWN)
    started, *warnings = caplog.records
    assert started.fields["dead_drops"] == says  # type: ignore[attr-defined]
    assert [(record.levelname, record.message) for record in warnings] == [("WARNING", says)]


def test_a_closed_daemon_says_nothing_of_it() -> None:
    """Where nothing is open, nothing is said to be."""
    told = protections(settings_for(Path("/nowhere")))
    assert "dead_drops" not in told
    assert told["protected"] == "store, list, amend, delete and prune need the master API key"


# The real daemon.


def test_the_library_of_the_limiter_is_loaded_for_it(tmp_path: Path) -> None:
    """The limiter is there if strangers may store, and only then, though no rate is set."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from sirrd.config.settings import Settings\nfrom sirrd.http.app import create_app\n"
        "for public in (False, True):\n"
        "    create_app(Settings(data_dir=Path('data'), master_api_key='k', public_create=public))\n"
        "    print('pyrate_limiter' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_daemon_lets_strangers_store(launch: Launch) -> None:
    """From the environment to the answer: so many are stored, one more is not, and the operator goes on."""
    changes = {"SIRR_PUBLIC_CREATE": "true", "SIRR_PUBLIC_CREATES_PER_HOUR": "7", "SIRR_PUBLIC_MAX_VALUE_BYTES": "6"}
    with launch(**changes, SIRR_MASTER_API_KEY=API_KEY, SIRR_LOG_FORMAT="json") as daemon:
        address = daemon.address()
        status, answer = asked_of(address, "POST", "/secrets", {"value": "s3cret"})
        assert status == 201
        assert asked_of(address, "POST", "/secrets", {"value": "s3cret!"})[1]["code"] == "value_too_large"
        assert asked_of(address, "POST", "/secrets", {"value": "s3cret"})[1]["code"] == "rate_limited"
        assert asked_of(address, "POST", "/secrets", {"value": "s3cret!"}, bearer=API_KEY)[0] == 201
        assert asked_of(address, "GET", f"/secrets/{answer['id']}")[1]["value"] == "s3cret"
        assert asked_of(address, "POST", "/prune")[0] == 401
        assert daemon.stop() == 0
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    assert [line["message"] for line in lines if line["level"] == "warning"] == [lines[0]["dead_drops"]]
