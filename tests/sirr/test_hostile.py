"""Every command under every hostile condition: one line and an exit code, no traceback, nothing lost."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from sirrd.link import Content, Fragment, seal
from tests.conftest import API_KEY, Launch
from tests.parts import ask, put, wait_until
from tests.sirr.test_scripts_of_sirr import person
from tests.sirr.zygote import Ran, Zygote, zygote

VALUE: Final = b"s3cret-value"
CODES: Final = frozenset({0, 1, 2, 4, 5, 6, 7, 8, 125, 126, 127, 141})
LONGEST_LINES: Final = 6

COMMANDS: Final[dict[str, tuple[list[str], bytes]]] = {
    "none": ([], b""),
    "help": (["--help"], b""),
    "push": (["push"], VALUE),
    "push json": (["push", "--json", "--qr"], VALUE),
    "push plain": (["push", "--plain", "--ttl", "1h"], VALUE),
    "get": (["get", "-"], b"LINK"),
    "get into a file": (["get", "-", "--output", "new"], b"LINK"),
    "head": (["head", "-"], b"LINK"),
    "patch": (["patch", "ID", "--reads", "2"], b""),
    "delete": (["delete", "-"], b"LINK"),
    "list": (["list"], b""),
    "prune": (["prune"], b""),
    "set": (["set", "K", "--replace"], VALUE),
    "import": (["import", "-", "--replace"], b"K=one\n"),
    "pull": (["pull"], b""),
    "run": (["run", "--", "true"], b""),
    "login": (["login"], b""),
    "logout": (["logout"], b""),
    "me": (["me"], b""),
    "completion": (["completion", "bash"], b""),
    "man": (["man"], b""),
}

STREAMS: Final[dict[str, dict[str, str | None]]] = {
    "closed output": {"stdout": None},
    "full output": {"stdout": "/dev/full"},
    "closed error": {"stderr": None},
    "full error": {"stderr": "/dev/full"},
    "closed output and error": {"stdout": None, "stderr": None},
    "full output and error": {"stdout": "/dev/full", "stderr": "/dev/full"},
    "full output, closed error": {"stdout": "/dev/full", "stderr": None},
    "closed input": {"stdin": None},
    "no input": {"stdin": "/dev/null"},
    "all closed": {"stdin": None, "stdout": None, "stderr": None},
}

_SERVERS: Final = (
    *("x", "http://", "http://a..b", "http://[", "http://127.0.0.1:99999", "ftp://x", "http://x\x7f", "http://u:p@h"),
    *("http://h/?a", "http://h/#a", "http://" + "h" * 300, "http://h\r\nX: y", f"http://h/s/{'ab' * 32}", " "),
)
ENVIRONMENTS: Final[dict[str, dict[str, str | None]]] = {
    **{f"SIRR_SERVER={each!r:.30}": {"SIRR_SERVER": each} for each in _SERVERS},
    **{f"SIRR_TOKEN={each!r}": {"SIRR_TOKEN": each} for each in ("x\r", "x\n", "é", " ", "a b", "\x7f")},
    **{f"SIRR_ORG={each!r}": {"SIRR_ORG": each} for each in ("a/b", "..", "é", "x" * 129, " ")},
    **{f"SIRR_PASSPHRASE_FILE={each!r}": {"SIRR_PASSPHRASE_FILE": each} for each in ("/nowhere", "/", "/dev/null")},
    **{
        f"{name}={each}": {name: each}
        for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "NO_PROXY")
        for each in ("socks5://127.0.0.1:1", "foo://x", "http://[", ":", "http://127.0.0.1:1", "http://h:99999")
    },
    **{f"{name}=/nowhere": {name: "/nowhere"} for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")},
    "SSL_CERT_FILE=/dev/null": {"SSL_CERT_FILE": "/dev/null"},
    **{f"HOME={each}": {"HOME": each} for each in (None, "", "/nowhere", "/dev/null", "relative", "~")},
    "XDG_CONFIG_HOME=relative": {"XDG_CONFIG_HOME": "relative"},
    "XDG_CONFIG_HOME=/dev/null": {"XDG_CONFIG_HOME": "/dev/null"},
    **{f"TMPDIR={each}": {"TMPDIR": each} for each in ("/nowhere", "", "/dev/null")},
    **{f"TERM={each}": {"TERM": each} for each in ("", "nonsense", "xterm\x1b")},
    **{f"COLUMNS={each}": {"COLUMNS": each} for each in ("x", "-1", "0", "99999999999999999999")},
    **{f"{name}=nonsense": {name: "xx_YY.nonsense"} for name in ("LANG", "LC_ALL")},
}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Runs commands, quickly."""
    with zygote(tmp_path_factory.mktemp("streams")) as started:
        yield started


