"""What a field means when it is absent, null, or over what the operator allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.conftest import NOW, Start

UNLIMITED: Final = {"default_max_reads": "unlimited"}
LIMITS: Final = {"default_ttl_seconds": 60, "max_ttl_seconds": 100}


@pytest.mark.parametrize(
    ("settings", "given", "max_reads", "ttl", "delete"),
    [
        ({}, {}, 1, None, True),
        ({}, {"max_reads": None, "ttl_seconds": None}, None, None, True),
        ({}, {"max_reads": 2_147_483_647, "ttl_seconds": 315_360_000}, 2_147_483_647, 315_360_000, True),
        ({}, {"max_reads": 1, "ttl_seconds": 1, "delete": False}, 1, 1, False),
        ({}, {"delete": True}, 1, None, True),
        (UNLIMITED, {}, None, None, True),
        (UNLIMITED, {"max_reads": None}, None, None, True),
        (UNLIMITED, {"max_reads": 3}, 3, None, True),
        ({"default_max_reads": 5}, {}, 5, None, True),
        ({"default_max_reads": 5}, {"max_reads": None}, None, None, True),
        ({"default_max_reads": 5}, {"max_reads": 6}, 6, None, True),
        ({"default_ttl_seconds": 60}, {}, 1, 60, True),
        ({"default_ttl_seconds": 60}, {"ttl_seconds": None}, 1, None, True),
        ({"default_ttl_seconds": 60}, {"ttl_seconds": 61}, 1, 61, True),
        ({"max_ttl_seconds": 100}, {}, 1, 100, True),
        ({"max_ttl_seconds": 100}, {"ttl_seconds": None}, 1, 100, True),
        ({"max_ttl_seconds": 100}, {"ttl_seconds": 100}, 1, 100, True),
        ({"max_ttl_seconds": 100}, {"ttl_seconds": 1}, 1, 1, True),
        (LIMITS, {}, 1, 60, True),
        (LIMITS, {"ttl_seconds": None}, 1, 100, True),
        (LIMITS, {"ttl_seconds": 99}, 1, 99, True),
    ],
)
async def test_absent_and_null_mean_what_the_contract_says(
    start: Start,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    max_reads: int | None,
    ttl: int | None,
    *,
    delete: bool,
) -> None:
    """What is left out takes the operator's default, null takes the operator's maximum, for both kinds of secret."""
    async with start(**settings) as daemon:
        await daemon.put(**given)
        await daemon.put_in("acme", "k", **given)
        stored = (await daemon.client.get("/secrets")).json()["secrets"]
    expires_at = None if ttl is None else NOW + ttl
    assert len(stored) == 2
    for found in stored:
        assert (found["max_reads"], found["expires_at"], found["delete"]) == (max_reads, expires_at, delete)


@pytest.mark.parametrize(
    ("settings", "given", "max_reads", "expires_at"),
    [
        ({}, {}, 3, NOW + 50),
        ({}, {"max_reads": None}, None, NOW + 50),
        ({}, {"max_reads": 9}, 9, NOW + 50),
        ({}, {"ttl_seconds": None}, 3, None),
        ({}, {"ttl_seconds": 50}, 3, NOW + 60),
        ({}, {"value": "new"}, 3, NOW + 50),
        ({"default_max_reads": 7, **LIMITS}, {}, 3, NOW + 50),
        (LIMITS, {"ttl_seconds": None}, 3, NOW + 110),
        (LIMITS, {"ttl_seconds": 1}, 3, NOW + 11),
        ({"default_ttl_seconds": 60}, {"ttl_seconds": None}, 3, None),
        (UNLIMITED, {"max_reads": None, "ttl_seconds": 2}, None, NOW + 12),
    ],
)
async def test_absent_in_a_patch_leaves_things_as_they_are(
    start: Start, settings: Mapping[str, Any], given: Mapping[str, Any], max_reads: int | None, expires_at: int | None
) -> None:
    """In a PATCH what is left out stays, null is the operator's maximum, and a lifetime counts from now."""
    async with start(**settings) as daemon:
        secret = await daemon.put(delete=False, max_reads=3, ttl_seconds=50)
        daemon.clock.at = NOW + 10
        answer = (await daemon.client.patch(f"/secrets/{secret}", json=given)).json()
        assert (answer["max_reads"], answer["expires_at"], answer["created_at"]) == (max_reads, expires_at, NOW)
        assert (await daemon.client.get("/secrets")).json()["secrets"] == [answer]
        assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == given.get("value", "s3cret")


@pytest.mark.parametrize("request_line", ["POST /secrets", "POST /orgs/acme/secrets", "PATCH /orgs/acme/secrets/kept"])
async def test_nobody_outlives_the_operators_maximum(start: Start, request_line: str) -> None:
    """A lifetime over the operator's maximum is 400 for its field, and nothing changes."""
    async with start(max_ttl_seconds=100) as daemon:
        await daemon.put_in("acme", "kept", delete=False)
        before = (await daemon.client.get("/secrets")).json()
        method, path = request_line.split(" ")
        body = {"value": "v", "ttl_seconds": 101} | ({"key": "k"} if request_line.startswith("POST /orgs") else {})
        answer = await daemon.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "bad_field", "ttl_seconds")
        assert (await daemon.client.get("/secrets")).json() == before
