"""What a server says of itself to whoever asks."""

from __future__ import annotations

from typing import Any

import pytest

from sirrd import __version__
from tests.conftest import Start


@pytest.mark.parametrize(
    ("changes", "most", "public"),
    [
        ({}, 1_048_576, None),
        ({"max_value_bytes": 8_388_608}, 8_388_608, None),
        ({"master_api_key": None}, 1_048_576, 1_048_576),
        ({"public_create": True}, 1_048_576, 65_536),
        ({"public_create": True, "public_max_value_bytes": 500, "max_value_bytes": 100}, 100, 100),
    ],
)
async def test_a_client_can_ask_how_long_a_value_may_be(
    start: Start, changes: dict[str, Any], most: int, public: int | None
) -> None:
    """The limit that counts for it, with the bearer or without; null where a stranger may store nothing."""
    async with start(**changes) as daemon:
        for client in (daemon.client, daemon.stranger):
            said = (await client.get("/version")).json()
            assert (said["name"], said["version"]) == ("sirrd", __version__)
            assert (said["max_value_bytes"], said["public_max_value_bytes"]) == (most, public)


async def test_a_client_can_ask_how_long_a_secret_lives(start: Start) -> None:
    """The operator's settings, or null where they are unset."""
    for changes in ({}, {"default_ttl_seconds": 60, "max_ttl_seconds": 3600}):
        async with start(**changes) as daemon:
            said = (await daemon.stranger.get("/version")).json()
            told = {name: said[name] for name in ("default_ttl_seconds", "max_ttl_seconds")}
            assert told == {"default_ttl_seconds": None, "max_ttl_seconds": None} | changes


@pytest.mark.parametrize("seconds", [0, 60, 3600])
async def test_a_client_can_ask_whether_a_lost_answer_is_given_again(start: Start, seconds: int) -> None:
    """Before it repeats a read: what does not say so would spend another one."""
    async with start(redelivery_seconds=seconds) as daemon:
        assert (await daemon.stranger.get("/version")).json()["redelivery_seconds"] == seconds
