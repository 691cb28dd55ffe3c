"""The command itself: its help, what others see of it, what a child gets of it, and where there is no POSIX."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sirrd.cli.commands import COMMANDS
from sirrd.cli.usage import parser_of
from sirrd.sirr import names
from sirrd.sirr.cli import group
from sirrd.sirr.commands import Command
from tests.client.test_portable import WITHOUT_POSIX
from tests.conftest import API_KEY, Launch
from tests.parts import ROOT, put, wait_until
from tests.sirr.test_hostile import Stub, stub  # noqa: F401 - a fixture
from tests.sirr.test_scripts_of_sirr import person


@pytest.fixture
def env(launch: Launch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with a server."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as process:
        yield person(process.address(), tmp_path)


def helps() -> Iterator[tuple[str, str]]:
    """Return all help texts of both programs."""
    root = click.Context(group, info_name="sirr")
    yield "sirr", group.get_help(root)
    for name, command in group.commands.items():
        yield f"sirr {name}", command.get_help(click.Context(command, info_name=name, parent=root))
    parser = parser_of(COMMANDS)
    yield "sirrd", parser.format_help()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, sub in commands.choices.items():
        yield f"sirrd {name}", sub.format_help()


def test_no_help_text_has_a_backslash() -> None:
    """What formats a text is not part of it; examples stand on lines of their own."""
    texts = dict(helps())
    assert {name for name, text in texts.items() if "\\" in text or "\b" in text} == set()
    for name, command in group.commands.items():
        assert isinstance(command, Command)
        for example in command.examples:
            assert f"  {example}\n" in texts[f"sirr {name}"] + "\n"


def test_what_stands_on_a_command_line_is_wiped_from_the_list_of_processes(
    tmp_path: Path,
    stub: Stub,  # noqa: F811
) -> None:
    """A link, a token and a value: others see stars."""
    stub.gate.clear()
    link = f"{stub.address}/s/{'ab' * 32}"
    for number, arguments in enumerate(
        (
            ["get", link, "--token", "t0ken-t0ken"],
            ["push", "a-value", "--token=t0ken-t0ken"],
            ["--token", "t0ken-t0ken", "get", link],
            ["push", "--token", "xa-value", "--", "a-value"],
            ["push", "--", "--a-value"],
        )
    ):
        stub.asked.clear()
        folder = tmp_path / str(number)
        folder.mkdir()
        env = person(stub.address, folder)
        command = [sys.executable, "-m", "sirrd.sirr", *arguments]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as ran:
            wait_until(lambda: bool(stub.asked))
            seen = Path(f"/proc/{ran.pid}/cmdline").read_text()
            ran.kill()
        assert {"get", "push"} & set(arguments) <= set(seen.split("\0"))
        assert not any(each in seen for each in ("ab" * 32, "t0ken", "a-value"))


@pytest.mark.parametrize(
    "name",
    ["PATH", "LD_PRELOAD", "LD_X", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "ENV", "IFS", "PS4", "PROMPT_COMMAND",
     "PYTHONPATH",
     "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "GIT_SSH_COMMAND",
     "SSH_ASKPASS", "GCONV_PATH", "LOCPATH", "TMPDIR", "HOME", "EDITOR", "PAGER", "LESSOPEN", "MALLOC_CHECK_",
     "GLIBC_TUNABLES", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SHELLOPTS", "BASHOPTS", "SIRR_SERVER", "Path",
     "EXINIT", "VIMINIT", "PYTEST_PLUGINS", "AWKLIBPATH", "AWS_CONFIG_FILE", "SYSTEMD_PAGER", "YARN_RC_FILENAME"],
)  # fmt: skip
def test_names_that_programs_obey_are_known(name: str) -> None:
    """In any case of letters."""
    assert names.refused([name], allowed=()) == [name]
    assert names.refused([name], allowed=[name]) == []


def test_names_of_secrets_are_not_refused() -> None:
    """What people call their secrets."""
    usual = [
        "DB_PASSWORD",
        "API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "DATABASE_URL",
        "STRIPE_KEY",
        "SECRET",
        "A",
    ]
    assert names.refused(usual, allowed=()) == []


def test_a_child_gets_no_secret_of_this_command(env: dict[str, str]) -> None:
    """Neither the token nor what the daemon would be set with; where the server is it may know."""
    put(env["SIRR_SERVER"], bearer=API_KEY)
    subprocess.run(["sirr", "set", "K", "--org", "acme"], input=b"v", env=env, check=True, capture_output=True)
    secrets = ("SIRR_MASTER_API_KEY", "SIRR_PASSPHRASE_FILE", "SIRR_MASTER_ENCRYPTION_KEY", "Sirr_Token")
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    ran = subprocess.run(
        ["sirr", "run", "--org", "acme", "--", sys.executable, "-c", show],
        env=env | dict.fromkeys(secrets, "x"),
        capture_output=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert {name for name in found if name.upper().startswith("SIRR_")} == {"SIRR_SERVER"}
    assert found["K"] == "v"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    """Without being started; and what it asks then is answered."""
    env = {"PATH": str(Path(sys.executable).parent)}
    ran = subprocess.run(["sirr", "completion", shell], env=env, capture_output=True, text=True, check=True)
    assert "_SIRR_COMPLETE" in ran.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ran.stdout, text=True, check=True)
    asked = {"_SIRR_COMPLETE": "bash_complete", "COMP_WORDS": "sirr pu", "COMP_CWORD": "1"}
    ran = subprocess.run(["sirr"], env=env | asked, capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == {"plain,push", "plain,pull"}


def test_the_manual_page_names_everything(tmp_path: Path) -> None:
    """Each command, each option and each exit code; and man takes it without a complaint, where there is one."""
    env = {"PATH": str(Path(sys.executable).parent)}
    page = subprocess.run(["sirr", "man"], env=env, capture_output=True, text=True, check=True).stdout
    plain = page.replace("\\-", "-").replace("\\e", "\\")
    for name, command in group.commands.items():
        assert f".SS {name}\n" in page
        for parameter in command.params:
            assert all(option in plain for option in parameter.opts if option.startswith("--"))
    assert all(f".B {code}\n" in page for code in ("0", "4", "125", "127"))
    if groff := shutil.which("groff"):
        ran = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True
        )
        assert ran.stderr == ""


def without_posix(arguments: list[str], env: dict[str, str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `sirr` where there is nothing that only POSIX has."""
    program = f"{WITHOUT_POSIX}\nsys.argv = ['sirr', *{arguments!r}]\nfrom sirrd.sirr.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program],
        input=given,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        cwd=env["HOME"],
        timeout=60,
        check=False,
    )


