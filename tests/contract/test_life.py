"""The life of a secret: read, burn, seal, revive, expire; and the one answer when it is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, Final

import httpx
import pytest

from tests.conftest import NOW, Daemon, SetClock, Start
from tests.contract.test_contract import ABSENT, made

FORMS: Final = ["drop", "org", "bare"]
EVERY_FORM: Final = pytest.mark.parametrize("form", FORMS)


async def put(daemon: Daemon, form: str, **terms: Any) -> str:
    """Store a secret and return the path it is named by."""
    if form == "drop":
        return f"/secrets/{await daemon.put(**terms)}"
    path = await daemon.put_in("acme", "k", **terms)
    return path if form == "org" else "/secrets/k"


async def statuses(daemon: Daemon, method: str, path: str, times: int) -> list[int]:
    """Ask several times and return the statuses."""
    return [(await daemon.client.request(method, path)).status_code for _ in range(times)]


@EVERY_FORM
async def test_a_secret_burns_on_its_last_read(daemon: Daemon, form: str) -> None:
    """A secret that burns is read as often as was allowed; after that there is nothing left, not even to delete."""
    path = await put(daemon, form, max_reads=3)
    assert await statuses(daemon, "GET", path, 5) == [200, 200, 200, 404, 404]
    assert await statuses(daemon, "HEAD", path, 1) == [404]
    assert await statuses(daemon, "DELETE", path, 1) == [404]
    assert (await daemon.client.patch(path, json={})).status_code == 404
    assert (await daemon.client.get("/secrets")).json() == {"secrets": []}


@EVERY_FORM
async def test_a_secret_that_is_kept_seals_on_its_last_read(daemon: Daemon, form: str) -> None:
    """A secret that is kept is 410 once its reads are used up, stays in the list as sealed, and can be deleted."""
    path = await put(daemon, form, max_reads=2, delete=False)
    assert await statuses(daemon, "GET", path, 4) == [200, 200, 410, 410]
    (listed,) = (await daemon.client.get("/secrets")).json()["secrets"]
    assert (listed["status"], listed["read_count"], listed["max_reads"]) == ("sealed", 2, 2)
    assert (await daemon.client.delete(path)).json() == {"deleted": True}
    assert await statuses(daemon, "GET", path, 1) == [404]


@EVERY_FORM
async def test_unlimited_reads_never_end(daemon: Daemon, form: str) -> None:
    """With null for `max_reads` every read is granted, and HEAD says `unlimited`."""
    path = await put(daemon, form, max_reads=None)
    assert await statuses(daemon, "GET", path, 5) == [200] * 5
    shown = (await daemon.client.head(path)).headers
    assert (shown["x-sirr-read-count"], shown["x-sirr-reads-remaining"]) == ("5", "unlimited")


@EVERY_FORM
@pytest.mark.parametrize("change", [{}, {"max_reads": 1}, {"value": "new"}, {"max_reads": None}])
async def test_a_patch_revives_a_sealed_secret(daemon: Daemon, form: str, change: dict[str, object]) -> None:
    """Any PATCH, even an empty one, sets the count to 0, so that a sealed secret can be read again."""
    path = await put(daemon, form, delete=False)
    assert await statuses(daemon, "GET", path, 2) == [200, 410]
    amended = (await daemon.client.patch(path, json=change)).json()
    assert (amended["read_count"], amended["status"]) == (0, "active")
    assert (await daemon.client.get(path)).json()["value"] == change.get("value", "s3cret")


@EVERY_FORM
async def test_an_empty_patch_resets_the_count(daemon: Daemon, form: str) -> None:
    """`{}` gives all reads back and changes nothing else."""
    path = await put(daemon, form, delete=False, max_reads=3, ttl_seconds=9)
    (before,) = (await daemon.client.get("/secrets")).json()["secrets"]
    assert await statuses(daemon, "GET", path, 2) == [200, 200]
    assert (await daemon.client.patch(path, json={})).json() == before
    assert await statuses(daemon, "GET", path, 4) == [200, 200, 200, 410]


@EVERY_FORM
async def test_fewer_reads_than_were_made_are_counted_from_now(daemon: Daemon, form: str) -> None:
    """A lower `max_reads` counts from the PATCH, not from the creation."""
    path = await put(daemon, form, delete=False, max_reads=9)
    assert await statuses(daemon, "GET", path, 5) == [200] * 5
    await daemon.client.patch(path, json={"max_reads": 2})
    assert await statuses(daemon, "GET", path, 3) == [200, 200, 410]


@EVERY_FORM
async def test_what_burns_cannot_be_amended(daemon: Daemon, form: str) -> None:
    """PATCH of a secret that burns is 409 and leaves value, reads and life as they were."""
    path = await put(daemon, form, max_reads=2, ttl_seconds=9)
    before = (await daemon.client.get("/secrets")).json()
    answer = await daemon.client.patch(path, json={"value": "new", "max_reads": 9, "ttl_seconds": None})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_amendable")
    assert (await daemon.client.get("/secrets")).json() == before
    assert (await daemon.client.get(path)).json()["value"] == "s3cret"


@EVERY_FORM
async def test_head_shows_the_metadata(daemon: Daemon, form: str) -> None:
    """HEAD carries the headers of section 3, and the fingerprint only for the bearer, as in the list."""
    path = await put(daemon, form, delete=False, max_reads=2, ttl_seconds=9)
    await daemon.client.get(path)
    shown = {name: text for name, text in (await daemon.client.head(path)).headers.items() if name.startswith("x-sirr")}
    (listed,) = (await daemon.client.get("/secrets")).json()["secrets"]
    assert shown == {
        "x-sirr-read-count": "1",
        "x-sirr-reads-remaining": "1",
        "x-sirr-delete": "false",
        "x-sirr-created-at": str(NOW),
        "x-sirr-expires-at": str(NOW + 9),
        "x-sirr-status": "active",
        "x-sirr-fingerprint": listed["fingerprint"],
    }


async def test_head_tells_a_stranger_no_fingerprint(daemon: Daemon) -> None:
    """Without the bearer there is no fingerprint, and without a lifetime no expiry."""
    shown = (await daemon.stranger.head(f"/secrets/{await daemon.put()}")).headers
    assert {name for name in shown if name.startswith("x-sirr")} == {
        "x-sirr-read-count",
        "x-sirr-reads-remaining",
        "x-sirr-delete",
        "x-sirr-created-at",
        "x-sirr-status",
    }
    assert shown["x-sirr-delete"] == "true"


async def test_the_fingerprint_never_changes(daemon: Daemon) -> None:
    """Reads, amendments and restarts of the count leave the fingerprint as it is, and no two secrets share one."""
    path = await put(daemon, "org", delete=False, max_reads=5)
    first = (await daemon.client.head(path)).headers["x-sirr-fingerprint"]
    await daemon.client.get(path)
    amended = (await daemon.client.patch(path, json={"value": "new", "ttl_seconds": 9})).json()
    other = await daemon.put_in("umbrella", "k")
    assert amended["fingerprint"] == first
    assert (await daemon.client.head(other)).headers["x-sirr-fingerprint"] != first


# Expiry.

ASKED: Final = [
    ("GET", "/secrets/{id}"),
    ("HEAD", "/secrets/{id}"),
    ("PATCH", "/secrets/{id}"),
    ("DELETE", "/secrets/{id}"),
    ("GET", "/secrets/k"),
    ("HEAD", "/secrets/k"),
    ("PATCH", "/secrets/k"),
    ("DELETE", "/secrets/k"),
    ("GET", "/orgs/acme/secrets/k"),
    ("HEAD", "/orgs/acme/secrets/k"),
    ("PATCH", "/orgs/acme/secrets/k"),
    ("DELETE", "/orgs/acme/secrets/k"),
    ("GET", "/s/{id}"),
    ("HEAD", "/s/{id}"),
    ("POST", "/s/{id}"),
]


@pytest.mark.parametrize("kind", ["fresh", "sealed", "amended"])
@pytest.mark.parametrize(("method", "path"), ASKED)
async def test_expired_means_the_very_second(daemon: Daemon, method: str, path: str, kind: str) -> None:
    """One second before `expires_at` a secret is there; at it, every route says that it is gone."""
    for age, is_there in ((59, True), (60, False)):
        daemon.clock.at = NOW
        terms: dict[str, Any] = {"delete": False, "max_reads": 1, "ttl_seconds": 5 if kind == "amended" else 60}
        secret = await daemon.put(**terms)
        own = f"/secrets/{secret}"
        await daemon.put_in("acme", "k", **terms)
        for named in (own, "/orgs/acme/secrets/k"):
            if kind == "sealed":
                assert (await daemon.client.get(named)).status_code == 200
            elif kind == "amended":
                assert (await daemon.client.patch(named, json={"ttl_seconds": 60})).status_code == 200
        daemon.clock.at = NOW + age
        body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        answer = await daemon.client.request(method, path.format(id=secret), **body)
        assert answer.status_code in ((200, 410) if is_there else (404,))
        listed = [each["key"] for each in (await daemon.client.get("/secrets?limit=9")).json()["secrets"]]
        if not is_there:
            assert listed == []
        daemon.clock.at = NOW + 3600
        assert (await daemon.client.post("/prune")).status_code == 200


@pytest.mark.parametrize("jump", [3600, -3600, 315_360_000, -NOW])
async def test_a_clock_that_is_set_changes_what_is_shown_and_no_life(daemon: Daemon, jump: int) -> None:
    """Headers, lists and the page show the same life by the clock as it stands; counts of minutes end with theirs."""
    await daemon.put_in("acme", "k", ttl_seconds=60)
    drop = await daemon.put(ttl_seconds=60)
    assert (await daemon.client.get(f"/secrets/{'0' * 64}")).status_code == 404
    daemon.clock.at += 10
    daemon.clock.jump(jump)
    now = daemon.clock.now()
    head = (await daemon.client.head(f"/secrets/{drop}")).headers
    assert int(head["x-sirr-expires-at"]) == now + 50
    assert int(head["x-sirr-created-at"]) == max(0, now - 10)
    for each in (await daemon.client.get("/secrets")).json()["secrets"]:
        assert each["expires_at"] == now + 50
    assert 'data-seconds="50"' in (await daemon.client.get(f"/s/{drop}")).text
    daemon.clock.at += 50
    await daemon.drop.flush()
    with closing(sqlite3.connect(daemon.settings.data_dir / "sirrd.db")) as file:
        ((at,),) = file.execute("SELECT at FROM audit WHERE action = 'missed'")
        assert abs(at - (NOW + jump)) < 60
    assert (await daemon.client.get(f"/secrets/{drop}")).status_code == 404
    assert (await daemon.client.get("/secrets")).json()["secrets"] == []


async def test_what_had_expired_is_removed_at_the_start(start: Start, clock: SetClock) -> None:
    """A daemon that never prunes by itself removes at its start what had expired, before the first request."""
    async with start() as daemon:
        await daemon.put(ttl_seconds=60)
        await daemon.put()
    clock.at += 60
    async with start() as daemon:
        with closing(sqlite3.connect(daemon.settings.data_dir / "sirrd.db")) as file:
            assert file.execute("SELECT count(*) FROM secret").fetchone() == (1,)
            assert file.execute("SELECT caller FROM audit WHERE action = 'expired'").fetchall() == [("daemon",)]
        assert (await daemon.client.post("/prune")).json() == {"pruned": 0}


async def test_lists_leave_out_what_expired(daemon: Daemon) -> None:
    """At its last second an expired secret leaves every form of list, before any prune."""
    await daemon.put_in("acme", "short", ttl_seconds=60)
    await daemon.put_in("acme", "long", ttl_seconds=61)
    daemon.clock.at = NOW + 60
    for path in (
        "/secrets",
        "/secrets?limit=9",
        "/secrets?org=acme",
        "/orgs/acme/secrets",
        "/orgs/acme/secrets?limit=9",
    ):
        assert [each["key"] for each in (await daemon.client.get(path)).json()["secrets"]] == ["long"]


async def test_a_key_is_free_again_at_expiry(daemon: Daemon) -> None:
    """A key can be taken again at the second its secret expires, without a prune, and the old value is gone."""
    path = await daemon.put_in("acme", "k", "old", ttl_seconds=60)
    body = {"key": "k", "value": "new"}
    daemon.clock.at = NOW + 59
    assert (await daemon.client.post("/orgs/acme/secrets", json=body)).status_code == 409
    daemon.clock.at = NOW + 60
    assert (await daemon.client.post("/orgs/acme/secrets", json=body)).json() == {"key": "k"}
    assert (await daemon.client.get(path)).json()["value"] == "new"


@pytest.mark.parametrize("end", ["burned", "deleted"])
async def test_a_key_is_free_again_when_its_secret_is_gone(daemon: Daemon, end: str) -> None:
    """A burned or deleted secret frees its key at once."""
    assert await made(daemon, end, org="acme") == end
    assert await daemon.put_in("acme", end) == f"/orgs/acme/secrets/{end}"


async def test_a_refused_key_leaves_its_secret_alone(daemon: Daemon) -> None:
    """Storing under a live key is 409 and changes nothing of what is there."""
    path = await daemon.put_in("acme", "k", "old", max_reads=2)
    answer = await daemon.client.post("/orgs/acme/secrets", json={"key": "k", "value": "new"})
    assert (answer.status_code, answer.json()["code"]) == (409, "key_exists")
    assert (await daemon.client.head(path)).headers["x-sirr-reads-remaining"] == "2"
    assert (await daemon.client.get(path)).json()["value"] == "old"


async def test_prune_tells_how_many_it_removed(daemon: Daemon) -> None:
    """A prune counts what it removed: the expired only, of one org or of all, and nothing twice."""
    await daemon.put(ttl_seconds=1)
    await daemon.put_in("acme", "a", ttl_seconds=1)
    await daemon.put_in("umbrella", "b", ttl_seconds=1)
    await daemon.put_in("acme", "c")
    daemon.clock.at += 1
    paths = ("/orgs/acme/prune", "/orgs/acme/prune", "/orgs/nobody/prune", "/prune", "/prune")
    assert [(await daemon.client.post(path)).json() for path in paths] == [{"pruned": n} for n in (1, 0, 0, 2, 0)]
    assert (await daemon.client.get("/orgs/acme/secrets/c")).status_code == 200


# Gone is one answer.

GONE: Final = ["absent", "burned", "deleted", "expired"]


def told(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return all of an answer but for what may differ."""
    headers = [pair for pair in answer.headers.multi_items() if pair[0] not in {"date", "x-request-id"}]
    return answer.status_code, answer.content, headers


