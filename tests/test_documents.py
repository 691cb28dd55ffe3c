"""Every command in every document runs as it stands there, or the page says why it is not run."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from sirrd.cli import program
from tests.parts import PATIENCE_SECONDS, ROOT, Process, environment, require, settings_of, started

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README_PORT = 39_999
API_KEY = "correct-horse-battery-staple"
_WILDCARD = "…"
_MARK = "=== end of a block ==="
_SHELLS = ("sh", "bash", "shell", "console")
_REASON = re.compile(r"<!-- not run by the tests: ([^>]{10,}) -->\n\Z")


class Block(NamedTuple):
    """A block of commands in a page.

    Attributes:
        page: The page's name.
        commands: Lines of shell.
        expected: What they print, with `…` for what differs; None where the page does not say.
        reason: Why it is not run; empty where it is.
    """

    page: str
    commands: str
    expected: str | None
    reason: str


def blocks(path: Path) -> list[Block]:
    """Return the blocks of commands of a page, each with the block of text that follows it directly."""
    text = path.read_text()
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```\n?", text, flags=re.DOTALL | re.MULTILINE))
    made = []
    for block, after in zip(found, [*found, None][1:], strict=True):
        if block[1] in _SHELLS:
            reason = _REASON.search(text[: block.start()])
            expected = after[2] if after is not None and after[1] == "text" else None
            made.append(Block(path.name, block[2], expected, reason[1] if reason else ""))
    return made


def to_run(name: str) -> list[Block]:
    """Return the blocks of a page that are run."""
    (path,) = (each for each in PAGES if each.name == name)
    return [block for block in blocks(path) if not block.reason]


RUN = {"README.md", "operations.md", "sirr.md"}
"""The pages whose blocks are run below."""


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    """No page has commands that nobody tries."""
    found = {block.page for path in PAGES for block in blocks(path) if not block.reason}
    assert found == RUN
    assert {block[1] for path in PAGES for block in re.finditer(r"^```(\w+)", path.read_text(), re.MULTILINE)} <= {
        "sh", "text", "json", "python", "sql", "nginx", "caddy", "haproxy",
    }  # fmt: skip


def pattern_of(expected: str) -> re.Pattern[str]:
    """Return what matches a text in which `…` stands for anything within a line."""
    return re.compile("[^\n]*".join(re.escape(part) for part in expected.split(_WILDCARD)))


def printed(text: str) -> str:
    """Return output without what nobody sees: blanks at line ends, and empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def run(found: list[Block], folder: Path, port: int, **changes: str) -> None:
    """Paste blocks into one shell, and compare what they print with what stands under them."""
    require(shutil.which("curl"), "curl")
    script = "".join(f"{block.commands}\nprintf '%s' '{_MARK}'\n" for block in found)
    (folder / "pasted").write_text(script.replace(str(README_PORT), str(port)))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", folder / "pasted"],
        cwd=folder,
        env=environment(NO_PROXY="*", HOME=str(folder), PATH=path, **changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for block, output in zip(found, done.stdout.split(_MARK), strict=False):
        if block.expected is not None:
            expected = printed(block.expected.replace(str(README_PORT), str(port)))
            assert pattern_of(expected).fullmatch(printed(output)), f"expected:\n{expected}\n\nprinted:\n{output}"


# README: a first try, then the walk-through in two terminals.


@contextlib.contextmanager
def first_terminal(block: Block, folder: Path) -> Iterator[Process]:
    """Run a block that starts the daemon, but from this environment and with data of its own."""
    command = re.sub(r"^scripts/serve", f"exec {sys.executable} -m sirrd serve", block.commands, flags=re.MULTILINE)
    command = command.replace("https://sirrd.example/sirrd.git", f"--quiet {ROOT} sirrd")
    port = README_PORT if is_free(README_PORT) else 0
    data = folder / "data"
    env = environment(SIRR_PORT=str(port), SIRR_DATA_DIR=str(data), SIRR_MIN_FREE_BYTES="0", SIRR_LOG_FORMAT="text")
    with started(["bash", "-euc", command], log=folder / "log", cwd=folder, env=env) as daemon:
        yield daemon
        assert daemon.stop() == program.DONE


def test_the_first_try_runs_as_it_stands(tmp_path: Path) -> None:
    """Cloned and started, the daemon shows the page that makes a link."""
    require((ROOT / ".git").exists(), "a checkout with git")
    block = to_run("README.md")[0]
    assert block.commands.splitlines()[1:] == ["cd sirrd", "scripts/serve"]
    assert os.access(ROOT / "scripts/serve", os.X_OK)
    with first_terminal(block, tmp_path) as daemon:
        page = httpx.get(daemon.address())
        assert (page.status_code, "Create link" in page.text) == (200, True)


def test_the_walk_through_runs_as_it_stands(tmp_path: Path) -> None:
    """Pasted block by block, the commands of README print what stands under them."""
    _, start, *rest = to_run("README.md")
    assert len([block for block in rest if block.expected is not None]) > 4
    with first_terminal(start, tmp_path) as daemon:
        run(rest, tmp_path, int(daemon.address().rpartition(":")[2]))


# The other pages, each with what its reader has by then.


def test_the_commands_of_sirr_run_as_they_stand(tmp_path: Path) -> None:
    """With a server and its key, and with a link in a file, as the page says."""
    env = settings_of(tmp_path / "data", SIRR_MASTER_API_KEY=API_KEY)
    with started([sys.executable, "-m", "sirrd", "serve"], log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        address = daemon.address()
        answer = httpx.post(
            f"{address}/secrets",
            json={"value": "s3cret", "max_reads": 9},
            headers={"Authorization": f"Bearer {API_KEY}"},
        )
        (tmp_path / "file").write_text(answer.json()["url"])
        found = to_run("sirr.md")
        run(found, tmp_path, int(address.rpartition(":")[2]), SIRR_SERVER=address, SIRR_TOKEN=API_KEY)
        assert daemon.stop() == program.DONE


def test_the_commands_of_operations_run_as_they_stand(tmp_path: Path) -> None:
    """With a data folder, and the id of a secret that is gone in a file."""
    env = settings_of(tmp_path / "data")
    with started([sys.executable, "-m", "sirrd", "serve"], log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        daemon.address()
        assert daemon.stop() == program.DONE
    (tmp_path / "file-with-the-id").write_text(secrets.token_hex(32))
    run(to_run("operations.md"), tmp_path, 0, SIRR_DATA_DIR=str(tmp_path / "data"))


def test_the_head_of_the_unit_says_what_the_page_says() -> None:
    """What stands there is what `scripts/try-install` runs, but for the folder."""
    unit = (ROOT / "deploy/sirrd.service").read_text()
    install = next(block for block in blocks(ROOT / "docs/operations.md") if "locks/run.lock" in block.commands)
    lines = [line.replace(" --quiet", "") for line in install.commands.splitlines() if "--version" not in line]
    assert len(lines) == 3
    for line in lines:
        assert f"#   {line.replace('sirrd-venv', '/opt/sirrd')}\n" in unit
