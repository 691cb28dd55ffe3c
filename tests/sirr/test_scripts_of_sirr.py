"""The command line as people use it: script files with expected output, and what happens on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from sirrd.link import Fragment
from tests.conftest import API_KEY, Launch
from tests.parts import ROOT, require

SCRIPTS: Final = sorted((ROOT / "tests" / "scripts").glob("*.txt"))
_PLACES: Final = {
    "<link>": r"http://127\.0\.0\.1:\d+/s/[0-9a-f]{64}#[A-Za-z0-9_-]{44}",
    "<plain link>": r"http://127\.0\.0\.1:\d+/s/[0-9a-f]{64}",
    "<fingerprint>": "[0-9a-f]{16}",
    "<server>": r"http://127\.0\.0\.1:\d+",
    "<soon>": "in (59|60) min",
    "<days>": "[67]",
    "<path>": r"/\S+/sirr\.json",
}
_PATIENCE_SECONDS: Final = 20


class Line(NamedTuple):
    """A command of a script, and what it prints."""

    number: int
    command: str
    expected: str


def parsed(text: str) -> Iterator[Line]:
    """Take a script apart: `$` begins a command, `[N]` tells its exit code, and a paragraph without `$` is prose."""
    number, command = 0, ""
    expected: list[str] = []
    for at, line in enumerate(text.splitlines(), start=1):
        if line.startswith("$ "):
            if command:
                yield Line(number, command, "\n".join(expected))
            number, command, expected = at, line[2:], []
        elif not line and command:
            yield Line(number, command, "\n".join(expected))
            command = ""
        elif command:
            expected.append(line)
    if command:
        yield Line(number, command, "\n".join(expected))


def matches(expected: str, shown: str) -> bool:
    """Tell whether an output is what a script expects, where places in angle brackets stand for what varies."""
    parts = re.split(f"({'|'.join(map(re.escape, _PLACES))})", expected)
    return re.fullmatch("".join(_PLACES.get(part, re.escape(part)) for part in parts), shown) is not None


@pytest.fixture
def env(launch: Launch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with a server, a token and a home of their own."""
    require(shutil.which("curl"), "curl")
    with launch(SIRR_MASTER_API_KEY=API_KEY) as process:
        yield person(process.address(), tmp_path)


def person(server: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a person with a server, a token and a home of their own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "SIRR_SERVER": server,
        "SIRR_TOKEN": API_KEY,
    }


