"""I1 to I10 of docs/architecture.md, one by one; I6 is in test_no_leaks, I8 in store/test_remnants."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from sirrd.model import BareKey, Caller, Draft, Identity, Plaintext
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.store import SqliteStore
from tests.conftest import API_KEY, Daemon, SetClock, Start
from tests.scan import found_in


def database(daemon: Daemon) -> sqlite3.Connection:
    """Open the daemon's database beside it, as someone who has the file would."""
    return sqlite3.connect(daemon.settings.data_dir / "sirrd.db", isolation_level=None, timeout=5)


def actions(daemon: Daemon) -> list[str]:
    """Return what the audit trail says, in order."""
    connection = database(daemon)
    try:
        return [action for (action,) in connection.execute("SELECT action FROM audit ORDER BY seq")]
    finally:
        connection.close()


def execute(daemon: Daemon, sql: str, *arguments: Any) -> list[Any]:
    """Run a statement beside the daemon."""
    connection = database(daemon)
    try:
        return connection.execute(sql, arguments).fetchall()
    finally:
        connection.close()


# I1: at most max_reads.


@pytest.mark.parametrize("max_reads", [1, 2, 5])
@pytest.mark.parametrize("delete", [True, False])
async def test_i1_fifty_concurrent_readers_get_exactly_what_was_allowed(
    daemon: Daemon, max_reads: int, delete: bool
) -> None:
    """I1: of 50 readers at once exactly `max_reads` get the value; the others get one and the same refusal."""
    secret = await daemon.put("once", max_reads=max_reads, delete=delete)
    answers = await asyncio.gather(*(daemon.stranger.get(f"/secrets/{secret}") for _ in range(50)))
    granted = [answer for answer in answers if answer.status_code == 200]
    assert len(granted) == max_reads
    assert {answer.json()["value"] for answer in granted} == {"once"}
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {404 if delete else 410}
    assert len({answer.content for answer in refused}) == 1


async def test_i1_every_surface_spends_from_the_same_count(daemon: Daemon) -> None:
    """I1: JSON, percent-encoded path and page form draw on one count, whoever comes first."""
    secret = await daemon.put("thrice", max_reads=3)
    encoded = "".join(f"%{ord(digit):02x}" for digit in secret)
    paths = [f"/secrets/{secret}", f"/secrets/{encoded}"]
    calls = [daemon.stranger.get(path) for path in paths * 5] + [daemon.stranger.post(f"/s/{secret}") for _ in range(5)]
    answers = await asyncio.gather(*calls)
    assert sum("thrice" in answer.text for answer in answers) == 3
    assert sorted({answer.status_code for answer in answers}) == [200, 404]


async def test_i1_an_org_secret_has_one_count_for_both_its_names(daemon: Daemon) -> None:
    """I1: the org route and the bare key spend the same reads."""
    path = await daemon.put_in("acme", "KEY", max_reads=4)
    answers = await asyncio.gather(*(daemon.client.get(each) for each in [path, "/secrets/KEY"] * 10))
    assert sum(answer.status_code == 200 for answer in answers) == 4


@pytest.mark.parametrize("rival", ["DELETE", "PATCH", "prune", "expiry"])
async def test_i1_a_race_never_grants_more_than_was_allowed(daemon: Daemon, rival: str) -> None:
    """I1: readers that race with a delete, an amendment, a prune or the last second get what was allowed, or less."""
    for _ in range(20):
        secret = await daemon.put("raced", max_reads=2, ttl_seconds=5, delete=rival != "PATCH")
        path = f"/secrets/{secret}"
        readers = [asyncio.ensure_future(daemon.stranger.get(path)) for _ in range(6)]
        await asyncio.sleep(0)
        allowed = 2
        if rival == "DELETE":
            readers.append(asyncio.ensure_future(daemon.client.delete(path)))
        elif rival == "PATCH":
            allowed += 2
            readers.append(asyncio.ensure_future(daemon.client.patch(path, json={"max_reads": 2})))
        elif rival == "prune":
            readers.append(asyncio.ensure_future(daemon.client.post("/prune")))
        else:
            daemon.clock.at += 5
        readers += [asyncio.ensure_future(daemon.stranger.get(path)) for _ in range(6)]
        answers = await asyncio.gather(*readers)
        assert sum("raced" in answer.text for answer in answers) <= allowed
        assert {answer.status_code for answer in answers} <= {200, 404, 410}


