"""Renewing the inner keys: after a key was stolen, what comes after is found, called and sealed by other keys.

Everything goes on meanwhile, and whatever ends it in between, the next attempt goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sirrd.errors import AmbiguousKey, AttemptOver, Gone, KeyExists, NoNewerKey, SecretError, Unavailable, WrongKey
from sirrd.keyring.chain import AuditRow, joined
from sirrd.keyring.forms import generation_of, pack
from sirrd.keyring.inner import InnerKeys
from sirrd.keyring.masters import MasterKey
from sirrd.keyring.ring import Keyring
from sirrd.model import UNSET, Amendment, Attempt, BareKey, Caller, Identity, Plaintext, Terms
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.inner import read_keys
from sirrd.store.sqlite.needs import needs_of
from sirrd.store.sqlite.rotation import SqliteRotation
from sirrd.store.sqlite.store import SqliteStore
from sirrd.store.sqlite.verify import verify_burn
from tests.cli.test_rotation_keys import BEARER, keys_in, records_are_under
from tests.conftest import API_KEY, MASTER_KEY, Launch, Opener, SetClock, Start, masters
from tests.crash.files import chain_faults, file_faults
from tests.crash.steps import MOMENTS, OF_PLAIN_ROTATIONS, STATEMENTS
from tests.parts import ROOT, ask, put, settings_of, sirrd
from tests.store.test_rotation import CALLER, NEWER_KEY, identity, key_ids

KEYS = ("DB", "API", "MAIL", "SMTP")
SEALING = Identity.in_org("acme", "SEALING")
BOTH = (NEWER_KEY, MASTER_KEY)


def terms(reads: int | None = 1, *, delete: bool = True, ttl: int | None = None) -> Callable[[int], Terms]:
    return lambda now: Terms(now, None if ttl is None else now + ttl, reads, delete=delete)


async def fill(store: SqliteStore) -> None:
    """Store dead drops, the same keys in two orgs, one key in one org alone, and one that seals."""
    for n in range(20):
        await store.put(identity(n), Plaintext.of(f"drop {n}"), terms(), by=CALLER)
    for org in ("acme", "umbrella"):
        for key in KEYS:
            await store.put(Identity.in_org(org, key), Plaintext.of(f"{org} {key}"), terms(3), by=CALLER)
    await store.put(Identity.in_org("acme", "ONLY"), Plaintext.of("only"), terms(3), by=CALLER)
    await store.put(SEALING, Plaintext.of("sealing"), terms(2, delete=False), by=CALLER)


@pytest.fixture
async def old(tmp_path: Path, opened: Opener) -> Path:
    """A folder with secrets, and a copy of its database that a thief has."""
    store = await opened(tmp_path)
    await fill(store)
    await store.close()
    shutil.copy(tmp_path / "sirrd.db", tmp_path / "stolen.db")
    return tmp_path


@pytest.fixture
async def renewing(old: Path, opened: Opener) -> SqliteStore:
    """A store whose inner keys are new, and whose secrets still stand under the older ones."""
    store = await opened(old)
    await store.rotation.adopt(masters(*BOTH))
    assert await store.rotation.renew(by=CALLER)
    return store


async def move(store: SqliteStore, *, batches: int = 1000, size: int = 1024 * 1024) -> None:
    """Move so many batches of secrets."""
    with mock.patch.object(statements, "ROTATION_BATCH_BYTES", size):
        after: int | None = 0
        while after is not None and batches:
            after, batches = await store.rotation.move(after=after, by=CALLER), batches - 1


async def finish(store: SqliteStore) -> None:
    """Move everything, and let go of the older keys."""
    await move(store)
    assert await store.rotation.remaining() == 0
    await store.rotation.forget_older_keys()
    assert not await store.rotation.has_older_keys()


def rows(folder: Path, sql: str, *arguments: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'sirrd.db'}?mode=ro", uri=True)) as reader:
        return reader.execute(sql, arguments).fetchall()


def generations(folder: Path) -> set[int]:
    """Return the generations of inner keys that secrets are found by."""
    return {generation_of(label) for (label,) in rows(folder, "SELECT label FROM secret")}


def inner_of(path: Path, *keys: str) -> InnerKeys:
    """Return the inner keys of a database."""
    with contextlib.closing(sqlite3.connect(path)) as reader:
        return masters(*keys).open_inner(reader.execute("SELECT sealed FROM inner_keys").fetchone()[0])


# What it is for.


async def test_a_thief_with_the_older_key_opens_nothing_of_what_comes_after(renewing: SqliteStore, old: Path) -> None:
    """With the older key, a copy of before and today's database: no value, no name, no place, no audit detail."""
    await finish(renewing)
    secret = Identity.in_org("hidden", "NAME_OF_AFTER")
    await renewing.put(secret, Plaintext.of("after"), terms(), by=CALLER)
    await renewing.close()
    thief = masters(MASTER_KEY)
    stolen = Keyring(thief, inner_of(old / "stolen.db", MASTER_KEY))
    with pytest.raises(WrongKey):
        inner_of(old / "sirrd.db", MASTER_KEY)
    places = {place for row in rows(old, "SELECT lookup, bare, org FROM secret") for place in row if place}
    every = [secret, *(identity(n) for n in range(20)), *(Identity.in_org("acme", key) for key in KEYS)]
    known = {stolen.lookup(each) for each in every} | {stolen.org_lookup(org) for org in ("hidden", "acme")}
    known |= {stolen.bare_lookup(BareKey(key)) for key in (*KEYS, "NAME_OF_AFTER")}
    assert not places & known
    assert key_ids(old) == {MasterKey.of(bytes.fromhex(NEWER_KEY)).id}
    (chain,) = rows(old, "SELECT id, salt, generation FROM audit_chain WHERE generation = 1")
    theirs = stolen.resume_audit_chain(chain[1])
    sql = "SELECT number, at, action, caller, fingerprint, count, detail, mac FROM audit WHERE chain = ?"
    later = [AuditRow(*row) for row in rows(old, sql, chain[0])]
    assert "created" in {row.action for row in later}
    for row in later:
        with pytest.raises(SecretError):
            theirs.open_detail(row)
    prints = {row.fingerprint.hex() for row in later if row.fingerprint}
    assert not prints & {stolen.fingerprint(stolen.lookup(each)) for each in every}


