"""What an operator gets wrong, and what is said about it: what is wrong, and what to do."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from sirrd.cli.told import banner
from sirrd.config.sources import load
from tests.conftest import API_KEY, Launch, settings_for
from tests.parts import SIRRD, settings_of, sirrd


class Mistake(NamedTuple):
    """One thing that goes wrong.

    Attributes:
        command: The command, with its arguments.
        settings: The environment.
        code: The exit code.
        text: What is said about it.
        hint: What is said to do.
        make: What is made in the working folder before.
    """

    command: str
    settings: dict[str, str]
    code: int
    text: str
    hint: str
    make: Callable[[Path], object] = lambda _: None


def toml(text: str | bytes) -> Callable[[Path], object]:
    """Return what writes a settings file that the command is given."""
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / "set.toml").write_bytes(content)


def secret(content: bytes, mode: int = 0o600) -> Callable[[Path], object]:
    """Return what writes a file with a secret."""

    def make(folder: Path) -> None:
        (folder / "secret").write_bytes(content)
        (folder / "secret").chmod(mode)

    return make


def key_file(content: str) -> Callable[[Path], object]:
    """Return what writes a key file into a data folder."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir(mode=0o700)
        (folder / "data/master.key").write_text(content)
        (folder / "data/master.key").chmod(0o600)

    return make


