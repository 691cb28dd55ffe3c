"""Locked secrets: nobody reads one, or destroys it, without its proof, and nothing is spent by trying."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any, Final

import httpx
import pytest

from sirrd.http.pages.texts.en import ENGLISH
from sirrd.model import Caller
from tests.conftest import MASTER_KEY, Daemon, SetClock, Start
from tests.contract.test_life import EVERY_FORM, put

PROOF: Final = bytes(range(32))
LOCK: Final = hashlib.sha256(PROOF).hexdigest()
OTHER_PROOF: Final = bytes(range(1, 33))
OTHER_LOCK: Final = hashlib.sha256(OTHER_PROOF).hexdigest()


def shown(proof: bytes) -> str:
    """Return a proof as it stands in its header."""
    return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


RIGHT: Final = {"X-Sirr-Proof": shown(PROOF)}
WRONG: Final = {"X-Sirr-Proof": shown(OTHER_PROOF)}
MALFORMED: Final = {
    "empty": "",
    "too short": shown(PROOF)[:-1],
    "too long": shown(PROOF + b"\0"),
    "padded": shown(PROOF) + "=",
    "the other alphabet": base64.b64encode(b"\xff" * 32).decode().rstrip("="),
    "bits left over": shown(PROOF)[:-1] + "9",
    "hex": PROOF.hex(),
    "the lock": LOCK,
    "two in one": f"{shown(PROOF)}, {shown(PROOF)}",
}


async def reads(daemon: Daemon, path: str) -> Any:
    """Return how often a secret was read, or None if it is gone."""
    return (await daemon.client.head(path)).headers.get("x-sirr-read-count")


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("jump", [3600, -3600, 315_360_000, -315_360_000])
async def test_a_lock_out_lasts_a_minute_whatever_the_clock_does(daemon: Daemon, clock: SetClock, jump: int) -> None:
    """Ten wrong proofs, then the clock is set: not a second sooner or later than after a minute the right one opens."""
    secret = await daemon.put(lock=LOCK)
    for _ in range(10):
        assert refused(await daemon.client.get(f"/secrets/{secret}", headers=WRONG)) == (403, "proof_mismatch")
    clock.jump(jump)
    clock.at += 59
    answer = await daemon.client.get(f"/secrets/{secret}", headers=RIGHT)
    assert (*refused(answer), answer.headers["retry-after"]) == (429, "too_many_proofs", "1")
    clock.at += 1
    assert (await daemon.client.get(f"/secrets/{secret}", headers=RIGHT)).status_code == 200


@EVERY_FORM
async def test_a_locked_secret_opens_by_its_proof_alone(daemon: Daemon, form: str) -> None:
    """Without it, or with another, nothing is spent; with it the value leaves as often as was allowed."""
    path = await put(daemon, form, lock=LOCK)
    assert refused(await daemon.client.get(path)) == (403, "proof_required")
    assert refused(await daemon.client.get(path, headers=WRONG)) == (403, "proof_mismatch")
    assert await reads(daemon, path) == "0"
    answer = await daemon.client.get(path, headers=RIGHT)
    assert (answer.status_code, answer.json()["value"]) == (200, "s3cret")
    assert refused(await daemon.client.get(path, headers=RIGHT)) == (404, "not_found")


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in MALFORMED.items()])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_no_proof_is_a_wrong_one(daemon: Daemon, method: str, text: str) -> None:
    """Only the one form that 32 bytes have is looked at."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    answer = await daemon.stranger.request(method, path, headers={"X-Sirr-Proof": text})
    assert refused(answer) == (403, "proof_mismatch")
    assert await reads(daemon, path) == "0"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_proof_that_is_shown_twice_is_a_wrong_one(daemon: Daemon, method: str) -> None:
    """Even if it is right both times."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    answer = await daemon.stranger.request(method, path, headers=[*RIGHT.items(), *RIGHT.items()])
    assert refused(answer) == (403, "proof_mismatch")


async def test_the_lock_of_nothing_is_opened_by_nothing(daemon: Daemon) -> None:
    """A lock that is the hash of no bytes at all does not open to a malformed proof."""
    path = f"/secrets/{await daemon.put(lock=hashlib.sha256(b'').hexdigest())}"
    assert refused(await daemon.stranger.get(path, headers={"X-Sirr-Proof": ""})) == (403, "proof_mismatch")


@EVERY_FORM
async def test_a_secret_without_a_lock_takes_any_proof(daemon: Daemon, form: str) -> None:
    """It needs none, so what is shown is not looked at."""
    path = await put(daemon, form)
    assert (await daemon.client.get(path, headers=WRONG)).status_code == 200


@EVERY_FORM
async def test_gone_and_sealed_come_first(daemon: Daemon, form: str) -> None:
    """404 and 410 are told without a proof: they are no secret."""
    path = await put(daemon, form, lock=LOCK, delete=False)
    assert (await daemon.client.get(path, headers=RIGHT)).status_code == 200
    for headers in ({}, WRONG, RIGHT):
        assert refused(await daemon.client.get(path, headers=headers)) == (410, "sealed")
    await daemon.client.delete(path)
    for headers in ({}, WRONG, RIGHT):
        assert refused(await daemon.client.get(path, headers=headers)) == (404, "not_found")


@EVERY_FORM
async def test_metadata_tell_of_the_lock(daemon: Daemon, form: str) -> None:
    """`HEAD` says that there is one, lists as well, and neither tells which."""
    path = await put(daemon, form, lock=LOCK)
    assert (await daemon.client.head(path)).headers["x-sirr-locked"] == "true"
    listed = await daemon.client.get("/secrets")
    assert [each["locked"] for each in listed.json()["secrets"]] == [True]
    assert LOCK not in listed.text
    assert "x-sirr-locked" not in (await daemon.client.head(f"/secrets/{await daemon.put()}")).headers


@pytest.mark.parametrize("lock", ["", LOCK[:-1], LOCK + "0", LOCK.upper(), "g" * 64, 1, True, [], LOCK + "\n"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_malformed_lock_is_a_bad_field(daemon: Daemon, method: str, lock: Any) -> None:
    """It is 64 lower-case hex digits or null; nothing is stored or changed."""
    path = f"/secrets/{await daemon.put(delete=False)}"
    target = "/secrets" if method == "POST" else path
    answer = await daemon.client.request(method, target, json={"value": "new", "lock": lock})
    assert (*refused(answer), answer.json()["field"]) == (400, "bad_field", "lock")
    assert len((await daemon.client.get("/secrets")).json()["secrets"]) == 1
    assert (await daemon.client.get(path)).json()["value"] == "s3cret"


@EVERY_FORM
async def test_a_change_keeps_the_lock_unless_it_names_one(daemon: Daemon, form: str) -> None:
    """Absent keeps it, null removes it, another one replaces it."""
    path = await put(daemon, form, lock=LOCK, delete=False)
    assert (await daemon.client.patch(path, json={"max_reads": 5})).json()["locked"] is True
    assert refused(await daemon.client.get(path)) == (403, "proof_required")
    assert (await daemon.client.patch(path, json={"lock": OTHER_LOCK})).json()["locked"] is True
    assert refused(await daemon.client.get(path, headers=RIGHT)) == (403, "proof_mismatch")
    assert (await daemon.client.get(path, headers=WRONG)).status_code == 200
    assert (await daemon.client.patch(path, json={"lock": None})).json()["locked"] is False
    assert (await daemon.client.get(path)).status_code == 200
    assert (await daemon.client.patch(path, json={"lock": LOCK})).json()["locked"] is True
    assert (await daemon.client.get(path, headers=RIGHT)).status_code == 200


@EVERY_FORM
async def test_a_new_value_for_a_locked_secret_brings_its_lock(daemon: Daemon, form: str) -> None:
    """Under the old lock it could be read by whoever has the old link, and by nobody who has the new one."""
    path = await put(daemon, form, lock=LOCK, delete=False)
    assert refused(await daemon.client.patch(path, json={"value": "new"})) == (409, "locked")
    assert (await daemon.client.get(path, headers=RIGHT)).json()["value"] == "s3cret"
    assert (await daemon.client.patch(path, json={"value": "new", "lock": OTHER_LOCK})).status_code == 200
    assert (await daemon.client.get(path, headers=WRONG)).json()["value"] == "new"
    assert (await daemon.client.patch(path, json={"value": "open", "lock": None})).status_code == 200
    assert (await daemon.client.get(path)).json()["value"] == "open"


@EVERY_FORM
async def test_the_recipient_may_destroy_it_unread(daemon: Daemon, form: str) -> None:
    """The proof is enough, without a bearer; a wrong one destroys nothing."""
    path = await put(daemon, form, lock=LOCK)
    assert refused(await daemon.stranger.delete(path, headers=WRONG)) == (403, "proof_mismatch")
    assert await reads(daemon, path) == "0"
    answer = await daemon.stranger.delete(path, headers=RIGHT)
    assert (answer.status_code, answer.json()) == (200, {"deleted": True})
    assert refused(await daemon.stranger.delete(path, headers=RIGHT)) == (404, "not_found")


@EVERY_FORM
async def test_a_secret_without_a_lock_is_not_destroyed_by_a_proof(daemon: Daemon, form: str) -> None:
    """Any proof would do; so none does."""
    path = await put(daemon, form)
    assert refused(await daemon.stranger.delete(path, headers=RIGHT)) == (401, "unauthorized")
    assert refused(await daemon.stranger.delete(path)) == (401, "unauthorized")
    assert await reads(daemon, path) == "0"


@EVERY_FORM
async def test_a_wrong_bearer_is_not_made_up_for_by_a_proof(daemon: Daemon, form: str) -> None:
    """Who tries to be the owner is not taken for a recipient."""
    path = await put(daemon, form, lock=LOCK)
    wrong = {"Authorization": "Bearer wrong", **RIGHT}
    assert refused(await daemon.stranger.delete(path, headers=wrong)) == (401, "unauthorized")
    assert await reads(daemon, path) == "0"


@EVERY_FORM
async def test_the_owner_needs_no_proof_to_delete(daemon: Daemon, form: str) -> None:
    """Nor does a wrong one stand in the way."""
    path = await put(daemon, form, lock=LOCK)
    assert (await daemon.client.delete(path, headers=WRONG)).status_code == 200


async def test_an_org_secret_needs_the_bearer_and_the_proof(daemon: Daemon) -> None:
    """A proof alone does not read what is protected."""
    path = await daemon.put_in("acme", "k", lock=LOCK)
    for reader in (path, "/secrets/k"):
        assert refused(await daemon.stranger.get(reader, headers=RIGHT)) == (401, "unauthorized")
        assert refused(await daemon.client.get(reader)) == (403, "proof_required")
    assert (await daemon.client.get("/secrets/k", headers=RIGHT)).status_code == 200


async def test_ten_wrong_proofs_put_a_secret_out_of_reach(daemon: Daemon, clock: SetClock) -> None:
    """For a minute after the first of them even the right one is not looked at, and other secrets are not touched."""
    path, other = [f"/secrets/{await daemon.put(lock=LOCK)}" for _ in range(2)]
    for _ in range(10):
        assert refused(await daemon.stranger.get(path, headers=WRONG)) == (403, "proof_mismatch")
        clock.at += 1
    for method in ("GET", "DELETE"):
        for headers in ({}, WRONG, RIGHT) if method == "GET" else (WRONG, RIGHT):
            answer = await daemon.stranger.request(method, path, headers=headers)
            assert (*refused(answer), answer.headers["retry-after"]) == (429, "too_many_proofs", "50")
    assert await reads(daemon, path) == "0"
    assert (await daemon.stranger.get(other, headers=RIGHT)).status_code == 200
    clock.at += 49
    assert (await daemon.stranger.get(path, headers=RIGHT)).headers["retry-after"] == "1"
    clock.at += 1
    assert (await daemon.stranger.get(path, headers=RIGHT)).status_code == 200


async def test_a_missing_proof_is_no_guess(daemon: Daemon) -> None:
    """However often a preview opens the bare link, the recipient is not kept out."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    for _ in range(30):
        assert refused(await daemon.stranger.get(path)) == (403, "proof_required")
    assert (await daemon.stranger.get(path, headers=RIGHT)).status_code == 200


