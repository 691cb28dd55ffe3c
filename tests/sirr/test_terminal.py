"""The keyboard: what is typed or pasted arrives whole and unseen, and the terminal is as it was before."""

from __future__ import annotations

import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from sirrd.sirr.edge import Failure
from sirrd.sirr.terminal import Typed
from tests.conftest import API_KEY, Launch
from tests.parts import ask
from tests.sirr.test_scripts_of_sirr import Terminal, got, link_of, person

KEY = "-----BEGIN KEY-----\n" + "abc/+=\n" * 3 + "-----END KEY-----\n"


def typed(*parts: bytes, several: bool = True) -> tuple[bytes, bool]:
    """Take parts that arrive one after another, nothing behind the last; return the value, and whether it is over."""
    taken = Typed(several=several)
    for number, part in enumerate(parts):
        taken.take(part, is_pending=number + 1 < len(parts))
    return taken.value, taken.is_over


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ([b"s3cret\r"], b"s3cret"),
        ([b"s3cret\n"], b"s3cret"),
        ([b"s3cret\x04"], b"s3cret"),
        ([b"a\rb\rc\r\x04"], b"a\nb\nc\n"),
        ([b"a\r\nb\r\n", b"\x04"], b"a\nb\n"),
        ([b"a\r", b"\nb\x04"], b"a\nb"),
        ([b"\x1b[200~a\rb\x1b[201~\r"], b"a\nb"),
        ([b"\x1b[200~a\rb\r\x1b[201~", b"\r"], b"a\nb\n"),
        ([b"\x1b[200~token\r\x1b[201~\r"], b"token"),
        ([b"\x1b[20", b"0~a\x04b\x1b[2", b"01~\r"], b"a\x04b"),
        ([b"\x1b[200~a\x7fb\x1b[201~\r"], b"a\x7fb"),
        ([b"sex\x7fcret\r"], b"secret"),
        (["gr\u00fc\u00df".encode() + b"\x7f\x7fu\r"], b"gru"),
        ([b"wrong\x15right\r"], b"right"),
        ([b"x" * 5000 + b"\r"], b"x" * 5000),
        ([b"\r"], b""),
    ],
)
def test_what_is_pasted_is_whole_and_what_is_typed_ends_with_enter(parts: list[bytes], value: bytes) -> None:
    """Line breaks of what was pasted belong to it, with and without the marks of the terminal."""
    assert typed(*parts) == (value, True)


@pytest.mark.parametrize("parts", [[b"a\rb\rc\r"], [b"\x1b[200~a\r"], [b"\x1b[200~a\rb\x1b[201~"], [b"a"], [b""]])
def test_nothing_ends_in_the_middle(parts: list[bytes]) -> None:
    """What has several lines and no marks ends with Ctrl-D alone: more of it may be on its way."""
    assert not typed(*parts)[1]


def test_a_value_that_never_ends_is_refused() -> None:
    """In bounded memory."""
    taken = Typed(several=True)
    for _ in range(64):
        taken.take(b"x" * 1024 * 1024, is_pending=True)
    with pytest.raises(Failure, match="too long"):
        taken.take(b"x", is_pending=True)


