"""Refusals: in which order they are found, what they leave alone, and that the bearer is one door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import pytest

from tests.conftest import API_KEY, Daemon, Start
from tests.contract.test_contract import (
    CROWDED,
    FOREIGN,
    LIMITED,
    OPEN,
    OPERATOR,
    PREFETCH,
    STRANGER,
    Case,
    beside,
    check,
    flip,
    refused,
)
from tests.contract.test_life import told
from tests.contract.test_raw import BEARER, ask

TEXT: Final = {"Content-Type": "text/plain"}
SMALL: Final = {"max_value_bytes": 4, "max_body_bytes": 1024}
LARGE: Final = "{" * 2000
LONG: Final = {"value": "12345"}

ORDER: Final = [
    # 404 of the route, before everything
    Case("PUT /nowhere", OPERATOR, 404, "no_such_route"),
    Case("GET /nowhere", STRANGER, 404, "no_such_route"),
    Case("POST /nowhere", OPERATOR, 404, "no_such_route", body=LARGE, sent=TEXT, settings=SMALL),
    Case("GET /nowhere", STRANGER, 421, "wrong_host", sent={"Host": "evil.test"}),
    Case("GET /secrets/a;b/c", STRANGER, 404, "no_such_route"),
    Case("GET /secrets/a%20b/c", STRANGER, 400, "bad_path"),
    Case("GET /nowhere?limit=0", OPERATOR, 404, "no_such_route"),
    # 405, before the bearer and all after it
    Case("PUT /secrets", STRANGER, 405, "method_not_allowed"),
    Case("POST /secrets/a%20b", OPERATOR, 405, "method_not_allowed"),
    Case("PUT /secrets", OPERATOR, 405, "method_not_allowed", body=LARGE, sent=TEXT, settings=SMALL),
    Case("PATCH /secrets?limit=0", OPERATOR, 405, "method_not_allowed"),
    Case("POST /secrets/<absent>", OPERATOR, 405, "method_not_allowed"),
    # 429, after route and method, and before all else
    refused("PATCH /secrets/a%20b", body="{"),
    refused("GET /secrets/a%20b"),
    refused("GET /orgs/a%20b/secrets?limit=0"),
    refused("POST /secrets", body=LARGE),
    refused("GET /secrets/<once>")._replace(sent=FOREIGN),
    refused("POST /s/<once>", "")._replace(sent=FOREIGN),
    Case("GET /nowhere", STRANGER, 404, "no_such_route", given="allowance used up", settings=LIMITED),
    Case("PUT /secrets", STRANGER, 405, "method_not_allowed", given="allowance used up", settings=LIMITED),
    # 401, before what is wrong with the path, the body and the record
    Case("PATCH /secrets/a%20b", STRANGER, 401, "unauthorized", body={}),
    Case("GET /secrets/a%20b", STRANGER, 401, "unauthorized"),
    Case("GET /orgs/a%20b/secrets/k", STRANGER, 401, "unauthorized"),
    Case("GET /orgs/a%20b/secrets", STRANGER, 401, "unauthorized"),
    Case("POST /orgs/a%20b/prune", STRANGER, 401, "unauthorized"),
    Case("POST /secrets", STRANGER, 401, "unauthorized", body="{}", sent=TEXT),
    Case("POST /secrets", STRANGER, 401, "unauthorized", body=LARGE, settings=SMALL),
    Case("POST /secrets", STRANGER, 401, "unauthorized", body="{"),
    Case("GET /secrets?limit=0", STRANGER, 401, "unauthorized"),
    Case("DELETE /secrets/<absent>", STRANGER, 401, "unauthorized"),
    Case("DELETE /secrets/[shared]", STRANGER, 401, "unauthorized"),
    Case("PATCH /secrets/<once>", STRANGER, 401, "unauthorized", body={}),
    Case("GET /secrets/[sealed]", STRANGER, 401, "unauthorized"),
    Case("GET /secrets/[once]", STRANGER, 401, "unauthorized", sent=FOREIGN),
    Case("GET /orgs/acme/secrets/[once]", STRANGER, 401, "unauthorized", sent=PREFETCH),
    # 400 of the path
    Case("PATCH /secrets/a%20b", OPERATOR, 400, "bad_path", body="{}", sent=TEXT),
    Case("PATCH /secrets/a%20b", OPERATOR, 400, "bad_path", body=LARGE, settings=SMALL),
    Case("PATCH /secrets/a%20b", OPERATOR, 400, "bad_path", body="{"),
    Case("POST /orgs/a%20b/secrets", OPERATOR, 400, "bad_path", body="{}", sent=TEXT),
    Case("GET /orgs/a%20b/secrets?limit=0", OPERATOR, 400, "bad_path"),
    Case("GET /secrets/a%20b", OPERATOR, 400, "bad_path", sent=PREFETCH),
    # 415
    Case("POST /secrets", OPERATOR, 415, "unsupported_media_type", body=LARGE, sent=TEXT, settings=SMALL),
    Case("POST /secrets", OPERATOR, 415, "unsupported_media_type", body="{", sent=TEXT),
    Case("PATCH /secrets/<absent>", OPERATOR, 415, "unsupported_media_type", body="{}", sent=TEXT),
    Case("PATCH /secrets/<once>", OPERATOR, 415, "unsupported_media_type", body="{}", sent=TEXT),
    # 413
    Case("POST /secrets", OPERATOR, 413, "body_too_large", body=LARGE, settings=SMALL),
    Case("PATCH /secrets/<absent>", OPERATOR, 413, "body_too_large", body=LARGE, settings=SMALL),
    Case("PATCH /secrets/<absent>", OPERATOR, 413, "value_too_large", field="value", body=LONG, settings=SMALL),
    Case("PATCH /secrets/<once>", OPERATOR, 413, "value_too_large", field="value", body=LONG, settings=SMALL),
    # 400 of body or query
    Case("PATCH /secrets/<absent>", OPERATOR, 400, "bad_body", body="{"),
    Case("PATCH /secrets/<absent>", OPERATOR, 400, "bad_field", field="max_reads", body={"max_reads": 0}),
    Case("PATCH /secrets/<once>", OPERATOR, 400, "bad_field", field="ttl_seconds", body={"ttl_seconds": 0}),
    Case("PATCH /secrets/[shared]", OPERATOR, 400, "bad_body", body="{"),
    Case("POST /orgs/acme/secrets?[once]", OPERATOR, 400, "bad_field", field="value", body={"key": "once"}),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in ORDER])
async def test_errors_are_found_in_order(case: Case, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is wrong in two ways gets the error that stands first in the contract's order."""
    await check(case, start, monkeypatch)


