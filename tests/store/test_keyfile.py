"""The text of the key file: a rotation changes the keys that it is about, and nothing else."""

from __future__ import annotations

import pytest

from sirrd.errors import BadSetting
from sirrd.keyring.keyfile import Mark, ids_in, mark_in, with_first, without, without_marks
from sirrd.keyring.masters import MasterKey, parse_master_keys

K0, K1, NEW = (MasterKey.of(bytes([byte]) * 32) for byte in (0, 1, 2))
NOTED = f"# since May, by Ada\n\n{K1.hex}  # main\n{K0.hex} # for the backup of April\n"


def test_a_new_key_stands_first_and_says_what_it_replaces() -> None:
    """The new key comes before all others, with the mark of the rotation; the rest of the text is as it was."""
    text = with_first(NOTED, NEW, old=K1.id)
    assert parse_master_keys(text) == (NEW, K1, K0)
    assert mark_in(text) == Mark(NEW.id, K1.id)
    assert [line for line in text.splitlines() if line in NOTED.splitlines()] == NOTED.splitlines()
    assert without(without_marks(text), NEW.id) == NOTED


def test_a_new_key_may_replace_none() -> None:
    """The mark says so where no key is to be taken out."""
    assert mark_in(with_first(NOTED, NEW, old=None)) == Mark(NEW.id, None)


@pytest.mark.parametrize("text", [NOTED, "", "# rotate-key is at work\n"])
def test_there_is_no_mark_without_a_rotation(text: str) -> None:
    """Comments of others mean nothing."""
    assert mark_in(text + NEW.hex) is None


def test_a_mark_counts_only_while_its_key_stands_first() -> None:
    """A mark that somebody left behind another key is not a rotation that was cut short."""
    text = with_first(NOTED, NEW, old=K1.id)
    assert mark_in(f"{'ab' * 32}\n{text}") is None
    assert mark_in(without(text, NEW.id)) is None


def test_a_text_without_keys_has_no_mark() -> None:
    """It is an error, as at every start."""
    with pytest.raises(BadSetting):
        mark_in("# nothing\n")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"{K1.hex}\n{K0.hex}\n", f"{K0.hex}\n"),
        (f"{K1.hex},{K0.hex}", K0.hex),
        (f"{K0.hex}, {K1.hex} # both\n", f"{K0.hex} # both\n"),
        (f"{K1.hex.upper()} # by Ada\r\n{K0.hex}\r\n", f"# by Ada\r\n{K0.hex}\r\n"),
        (f"{K0.hex}\n# was {K1.hex}\n", f"{K0.hex}\n# was {K1.hex}\n"),
        (f"not a key, {K1.hex}\n", "not a key\n"),
    ],
)
def test_a_key_is_taken_out_and_nothing_else(text: str, rest: str) -> None:
    """Comments, other keys, line ends, and what is no key at all stay."""
    assert without(text, K1.id) == rest


def test_line_ends_are_those_of_the_file() -> None:
    """A file from Windows stays one; a last line without an end gets none of its keys glued to another."""
    text = with_first(f"# keys\r\n{K1.hex}\r\n", NEW, old=K1.id)
    assert text.count("\r\n") == text.count("\n") == 4
    assert parse_master_keys(with_first("# lost", NEW, old=None)) == (NEW,)
    assert parse_master_keys(with_first(K1.hex, NEW, old=None)) == (NEW, K1)


def test_keys_are_found_whatever_else_stands_there() -> None:
    """A line that is no key does not hide the others."""
    assert ids_in(f"what?\n{K1.hex}, {K0.hex} # and {NEW.hex}\n") == {K1.id, K0.id}
