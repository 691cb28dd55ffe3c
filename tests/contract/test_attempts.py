"""Attempts: a lost answer is not a lost secret, and a request that is sent again spends nothing twice."""

from __future__ import annotations

import asyncio
import base64
import functools
import hmac
import json
import secrets
import socket
import sqlite3
import struct
import threading
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sirrd.errors import AttemptOver, Gone, Unreadable
from sirrd.events import Action
from sirrd.http.pages.texts.en import ENGLISH
from sirrd.keyring.forms import DELIVERY_BYTES, ERASED_DELIVERY, ERASED_SALT
from sirrd.keyring.inner import InnerKeys
from sirrd.keyring.ring import Keyring
from sirrd.model import Amendment, Attempt, Caller, Identity, Plaintext, Terms
from sirrd.store.sqlite.attempts import MOST_REPEATS, REMEMBERED_SECONDS
from sirrd.store.sqlite.units import Transaction
from tests.conftest import NOW, Daemon, Launch, Opener, SetClock, Start, masters
from tests.contract.test_life import EVERY_FORM, put, statuses
from tests.contract.test_locks import LOCK, MALFORMED, RIGHT, refused, shown
from tests.parts import ROOT, ask, wait_until
from tests.parts import put as put_drop

FIRST: Final = {"X-Sirr-Attempt": shown(b"\x01" * 32)}
SECOND: Final = {"X-Sirr-Attempt": shown(b"\x02" * 32)}
CALLER: Final = Caller("open")
VECTORS: Final = ROOT / "tests" / "vectors" / "attempt-v1"


async def read(daemon: Daemon, path: str, attempt: dict[str, str], **headers: str) -> httpx.Response:
    """Read with an attempt."""
    return await daemon.client.get(path, headers=attempt | headers)


def told(answer: httpx.Response) -> tuple[int, bool]:
    """Return a status, and whether it was told as a repeat."""
    return answer.status_code, answer.headers.get("x-sirr-repeat") == "true"


@EVERY_FORM
@pytest.mark.parametrize("terms", [{}, {"delete": False}, {"max_reads": 3}, {"delete": False, "max_reads": 2}])
async def test_the_same_attempt_is_answered_again(daemon: Daemon, form: str, terms: dict[str, Any]) -> None:
    """After burn, seal and a plain read alike: the same value, told as a repeat, and nothing more is spent."""
    path = await put(daemon, form, **terms)
    first = await read(daemon, path, FIRST)
    assert told(first) == (200, False)
    before = (await daemon.client.get("/secrets")).json()
    for _ in range(3):
        again = await read(daemon, path, FIRST)
        assert told(again) == (200, True)
        assert again.json() == first.json()
    assert (await daemon.client.get("/secrets")).json() == before


@EVERY_FORM
async def test_two_attempts_are_two_reads(daemon: Daemon, form: str) -> None:
    """With one read left, one of two attempts gets the value, and the other what everybody gets."""
    path = await put(daemon, form)
    answers = await asyncio.gather(read(daemon, path, FIRST), read(daemon, path, SECOND))
    assert sorted(answer.status_code for answer in answers) == [200, 404]
    assert await statuses(daemon, "GET", path, 1) == [404]


@EVERY_FORM
async def test_an_attempt_that_meets_itself_waits(daemon: Daemon, form: str) -> None:
    """Sent five times at once, one attempt spends one read, and every answer has the value."""
    path = await put(daemon, form, max_reads=2, value="x" * 100_000)
    answers = await asyncio.gather(*(read(daemon, path, FIRST) for _ in range(5)))
    assert [answer.json()["value"] for answer in answers] == ["x" * 100_000] * 5
    assert sorted(map(told, answers)) == [(200, False)] + [(200, True)] * 4
    assert (await daemon.client.head(path)).headers["x-sirr-reads-remaining"] == "1"


@EVERY_FORM
async def test_an_earlier_attempt_is_answered_after_the_burn(daemon: Daemon, form: str) -> None:
    """A reader whose answer was lost gets it, even if somebody else took the last read meanwhile."""
    path = await put(daemon, form, max_reads=2)
    assert told(await read(daemon, path, FIRST)) == (200, False)
    assert await statuses(daemon, "GET", path, 2) == [200, 404]
    assert told(await read(daemon, path, FIRST)) == (200, True)
    assert (await read(daemon, path, SECOND)).status_code == 404


async def test_a_repeat_is_answered_after_a_restart(start: Start) -> None:
    """What was noted is on disk."""
    async with start() as daemon:
        path = f"/secrets/{await daemon.put()}"
        await read(daemon, path, FIRST)
    async with start() as daemon:
        assert told(await read(daemon, path, FIRST)) == (200, True)


