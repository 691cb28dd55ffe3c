"""Org secrets: by their org route, by their bare key, and never across orgs."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.conftest import Daemon, Start
from tests.contract.test_life import told

VERBS: Final = ["GET", "HEAD", "PATCH", "DELETE"]
EVERY_VERB: Final = pytest.mark.parametrize("verb", VERBS)


async def counts(daemon: Daemon) -> dict[tuple[str | None, str], tuple[int, str]]:
    """Return read count and status of every secret, by org and key."""
    listed = (await daemon.client.get("/secrets")).json()["secrets"]
    return {(each["org"], each["key"]): (each["read_count"], each["status"]) for each in listed}


def body_of(verb: str) -> dict[str, Any]:
    """Return what a verb must send."""
    return {"json": {"value": "new"}} if verb == "PATCH" else {}


@pytest.mark.parametrize("shown", [None, "Bearer wrong"])
async def test_protected_keys_cannot_be_guessed(daemon: Daemon, shown: str | None) -> None:
    """Without the bearer a bare key is the same 401 whether it is there, sealed, held twice, or not at all."""
    await daemon.put_in("acme", "one")
    await daemon.put_in("acme", "two")
    await daemon.put_in("umbrella", "two")
    await daemon.client.get(await daemon.put_in("acme", "sealed", delete=False))
    before = await counts(daemon)
    headers = {} if shown is None else {"Authorization": shown}
    for verb in ("GET", "HEAD"):
        answers = [
            told(await daemon.stranger.request(verb, f"/secrets/{key}", headers=headers))
            for key in ("one", "two", "sealed", "absent", "a%20b")
        ]
        assert answers[0][0] == 401
        assert answers == answers[:1] * 5
    assert await counts(daemon) == before


@pytest.mark.parametrize("mode", ["protected", "public"])
async def test_a_bare_key_reads_as_its_org_route_does(start: Start, mode: str) -> None:
    """A bare key that one org holds is read under that very key, and the read counts for the one secret."""
    async with start(org_reads=mode) as daemon:
        path = await daemon.put_in("acme", "k", max_reads=2)
        reader = daemon.stranger if mode == "public" else daemon.client
        assert (await reader.head("/secrets/k")).headers["x-sirr-reads-remaining"] == "2"
        assert (await reader.get("/secrets/k")).json() == {"id": "k", "value": "s3cret"}
        assert (await daemon.client.get(path)).json() == {"key": "k", "value": "s3cret"}
        assert (await reader.get("/secrets/k")).status_code == 404


@pytest.mark.parametrize("mode", ["protected", "public"])
@EVERY_VERB
async def test_public_reads_open_nothing_else(start: Start, verb: str, mode: str) -> None:
    """Whatever `SIRR_ORG_READS` says, a stranger can neither use the org route nor amend nor delete by bare key."""
    async with start(org_reads=mode) as daemon:
        path = await daemon.put_in("acme", "k", delete=False)
        before = await counts(daemon)
        assert (await daemon.stranger.request(verb, path, **body_of(verb))).status_code == 401
        if verb in {"PATCH", "DELETE"}:
            assert (await daemon.stranger.request(verb, "/secrets/k", **body_of(verb))).status_code == 401
        assert await counts(daemon) == before


@pytest.mark.parametrize("state", ["active", "sealed"])
@EVERY_VERB
async def test_an_ambiguous_key_spends_nothing(daemon: Daemon, verb: str, state: str) -> None:
    """A bare key that several orgs hold, sealed ones counted, is 409 for every verb; no secret is touched."""
    await daemon.put_in("acme", "k")
    other = await daemon.put_in("umbrella", "k", delete=False)
    if state == "sealed":
        await daemon.client.get(other)
    before = await counts(daemon)
    answer = await daemon.client.request(verb, "/secrets/k", **body_of(verb))
    assert answer.status_code == 409
    if verb != "HEAD":
        assert answer.json()["code"] == "ambiguous_key"
        assert "/orgs/" in answer.json()["error"]
    assert await counts(daemon) == before
    assert (await daemon.client.get("/orgs/acme/secrets/k")).json()["value"] == "s3cret"


@pytest.mark.parametrize("end", ["deleted", "burned", "expired"])
async def test_a_key_is_ambiguous_only_while_both_live(daemon: Daemon, end: str) -> None:
    """Once one of two holders is gone, its key names the other."""
    await daemon.put_in("acme", "k", "acme's", ttl_seconds=5)
    await daemon.put_in("umbrella", "k", "umbrella's")
    assert (await daemon.client.get("/secrets/k")).status_code == 409
    if end == "expired":
        daemon.clock.at += 5
    else:
        await daemon.client.request("DELETE" if end == "deleted" else "GET", "/orgs/acme/secrets/k")
    assert (await daemon.client.get("/secrets/k")).json() == {"id": "k", "value": "umbrella's"}


async def test_a_bare_key_is_amended_and_deleted_like_its_org_route(daemon: Daemon) -> None:
    """PATCH and DELETE by bare key resolve to the one live secret of that key."""
    path = await daemon.put_in("acme", "k", delete=False)
    amended = (await daemon.client.patch("/secrets/k", json={"value": "new"})).json()
    assert (amended["key"], amended["org"]) == ("k", "acme")
    assert (await daemon.client.get(path)).json()["value"] == "new"
    assert (await daemon.client.delete("/secrets/k")).json() == {"deleted": True}
    assert (await daemon.client.get(path)).status_code == 404


async def test_a_sealed_secret_counts_as_the_match_of_its_key(daemon: Daemon) -> None:
    """A bare key that names one sealed secret is 410, and not 404."""
    await daemon.client.get(await daemon.put_in("acme", "k", delete=False))
    assert (await daemon.client.get("/secrets/k")).status_code == 410
    shown = await daemon.client.head("/secrets/k")
    assert (shown.status_code, shown.headers["x-sirr-status"]) == (410, "sealed")


@pytest.mark.parametrize("foreign", ["umbrella", "nobody", "Acme", "ACME", "acme.", "acm", "acme2", "a" * 64])
@EVERY_VERB
async def test_orgs_are_apart(daemon: Daemon, verb: str, foreign: str) -> None:
    """A key of one org is 404 under any other, for every verb, and stays as it was."""
    path = await daemon.put_in("acme", "k", "acme's", delete=False)
    await daemon.put_in("umbrella", "other")
    before = await counts(daemon)
    answer = await daemon.client.request(verb, f"/orgs/{foreign}/secrets/k", **body_of(verb))
    assert answer.status_code == 404
    assert await counts(daemon) == before
    assert (await daemon.client.get(path)).json()["value"] == "acme's"


async def test_one_name_in_two_orgs_is_two_secrets(daemon: Daemon) -> None:
    """The same key in two orgs is read, amended, listed and deleted in each alone."""
    acme = await daemon.put_in("acme", "k", "acme's", delete=False, max_reads=9)
    umbrella = await daemon.put_in("umbrella", "k", "umbrella's", delete=False, max_reads=9)
    assert (await daemon.client.get(acme)).json()["value"] == "acme's"
    await daemon.client.patch(umbrella, json={"value": "new"})
    assert await counts(daemon) == {("acme", "k"): (1, "active"), ("umbrella", "k"): (0, "active")}
    await daemon.client.delete(acme)
    assert (await daemon.client.get(umbrella)).json()["value"] == "new"
    assert (await daemon.client.get("/orgs/acme/secrets")).json() == {"secrets": []}


@EVERY_VERB
async def test_a_dead_drop_has_no_org_route(daemon: Daemon, verb: str) -> None:
    """The id of a dead drop is no key of any org."""
    secret = await daemon.put(delete=False)
    answer = await daemon.client.request(verb, f"/orgs/acme/secrets/{secret}", **body_of(verb))
    assert answer.status_code == 400
    assert await counts(daemon) == {(None, secret): (0, "active")}


@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST"])
async def test_an_org_secret_has_no_page(start: Start, verb: str) -> None:
    """Pages are for dead drops only, however open the keys are."""
    async with start(org_reads="public") as daemon:
        await daemon.put_in("acme", "k")
        assert (await daemon.client.request(verb, "/s/k")).status_code == 400
        assert await counts(daemon) == {("acme", "k"): (0, "active")}


async def test_keys_differ_by_case(daemon: Daemon) -> None:
    """`k` and `K` are two keys."""
    await daemon.put_in("acme", "k", "small")
    await daemon.put_in("acme", "K", "large")
    assert [(await daemon.client.get(f"/secrets/{key}")).json()["value"] for key in "kK"] == ["small", "large"]
