"""A process that has loaded `sirr` and forks for each command: hundreds of them, each with streams of its own.

It reads a request a line and answers it with the wait status, both as JSON. Started by `Zygote`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

_STREAMS: Final = ("stdin", "stdout", "stderr")
_MODES: Final = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
_PATIENCE_SECONDS: Final = 60


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: bytes
    err: str


class Zygote:
    """Runs commands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        arguments: list[str],
        env: Mapping[str, str],
        *,
        given: bytes = b"",
        streams: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Ran:
        """Run a command.

        Args:
            arguments: Of `sirr`.
            env: Its whole environment.
            given: Its standard input.
            streams: Files in the place of its streams; None is closed.
            cwd: Where it runs.
        """
        names = {name: str(self._folder / name) for name in _STREAMS}
        Path(names["stdin"]).write_bytes(given)
        for name in _STREAMS[1:]:
            Path(names[name]).write_bytes(b"")
        asked = {
            "arguments": arguments,
            "env": dict(env),
            "streams": names | dict(streams or {}),
            "cwd": str(cwd or "/"),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = os.waitstatus_to_exitcode(json.loads(self._process.stdout.readline()))
        return Ran(code, Path(names["stdout"]).read_bytes(), Path(names["stderr"]).read_text(errors="replace"))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def zygote(folder: Path) -> Iterator[Zygote]:
    """Start one, and end it."""
    started = Zygote(folder)
    try:
        yield started
    finally:
        started.close()


def _serve() -> None:
    import sirrd.client  # noqa: F401, PLC0415 - so that no child has to load it
    from sirrd.sirr import cli, sending  # noqa: F401, PLC0415

    time.sleep = lambda _: None  # retries need not be waited for here
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        print(os.waitpid(pid, 0)[1], flush=True)  # noqa: T201 - the answer


def _become(asked: Mapping[str, Any]) -> None:
    """Be the command, as if just started."""
    import signal  # noqa: PLC0415

    from sirrd.sirr import cli  # noqa: PLC0415

    signal.alarm(_PATIENCE_SECONDS)
    os.environ.clear()
    os.environ.update(asked["env"])
    try:
        os.chdir(asked["cwd"])
    except FileNotFoundError:
        gone = Path(asked["cwd"])
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
    os.setsid()  # no terminal
    # From the last to the first: a stream that is closed leaves its number to whatever is opened next.
    for number, name in reversed(list(enumerate(_STREAMS))):
        setattr(sys, name, _stream(number, asked["streams"][name]))
    sys.argv = ["sirr", *asked["arguments"]]
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        try:
            for each in (sys.stdout, sys.stderr):
                if each is not None:
                    each.flush()
        except OSError:
            code = 120
        os._exit(code)
    except BaseException:  # noqa: BLE001 - that is what is looked for
        import traceback  # noqa: PLC0415

        os.write(2, traceback.format_exc().encode())
        os._exit(99)


def _stream(number: int, path: str | None) -> io.TextIOWrapper | None:
    """Open one of the streams of a command, as Python does when it starts; None where it is closed."""
    if path is None:
        os.close(number)
        return None
    opened = os.open(path, _MODES[number] & ~(os.O_TRUNC if path.startswith("/dev/") else 0), 0o600)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", line_buffering=number > 1)


if __name__ == "__main__":
    _serve()