@EVERY_FORM
async def test_what_burned_is_invisible(daemon: Daemon, form: str) -> None:
    """While its attempt may still come again, a burned secret is gone for everything else."""
    path = await put(daemon, form)
    await read(daemon, path, FIRST)
    assert await statuses(daemon, "GET", path, 1) == [404]
    assert await statuses(daemon, "HEAD", path, 1) == [404]
    assert (await daemon.client.patch(path, json={})).status_code == 404
    assert (await daemon.client.get("/secrets")).json() == {"secrets": []}
    assert (await daemon.client.post("/prune")).json() == {"pruned": 0}
    never = "/secrets/" + "0" * 64 if form == "drop" else path + "never"
    burned, missed = [await read(daemon, each, SECOND) for each in (path, never)]
    assert burned.content == missed.content
    assert {name for name, _ in burned.headers.items()} == {name for name, _ in missed.headers.items()}


async def test_the_window_ends(daemon: Daemon) -> None:
    """After 60 s the record that lives says that the attempt is over, and spends nothing; the burned one is gone."""
    kept, burned = f"/secrets/{await daemon.put(delete=False, max_reads=3)}", f"/secrets/{await daemon.put()}"
    for path in (kept, burned):
        await read(daemon, path, FIRST)
    daemon.clock.at = NOW + 59
    assert [told(await read(daemon, path, FIRST)) for path in (kept, burned)] == [(200, True)] * 2
    daemon.clock.at = NOW + 60
    assert refused(await read(daemon, kept, FIRST)) == (409, "attempt_over")
    assert (await read(daemon, burned, FIRST)).status_code in {404, 409}
    await daemon.drop.tidy()
    assert refused(await read(daemon, kept, FIRST)) == (409, "attempt_over")
    assert refused(await read(daemon, burned, FIRST)) == (404, "not_found")
    assert (await daemon.client.head(kept)).headers["x-sirr-read-count"] == "1"


async def test_a_known_attempt_spends_nothing_for_a_day(daemon: Daemon) -> None:
    """A laptop that wakes up and sends again burns nothing; after a day nobody remembers."""
    path = f"/secrets/{await daemon.put(delete=False, max_reads=3)}"
    await read(daemon, path, FIRST)
    daemon.clock.at = NOW + REMEMBERED_SECONDS - 1
    await daemon.drop.tidy()
    assert refused(await read(daemon, path, FIRST)) == (409, "attempt_over")
    daemon.clock.at = NOW + REMEMBERED_SECONDS
    await daemon.drop.tidy()
    assert told(await read(daemon, path, FIRST)) == (200, False)
    assert (await daemon.client.head(path)).headers["x-sirr-read-count"] == "2"


async def test_a_repeat_ends_with_the_life_of_the_secret(daemon: Daemon) -> None:
    """At `expires_at` nothing is answered any more, within the window as well."""
    paths = [f"/secrets/{await daemon.put(ttl_seconds=10, delete=burns)}" for burns in (True, False)]
    for path in paths:
        await read(daemon, path, FIRST)
    daemon.clock.at = NOW + 9
    assert [told(await read(daemon, path, FIRST)) for path in paths] == [(200, True)] * 2
    daemon.clock.at = NOW + 10
    assert [refused(await read(daemon, path, FIRST)) for path in paths] == [(404, "not_found")] * 2


async def test_repeats_are_bounded(daemon: Daemon) -> None:
    """Twenty repeats, then 429 with the seconds that are left; nothing is spent."""
    path = f"/secrets/{await daemon.put(max_reads=2)}"
    daemon.clock.at = NOW + 5
    answers = [await read(daemon, path, FIRST) for _ in range(MOST_REPEATS + 1)]
    assert [told(answer) for answer in answers] == [(200, False)] + [(200, True)] * MOST_REPEATS
    one_more = await read(daemon, path, FIRST)
    assert refused(one_more) == (429, "too_many_repeats")
    assert one_more.headers["retry-after"] == "60"
    assert (await daemon.client.head(path)).headers["x-sirr-read-count"] == "1"


async def test_the_page_does_not_call_a_view_unused_that_was_repeated_too_often(daemon: Daemon) -> None:
    """Whoever loads the page behind the form again and again has used up a view, and is told so."""
    identity = await daemon.put(max_reads=2)
    form = {"attempt": FIRST["X-Sirr-Attempt"]}
    answers = [await daemon.client.post(f"/s/{identity}", data=form) for _ in range(MOST_REPEATS + 2)]
    assert [answer.status_code for answer in answers] == [200] * (MOST_REPEATS + 1) + [429]
    assert escape(ENGLISH.notices.over.title) in answers[-1].text
    assert "No view was used up" not in answers[-1].text


