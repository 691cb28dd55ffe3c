"""The command line: what each command prints, and its exit code."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sirrd import __version__
from sirrd.assembly import deaddrop_of
from sirrd.cli.program import run
from sirrd.cli.told import banner, complain, is_loopback
from sirrd.entropy import SystemEntropy
from sirrd.errors import BadFolder, Unavailable
from sirrd.store.sqlite.folder import DataFolder
from tests.conftest import API_KEY, Launch, SetClock, Start, settings_for
from tests.parts import SIRRD, ask, put, sirrd


def test_version(tmp_path: Path) -> None:
    """`--version` prints name and version."""
    found = sirrd(tmp_path, "--version")
    assert (found.returncode, found.stdout) == (0, f"sirrd {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["serve", "--port", "x"], ["serve", "--unknown"]])
def test_bad_usage_is_2(tmp_path: Path, arguments: list[str]) -> None:
    """What the command line does not understand is exit 2 with the usage, and nothing is made."""
    found = sirrd(tmp_path, *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("usage: sirrd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [["CANARY7731"], ["it's CANARY7731"], ["restore", "f", "--burn=CANARY7731"]])
def test_what_is_not_understood_is_not_repeated(tmp_path: Path, given: list[str]) -> None:
    """It may be an id, whatever quotes are in it, and wherever it stands."""
    found = sirrd(tmp_path, *given)
    assert found.returncode == 2
    assert "hint: " in found.stderr
    assert "CANARY7731" not in found.stderr


def test_every_command_has_help(tmp_path: Path) -> None:
    """`--help` lists the commands, and each has a page of its own with the exit codes."""
    overview = sirrd(tmp_path, "--help").stdout
    for command in ("serve", "prune", "backup", "restore", "verify-burn", "check-config", "health"):
        assert command in overview
        assert "Exit codes" in sirrd(tmp_path, command, "--help").stdout


def test_health_asks_the_daemon(launch: Launch, tmp_path: Path) -> None:
    """`health` prints ok and exits 0 while the daemon lives, else 1."""
    with launch() as daemon:
        port = daemon.address().rpartition(":")[2]
        found = sirrd(tmp_path, "health", "--port", port)
        assert (found.returncode, found.stdout) == (0, "ok\n")
    dead = sirrd(tmp_path, "health", "--port", port)
    assert dead.returncode == 1
    assert "no daemon answers" in dead.stderr


def test_health_ignores_a_proxy(launch: Launch, tmp_path: Path) -> None:
    """A proxy in the environment is not for this machine's own daemon."""
    with launch() as daemon:
        port = daemon.address().rpartition(":")[2]
        found = sirrd(
            tmp_path, "health", "--port", port, http_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9"
        )
        assert found.returncode == 0


def test_prune_works_beside_a_stopped_daemon(launch: Launch, tmp_path: Path) -> None:
    """Offline, `prune` takes the folder itself, removes what expired, and leaves the WAL empty."""
    with launch(SIRR_PRUNE_INTERVAL_SECONDS="0") as daemon:
        path = put(daemon.address(), ttl_seconds=1)
        kept = put(daemon.address())
        assert daemon.stop() == 0
    outcome = wait_until_pruned(tmp_path)
    assert outcome.stdout == "pruned 1\n"
    assert sirrd(tmp_path, "prune").stdout == "pruned 0\n"
    with launch() as daemon:
        assert ask(daemon.address(), "GET", path)[0] == 404
        assert ask(daemon.address(), "GET", kept)[0] == 200


