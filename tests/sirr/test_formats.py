"""Environment files, held to what reads them: python-dotenv, node, npm's dotenv, sh, bash, dash, docker, systemd."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import dotenv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd.sirr import formats
from sirrd.sirr.formats import UnfitError
from tests.parts import require

READERS: Final = Path(__file__).parent / "readers"
LETTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
AWKWARD: Final = st.text("'\"`\\$ {}#=\n\r\tab;!~%\u00a0\u2028é", max_size=12)
VALUES: Final = st.lists(AWKWARD | st.text(LETTERS, max_size=20), min_size=1, max_size=40)
HARD: Final = [
    "it's", 'a"b', "a\nb", "a # b", "#x", "$HOME", "${HOME}", "  blanks  ", "a\\nb", "C:\\new\\table", "\\", "\\\\x",
    "a\\",
    "`id`", "$(id)", "!x", "~", "a=b", "=", "export X=1", "a\r\nb", "\ttab", "it's \"both\"", "'", '"', "`", "'a'",
    '"a"',
    "`a`", "-----BEGIN KEY-----\nabc\n-----END KEY-----\n", "grüße €", "%s", "a;b", "a&b|c", "*", "\n", " ", "a'b\"c`d",
    "x\u2028y", "\ufeffx", "a\n#b", 'a\n"b"\nc', "'\n'", "\\'", '\\"', "a b", "\x1b[0m", "x\x7f", "{", "$", "$$",
]  # fmt: skip


def held(form: str, values: list[str]) -> dict[str, str]:
    """Return those values that a format says it can hold, by names."""
    found = {}
    for number, value in enumerate(values):
        try:
            formats.check(form, f"V{number}", value)
        except UnfitError:
            continue
        found[f"V{number}"] = value
    return found


def by_python(text: str) -> Mapping[str, str | None]:
    """Read with python-dotenv, which also replaces variables."""
    return dotenv.dotenv_values(stream=io.StringIO(text))


def by_shell(shell: str) -> Callable[[str], Mapping[str, str | None]]:
    """Read as a shell that sources it."""

    def read(text: str) -> Mapping[str, str | None]:
        ran = subprocess.run(
            [shell, "-c", f"{text}\nenv -0"], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
        )
        pairs = (each.partition("=") for each in ran.stdout.decode().split("\0") if each)
        return {name: value for name, _, value in pairs if name.startswith("V")}

    return read


def by_node(tmp_path: Path) -> Callable[[str], Mapping[str, str | None]]:
    """Read as node does with --env-file."""

    def read(text: str) -> Mapping[str, str | None]:
        file = tmp_path / "env"
        file.write_text(text, newline="")
        return run_node(f"--env-file={file}", str(READERS / "environment.mjs"))

    return read


def by_npm(text: str) -> Mapping[str, str | None]:
    """Read with the parser of npm's dotenv."""
    return run_node(str(READERS / "npm-dotenv.mjs"), given=text)