async def test_i1_an_amendment_never_revives_what_burned(daemon: Daemon) -> None:
    """I1: PATCH of a burned secret is the uniform miss, and so is every read after it."""
    secret = await daemon.put("burned")
    await daemon.stranger.get(f"/secrets/{secret}")
    assert (await daemon.client.patch(f"/secrets/{secret}", json={"max_reads": 5})).status_code == 404
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 404


async def test_i1_a_restart_gives_nothing_back(start: Start) -> None:
    """I1: reads that were spent before a restart are spent after it."""
    async with start() as first:
        secret = await first.put("twice", max_reads=2)
        assert (await first.stranger.get(f"/secrets/{secret}")).status_code == 200
    async with start() as second:
        assert (await second.stranger.get(f"/secrets/{secret}")).json()["value"] == "twice"
        assert (await second.stranger.get(f"/secrets/{secret}")).status_code == 404


# I2 and I3: durable first.


async def test_i2_what_was_answered_is_committed(daemon: Daemon) -> None:
    """I2: at the moment of its answer a write is there for whoever opens the file; test_daemon pulls the plug."""
    await daemon.put("kept")
    assert execute(daemon, "SELECT count(*) FROM secret") == [(1,)]
    assert execute(daemon, "PRAGMA journal_mode") == [("wal",)]
    (synchronous,) = daemon_pragma(daemon, "synchronous")
    assert synchronous == 2


def daemon_pragma(daemon: Daemon, name: str) -> tuple[Any, ...]:
    """Read a pragma on the daemon's own writing connection."""
    found: tuple[Any, ...] = store_of(daemon)._upkeep._writing.execute(f"PRAGMA {name}").fetchone()
    return found


def store_of(daemon: Daemon) -> SqliteStore:
    """Return the daemon's store."""
    store = daemon.drop._store
    assert isinstance(store, SqliteStore)
    return store


async def test_i3_a_read_and_its_audit_row_are_durable_before_the_value_leaves(start: Start) -> None:
    """I3: when the first byte of an answer is handed over, the secret is gone from the file and the trail says so."""
    async with start() as daemon:
        secret = await daemon.put("first byte")
        seen: list[tuple[list[Any], str]] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append((execute(daemon, "SELECT count(*) FROM secret"), actions(daemon)[-1]))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        await daemon.served(get(f"/secrets/{secret}"), receive, send)
        assert seen == [([(0,)], "burned")]


