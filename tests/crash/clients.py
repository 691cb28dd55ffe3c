"""Clients that do things at random over the network, and write down what they asked for and what came of it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import json
import math
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from sirrd.model import Identity
from tests.crash.history import NAMELESS, Kind, Operation, Outcome
from tests.crash.steps import Cut
from tests.parts import PATIENCE_SECONDS

API_KEY: Final = "correct-horse-battery-staple"
SIZES: Final = (24, 24, 24, 400, 100_000)
RECENT: Final = 60
SLACK_SECONDS: Final = 0.1
_MOST_STEPS: Final = 100_000
_MOST_READS: Final = 12
_OVER: Final = 409
_OF_READS: Final = {200: Outcome.DONE, 404: Outcome.MISS, 410: Outcome.SEALED}
_BROKEN: Final = (OSError, http.client.HTTPException)
_HEADERS: Final = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that clients know.

    Attributes:
        name: What the history calls it: the id of a dead drop, or org and key.
        path: Where it is read.
        burns: Whether it burns rather than seals.
    """

    name: str
    path: str
    burns: bool

    @property
    def identity(self) -> Identity:
        """What the daemon calls it."""
        org, _, key = self.name.rpartition("/")
        return Identity(key, org or None)


@dataclass(frozen=True, slots=True)
class Lost:
    """A read with an attempt whose answer never came, to be asked for again.

    Attributes:
        secret: What was read.
        attempt: By which it can be asked for again.
        at: Its place in the history.
        rotations: How many rotations there had been by then.
    """

    secret: Secret
    attempt: str
    at: int
    rotations: int


@dataclass
class Seen:
    """What clients have seen so far; they append to it at the same time.

    Attributes:
        operations: The history.
        secrets: In the order of their creation.
        faults: Answers that no client should ever get, and what is wrong with the files at the end.
        kills: How often the daemon was killed, by what.
        cuts: How often the command that changes keys was killed, where, and whether beside a daemon.
        lost: Reads whose answer never came.
        rotations: How often a change of the master key was begun: its end ends what burned under the older one.
        repeats: How often a lost answer came after all.
    """

    operations: list[Operation] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    cuts: Counter[tuple[Cut, bool]] = field(default_factory=Counter)
    lost: list[Lost] = field(default_factory=list)
    rotations: int = 0
    repeats: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, operation: Operation) -> int:
        """Append to the history, and return the place; several clients do that at the same time."""
        with self.lock:
            self.operations.append(operation)
            return len(self.operations) - 1

    def bound(self, first: int, end: float) -> None:
        """Note that what had no answer, from some operation on, can no longer take effect."""
        for at in range(first, len(self.operations)):
            operation = self.operations[at]
            if operation.ended == math.inf and operation.kind != Kind.EXPIRE:
                self.operations[at] = dataclasses.replace(operation, ended=end)

    def has_end(self, secret: Secret) -> bool:
        """Tell whether something but reads may have ended a secret, or what it had left."""
        ends = {Kind.DELETE, Kind.EXPIRE, Kind.AMEND}
        return any(operation.secret == secret.name and operation.kind in ends for operation in self.operations)

    def learn(self, put: Operation, secret: Secret | None, ttl: int | None) -> None:
        """Keep a put, what is known of its expiry, and the secret, if a client can name it."""
        self.keep(put)
        if ttl is not None:
            self.keep(expiry(put, ttl))
        if secret is not None:
            self.secrets.append(secret)


def expiry(put: Operation, ttl: int) -> Operation:
    """Return when a secret expires: some whole seconds after the second that it was stored in."""
    ahead = time.time() - time.monotonic()
    earliest = math.floor(put.began + ahead) + ttl - ahead - SLACK_SECONDS
    latest = math.inf
    if put.ended < math.inf:
        latest = math.floor(put.ended + ahead) + ttl - ahead + SLACK_SECONDS
    return Operation(secret=put.secret, kind=Kind.EXPIRE, began=earliest, ended=latest, outcome=Outcome.DONE)


