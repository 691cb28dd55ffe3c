"""What ends a command in the middle: signals, closed pipes, lost answers. Nothing is lost without a word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from sirrd.client import Content
from sirrd.sirr import arguments, output, pulling
from sirrd.sirr.commands import Command
from sirrd.sirr.edge import Failure
from sirrd.sirr.signals import Ended
from tests.conftest import API_KEY, Launch
from tests.parts import ask, put, wait_until
from tests.sirr.test_hostile import JSON, Stub, answer, stub  # noqa: F401 - a fixture
from tests.sirr.test_scripts_of_sirr import person
from tests.sirr.zygote import Zygote, zygote

SIRR = str(Path(sys.executable).parent / "sirr")
KEY = {
    "key": "K", "org": "acme", "fingerprint": "f" * 16, "created_at": 1, "expires_at": None, "max_reads": 1,
    "read_count": 0, "delete": True, "locked": False, "status": "active",
}  # fmt: skip
EXISTS = answer("409 Conflict", b'{"error":"there","code":"key_exists"}', JSON)
STORED = answer("201 Created", b'{"key":"K"}', JSON)
DELETED = answer("200 OK", b'{"deleted":true}', JSON)
REFUSED = answer("401 No", b'{"error":"no","code":"unauthorized"}', JSON)


@pytest.fixture
def env(launch: Launch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with a server and an org."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as process:
        yield person(process.address(), tmp_path) | {"SIRR_ORG": "acme"}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Runs commands, quickly, and without a terminal."""
    with zygote(tmp_path_factory.mktemp("streams")) as started:
        yield started