# The bearer.

KEY: Final = API_KEY.encode()
WRONG: Final = {
    "missing": [],
    "blank": [b""],
    "scheme alone": [b"Bearer"],
    "empty key": [b"Bearer "],
    "blank key": [b"Bearer  "],
    "no scheme": [KEY],
    "other scheme": [b"Basic " + KEY],
    "longer scheme": [b"BearerX " + KEY],
    "two spaces": [b"Bearer  " + KEY],
    "tab": [b"Bearer\t" + KEY],
    "leading space": [b" Bearer " + KEY],
    "trailing space": [b"Bearer " + KEY + b" "],
    "trailing comma": [b"Bearer " + KEY + b","],
    "prefix": [b"Bearer " + KEY[:-1]],
    "suffix": [b"Bearer " + KEY[1:]],
    "longer": [b"Bearer " + KEY + b"x"],
    "other case": [b"Bearer " + KEY.upper()],
    "quoted": [b'Bearer "' + KEY + b'"'],
    "NUL": [b"Bearer " + KEY + b"\x00"],
    "not ASCII": [b"Bearer \xff\xfe\xc3\xa9"],
    "not ASCII after the key": [b"Bearer " + KEY + b"\xc3\xa9"],
    "twice": [b"Bearer " + KEY, b"Bearer " + KEY],
    "right and wrong": [b"Bearer " + KEY, b"Bearer x"],
    "wrong and right": [b"Bearer x", b"Bearer " + KEY],
    "long": [b"Bearer " + b"x" * 60_000],
    "null": [b"Bearer null"],
    "None": [b"Bearer None"],
}
PROTECTED: Final = [
    "GET /secrets",
    "POST /secrets",
    "POST /prune",
    "PATCH /secrets/{id}",
    "DELETE /secrets/{id}",
    "GET /secrets/k",
    "HEAD /secrets/k",
    "GET /orgs/acme/secrets",
    "POST /orgs/acme/secrets",
    "POST /orgs/acme/prune",
    "GET /orgs/acme/secrets/k",
    "HEAD /orgs/acme/secrets/k",
    "PATCH /orgs/acme/secrets/k",
    "DELETE /orgs/acme/secrets/k",
]


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
async def test_every_wrong_bearer_gets_the_same_401(daemon: Daemon, shown: list[bytes]) -> None:
    """Whatever is wrong with the bearer, every protected route answers alike, and nothing happens."""
    secret = await daemon.put(max_reads=1)
    await daemon.put_in("acme", "k", max_reads=1)
    before = (await daemon.client.get("/secrets")).json()
    reference = told(await daemon.stranger.get("/secrets"))
    assert reference[0] == 401
    assert ("www-authenticate", "Bearer") in reference[2]
    headers = [(b"Authorization", value) for value in shown]
    for line in PROTECTED:
        method, path = line.format(id=secret).split(" ")
        answer = await daemon.stranger.request(method, path, headers=headers, json={})
        assert told(answer) == (reference if method != "HEAD" else (401, b"", reference[2]))
    assert (await daemon.client.get("/secrets")).json() == before


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"bEaReR"])
async def test_the_scheme_of_the_bearer_has_no_case(daemon: Daemon, scheme: bytes) -> None:
    """As in every other scheme of HTTP; the key has one."""
    assert (await ask(daemon, "GET", "/secrets", [(b"authorization", scheme + b" " + KEY)])).status == 200
    assert (await ask(daemon, "GET", "/secrets", [(b"authorization", scheme + b" " + KEY.upper())])).status == 401
    assert (await ask(daemon, "GET", "/secrets", [(b"authorization", scheme + b"  " + KEY)])).status == 401


