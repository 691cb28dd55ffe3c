"""`sirr` behind a connection that breaks after the answer left: one read spent, the value written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Launch
from tests.relay import Asked, Relay, relay
from tests.sirr.zygote import Zygote, zygote


def is_read(asked: Asked) -> bool:
    """Tell whether a request reads a secret."""
    return asked.head.startswith(b"GET /secrets/")


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Zygote]:
    """Starts commands quickly."""
    with zygote(tmp_path) as found:
        yield found


@pytest.fixture
def between(launch: Launch) -> Iterator[Relay]:
    """A relay before a daemon."""
    with launch() as daemon, relay(daemon.address()) as found:
        yield found


def test_a_lost_answer_costs_one_read_and_the_value_is_written(
    forks: Zygote, between: Relay, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Each time the first answer is lost: `get` writes the value, exits with 0, and one of two reads is left."""
    env = {"SIRR_SERVER": between.address, "HOME": str(tmp_path)}
    for number in range(pytestconfig.getoption("--runs")):
        value = f"value {number}"
        made = forks.run(["push", "--reads", "2", "--ttl", "1h"], env=env, given=value.encode())
        link = made.out.decode().strip()
        lost = iter([True])
        between.loses = lambda asked, lost=lost: is_read(asked) and next(lost, False)  # type: ignore[misc]
        found = forks.run(["get", "-"], env=env, given=link.encode())
        assert (found.code, found.out.decode()) == (0, value), found.err
        assert next(lost, False) is False, "no answer was lost"
        path = link.partition("#")[0].replace("/s/", "/secrets/")
        assert httpx.head(path).headers["x-sirr-reads-remaining"] == "1"