CONFIG = "check-config --config set.toml"
FILE = {"SIRR_MASTER_API_KEY_FILE": "secret"}
KEYED = {"SIRR_MASTER_API_KEY": API_KEY}
EXPLAINED = "sirrd example-config"
MISTAKES = {
    "host of a url": Mistake("serve", {"SIRR_HOST": "http://127.0.0.1"}, 3, "host: must be an address", "SIRR_HOST"),
    "host with a port": Mistake("serve", {"SIRR_HOST": "127.0.0.1:80"}, 3, "the port is SIRR_PORT", "SIRR_HOST"),
    "host in brackets": Mistake("serve --host [::1]", {}, 3, "host: must be an address", "--host"),
    "host of others": Mistake("serve", {"SIRR_HOST": "192.0.2.1", **KEYED}, 3, "cannot be bound", "of this machine"),
    "host unknown": Mistake("serve", {"SIRR_HOST": "nobody.invalid", **KEYED}, 3, "cannot be resolved", "SIRR_HOST"),
    "port too high": Mistake("serve --port 65536", {}, 3, "port: must be less", "it comes from --port"),
    "open to others": Mistake("serve", {"SIRR_HOST": "0.0.0.0"}, 3, "loopback addresses only", "SIRR_MASTER_API_KEY"),
    "metrics on a port": Mistake(
        "serve",
        {"SIRR_METRICS": "true", "SIRR_METRICS_ADDRESS": "9464"},
        3,
        "such as 127.0.0.1:9464 or [::1]:9464; write 127.0.0.1:9464",
        "it comes from SIRR_METRICS_ADDRESS",
    ),
    "metrics at a url": Mistake(
        "serve", {"SIRR_METRICS_ADDRESS": "http://[::1]:9464/metrics"}, 3, "write [::1]:9464", "SIRR_METRICS_ADDRESS"
    ),
    "metrics of others": Mistake(
        "serve",
        {"SIRR_METRICS": "true", "SIRR_METRICS_ADDRESS": "192.0.2.1:9464"},
        3,
        "port 9464 cannot be bound",
        "SIRR_METRICS_ADDRESS has to be an address of this machine",
    ),
    "metrics not on": Mistake(
        "serve", {"SIRR_METRICS_ADDRESS": "[::1]:9464"}, 3, "no effect without metrics", EXPLAINED
    ),
    "folder on a file": Mistake("serve", {"SIRR_DATA_DIR": "/dev/null/x"}, 3, "Not a directory", "SIRR_DATA_DIR"),
    "folder of nobody": Mistake(
        "serve", {"SIRR_DATA_DIR": "~nobody-here/x"}, 3, "data_dir: begins with", "SIRR_DATA_DIR"
    ),
    "folder nowhere": Mistake("serve", {"SIRR_DATA_DIR": "/proc/x"}, 3, "cannot be used", "SIRR_DATA_DIR"),
    "key file empty": Mistake("serve", {}, 3, "master.key in the data folder: ", "put the file back", key_file("")),
    "key file torn": Mistake("serve", {}, 3, "master.key in the data folder: ", "put the file back", key_file("ab\n")),
    "key empty": Mistake("serve", {"SIRR_MASTER_ENCRYPTION_KEY": ","}, 3, "encryption key is empty", "openssl rand"),
    "secret missing": Mistake("serve", FILE, 3, "No such file", "SIRR_MASTER_API_KEY_FILE takes the path"),
    "secret a folder": Mistake(
        "serve", FILE, 3, "Is a directory", "takes the path", lambda at: (at / "secret").mkdir()
    ),
    "secret of UTF-16": Mistake("serve", FILE, 3, "not UTF-8", "PowerShell", secret("k".encode("utf-16"))),
    "secret of two lines": Mistake("serve", FILE, 3, "without spaces", "SIRR_MASTER_API_KEY", secret(b"a\nb\n")),
    "secret too long": Mistake(
        "serve", FILE, 3, "too large for a secret", "nothing but the secret", secret(b"x" * 70_000)
    ),
    "secret of others": Mistake("serve", FILE, 3, "can be written by other users", "chmod", secret(b"k", 0o666)),
    "config missing": Mistake(CONFIG, {}, 3, "there is no settings file set.toml", "--config"),
    "config a folder": Mistake(
        CONFIG, {}, 3, "set.toml cannot be read", "read as", lambda at: (at / "set.toml").mkdir()
    ),
    "config endless": Mistake("serve", {"SIRR_CONFIG": "/dev/zero"}, 3, "too large for one", EXPLAINED),
    "config of UTF-16": Mistake(CONFIG, {}, 3, "is not UTF-8 text", EXPLAINED, toml("port = 1".encode("utf-16"))),
    "config no TOML": Mistake(CONFIG, {}, 3, "(at line 2, column 8)", "in quotes", toml("\nhost = x\n")),
    "config unknown": Mistake(CONFIG, {}, 3, "unknown setting 'prot'", "did you mean port?", toml("prot = 1")),
    "config upper case": Mistake(CONFIG, {}, 3, "'SIRR_PORT'", "did you mean port?", toml("SIRR_PORT = 1")),
    "config in a table": Mistake(CONFIG, {}, 3, "unknown setting 'sirrd'", "[table]", toml("[sirrd]\nport = 1")),
    "config wrong type": Mistake(
        CONFIG, {}, 3, "max_value_bytes: ", "the settings file", toml("max_value_bytes = 'x'")
    ),
    "boolean": Mistake("serve", {"SIRR_ALLOW_OPEN": "maybe"}, 3, "allow_open: ", "it comes from SIRR_ALLOW_OPEN"),
    "level": Mistake("serve --log-level warn", {}, 3, "'warning'", "it comes from --log-level"),
    "backup of nothing": Mistake("backup x.db", {}, 3, "holds no database", "SIRR_DATA_DIR"),
    "verify nothing": Mistake("verify-burn", {}, 2, "standard input holds neither", "verify-burn <"),
    "no file": Mistake("backup", {}, 2, "required: FILE", "--help"),
    "nobody there": Mistake("health --port 1", {}, 1, "no daemon answers at 127.0.0.1:1", "is it running?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_met_with_what_is_wrong_and_what_to_do(tmp_path: Path, name: str) -> None:
    """Each ends with its exit code, one line that says what is wrong, and one that helps; none with a traceback."""
    mistake = MISTAKES[name]
    mistake.make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = sirrd(tmp_path, *mistake.command.split(), **mistake.settings)
    told = found.stderr[found.stderr.index("sirrd: ") :] if "sirrd: " in found.stderr else found.stderr
    assert found.returncode == mistake.code, found.stderr
    line, hint, *more = told.splitlines()
    assert mistake.text in line
    assert hint.startswith("hint: ")
    assert mistake.hint in hint
    assert more == []
    assert found.stdout == ""
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name not in {"data", "sirrd.lock"}}
    assert made.items() <= before.items()


@pytest.mark.parametrize(
    "content", [b"correct-horse", b"correct-horse\n", b"correct-horse\r\n", b"\xef\xbb\xbfcorrect-horse"]
)
def test_a_secret_is_read_whatever_ends_its_line(tmp_path: Path, content: bytes) -> None:
    """Line ends of any system, and the mark that some editors begin a text with, are no part of a secret."""
    secret(content)(tmp_path)
    settings, _ = load(flags={}, environ={"SIRR_MASTER_API_KEY_FILE": str(tmp_path / "secret")}, folder=tmp_path)
    assert settings.master_api_key is not None
    assert settings.master_api_key.get_secret_value() == "correct-horse"


def test_a_secret_may_come_through_a_pipe(tmp_path: Path) -> None:
    """`SIRR_MASTER_API_KEY_FILE=<(pass show sirrd)` works, whoever owns the pipe."""
    reading, writing = os.pipe()
    os.write(writing, b"correct-horse\n")
    os.close(writing)
    settings, _ = load(flags={}, environ={"SIRR_MASTER_API_KEY_FILE": f"/dev/fd/{reading}"}, folder=tmp_path)
    os.close(reading)
    assert settings.master_api_key is not None
    assert settings.master_api_key.get_secret_value() == "correct-horse"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SIRR_PRUNE_INTERVAL", "SIRR_PRUNE_INTERVAL_SECONDS"),
        ("SIRR_API_KEY", "SIRR_MASTER_API_KEY"),
        ("SIRR_PROT", "SIRR_PORT"),
        ("SIRR_DATADIR", "SIRR_DATA_DIR"),
        ("SIRR_ENCRYPTION_KEY_FILE", "SIRR_MASTER_ENCRYPTION_KEY_FILE"),
        ("sirr_port", "SIRR_PORT"),
    ],
)
def test_a_variable_that_is_like_a_known_one_is_asked_about(tmp_path: Path, variable: str, meant: str) -> None:
    """A misspelt variable is told with the one that was meant."""
    _, warnings = load(flags={}, environ={variable: "hush"}, folder=tmp_path)
    assert warnings == [f"unknown environment variable {variable}; it is ignored: did you mean {meant}?"]


