"""Reads a Dockerfile and its `.dockerignore`, as much of both as this project uses, and refuses the rest."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_FLAGS: Final[dict[str, frozenset[str]]] = {
    "FROM": frozenset(),
    "COPY": frozenset({"from"}),
    "RUN": frozenset({"mount"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period"}),
    **dict.fromkeys(("ENV", "WORKDIR", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"), frozenset()),
}
"""Every instruction that is known, with its flags."""


class UnknownStepError(Exception):
    """The Dockerfile says something that this stand-in cannot do."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, its `--flag=value` parts, and the rest as it stands."""

    name: str
    flags: tuple[tuple[str, str], ...]
    rest: str


def parse(dockerfile: str) -> list[Instruction]:
    """Read a Dockerfile.

    Raises:
        UnknownStepError: It has an instruction or a flag that this stand-in does not know.
    """
    lines = [line for line in dockerfile.splitlines() if not re.match(r"\s*(#|$)", line)]
    found = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name not in _FLAGS:
            raise UnknownStepError(f"instruction {name}")
        flags = []
        while flag := re.match(r"--([a-z-]+)=(\S+)\s+", rest.lstrip()):
            if flag[1] not in _FLAGS[name]:
                raise UnknownStepError(f"{name} with --{flag[1]}")
            flags.append((flag[1], flag[2]))
            rest = rest.lstrip()[flag.end() :]
        found.append(Instruction(name, tuple(flags), rest.strip()))
    return found


def words_of(rest: str) -> list[str]:
    """Read an exec form; the shell form would put a shell between the engine's signals and the daemon."""
    if not rest.startswith("["):
        raise UnknownStepError(f"shell form {rest}")
    return [str(word) for word in json.loads(rest)]


def ignore_rules(text: str) -> Callable[[str], bool]:
    """Return a function that tells whether a path of the context is left out."""
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    if rules[:1] != ["*"] or any(not re.fullmatch(r"\*|![\w./-]+|\*\*/[\w.*-]+", rule) for rule in rules):
        raise UnknownStepError(".dockerignore with other patterns than *, !name and **/name")
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    everywhere = [rule[3:] for rule in rules if rule.startswith("**/")]

    def ignored(path: str) -> bool:
        parts = path.split("/")
        return parts[0] not in kept or any(fnmatch.fnmatch(part, rule) for part in parts for rule in everywhere)

    return ignored
