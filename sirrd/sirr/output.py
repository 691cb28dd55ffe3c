"""Where goes what was read: to standard output, to a terminal, or into a file; and never nowhere.

The read is spent when this begins. So what can be checked is checked before, and what cannot be written where it should
go is put aside where it can, and said.
"""

from __future__ import annotations

import base64
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from sirrd.sirr import edge, terminal, values
from sirrd.sirr.edge import FAILED, Failure, name_of, note, reason_of

if TYPE_CHECKING:
    from sirrd.client import Content

_MOST_NAMES: Final = 1000
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
STANDARD_OUTPUT: Final = Path("-")
Write = Callable[["Content"], None]


@contextlib.contextmanager
def opened(out: Path | None) -> Iterator[Write]:
    """Make sure that there is somewhere to write to before a read is spent, and return what writes there.

    Args:
        out: A file, `-` for standard output as it is, or None for what suits whoever reads.

    Raises:
        Failure: There is nowhere.
    """
    if out is None or out == STANDARD_OUTPUT:
        edge.check_output()
        yield _print if out is None else print_raw
        return
    try:
        descriptor = os.open(out, _NEW, 0o600)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this cannot be the name of a file"
        raise Failure(f"{name_of(out)}: {reason}") from None
    is_used = False

    def write(content: Content) -> None:
        nonlocal is_used
        is_used = True
        try:
            _fill(descriptor, out, content.data)
        except OSError as error:
            rescue(content, reason_of(error))
        except BaseException:
            note(f"what was read is in {put_aside(content)}")
            raise

    try:
        yield write
    finally:
        if not is_used:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                out.unlink()


def print_raw(content: Content) -> None:
    """Write a content to standard output, byte for byte."""
    _write_out(content, content.data)


def _print(content: Content) -> None:
    """Write a content to standard output: to a pipe as it is, to a terminal as a person can read it."""
    if not sys.stdout.isatty():
        _write_out(content, content.data)
        return
    text = values.text_of(content)
    if text is None:
        _keep_file(content)
        return
    is_harmless = values.is_for_a_terminal(content)
    shown = text if is_harmless else values.escaped(text)
    _write_out(content, _in_letters_of_terminal(shown + ("" if shown.endswith("\n") else "\n")))
    if not is_harmless:
        note(f"it has control characters, which are shown escaped; as it is, it was written into {put_aside(content)}")


def _in_letters_of_terminal(text: str) -> bytes:
    """Return a text in the encoding of the terminal; what that lacks is escaped."""
    return text.encode(sys.stdout.encoding or "utf-8", "backslashreplace")


def _keep_file(content: Content) -> None:
    """Write what is no text into a new file, under the name that the person on the terminal takes."""
    suggested = values.safe_name(content.name)
    if content.name is None:
        note(f"this is no text: it was written into {put_aside(content)}")
        return
    try:
        chosen = terminal.choose("this is a file; write it into", suggested)
        if chosen is not None and (file := Path(chosen)).name:
            _write_new(file, content.data)
            note(f"written into {name_of(file)}")
            return
    except (OSError, ValueError) as error:
        note(f"{reason_of(error) if isinstance(error, OSError) else 'this cannot be the name of a file'}")
    except BaseException:
        note(f"it was written into {put_aside(content)}")
        raise
    note(f"it was written into {put_aside(content)}")


def _write_out(content: Content, data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        edge.give_up_output()
        rescue(content, reason_of(error))
    except BaseException:
        # A signal in the middle: part of it may be out, and nobody knows which.
        note(f"what was read is in {put_aside(content)}")
        raise


def rescue(content: Content, reason: str, *, code: int = FAILED) -> NoReturn:
    """Keep what was read where it could not be written or used, since the read is spent, and end."""
    raise Failure(f"{reason}; what was read is in {put_aside(content)}", code) from None


def put_aside(content: Content, name: str = "secret") -> str:
    """Write a content into a new file, and return where: this folder, else a temporary one, else the message itself.

    Its name is never that which a sender suggests: in the wrong folder a name can be an order.
    """
    for number in range(_MOST_NAMES):
        file = Path(f"{number}-{name}" if number else name)
        try:
            _write_new(file, content.data)
        except FileExistsError:
            continue
        except OSError:
            break
        return name_of(file)
    try:
        file = Path(tempfile.mkdtemp(prefix="sirr-")) / name
        _write_new(file, content.data)
    except OSError:
        # No folder takes it. Base64 does no harm to a terminal, and what is lost here is lost for ever.
        return f"this message, as base64: {base64.b64encode(content.data).decode()}"
    return name_of(file)


def _write_new(file: Path, data: bytes) -> None:
    """Write a new file that is whole or not there.

    Raises:
        OSError: It could not be written.
    """
    _fill(os.open(file, _NEW, 0o600), file, data)


def _fill(descriptor: int, file: Path, data: bytes) -> None:
    """Write all of a file that was just made, and close it; remove it if that does not work, or is ended."""
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            file.unlink()  # half of a value is none
        raise
