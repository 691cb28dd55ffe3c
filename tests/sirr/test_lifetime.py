"""How long a link lives where nobody says: never for ever without a word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import API_KEY, Launch
from tests.parts import ask
from tests.sirr.test_scripts_of_sirr import link_of, person


@pytest.mark.parametrize(
    ("settings", "given", "seconds", "said"),
    [
        ({}, [], 604_800, "it expires in 7 days"),
        ({"SIRR_DEFAULT_TTL_SECONDS": "3600"}, [], 3600, "it expires in 60 min, as this server has it"),
        ({"SIRR_MAX_TTL_SECONDS": "7200"}, [], 7200, "it expires in 2 h, as this server has it"),
        ({"SIRR_DEFAULT_TTL_SECONDS": "999999", "SIRR_MAX_TTL_SECONDS": "9999999"}, [], 604_800, "in 7 days"),
        ({}, ["--ttl", "never"], None, ""),
        ({"SIRR_MAX_TTL_SECONDS": "7200"}, ["--ttl", "never"], 7200, ""),
        ({"SIRR_DEFAULT_TTL_SECONDS": "60"}, ["--ttl", "1h"], 3600, ""),
        (
            {"SIRR_PUBLIC_CREATE": "true", "SIRR_PUBLIC_MAX_TTL_SECONDS": "600", "as": "stranger"},
            [],
            600,
            "the longest time is over that this server allows",
        ),
    ],
)
def test_a_link_lives_a_week_or_what_the_server_has(
    launch: Launch, tmp_path: Path, settings: dict[str, str], given: list[str], seconds: int | None, said: str
) -> None:
    """Whatever is shorter; and it is said, unless the sender said it."""
    is_stranger = settings.get("as") == "stranger"
    changes = {name: text for name, text in settings.items() if name != "as"}
    with launch(SIRR_MASTER_API_KEY=API_KEY, **changes) as process:
        env = person(process.address(), tmp_path)
        if is_stranger:
            del env["SIRR_TOKEN"]
        ran = subprocess.run(["sirr", "push", *given], input=b"s3cret", env=env, capture_output=True, check=True)
        identity = link_of(ran.stdout.decode()).rpartition("/")[2].partition("#")[0]
        (found,) = ask(process.address(), "GET", "/secrets", bearer=API_KEY)[1]["secrets"]
        assert found["key"] == identity
        lives = None if found["expires_at"] is None else found["expires_at"] - found["created_at"]
        assert lives == seconds
        assert (said in ran.stderr.decode()) if said else ran.stderr == b""
