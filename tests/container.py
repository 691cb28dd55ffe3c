"""A stand-in for a container engine: it runs the steps of a Dockerfile for real, in namespaces of this machine.

Each stage of the Dockerfile becomes a folder. A step or a container gets a mount namespace in which that folder is the
root (`chroot`); in place of the base image, the machine's own `/usr`, `/etc` and Python are bound into it read-only, so
a step that would change the base fails loudly. Bind mounts were chosen over an overlay because an overlay cannot lie on
another one, which is what the root of most CI machines is. A container also has a process and a network namespace of
its own, is process 1 in it, and runs without capabilities or new privileges on a root that is mounted read-only.

Nothing is skipped in silence: an instruction, flag or pattern that is not known is an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.dockerfile import Instruction, UnknownStepError, ignore_rules, parse, words_of

_BASE = re.compile(r"python:3\.\d+-slim")
_BOUND = ("/usr", "/etc")
_LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_BUILD_SECONDS = 300
_STEP_SECONDS = 60
_LOOPBACK_UP = """
import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
"""
_ASK = """
import http.client, json, sys
method, path, headers, body = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", 39999, timeout=10)
connection.request(method, path, body, headers)
answer = connection.getresponse()
json.dump([answer.status, answer.read().decode()], sys.stdout)
"""


def available() -> bool:
    """Tell whether this process may make the namespaces that a container needs."""
    tools = ("unshare", "nsenter", "setpriv", "chroot", "mount")
    probe = ["unshare", "--mount", "--pid", "--net", "--fork", "mount", "--bind", "/usr", "/usr"]
    return os.geteuid() == 0 and all(map(shutil.which, tools)) and not subprocess.run(probe, check=False).returncode


@dataclass
class Image:
    """A stage that was built, and what a container of it starts with."""

    root: Path
    env: dict[str, str]
    user: str = "0:0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)
    stop_signal: str = ""


class Build:
    """Builds every stage of a Dockerfile; `last` is the image."""

    def __init__(self, context: Path, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._stages: dict[str, Image] = {}
        self._ignored = ignore_rules((context / ".dockerignore").read_text())
        self.last = Image(folder, {})
        for instruction in parse((context / "Dockerfile").read_text()):
            _STEPS[instruction.name](self, instruction)

    def _from(self, step: Instruction) -> None:
        base, *name = re.split(r"\s+AS\s+", step.rest)
        if not _BASE.fullmatch(base):
            raise UnknownStepError(f"base {base}")
        root = self._folder / f"stage{len(self._stages)}"
        for folder, mode in (("tmp", 0o1777), ("run", 0o755), ("root", 0o700), ("proc", 0o755), ("dev", 0o755)):
            (root / folder).mkdir(parents=True)
            (root / folder).chmod(mode)
        path = f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.last = Image(root, {"PATH": path, "LANG": "C.UTF-8"})
        self._stages[name[0] if name else str(len(self._stages))] = self.last

    def _copy(self, step: Instruction) -> None:
        stage = dict(step.flags).get("from")
        origin = self._context if stage is None else self._stages[stage].root
        skip = self._skipped if stage is None else None
        *sources, target = step.rest.split()
        place = self._inside(target)
        for source in sources:
            found = origin / source.lstrip("/")
            if skip is not None and skip(str(found.parent), [found.name]):
                raise UnknownStepError(f"COPY of {source}, which .dockerignore leaves out")
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=skip)
            else:
                whole = place / found.name if target.endswith("/") else place
                whole.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, whole)

    def _skipped(self, folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(self._context)
        return {name for name in names if self._ignored(str(inside / name))}

    def _inside(self, path: str) -> Path:
        """Return the place of a path of the image, which may be relative to its working directory."""
        return self.last.root / str(Path(self.last.workdir, path)).lstrip("/")

    def _run(self, step: Instruction) -> None:
        caches = {}
        for _, value in step.flags:
            mount = re.fullmatch(r"type=cache,target=(\S+)", value)
            if mount is None:
                raise UnknownStepError(f"RUN with --mount={value}")
            caches[mount[1]] = Path("~/.cache/pip").expanduser()
            caches[mount[1]].mkdir(parents=True, exist_ok=True)
        # An engine hands proxy settings to its steps; the settings of pip are what stands for them here.
        handed = re.compile(r"PIP_.*|https?_proxy", re.IGNORECASE)
        env = {name: value for name, value in os.environ.items() if handed.fullmatch(name)}
        words = json.loads(step.rest) if step.rest.startswith("[") else ["/bin/sh", "-c", step.rest]
        script = _mounts(self.last, writable=caches) + _enter(
            self.last, words, self.last.env | env, user=self.last.user
        )
        ran = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"RUN {step.rest}\n{ran.stdout}{ran.stderr}"

    def _env(self, step: Instruction) -> None:
        for pair in shlex.split(step.rest):
            name, _, value = pair.partition("=")
            self.last.env[name] = re.sub(r"\$\{?(\w+)\}?", lambda found: self.last.env[found[1]], value)

    def _workdir(self, step: Instruction) -> None:
        self._inside(step.rest).mkdir(parents=True, exist_ok=True)
        self.last.workdir = str(Path(self.last.workdir, step.rest))

    def _user(self, step: Instruction) -> None:
        if not re.fullmatch(r"\d+:\d+", step.rest):
            raise UnknownStepError("USER by name: an orchestrator can tell only from a number that it is not root")
        self.last.user = step.rest

    def _volume(self, step: Instruction) -> None:
        self.last.volumes += step.rest.split()

    def _expose(self, step: Instruction) -> None:
        self.last.exposed += step.rest.split()

    def _stopsignal(self, step: Instruction) -> None:
        self.last.stop_signal = step.rest

    def _healthcheck(self, step: Instruction) -> None:
        self.last.health = words_of(step.rest.removeprefix("CMD").strip())

    def _entrypoint(self, step: Instruction) -> None:
        self.last.entrypoint = words_of(step.rest)

    def _cmd(self, step: Instruction) -> None:
        self.last.cmd = words_of(step.rest)


_STEPS = {
    "FROM": Build._from,
    "COPY": Build._copy,
    "RUN": Build._run,
    "ENV": Build._env,
    "WORKDIR": Build._workdir,
    "USER": Build._user,
    "VOLUME": Build._volume,
    "EXPOSE": Build._expose,
    "STOPSIGNAL": Build._stopsignal,
    "HEALTHCHECK": Build._healthcheck,
    "ENTRYPOINT": Build._entrypoint,
    "CMD": Build._cmd,
}


def _mounts(image: Image, *, writable: Mapping[str, Path], files: Mapping[str, Path] | None = None) -> str:
    """Return shell lines that lay the base, and what else a step or container sees, into the image's root."""
    root = image.root
    lines = [f"mount --bind {root} {root}", *_base(root)]
    for target, source in writable.items():
        lines += _bind(root, source, target)
    for target, source in (files or {}).items():
        lines += _bind(root, source, target, read_only=True)
    return "\n".join([*lines, f"mount -t proc proc {root}/proc", ""])