def test_a_port_of_another_process_is_said_with_how_to_find_it(tmp_path: Path) -> None:
    """A taken port names the tool that says who has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = sirrd(tmp_path, "serve", "--port", str(taken.getsockname()[1]))
    assert found.returncode == 3
    assert "Address already in use" in found.stderr
    assert "ss -ltnp" in found.stderr


def test_a_folder_in_use_names_who_has_it(launch: Launch, tmp_path: Path) -> None:
    """A second daemon, and a restore, are told which process has the folder and where it listens."""
    with launch() as daemon:
        (tmp_path / "out").mkdir()
        assert sirrd(tmp_path, "backup", "out/copy.db").returncode == 0
        for command in (("serve",), ("restore", "out/copy.db", "--replace")):
            found = sirrd(tmp_path, *command)
            assert found.returncode == 3
            assert f"process {daemon.process.pid} has it and listens on {daemon.address()}" in found.stderr
        assert daemon.stop() == 0


def test_a_working_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    """A command in a folder that was deleted works if its paths are whole, and says what it could not look for."""
    (tmp_path / "gone").mkdir()
    program = ["sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh"]
    done = subprocess.run(
        [*program, SIRRD[0], "-P", *SIRRD[1:], "check-config"],
        cwd=tmp_path,
        env=settings_of(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "the working folder is not there" in done.stderr


def test_the_banner_says_open_where_it_is_open(tmp_path: Path) -> None:
    """Without a key nothing claims to need one; with one, nothing claims to be open."""
    opened = banner(settings_for(tmp_path, master_api_key=None), "http://127.0.0.1:1")
    assert "need the master API key" not in opened
    assert opened.count("OPEN: ") == 2
    closed = banner(settings_for(tmp_path), "http://127.0.0.1:1")
    assert "OPEN" not in closed
    assert closed.count("need the master API key") == 2