@pytest.fixture
def env(launch: Launch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with a server and an org."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as process:
        env = person(process.address(), tmp_path) | {"SIRR_ORG": "acme", "TMPDIR": str(tmp_path)}
        yield env


def sealed(server: str) -> str:
    """Store an encrypted secret, and return its link."""
    fragment = Fragment(bytes(range(32)))
    keys = fragment.keys()
    value = seal(Content(VALUE), keys.encryption, bytes)
    path = put(server, value, bearer=API_KEY, lock=keys.lock)
    return f"{server}{path.replace('secrets', 's')}#{fragment}"


_ORG_SECRET: Final = {"key": "K", "value": "v", "max_reads": None}


class Case:
    """One command against a real server: what is there before, and what is after."""

    def __init__(self, server: str, command: str) -> None:
        self.server = server
        self.arguments, self.given = COMMANDS[command]
        status, _ = ask(server, "POST", "/orgs/acme/secrets", _ORG_SECRET, bearer=API_KEY)
        assert status in {201, 409}
        self.link = sealed(server) if self.given == b"LINK" else ""
        if "ID" in self.arguments:
            kept = put(server, "kept", bearer=API_KEY, delete=False).rpartition("/")[2]
            self.arguments = [kept if each == "ID" else each for each in self.arguments]
        self.given = self.given.replace(b"LINK", self.link.encode())
        self.before = self.drops() if self.arguments[:1] == ["push"] else set()

    def drops(self) -> set[str]:
        """Return the ids of the newest dead drops, which are all that a case makes."""
        listed = ask(self.server, "GET", "/secrets?limit=20", bearer=API_KEY)[1]["secrets"]
        return {each["key"] for each in listed if each["org"] is None}

    def check(self, ran: Ran, *, told: bool, folder: Path) -> None:
        """Check what must be true whatever the condition was.

        Args:
            ran: What came of the command.
            told: Whether standard error could be read.
            folder: Where it ran.
        """
        assert ran.code in CODES, ran
        assert "Traceback" not in ran.err, ran.err
        assert "fault of sirr" not in ran.err, ran.err
        assert "Exception ignored" not in ran.err, ran.err
        assert ran.code == 0 or not told or ran.err.count("Error: ") == 1 or "Usage: " in ran.err, ran
        assert ran.err.count("\n") <= LONGEST_LINES or ran.code in {0, 2}, ran.err
        if self.arguments[:1] not in (["push"], ["get"], ["head"]):
            return
        after = self.drops()
        identity = self.link.rpartition("/")[2].partition("#")[0]
        if self.arguments[:1] == ["push"]:
            new = after - self.before
            shown = ran.out.decode() + ran.err
            assert all(each in shown for each in new), (new, ran)
            assert len(new) == (1 if f"{self.server}/s/" in shown else 0), ran
            assert ran.code != 0 or (new and any(each in ran.out.decode() for each in new)), ran
        elif self.arguments[:1] == ["get"]:
            is_spent = identity not in after
            files = [each for each in [*folder.glob("*"), *folder.parent.glob("sirr-*/*")] if each.is_file()]
            is_kept = VALUE in ran.out or any(VALUE in each.read_bytes() for each in files) or "base64" in ran.err
            assert not is_spent or is_kept, ran
            assert ran.code != 0 or (is_spent and is_kept), ran
            assert is_spent or VALUE not in ran.out
            for each in files:
                each.unlink()
        else:
            assert identity in after, ran


@pytest.mark.parametrize("condition", STREAMS)
def test_no_stream_that_is_closed_or_full_loses_anything(
    forks: Zygote, env: dict[str, str], tmp_path: Path, condition: str
) -> None:
    """A link that cannot be printed is on standard error or destroyed; a value is in a file; nothing is claimed."""
    streams = STREAMS[condition]
    folder = tmp_path / "folder"
    folder.mkdir()
    for command in COMMANDS:
        case = Case(env["SIRR_SERVER"], command)
        ran = forks.run(case.arguments, env, given=case.given, streams=streams, cwd=folder)
        case.check(ran, told="stderr" not in streams, folder=folder)


@pytest.mark.parametrize("part", range(16))
def test_no_variable_breaks_a_command(forks: Zygote, env: dict[str, str], tmp_path: Path, part: int) -> None:
    """What is malformed is named, before anything is sent or read; what a command does not need does not matter."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, (condition, changes) in enumerate(ENVIRONMENTS.items()):
        if number % 16 != part:
            continue
        changed: dict[str, Any] = {**env, **changes}
        changed = {name: text for name, text in changed.items() if text is not None}
        for command in COMMANDS:
            case = Case(env["SIRR_SERVER"], command)
            ran = forks.run(case.arguments, changed, given=case.given, cwd=folder)
            case.check(ran, told=True, folder=folder)
            (name,) = changes
            is_ours = name in {"SIRR_SERVER", "SIRR_TOKEN", "SIRR_ORG"}
            if is_ours and command in {"push", "get", "head", "list", "pull", "set", "me"}:
                assert ran.code == 2, (condition, command, ran)
                assert name in ran.err or "this is a link" in ran.err, (condition, command, ran)


def test_a_working_folder_that_is_gone_is_no_trouble(forks: Zygote, env: dict[str, str], tmp_path: Path) -> None:
    """Nothing needs it but what is written there."""
    for command in COMMANDS:
        case = Case(env["SIRR_SERVER"], command)
        for streams in ({}, {"stdout": "/dev/full"}):
            ran = forks.run(case.arguments, env, given=case.given, cwd=tmp_path / "gone", streams=streams)
            assert ran.code in CODES, ran
            assert "Traceback" not in ran.err, ran.err
            assert "fault of sirr" not in ran.err, ran.err


@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LANG": "tr_TR"},
    ],
)
def test_no_encoding_breaks_a_command(env: dict[str, str], tmp_path: Path, changes: dict[str, str]) -> None:
    """What its letters lack is escaped, and a value goes through byte for byte."""
    file = tmp_path / "home" / "grüße\udcfc.txt"
    file.write_bytes("grüße €".encode())
    pushed = subprocess.run(
        ["sirr", "push", "--file", file], env=env | changes, capture_output=True, check=True, cwd=env["HOME"]
    )
    encoding = "utf-16" if "utf-16" in changes.values() else "ascii"
    link = pushed.stdout.decode(encoding).strip()
    ran = subprocess.run(["sirr", "get", "-"], input=link.encode(), env=env | changes, capture_output=True, check=True)
    assert ran.stdout == "grüße €".encode()
    ran = subprocess.run(["sirr", "push", "--file", f"{file}x"], env=env | changes, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr.count(b"Traceback")) == (2, 0)


def answer(status: str, body: bytes, *headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "Connection: close"])
    return head.encode() + b"\r\n\r\n" + body


JSON: Final = "Content-Type: application/json"
ID: Final = "ab" * 32
DEEP: Final = b"[" * 5000 + b"]" * 5000
ANSWERS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "noise": b"\x00\xff\x1b[2J noise\r\n\r\n",
    "half a line": b"HTTP/1.1 2",
    "HTML": answer("200 OK", b"<html><title>\x1b]0;x\x07</title>", "Content-Type: text/html"),
    "a redirect": answer("301 Moved", b"", "Location: https://elsewhere.example/x"),
    "a redirect to itself": answer("307 Temporary", b"", "Location: /secrets"),
    "forbidden": answer("403 Forbidden", b"<html>no</html>", "Content-Type: text/html"),
    "too large": answer("413 Too Large", b"<html>no</html>"),
    "a bad gateway": answer("502 Bad Gateway", b"<html>no</html>"),
    "an error": answer("500 Oops", b"{}", JSON),
    "an array": answer("200 OK", b"[]", JSON),
    "depth": answer("200 OK", DEEP, JSON),
    "deep members": answer("200 OK", b'{"id":' + DEEP + b"}", JSON),
    "no JSON": answer("200 OK", b'{"value":', JSON),
    "wrong kinds": answer("200 OK", b'{"id":1,"value":2,"secrets":3,"pruned":"x","url":null,"key":[]}', JSON),
    "a lone surrogate": answer("200 OK", json.dumps({"id": ID, "value": "\ud800"}).encode(), JSON),
    "a value that does not open": answer("200 OK", json.dumps({"id": ID, "value": "sirr1.AAAA"}).encode(), JSON),
    "an error with escapes": answer("404 No", b'{"error":"\\u001b[2J\\u202e","code":"not_found"}', JSON),
    "a code of nobody": answer("418 Tea", b'{"error":"x","code":"x"}', JSON),
    "headers with escapes": answer("200 OK", b"", "X-Sirr-Read-Count: \x1b[2J", "X-Sirr-Status: \x1b]0;x\x07"),
    "a cursor that repeats": answer("200 OK", b'{"secrets":[],"next_cursor":"AAAA"}', JSON),
    "a link of nobody": answer("201 Created", b'{"id":"x","url":"javascript:alert(1)"}', JSON),
    "an unpacker's bomb": answer("200 OK", b"\x1f\x8b\x08" + b"\x00" * 20, JSON, "Content-Encoding: gzip"),
    "a lying length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
}


class Stub:
    """A server that answers everything alike.

    Attributes:
        address: Its URL.
        asked: The request lines that came.
        answer: What it says.
        gate: Answers wait until this is set.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[str] = []
        self.answer: Callable[[str], bytes] = lambda _: b""
        self.gate = threading.Event()
        self.gate.set()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            data = b""
            while b"\r\n\r\n" not in data and (more := connection.recv(65_536)):
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            while len(body) < length and (more := connection.recv(65_536)):
                body += more
            line = head.split(b"\r\n")[0].decode("latin-1")
            self.asked.append(line)
            self.gate.wait(20)
            connection.sendall(self.answer(line))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    def close(self) -> None:
        """End it."""
        self._socket.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of a stranger."""
    found = Stub()
    yield found
    found.close()


@pytest.mark.parametrize("said", ANSWERS)
def test_no_answer_of_a_stranger_breaks_a_command(forks: Zygote, stub: Stub, tmp_path: Path, said: str) -> None:
    """Whatever it is: one line, nothing that a terminal obeys, no value made of it, no false word about a read."""
    stub.answer = lambda _: ANSWERS[said]
    env = person(stub.address, tmp_path) | {"SIRR_ORG": "acme"}
    link = f"{stub.address}/s/{ID}#{Fragment(bytes(range(32)))}"
    folder = tmp_path / "folder"
    folder.mkdir()
    for command, (arguments, given) in COMMANDS.items():
        if command in {"none", "help", "logout", "completion", "man"}:
            continue
        stub.asked.clear()
        ran = forks.run(
            [ID if each == "ID" else each for each in arguments],
            env,
            given=given.replace(b"LINK", link.encode()),
            cwd=folder,
        )
        assert ran.code in CODES, (command, ran)
        assert "Traceback" not in ran.err, ran.err
        assert "fault of sirr" not in ran.err, (command, ran.err)
        assert all(each.isprintable() or each == "\n" for each in ran.err + ran.out.decode()), ran
        assert ran.err.count("Error: ") == (ran.code != 0), ran
        if command.startswith("get"):
            assert ran.code != 0, ran
            assert ran.out == b"", ran
            assert not (folder / "new").exists()
            is_asked = any(each.startswith(f"GET /secrets/{ID}") for each in stub.asked)
            is_told = any(word in ran.err for word in ("spent", "does not open"))
            assert not is_asked or is_told or said in {"an error with escapes", "a code of nobody"}, ran


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_an_answer_is_awaited_loses_nothing(
    stub: Stub, tmp_path: Path, number: signal.Signals, times: int
) -> None:
    """After the first the value is printed, or a link that nobody got destroyed. The second says what may have been."""
    fragment = Fragment(bytes(range(32)))
    value = seal(Content(VALUE), fragment.keys().encryption, bytes)
    env = person(stub.address, tmp_path)
    said = {
        "GET": answer("200 OK", json.dumps({"id": ID, "value": value}).encode(), JSON),
        "POST": answer("201 Created", json.dumps({"id": ID, "url": f"{stub.address}/s/{ID}"}).encode(), JSON),
        "DELETE": answer("200 OK", b'{"deleted":true}', JSON),
    }
    stub.answer = lambda line: said[line.split()[0]]
    for arguments, given, end in (
        (["get", "-"], f"{stub.address}/s/{ID}#{fragment}".encode(), b"may have been spent"),
        (["push"], VALUE, b"may have been stored"),
    ):
        stub.gate.clear()
        stub.asked.clear()
        command = [str(Path(sys.executable).parent / "sirr"), *arguments]
        with subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as run:
            assert run.stdin is not None
            assert run.stderr is not None
            assert run.stdout is not None
            run.stdin.write(given)
            run.stdin.close()
            wait_until(lambda: bool(stub.asked))
            run.send_signal(number)
            told = run.stderr.readline()
            assert b"waiting for the answer" in told
            if times > 1:
                run.send_signal(number)
                run.wait(20)
            stub.gate.set()
            out, err = run.stdout.read(), run.stderr.read()
        assert run.returncode == 128 + number, err
        assert b"Traceback" not in err
        if times > 1:
            assert out == b""
            assert end in err
        elif arguments[0] == "get":
            assert out == VALUE
        else:
            assert out == b""
            assert b"destroyed" in err
            assert stub.asked[-1].startswith("DELETE /secrets/")