async def test_unlimited_reads_need_no_attempts(daemon: Daemon, tmp_path: Path) -> None:
    """Each read of a secret without a limit is a read; nothing is kept of it."""
    path = f"/secrets/{await daemon.put(max_reads=None)}"
    assert [told(await read(daemon, path, FIRST)) for _ in range(3)] == [(200, False)] * 3
    assert (await daemon.client.head(path)).headers["x-sirr-read-count"] == "3"
    assert _rows(tmp_path, "SELECT 1 FROM attempt") == []


@pytest.mark.parametrize("attempt", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_attempt_spends_nothing(daemon: Daemon, attempt: str) -> None:
    """It is 400, on both routes, in the form, and for what is received; whether or not a secret is there."""
    path = f"/secrets/{await daemon.put()}"
    headers = {"X-Sirr-Attempt": attempt}
    for asked in (path, "/secrets/" + "0" * 64, "/orgs/acme/secrets/k"):
        assert refused(await daemon.client.get(asked, headers=headers)) == (400, "bad_attempt")
        assert refused(await daemon.client.post(f"{asked}/received", headers=headers)) == (400, "bad_attempt")
    form = await daemon.stranger.post(path.replace("/secrets/", "/s/"), data={"attempt": attempt})
    assert form.status_code == 400
    assert (await daemon.client.head(path)).headers["x-sirr-read-count"] == "0"


async def test_two_attempts_in_one_request_are_none(daemon: Daemon) -> None:
    """Which one would be meant? 400, and nothing is spent."""
    drop = await daemon.put()
    twice = [("X-Sirr-Attempt", shown(bytes(32))), ("X-Sirr-Attempt", shown(bytes(32)))]
    assert refused(await daemon.client.get(f"/secrets/{drop}", headers=twice)) == (400, "bad_attempt")
    body = f"attempt={shown(bytes(32))}&attempt={shown(bytes(32))}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await daemon.client.post(f"/s/{drop}", content=body, headers=kind)).status_code == 400
    assert (await daemon.client.head(f"/secrets/{drop}")).headers["x-sirr-read-count"] == "0"


async def test_who_may_read_is_checked_again(daemon: Daemon) -> None:
    """A repeat needs what a read needs: the bearer for an org secret, no other site; but not the proof of a lock."""
    path = await daemon.put_in("acme", "k")
    await read(daemon, path, FIRST)
    assert refused(await daemon.stranger.get(path, headers=FIRST)) == (401, "unauthorized")
    drop = f"/secrets/{await daemon.put(lock=LOCK)}"
    assert refused(await read(daemon, drop, FIRST)) == (403, "proof_required")
    assert told(await read(daemon, drop, FIRST, **RIGHT)) == (200, False)
    assert told(await daemon.stranger.get(drop, headers=FIRST)) == (200, True)
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert refused(await daemon.stranger.get(drop, headers=FIRST | foreign)) == (403, "foreign_request")
    assert refused(await daemon.stranger.get(drop, headers=SECOND)) == (404, "not_found")


async def test_an_attempt_belongs_to_one_secret(daemon: Daemon) -> None:
    """The same attempt at two secrets is two reads; a new secret of an old name knows nothing of the old one's."""
    first, second = await daemon.put("one"), await daemon.put("two")
    values = [(await read(daemon, f"/secrets/{each}", FIRST)).json()["value"] for each in (first, second)]
    assert values == ["one", "two"]
    path = await daemon.put_in("acme", "k", "old")
    await read(daemon, path, FIRST)
    await daemon.put_in("acme", "k", "new", max_reads=2)
    again = await read(daemon, path, FIRST)
    assert (told(again), again.json()["value"]) == ((200, False), "new")


async def test_a_new_secret_takes_no_number_of_one_that_burned(daemon: Daemon) -> None:
    """Attempts are bound to a record by its number, so nobody else has that while one may come again."""
    first = await daemon.put("one")
    await read(daemon, f"/secrets/{first}", FIRST)
    second = await daemon.put("two")
    answer = await read(daemon, f"/secrets/{second}", FIRST)
    assert (told(answer), answer.json()["value"]) == ((200, False), "two")
    assert (await read(daemon, f"/secrets/{first}", FIRST)).json()["value"] == "one"


async def test_a_repeat_by_its_bare_key_is_of_what_it_read(daemon: Daemon) -> None:
    """Another org's secret of that key, stored since, is not read in its stead, and makes nothing ambiguous."""
    await daemon.put_in("acme", "k", "acme's")
    await read(daemon, "/secrets/k", FIRST)
    await daemon.put_in("umbrella", "k", "umbrella's")
    again = await read(daemon, "/secrets/k", FIRST)
    assert (told(again), again.json()["value"]) == ((200, True), "acme's")
    sealed = await daemon.put_in("third", "k", "third's")
    assert refused(await read(daemon, "/secrets/k", SECOND)) == (409, "ambiguous_key")
    assert told(await read(daemon, sealed, SECOND)) == (200, False)
    assert told(await read(daemon, "/secrets/k", SECOND)) == (200, True)


# What ends a delivery.


@EVERY_FORM
async def test_received_ends_the_delivery(daemon: Daemon, tmp_path: Path, form: str) -> None:
    """The answer is always the same; after it the value is gone at once, and the files are as if it had burned."""
    path = await put(daemon, form)
    never = await daemon.client.post(f"{path}/received", headers=FIRST)
    assert (never.status_code, never.json()) == (200, {"received": True})
    await read(daemon, path, FIRST)
    assert (await daemon.client.post(f"{path}/received", headers=SECOND)).content == never.content
    assert told(await read(daemon, path, FIRST)) == (200, True)
    for _ in range(2):
        assert (await daemon.client.post(f"{path}/received", headers=FIRST)).content == never.content
        assert refused(await read(daemon, path, FIRST)) == (404, "not_found")
    assert _left(tmp_path) == (0, 0, 0, 0)


async def test_received_needs_what_a_read_needs(daemon: Daemon) -> None:
    """Nobody ends the delivery of an org secret without the bearer; nor without an attempt."""
    path = await daemon.put_in("acme", "k")
    await read(daemon, path, FIRST)
    assert refused(await daemon.stranger.post(f"{path}/received", headers=FIRST)) == (401, "unauthorized")
    assert refused(await daemon.stranger.post("/secrets/k/received", headers=FIRST)) == (401, "unauthorized")
    assert refused(await daemon.client.post(f"{path}/received")) == (400, "bad_attempt")
    assert told(await read(daemon, path, FIRST)) == (200, True)


async def test_received_of_what_lives_keeps_it(daemon: Daemon) -> None:
    """A sealed secret stays; its attempt is over."""
    path = f"/secrets/{await daemon.put(delete=False)}"
    await read(daemon, path, FIRST)
    await daemon.client.post(f"{path}/received", headers=FIRST)
    assert refused(await read(daemon, path, FIRST)) == (409, "attempt_over")
    assert await statuses(daemon, "HEAD", path, 1) == [410]


@EVERY_FORM
async def test_delete_ends_the_delivery_and_is_still_a_miss(daemon: Daemon, tmp_path: Path, form: str) -> None:
    """Whoever owns a burned secret can end it for good; the answer says nothing about it."""
    path = await put(daemon, form)
    await read(daemon, path, FIRST)
    assert refused(await daemon.client.delete(path)) == (404, "not_found")
    assert refused(await read(daemon, path, FIRST)) == (404, "not_found")
    assert _left(tmp_path) == (0, 0, 0, 0)


async def test_a_recipient_ends_the_delivery_by_the_proof(daemon: Daemon) -> None:
    """`DELETE` with the proof is a miss, and ends it; with another proof it is the same miss, and does not."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    await read(daemon, path, FIRST, **RIGHT)
    wrong = await daemon.stranger.delete(path, headers={"X-Sirr-Proof": shown(b"\x07" * 32)})
    assert told(await read(daemon, path, FIRST)) == (200, True)
    right = await daemon.stranger.delete(path, headers=RIGHT)
    assert wrong.content == right.content
    assert refused(right) == refused(await read(daemon, path, FIRST)) == (404, "not_found")


async def test_patch_ends_the_attempt(daemon: Daemon) -> None:
    """What was amended is another value: an earlier attempt neither gets it nor spends a read of it."""
    path = f"/secrets/{await daemon.put(delete=False, max_reads=2)}"
    await read(daemon, path, FIRST)
    await daemon.client.patch(path, json={"value": "new"})
    assert refused(await read(daemon, path, FIRST)) == (409, "attempt_over")
    assert (await daemon.client.head(path)).headers["x-sirr-read-count"] == "0"


@pytest.mark.parametrize("end", ["delete", "expire", "replace", "burn"])
async def test_whatever_ends_a_secret_ends_its_attempts(daemon: Daemon, tmp_path: Path, end: str) -> None:
    """Nothing of an attempt is left behind, whichever way its secret goes."""
    path = await daemon.put_in("acme", "k", max_reads=2, ttl_seconds=30)
    await read(daemon, path, FIRST)
    if end == "delete":
        await daemon.client.delete(path)
    elif end == "burn":
        await read(daemon, path, SECOND)
        daemon.clock.at = NOW + 60
    else:
        daemon.clock.at = NOW + 30
        await (daemon.client.post("/prune") if end == "expire" else daemon.put_in("acme", "k", max_reads=None))
    await daemon.drop.tidy()
    assert _left(tmp_path) == (0, 0, 0, 0)


async def test_without_redelivery_an_attempt_only_guards(start: Start, tmp_path: Path) -> None:
    """With 0 nothing is delivered again and nothing kept for it; a known attempt spends nothing all the same."""
    async with start(redelivery_seconds=0) as daemon:
        burned, kept = await daemon.put(), await daemon.put(max_reads=2)
        for each in (burned, kept):
            assert told(await read(daemon, f"/secrets/{each}", FIRST)) == (200, False)
        assert refused(await read(daemon, f"/secrets/{burned}", FIRST)) == (404, "not_found")
        assert refused(await read(daemon, f"/secrets/{kept}", FIRST)) == (409, "attempt_over")
        assert _left(tmp_path)[:3] == (0, 0, 0)


# The form, which needs no script.


async def test_the_page_brings_an_attempt(daemon: Daemon) -> None:
    """Each opening of the page has a fresh one; its form, sent twice, spends one read and shows the value twice."""
    drop = await daemon.put(max_reads=2)
    found = [_hidden((await daemon.stranger.get(f"/s/{drop}")).text) for _ in range(2)]
    assert len(set(found)) == 2
    pages = [await daemon.stranger.post(f"/s/{drop}", data={"attempt": found[0]}) for _ in range(3)]
    assert [told(page) for page in pages] == [(200, False), (200, True), (200, True)]
    assert all("s3cret" in page.text for page in pages)
    assert (await daemon.client.head(f"/secrets/{drop}")).headers["x-sirr-reads-remaining"] == "1"
    assert told(await daemon.stranger.post(f"/s/{drop}", data={"attempt": found[1]})) == (200, False)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", f"attempt={shown(bytes(32))}"),
        ("application/json", "{}"),
        ("application/x-www-form-urlencoded", "other=1"),
        ("application/x-www-form-urlencoded", "x=" + "y" * 4096 + f"&attempt={shown(bytes(32))}"),
    ],
)
async def test_any_other_body_has_no_attempt(daemon: Daemon, kind: str, body: str) -> None:
    """It is a read as ever: sent twice, it is two."""
    drop = await daemon.put()
    pages = [await daemon.stranger.post(f"/s/{drop}", content=body, headers={"Content-Type": kind}) for _ in range(2)]
    assert [page.status_code for page in pages] == [200, 404]


async def test_an_attempt_is_the_same_on_page_and_api(daemon: Daemon) -> None:
    """Every surface ends in one claim: what the form has read, the API answers again."""
    drop = await daemon.put()
    await daemon.stranger.post(f"/s/{drop}", data={"attempt": FIRST["X-Sirr-Attempt"]})
    assert told(await read(daemon, f"/secrets/{drop}", FIRST)) == (200, True)


@pytest.mark.parametrize("body", [b"\xff=1", b"attempt=\xfe", b"a=%ff", b"attempt=%ff", b"%ff=1&a"])
async def test_a_form_of_any_bytes_is_no_crash(daemon: Daemon, body: bytes) -> None:
    """What is no attempt is none, or a malformed one; nobody can fill the log with tracebacks."""
    drop = await daemon.put()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await daemon.stranger.post(f"/s/{drop}", content=body, headers=kind)
    assert answer.status_code == (400 if b"attempt" in body else 200)


# What much of it may cost.


async def test_a_tick_ends_beside_readers_that_never_pause(tmp_path: Path, opened: Opener, clock: SetClock) -> None:
    """What becomes due while a tick is at it waits for the next one, and the WAL is emptied."""
    store = await opened(tmp_path, redelivery_seconds=1)
    identity = Identity("ab" * 32)
    await store.put(identity, Plaintext(b"s3cret"), lambda now: Terms(now, None, 10**9, delete=True), by=CALLER)
    is_over = False

    async def read_on() -> int:
        count = 0
        while not is_over:
            await store.claim(identity, by=CALLER, attempt=Attempt(secrets.token_bytes(32)))
            clock.at += 1  # so that every delivery is due at once
            count += 1
        return count

    readers = [asyncio.create_task(read_on()) for _ in range(300)]
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                await store.tidy()
    finally:
        is_over = True
        assert sum(await asyncio.gather(*readers)) > 300


async def test_many_attempts_at_one_secret_are_bounded_and_end_on_the_thread(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are remembered, and what ends many of them does not do it on the event loop."""
    monkeypatch.setattr("sirrd.store.sqlite.attempts.MOST_REMEMBERED", 150)
    store = await opened(tmp_path)
    threads: set[bool] = set()
    erase = store._attempts._slots.erase

    def watched(transaction: Transaction, slots: list[int]) -> None:
        threads.add(transaction.on_thread or len(slots) <= 100)
        erase(transaction, slots)

    monkeypatch.setattr(store._attempts._slots, "erase", watched)
    for burns in (True, False):
        identity = Identity(f"{burns:064x}")
        terms = functools.partial(_often, burns=burns)
        await store.put(identity, Plaintext(b"s3cret"), terms, by=CALLER)
        made = [Attempt(secrets.token_bytes(32)) for _ in range(200)]
        await asyncio.gather(*(store.claim(identity, by=CALLER, attempt=each) for each in made))
        assert _rows(tmp_path, "SELECT count(*) FROM attempt") == [(150,)]
        assert (await store.claim(identity, by=CALLER, attempt=made[-1])).repeats == 1
        assert (await store.peek(identity)).read_count == 200
        if not burns:
            await store.amend(identity, Amendment(), lambda old, _: old, by=CALLER)
        await store.remove(identity, by=CALLER)
        assert _left(tmp_path) == (0, 0, 0, 0)
    assert threads == {True}


async def test_a_long_value_that_burned_goes_on_the_thread(tmp_path: Path, opened: Opener) -> None:
    """Whoever says that it arrived does not hold up the event loop by it."""
    store = await opened(tmp_path)
    identity, attempt = Identity("ab" * 32), Attempt(bytes(32))
    await _put(store, identity, "x" * 200_000)
    await store.claim(identity, by=CALLER, attempt=attempt)
    seen: list[str] = []
    store._upkeep._writing.set_trace_callback(lambda sql: seen.append(f"{threading.current_thread().name}: {sql}"))
    await store.received(identity, attempt)
    store._upkeep._writing.set_trace_callback(None)
    assert {line.partition(":")[0] for line in seen if "DELETE FROM spent" in line} == {"sirrd-writer"}
    assert _left(tmp_path) == (0, 0, 0, 0)


async def test_any_number_of_orgs_may_have_burned_a_key(daemon: Daemon) -> None:
    """A repeat by a bare key finds what it read among however many, and spends nobody else's."""
    for number in range(120):
        path = await daemon.put_in(f"org-{number}", "k")
        await read(daemon, path, FIRST)
    await daemon.put_in("mine", "k", "mine")
    assert (await read(daemon, "/secrets/k", SECOND)).json()["value"] == "mine"
    assert told(await read(daemon, "/secrets/k", SECOND)) == (200, True)
    await daemon.put_in("other", "k", "other's")
    again = await read(daemon, "/secrets/k", SECOND)
    assert (told(again), again.json()["value"]) == ((200, True), "mine")


async def test_turned_off_nothing_of_before_is_answered(start: Start, tmp_path: Path) -> None:
    """An operator who turns it off means what was read before as well."""
    async with start() as daemon:
        path = f"/secrets/{await daemon.put()}"
        await read(daemon, path, FIRST)
    async with start(redelivery_seconds=0) as daemon:
        assert refused(await read(daemon, path, FIRST)) == (404, "not_found")
        assert _left(tmp_path)[:3] == (0, 0, 0)


@pytest.mark.parametrize("ending", ["delete", "put"])
async def test_what_burned_before_a_renewal_can_be_ended(tmp_path: Path, opened: Opener, ending: str) -> None:
    """While names move to newer keys, what stands under the older ones is found by whoever ends it."""
    store = await opened(tmp_path)
    identity = Identity("k", "acme")
    await _put(store, identity)
    await store.claim(identity, by=CALLER, attempt=Attempt(bytes(32)))
    await store.rotation.renew(by=CALLER)
    if ending == "put":
        await _put(store, identity)
    else:
        with pytest.raises(Gone):
            await store.remove(identity, by=CALLER)
    assert _left(tmp_path)[:3] == (0, 0, 0)


# What is left in the files, and in the trail.


async def test_i8_a_thief_with_all_keys_opens_nothing(tmp_path: Path, opened: Opener, clock: SetClock) -> None:
    """I8: after the claim the files and the master key do not hold what opens it; only the attempt does."""
    store = await opened(tmp_path)
    identity, attempt = Identity("ab" * 32), Attempt(secrets.token_bytes(32))
    await _put(store, identity)
    await store.claim(identity, by=CALLER, attempt=attempt)
    await store.tidy()
    ((seq, lookup, wrapped),) = _rows(
        tmp_path,
        "SELECT seq, lookup, wrapped FROM spent JOIN attempt ON secret = seq JOIN delivery d ON d.id = delivery",
    )
    assert len(wrapped) == DELIVERY_BYTES
    ring = store._keyring
    for guess in (bytes(32), secrets.token_bytes(32), wrapped[:32], lookup, masters().first.secret):
        with pytest.raises(Unreadable):
            ring.unwrap_salt(lookup, seq, Attempt(guess), wrapped)
    with pytest.raises(Unreadable):
        ring.unwrap_salt(lookup, seq + 1, attempt, wrapped)
    assert ring.unwrap_salt(lookup, seq, attempt, wrapped) != ERASED_SALT
    content = _content(tmp_path)
    assert attempt.secret not in content
    assert base64.urlsafe_b64encode(attempt.secret).rstrip(b"=") not in content
    clock.at += 60
    await store.tidy()
    assert wrapped[1:] not in _content(tmp_path)


@pytest.mark.parametrize("size", [10, 9_000, 200_000])
async def test_i8_after_the_window_the_ciphertext_is_gone_too(
    tmp_path: Path, opened: Opener, clock: SetClock, size: int
) -> None:
    """I8: the row of what burned goes with its last delivery, and what received ends goes at once."""
    store = await opened(tmp_path)
    for number in range(4):
        await _put(store, Identity(f"{number:064x}"), "x" * size)
        await store.claim(Identity(f"{number:064x}"), by=CALLER, attempt=Attempt(bytes([number]) * 32))
    sealed = [row[0] for row in _rows(tmp_path, "SELECT sealed FROM spent ORDER BY seq")]
    await store.received(Identity(f"{0:064x}"), Attempt(bytes(32)))
    await store.tidy()
    assert [_holds(tmp_path, each) for each in sealed] == [False, True, True, True]
    clock.at += 60
    await store.tidy()
    assert [_holds(tmp_path, each) for each in sealed] == [False] * 4
    assert _left(tmp_path) == (0, 0, 0, 0)


async def test_many_deliveries_end_in_batches(tmp_path: Path, opened: Opener, clock: SetClock) -> None:
    """However many there are, one tick ends them all, and free deliveries are used again."""
    store = await opened(tmp_path)
    for round_ in range(2):
        for number in range(250):
            identity = Identity(f"{round_ * 1000 + number:064x}")
            await _put(store, identity)
            await store.claim(identity, by=CALLER, attempt=Attempt(bytes([number]) * 32))
        clock.at += 60
        await store.tidy()
        assert _left(tmp_path) == (0, 0, 0, 0)
    assert _rows(tmp_path, "SELECT count(*) FROM delivery") == [(250,)]


async def test_the_trail_has_one_row_for_repeats(daemon: Daemon, tmp_path: Path) -> None:
    """The first repeat is a row of its own, the others are counted by the minute."""
    path = f"/secrets/{await daemon.put()}"
    for _ in range(5):
        await read(daemon, path, FIRST)
    daemon.clock.at = NOW + 120
    await daemon.drop.flush()
    rows = _rows(tmp_path, "SELECT action, count FROM audit ORDER BY seq")
    assert rows == [("created", 1), ("burned", 1), ("redelivered", 1), ("redelivered", 3)]
    assert rows[2][0] == Action.REDELIVERED


async def test_a_delivery_that_was_damaged_gives_nothing(daemon: Daemon, tmp_path: Path) -> None:
    """I4: it is 500, loud, and nothing is given away."""
    path = f"/secrets/{await daemon.put()}"
    await read(daemon, path, FIRST)
    with sqlite3.connect(tmp_path / "data" / "sirrd.db") as connection:
        connection.execute("UPDATE delivery SET wrapped = ?", (ERASED_DELIVERY,))
    assert refused(await read(daemon, path, FIRST)) == (500, "unreadable")


async def test_an_amendment_is_no_way_back(opened: Opener, tmp_path: Path) -> None:
    """The old value was read by an attempt; once amended, the attempt opens neither the old nor the new one."""
    store = await opened(tmp_path)
    identity, attempt = Identity("ab" * 32), Attempt(bytes(32))
    await store.put(identity, Plaintext(b"old"), lambda now: _terms(now, burns=False), by=CALLER)
    await store.claim(identity, by=CALLER, attempt=attempt)
    await store.amend(identity, Amendment(Plaintext(b"new")), lambda old, _: old, by=CALLER)
    with pytest.raises(AttemptOver):
        await store.claim(identity, by=CALLER, attempt=attempt)


@pytest.mark.parametrize("file", sorted(VECTORS.glob("*.json")), ids=lambda file: file.stem)
def test_golden_vectors_of_attempts(file: Path) -> None:
    """An independent program hashes an attempt and unwraps a delivery, as docs/formats.md says, and gets the same."""
    given = json.loads(file.read_text())
    case = {name: bytes.fromhex(text) for name, text in given.items() if name not in {"header", "seq"}}
    number = struct.pack(">q", given["seq"])
    assert base64.urlsafe_b64decode(given["header"] + "=") == case["attempt"]
    hash_key = _hkdf(case["index_key"], b"sirrd/1/attempt")
    assert hmac.digest(hash_key, number + case["attempt"], "sha256") == case["hash"]
    wrapped, bound = case["wrapped"], b"delivery\x01" + number + case["lookup"]
    cipher = AESGCM(_hkdf(case["attempt"], b"sirrd/1/delivery"))
    assert wrapped[0] == 1
    assert cipher.decrypt(wrapped[1:13], wrapped[13:], bound) == case["salt"]
    inner = InnerKeys(case["index_key"], bytes(32), bytes(32), bytes(32))
    ring, attempt = Keyring(masters(), inner), Attempt(case["attempt"])
    assert ring.attempt_hash(given["seq"], attempt) == case["hash"]
    assert ring.unwrap_salt(case["lookup"], given["seq"], attempt, wrapped) == case["salt"]


def _hkdf(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, b"", info).derive(secret)


def test_there_are_vectors() -> None:
    """The files are there: a test without cases would prove nothing."""
    assert len(list(VECTORS.glob("*.json"))) == 2


# An incomplete request.


INCOMPLETE: Final = {
    "a length": b"Content-Length: 9\r\n\r\nhalf",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "a form": b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nattempt=",
}


@pytest.mark.parametrize("rest", INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_request_does_nothing(launch: Launch, rest: bytes) -> None:
    """Whose announced body never comes, spends nothing and deletes nothing, on any route."""
    with launch() as daemon:
        address = urlsplit(daemon.address())
        path = put_drop(daemon.address())
        ways = (("GET", path), ("POST", path.replace("/secrets/", "/s/")), ("DELETE", path))
        for method, each in ways:
            with socket.create_connection((address.hostname, address.port)) as client:
                head = f"{method} {each} HTTP/1.1\r\nHost: {address.netloc}\r\n"
                client.sendall(head.encode() + rest)
        wait_until(lambda: daemon.log.read_text().count('"status":0') == len(ways))
        status, answer = ask(daemon.address(), "GET", path)
        assert (status, answer["value"]) == (200, "s3cret")


def _hidden(page: str) -> str:
    return page.partition('name="attempt" value="')[2].partition('"')[0]


def _often(now: int, *, burns: bool) -> Terms:
    return Terms(now, None, 500, delete=burns)


def _terms(now: int, *, burns: bool = True) -> Terms:
    return Terms(now, None, 1, delete=burns)


async def _put(store: Any, identity: Identity, value: str = "s3cret") -> None:
    await store.put(identity, Plaintext(value.encode()), _terms, by=CALLER)


def _rows(folder: Path, sql: str) -> list[Any]:
    file = folder / "data" / "sirrd.db"
    with sqlite3.connect(f"file:{file if file.exists() else folder / 'sirrd.db'}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


def _left(folder: Path) -> tuple[int, ...]:
    """Return how many rows of what burned, taken deliveries, free ones that are not zero, and attempts there are."""
    counts = (
        "SELECT count(*) FROM spent",
        "SELECT count(*) FROM delivery WHERE free = 0",
        f"SELECT count(*) FROM delivery WHERE free = 1 AND wrapped <> x'{ERASED_DELIVERY.hex()}'",
        "SELECT count(*) FROM attempt",
    )
    return tuple(_rows(folder, sql)[0][0] for sql in counts)


def _holds(folder: Path, content: bytes) -> bool:
    pieces = [content[at : at + 24] for at in range(21, len(content) - 24, 1024)]
    found = _content(folder)
    return any(piece in found for piece in pieces)


def _content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