@pytest.mark.parametrize("script", [pytest.param(script, id=script.stem) for script in SCRIPTS])
def test_a_script_runs_as_it_says(script: Path, env: dict[str, str]) -> None:
    """Line by line, in one shell, with the output and the exit code that stand there."""
    shell = subprocess.Popen(
        ["bash", "--norc"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=env["HOME"],
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    end = "=== end of a command"
    with shell:
        for line in parsed(script.read_text()):
            shell.stdin.write(f'{line.command}\necho "{end} $?"\n')
            shell.stdin.flush()
            shown: list[str] = []
            for output in shell.stdout:
                before, found, code = output.partition(end)
                if found:
                    shown += [before] if before else []
                    shown += [f"[{code.strip()}]\n"] if code.strip() != "0" else []
                    break
                shown.append(output)
            text = "".join(part if part.endswith("\n") else part + "\n" for part in shown).removesuffix("\n")
            assert matches(line.expected, text), f"{script.name}:{line.number}: {line.command}\n{text}"
        shell.stdin.close()
        assert shell.wait(_PATIENCE_SECONDS) == 0


class Terminal:
    """A command on a terminal of its own.

    Attributes:
        shown: All that stood on the screen.
        fd: The other side of the terminal.
    """

    def __init__(self, arguments: list[str], env: dict[str, str], **more: str) -> None:
        self.shown = ""
        self._pid, self.fd = pty.fork()
        if self._pid == 0:
            os.chdir(env["HOME"])
            os.execvpe(arguments[0], arguments, {**env, "TERM": "dumb", **more})

    def until(self, text: str) -> None:
        """Read until something stands on the screen."""
        assert self._read(lambda: text in self.shown), f"{text!r} is not in {self.shown!r}"

    def type(self, text: str) -> None:
        """Type a line."""
        self.send(text + "\r")

    def send(self, text: str) -> None:
        """Send letters and control characters as they are, as fast as they are taken."""
        data = text.encode()
        while data:
            data = data[os.write(self.fd, data[:1024]) :]

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        os.kill(self._pid, number)

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        self._read(lambda: False)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def hang_up(self) -> None:
        """Take the terminal away, and wait for the command to end."""
        os.close(self.fd)
        os.waitpid(self._pid, 0)

    def _read(self, is_enough: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_enough():
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            try:
                found = os.read(self.fd, 65_536)
            except OSError:  # Linux says so at the end
                return is_enough()
            if not found:
                return is_enough()
            self.shown += found.decode()
        return True


def pushed(env: dict[str, str], value: bytes, *options: str) -> str:
    """Push a value and return its link."""
    ran = subprocess.run(["sirr", "push", *options], input=value, env=env, capture_output=True, check=True)
    return ran.stdout.decode().strip()


def got(env: dict[str, str], link: str, *options: str) -> bytes:
    """Return what a link opens to."""
    return subprocess.run(["sirr", "get", link, *options], env=env, capture_output=True, check=True).stdout


def link_of(shown: str) -> str:
    """Return the link on a screen."""
    (found,) = re.findall(r"http://127\.0\.0\.1:\d+/s/[0-9a-f]{64}#[A-Za-z0-9_-]{44}", shown)
    return str(found)


def test_a_value_is_asked_for_and_not_shown(env: dict[str, str]) -> None:
    """Without anything to read it from, it is typed, and the terminal stays silent."""
    terminal = Terminal(["sirr", "push"], env)
    terminal.until("Value: ")
    terminal.type("s3cret")
    assert terminal.end() == 0
    assert "s3cret" not in terminal.shown
    assert got(env, terminal.shown.split()[-1]) == b"s3cret"


def test_a_passphrase_is_asked_for_twice_and_again_by_whoever_reads(env: dict[str, str]) -> None:
    """It is shown nowhere; a wrong one spends nothing."""
    terminal = Terminal(["sirr", "push", "--passphrase"], env)
    for asked, typed in (("Value: ", "s3cret"), ("made)", "correct horse"), ("Again: ", "correct horse")):
        terminal.until(asked)
        terminal.type(typed)
    assert terminal.end() == 0
    assert "horse" not in terminal.shown
    link = terminal.shown.split()[-1]
    for word, code, shown in (("wrong", 7, "this is not the passphrase"), ("correct horse", 0, "s3cret")):
        reader = Terminal(["sirr", "get", link], env)
        reader.until("Passphrase: ")
        reader.type(word)
        assert reader.end() == code
        assert shown in reader.shown
        assert "horse" not in reader.shown


def test_a_passphrase_is_made_where_none_is_typed(env: dict[str, str]) -> None:
    """It is shown once, and opens the link."""
    terminal = Terminal(["sirr", "push", "--passphrase"], env)
    for asked, typed in (("Value: ", "s3cret"), ("made)", "")):
        terminal.until(asked)
        terminal.type(typed)
    assert terminal.end() == 0
    (word,) = re.findall(r"passphrase: ([a-z2-9-]{24})", terminal.shown)
    reader = Terminal(["sirr", "get", terminal.shown.split()[-1]], env)
    reader.until("Passphrase: ")
    reader.type(word)
    assert reader.end() == 0
    assert "s3cret" in reader.shown


@pytest.mark.parametrize("value", [b"\x1b]0;title\x07", b"\xff\x00", b"a\rb"])
def test_a_terminal_is_not_flooded(env: dict[str, str], value: bytes) -> None:
    """What is no text, or moves the cursor, is written into a file beside."""
    terminal = Terminal(["sirr", "get", pushed(env, value)], env)
    assert terminal.end() == 0
    assert "written into secret" in terminal.shown
    file = Path(env["HOME"]) / "secret"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (value, 0o600)


def test_a_qr_code_is_shown_beside_the_link(env: dict[str, str]) -> None:
    """On standard error, so that standard output is the link alone."""
    ran = subprocess.run(["sirr", "push", "--qr"], input=b"s3cret", env=env, capture_output=True, check=True)
    assert re.fullmatch(_PLACES["<link>"] + "\n", ran.stdout.decode())
    assert "█" in ran.stderr.decode() or "▄" in ran.stderr.decode()


def test_no_child_has_a_secret_in_its_arguments(env: dict[str, str]) -> None:
    """`run` gives them to the environment of one command alone."""
    subprocess.run(["sirr", "set", "K", "--org", "acme"], input=b"s3cret", env=env, check=True, capture_output=True)
    show = "import os, sys; print(os.environ['K'], open(f'/proc/{os.getpid()}/cmdline').read().split('\\0'))"
    command = ["sirr", "run", "--org", "acme", "--", sys.executable, "-c", show]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    value, _, arguments = ran.stdout.partition(" ")
    assert value == "s3cret"
    assert "s3cret" not in arguments.replace("os.environ['K']", "")


def test_the_server_of_a_link_never_sees_the_token(env: dict[str, str]) -> None:
    """Whoever made the link named it; not even where no other server is set."""
    seen: list[str | None] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(404)
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        link = f"http://127.0.0.1:{stranger.server_port}/s/{'ab' * 32}"
        for server in ({}, {"SIRR_SERVER": env["SIRR_SERVER"]}):
            without = {name: text for name, text in env.items() if name != "SIRR_SERVER"} | server
            for command in ("get", "head", "delete"):
                subprocess.run(["sirr", command, link], env=without, capture_output=True, check=False)
        stranger.shutdown()
    assert seen == [None] * 6


@pytest.mark.parametrize("closed", ["get LINK >&-", "get LINK --out there/is/none"])
def test_where_nothing_can_be_written_nothing_is_read(env: dict[str, str], closed: str) -> None:
    """The output is looked at before the read is spent."""
    link = pushed(env, b"s3cret")
    ran = subprocess.run(
        ["bash", "-c", f"sirr {closed.replace('LINK', link)}"], env=env, capture_output=True, check=False
    )
    assert ran.returncode != 0
    assert got(env, link) == b"s3cret"


def test_what_could_not_be_written_is_put_aside(env: dict[str, str]) -> None:
    """A full disk behind standard output does not lose what was read; the exit code says that something is wrong."""
    command = f"sirr get {pushed(env, b's3cret')} > /dev/full"
    ran = subprocess.run(["bash", "-c", command], env=env, capture_output=True, cwd=env["HOME"], check=False)
    assert ran.returncode == 1
    assert b"what was read is in secret" in ran.stderr
    assert (Path(env["HOME"]) / "secret").read_bytes() == b"s3cret"


def test_where_this_folder_takes_nothing_another_one_does(env: dict[str, str]) -> None:
    """What was read is not lost over a folder that is gone."""
    command = f"mkdir gone && cd gone && rmdir ../gone && sirr get {pushed(env, b's3cret')} > /dev/full"
    ran = subprocess.run(["bash", "-c", command], env=env, capture_output=True, cwd=env["HOME"], check=False)
    file = Path(ran.stderr.decode().rsplit(" in ", 1)[1].strip())
    assert (ran.returncode, file.read_bytes(), file.stat().st_mode & 0o777) == (1, b"s3cret", 0o600)
    shutil.rmtree(file.parent)


def test_a_terminal_without_the_letters_gets_the_bytes(env: dict[str, str]) -> None:
    """An encoding that lacks them is no reason to lose a value."""
    link = pushed(env, "grüße €".encode())
    ran = subprocess.run(
        ["sirr", "get", link], env=env | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )
    assert ran.stdout == "grüße €".encode()


def test_a_command_that_cannot_take_a_value_loses_none(env: dict[str, str]) -> None:
    """An environment holds no NUL; what was read is kept in a file, in a form that holds it."""
    for key, value in (("A", b"one"), ("B", b"t\0wo")):
        subprocess.run(["sirr", "set", key, "--org", "acme"], input=value, env=env, check=True, capture_output=True)
    command = ["sirr", "run", "--org", "acme", "--", "true"]
    ran = subprocess.run(command, env=env, capture_output=True, cwd=env["HOME"], check=False)
    assert ran.returncode == 125
    assert b"what was read is in secrets.json" in ran.stderr
    assert json.loads((Path(env["HOME"]) / "secrets.json").read_text()) == {"A": "one", "B": "t\0wo"}


def test_a_kept_path_does_not_choose_the_command(env: dict[str, str]) -> None:
    """A secret named PATH reaches the command, which was found before."""
    subprocess.run(
        ["sirr", "set", "PATH", "--org", "acme"], input=b"/nowhere", env=env, check=True, capture_output=True
    )
    command = ["sirr", "run", "--org", "acme", "--allow", "PATH", "--", "sh", "-c", "echo $PATH"]
    assert subprocess.run(command, env=env, capture_output=True, check=True).stdout == b"/nowhere\n"


@pytest.mark.parametrize("more", [[], ["--output", "there"]])
def test_what_does_not_open_is_never_written_as_if_it_did(env: dict[str, str], more: list[str]) -> None:
    """Whoever runs the server chose it. The read is spent, so it is kept, and said, under a name that says so."""
    link = pushed(env, b"s3cret", "--keep")
    identity, _, fragment = link.rpartition("/")[2].partition("#")
    lock = Fragment.parse(fragment).keys().lock
    httpx.patch(
        f"{env['SIRR_SERVER']}/secrets/{identity}",
        json={"value": "other", "lock": lock},
        headers={"Authorization": f"Bearer {API_KEY}"},
    ).raise_for_status()
    command = ["sirr", "get", "-", *more]
    ran = subprocess.run(command, input=link.encode(), env=env, capture_output=True, cwd=env["HOME"], check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"does not open" in ran.stderr
    assert (Path(env["HOME"]) / "unopened").read_bytes() == b"other"
    assert not (Path(env["HOME"]) / "there").exists()


def test_login_replaces_what_cannot_be_read(env: dict[str, str]) -> None:
    """It says that logging in helps, so it does."""
    subprocess.run(["sirr", "login", env["SIRR_SERVER"]], env=env, check=True, capture_output=True)
    (file,) = Path(env["HOME"]).rglob("sirr.json")
    file.write_text("{")
    subprocess.run(["sirr", "login", env["SIRR_SERVER"]], env=env, check=True, capture_output=True)
    without = {name: text for name, text in env.items() if not name.startswith("SIRR_")}
    assert subprocess.run(["sirr", "me"], env=without, check=True, capture_output=True).stdout.startswith(b"server:")


def test_no_log_has_anything_of_a_link(env: dict[str, str], tmp_path: Path) -> None:
    """Neither the value, nor the id, nor what stands behind the #, nor the proof; and the token does not either."""
    link = pushed(env, b"s3cret")
    assert got(env, link) == b"s3cret"
    identity, _, fragment = link.rpartition("/")[2].partition("#")
    (log,) = tmp_path.glob("*.log")
    text = log.read_text()
    assert '"status":200' in text
    for hidden in ("s3cret", identity, fragment, Fragment.parse(fragment).keys().shown_proof, API_KEY):
        assert hidden not in text


def test_colour_is_for_a_terminal(env: dict[str, str]) -> None:
    """A pipe gets plain text, and so does a person who asked for it."""
    link = pushed(env, b"s3cret")
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal(["sirr", "head", link], env | more)
        assert terminal.end() == 0
        assert ("\x1b[32mactive" in terminal.shown) is coloured
    ran = subprocess.run(["sirr", "head", link], env=env, capture_output=True, check=True)
    assert b"\x1b" not in ran.stdout


def test_a_proxy_that_is_none_is_a_mistake_whatever_server_it_is_for(env: dict[str, str]) -> None:
    """A link names a server of its own: what is wrong on the way to that is exit code 2 as well."""
    link = f"https://drop.example/s/{'ab' * 32}"
    ran = subprocess.run(
        ["sirr", "get", "-"],
        input=link.encode(),
        env=env | {"https_proxy": "foo://x"},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 2
    assert b"https_proxy names no proxy" in ran.stderr