def _base(root: Path) -> list[str]:
    """Return shell lines that stand in for the base image: the machine's programs, its Python, a few devices."""
    folders = [*_BOUND, *(link for link in _LINKED if Path(link).is_dir() and not Path(link).is_symlink())]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        folders.append(sys.base_prefix)
    lines = []
    for folder in folders:
        lines += _bind(root, folder, folder, read_only=True)
    for link in map(Path, _LINKED):
        if link.is_symlink() and not (root / link.name).is_symlink():
            (root / link.name).symlink_to(link.readlink())
    # A Python in somebody's home is there for every user of a container.
    for parent in Path(sys.base_prefix).relative_to("/").parents:
        (root / parent).chmod((root / parent).stat().st_mode | 0o111)
    for device in _DEVICES:
        lines += _bind(root, f"/dev/{device}", f"/dev/{device}")
    return lines


def _bind(root: Path, source: str | Path, target: str, *, read_only: bool = False) -> list[str]:
    place = root / target.lstrip("/")
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    lines = [f"mount --bind {source} {place}"]
    return [*lines, f"mount -o remount,bind,ro {place}"] if read_only else lines


def _enter(image: Image, words: Sequence[str], env: Mapping[str, str], *, user: str) -> str:
    return shlex.join(["exec", "chroot", str(image.root), *_as(image, words, env, user=user)])


