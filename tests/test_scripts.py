"""The scripts of a fresh checkout: they need Python and nothing else, and say so when it is not there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT, ask, environment, require, started

_OWN = (".*", "__pycache__", "build", "dist")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout without any environment."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_OWN))
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs with what the scripts use, but no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "cat", "cksum", "rm"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def _python(programs: Path, script: str) -> None:
    fake = programs / "python3"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)


def _refused(checkout: Path, programs: Path) -> str:
    """Run `scripts/serve` with these programs only, and return what it says when it gives up."""
    env = {"PATH": str(programs)}
    ran = subprocess.run([checkout / "scripts/serve"], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert not (checkout / ".venv").exists()
    return ran.stderr


def test_serve_without_python_says_what_it_needs(checkout: Path, programs: Path) -> None:
    """Without python3 the script names the version that is needed, and makes nothing."""
    assert "Python 3.11 or newer" in _refused(checkout, programs)


def test_serve_with_an_old_python_says_what_it_needs(checkout: Path, programs: Path) -> None:
    """With too old a python3 the script says which one it found, and how to name another."""
    _python(programs, 'test "$1" = --version && echo Python 3.9.2 && exit; exit 1')
    said = _refused(checkout, programs)
    assert "Python 3.9.2 is too old" in said
    assert "PYTHON=" in said


def test_serve_without_the_venv_module_says_what_to_install(checkout: Path, programs: Path) -> None:
    """Where Python comes without `venv`, as on Debian, the script names the package."""
    _python(programs, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    assert "apt-get install python3-venv" in _refused(checkout, programs)


def test_serve_from_a_fresh_checkout(checkout: Path, tmp_path: Path) -> None:
    """It makes its environment, starts the daemon, and the line that it gives to try stores a secret.

    An environment of other locks, or of a checkout that was moved, is made anew; its own is left alone.
    """
    require(shutil.which("curl"), "curl")
    stale = checkout / ".venv"
    stale.mkdir()
    (stale / "run.stamp").write_text("of other locks\n")

    env = environment(PYTHON=sys.executable)
    command = [str(checkout / "scripts/serve"), "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(command, log=tmp_path / "first", cwd=tmp_path, env=env) as daemon:
        address = daemon.address(patience=120)
        said = daemon.log.read_text()
        assert said.startswith("scripts/venv: making .venv from locks/run.lock\nsirrd "), said
        line = re.search(r"^\s+try\s+(curl .*)$", said, re.MULTILINE)
        assert line is not None, said
        tried = subprocess.run(shlex.split(line[1]), capture_output=True, text=True, check=True)
        secret = re.search(r"[0-9a-f]{64}", tried.stdout)
        assert secret is not None, tried.stdout
        assert ask(address, "GET", f"/secrets/{secret[0]}")[1]["value"] == "hello"
        assert daemon.stop() == 0, said

    made = (checkout / ".venv/run.stamp").stat().st_mtime_ns
    with started(command, log=tmp_path / "second", cwd=tmp_path, env=env) as again:
        again.address()
        assert "making" not in again.log.read_text()
        assert again.stop() == 0
    assert (checkout / ".venv/run.stamp").stat().st_mtime_ns == made
    subprocess.run([checkout / ".venv/bin/sirrd", "--version"], check=True)
