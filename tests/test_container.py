"""The image and the compose file: the steps of the Dockerfile are run for real, without an engine.

`tests/container.py` says how: each stage is a folder, bound into a mount namespace over the machine's own `/usr` and
Python; the container is process 1 of its namespaces on a read-only root, as a user without capabilities.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sirrd.config.settings import Settings
from tests import container
from tests.container import Build, Image
from tests.dockerfile import UnknownStepError, parse
from tests.parts import ROOT, require

KEY = "a-key-for-the-tests"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, built once."""
    require(container.available(), "root and Linux namespaces (unshare, nsenter, setpriv)")
    return Build(ROOT, tmp_path_factory.mktemp("image")).last


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service of the compose file."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["sirrd"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A new volume."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def start(image: Image, service: dict[str, Any], data: Path, tmp_path: Path) -> Any:
    """Start the container as the compose file does: with its key file, on the volume."""
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    key.chmod(0o400)
    uid, gid = map(int, image.user.split(":"))
    os.chown(key, uid, gid)
    where = service["environment"]["SIRR_MASTER_API_KEY_FILE"]

    def begin(*, with_key: bool = True) -> Any:
        return container.started(
            image,
            volumes={"/data": data},
            files={where: key} if with_key else {},
            env={"SIRR_MASTER_API_KEY_FILE": where} if with_key else {},
            log=tmp_path / "log",
        )

    return begin


def test_container_serves_on_a_read_only_root_and_stops_with_0(start: Any, image: Image, data: Path) -> None:
    """As its user, without capabilities and with only /data to write to, it stores, reveals once, and ends cleanly."""
    with start() as running:
        running.wait_until_healthy()
        assert running.ask("POST", "/secrets", body={"value": "hello"})[0] == 401
        status, made = running.ask("POST", "/secrets", key=KEY, body={"value": "hello"})
        assert status == 201
        path = f"/secrets/{made['id']}"
        assert running.ask("GET", path) == (200, {"id": made["id"], "value": "hello"})
        assert running.ask("GET", path)[0] == 404
        status, kept = running.ask("POST", "/secrets", key=KEY, body={"value": "still here"})
        assert status == 201

        uid, gid = map(int, image.user.split(":"))
        assert uid != 0
        for entry in (data, *data.iterdir()):
            found = entry.stat()
            assert (found.st_uid, found.st_gid) == (uid, gid)
            assert stat.S_IMODE(found.st_mode) == (0o700 if entry.is_dir() else 0o600), entry
        assert running.stop() == 0, running.log
    with start() as again:
        again.wait_until_healthy()
        assert again.ask("GET", f"/secrets/{kept['id']}")[1]["value"] == "still here"
        assert again.stop() == 0


def test_container_without_a_key_does_not_start(start: Any, data: Path) -> None:
    """On 0.0.0.0 without a master API key it ends with 3, says what to do, and leaves the volume alone."""
    with start(with_key=False) as refused:
        assert refused.wait() == 3
        assert "SIRR_MASTER_API_KEY" in refused.log
    assert not list(data.iterdir())


def test_container_can_write_nowhere_but_to_its_volume(start: Any) -> None:
    """The root is read-only, and nothing is mounted writable over it but /data."""
    with start() as running:
        running.wait_until_healthy()
        assert running.run("touch", "/data/probe").returncode == 0
        for folder in ("/", "/tmp", "/run", "/opt/sirrd", "/etc", "/usr", "/root", "/dev"):
            assert running.run("touch", f"{folder}/probe").returncode != 0, folder
        writable = [
            line.split()[1]
            for line in running.run("cat", "/proc/self/mounts").stdout.splitlines()
            if not line.split()[1].startswith(("/dev/", "/proc")) and "ro" not in line.split()[3].split(",")
        ]
        assert writable == ["/data"]
        assert re.search(r"^CapBnd:\t0+$", running.run("cat", "/proc/self/status").stdout, re.MULTILINE)


def test_container_compiles_nothing_at_its_start(start: Any) -> None:
    """The image carries the bytecode of all that daemon and health check import, the standard library included."""
    with start() as running:
        running.wait_until_healthy()
        told = running.run("python3", "-v", "-c", "import sirrd.cli.program, sirrd.server.process, http.client")
        assert told.returncode == 0
        assert "sirrd/server" in told.stderr
        compiled = re.findall(r"^# code object from '?(\S+\.py)'?$", told.stderr, re.MULTILINE)
        assert compiled == []


def test_image_holds_the_daemon_and_nothing_to_build_with(image: Image) -> None:
    """The image has what the lock file names and the package: no pip, no build backend, no tests, no sources beside."""
    places = list((image.root / "opt/sirrd/lib").glob("python3.*/site-packages"))
    assert len(places) == 1
    names = {entry.name for entry in places[0].iterdir()}
    assert {"sirrd", "starlette", "uvicorn"} <= names
    assert not names & {"pip", "setuptools", "hatchling", "pytest", "tests"}
    assert not (image.root / "src").exists()
    assert (places[0] / "sirrd/store/schema/sqlite/0001_initial.sql").exists()


def test_image_listens_where_it_says(image: Image) -> None:
    """Port, volume and address are declared as the settings have them."""
    assert image.exposed == [str(Settings.model_fields["port"].default)]
    assert image.env["SIRR_HOST"] == "0.0.0.0"
    assert image.volumes == [image.env["SIRR_DATA_DIR"]] == ["/data"]


def test_unknown_instruction_is_refused() -> None:
    """The stand-in never passes over a step that it does not know."""
    for step in ("ADD https://example.org/x /x", "COPY --chown=1:1 sirrd sirrd", "ONBUILD RUN true"):
        with pytest.raises(UnknownStepError):
            parse(f"FROM python:3.13-slim\n{step}\n")


def test_compose_file_takes_everything_away_that_the_daemon_does_not_need(service: dict[str, Any]) -> None:
    """Read-only root, no capabilities, no new privileges, reachable from this host only, key from a file."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"tmpfs", "privileged", "user"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["environment"]["SIRR_MASTER_API_KEY_FILE"] == f"/run/secrets/{service['secrets'][0]}"


def test_compose_file_waits_longer_than_the_daemon_takes_to_stop(service: dict[str, Any]) -> None:
    """The engine kills only after drain and shutdown time are over, so that the queue drains."""
    fields = Settings.model_fields
    assert float(service["stop_grace_period"].rstrip("s")) > (
        fields["drain_seconds"].default + fields["shutdown_seconds"].default
    )