def wait_until_pruned(tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Prune until the second in which a secret lived is over."""
    for _ in range(100):
        found = sirrd(tmp_path, "prune", **changes)
        assert found.returncode == 0, found.stderr
        if found.stdout != "pruned 0\n":
            return found
    raise AssertionError("nothing was pruned")


def test_prune_works_beside_a_running_daemon(launch: Launch, tmp_path: Path) -> None:
    """Where the daemon holds the folder, `prune` goes through its HTTP interface, with the key of the settings."""
    with launch(SIRR_PRUNE_INTERVAL_SECONDS="0", SIRR_MASTER_API_KEY=API_KEY) as daemon:
        refused = sirrd(tmp_path, "prune")
        assert refused.returncode == 1
        assert "401" in refused.stderr
        found = sirrd(tmp_path, "prune", SIRR_MASTER_API_KEY=API_KEY)
        assert (found.returncode, found.stdout) == (0, "pruned 0\n")
        assert daemon.stop() == 0


def test_check_config_says_what_is_in_effect(tmp_path: Path) -> None:
    """`check-config` prints every setting and makes nothing."""
    found = sirrd(tmp_path, "check-config", "--port", "1234", SIRR_MAX_TTL_SECONDS="60")
    assert found.returncode == 0
    assert "port = 1234" in found.stdout.splitlines()
    assert "max_ttl_seconds = 60" in found.stdout.splitlines()
    assert not (tmp_path / "data").exists()


def test_check_config_refuses_what_serve_would_refuse(tmp_path: Path) -> None:
    """A configuration that could not start is exit 3 here, too."""
    assert sirrd(tmp_path, "check-config", SIRR_HOST="0.0.0.0").returncode == 3
    assert sirrd(tmp_path, "check-config", SIRR_MASTER_ENCRYPTION_KEY="abc").returncode == 3


def test_warnings_are_told(tmp_path: Path) -> None:
    """A misspelt variable is warned about on standard error, and nothing else changes."""
    found = sirrd(tmp_path, "check-config", SIRR_PROT="1")
    assert found.returncode == 0
    assert "unknown environment variable SIRR_PROT" in found.stderr
    assert "SIRR_PROT" not in found.stdout


def test_the_banner_names_everything_an_operator_asks(tmp_path: Path) -> None:
    """Version, address, data folder, what is protected, what is open, and a line to try."""
    closed = banner(settings_for(tmp_path), "http://127.0.0.1:1")
    for word in (__version__, "http://127.0.0.1:1", str(tmp_path), "need the master API key", "curl", "SIRR_ORG_READS"):
        assert word in closed
    assert API_KEY not in closed
    assert "OPEN" not in closed
    opened = banner(settings_for(tmp_path, master_api_key=None, org_reads="public"), "http://127.0.0.1:1")
    assert "OPEN" in opened
    assert "PUBLIC" in opened
    assert "in a browser, at http://127.0.0.1:1/" in closed
    for pages in ("off", "reveal"):
        told = banner(settings_for(tmp_path, pages=pages), "http://127.0.0.1:1")
        assert ("in a browser" in told, f"(SIRR_PAGES={pages})" in told) == (False, True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "drop.example")),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    """Only addresses of this machine count; a name that is not `localhost` may be anything."""
    assert is_loopback(host) is expected


def test_an_error_without_a_message_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """No command ends with an empty complaint."""
    complain(Unavailable())
    assert capsys.readouterr().err == "sirrd: the database failed, or the store is closing\n"


async def test_what_fails_after_opening_lets_everything_go(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the lock file cannot be written after the store was opened, the store is closed and the folder free."""
    announce = DataFolder.announce

    def full(self: DataFolder, address: str) -> None:
        if address:
            raise BadFolder("injected")
        announce(self, address)

    monkeypatch.setattr(DataFolder, "announce", full)
    settings = settings_for(tmp_path / "data")
    with pytest.raises(BadFolder, match="injected"):
        async with deaddrop_of(settings, clock=SetClock(), entropy=SystemEntropy(), announced="http://x"):
            pass
    assert not [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]
    async with start() as daemon:
        await daemon.put()


def test_an_error_is_a_line_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong at the start is said in one sentence, with what could be done about it."""
    monkeypatch.chdir(tmp_path)
    assert run(["check-config", "--log-level", "loud"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sirrd: log_level: ")
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


def test_other_systems_are_told_what_works_there(tmp_path: Path) -> None:
    """Where there is no POSIX, a command of the daemon says so in a line and a hint, and points to the client."""
    program = (
        "import sys\nfor name in ('fcntl', 'grp', 'pwd', 'resource', 'uvloop'): sys.modules[name] = None\n"
        "from sirrd.cli.program import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("sirrd: the daemon and its commands need a POSIX system")
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text", "hint"),
    [
        (["sevre"], "there is no such command", "did you mean serve?"),
        (["rotate"], "there is no such command", "did you mean rotate-key?"),
        (["help"], "there is no such command", "one of: serve, "),
        (["--port", "1", "serve"], "flags stand behind the command", ""),
        (["serve", "--prot", "1"], "there is no flag --prot", "did you mean --port?"),
        (["serve", "--data_dir=x"], "there is no flag --data_dir", "did you mean --data-dir?"),
        (["restore", "x", "--repl"], "there is no flag --repl", "did you mean --replace?"),
        (["prune", "--replace"], "--replace is not a flag of this command", ""),
        ([], "no command is named", "one of: serve, "),
    ],
)
def test_what_was_meant_is_asked(tmp_path: Path, arguments: list[str], text: str, hint: str) -> None:
    """A command or flag that is like a known one is met with "did you mean"; nothing is taken for its beginning."""
    found = sirrd(tmp_path, *arguments)
    assert found.returncode == 2
    assert text in found.stderr
    assert hint in found.stderr


def test_i6_an_argument_too_many_is_not_repeated(tmp_path: Path) -> None:
    """An id that belongs on standard input does not stand in the complaint about it, which goes into logs."""
    found = sirrd(tmp_path, "verify-burn", "ab" * 32)
    assert found.returncode == 2
    assert "ab" * 32 not in found.stderr
    assert "standard input" in found.stderr


def test_output_that_is_lost_is_said(tmp_path: Path) -> None:
    """What could not be printed is exit 1, not a success that nobody sees."""
    for command in ("example-config", "check-config"):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*SIRRD, command], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 1
        assert "sirrd: the output could not be written: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    """`sirrd example-config | head -1` ends well and quietly."""
    with subprocess.Popen([*SIRRD, "example-config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