def get(path: str) -> dict[str, Any]:
    """Return the ASGI scope of a plain GET."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 39999),
    }


@pytest.mark.parametrize("statement", ["COMMIT", "BEGIN"])
async def test_i3_no_commit_no_value(daemon: Daemon, statement: str) -> None:
    """I3: where the read cannot be made durable the answer is 503 without the value, and the read is still there."""
    secret = await daemon.put("not yet")
    writing = store_of(daemon)._upkeep._writing
    writing.set_authorizer(
        lambda action, name, *_: (
            sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION and name == statement else sqlite3.SQLITE_OK
        )
    )
    refused = await daemon.stranger.get(f"/secrets/{secret}")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "not yet" not in refused.text
    assert (await daemon.client.get("/ready")).json() == {"status": "unavailable", "reason": "storage"}
    writing.set_authorizer(None)
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "not yet"


async def test_i3_no_audit_row_no_value(daemon: Daemon) -> None:
    """I3: where the audit row cannot be written the value stays and the read is not spent."""
    secret = await daemon.put("unaudited")
    execute(daemon, "ALTER TABLE audit RENAME TO lost")
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 503
    execute(daemon, "ALTER TABLE lost RENAME TO audit")
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "unaudited"


# I4: what does not open is not spent.

DAMAGES = {
    "a count that cannot be": "UPDATE secret SET read_count = max_reads WHERE seq = 1",
    "a flipped bit": "UPDATE secret SET sealed = CAST(x'02' || substr(sealed, 2) AS BLOB) WHERE seq = 1",
    "a changed tail": "UPDATE secret SET sealed = CAST(substr(sealed, 1, 40) || x'0000' AS BLOB) WHERE seq = 1",
    "a truncated value": "UPDATE secret SET sealed = substr(sealed, 1, 20) WHERE seq = 1",
    "a longer life": "UPDATE secret SET expires_at = expires_at + 86400 WHERE seq = 1",
    "an endless life": "UPDATE secret SET expires_at = NULL WHERE seq = 1",
    "more reads": "UPDATE secret SET max_reads = 100 WHERE seq = 1",
    "unlimited reads": "UPDATE secret SET max_reads = NULL WHERE seq = 1",
    "sealing for burning": 'UPDATE secret SET "delete" = 0 WHERE seq = 1',
    "another record's value": "UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE seq = 2) WHERE seq = 1",
    "another record's slot": "UPDATE secret SET slot = (SELECT slot FROM secret WHERE seq = 2) WHERE seq = 1",
    "an erased salt": "UPDATE slot SET salt = zeroblob(32) WHERE id = (SELECT slot FROM secret WHERE seq = 1)",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("max_reads", [1, 3])
async def test_i4_a_record_that_does_not_open_is_not_spent(
    daemon: Daemon, damage: str, max_reads: int, caplog: pytest.LogCaptureFixture
) -> None:
    """I4: a damaged, exchanged or prolonged record is 500 `unreadable`, keeps its reads, and is loud in the log."""
    secret = await daemon.put("intact", max_reads=max_reads, ttl_seconds=60)
    await daemon.put("other", ttl_seconds=60)
    execute(daemon, DAMAGES[damage])
    before = execute(daemon, "SELECT read_count, lookup FROM secret WHERE seq = 1")
    for _ in range(2):
        answer = await daemon.stranger.get(f"/secrets/{secret}")
        assert answer.status_code == 500
        assert answer.json()["code"] == "unreadable"
    assert execute(daemon, "SELECT read_count, lookup FROM secret WHERE seq = 1") == before
    (fingerprint,) = {re.findall(r"UNREADABLE: the record of ([0-9a-f]{16})", text)[0] for text in caplog.messages}
    assert len(caplog.messages) == 2
    daemon.clock.at += 120
    await daemon.drop.flush()
    rows = execute(daemon, "SELECT lower(hex(fingerprint)), count FROM audit WHERE action = 'unreadable'")
    assert rows == [(fingerprint, 2)]


async def test_i4_a_record_under_another_id_does_not_open(daemon: Daemon) -> None:
    """I4: a row that was moved to the place of another id is unreadable there, and not spent."""
    await daemon.put("moved")
    victim = await daemon.put("victim")
    execute(daemon, "UPDATE secret SET lookup = x'00' WHERE seq = 2")
    lookup = store_of(daemon)._keyring.lookup(Identity(victim))
    execute(daemon, "UPDATE secret SET lookup = ? WHERE seq = 1", lookup)
    assert (await daemon.stranger.get(f"/secrets/{victim}")).json()["code"] == "unreadable"
    assert execute(daemon, "SELECT count(*) FROM secret") == [(2,)]


@pytest.mark.parametrize("damage", ["a longer life", "more reads", "another record's slot"])
async def test_i4_metadata_of_a_changed_record_is_not_believed(daemon: Daemon, damage: str) -> None:
    """I4: HEAD and the page of a record with other terms than it was sealed with are 500; lists leave it out."""
    secret = await daemon.put("intact", max_reads=3, ttl_seconds=60)
    other = await daemon.put("other", ttl_seconds=60)
    execute(daemon, DAMAGES[damage])
    assert (await daemon.stranger.head(f"/secrets/{secret}")).status_code == 500
    assert (await daemon.stranger.get(f"/s/{secret}")).status_code == 500
    listed = (await daemon.client.get("/secrets")).json()["secrets"]
    assert [each["key"] for each in listed] == [other]


@pytest.mark.parametrize("column", ["bare", "org"])
async def test_i4_a_name_that_points_to_another_record_is_not_believed(daemon: Daemon, column: str) -> None:
    """I4: where the index of bare keys or of orgs was changed to point elsewhere, nothing is revealed or spent."""
    await daemon.put_in("acme", "A", "value of A")
    await daemon.put_in("evil", "B", "value of B")
    drop = await daemon.put("a dead drop")
    execute(daemon, f"UPDATE secret SET {column} = (SELECT {column} FROM secret WHERE seq = 1) WHERE seq IN (2, 3)")
    if column == "bare":
        execute(daemon, "UPDATE secret SET bare = NULL WHERE seq = 1")
        for seq in (2, 3):
            execute(daemon, "UPDATE secret SET expires_at = NULL, bare = NULL WHERE seq IN (2, 3)")
            bare = store_of(daemon)._keyring.bare_lookup(BareKey("A"))
            execute(daemon, f"UPDATE secret SET bare = ? WHERE seq = {seq}", bare)
            for method in ("GET", "HEAD", "DELETE"):
                answer = await daemon.client.request(method, "/secrets/A")
                assert answer.status_code == 500, (seq, method)
    else:
        listed = (await daemon.client.get("/orgs/acme/secrets")).json()["secrets"]
        assert [each["key"] for each in listed] == ["A"]
    assert execute(daemon, "SELECT sum(read_count), count(*) FROM secret") == [(0, 3)]
    assert (await daemon.stranger.get(f"/secrets/{drop}")).json()["value"] == "a dead drop"


@pytest.mark.parametrize("max_reads", [1, 2])
async def test_long_values_are_read_off_the_event_loop(daemon: Daemon, max_reads: int) -> None:
    """A value over 64 KiB is claimed, amended and deleted on the writer's thread, with the same outcome."""
    threads: list[str] = []
    opened = store_of(daemon)._keyring.open_value

    def watched(record: Any) -> Plaintext:
        threads.append(threading.current_thread().name)
        return opened(record)

    store_of(daemon)._keyring.open_value = watched  # type: ignore[method-assign]
    for size, thread in ((1000, "MainThread"), (100_000, "sirrd-writer")):
        threads.clear()
        secret = await daemon.put("x" * size, max_reads=max_reads, delete=False)
        path = f"/secrets/{secret}"
        answers = await asyncio.gather(*(daemon.stranger.get(path) for _ in range(4)))
        assert [answer.status_code for answer in answers].count(200) == max_reads
        assert [answer.status_code for answer in answers].count(410) == 4 - max_reads
        assert (await daemon.client.patch(path, json={"max_reads": 1})).status_code == 200
        assert set(threads) == {thread}
        assert (await daemon.stranger.get(path)).json()["value"] == "x" * size
        assert (await daemon.client.delete(path)).status_code == 200
        assert (await daemon.client.delete(path)).status_code == 404


