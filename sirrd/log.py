"""Logging: one line per event, as text or JSON, and nothing in it that opens or names a secret (I6).

The lines of requests are written here without the logging module's machinery: they are collected and leave in one
write per turn of the event loop. In the commands the stream is a `Sink`, which nobody waits for. Chatty libraries are
clamped, because at their lower levels they print SQL parameters, URLs and settings.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import IO, Any, Final, Literal, NamedTuple

from sirrd.sink import Sink

CLAMPED: Final = (
    "aiosqlite",
    "asyncio",
    "httpcore",
    "httpx",
    "pydantic_settings",
    "uvicorn",
    "uvicorn.access",
    "uvicorn.asgi",
    "uvicorn.error",
)
Format = Literal["text", "json"]


def set_up(level: str, form: Format, stream: IO[str]) -> None:
    """Send the log of the whole process to a stream.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: One JSON object a line, or text for people.
        stream: Where to.
    """
    handler = logging.StreamHandler(stream)
    formatter = _Formatter(form)
    handler.setFormatter(formatter)
    if isinstance(stream, Sink):
        stream.notice = lambda lines: formatter.format(_missing(lines)) + "\n"
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    for name in CLAMPED:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))


def _missing(lines: int) -> logging.LogRecord:
    """Return what stands in the place of lines that could not be written."""
    noun = "line was" if lines == 1 else "lines were"
    text = f"{lines} {noun} dropped: the log was not read, or could not be written"
    return logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text})


class _Formatter(logging.Formatter):
    """Formats what is not the line of a request."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return one line. Of an exception only types and places are kept: its message may hold anything."""
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = record.exc_info[0].__name__
            fields["at"] = " < ".join(places(record.exc_info[1]))
        when, level = _stamp(record.created), record.levelname.lower()
        # Some libraries end their messages with a line break, or put a whole report into one.
        message = " ".join(record.getMessage().split("\n")).strip()
        if self._form == "json":
            return json.dumps({"time": when, "level": level, "logger": record.name, "message": message, **fields})
        extra = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{when} {level:<7} {message}{extra}"


def places(error: BaseException | None) -> list[str]:
    """Return where an error was raised, innermost first, as module file and line."""
    found = []
    at = error.__traceback__ if error is not None else None
    while at is not None:
        found.append(f"{at.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{at.tb_lineno}")
        at = at.tb_next
    return found[::-1]


class RequestLine(NamedTuple):
    """What the log says of a request.

    Attributes:
        method: The method, if it is a known one.
        route: The template of the path, never the path.
        status: The status of the answer; 0 if there was none.
        seconds: How long it took.
        caller: The caller's kind.
        address: The client's address.
        request_id: As in the answer's `X-Request-Id`.
        fingerprint: The secret's, or None.
    """

    method: str
    route: str
    status: int
    seconds: float
    caller: str
    address: str
    request_id: str
    fingerprint: str | None


class RequestLog:
    """Writes a line per request, in one write per turn of the event loop.

    Every field is drawn from a closed alphabet (templates, numbers, hex digits, addresses that were parsed), so the
    JSON needs no escaping.
    """

    def __init__(self, form: Format, stream: IO[str], *, enabled: bool) -> None:
        self._form = form
        self._stream = stream
        self._enabled = enabled
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def add(self, line: RequestLine, *, at: int) -> None:
        """Write a line at the end of this turn of the event loop; `at` is in Unix seconds."""
        if not self._enabled:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append((_json_line if self._form == "json" else _text_line)(line, self._time(at)))

    def flush(self) -> None:
        """Write what was collected."""
        if self._lines:
            lines, self._lines = self._lines, []
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except OSError:
                # A log that cannot be written must not stop the service; the handlers of `logging` do the same.
                return

    def _time(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._stamp = _stamp(second)
        return self._stamp


def _json_line(line: RequestLine, stamp: str) -> str:
    fingerprint = "null" if line.fingerprint is None else f'"{line.fingerprint}"'
    return (
        f'{{"time":"{stamp}","level":"info","logger":"sirrd.request","method":"{line.method}",'
        f'"route":"{line.route}","status":{line.status},"ms":{line.seconds * 1000:.2f},"caller":"{line.caller}",'
        f'"address":"{line.address}","request_id":"{line.request_id}","fingerprint":{fingerprint}}}\n'
    )


def _text_line(line: RequestLine, stamp: str) -> str:
    return (
        f"{stamp} info    {line.method} {line.route} {line.status} {line.seconds * 1000:.2f}ms {line.caller} "
        f"{line.address or '-'} {line.request_id} {line.fingerprint or '-'}\n"
    )


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def default_format(stream: IO[str]) -> Format:
    """Return the format for people on a terminal, and the one for programs elsewhere."""
    return "text" if stream.isatty() else "json"


def stderr() -> IO[str]:
    """Return where the log goes."""
    return sys.stderr