@pytest.mark.parametrize(
    ("method", "form"),
    [
        *(
            (method, form)
            for form in ("/secrets/<>", "/secrets/[]", "/orgs/acme/secrets/[]")
            for method in ("GET", "HEAD", "PATCH", "DELETE")
        ),
        *((method, "/s/<>") for method in ("GET", "HEAD", "POST")),
    ],
)
async def test_gone_is_one_answer(daemon: Daemon, method: str, form: str) -> None:
    """Burned, expired, deleted and never there are told alike, byte for byte and header for header."""
    answers = []
    body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
    for state in GONE:
        name = await made(daemon, state, org="acme" if "[" in form else None)
        path = form.replace("<>", name).replace("[]", name)
        answers.append(told(await daemon.client.request(method, path, **body)))
    assert answers[0][0] == 404
    assert answers == answers[:1] * len(GONE)


async def test_every_name_of_nothing_gets_the_same_miss(daemon: Daemon) -> None:
    """An id, a bare key and an org key that are not there get the very same answer."""
    paths = (f"/secrets/{ABSENT}", "/secrets/absent", "/orgs/acme/secrets/absent", "/orgs/nobody/secrets/absent")
    answers = [told(await daemon.client.get(path)) for path in paths]
    assert answers == answers[:1] * len(paths)
    assert told(await daemon.stranger.get(paths[0])) == answers[0]
