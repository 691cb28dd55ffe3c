"""Lists: newest first, never a value, in pages or in one stream of any length."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

import pytest

from sirrd.deaddrop.usecases import LIST_BATCH
from tests.conftest import NOW, Daemon

LISTS: Final = ["/secrets", "/orgs/acme/secrets"]


async def keys(daemon: Daemon, path: str) -> list[str]:
    """Return the keys of a list, in its order."""
    return [each["key"] for each in (await daemon.client.get(path)).json()["secrets"]]


async def test_a_list_tells_the_metadata_and_no_value(daemon: Daemon) -> None:
    """A list holds the metadata of section 3, of dead drops and of org secrets, and never a value."""
    secret = await daemon.put("CANARY", ttl_seconds=9)
    await daemon.put_in("acme", "k", "CANARY", delete=False, max_reads=None)
    answer = await daemon.client.get("/secrets")
    assert "CANARY" not in answer.text
    org_secret, drop = answer.json()["secrets"]
    common = {"created_at": NOW, "read_count": 0, "status": "active", "locked": False}
    assert len(drop.pop("fingerprint")) == len(org_secret.pop("fingerprint")) == 16
    assert drop == {"key": secret, "org": None, "expires_at": NOW + 9, "max_reads": 1, "delete": True, **common}
    assert org_secret == {"key": "k", "org": "acme", "expires_at": None, "max_reads": None, "delete": False, **common}


async def test_newest_comes_first_whatever_the_clock_says(daemon: Daemon) -> None:
    """The order is that of creation, also within a second and across reads, amendments and deletions."""
    for number in range(4):
        await daemon.put_in("acme", f"k{number}", delete=False, max_reads=5)
    await daemon.client.get("/orgs/acme/secrets/k1")
    await daemon.client.patch("/orgs/acme/secrets/k0", json={"value": "new"})
    await daemon.client.delete("/orgs/acme/secrets/k3")
    await daemon.put_in("acme", "k4")
    assert await keys(daemon, "/secrets") == ["k4", "k2", "k1", "k0"]
    assert await keys(daemon, "/secrets?limit=9") == ["k4", "k2", "k1", "k0"]


@pytest.mark.parametrize("count", [0, 1, 2, LIST_BATCH - 1, LIST_BATCH, LIST_BATCH + 1, 250])
async def test_a_list_of_any_length_is_whole(daemon: Daemon, count: int) -> None:
    """A list without a limit is valid JSON and holds everything once, in the order that its pages have."""
    await asyncio.gather(*(daemon.put_in("acme", f"k{number}") for number in range(count)))
    for path in LISTS:
        whole = (await daemon.client.get(path)).json()
        assert list(whole) == ["secrets"]
        listed = [each["key"] for each in whole["secrets"]]
        assert sorted(listed) == sorted(f"k{number}" for number in range(count))
        assert await keys(daemon, f"{path}?limit=1000") == listed


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_join_to_the_whole(daemon: Daemon, path: str, limit: int) -> None:
    """Following `next_cursor` until it is null gives every secret once, and no page holds more than the limit."""
    for number in range(7):
        await daemon.put_in("acme", f"k{number}")
        await daemon.put_in("umbrella", f"u{number}")
    whole = await keys(daemon, path)
    walked: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await daemon.client.get(f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))).json()
        assert list(page) == ["secrets", "next_cursor"]
        assert 1 <= len(page["secrets"]) <= limit
        walked += [each["key"] for each in page["secrets"]]
        cursor = page["next_cursor"]
        if cursor:
            assert await keys(daemon, f"{path}?cursor={cursor}") == whole[len(walked) :]
    assert walked == whole


async def test_a_cursor_outlives_what_it_points_at(daemon: Daemon) -> None:
    """A walk misses nothing old and shows nothing new, whatever is deleted or stored meanwhile."""
    for number in range(4):
        await daemon.put_in("acme", f"k{number}")
    page = (await daemon.client.get("/secrets?limit=2")).json()
    await daemon.client.delete("/orgs/acme/secrets/k2")
    await daemon.client.delete("/orgs/acme/secrets/k1")
    await daemon.put_in("acme", "k9")
    assert await keys(daemon, f"/secrets?limit=2&cursor={page['next_cursor']}") == ["k0"]


async def test_lists_keep_orgs_apart(daemon: Daemon) -> None:
    """The list of an org, by its route or by `org`, holds its own secrets alone; an unknown org's is empty."""
    await daemon.put()
    await daemon.put_in("acme", "a")
    await daemon.put_in("umbrella", "u")
    for form in ("/orgs/{}/secrets", "/orgs/{}/secrets?limit=9", "/secrets?org={}", "/secrets?org={}&limit=9"):
        assert [await keys(daemon, form.format(org)) for org in ("acme", "umbrella", "nobody", "Acme")] == [
            ["a"],
            ["u"],
            [],
            [],
        ]