async def test_salts_are_new_so_that_remnants_of_before_stay_closed(renewing: SqliteStore, old: Path) -> None:
    """What SQLite may have left of a record under the older key has no salt any more."""
    with contextlib.closing(sqlite3.connect(old / "stolen.db")) as stolen:
        before = {salt for (salt,) in stolen.execute("SELECT salt FROM slot WHERE free = 0")}
    await finish(renewing)
    await renewing.tidy()
    after = {salt for (salt,) in rows(old, "SELECT salt FROM slot WHERE free = 0")}
    assert len(after) == len(before)
    assert not after & before
    await renewing.close()
    content = (old / "sirrd.db").read_bytes()
    assert not any(salt in content for salt in before)


async def test_the_chain_of_before_ends_and_the_next_one_names_it(renewing: SqliteStore, old: Path) -> None:
    """The new chain is bound to the heads of all chains before it, so none of those can be made anew."""
    await finish(renewing)
    await renewing.close()
    heads = [head for (head,) in rows(old, "SELECT head FROM audit_chain WHERE generation = 0 ORDER BY id")]
    (salt, previous, first) = rows(
        old, "SELECT salt, previous, action FROM audit_chain JOIN audit ON chain = audit_chain.id WHERE generation = 1"
    )[0]
    assert previous == heads[-1] + hashlib.sha256(pack(*heads)).digest() == joined(heads)
    assert first == "renewed"
    with contextlib.closing(sqlite3.connect(old / "sirrd.db")) as database:
        keyring = read_keys(database, masters(NEWER_KEY))
        assert not list(chain_faults(database, keyring))
        forged = keyring.resume_audit_chain(salt, generation=1, previous=bytes(64)).start
        assert forged != keyring.resume_audit_chain(salt, generation=1, previous=previous).start
        database.execute("UPDATE audit SET caller = 'open' WHERE seq = 1")
        assert list(chain_faults(database, keyring))


