"""Input is strict: bodies, their members, their media types and their sizes."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import httpx
import pytest

from tests.conftest import Daemon, Start
from tests.contract.test_raw import BEARER, JSON, ask

CANARY: Final = "CANARY7731"


class Route(NamedTuple):
    """An operation that takes a body.

    Attributes:
        method: The method.
        path: The path.
        members: What its body must have, as JSON members.
    """

    method: str
    path: str
    members: str


ROUTES: Final = {
    "drop": Route("POST", "/secrets", f'"value": "{CANARY}"'),
    "org": Route("POST", "/orgs/acme/secrets", f'"key": "{CANARY}", "value": "{CANARY}"'),
    "patch": Route("PATCH", "/orgs/umbrella/secrets/kept", ""),
}


async def send(daemon: Daemon, route: Route, body: bytes, media: str = "application/json") -> httpx.Response:
    """Send a body as it is."""
    return await daemon.client.request(route.method, route.path, content=body, headers={"Content-Type": media})


async def refuse(daemon: Daemon, route: Route, body: bytes, field: str | None) -> None:
    """Check that a body is refused for a field, that nothing is repeated, and that nothing changes."""
    before = (await daemon.client.get("/secrets")).json()
    if not before["secrets"]:
        await daemon.put_in("umbrella", "kept", delete=False, max_reads=7, ttl_seconds=7)
        before = (await daemon.client.get("/secrets")).json()
    answer = await send(daemon, route, body)
    assert answer.status_code == 400, route
    told = answer.json()
    assert (told["code"], told.get("field")) == ("bad_body" if field is None else "bad_field", field)
    assert CANARY not in answer.text
    assert (await daemon.client.get("/secrets")).json() == before


def joined(*members: str) -> bytes:
    """Return a JSON object of members."""
    return ("{" + ", ".join(filter(None, members)) + "}").encode()


NUMBERS: Final = [
    "0",
    "-0",
    "-1",
    "1.0",
    "1.5",
    "1e0",
    "1e9",
    "1E400",
    "-1e-400",
    "2147483648",
    "4294967297",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551617",
    "9" * 4000,
    '"1"',
    '""',
    '"unlimited"',
    "true",
    "false",
    "[]",
    "[1]",
    "{}",
    f'"{CANARY}"',
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:20])
async def test_numbers_are_integers_within_bounds(daemon: Daemon, number: str) -> None:
    """What is no integer from 1 to the bound is 400 for its field; zero never means for ever."""
    for route in ROUTES.values():
        await refuse(daemon, route, joined(route.members, f'"max_reads": {number}'), "max_reads")
        await refuse(daemon, route, joined(route.members, f'"ttl_seconds": {number}'), "ttl_seconds")


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ('"value": null', "value"),
        ('"value": ""', "value"),
        ('"value": 1', "value"),
        ('"value": true', "value"),
        (f'"value": ["{CANARY}"]', "value"),
        (f'"value": {{"{CANARY}": 1}}', "value"),
        (f'"value": "{CANARY}\\ud800"', "value"),
        (f'"value": "\\udfff\\ud83d{CANARY}"', "value"),
        ('"ttl_seconds": 315360001', "ttl_seconds"),
        (f'"{CANARY}": 1', ""),
        ('"maxReads": 1', ""),
        ('"max_read": 1', ""),
        ('"": 1', ""),
        ('"\\ud800": 1', ""),
        ('"org": "acme"', ""),
        ('"id": "x"', ""),
    ],
)
async def test_a_bad_member_is_400_for_its_field(daemon: Daemon, member: str, field: str) -> None:
    """A member of a wrong type, out of bounds or unknown is 400; an unknown one is not named."""
    for route in ROUTES.values():
        kept = [part for part in route.members.split(", ") if part.partition(":")[0] != member.partition(":")[0]]
        await refuse(daemon, route, joined(*kept, member), field)


@pytest.mark.parametrize("text", ["null", "1", "0", '"true"', '"false"', "[]", "{}"])
@pytest.mark.parametrize("name", ["drop", "org"])
async def test_delete_is_a_boolean(daemon: Daemon, name: str, text: str) -> None:
    """`delete` is true or false; null and what only resembles a boolean are 400."""
    await refuse(daemon, ROUTES[name], joined(ROUTES[name].members, f'"delete": {text}'), "delete")


@pytest.mark.parametrize("member", ['"delete": true', '"delete": false', '"key": "k"'])
async def test_a_patch_cannot_change_what_a_secret_is(daemon: Daemon, member: str) -> None:
    """PATCH knows neither `delete` nor `key`."""
    await refuse(daemon, ROUTES["patch"], joined(member), "")


async def test_a_dead_drop_has_no_key(daemon: Daemon) -> None:
    """POST /secrets does not know `key`: the server makes the name."""
    await refuse(daemon, ROUTES["drop"], joined(ROUTES["drop"].members, '"key": "k"'), "")


KEYS: Final = [".", "..", "", "a b", "a/b", "\u0430cme", "k\n", "\x00", "k" * 257, "a" * 64, "0123456789ABCDEF" * 4]


@pytest.mark.parametrize(
    "key", [*(json.dumps(key) for key in KEYS), "null", "1", "true", '["k"]'], ids=lambda key: key[:20]
)
async def test_keys_outside_their_alphabet_are_400(daemon: Daemon, key: str) -> None:
    """A key to be stored follows the same alphabet as one in a path, and is never 64 hex digits of either case."""
    await refuse(daemon, ROUTES["org"], joined('"value": "v"', f'"key": {key}'), "key")


@pytest.mark.parametrize("key", ["k" * 256, "...", "-", "A_z.0-9", "a" * 63, "a" * 65, "g" * 64])
async def test_keys_within_their_alphabet_are_stored(daemon: Daemon, key: str) -> None:
    """Every key of the alphabet is stored and read under that very name."""
    path = await daemon.put_in("acme", key)
    assert (await daemon.client.get(path)).json() == {"key": key, "value": "s3cret"}


@pytest.mark.parametrize("name", ["drop", "org"])
@pytest.mark.parametrize("missing", ["value", "key"])
async def test_what_is_required_is_asked_for(daemon: Daemon, name: str, missing: str) -> None:
    """Without a value, and for an org secret without a key, nothing is stored."""
    members = [part for part in ROUTES[name].members.split(", ") if not part.startswith(f'"{missing}"')]
    if name == "drop" and missing == "key":
        members = ['"max_reads": 1']
    await refuse(daemon, ROUTES[name], joined(*members), "value" if name == "drop" else missing)


DEEP: Final = 50_000
BODIES: Final = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "array": b'[{"value": "CANARY7731"}]',
    "string": b'"CANARY7731"',
    "number": b"1",
    "true": b"true",
    "cut": b'{"value": "CANARY7731"',
    "two objects": b'{"value": "CANARY7731"} {}',
    "trailing comma": b'{"value": "CANARY7731",}',
    "single quotes": b"{'value': 'CANARY7731'}",
    "comment": b'{"value": "CANARY7731"} // x',
    "form": b"value=CANARY7731",
    "byte order mark": b'\xef\xbb\xbf{"value": "CANARY7731"}',
    "utf-16": '{"value": "CANARY7731"}'.encode("utf-16"),
    "utf-32": '{"value": "CANARY7731"}'.encode("utf-32"),
    "latin-1": '{"value": "CANARY7731é"}'.encode("latin-1"),
    "overlong": b'{"value": "CANARY7731\xc0\x80"}',
    "surrogate": b'{"value": "CANARY7731\xed\xa0\x80"}',
    "control character": b'{"value": "CANARY7731\n"}',
    "bad escape": b'{"value": "CANARY7731\\x41"}',
    "duplicate": b'{"value": "CANARY7731", "value": "v"}',
    "duplicate by escape": b'{"value": "CANARY7731", "\\u0076alue": "v"}',
    "duplicate null": b'{"value": "CANARY7731", "max_reads": 1, "max_reads": null}',
    "duplicate inside": b'{"value": {"CANARY7731": 1, "CANARY7731": 2}}',
    "NaN": b'{"value": "CANARY7731", "max_reads": NaN}',
    "Infinity": b'{"value": "CANARY7731", "max_reads": Infinity}',
    "-Infinity": b'{"value": "CANARY7731", "ttl_seconds": -Infinity}',
    "leading zero": b'{"value": "CANARY7731", "max_reads": 01}',
    "plus": b'{"value": "CANARY7731", "max_reads": +1}',
    "hexadecimal": b'{"value": "CANARY7731", "max_reads": 0x1}',
    "5000 digits": b'{"value": "CANARY7731", "max_reads": ' + b"9" * 5000 + b"}",
    "deep arrays": b'{"value": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"value":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_is_one_strict_json_object(daemon: Daemon, body: bytes) -> None:
    """What is no single JSON object in UTF-8 without duplicate members is 400, and its text is not repeated."""
    for route in ROUTES.values():
        await refuse(daemon, route, body, None)


@pytest.mark.parametrize("value", ["v", "\x00", " ", "\n\r\n", "é", "𝄞", "\u2028\u202e", '"\\/', "</script>", "\ufeff"])
@pytest.mark.parametrize("escaped", [True, False])
async def test_a_value_comes_back_as_it_was_sent(daemon: Daemon, value: str, *, escaped: bool) -> None:
    """Every text that UTF-8 can carry is a value and comes back unchanged, however JSON wrote it."""
    body = json.dumps({"value": value}, ensure_ascii=escaped).encode()
    stored = await send(daemon, ROUTES["drop"], body)
    assert (await daemon.stranger.get(f"/secrets/{stored.json()['id']}")).json()["value"] == value


# Media types.


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 201),
        ("Application/JSON", 201),
        ("application/json; charset=utf-8", 201),
        ('application/json;charset="UTF-8"', 201),
        ("application/json; charset=utf8", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=utf-8; charset=latin-1", 415),
        ("application/jsonx", 415),
        ("application/problem+json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("", 415),
    ],
)
async def test_a_body_must_be_declared_as_json(daemon: Daemon, media: str, status: int) -> None:
    """application/json, in UTF-8 if it says so, is taken; anything else is 415 and stores nothing."""
    answer = await send(daemon, ROUTES["drop"], b'{"value": "v"}', media)
    assert answer.status_code == status
    assert len((await daemon.client.get("/secrets")).json()["secrets"]) == (status == 201)


@pytest.mark.parametrize("headers", [[], [JSON, JSON], [JSON, (b"content-type", b"text/plain")]])
async def test_a_missing_or_doubled_media_type_is_415(daemon: Daemon, headers: list[tuple[bytes, bytes]]) -> None:
    """No content type, or more than one, is 415."""
    answer = await ask(daemon, "POST", "/secrets", [BEARER, *headers], [b'{"value": "v"}'])
    assert (answer.status, json.loads(answer.body)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /secrets/{id}",
        "HEAD /secrets/{id}",
        "DELETE /secrets/{id}",
        "GET /secrets",
        "GET /orgs/acme/secrets",
        "POST /prune",
        "POST /orgs/acme/prune",
        "GET /health",
        "GET /ready",
        "GET /version",
        "GET /openapi.json",
        "GET /robots.txt",
        "GET /s/{id}",
        "POST /s/{id}",
    ],
)
async def test_routes_without_a_body_ignore_one(start: Start, request_line: str) -> None:
    """Where no body belongs, neither it nor its content type nor its size matters."""
    async with start(max_body_bytes=1024) as daemon:
        for media in ("application/json", "text/plain", "multipart/form-data", "", "\x7f"):
            method, path = request_line.format(id=await daemon.put()).split(" ")
            garbage = b'{"max_reads": 0, garbage' * 100
            answer = await daemon.client.request(method, path, content=garbage, headers={"Content-Type": media})
            assert answer.status_code == 200


# Sizes.


@pytest.mark.parametrize(
    ("value", "fits"), [("vvvv", True), ("éé", True), ("𝄞", True), ("vvvvv", False), ("ééé", False), ("𝄞v", False)]
)
@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
async def test_the_limit_of_a_value_counts_bytes_of_utf_8(
    start: Start, route: Route, value: str, *, fits: bool, escaped: bool
) -> None:
    """A value of exactly the limit is taken, one byte of UTF-8 more is 413, and JSON escapes do not count."""
    async with start(max_value_bytes=4) as daemon:
        await daemon.put_in("umbrella", "kept", "old", delete=False)
        body = {"value": value} | ({"key": "k"} if "acme" in route.path else {})
        answer = await send(daemon, route, json.dumps(body, ensure_ascii=escaped).encode())
        assert answer.is_success if fits else (answer.status_code, answer.json()["code"]) == (413, "value_too_large")


PADDED: Final = b'{"value": "v"}'


@pytest.mark.parametrize(
    ("headers", "chunks", "status"),
    [
        ([], [PADDED.ljust(1024)], 201),
        ([], [PADDED.ljust(1025)], 413),
        ([], [PADDED, b" " * 1010], 201),
        ([], [PADDED, b" " * 1010, b" "], 413),
        ([], [b" " * 1024, PADDED], 413),
        ([(b"content-length", b"1024")], [PADDED.ljust(1024)], 201),
        ([(b"content-length", b"1025")], [PADDED], 413),
        ([(b"content-length", b"1025")], [], 413),
        ([(b"content-length", b"9" * 30)], [], 413),
        ([(b"content-length", b"1")], [PADDED.ljust(1025)], 413),
    ],
)
async def test_the_limit_of_a_body_holds_as_soon_as_it_is_known(
    start: Start, headers: list[tuple[bytes, bytes]], chunks: list[bytes], status: int
) -> None:
    """A body over the limit is 413 by its declared length before any of it came, or by what came."""
    async with start(max_body_bytes=1024) as daemon:
        answer = await ask(daemon, "POST", "/secrets", [BEARER, JSON, *headers], chunks)
        assert answer.status == status
        assert len((await daemon.client.get("/secrets")).json()["secrets"]) == (status == 201)


async def test_the_usual_limits_leave_room_for_any_json(daemon: Daemon) -> None:
    """A value of 1 MiB passes even where JSON escapes every byte of it, and one byte more is 413 as a value."""
    escaped = b'{"value": "' + rb"\u0001" * 1024 * 1024 + b'"}'
    assert (await send(daemon, ROUTES["drop"], escaped)).status_code == 201
    larger = await send(daemon, ROUTES["drop"], escaped[:-2] + b'v"}')
    assert (larger.status_code, larger.json()["code"]) == (413, "value_too_large")
