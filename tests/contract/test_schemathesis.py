"""A stranger with a machine: schemathesis makes requests from the description, and checks each answer against it.

It runs beside a real daemon, so that its requests pass a real client, a socket and the HTTP parser. `--examples N` lets
it try harder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from sirrd.http.limiter import UNLIMITED
from sirrd.http.routes import RESOURCES
from tests.conftest import API_KEY, Launch
from tests.parts import ask, environment, put

CONFIG: Final = """
# Reading burns, so what was stored need not be there any more.
[checks.ensure_resource_availability]
enabled = false

# 410 is no refusal of what was sent: the secret is sealed.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410"]

[dictionaries]
org = { values = ["acme"] }
key = { values = ["kept", "sealed", "burns"] }
id = { values = ["kept", "sealed", "burns", "{DROP}"] }

[[operations]]
include-method = ["GET", "HEAD"]
parameters = {PARAMETERS}

# JSON Schema counts 186.0 as an integer, has no word for bytes of UTF-8 and none for lone surrogates.
[[operations]]
include-method = ["POST", "PATCH"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "410"]
parameters = {PARAMETERS}
"""
PARAMETERS: Final = ", ".join(
    f'"path.{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in ("org", "key", "id")
)
NEVER_ACCEPTED: Final = {"POST /rotate-key"}
LEFT_TO_CHANCE: Final = {"DELETE /secrets/{id}", "DELETE /orgs/{org}/secrets/{key}"}
SECONDS_PER_EXAMPLE: Final = 20


class Secrets(NamedTuple):
    """What is there to be found.

    Attributes:
        drop: The id of a dead drop without a limit of reads.
        bearer: The API key.
    """

    drop: str
    bearer: str


def stored(address: str, bearer: str) -> Secrets:
    """Store a secret of each kind, so that requests meet more than misses."""
    terms: dict[str, dict[str, Any]] = {
        "kept": {"delete": False, "max_reads": None},
        "sealed": {"delete": False},
        "burns": {"max_reads": None},
    }
    for key, each in terms.items():
        body = {"key": key, "value": "s3cret", **each}
        assert ask(address, "POST", "/orgs/acme/secrets", body, bearer=bearer)[0] == 201
    assert ask(address, "GET", "/orgs/acme/secrets/sealed", bearer=bearer)[0] == 200
    return Secrets(put(address, bearer=bearer, delete=False, max_reads=None).rpartition("/")[2], bearer)


def attack(address: str, folder: Path, secrets: Secrets, examples: int, *options: str) -> dict[str, Any]:
    """Let schemathesis attack a daemon, fail with its own words, or return its report."""
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(CONFIG.replace("{DROP}", secrets.drop).replace("{PARAMETERS}", f"{{ {PARAMETERS} }}"))
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    program += [f"{address}/openapi.json", "--max-examples", str(examples), "--seed", "1", "--continue-on-failure"]
    program += ["--generation-database", "none", "--no-color", "--report-json-path", str(report), *options]
    run = subprocess.run(
        program,
        cwd=folder,
        env=environment(NO_PROXY="*"),
        capture_output=True,
        text=True,
        timeout=60 + SECONDS_PER_EXAMPLE * examples,
        check=False,
    )
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def check_thoroughness(report: dict[str, Any], examples: int) -> None:
    """Check that every operation was tested to the end, in every phase that there is."""
    known = sum(len(resource.endpoints) for resource in RESOURCES)
    operations, cases = report["operations"], report["test_cases"]
    assert (operations["total"], operations["tested"], operations["errored"]) == (known, known, 0)
    assert {report["phases"][phase]["status"] for phase in ("coverage", "fuzzing", "stateful")} == {"success"}
    assert report["complete"]
    assert cases["generated"] > 10 * examples
    assert (cases["with_failures"], cases["errored"]) == (0, 0)


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    """How many cases schemathesis makes for an operation."""
    return int(request.config.getoption("--examples"))


def test_the_daemon_is_as_it_is_described(launch: Launch, tmp_path: Path, examples: int) -> None:
    """With the bearer: no request, lawful or not, gets an answer that the description does not have."""
    with launch(SIRR_METRICS="true", SIRR_MASTER_API_KEY=API_KEY) as daemon:
        secrets = stored(daemon.address(), API_KEY)
        report = attack(daemon.address(), tmp_path, secrets, examples, "-H", f"Authorization: Bearer {API_KEY}")
        assert daemon.stop() == 0
    check_thoroughness(report, examples)
    rates = {name: sum(part["accepted"] for part in rate.values()) for name, rate in report["valid_rates"].items()}
    assert {name for name, accepted in rates.items() if not accepted} <= NEVER_ACCEPTED | LEFT_TO_CHANCE
    assert '"level":"error"' not in daemon.log.read_text().replace(" ", "")


def test_the_daemon_is_as_it_is_described_to_strangers(launch: Launch, tmp_path: Path, examples: int) -> None:
    """Without the bearer, where bare keys are public: the same, and nothing that is protected is answered."""
    with launch(SIRR_METRICS="true", SIRR_MASTER_API_KEY=API_KEY, SIRR_ORG_READS="public") as daemon:
        secrets = stored(daemon.address(), API_KEY)
        before = ask(daemon.address(), "GET", "/secrets", bearer=API_KEY)[1]["secrets"]
        report = attack(daemon.address(), tmp_path, secrets, examples)
        after = ask(daemon.address(), "GET", "/secrets", bearer=API_KEY)[1]["secrets"]
        assert daemon.stop() == 0
    check_thoroughness(report, examples)
    protected = {
        f"{method} {resource.path}"
        for resource in RESOURCES
        for method in resource.endpoints
        if resource.path not in UNLIMITED | {"/s/{id}", "/secrets/{id}/received"}
        and not (resource.path == "/secrets/{id}" and method in {"GET", "HEAD"})
    }
    # A proof, too, is asked for there, and its absence is told otherwise.
    by_proof = {"DELETE /secrets/{id}", "DELETE /orgs/{org}/secrets/{key}"}
    assert protected - by_proof <= set(report["warnings"]["missing_auth"]) <= protected
    assert [each | {"read_count": 0} for each in before] == [each | {"read_count": 0} for each in after]
    assert '"level":"error"' not in daemon.log.read_text().replace(" ", "")