async def test_forged_chains_of_before_are_found_out(renewing: SqliteStore, old: Path) -> None:
    """Whoever has the older audit key can make an older chain that verifies in itself, and not one that was named."""
    await finish(renewing)
    await renewing.close()
    stolen = Keyring(masters(MASTER_KEY), inner_of(old / "stolen.db", MASTER_KEY))
    with contextlib.closing(sqlite3.connect(old / "sirrd.db")) as database:
        (number, salt) = database.execute("SELECT id, salt FROM audit_chain ORDER BY id").fetchone()
        forged = stolen.resume_audit_chain(salt)
        database.execute("DELETE FROM audit WHERE chain = ?", (number,))
        database.execute("UPDATE audit_chain SET head = ?, length = 0 WHERE id = ?", (forged.start, number))
        keyring = read_keys(database, masters(NEWER_KEY))
        assert "the chains before audit chain" in " ".join(chain_faults(database, keyring))


async def test_older_keys_never_pass_for_those_of_now(renewing: SqliteStore, old: Path) -> None:
    """Who can write to the database cannot bring the older inner keys back by putting their row in the place."""
    await finish(renewing)
    await renewing.close()
    ((older, number),) = rows(old, "SELECT sealed, generation FROM older_inner_keys")
    owners = masters(NEWER_KEY)
    assert owners.open_older(number, older) == inner_of(old / "stolen.db", MASTER_KEY)
    with pytest.raises(WrongKey):
        owners.open_inner(older)
    with pytest.raises(WrongKey):
        owners.open_older(number + 1, older)


async def test_a_key_is_still_found_in_older_rows_of_the_trail(renewing: SqliteStore, old: Path) -> None:
    """From a name follow the fingerprints of before and of now."""
    await finish(renewing)
    await renewing.claim(SEALING, by=CALLER)
    now, before = renewing._keyring.fingerprints(SEALING)
    sql = "SELECT action FROM audit WHERE fingerprint = ?"
    assert rows(old, sql, bytes.fromhex(before)) == [("created",)]
    assert rows(old, sql, bytes.fromhex(now)) == [("read",)]
    assert renewing.fingerprint(SEALING) == now


def test_the_vector_opens_without_sirrd() -> None:
    """docs/formats.md is enough to open older inner keys, and to verify how a chain of a new generation begins."""
    (file,) = sorted((ROOT / "tests" / "vectors" / "renewal-v1").glob("*.json"))
    vector = json.loads(file.read_text(encoding="utf-8"))
    text = {"org", "key"}
    case = {name: bytes.fromhex(each) for name, each in vector.items() if isinstance(each, str) and name not in text}

    def derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt, b"sirrd/1/" + purpose).derive(secret)

    purpose = b"older inner keys" + struct.pack(">q", vector["generation"])
    sealed = case["sealed_older_inner_keys"]
    plain = AESGCM(derived(case["master_key"], b"", purpose)).decrypt(sealed[9:21], sealed[21:], sealed[:21])
    older = {name: bytes.fromhex(key) for name, key in vector["older_inner_keys"].items()}
    assert plain == b"".join(
        struct.pack(">I", 32) + older[name] for name in ("index", "fingerprint", "audit", "signing")
    )
    heads = [bytes.fromhex(head) for head in vector["heads"]]
    packed = b"".join(struct.pack(">I", 32) + head for head in heads)
    assert case["previous"] == heads[-1] + hashlib.sha256(packed).digest() == joined(heads)
    chain_key = derived(case["audit_key"], case["chain_salt"], b"audit chain")
    assert hmac.digest(chain_key, b"start" + case["previous"], "sha256") == case["start"]
    label, terms = case["label"], vector["terms"]
    assert label[:1] == b"\x02"
    assert label[9:13] == struct.pack(">I", vector["generation"] + 1)
    bound = b"\x01" + label[1:9] + case["lookup"]
    bound += struct.pack(">qqq?", terms["created_at"], -1, terms["max_reads"], terms["delete"])
    keys = HKDF(SHA256(), 64, case["salt"], b"sirrd/1/record").derive(case["master_key"])
    opened_ = AESGCM(keys[32:]).decrypt(label[13:25], label[25:], b"label\x02" + label[9:13] + bound)
    assert opened_ == pack(vector["org"].encode(), vector["key"].encode())
    owners = masters(vector["master_key"])
    assert owners.open_older(vector["generation"], sealed) == InnerKeys(**older)