@pytest.mark.parametrize(("settings", "shown"), [({}, [BEARER]), (OPEN, []), (OPEN, [BEARER])])
async def test_the_right_bearer_opens_the_protected_routes(
    start: Start, settings: Mapping[str, Any], shown: list[tuple[bytes, bytes]]
) -> None:
    """The very key, or anything at all where none is set, passes the door of every protected route."""
    async with start(**settings) as daemon:
        for line in PROTECTED:
            await daemon.client.post("/orgs/acme/secrets", json={"key": "k", "value": "v"})
            method, path = line.format(id=await daemon.put()).split(" ")
            answer = await ask(daemon, method, path, shown, [b"{}"])
            # A body that is not declared as JSON is what is wrong next.
            has_body = method == "PATCH" or (method == "POST" and path.endswith("/secrets"))
            assert answer.status == (415 if has_body else 200)


async def test_a_credential_elsewhere_is_none(daemon: Daemon) -> None:
    """A key in the query, in a cookie or in another header opens nothing."""
    headers = {"Cookie": f"token={API_KEY}", "X-Api-Key": API_KEY, "Proxy-Authorization": f"Bearer {API_KEY}"}
    answer = await daemon.stranger.get(
        f"/secrets?access_token={API_KEY}&authorization=Bearer%20{API_KEY}", headers=headers
    )
    assert answer.status_code == 401
    assert API_KEY not in answer.text


# What a failing store leaves alone.


