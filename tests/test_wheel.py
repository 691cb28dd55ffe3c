"""What is published: the wheel, built and installed for real."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import sirrd
from tests.parts import ROOT, ask, environment, require, started


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    require(built.returncode == 0, f"what builds the wheel: {built.stderr}")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it, beside what it depends on."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # The dependencies are seen through a path file; this checkout, which its own path file adds there, is not.
    site = next((home / "lib").glob("python3.*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def _run(*command: str | Path, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=True).stdout


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package is in it, the schema and the type marker too; no test, script or benchmark is."""
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(ROOT)) for path in (ROOT / "sirrd").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert package <= names
    shipped = {name for name in names if name.startswith("sirrd/shipped/")}
    assert names - package - shipped == {name for name in names if ".dist-info/" in name}
    assert {"sirrd/py.typed", "sirrd/store/schema/sqlite/0001_initial.sql"} <= names
    described = f"sirrd-{sirrd.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"sirrd", described}
    assert f"{described}/licenses/LICENSE" in names


def test_wheel_says_what_it_is(wheel: Path) -> None:
    """The metadata has the licence, the readme and the programs, so that a registry or an audit can show them."""
    with zipfile.ZipFile(wheel) as opened:
        described = f"sirrd-{sirrd.__version__}.dist-info"
        metadata = opened.read(f"{described}/METADATA").decode()
        programs = opened.read(f"{described}/entry_points.txt").decode()
    for line in ("License-Expression: Apache-2.0", "License-File: LICENSE", "Description-Content-Type: text/markdown"):
        assert line in metadata.splitlines()
    assert "sirrd = sirrd.cli.program:main" in programs
    assert "sirr = sirrd.sirr.cli:main" in programs


@pytest.mark.parametrize(
    ("command", "source"), [("example-config", "sirrd.toml.example"), ("example-unit", "deploy/sirrd.service")]
)
def test_examples_are_printed(installed: Path, tmp_path: Path, command: str, source: str) -> None:
    """The settings file and the unit come out of the wheel as they stand in the sources, whatever else is set."""
    (tmp_path / "sirrd.toml").write_text("this is no TOML")
    assert _run(installed / "sirrd", command, cwd=tmp_path) == (ROOT / source).read_text()
    assert (
        subprocess.run([installed / "sirrd", command, "--port", "1"], check=False, capture_output=True).returncode == 2
    )


def test_the_example_is_a_settings_file(installed: Path, tmp_path: Path) -> None:
    """What `example-config` prints can be used as it is, and changes nothing."""
    (tmp_path / "sirrd.toml").write_text(_run(installed / "sirrd", "example-config", cwd=tmp_path))
    (tmp_path / "empty").mkdir()
    of = [_run(installed / "sirrd", "check-config", cwd=folder) for folder in (tmp_path, tmp_path / "empty")]
    assert of[0] == of[1]


def test_pages_for_operators_are_in_the_wheel(wheel: Path) -> None:
    """Whoever has only the wheel has the pages on operating it, on the client and on what is promised."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for page in ("behaviour", "client", "formats", "operations", "sirr", "threat-model"):
        assert f"sirrd/shipped/docs/{page}.md" in names


def test_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The source archive has all that the wheel is built from."""
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run([*build, "--target", "sdist"], cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    subprocess.run([*build, "--target", "wheel"], cwd=sources, capture_output=True, check=True)
    (again,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())
    for name in ("LICENSE", "SECURITY.md", "CHANGELOG.md", "deploy/sirrd.service", "locks/run.lock"):
        assert (sources / name).read_bytes() == (ROOT / name).read_bytes()


def test_installed_command_is_that_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`sirrd --version` of the installed wheel says its version, and the code is not that of the checkout."""
    assert _run(installed / "sirrd", "--version", cwd=tmp_path) == f"sirrd {sirrd.__version__}\n"
    place = _run(installed / "python", "-c", "import sirrd; print(sirrd.__file__)", cwd=tmp_path)
    assert Path(place).is_relative_to(installed.parent)


def test_daemon_starts_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The installed daemon makes its data folder, answers, reveals a secret once, and ends with 0."""
    command = [str(installed / "sirrd"), "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=environment()) as daemon:
        address = daemon.address()
        assert ask(address, "GET", "/health") == (200, {"status": "ok"})
        status, told = ask(address, "GET", "/version")
        assert (status, told["name"], told["version"]) == (200, "sirrd", sirrd.__version__)
        status, made = ask(address, "POST", "/secrets", {"value": "from a wheel"})
        assert status == 201
        assert ask(address, "GET", f"/secrets/{made['id']}")[1]["value"] == "from a wheel"
        assert ask(address, "GET", f"/secrets/{made['id']}")[0] == 404
        assert daemon.stop() == 0, daemon.log.read_text()
