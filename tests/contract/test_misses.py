"""Gone is one answer: what was burned, deleted, pruned or expired cannot be told from what never was.

Not by a byte, over the wire; and not by what the daemon does: the same statements are run, in as many steps of SQLite's
machine, and the same is counted. How long misses take is measured by `benchmarks/misses.py`. The operator, who has the
trail, can tell.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from tests.conftest import API_KEY, Daemon, Launch, Start
from tests.contract.test_contract import beside
from tests.parts import ask, put, wait_until
from tests.server.test_daemon import said

KINDS: Final = ("never", "burned", "deleted", "sealed, then deleted", "expired", "pruned")


class Asked(NamedTuple):
    """A way to ask for a secret.

    Attributes:
        method: The method.
        form: The path, with `{}` for an id or a key.
        org: Whether a key stands there, of this org.
        protected: Whether it needs the bearer.
    """

    method: str
    form: str
    org: str | None = None
    protected: bool = False


WAYS: Final = {
    "read": Asked("GET", "/secrets/{}"),
    "peek": Asked("HEAD", "/secrets/{}"),
    "amend": Asked("PATCH", "/secrets/{}", protected=True),
    "delete": Asked("DELETE", "/secrets/{}", protected=True),
    "page": Asked("GET", "/s/{}"),
    "head of page": Asked("HEAD", "/s/{}"),
    "reveal": Asked("POST", "/s/{}"),
    "read by key": Asked("GET", "/secrets/{}", "acme"),
    "peek by key": Asked("HEAD", "/secrets/{}", "acme"),
    "amend by key": Asked("PATCH", "/secrets/{}", "acme", protected=True),
    "delete by key": Asked("DELETE", "/secrets/{}", "acme", protected=True),
    "read in org": Asked("GET", "/orgs/acme/secrets/{}", "acme", protected=True),
    "peek in org": Asked("HEAD", "/orgs/acme/secrets/{}", "acme", protected=True),
    "amend in org": Asked("PATCH", "/orgs/acme/secrets/{}", "acme", protected=True),
    "delete in org": Asked("DELETE", "/orgs/acme/secrets/{}", "acme", protected=True),
}


# Byte by byte, over the wire.


class Names(NamedTuple):
    """The names of misses, by their kind: ids, and keys."""

    ids: dict[str, str]
    keys: dict[str, str]


def gone(address: str) -> Names:
    """Bring about every kind of miss."""
    names = Names({"never": "0" * 64}, {"never": "never"})

    def store(kind: str, **terms: Any) -> None:
        names.ids[kind] = put(address, bearer=API_KEY, **terms).rpartition("/")[2]
        names.keys[kind] = re.sub(r"\W+", "-", kind)
        body = {"key": names.keys[kind], "value": "s3cret", **terms}
        assert ask(address, "POST", "/orgs/acme/secrets", body, bearer=API_KEY)[0] == 201

    def each(method: str, *kinds: str) -> None:
        for kind in kinds:
            for name in (names.ids[kind], names.keys[kind]):
                assert ask(address, method, f"/secrets/{name}", bearer=API_KEY)[0] == 200

    def is_over(kind: str) -> bool:
        return all(b" 404 " in answer(address, WAYS["peek"], name) for name in (names.ids[kind], names.keys[kind]))

    store("burned")
    store("deleted")
    store("sealed, then deleted", delete=False)
    store("pruned", ttl_seconds=1)
    each("GET", "burned", "sealed, then deleted")
    each("DELETE", "deleted", "sealed, then deleted")
    wait_until(lambda: is_over("pruned"))
    assert ask(address, "POST", "/prune", bearer=API_KEY)[1] == {"pruned": 2}
    store("expired", ttl_seconds=1)
    wait_until(lambda: is_over("expired"))
    return names


def answer(address: str, way: Asked, name: str) -> bytes:
    """Ask in plain bytes, and return all that came back but for what may differ."""
    bearer = f"Authorization: Bearer {API_KEY}\r\n" if way.protected else ""
    body = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" if way.method == "PATCH" else "\r\n"
    head = f"{way.method} {way.form.format(name)} HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n"
    return re.sub(rb"\r\n(date|x-request-id): [^\r]+", rb"\r\n\1", said(address, (head + body).encode()))


def test_every_miss_is_the_same_to_the_byte(launch: Launch) -> None:
    """Over the wire, in every way to ask: head and body of all misses are equal, in every byte and in their order."""
    changes = {"SIRR_MASTER_API_KEY": API_KEY, "SIRR_ORG_READS": "public", "SIRR_PRUNE_INTERVAL_SECONDS": "0"}
    with launch(**changes) as daemon:
        names = gone(daemon.address())
        for each, way in WAYS.items():
            known = names.ids if way.org is None else names.keys
            heard = {kind: answer(daemon.address(), way, known[kind]) for kind in KINDS}
            assert heard["never"].startswith(b"HTTP/1.1 404 Not Found\r\n"), each
            assert b"\r\ndate\r\n" in heard["never"]
            assert b"\r\nx-request-id\r\n" in heard["never"]
            assert heard == dict.fromkeys(KINDS, heard["never"]), each
        assert daemon.stop() == 0


# What the daemon does.


class Watch:
    """What SQLite is asked to do, on every connection of the daemon.

    Attributes:
        statements: In their order, without what they are about.
        steps: How many instructions SQLite's machine took.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.steps = 0

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Open a connection that is watched."""
        connection = _connect(*arguments, **options)
        connection.set_trace_callback(self._note)
        connection.set_progress_handler(self._count, 1)
        return connection

    def _note(self, statement: str) -> None:
        self.statements.append(
            re.sub(r"x'[0-9a-f]*'|\b[0-9]+\b", "?", " ".join(statement.split()), flags=re.IGNORECASE)
        )

    def _count(self) -> int:
        self.steps += 1
        return 0

    def begin(self) -> None:
        """Forget what was seen."""
        self.statements, self.steps = [], 0


_connect: Final[Callable[..., sqlite3.Connection]] = sqlite3.connect


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watches every connection that is opened from now on."""
    found = Watch()
    monkeypatch.setattr(sqlite3, "connect", found.connect)
    return found