@contextmanager
def waiting(
    stub: Stub,  # noqa: F811
    env: dict[str, str],
    line: str,
    *command: str,
    given: bytes = b"",
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, and interrupt it while it waits for the answer to a request."""
    with subprocess.Popen(
        [SIRR, *command],
        env=env,
        cwd=env["HOME"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(given)
        run.stdin.close()
        wait_until(lambda: any(each.startswith(line) for each in stub.asked))
        run.send_signal(signal.SIGINT)
        assert b"waiting for the answer" in run.stderr.readline()
        yield run


def test_what_run_has_read_when_a_signal_came_is_kept(stub: Stub, tmp_path: Path) -> None:  # noqa: F811
    """The command is not run, the read is spent: the value is put aside before the server forgets it."""

    def said(line: str) -> bytes:
        if line.startswith("GET /orgs/acme/secrets?"):
            stub.gate.clear()
            return answer("200 OK", json.dumps({"secrets": [KEY], "next_cursor": None}).encode(), JSON)
        return answer("200 OK", b'{"key":"K","value":"s3cret"}', JSON)

    stub.answer = said
    env = person(stub.address, tmp_path) | {"SIRR_ORG": "acme"}
    with waiting(stub, env, "GET /orgs/acme/secrets/K", "run", "--", "touch", "ran") as run:
        stub.gate.set()
        assert run.stderr is not None
        told = run.stderr.read()
    assert run.returncode == 128 + signal.SIGINT
    assert b"what was read is in secrets.json" in told
    assert json.loads((Path(env["HOME"]) / "secrets.json").read_text()) == {"K": "s3cret"}
    assert not (Path(env["HOME"]) / "ran").exists()


@pytest.mark.parametrize("command", [["set", "K", "--replace"], ["import", "-", "--format", "json", "--replace"]])
def test_a_signal_does_not_come_between_the_old_value_and_the_new(
    stub: Stub,  # noqa: F811
    tmp_path: Path,
    command: list[str],
) -> None:
    """What was deleted is stored again before the command ends, and that is said."""
    posts = iter([EXISTS, STORED])

    def said(line: str) -> bytes:
        if line.startswith("POST"):
            found = next(posts)
            stub.gate.clear()
            return found
        return DELETED

    stub.answer = said
    env = person(stub.address, tmp_path) | {"SIRR_ORG": "acme"}
    with waiting(stub, env, "DELETE", *command, given=b'{"K": "new"}') as run:
        stub.gate.set()
        wait_until(lambda: len(stub.asked) == 3)
        stub.gate.set()
        assert run.stderr is not None
        told = run.stderr.read()
    assert run.returncode == 128 + signal.SIGINT
    assert [each.split()[0] for each in stub.asked] == ["POST", "DELETE", "POST"]
    assert b"stored" in told
    assert b"K" in told


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        ((b"", STORED), 8, "K may be deleted, and its new value is not stored: set it again"),
        ((REFUSED, STORED), 6, "the server does not take this token"),
        ((DELETED, REFUSED), 6, "K is deleted, and its new value may not be stored: set it again"),
        ((DELETED, b""), 8, "K is deleted, and its new value may not be stored: set it again"),
        ((DELETED, STORED), 0, "stored K in acme"),
    ],
)
def test_what_a_replacement_left_behind_is_said(
    forks: Zygote,
    stub: Stub,  # noqa: F811
    tmp_path: Path,
    then: tuple[bytes, bytes],
    code: int,
    said: str,
) -> None:
    """Whichever step fails: whether the old value is gone, and no more than that."""
    delete, last = then
    posts = iter([EXISTS, last])
    stub.answer = lambda line: next(posts) if line.startswith("POST") else delete
    env = person(stub.address, tmp_path) | {"SIRR_ORG": "acme"}
    ran = forks.run(["set", "K", "--replace"], env, given=b"new")
    assert ran.code == code, ran
    assert said in ran.err
    assert ("deleted" in ran.err) == ("deleted" in said)


def test_a_child_dies_of_a_closed_pipe_as_any_command_does(env: dict[str, str]) -> None:
    """Python ignores two signals for itself; the command that `run` becomes does not inherit that."""
    path = {"key": "K", "value": "v", "max_reads": None}
    assert ask(env["SIRR_SERVER"], "POST", "/orgs/acme/secrets", path, bearer=API_KEY)[0] == 201
    ran = subprocess.run(
        [SIRR, "run", "--", "grep", "SigIgn", "/proc/self/status"], env=env, capture_output=True, check=True
    )
    assert int(ran.stdout.split()[1], 16) == 0


def test_what_nobody_expected_is_a_failure_of_run_and_not_of_its_command() -> None:
    """Its own failures are 125, whatever they are; of other commands they end at the edge."""

    def fail() -> None:
        raise ZeroDivisionError

    for given, kind in ((125, Failure), (None, ZeroDivisionError)):
        command = Command("x", callback=fail, own_code=given)
        with pytest.raises(kind) as caught:
            command.main([], standalone_mode=False)
        assert getattr(caught.value, "exit_code", None) == given


def test_a_reader_that_has_left_is_no_failure(env: dict[str, str]) -> None:
    """As with any program that dies of a closed pipe: no word, and the code of that."""
    put(env["SIRR_SERVER"], bearer=API_KEY)
    reads, writes = os.pipe()
    os.close(reads)
    try:
        without = {name: text for name, text in env.items() if name != "SIRR_ORG"}
        ran = subprocess.run([SIRR, "list"], env=without, stdout=writes, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writes)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Ended(signal.SIGINT)])
def test_half_of_a_file_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Whatever ends the writing, a full disk or a second signal: the file is gone, the value is elsewhere."""
    monkeypatch.chdir(tmp_path)
    ends = iter([error])

    def sync(_: int) -> None:
        if (found := next(ends, None)) is not None:
            raise found

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises((Failure, Ended)), output.opened(Path("wanted")) as write:
        write(Content(b"s3cret"))
    assert not (tmp_path / "wanted").exists()
    assert (tmp_path / "secret").read_bytes() == b"s3cret"


@pytest.mark.parametrize("stderr", [None, "/dev/full"])
def test_a_passphrase_that_nobody_sees_is_not_made(forks: Zygote, env: dict[str, str], stderr: str | None) -> None:
    """Nobody could open what was stored with it."""
    ran = forks.run(["push", "--passphrase"], env, given=b"s3cret", streams={"stderr": stderr})
    assert (ran.code, ran.out) == (2, b"")
    assert ask(env["SIRR_SERVER"], "GET", "/secrets", bearer=API_KEY)[1] == {"secrets": []}


@pytest.mark.parametrize("is_stranger", [True, False])
def test_what_nobody_has_a_link_of_is_destroyed(
    forks: Zygote, launch: Launch, tmp_path: Path, *, is_stranger: bool
) -> None:
    """By the token, although the link names a host that is not there; by the link and its passphrase without one."""
    changes = {"SIRR_PUBLIC_CREATE": "true"} if is_stranger else {"SIRR_PUBLIC_URL": "http://127.0.0.1:1/there"}
    with launch(SIRR_MASTER_API_KEY=API_KEY, **changes) as process:
        server = process.address()
        env = person(server, tmp_path)
        word = tmp_path / "word"
        word.write_text("correct horse")
        word.chmod(0o600)
        if is_stranger:
            del env["SIRR_TOKEN"]
        full: dict[str, str | None] = {"stdout": "/dev/full", "stderr": "/dev/full"}
        ran = forks.run(["push", "--passphrase-file", str(word)], env, given=b"s3cret", streams=full)
        assert ran.code == 1
        assert ask(server, "GET", "/secrets", bearer=API_KEY)[1] == {"secrets": []}


class Slow:
    """A reading whose word is waited for."""

    def __init__(self, say: Callable[[], None]) -> None:
        self.received = say


def test_a_server_that_takes_no_word_of_arrival_is_not_told_of_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred values and a server that hangs: the command waits once."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def say() -> None:
        now[0] += 10

    pulling.Pulled({}, [Slow(say) for _ in range(100)]).received()  # type: ignore[misc]  # stand-ins
    assert now == [10]


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        (["--token", "t0ken", "get", "LINK"], ["t0ken", "LINK"]),
        (["--org", "get", "get", "LINK"], ["get", "LINK"]),
        (["push", "value", "--token=t0ken"], ["value", "--token=t0ken"]),
        (["push", "--", "--value"], ["--value"]),
        (["get", "-", "--output", "file", "-o", "x"], ["file"]),
        ([], []),
    ],
)
def test_what_may_be_secret_among_the_arguments(given: list[str], secret: list[str]) -> None:
    """Everything but names of options and the one of the command."""
    found = arguments._secret(given, {"get", "push"})
    assert [each.decode() for each, _ in found] == secret
    assert all(begins == (len("--token=") if each.startswith(b"--token=") else 0) for each, begins in found)