async def test_wrong_proofs_at_once_are_counted_one_by_one(daemon: Daemon) -> None:
    """Of a hundred in one batch ten are looked at."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    answers = await asyncio.gather(*(daemon.stranger.get(path, headers=WRONG) for _ in range(100)))
    assert sorted(answer.status_code for answer in answers) == [403] * 10 + [429] * 90


async def test_refusals_are_counted_in_the_audit(daemon: Daemon) -> None:
    """They stand there by fingerprint and minute, like everything that strangers can cause."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    await daemon.stranger.get(path)
    await daemon.stranger.get(path, headers=WRONG)
    await daemon.stranger.delete(path, headers=WRONG)
    await daemon.drop.flush(everything=True)
    store: Any = daemon.drop._store
    rows = await store._queries.fetch("SELECT action, count FROM audit WHERE action != 'created'", {})
    assert rows == [("unproven", 3)]


async def test_the_form_of_a_locked_secret_is_for_the_script_alone(daemon: Daemon) -> None:
    """Without the fragment there is nothing that it could do; and a form that is sent all the same spends nothing."""
    identity = await daemon.put(lock=LOCK)
    page = await daemon.stranger.get(f"/s/{identity}")
    assert page.status_code == 200
    (form,) = re.findall("<form[^>]*>", page.text)
    assert form.endswith(" hidden>")
    answer = await daemon.stranger.post(f"/s/{identity}")
    assert (answer.status_code, ENGLISH.notices.needs_script.title in answer.text) == (403, True)
    assert await reads(daemon, f"/secrets/{identity}") == "0"