async def test_below_the_limit_of_free_space_only_writing_stops(start: Start) -> None:
    """With too little free space POST and PATCH are 507 and change nothing, while reads, lists and deletes go on."""
    async with start() as daemon:
        once, kept, other = await daemon.put(), await daemon.put(delete=False), await daemon.put()
    async with start(**CROWDED) as daemon:
        before = (await daemon.client.get("/secrets")).json()
        body = {"value": "new"}
        refused = [
            await daemon.client.post("/secrets", json=body),
            await daemon.client.post("/orgs/acme/secrets", json={"key": "k", **body}),
            await daemon.client.patch(f"/secrets/{kept}", json=body),
        ]
        assert [answer.status_code for answer in refused] == [507] * 3
        assert (await daemon.client.get("/secrets")).json() == before
        assert (await daemon.stranger.get(f"/secrets/{once}")).json()["value"] == "s3cret"
        assert (await daemon.stranger.get(f"/secrets/{kept}")).json()["value"] == "s3cret"
        assert (await daemon.client.delete(f"/secrets/{other}")).status_code == 200
        assert (await daemon.client.post("/prune")).status_code == 200
        assert (await daemon.stranger.get("/ready")).status_code == 200


async def test_a_full_queue_spends_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """While too much waits every write and read is 503 with `Retry-After`; afterwards the read is still there."""
    secret = await daemon.put()
    with monkeypatch.context() as full:
        full.setattr("sirrd.store.sqlite.writer.MAX_WAITING", 0)
        answer = await daemon.stranger.get(f"/secrets/{secret}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await daemon.stranger.get("/health")).status_code == 200
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"


async def test_a_locked_database_spends_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the database every claim is 503 and `/ready` says so; afterwards all is as before."""
    monkeypatch.setattr("sirrd.store.sqlite.writer._PATIENCE_MS", 1)
    monkeypatch.setattr("sirrd.http.context.READY_SECONDS", 0)
    secret = await daemon.put()
    assert (await daemon.stranger.get("/ready")).json() == {"status": "ready"}
    with beside(daemon) as connection:
        connection.execute("BEGIN IMMEDIATE")
        answer = await daemon.stranger.get(f"/secrets/{secret}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await daemon.stranger.head(f"/secrets/{secret}")).headers["x-sirr-read-count"] == "0"
        ready = await daemon.stranger.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "unavailable", "reason": "storage"})
        assert (await daemon.stranger.get("/health")).json() == {"status": "ok"}
    assert (await daemon.stranger.get("/ready")).json() == {"status": "ready"}
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"


async def test_ready_tells_that_the_daemon_drains(daemon: Daemon) -> None:
    """While it drains `/ready` is 503 and everything is served as before."""
    secret = await daemon.put()
    daemon.readiness.draining = True
    ready = await daemon.stranger.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "unavailable", "reason": "draining"})
    assert (await daemon.stranger.get("/health")).json() == {"status": "ok"}
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 200


@pytest.mark.parametrize("terms", [{}, {"max_reads": 2}, {"delete": False}, {"max_reads": None}])
async def test_a_damaged_record_is_not_spent(daemon: Daemon, terms: dict[str, Any]) -> None:
    """A record that does not open is 500 `unreadable` on every surface, and its reads are whole once it is repaired."""
    secret = await daemon.put(**terms)
    path = await daemon.put_in("acme", "k", **terms)
    before = (await daemon.client.get("/secrets")).json()
    flip(daemon, "sealed")
    for named in (f"/secrets/{secret}", "/secrets/k", path):
        answer = await daemon.client.get(named)
        assert (answer.status_code, answer.json()["code"]) == (500, "unreadable")
    assert (await daemon.stranger.post(f"/s/{secret}")).status_code == 500
    flip(daemon, "sealed")
    assert (await daemon.client.get("/secrets")).json() == before
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"
    assert (await daemon.client.get(path)).json()["value"] == "s3cret"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH"])
async def test_terms_that_were_tampered_with_are_not_believed(daemon: Daemon, method: str) -> None:
    """A record that was given more reads in the file is 500, whoever asks for it in whatever way."""
    secret = await daemon.put(delete=False)
    with beside(daemon) as connection:
        connection.execute("UPDATE secret SET max_reads = 99")
    content: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
    answer: httpx.Response = await daemon.client.request(method, f"/secrets/{secret}", **content)
    assert answer.status_code == 500


async def test_a_damaged_record_can_be_deleted(daemon: Daemon) -> None:
    """What nobody can read any more can still be removed, and is gone then."""
    secret = await daemon.put()
    flip(daemon, "sealed", "label")
    assert (await daemon.client.delete(f"/secrets/{secret}")).json() == {"deleted": True}
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 404