def test_everything_works_without_posix(env: dict[str, str]) -> None:
    """Files, standard streams, what login keeps: nothing needs a module that Windows lacks."""
    pushed = without_posix(["push", "--ttl", "1h"], env, b"\xff\x00binary")
    assert (pushed.returncode, pushed.stderr) == (0, b"")
    got = without_posix(["get", "-", "--output", "file"], env, pushed.stdout)
    assert (got.returncode, (Path(env["HOME"]) / "file").read_bytes()) == (0, b"\xff\x00binary")
    for arguments, given in (
        (["set", "K", "--org", "acme", "--reads", "unlimited"], b"v"),
        (["pull", "--org", "acme"], b""),
        (["login"], b""),
        (["me"], b""),
        (["list"], b""),
        (["run", "--org", "acme", "--", sys.executable, "-c", "pass"], b""),
        (["logout"], b""),
    ):
        ran = without_posix(arguments, env, given)
        assert ran.returncode == 0, (arguments, ran.stderr)
    ran = without_posix(["get", "-"], env, b"nonsense/x")
    assert (ran.returncode, ran.stderr.count(b"Traceback")) == (2, 0)


def test_a_passphrase_that_nobody_can_type_says_what_to_do(env: dict[str, str]) -> None:
    """Without a keyboard: before anything is spent."""
    word = Path(env["HOME"]) / "word"
    word.write_text("correct horse\r\n")
    word.chmod(0o600)
    link = subprocess.run(
        ["sirr", "push", "--passphrase-file", word], input=b"s3cret", env=env, capture_output=True, check=True
    ).stdout
    ran = subprocess.run(
        ["sirr", "get", "-"], input=link, env=env, capture_output=True, check=False, start_new_session=True
    )
    assert (ran.returncode, b"--passphrase-file" in ran.stderr) == (2, True)
    command = ["sirr", "get", "-", "--passphrase-file", str(word)]
    assert subprocess.run(command, input=link, env=env, capture_output=True, check=True).stdout == b"s3cret"


def test_help_is_quick(env: dict[str, str]) -> None:
    """It loads neither the client nor the cryptography."""
    program = (
        "import sys; from sirrd.sirr import cli; print([name for name in ('httpx', 'pydantic') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