async def missing(daemon: Daemon, kind: str, org: str | None) -> str:
    """Bring about one kind of miss, and return its name."""
    key = re.sub(r"\W+", "-", kind)
    if kind == "never":
        return "0" * 64 if org is None else key
    terms: dict[str, Any] = {"delete": False} if kind.startswith("sealed") else {}
    if kind in {"expired", "pruned"}:
        terms["ttl_seconds"] = 1
    path = f"/secrets/{await daemon.put(**terms)}" if org is None else await daemon.put_in(org, key, **terms)
    if kind == "burned" or kind.startswith("sealed"):
        assert (await daemon.client.get(path)).status_code == 200
    if kind.endswith("deleted"):
        assert (await daemon.client.delete(path)).status_code == 200
    if kind in {"expired", "pruned"}:
        daemon.clock.at += 1
    if kind == "pruned":
        assert (await daemon.client.post("/prune")).json()["pruned"] > 0
    return path.rpartition("/")[2]


class Done(NamedTuple):
    """What a miss made the daemon do.

    Attributes:
        statements: What SQLite was asked.
        steps: The instructions that took.
        audited: The audit rows, without time, secret and place in the chain.
        logged: The line in the log, without time, secret and request.
    """

    statements: list[str]
    steps: int
    audited: list[tuple[str, str, bool, int]]
    logged: tuple[str, ...]


async def done(daemon: Daemon, watch: Watch, way: Asked, name: str, capsys: pytest.CaptureFixture[str]) -> Done:
    """Ask for what is not there, and return what that made the daemon do."""
    with beside(daemon) as connection:
        (before,) = connection.execute("SELECT count(*) FROM audit").fetchone()
    capsys.readouterr()
    client = daemon.client if way.protected else daemon.stranger
    watch.begin()
    heard = await client.request(way.method, way.form.format(name), json={} if way.method == "PATCH" else None)
    assert heard.status_code == 404
    statements, steps = list(watch.statements), watch.steps
    await daemon.drop.flush(everything=True)
    with beside(daemon) as connection:
        rows = connection.execute(
            "SELECT action, caller, fingerprint IS NULL, count FROM audit ORDER BY rowid"
        ).fetchall()
    line = capsys.readouterr().err.splitlines()[-1]
    shown = tuple(re.findall(r'"(?:method|route|status|caller)":[^,]+|"fingerprint":.', line))
    return Done(statements, steps, rows[before:], shown)


FEW_STEPS: Final = 20


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_every_miss_is_the_same_work(
    watch: Watch, start: Start, way: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every way to ask, all misses run the same statements, and are counted and logged alike.

    What has left no row is looked for in the very same steps. What expired and was not pruned yet has a row, which is
    found and refused: that takes a few steps more.
    """
    async with start(org_reads="public") as daemon:
        # SQLite reads the schema but once.
        await done(daemon, watch, way, await missing(daemon, "never", way.org), capsys)
        seen = {kind: await done(daemon, watch, way, await missing(daemon, kind, way.org), capsys) for kind in KINDS}
    first = seen["never"]
    assert first.statements
    assert len(first.audited) == 1
    assert len(first.logged) == 5
    for kind, each in seen.items():
        assert each._replace(steps=0) == first._replace(steps=0), kind
        assert each.steps - first.steps in range(FEW_STEPS if kind == "expired" else 1), kind


@pytest.mark.parametrize(
    ("kind", "story"),
    [
        ("never", []),
        ("burned", ["created", "burned"]),
        ("deleted", ["created", "deleted"]),
        ("sealed, then deleted", ["created", "sealed", "deleted"]),
        ("expired", ["created"]),
        ("pruned", ["created", "expired"]),
    ],
)
async def test_the_operator_can_tell_why(daemon: Daemon, kind: str, story: list[str]) -> None:
    """The trail has a miss beside what became of the secret, under one fingerprint."""
    assert (await daemon.stranger.get(f"/secrets/{await missing(daemon, kind, None)}")).status_code == 404
    await daemon.drop.flush(everything=True)
    with beside(daemon) as connection:
        of_miss = "SELECT fingerprint FROM audit WHERE action = 'missed'"
        rows = connection.execute(
            f"SELECT action FROM audit WHERE fingerprint IN ({of_miss}) ORDER BY rowid"
        ).fetchall()
    assert [action for (action,) in rows] == [*story, "missed"]