def _as(image: Image, words: Sequence[str], env: Mapping[str, str], *, user: str) -> list[str]:
    """Return a command that runs `words` inside the root: as its user, with nothing inherited."""
    uid, gid = user.split(":")
    drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    become = [] if uid == "0" else [*drop, "--no-new-privs", "--"]
    pairs = [f"{name}={value}" for name, value in env.items()]
    return ["env", "--ignore-environment", f"--chdir={image.workdir}", *pairs, *become, *words]


class Container:
    """A container that was started: process 1 of its own namespaces, on a read-only root."""

    def __init__(self, image: Image, unshare: subprocess.Popen[bytes], env: Mapping[str, str], log: Path) -> None:
        self._image = image
        self._unshare = unshare
        self._env = env
        self._log = log

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the daemon, as an engine's `exec` does."""
        inside = ["--mount", "--net", "--pid", "--root"]
        return self._join(inside, _as(self._image, words, self._env, user=self._image.user), stdin="")

    def ask(self, method: str, path: str, *, key: str = "", body: Any = None) -> tuple[int, Any]:
        """Send a request to its port from its network, and return status and JSON."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = json.dumps([method, path, headers, None if body is None else json.dumps(body)])
        answer = self._join(["--net"], [sys.executable, "-c", _ASK], stdin=request)
        assert answer.returncode == 0, answer.stderr
        status, text = json.loads(answer.stdout)
        return status, json.loads(text)

    def wait_until_healthy(self) -> None:
        """Run the image's health check until it succeeds."""
        deadline = time.monotonic() + _STEP_SECONDS
        while self._unshare.poll() is None and time.monotonic() < deadline:
            if self._main() and self.run(*self._image.health).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"not healthy: {self.log}")

    def stop(self) -> int:
        """Send the image's stop signal to process 1, and return its exit code."""
        os.kill(self._main(), signal.Signals[self._image.stop_signal])
        return self._unshare.wait(_STEP_SECONDS)

    def wait(self) -> int:
        """Wait for it to end by itself, and return its exit code."""
        return self._unshare.wait(_STEP_SECONDS)

    def kill(self) -> None:
        """End it at once if it still runs: `--kill-child` does not, since changing the user cancels that order."""
        if self._unshare.poll() is None:
            os.kill(self._main() or self._unshare.pid, signal.SIGKILL)

    def _main(self) -> int:
        """Return process 1 as this machine numbers it; 0 if it is not there yet."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _join(self, namespaces: list[str], words: Sequence[str], *, stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--target={self._main()}", *namespaces, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
        )


@contextlib.contextmanager
def started(
    image: Image, *, volumes: Mapping[str, Path], files: Mapping[str, Path], env: Mapping[str, str], log: Path
) -> Iterator[Container]:
    """Start the image's entry point and command.

    Args:
        image: What was built.
        volumes: Folders for the image's volumes; an empty one gets owner and mode of the image's folder.
        files: Secrets, by their path in the container.
        env: Environment beside the image's own.
        log: Where its output goes.
    """
    assert set(volumes) == set(image.volumes)
    for target, folder in volumes.items():
        owned = (image.root / target.lstrip("/")).stat()
        if not any(folder.iterdir()):
            os.chown(folder, owned.st_uid, owned.st_gid)
            folder.chmod(owned.st_mode)
    seen = {**image.env, **env}
    script = (
        _mounts(image, writable=volumes, files=files)
        + f"mount -o remount,bind,ro {image.root}\n"
        + shlex.join([sys.executable, "-c", _LOOPBACK_UP])
        + "\n"
        + _enter(image, [*image.entrypoint, *image.cmd], seen, user=image.user)
    )
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-euc", script]
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL) as run:
        container = Container(image, run, seen, log)
        try:
            yield container
        finally:
            container.kill()