async def test_the_program_on_the_formats_page_follows_a_renewal(renewing: SqliteStore, old: Path) -> None:
    """An independent program reads secrets of both generations while they move, and verifies every chain."""
    await move(renewing, batches=10, size=1)
    await renewing.close()
    text = (ROOT / "docs" / "formats.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(program, names)  # the page's own program, which is what this test is about
    secrets, trail = names["read"](old / "sirrd.db", "\n".join(BOTH))
    assert len(secrets) == 30
    assert {action for _, action, *_ in trail} == {"created", "renewed", "rotated"}


# Meanwhile.


@pytest.mark.parametrize("moved", [0, 5, 1000])
async def test_everything_goes_on_wherever_a_secret_stands(
    renewing: SqliteStore, old: Path, moved: int, opened: Opener
) -> None:
    """Before, among and after the moves: reads, looks, lists, bare keys, amendments, deletions are what they were."""
    await move(renewing, batches=moved, size=1)
    left = await renewing.rotation.remaining()
    assert left == max(0, 30 - moved)
    for n in range(20):
        metadata = await renewing.peek(identity(n))
        assert metadata.fingerprint == renewing.fingerprint(identity(n))
        opened_ = await renewing.claim(identity(n), by=CALLER)
        assert (opened_.plaintext.text(), opened_.fingerprint) == (f"drop {n}", metadata.fingerprint)
        with pytest.raises(Gone):
            await renewing.claim(identity(n), by=CALLER)
        with pytest.raises(Gone):
            await renewing.peek(identity(n))
    for org in ("acme", "umbrella"):
        page = await renewing.page(org=org, before=None, limit=3)
        names = [(each.name, each.org) for each in page.metadata]
        while page.before is not None:
            page = await renewing.page(org=org, before=page.before, limit=3)
            names += [(each.name, each.org) for each in page.metadata]
        expected = [(key, org) for key in reversed(KEYS)]
        assert names == ([("SEALING", org), ("ONLY", org), *expected] if org == "acme" else expected)
    listed = (await renewing.page(org=None, before=None, limit=100)).metadata
    assert len(listed) == 10
    assert {each.fingerprint for each in listed} == {
        renewing.fingerprint(Identity(each.name, each.org)) for each in listed
    }
    with pytest.raises(AmbiguousKey):
        await renewing.claim(BareKey("DB"), by=CALLER)
    with pytest.raises(AmbiguousKey):
        await renewing.peek(BareKey("DB"))
    assert (await renewing.peek(BareKey("ONLY"))).name == "ONLY"
    found = await renewing.claim(BareKey("ONLY"), by=CALLER)
    assert (found.plaintext.text(), found.fingerprint) == ("only", renewing.fingerprint(Identity("ONLY", "acme")))
    with pytest.raises(KeyExists):
        await renewing.put(Identity.in_org("acme", "DB"), Plaintext.of("twice"), terms(), by=CALLER)
    await renewing.remove(Identity.in_org("umbrella", "DB"), by=CALLER)
    assert (await renewing.claim(BareKey("DB"), by=CALLER)).plaintext.text() == "acme DB"
    await renewing.put(Identity.in_org("umbrella", "DB"), Plaintext.of("new"), terms(), by=CALLER)
    assert (await renewing.claim(Identity.in_org("umbrella", "DB"), by=CALLER)).plaintext.text() == "new"
    amendment = Amendment(Plaintext.of("amended"), UNSET, UNSET)
    changed = await renewing.amend(SEALING, amendment, lambda old_terms, _: old_terms, by=CALLER)
    assert changed.fingerprint == renewing.fingerprint(SEALING)
    assert (await renewing.claim(SEALING, by=CALLER)).plaintext.text() == "amended"
    await finish(renewing)
    assert (await renewing.claim(SEALING, by=CALLER)).plaintext.text() == "amended"
    await renewing.close()
    with contextlib.closing(sqlite3.connect(old / "sirrd.db")) as database:
        keyring = read_keys(database, masters(NEWER_KEY))
        assert not [*file_faults(database), *chain_faults(database, keyring)]
    again = await opened(old, masters=masters(NEWER_KEY))
    assert not again._keyring.moving
    assert (await again.peek(BareKey("ONLY"))).read_count == 1


async def test_what_expired_makes_way_wherever_it_stands(renewing: SqliteStore, clock: Any, old: Path) -> None:
    """An expired secret under the older keys is pruned, of its org alone, too, and a new one takes its key."""
    await move(renewing, batches=0)
    for org in ("acme", "umbrella"):
        await renewing.put(Identity.in_org(org, "SHORT"), Plaintext.of("x"), terms(ttl=5), by=CALLER)
    renewing._upkeep._writing.execute(
        "UPDATE secret SET expires_at = ? WHERE substr(label, 1, 1) = x'01'", (clock.at + 5,)
    )
    clock.at += 10
    await renewing.put(Identity.in_org("acme", "DB"), Plaintext.of("new"), terms(), by=CALLER)
    assert (await renewing.claim(Identity.in_org("acme", "DB"), by=CALLER)).plaintext.text() == "new"
    assert await renewing.prune(org="umbrella", by=CALLER, gently=False) == 5
    assert await renewing.prune(org="acme", by=CALLER, gently=False) == 6
    assert await renewing.prune(org=None, by=CALLER, gently=False) == 20
    assert rows(old, "SELECT count(*) FROM secret") == [(0,)]


async def test_a_put_that_waited_while_the_keys_were_renewed_is_found(old: Path, opened: Opener) -> None:
    """Writes that were asked for before a renewal and done after it stand under the keys of after."""
    store = await opened(old)
    await store.rotation.adopt(masters(*BOTH))
    renewal = asyncio.ensure_future(store.rotation.renew(by=CALLER))
    puts = [
        asyncio.ensure_future(store.put(identity(100 + n), Plaintext.of("late"), terms(), by=CALLER)) for n in range(50)
    ]
    reads = [asyncio.ensure_future(store.claim(identity(n), by=CALLER)) for n in range(20)]
    pages = [asyncio.ensure_future(store.page(org="acme", before=None, limit=100)) for _ in range(20)]
    assert await renewal
    await asyncio.gather(move(store, size=1), *puts)
    assert {(await page).metadata[0].org for page in pages} == {"acme"}
    assert {len((await page).metadata) for page in pages} == {6}
    assert [(await read).plaintext.text() for read in reads] == [f"drop {n}" for n in range(20)]
    await finish(store)
    for n in range(50):
        assert (await store.claim(identity(100 + n), by=CALLER)).plaintext.text() == "late"


async def test_looks_and_lists_miss_nothing_while_secrets_move(renewing: SqliteStore) -> None:
    """A secret is there at every instant of its move."""
    moving = asyncio.create_task(move(renewing, size=1))
    while not moving.done():
        assert (await renewing.peek(BareKey("ONLY"))).org == "acme"
        assert (await renewing.peek(identity(19))).name == identity(19).name
        assert len((await renewing.page(org="acme", before=None, limit=100)).metadata) == 6
    await moving


async def test_attempts_are_over_and_never_spend_again(old: Path, opened: Opener) -> None:
    """What attempts have left ends with the older keys; an attempt of before is remembered and spends nothing."""
    store = await opened(old)
    attempt, key = Attempt(bytes(range(32))), Identity.in_org("acme", "DB")
    await store.claim(key, by=CALLER, attempt=attempt)
    await store.claim(identity(0), by=CALLER, attempt=attempt)
    await store.rotation.adopt(masters(*BOTH))
    await store.rotation.renew(by=CALLER)
    for batches in (0, 1000):
        await move(store, batches=batches)
        with pytest.raises(AttemptOver):
            await store.claim(key, by=CALLER, attempt=attempt)
        with pytest.raises((AttemptOver, Gone)):
            await store.claim(identity(0), by=CALLER, attempt=attempt)
        assert (await store.peek(key)).read_count == 1
    await store.tidy()
    assert rows(old, "SELECT count(*) FROM spent") == [(0,)]
    assert rows(old, "SELECT count(*) FROM delivery WHERE free = 0") == [(0,)]
    await finish(store)
    with pytest.raises(AttemptOver):
        await store.claim(key, by=CALLER, attempt=attempt)


async def test_attempts_go_on_while_secrets_move(renewing: SqliteStore) -> None:
    """A read of what has not moved yet can be asked for again, before and after the rest has moved."""
    attempt, key = Attempt(bytes(range(32))), Identity.in_org("acme", "DB")
    first = await renewing.claim(key, by=CALLER, attempt=attempt)
    burned = await renewing.claim(identity(3), by=CALLER, attempt=attempt)
    await move(renewing)
    for target, opened_ in ((key, first), (identity(3), burned)):
        again = await renewing.claim(target, by=CALLER, attempt=attempt)
        assert (again.plaintext, again.repeats) == (opened_.plaintext, 1)
    assert (await renewing.peek(key)).read_count == 1


async def test_what_a_renewal_has_ended_holds_no_delivery_of_others(old: Path, opened: Opener, clock: SetClock) -> None:
    """A secret that moves lets go of its deliveries: whoever has one of their places next can ask again."""
    store = await opened(old)
    twice, once = identity(100), identity(101)
    for target, reads in ((twice, 2), (once, 1)):
        await store.put(target, Plaintext.of("x"), terms(reads), by=CALLER)
    first, second = Attempt(bytes(32)), Attempt(bytes(range(32)))
    await store.claim(twice, by=CALLER, attempt=first)
    await store.rotation.adopt(masters(*BOTH))
    await store.rotation.renew(by=CALLER)
    await move(store)
    assert rows(old, "SELECT count(*) FROM attempt WHERE delivery NOT NULL") == [(0,)]
    await store.claim(once, by=CALLER, attempt=second)
    await store.tidy()
    assert (await store.claim(once, by=CALLER, attempt=second)).repeats == 1
    await store.claim(twice, by=CALLER, attempt=second)
    await store.received(twice, second)
    assert rows(old, "SELECT count(*) FROM spent") == [(1,)]
    clock.at += 61
    await store.tidy()
    assert rows(old, "SELECT count(*) FROM spent") == [(0,)]


async def test_a_damaged_record_does_not_move_and_can_be_deleted(renewing: SqliteStore) -> None:
    """What does not open stays where it is found, keeps the older keys, and goes when it is told to."""
    renewing._upkeep._writing.execute("UPDATE secret SET sealed = CAST(sealed || x'00' AS BLOB) WHERE seq = 21")
    await move(renewing)
    assert await renewing.rotation.remaining() == 1
    key = Identity.in_org("acme", "DB")
    with pytest.raises(KeyExists):
        await renewing.put(key, Plaintext.of("x"), terms(), by=CALLER)
    await renewing.remove(key, by=CALLER)
    await finish(renewing)
    await renewing.put(key, Plaintext.of("x"), terms(), by=CALLER)


async def test_a_start_in_between_goes_on(renewing: SqliteStore, old: Path, opened: Opener) -> None:
    """After a restart in the middle everything is found, and older keys are sealed under whatever key comes first."""
    await move(renewing, batches=10, size=1)
    await renewing.close()
    third = "cd" * 32
    store = await opened(old, masters=masters(third, *BOTH))
    assert store._keyring.moving
    assert (await store.claim(identity(19), by=CALLER)).plaintext.text() == "drop 19"
    assert (await store.peek(identity(0))).name == identity(0).name
    await finish(store)
    assert needs_of(old / "sirrd.db").every == {MasterKey.of(bytes.fromhex(third)).id}
    await store.close()
    again = await opened(old, masters=masters(third))
    assert (await again.claim(identity(0), by=CALLER)).plaintext.text() == "drop 0"
    assert len(again._keyring.fingerprints(SEALING)) == 2


async def test_a_second_renewal_needs_another_master_key(renewing: SqliteStore, old: Path) -> None:
    """The same key renews once; the next one renews again, before the first has ended, too."""
    assert not await renewing.rotation.renew(by=CALLER)
    await move(renewing, batches=5, size=1)
    third = "cd" * 32
    await renewing.rotation.adopt(masters(third, *BOTH))
    assert await renewing.rotation.renew(by=CALLER)
    assert await renewing.rotation.remaining() == 30
    assert len((await renewing.page(org="acme", before=None, limit=100)).metadata) == 6
    assert (await renewing.claim(identity(2), by=CALLER)).plaintext.text() == "drop 2"
    assert (await renewing.claim(identity(12), by=CALLER)).plaintext.text() == "drop 12"
    await finish(renewing)
    assert [names.number for names in (renewing._keyring.names, *renewing._keyring.older)] == [2, 1, 0]
    assert (await renewing.claim(identity(3), by=CALLER)).plaintext.text() == "drop 3"


async def test_verify_burn_looks_under_both_keys(renewing: SqliteStore, old: Path) -> None:
    """While secrets move, one that is there is found wherever it stands."""
    await move(renewing, batches=1, size=1)
    await renewing.claim(identity(5), by=CALLER)
    await renewing.tidy()
    for target, is_gone in ((identity(0), False), (identity(19), False), (identity(5), True)):
        found = verify_burn(old, old / "sirrd.db", target, masters=masters(*BOTH))
        assert found[0].holds == is_gone


async def test_a_renewal_that_fails_changes_nothing(old: Path, opened: Opener) -> None:
    """Where its transaction fails, the keys are those of before, in the file and in memory."""
    store = await opened(old)
    await store.rotation.adopt(masters(*BOTH))
    before = store._keyring.names
    with mock.patch.object(statements, "AUDIT", "INSERT INTO nowhere VALUES (?)"), pytest.raises(Unavailable):
        await store.rotation.renew(by=CALLER)
    assert store._keyring.names is before
    assert rows(old, "SELECT count(*) FROM older_inner_keys") == [(0,)]
    await store.put(identity(500), Plaintext.of("x"), terms(), by=CALLER)
    assert await store.rotation.renew(by=CALLER)
    assert (await store.claim(identity(500), by=CALLER)).plaintext.text() == "x"


async def test_asking_again_does_not_undo_the_end(renewing: SqliteStore) -> None:
    """A command asks again and again: even if it does so between the last look and the end, older keys go."""
    await move(renewing)
    look = SqliteRotation.remaining

    async def ask_after_looking(self: SqliteRotation) -> int:
        found = await look(self)
        assert not await self.renew(by=CALLER)
        return found

    with mock.patch.object(SqliteRotation, "remaining", ask_after_looking):
        await renewing.rotation.forget_older_keys()
    assert not await renewing.rotation.has_older_keys()
    assert not renewing._keyring.moving


# The command, and the route.


@pytest.mark.parametrize(("where", "nth"), [("move", 1), ("remaining", 2)])
async def test_a_renewal_that_is_asked_for_while_records_move_is_done(start: Start, where: str, nth: int) -> None:
    """One move is under way, and has passed records, or all of them: what was asked for meanwhile moves, too."""
    async with start() as daemon:
        paths = [await daemon.put_in("acme", f"KEY_{n}", max_reads=5) for n in range(3)]
    async with start(master_encryption_key=f"{NEWER_KEY},{MASTER_KEY}") as daemon:
        call, calls = getattr(SqliteRotation, where), itertools.count(1)

        async def renew_after(self: SqliteRotation, *arguments: Any, **named: Any) -> Any:
            found = await call(self, *arguments, **named)
            if next(calls) == nth:
                assert (await daemon.client.post("/rotate-key?renew=true")).status_code == 202
            return found

        data = daemon.settings.data_dir
        patched = mock.patch.object(SqliteRotation, where, renew_after)
        with patched, mock.patch.object(statements, "ROTATION_BATCH_BYTES", 1):
            assert (await daemon.client.post("/rotate-key")).status_code == 202
            for _ in range(500):
                if rows(data, "SELECT moving FROM older_inner_keys") == [(0,)]:
                    break
                await asyncio.sleep(0.01)
        assert rows(data, "SELECT moving FROM older_inner_keys") == [(0,)]
        assert generations(data) == {1}
        assert [(await daemon.client.get(path)).json()["value"] for path in paths] == ["s3cret"] * 3


async def test_the_route_renews_once(start: Start) -> None:
    """`renew` is true, false or absent; asked again, there is nothing to do once everything has moved."""
    async with start() as daemon:
        path = await daemon.put_in("acme", "DB", max_reads=5)
        assert (await daemon.client.post("/rotate-key?renew=yes")).status_code == 400
        assert (await daemon.client.post("/rotate-key?renew=true&renew=true")).json()["field"] == "renew"
        assert (await daemon.client.post("/rotate-key?renew=true")).status_code == 409
        before = (await daemon.client.get("/secrets")).json()["secrets"][0]["fingerprint"]
    async with start(master_encryption_key=f"{NEWER_KEY},{MASTER_KEY}") as daemon:
        answer = await daemon.client.post("/rotate-key?renew=true")
        assert (answer.status_code, answer.json()) == (202, {"remaining": 1})
        for _ in range(200):
            if (await daemon.client.post("/rotate-key?renew=true")).status_code == 409:
                break
            await asyncio.sleep(0.01)
        assert (await daemon.client.get("/rotate-key")).json() == {"remaining": 0}
        assert (await daemon.client.get(path)).json()["value"] == "s3cret"
        assert (await daemon.client.get("/secrets")).json()["secrets"][0]["fingerprint"] != before
        with pytest.raises(NoNewerKey):
            await daemon.drop.begin_rotation(renewed_by=Caller("local"))


@pytest.mark.parametrize("beside", [False, True])
def test_the_command_renews(launch: Launch, tmp_path: Path, beside: bool) -> None:
    """`rotate-key --renew` beside a daemon and without one; without it the inner keys stay."""
    with launch(**BEARER) as daemon:
        path = put(daemon.address(), bearer=API_KEY, max_reads=5)
        if beside:
            found = sirrd(tmp_path, "rotate-key", "--renew", **BEARER)
        else:
            assert daemon.stop() == 0
            found = sirrd(tmp_path, "rotate-key", "--renew")
        assert (found.returncode, found.stdout) == (
            0,
            "every record is under the newest key, and the inner keys are new\n",
        ), found.stderr
        if beside:
            assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"
            assert daemon.stop() == 0
    data = tmp_path / "data"
    assert rows(data, "SELECT generation FROM inner_keys") == [(1,)]
    assert rows(data, "SELECT moving FROM older_inner_keys") == [(0,)]
    assert sirrd(tmp_path, "rotate-key").returncode == 0
    assert rows(data, "SELECT generation FROM inner_keys") == [(1,)]
    with launch(**BEARER) as daemon:
        assert ask(daemon.address(), "GET", path)[1]["value"] == "s3cret"


STEPS = [step for step in STATEMENTS if step not in OF_PLAIN_ROTATIONS]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_renewal_that_is_killed_between_two_steps_is_ended_by_the_next(
    launch: Launch, tmp_path: Path, step: str, moment: str
) -> None:
    """Between any two steps a kill loses nothing, and the next run renews no second time."""
    with launch(**BEARER) as daemon:
        paths = [put(daemon.address(), f"value {n}", bearer=API_KEY) for n in range(5)]
        assert daemon.stop() == 0
    command = [sys.executable, "-m", "tests.crash.command", step, moment, "1", "rotate-key", "--renew"]
    env = settings_of(tmp_path / "data", PYTHONPATH=str(ROOT))
    assert subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False).returncode == -9
    found = sirrd(tmp_path, "rotate-key", "--renew")
    assert (found.returncode, "cut short" in found.stderr) == (0, True), found.stderr
    assert len(keys_in(tmp_path / "data")) == 1
    data = tmp_path / "data"
    assert rows(data, "SELECT generation FROM inner_keys") == [(1,)]
    assert generations(data) == {1}
    assert rows(data, "SELECT generation, moving FROM older_inner_keys") == [(0, 0)]
    assert len(records_are_under(data)) == 1
    with launch(**BEARER) as daemon:
        for n, path in enumerate(paths):
            assert ask(daemon.address(), "GET", path)[1]["value"] == f"value {n}"


async def test_a_backup_of_the_middle_is_restored(renewing: SqliteStore, old: Path, tmp_path: Path) -> None:
    """A copy that was made while secrets moved opens, and what has not moved is found in it."""
    await move(renewing, batches=10, size=1)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "master.key").write_text(f"{NEWER_KEY}\n{MASTER_KEY}\n")
    copied = tmp_path / "copy.db"
    with (
        contextlib.closing(sqlite3.connect(old / "sirrd.db")) as source,
        contextlib.closing(sqlite3.connect(copied)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    assert sirrd(tmp_path, "restore", str(copied)).returncode == 0
    assert sirrd(tmp_path, "rotate-key", "--renew").returncode == 0
    assert generations(data) == {2}
    assert rows(data, "SELECT count(*) FROM secret") == [(30,)]