def mark(value: str) -> str:
    """Return a few digits that stand for a value."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


class Client:
    """One connection that does one thing after the other, until it breaks."""

    def __init__(self, address: str, seen: Seen, name: str) -> None:
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
        self._seen = seen
        self._chance = random.Random(name)
        self._name = name
        self._count = 0

    def load(self) -> None:
        """Do things at random until the daemon is gone."""
        kinds = {self._put: 30, self._read: 45, self._amend: 9, self._delete: 4, self._prune: 1, self._list: 2}
        with contextlib.closing(self._connection), contextlib.suppress(*_BROKEN):
            while self._seen.lost:
                self._ask_again(self._seen.lost.pop())
            for _ in range(_MOST_STEPS):
                self._chance.choices(list(kinds), list(kinds.values()))[0]()

    def exhaust(self, secrets: list[Secret]) -> None:
        """Read secrets until they give nothing more."""
        with contextlib.closing(self._connection):
            for secret in secrets:
                if all(self._read_one(secret) == Outcome.DONE for _ in range(_MOST_READS)):
                    self._seen.faults.append(f"{secret.name} has no end")

    def _put(self) -> None:
        chance = self._chance
        self._count += 1
        key = f"{self._name}-{self._count}"
        value, ttl = self._value(), chance.choice((None, None, None, 1, 2, 60))
        reads, burns = chance.choice((1, 1, 2, 3)), chance.random() < 0.7
        body: dict[str, Any] = {"value": value, "max_reads": reads, "delete": burns, "ttl_seconds": ttl}
        secret, path = None, "/secrets"
        if chance.random() < 0.3:
            path = "/orgs/acme/secrets"
            body["key"] = key
            secret = Secret(f"acme/{key}", f"{path}/{key}", burns)
        put = Operation(
            secret=NAMELESS + key if secret is None else secret.name,
            kind=Kind.PUT,
            began=time.monotonic(),
            value=mark(value),
            max_reads=reads,
            burns=burns,
        )
        try:
            status, answer = self._ask("POST", path, body)
        except _BROKEN:
            self._seen.learn(put, secret, ttl)
            raise
        put = self._answered(put, status, {201: Outcome.DONE})
        if secret is None and put.outcome == Outcome.DONE:
            secret = Secret(answer["id"], f"/secrets/{answer['id']}", burns)
            put = dataclasses.replace(put, secret=secret.name)
        self._seen.learn(put, secret, ttl)

    def _read(self) -> None:
        if secret := self._one_of(self._seen.secrets):
            attempt = base64.urlsafe_b64encode(self._chance.randbytes(32)).decode().rstrip("=")
            self._read_one(secret, attempt if self._chance.random() < 0.6 else None)

    def _ask_again(self, lost: Lost) -> None:
        """Send a read again whose answer never came: it is the same read, so the history has it once."""
        with contextlib.suppress(IndexError):
            self._seen.operations[lost.at] = dataclasses.replace(self._seen.operations[lost.at], ended=math.inf)
        try:
            status, answer, headers = self._exchange("GET", lost.secret.path, attempt=lost.attempt)
        except _BROKEN:
            self._seen.lost.append(lost)
            raise
        outcome = _OF_READS.get(status, Outcome.UNKNOWN)
        read = dataclasses.replace(self._seen.operations[lost.at], ended=time.monotonic(), outcome=outcome)
        if outcome == Outcome.DONE:
            read = dataclasses.replace(read, value=mark(answer["value"]))
            self._seen.repeats += headers.get("X-Sirr-Repeat") == "true"
        elif status == _OVER or self._seen.has_end(lost.secret) or lost.rotations < self._seen.rotations:
            # It may have been spent, and something else may have ended what it had left.
            read = dataclasses.replace(read, outcome=Outcome.UNKNOWN)
        elif status not in _OF_READS:
            self._seen.faults.append(f"a repeat of {lost.secret.name} was answered {status}")
        self._seen.operations[lost.at] = read

    def _read_one(self, secret: Secret, attempt: str | None = None) -> Outcome:
        outcome = self._do(Kind.READ, secret, "GET", meaning=_OF_READS, attempt=attempt)
        if attempt is not None and outcome == Outcome.DONE and self._chance.random() < 0.4:
            status, answer, _ = self._exchange("POST", f"{secret.path}/received", attempt=attempt)
            if (status, answer) != (200, {"received": True}):
                self._seen.faults.append(f"received was answered {status}")
        return outcome

    def _amend(self) -> None:
        amendable = [secret for secret in self._seen.secrets[-RECENT:] if not secret.burns]
        if secret := self._one_of(amendable):
            body: dict[str, Any] = {"max_reads": self._chance.choice((1, 2, 3))}
            if self._chance.random() < 0.5:
                self._count += 1
                body["value"] = self._value()
            self._do(Kind.AMEND, secret, "PATCH", body, meaning={200: Outcome.DONE, 404: Outcome.MISS})

    def _delete(self) -> None:
        if secret := self._one_of(self._seen.secrets):
            self._do(Kind.DELETE, secret, "DELETE", meaning={200: Outcome.DONE, 404: Outcome.MISS})

    def _prune(self) -> None:
        self._expect(200, "POST", "/prune")

    def _list(self) -> None:
        self._expect(200, "GET", "/secrets?limit=50")

    def _one_of(self, secrets: list[Secret]) -> Secret | None:
        """Choose a secret, mostly a recent one."""
        among = secrets if self._chance.random() < 0.1 else secrets[-RECENT:]
        return self._chance.choice(among) if among else None

    def _value(self) -> str:
        return f"{self._name}-{self._count} ".ljust(self._chance.choice(SIZES), "x")

    def _do(
        self,
        kind: Kind,
        secret: Secret,
        method: str,
        body: Any = None,
        *,
        meaning: dict[int, Outcome],
        attempt: str | None = None,
    ) -> Outcome:
        """Do something with a secret, and keep what came of it."""
        wanted = body or {}
        operation = Operation(
            secret=secret.name,
            kind=kind,
            began=time.monotonic(),
            value=mark(wanted["value"]) if "value" in wanted else None,
            max_reads=wanted.get("max_reads", 0),
        )
        try:
            status, answer, _ = self._exchange(method, secret.path, body, attempt=attempt)
            operation = self._answered(operation, status, meaning)
            if kind == Kind.READ and operation.outcome == Outcome.DONE:
                operation = dataclasses.replace(operation, value=mark(answer["value"]))
        finally:
            at = self._seen.keep(operation)
            if attempt is not None and operation.ended == math.inf:
                self._seen.lost.append(Lost(secret, attempt, at, self._seen.rotations))
        return operation.outcome

    def _answered(self, operation: Operation, status: int, meaning: dict[int, Outcome]) -> Operation:
        if status not in meaning:
            self._seen.faults.append(f"{operation.kind} of {operation.secret} was answered {status}")
        outcome = meaning.get(status, Outcome.UNKNOWN)
        return dataclasses.replace(operation, ended=time.monotonic(), outcome=outcome)

    def _expect(self, expected: int, method: str, path: str) -> None:
        status, _ = self._ask(method, path)
        if status != expected:
            self._seen.faults.append(f"{method} {path} was answered {status}")

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, answer, _ = self._exchange(method, path, body)
        return status, answer

    def _exchange(
        self, method: str, path: str, body: Any = None, *, attempt: str | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        headers = _HEADERS | ({} if attempt is None else {"X-Sirr-Attempt": attempt})
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
