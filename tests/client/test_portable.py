"""The client half on systems that are no POSIX: what only POSIX has is taken away from it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Final

import pytest
from packaging.requirements import Requirement

from tests.parts import ROOT, environment

_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

WITHOUT_POSIX: Final = """
import asyncio, getpass, os, platformdirs, selectors, subprocess, sys, tempfile  # what has two forms of its own

for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop"):
    sys.modules[name] = None
for name in ("O_NOFOLLOW", "fork", "getuid", "geteuid", "register_at_fork", "sched_getaffinity"):
    delattr(os, name)
"""
ROUND_TRIP: Final = """
import http.server, json, threading

from sirrd.client import AsyncSirrClient, SirrClient

class Handler(http.server.BaseHTTPRequestHandler):
    kept = {}

    def answer(self, status, members):
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/secrets":
            self.kept.update(json.loads(body))
            self.answer(201, {"id": "ab" * 32, "url": f"{address}/s/" + "ab" * 32})
        else:
            self.answer(200, {"received": True})

    def do_GET(self):
        self.answer(200, {"id": "ab" * 32, "value": self.kept["value"]})

    def log_message(self, *_):
        pass

with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    with SirrClient(address) as client:
        print(client.get(client.push(b"s3cret").url).data)

    async def main():
        async with AsyncSirrClient(address) as client:
            print((await client.get((await client.push(b"s3cret")).url)).data)

    asyncio.run(main())
    server.shutdown()
"""


def without_posix(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program after taking away what only POSIX has."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_POSIX + program],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", ["sirrd.link", "sirrd.client", "sirrd.sirr.cli"])
def test_the_client_half_needs_nothing_of_posix(module: str) -> None:
    """It can be imported where there is none."""
    ran = without_posix(f"import {module}")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_client_works_without_posix() -> None:
    """What is pushed is got again, for threads and for asyncio."""
    ran = without_posix(ROUND_TRIP)
    assert (ran.stderr, ran.stdout.split()) == ("", ["b's3cret'"] * 2)


def test_the_package_can_be_installed_on_windows() -> None:
    """What has no form for it is asked for elsewhere only."""
    windows = {"platform_system": "Windows", "sys_platform": "win32", "os_name": "nt"}
    asked = [Requirement(text) for text in _PROJECT["dependencies"]]
    there = {each.name for each in asked if each.marker is None or each.marker.evaluate(windows)}
    assert "uvloop" in {each.name for each in asked} - there
    assert {"httpx", "cryptography", "pydantic", "click"} <= there