# I5: only a claim spends.


async def test_i5_nothing_but_a_read_spends(daemon: Daemon) -> None:
    """I5: after every kind of request that is no read, a secret with one read still has it."""
    secret = await daemon.put("untouched")
    path, page = f"/secrets/{secret}", f"/s/{secret}"
    calls: list[tuple[str, str, dict[str, str]]] = [
        *((method, path, {}) for method in ("HEAD", "OPTIONS", "POST", "PUT", "TRACE", "READ")),
        *((method, page, {}) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")),
        ("GET", path + "/", {}),
        ("GET", path.upper().replace("/SECRETS", "/secrets"), {}),
        ("GET", path, {"Sec-Purpose": "prefetch"}),
        ("GET", path, {"Purpose": "prefetch"}),
        ("GET", path, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("HEAD", path, {"X-HTTP-Method-Override": "GET"}),
        ("POST", page, {"Sec-Fetch-Site": "cross-site"}),
        ("POST", page, {"Origin": "https://evil.example"}),
        ("PATCH", path, {"Authorization": "Bearer wrong"}),
        ("DELETE", path, {}),
        ("OPTIONS", path, {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}),
    ]
    for method, target, headers in calls:
        answer = await daemon.stranger.request(method, target, headers=headers)
        assert "untouched" not in answer.text, (method, target)
    await daemon.client.get("/secrets")
    await daemon.client.post("/prune")
    assert (await daemon.stranger.head(path)).headers["x-sirr-read-count"] == "0"
    assert (await daemon.stranger.get(path)).json()["value"] == "untouched"


# I7: the files alone reveal nothing.


async def test_i7_the_files_reveal_no_value_no_id_and_no_name(start: Start) -> None:
    """I7: after every kind of request, neither a value nor an id nor a name nor an address is in any file."""
    value = "canary-value-0123456789"
    async with start(trusted_proxies="127.0.0.1") as daemon:
        burned, kept = await daemon.put(value), await daemon.put(value, max_reads=3, delete=False)
        path = await daemon.put_in("canary-organisation", "CANARY_KEY_NAME_0123", value, max_reads=None)
        for each in (f"/secrets/{burned}", f"/secrets/{kept}", path, "/secrets/CANARY_KEY_NAME_0123"):
            headers = {"X-Forwarded-For": "203.0.113.213"}
            assert (await daemon.client.get(each, headers=headers)).status_code == 200
        await daemon.client.patch(f"/secrets/{kept}", json={"value": value + "!"})
        await daemon.stranger.get("/secrets/" + "c" * 64)
        daemon.clock.at += 120
        await daemon.drop.flush()
        needles = [value.encode(), b"canary-organisation", b"CANARY_KEY_NAME_0123", API_KEY.encode()]
        needles += [b"203.0.113.213\0\0"[:15].ljust(15, b"\0")]
        for identity in (burned, kept, "c" * 64):
            needles += [identity.encode(), bytes.fromhex(identity)]
        folder = daemon.settings.data_dir
        assert found_in(folder, needles) == set()
        assert all(b"203.0.113" not in file.read_bytes() for file in folder.iterdir())
        assert (folder / "sirrd.db-wal").stat().st_size > 0
    assert found_in(folder, needles) == set()


# I9: expiry is part of the claim.


async def test_i9_expiry_needs_no_prune(daemon: Daemon) -> None:
    """I9: a second before its end a secret is read, at its very end it is gone, though its row still stands there."""
    secret = await daemon.put("mortal", ttl_seconds=10, max_reads=None)
    daemon.clock.at += 9
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 200
    daemon.clock.at += 1
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 404
    assert execute(daemon, "SELECT count(*) FROM secret") == [(1,)]


async def test_i9_every_statement_that_finds_a_secret_asks_for_its_life() -> None:
    """I9: no statement that reads or changes a secret by its place in an index leaves the expiry out."""
    for sql in (
        statements.CLAIM,
        statements.COUNT,
        statements.BURN,
        statements.FIND,
        statements.REMOVE,
        statements.BARE,
        statements.PEEK,
        statements.PAGE,
    ):
        assert "expires_at IS NULL OR expires_at > :now" in sql


# I10: memory and cost do not grow.


def plans(daemon: Daemon) -> Iterator[tuple[str, str]]:
    """Yield every statement over secrets with SQLite's plan for it."""
    arguments: dict[str, Any] = {"lookup": b"", "bare": b"", "org": b""}
    arguments |= dict.fromkeys(("now", "before", "limit", "longest", "seq", "most"), 1)
    found = [
        statements.CLAIM,
        statements.COUNT,
        statements.BURN,
        statements.FIND,
        statements.REMOVE,
        statements.REMOVE_EXPIRED,
        statements.BARE,
        statements.PEEK,
        statements.PAGE.format(of_org=""),
        statements.PAGE.format(of_org="AND org = :org"),
        statements.PRUNE.format(of_org=""),
        statements.PRUNE.format(of_org="AND +org = :org"),
    ]
    connection = database(daemon)
    for sql in found:
        for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments):
            yield sql, row[-1]
    connection.close()


async def test_i10_no_statement_scans_the_secrets(daemon: Daemon) -> None:
    """I10: SQLite reaches every secret by an index or its number: the cost grows logarithmically at most."""
    found = list(plans(daemon))
    assert len(found) >= 10
    assert [(sql, plan) for sql, plan in found if plan.startswith("SCAN") and plan.split()[1] == "secret"] == []
    # The batch of a prune, which is bounded, is sorted; nothing else is.
    assert not any("TEMP B-TREE" in plan for sql, plan in found if "WITH expired" not in sql)


async def test_i10_a_list_does_not_grow_in_memory(daemon: Daemon, clock: SetClock) -> None:
    """I10: streaming a list of 4 000 secrets holds a few pages of it at a time, not all of it."""
    draft, caller = Draft(Plaintext(b"listed")), Caller("open")
    await asyncio.gather(*(daemon.drop.drop(draft, by=caller) for _ in range(4000)))
    sizes: list[int] = []

    async def send(message: Any) -> None:
        sizes.append(len(message.get("body", b"")))

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    scope = get("/secrets") | {"headers": [(b"authorization", f"Bearer {API_KEY}".encode())]}
    tracemalloc.start()
    try:
        await daemon.served(scope, receive, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) > 800_000
    assert max(sizes) < 40_000
    assert peak < 400_000