def run_node(*arguments: str, given: str = "") -> Mapping[str, str | None]:
    """Run a program that prints variables as JSON."""
    ran = subprocess.run(
        ["node", *arguments], input=given.encode(), capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    found: dict[str, str] = json.loads(ran.stdout)
    return found


def by_docker(text: str) -> Mapping[str, str | None]:
    """Read by the rules of docker's own code (cli/opts/envfile.go, kvfile.go): lines as they are."""
    found = {}
    for line in text.encode().split(b"\n"):
        assert len(line) < 64 * 1024
        stripped = line.removesuffix(b"\r").decode().lstrip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        name, _, value = stripped.partition("=")
        assert name
        assert not set(name) & set(" \t")
        found[name] = value
    return found


def by_systemd(  # noqa: C901, PLR0912, PLR0915 - the machine of states as it stands there
    text: str,
) -> Mapping[str, str | None]:
    """Read by the rules of systemd's own code (basic/env-file.c, parse_env_file_internal), state by state."""
    found: dict[str, str] = {}
    state, name, value, kept = "before name", "", "", 0
    for each in text + "\n":
        if state == "before name":
            if each in "#;":
                state = "comment"
            elif each not in " \t\n\r":
                state, name = "name", each
        elif state == "comment":
            state = "before name" if each in "\n\r" else state
        elif state == "name":
            if each == "=":
                state, value, kept = "before value", "", 0
            elif each in "\n\r":
                state = "before name"
            else:
                name += each
        elif state in {"before value", "value"} and each in "\n\r":
            found[name.strip()] = value[:kept] if state == "value" else value
            state = "before name"
        elif state == "before value":
            if each == "'":
                state = "single"
            elif each == '"':
                state = "double"
            elif each == "\\":
                state = "escape"
            elif each not in " \t\n\r":
                state, value = "value", value + each
                kept = len(value)
        elif state == "value":
            if each == "\\":
                state = "escape"
            else:
                value += each
                kept = kept if each in " \t" else len(value)
        elif state == "escape":
            state = "value"
            value += "" if each in "\n\r" else each
            kept = len(value)
        elif state == "single":
            state, value = ("before value", value) if each == "'" else (state, value + each)
        elif state == "double":
            if each == '"':
                state = "before value"
            elif each == "\\":
                state = "double escape"
            else:
                value += each
        elif state == "double escape":
            state = "double"
            value += each if each in '"\\`$' else "" if each == "\n" else "\\" + each
    assert state == "before name"
    return found


def by_json(text: str) -> Mapping[str, str | None]:
    """Read as JSON."""
    found: dict[str, str] = json.loads(text)
    return found


@pytest.fixture
def readers(tmp_path: Path) -> dict[str, tuple[str, Callable[[str], Mapping[str, str | None]]]]:
    """All readers, each with its format."""
    return {
        "python-dotenv": ("dotenv", by_python),
        "node": ("dotenv", by_node(tmp_path)),
        "npm": ("dotenv", by_npm),
        "sh": ("shell", by_shell("sh")),
        "bash": ("shell", by_shell("bash")),
        "dash": ("shell", by_shell("dash")),
        "docker": ("docker", by_docker),
        "systemd": ("systemd", by_systemd),
        "json": ("json", by_json),
    }


NAMES: Final = ("python-dotenv", "node", "npm", "sh", "bash", "dash", "docker", "systemd", "json")


def need(reader: str) -> None:
    """Go on where the machine has a reader."""
    if reader in {"node", "npm"}:
        require(shutil.which("node"), "node")
        helped = subprocess.run(["node", "--help"], capture_output=True, check=True).stdout
        require(reader == "npm" or b"--env-file" in helped, "node 20.6 or newer")
    elif reader in {"bash", "dash"}:
        require(shutil.which(reader), reader)


@pytest.mark.parametrize("reader", NAMES)
def test_a_reader_gets_what_was_meant(
    readers: dict[str, tuple[str, Callable[[str], Mapping[str, str | None]]]], reader: str
) -> None:
    """Of values that are hard to write, and of any: what the format does not refuse is read to the letter."""
    need(reader)
    form, read = readers[reader]

    def check(values: list[str]) -> None:
        found = held(form, values)
        assert dict(read(formats.file_of(form, found))) == found

    check(HARD)
    settings.get_profile("fuzz")(given(VALUES)(check))()


@pytest.mark.parametrize("form", formats.NAMES)
def test_a_format_refuses_only_what_it_cannot_hold(form: str) -> None:
    """Nothing is refused for convenience: of the hard values each format holds what its readers can."""
    hopeless = {
        "json": [],
        "shell": [],
        "docker": [value for value in HARD if "\n" in value or "\r" in value],
        "systemd": [value for value in HARD if any(each in value for each in "\r\x1b\x7f")],
        "dotenv": ["${HOME}", "a\r\nb", "x\u2028y", "\ufeffx"],
    }
    assert [value for value in HARD if not held(form, [value])] == hopeless[form]


def test_a_value_in_a_file_of_variables_may_be_of_any_format() -> None:
    """Names stand as they are, and a value that cannot be held is not shown by the refusal."""
    with pytest.raises(UnfitError) as caught:
        formats.file_of("docker", {"A": "s3cret\nvalue"})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UnfitError):
        formats.file_of("docker", {"A": "x" * 70_000})
    with pytest.raises(UnfitError):
        formats.file_of("shell", {"A": "\0"})
