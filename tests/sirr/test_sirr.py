"""What `sirr` makes of what people type, and what it keeps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd.link import Content
from sirrd.sirr import configuration, formats, values
from sirrd.sirr.configuration import Configuration, ConfigurationError
from tests.conftest import NOW

SERVER = "https://drop.example"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        ("1d1s", 86_401),
    ],
)
def test_a_lifetime_is_written_as_people_do(text: str, seconds: int) -> None:
    """One or several units, the larger first."""
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "h", "1x", "-1h", "1.5h", "30m1h", "1h ", "1h30", "1d12", "\u0661h", "9999999999s"]
)
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="1h30m"):
        values.duration(text)


def test_reads_are_a_number_or_unlimited() -> None:
    """And nothing else."""
    assert [values.reads(text) for text in ("1", "3", "unlimited")] == [1, 3, None]
    for text in ("", "0", "-1", "1.0", "many", "²"):
        with pytest.raises(ValueError, match="unlimited"):
            values.reads(text)


def test_a_made_passphrase_can_be_read_out() -> None:
    """Five groups of four, without letters and digits that look alike, and never the same."""
    made = {values.made_passphrase() for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) == 24 and not set(each) & set("01ilo") for each in made)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (None, "secret"),
        ("", "secret"),
        ("report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("../../.bashrc", "bashrc"),
        ("..", "secret"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("a\x1b[2J\n.txt", "a[2J.txt"),
        ("\u202efdp.exe", "fdp.exe"),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_a_name_that_a_stranger_suggests_is_made_safe(name: str | None, kept: str) -> None:
    """No path, nothing hidden, nothing that a terminal would obey."""
    assert values.safe_name(name) == kept


@settings.get_profile("fuzz")
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_a_shell_reads_an_environment_file_as_it_was_meant(value: str) -> None:
    """Whatever the value is: quotes, dollars, line breaks."""
    line = formats.shell("NAME", value)
    ran = subprocess.run(
        ["sh", "-c", f'{line}printf "%s" "$NAME"'], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert ran.stdout == value.encode()


def test_how_long_something_lives() -> None:
    """In the unit that people would use."""
    told = [values.expires_in(at, now=NOW) for at in (None, NOW - 5, NOW + 90, NOW + 3600, NOW + 7200, NOW + 200_000)]
    assert told == ["never", "in 0 s", "in 90 s", "in 60 min", "in 2 h", "in 2 d"]


@pytest.mark.parametrize(
    ("data", "harmless"),
    [
        (b"text\n\ttabs", True),
        ("grüße".encode(), True),
        (b"\x1b[2J", False),
        (b"a\rb", False),
        (b"\xff", False),
        (b"\0", False),
    ],
)
def test_what_a_terminal_is_shown(data: bytes, harmless: bool) -> None:
    """Text without control characters but line breaks and tabs."""
    assert values.is_for_a_terminal(Content(data)) is harmless


def test_a_file_has_its_name_and_type(tmp_path: Path) -> None:
    """As far as they can be told from its name."""
    for name, media_type in (("a.png", "image/png"), ("strange", "application/octet-stream")):
        (tmp_path / name).write_bytes(b"\x00")
        assert values.of_file(tmp_path / name) == Content(b"\x00", name, media_type)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything in it."""
    monkeypatch.setattr(configuration, "path", lambda: tmp_path / "kept" / "sirr.json")
    return tmp_path / "kept"


def loaded(
    *, server: str | None = None, token: str | None = None, org: str | None = None, **environment: str
) -> Configuration:
    """Load a configuration."""
    return configuration.load(environment, server=server, token=token, org=org)


def test_options_count_before_the_environment_and_that_before_what_was_kept(home: Path) -> None:
    """And an empty variable is none."""
    assert loaded() == Configuration()
    configuration.keep(SERVER, "kept")
    assert loaded() == Configuration(SERVER, "kept")
    given = {"SIRR_SERVER": "https://env.example", "SIRR_TOKEN": "env", "SIRR_ORG": "acme"}
    assert loaded(**given) == Configuration("https://env.example", "env", "acme")
    assert loaded(server=SERVER, token="option", org="other", **given) == Configuration(SERVER, "option", "other")
    assert loaded(SIRR_SERVER="", SIRR_TOKEN="", SIRR_ORG="") == Configuration(SERVER, "kept")


def test_a_kept_token_is_shown_to_its_own_server_alone(home: Path) -> None:
    """Naming another server does not send it there."""
    configuration.keep(SERVER, "kept")
    assert loaded(server="https://other.example") == Configuration("https://other.example")
    assert loaded(server=SERVER) == Configuration(SERVER, "kept")


def test_what_is_kept_is_for_one_person(home: Path) -> None:
    """Mode 0600 from the first byte, also where there was a file; and others' eyes are told."""
    file = configuration.keep(SERVER, "one")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        loaded()
    configuration.keep(SERVER, "two")
    assert file.stat().st_mode & 0o777 == 0o600
    assert loaded().token == "two"
    assert [each.name for each in home.iterdir()] == ["sirr.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"server": 1}', json.dumps({"server": SERVER, "token": 1})])
def test_what_cannot_be_read_says_what_to_do(home: Path, content: str) -> None:
    """Rather than to be ignored."""
    file = configuration.keep(SERVER, "kept")
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="sirr login again"):
        loaded()


def test_what_was_kept_is_not_read_where_options_say_all(home: Path) -> None:
    """So a file that cannot be read does not stand in their way."""
    configuration.keep(SERVER, "kept").write_text("{")
    assert loaded(server=SERVER + "/", token="option") == Configuration(SERVER, "option")


def test_a_token_is_in_no_repr() -> None:
    """Whatever prints a configuration (I6)."""
    assert "kept" not in repr(Configuration(SERVER, "kept"))