def test_a_word_that_fails_says_where_it_came_from() -> None:
    """An error of the system is told in its words, as everywhere."""

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(click.ClickException, match="No space left on device"):
        Command("x", callback=fail, own_code=125).main([], standalone_mode=False)


def test_a_file_without_an_end_is_refused(forks: Zygote, env: dict[str, str]) -> None:
    """Whatever the system says of its size."""
    ran = forks.run(["push", "--file", "/dev/zero"], env)
    assert ran.code == 2
    assert "longer than any server takes" in ran.err


def test_which_read_may_be_spent_is_said(forks: Zygote, stub: Stub, tmp_path: Path) -> None:  # noqa: F811
    """Of many keys the one whose answer was lost is named, and the others are put aside."""
    keys = {"secrets": [KEY, KEY | {"key": "L"}], "next_cursor": None}
    said = {
        "K": answer("200 OK", b'{"key":"K","value":"s3cret"}', JSON),
        "L": b"",
        "secrets?limit=500": answer("200 OK", json.dumps(keys).encode(), JSON),
    }
    stub.answer = lambda line: said.get(line.split()[1].rpartition("/")[2], b"")
    env = person(stub.address, tmp_path) | {"SIRR_ORG": "acme"}
    ran = forks.run(["pull"], env, cwd=tmp_path)
    assert ran.code == 8
    assert "Error: L: " in ran.err
    assert "may have been spent" in ran.err
    assert json.loads((tmp_path / "secrets.json").read_text()) == {"K": "s3cret"}


@pytest.mark.parametrize("is_own", [True, False])
def test_a_token_that_was_not_shown_is_not_called_wrong(
    forks: Zygote,
    stub: Stub,  # noqa: F811
    tmp_path: Path,
    *,
    is_own: bool,
) -> None:
    """The server of a link sees no token of another one: it wants one, and took none for wrong."""
    stub.answer = lambda _: REFUSED
    env = person(stub.address if is_own else "http://127.0.0.1:1", tmp_path)
    ran = forks.run(["delete", "-"], env, given=f"{stub.address}/s/{'ab' * 32}".encode())
    assert ran.code == 6
    said = "the server does not take this token" if is_own else "the server wants a token for this"
    assert said in ran.err