@pytest.fixture
def env(launch: Launch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with a server."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as process:
        yield person(process.address(), tmp_path)


@pytest.mark.parametrize(
    ("pasted", "value"),
    [
        ("one\rtwo\rthree\r\x04", b"one\ntwo\nthree\n"),
        ("one\ntwo\nthree\x04", b"one\ntwo\nthree"),
        ("x" * 5000 + "\r", b"x" * 5000),
        (KEY.replace("\n", "\r") * 100 + "\x04", KEY.encode() * 100),
    ],
    ids=["three lines", "three lines without an end", "5000 bytes", "many lines"],
)
@pytest.mark.parametrize("command", [["push", "--ttl", "1h"], ["set", "K", "--org", "acme"]], ids=["push", "set"])
def test_what_is_pasted_at_a_prompt_is_sent_whole(
    env: dict[str, str], command: list[str], pasted: str, value: bytes
) -> None:
    """All lines and all bytes of it, on a terminal of the system; none is left for the shell."""
    terminal = Terminal(["sirr", *command], env)
    terminal.until("Value: ")
    terminal.send(pasted)
    assert terminal.end() == 0, terminal.shown
    assert "one" not in terminal.shown.replace("none", "")
    assert "xxx" not in terminal.shown
    found = got(env, link_of(terminal.shown)) if command[0] == "push" else got(env, "K", "--org", "acme")
    assert found == value


def test_marks_of_the_terminal_are_asked_for_and_understood(env: dict[str, str]) -> None:
    """A terminal that has them is told so, before and after."""
    terminal = Terminal(["sirr", "push", "--ttl", "1h"], env, TERM="xterm")
    terminal.until("\x1b[?2004h")
    terminal.until("Value: ")
    terminal.send("\x1b[200~one\rtwo\r\x1b[201~")
    terminal.send("\r")
    assert terminal.end() == 0
    assert "\x1b[?2004l" in terminal.shown
    assert got(env, link_of(terminal.shown)) == b"one\ntwo\n"


@pytest.mark.parametrize("how", ["\x03", signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_the_terminal_is_as_it_was_however_the_prompt_ends(env: dict[str, str], how: str | signal.Signals) -> None:
    """Echo and lines are on again, and the exit code says which signal it was."""
    terminal = Terminal(["sirr", "push"], env)
    terminal.until("Value: ")
    before = termios.tcgetattr(terminal.fd)[3]
    assert not before & (termios.ECHO | termios.ICANON)
    if isinstance(how, str):
        terminal.send(how)
    else:
        terminal.signal(how)
    terminal.until("Error: ended by")
    after = termios.tcgetattr(terminal.fd)[3]
    assert after & termios.ECHO
    assert after & termios.ICANON
    assert terminal.end() == 128 + (signal.SIGINT if isinstance(how, str) else how)
    assert "Traceback" not in terminal.shown


def test_keys_that_stop_a_process_do_not_leave_the_terminal_silent(env: dict[str, str]) -> None:
    """Ctrl-Z and Ctrl-backslash are letters like others there."""
    terminal = Terminal(["sirr", "push", "--ttl", "1h"], env)
    terminal.until("Value: ")
    terminal.send("a\x1ab\x1cc\r")
    assert terminal.end() == 0
    assert got(env, link_of(terminal.shown)) == b"a\x1ab\x1cc"


def test_nothing_typed_is_nothing_sent(env: dict[str, str]) -> None:
    """An empty value has no link."""
    for end in ("\r", "\x04"):
        terminal = Terminal(["sirr", "push"], env)
        terminal.until("Value: ")
        terminal.send(end)
        assert terminal.end() == 2
        assert "the value is empty" in terminal.shown


def test_a_link_is_asked_for_and_not_shown(env: dict[str, str]) -> None:
    """Without an argument, also where it is pasted with line breaks in it."""
    push = Terminal(["sirr", "push", "--ttl", "1h"], env)
    push.until("Value: ")
    push.send("s3cret\r")
    assert push.end() == 0
    link = link_of(push.shown)
    reader = Terminal(["sirr", "get"], env)
    reader.until("Link: ")
    reader.send(f"<{link}>.\r")
    assert reader.end() == 0
    assert "s3cret" in reader.shown
    assert link not in reader.shown
    assert "warning" not in reader.shown


@pytest.mark.parametrize(
    ("value", "shown", "is_kept"),
    [
        (b"one\r\ntwo\r\n", "one\r\ntwo\r\n", False),
        (b"bell\x07", "bell\\x07", True),
        (b"\x1b[2Jgone", "\\x1b[2Jgone", True),
        (b"back\\slash\x08", "back\\\\slash\\x08", True),
        ("right \u202eto left".encode(), "right \\u202eto left", True),
        (b"over\rwritten", "over\\rwritten", True),
    ],
)
def test_text_is_shown_on_a_terminal_and_obeyed_by_none(
    env: dict[str, str], value: bytes, shown: str, is_kept: bool
) -> None:
    """Line breaks of Windows are text; other controls are shown escaped, and kept as they are in a file."""
    link = link_of(pushed_with(env, value))
    terminal = Terminal(["sirr", "get", link], env)
    assert terminal.end() == 0
    assert shown in terminal.shown
    file = Path(env["HOME"]) / "secret"
    assert file.exists() is is_kept
    assert not is_kept or file.read_bytes() == value


def pushed_with(env: dict[str, str], value: bytes, *more: str) -> str:
    """Push a value; return what was printed."""
    return subprocess.run(
        ["sirr", "push", "--ttl", "1h", *more], input=value, env=env, capture_output=True, check=True
    ).stdout.decode()


@pytest.mark.parametrize(
    ("answer", "kept"), [("", "Makefile"), ("mine.bin", "mine.bin"), ("/dev/null", "secret"), ("there", "secret")]
)
def test_no_file_has_a_name_of_the_senders_choice_unasked(env: dict[str, str], answer: str, kept: str) -> None:
    """It is offered, made harmless, and nothing is overwritten."""
    folder = Path(env["HOME"])
    (folder / "there").write_text("mine")
    file = folder.parent / "Makefile"
    file.write_bytes(b"\xff\x00")
    terminal = Terminal(["sirr", "get", link_of(pushed_with(env, b"", "--file", str(file)))], env)
    terminal.until("[received-Makefile]: ")
    terminal.send(f"{answer}\r")
    assert terminal.end() == 0
    assert (folder / kept.replace("Makefile", "received-Makefile")).read_bytes() == b"\xff\x00"
    assert (folder / "there").read_text() == "mine"
    assert not (folder / "Makefile").exists()


def test_without_an_answer_no_file_has_a_name_of_the_senders_choice(env: dict[str, str]) -> None:
    """The end of the input is none, and where there is no keyboard nobody answers."""
    file = Path(env["HOME"]).parent / "report.bin"
    file.write_bytes(b"\xff\x00")
    terminal = Terminal(["sirr", "get", link_of(pushed_with(env, b"", "--file", str(file)))], env)
    terminal.until("[report.bin]: ")
    terminal.send("\x04")
    assert terminal.end() == 0
    assert (Path(env["HOME"]) / "secret").read_bytes() == b"\xff\x00"
    assert not (Path(env["HOME"]) / "report.bin").exists()
    asked = "from sirrd.sirr import terminal; print(terminal.choose('which', 'report.bin'))"
    ran = subprocess.run([sys.executable, "-c", asked], start_new_session=True, capture_output=True, check=True)
    assert ran.stdout == b"None\n"


def test_an_empty_token_is_none_and_is_asked_for(env: dict[str, str]) -> None:
    """As everywhere an empty variable counts as none."""
    terminal = Terminal(["sirr", "login"], env | {"SIRR_TOKEN": ""})
    terminal.until("Token (empty for none): ")
    terminal.type(API_KEY)
    assert terminal.end() == 0
    assert API_KEY in (Path(env["HOME"]) / ".config" / "sirr" / "sirr.json").read_text()


def test_what_was_typed_on_a_terminal_that_is_gone_is_not_sent(env: dict[str, str]) -> None:
    """Half of a value is none; who started this with `nohup` reads why."""
    said = Path(env["HOME"]) / "said"
    terminal = Terminal(["sh", "-c", "trap '' HUP; exec sirr push > said 2>&1"], env)
    terminal.until("Value: ")
    terminal.send("half of a va")
    terminal.hang_up()
    assert said.read_text() == "Error: the terminal is gone; nothing was sent\n"
    assert ask(env["SIRR_SERVER"], "GET", "/secrets", bearer=API_KEY)[1] == {"secrets": []}