GOOD: Final = base64.urlsafe_b64encode(b"\x01" + (5).to_bytes(8)).decode()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            (f"limit={limit}", "limit")
            for limit in ("", "0", "-1", "1001", "10000", "1.0", "1e1", "x", "0x1", "%2B1", "+1")
        ),
        *((f"limit={limit}", "limit") for limit in ("1%20", "%EF%BC%91", "%D9%A1", "1%00", "9" * 5000, "null", "[1]")),
        *((f"cursor={cursor}", "cursor") for cursor in ("", "x", "0", "null", "%00", "%C3%A9", "....", "A" * 10_000)),
        (f"cursor={GOOD[:-1]}", "cursor"),
        (f"cursor={GOOD}A", "cursor"),
        (f"cursor={GOOD}%3D", "cursor"),
        (f"cursor=%20{GOOD}", "cursor"),
        (f"cursor={GOOD}%0A", "cursor"),
        (f"cursor=B{GOOD[1:]}", "cursor"),
        (f"cursor={'_' * 12}", "cursor"),
        (f"cursor={base64.urlsafe_b64encode(bytes([1]) + bytes([255]) * 8).decode()}", "cursor"),
        ("cursor=AQAAAAAAAAA%2B", "cursor"),
        ("cursor=AQAAAAAAAA%2FA", "cursor"),
        ("limit=1&limit=1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=1&%6Cimit=1", "limit"),
        (f"cursor={GOOD}&cursor={GOOD}", "cursor"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_bad_query_is_400_for_its_parameter(daemon: Daemon, query: str, field: str) -> None:
    """A known parameter that is malformed, out of bounds or doubled is 400, and what was sent is not repeated."""
    for path in LISTS:
        answer = await daemon.client.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert (answer.json()["code"], answer.json()["field"]) == ("bad_field", field)
        assert GOOD[:-2] not in answer.text


@pytest.mark.parametrize("org", ["", ".", "..", "a%20b", "a%2Fb", "a%00", "%D0%B0cme", "o" * 129, "acme&org=acme", "*"])
async def test_a_bad_org_in_the_query_is_400(daemon: Daemon, org: str) -> None:
    """`org` follows the alphabet of orgs and stands there once."""
    answer = await daemon.client.get(f"/secrets?org={org}")
    assert (answer.status_code, answer.json()["field"]) == (400, "org")


@pytest.mark.parametrize(
    "query", ["x=1", "x=1&x=2", "Limit=0", "limits=0", "=", "&&", "%", "offset=5", "cursor[]=x", "a;b"]
)
async def test_unknown_parameters_are_ignored(daemon: Daemon, query: str) -> None:
    """What a list does not know in its query changes nothing, not even twice."""
    await daemon.put_in("acme", "k")
    for path in LISTS:
        assert (await daemon.client.get(f"{path}?{query}")).json() == (await daemon.client.get(path)).json()


@pytest.mark.parametrize(
    "line", ["POST /prune", "GET /health", "GET /ready", "GET /version", "DELETE /secrets/{id}", "GET /secrets/{id}"]
)
async def test_other_routes_know_no_parameters(daemon: Daemon, line: str) -> None:
    """A query changes nothing where none is known."""
    method, path = line.format(id=await daemon.put()).split(" ")
    query = "?limit=0&limit=0&org=..&cursor=x"
    answer = await daemon.client.request(method, path + query)
    assert answer.status_code == 200


async def test_a_sealed_secret_is_listed_as_sealed(daemon: Daemon) -> None:
    """Lists tell sealed from active."""
    path = await daemon.put_in("acme", "k", delete=False)
    before: list[Any] = (await daemon.client.get("/secrets")).json()["secrets"]
    await daemon.client.get(path)
    after = (await daemon.client.get("/secrets")).json()["secrets"]
    assert [each["status"] for each in before + after] == ["active", "sealed"]