async def test_locks_survive_a_restart_and_a_rotation(start: Start) -> None:
    """The lock stands in the row, and the row is bound to it."""
    async with start() as daemon:
        path = f"/secrets/{await daemon.put(lock=LOCK)}"
    async with start(master_encryption_key=f"{'cd' * 32},{MASTER_KEY}") as daemon:
        await daemon.drop.begin_rotation()
        assert await daemon.drop.rotate(by=Caller("daemon")) == 0
        assert refused(await daemon.stranger.get(path)) == (403, "proof_required")
        assert (await daemon.stranger.get(path, headers=RIGHT)).status_code == 200


@pytest.mark.parametrize(
    ("change", "expected"), [("lock = NULL", [500, 500, 500]), (f"lock = x'{OTHER_LOCK}'", [403, 403, 500])]
)
async def test_a_lock_that_was_changed_in_the_file_opens_nothing(
    daemon: Daemon, change: str, expected: list[int]
) -> None:
    """It is one of the terms that the sealed forms are bound to: whoever writes to the database cannot take it off."""
    path = f"/secrets/{await daemon.put(lock=LOCK)}"
    store: Any = daemon.drop._store
    store._upkeep._writing.execute(f"UPDATE secret SET {change}")
    answers = [await daemon.stranger.get(path, headers=headers) for headers in ({}, RIGHT, WRONG)]
    assert [answer.status_code for answer in answers] == expected


async def test_many_readers_with_the_proof_share_the_reads(daemon: Daemon) -> None:
    """A locked secret leaves as often as was allowed, however many try at once, with and without the proof."""
    path = f"/secrets/{await daemon.put(lock=LOCK, max_reads=3)}"
    sent = [RIGHT, {}] * 20
    answers = await asyncio.gather(*(daemon.stranger.get(path, headers=headers) for headers in sent))
    assert [answer.status_code for answer in answers].count(200) == 3
