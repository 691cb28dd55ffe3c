"""Requests that no ordinary client sends: targets, verbs and headers that reach the application as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import httpx
import pytest
from starlette.types import ASGIApp, Message

from tests.conftest import API_KEY, Daemon, Start
from tests.contract.test_contract import beside

BEARER: Final = (b"authorization", f"Bearer {API_KEY}".encode())
JSON: Final = (b"content-type", b"application/json")


@dataclass
class Heard:
    """What the application sent.

    Attributes:
        status: The status; 0 if there was none.
        headers: As they were sent.
        body: All that came.
        whole: Whether the application ended it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool


def app_of(daemon: Daemon) -> ASGIApp:
    """Return the application as the server sees it."""
    transport = daemon.stranger._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app


async def ask(
    daemon: Daemon,
    method: str,
    target: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    chunks: Sequence[bytes] = (b"",),
    *,
    version: str = "1.1",
    heard: Callable[[Message], None] | None = None,
) -> Heard:
    """Ask as the server would: only percent signs in the path are decoded.

    Args:
        daemon: Who is asked.
        method: Taken as it is.
        target: Path and query as they stand in the request line.
        headers: Names in lower case.
        chunks: The body.
        version: Of HTTP.
        heard: Called with everything that is sent.
    """
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 39_999),
    }
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    result = Heard(0, [], b"", whole=False)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            result.status = message["status"]
            result.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        else:
            result.body += message.get("body", b"")
            result.whole = not message.get("more_body", False)
        if heard is not None:
            heard(message)

    await app_of(daemon)(scope, receive, send)
    return result


async def reads_of(daemon: Daemon, path: str) -> str:
    """Return the read count of a secret."""
    return str((await daemon.client.head(path)).headers["x-sirr-read-count"])


OVERRIDES: Final = [
    (name, value)
    for name in (b"x-http-method-override", b"x-http-method", b"x-method-override")
    for value in (b"GET", b"DELETE")
]
VERBS: Final = ["PUT", "POST", "TRACE", "CONNECT", "QUERY", "PROPFIND", "get", "Get", "GETT", "G", "post"]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_verb_spends_nothing(daemon: Daemon, verb: str) -> None:
    """Verbs that a path does not take are 405 and spend nothing, with or without a header that overrides them."""
    for path in (f"/secrets/{await daemon.put()}", "/secrets/bare", await daemon.put_in("acme", "bare", max_reads=2)):
        for headers in ([], OVERRIDES):
            answer = await ask(daemon, verb, path, [BEARER, *headers])
            assert (answer.status, dict(answer.headers)["allow"]) == (405, "GET, HEAD, PATCH, DELETE, OPTIONS")
        before = "1" if path.startswith("/orgs/") else "0"
        assert await reads_of(daemon, path) == before
        assert (await daemon.client.get(path)).json()["value"] == "s3cret"


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "post", "TRACE"])
async def test_an_unknown_verb_spends_nothing_at_the_page(daemon: Daemon, verb: str) -> None:
    """Only GET, HEAD and POST are taken by the page, and what is not taken spends nothing."""
    secret = await daemon.put()
    answer = await ask(daemon, verb, f"/s/{secret}", OVERRIDES)
    assert (answer.status, dict(answer.headers)["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    assert (await daemon.stranger.post(f"/s/{secret}")).status_code == 200


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("HEAD", "/secrets/{}", []),
        ("HEAD", "/secrets/{}", OVERRIDES),
        ("GET", "/secrets", [BEARER]),
        ("GET", "/secrets?limit=1", [BEARER]),
        ("GET", "/s/{}", []),
        ("GET", "/s/{}", OVERRIDES),
        ("HEAD", "/s/{}", OVERRIDES),
        ("GET", "/secrets/{}", [(b"sec-purpose", b"prefetch;prerender")]),
        ("GET", "/secrets/{}", [(b"sec-fetch-site", b"cross-site")]),
        ("GET", "/secrets/{}/", []),
        ("GET", "/secrets/{}/raw", []),
        ("GET", "//secrets/{}", []),
        ("GET", "/secrets//{}", []),
        ("GET", "/./secrets/{}", []),
        ("GET", "/secrets/./{}", []),
        ("GET", "/x/../secrets/{}", []),
        ("GET", "/x/%2e%2e/secrets/{}", []),
        ("GET", "/secrets/{}%00", [BEARER]),
        ("GET", "/secrets/{}%0a", [BEARER]),
        ("GET", "/secrets/{}%20", [BEARER]),
        ("GET", "/secrets/{}%2f", []),
        ("GET", "/secrets/{};x", [BEARER]),
        ("GET", "/Secrets/{}", []),
        ("POST", "/secrets/{}", [BEARER, *OVERRIDES]),
        ("POST", "/s/{}", [(b"sec-fetch-site", b"cross-site")]),
        ("POST", "/s/{}", [(b"origin", b"null")]),
        ("POST", "/s/{}/", []),
        ("DELETE", "/secrets/{}", []),
        ("DELETE", "/secrets/{}", [(b"authorization", b"Bearer wrong")]),
        ("PATCH", "/secrets/{}", [JSON]),
        ("PATCH", "/secrets/{}", [BEARER, JSON]),
        ("POST", "/prune", [BEARER]),
    ],
)
async def test_what_is_no_read_spends_nothing(
    daemon: Daemon, method: str, target: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """Peeks, lists, pages, refused requests and paths that only look like the secret's leave its one read in place."""
    secret = await daemon.put()
    answer = await ask(daemon, method, target.format(secret), headers, [b"{}"])
    assert b"s3cret" not in answer.body
    assert await reads_of(daemon, f"/secrets/{secret}") == "0"
    assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"range", b"bytes=0-3")],
        [(b"range", b"bytes=0-3"), (b"if-range", b'"x"')],
        [(b"if-none-match", b"*")],
        [(b"if-match", b'"nothing"')],
        [(b"if-modified-since", b"Fri, 01 Jan 2100 00:00:00 GMT")],
        [(b"if-unmodified-since", b"Thu, 01 Jan 1970 00:00:00 GMT")],
        [(b"expect", b"100-continue")],
        [(b"expect", b"the-impossible")],
        [(b"accept", b"text/html"), (b"accept-encoding", b"gzip, br, zstd")],
        [(b"te", b"trailers"), (b"upgrade", b"h2c"), (b"connection", b"upgrade")],
        [*OVERRIDES],
        [JSON],
    ],
)
async def test_a_read_is_one_plain_read(daemon: Daemon, headers: list[tuple[bytes, bytes]], version: str) -> None:
    """No header and no version of HTTP makes a GET anything but a whole, uncompressed 200 that spends one read."""
    secret = await daemon.put(max_reads=2)
    answer = await ask(daemon, "GET", f"/secrets/{secret}", headers, version=version)
    assert answer.status == 200
    assert json.loads(answer.body) == {"id": secret, "value": "s3cret"}
    shown = {name for name, _ in answer.headers}
    assert not shown & {"etag", "last-modified", "accept-ranges", "content-range", "content-encoding", "location"}
    assert await reads_of(daemon, f"/secrets/{secret}") == "1"


async def test_an_encoded_id_names_the_same_secret(daemon: Daemon) -> None:
    """An id in percent signs is that id, and its read counts like any other."""
    secret = await daemon.put()
    encoded = "".join(f"%{ord(digit):02x}" for digit in secret)
    answer = await ask(daemon, "GET", f"/secrets/{encoded}")
    assert json.loads(answer.body) == {"id": secret, "value": "s3cret"}
    assert (await daemon.stranger.get(f"/secrets/{secret}")).status_code == 404


LONG: Final = "k" * 257
NAMES: Final = [
    ("k" * 256, 404),
    ("A-Za_z.0-9", 404),
    ("...", 404),
    ("a" * 63, 404),
    ("a" * 65, 404),
    (LONG, 400),
    (".", 400),
    ("..", 400),
    ("%2e%2e", 400),
    ("A" * 64, 400),
    ("%00", 400),
    ("a%00", 400),
    ("a%0a", 400),
    ("%0a", 400),
    ("a%0d%0a", 400),
    ("a%20", 400),
    ("a+b", 400),
    ("a:b", 400),
    ("%ff", 400),
    ("%d0%b0cme", 400),
    ("%ef%bc%91", 400),
    ("%e2%80%8b", 400),
    ("a%5cb", 400),
    ("a;b", 400),
    ("%252e", 400),
    ("%3cscript%3e", 400),
]


@pytest.mark.parametrize(("name", "status"), NAMES, ids=[name[:20] for name, _ in NAMES])
@pytest.mark.parametrize("form", ["/secrets/{}", "/orgs/acme/secrets/{}"])
async def test_keys_outside_their_alphabet_are_400(daemon: Daemon, form: str, name: str, status: int) -> None:
    """A key is 1 to 256 of its alphabet, not dots alone and not 64 hex digits; all else is 400 for every method."""
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        answer = await ask(daemon, method, form.format(name), [BEARER, JSON], [b"{}"])
        assert answer.status == status
        assert json.loads(answer.body)["code"] == {400: "bad_path", 404: "not_found"}[status]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("o" * 128, 200),
        ("a" * 64, 200),
        ("o" * 129, 400),
        *((name, 400) for name, status in NAMES[6:] if name != "A" * 64),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_orgs_outside_their_alphabet_are_400(daemon: Daemon, name: str, status: int) -> None:
    """An org is 1 to 128 of its alphabet and not dots alone; all else is 400 for every route of orgs."""
    for method, rest, success in (("GET", "secrets", 200), ("POST", "prune", 200), ("POST", "secrets", 201)):
        answer = await ask(daemon, method, f"/orgs/{name}/{rest}", [BEARER, JSON], [b'{"key": "k", "value": "v"}'])
        assert answer.status == (success if status == 200 else 400)
        assert json.loads(answer.body).get("code") == (None if status == 200 else "bad_path")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "//",
        "/static",
        "/static/",
        "/secrets/",
        "//secrets",
        "/secrets//",
        "/./secrets",
        "/health/",
        "/SECRETS",
        "/orgs//secrets",
        "/orgs/acme",
        "/orgs/acme/",
        "/orgs/acme/secrets/",
        "/orgs/acme/secrets/k/x",
        "/orgs/acme/x/../secrets",
        "http://sirrd.test/secrets",
        "*",
    ],
)
async def test_paths_of_no_route_are_404_without_redirect(daemon: Daemon, target: str) -> None:
    """What only resembles a route is 404, and nobody is redirected anywhere."""
    for method in ("GET", "POST"):
        answer = await ask(daemon, method, target, [BEARER, JSON], [b'{"value": "v"}'])
        assert (answer.status, json.loads(answer.body).get("code")) == (404, "no_such_route")
        assert "location" not in dict(answer.headers)
    assert (await daemon.client.get("/secrets")).json() == {"secrets": []}


@pytest.mark.parametrize(
    "target",
    [
        "/%73ecrets/{}",
        "/secret%73/{}",
        "/%73%65%63%72%65%74%73/{}",
        "/secrets%2f{}",
        "/secrets%2F{}",
        "%2fsecrets/{}",
        "/%2fsecrets/{}",
        "/%2e/secrets/{}",
        "/x/%2e%2e/secrets/{}",
        "/secrets/%2e/{}",
        "/secrets/{}/%2e",
        "/secrets/{}%2f",
        "/secrets/{}%00",
        "/secrets/{}%3f",
        "/secrets/{}%23",
        "/secrets/{}%3bx",
        "/secrets/x%2f..%2f{}",
        "/%53ecrets/{}",
        "/%2573ecrets/{}",
        "/s%2f{}",
        "/%73/{}",
        "/%6frgs/acme/secrets/k",
        "/orgs/acme/%73ecrets/k",
        "/orgs/acme%2fsecrets/k",
        "/orgs/acme%2fsecrets%2fk",
        "/orgs%2facme/secrets/k",
        "/orgs/a%2fb/secrets/k",
        "/orgs/acme/secrets%0a",
        "/secrets%00",
        "/secrets%0a",
        "/secrets%20",
        "/secret%73",
        "/prune%0a",
        "/%70rune",
        "/health%0a",
        "/%68ealth",
        "/orgs/a%2fb/secrets",
        "/secrets/a%2fb",
        "/no%77here",
        "/%zz",
        "/%",
    ],
)
async def test_what_is_fixed_in_a_path_stands_there_to_the_letter(daemon: Daemon, target: str) -> None:
    """An escape outside of a name is 400, so that a proxy's rule on a path is not passed by another spelling of it."""
    await daemon.put_in("acme", "k", max_reads=9)
    secret = await daemon.put("CANARY", max_reads=9)
    answer = await ask(daemon, "GET", target.format(secret), [BEARER])
    assert answer.status == 400
    assert b"CANARY" not in answer.body
    assert b'"bad_path"' in answer.body or answer.body.startswith(b"<!doctype html>")
    for method in ("HEAD", "POST", "DELETE", "PATCH"):
        assert (await ask(daemon, method, target.format(secret), [BEARER, JSON], [b"{}"])).status in {400, 405}
    assert await reads_of(daemon, f"/secrets/{secret}") == await reads_of(daemon, "/orgs/acme/secrets/k") == "0"


async def test_a_name_may_be_escaped(daemon: Daemon) -> None:
    """Where a name stands, each character may be an escape, and it is decoded once."""
    await daemon.put_in("a.b", "k-1", max_reads=9)
    for path in ("/orgs/a%2eb/secrets/k%2d1", "/orgs/%61%2E%62/secrets/%6B-1", "/secrets/%6b%2d%31"):
        assert json.loads((await ask(daemon, "GET", path, [BEARER])).body)["value"] == "s3cret"
    assert (await ask(daemon, "GET", "/orgs/a%252eb/secrets/k-1", [BEARER])).status == 400
    whole = "".join(f"%{ord(letter):02x}" for letter in "k" * 256)
    assert (await ask(daemon, "GET", f"/secrets/{whole}", [BEARER])).status == 404
    assert (await ask(daemon, "GET", f"/secrets/{whole}%6b", [BEARER])).status == 400


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/secrets", "GET, POST, OPTIONS"),
        ("/secrets/{}", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/s/{}", "GET, HEAD, POST, OPTIONS"),
        ("/prune", "POST, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"rate_limit_per_second": 0.001, "rate_limit_burst": 1}])
async def test_options_tells_what_a_path_takes(start: Start, limits: dict[str, Any], path: str, allowed: str) -> None:
    """A load balancer that checks by `OPTIONS` gets 204, as often as it asks, and spends nothing."""
    async with start(**limits) as daemon:
        secret = await daemon.put()
        for version in ("1.0", "1.1"):
            answer = await ask(daemon, "OPTIONS", path.format(secret), version=version)
            shown = dict(answer.headers)
            assert (answer.status, set(shown["allow"].split(", "))) == (204, set(allowed.split(", ")))
            assert (answer.body, "content-length" in shown) == (b"", False)
        assert await reads_of(daemon, f"/secrets/{secret}") == "0"


async def test_options_of_the_root_needs_no_page(start: Start) -> None:
    """What is checked is the server, not its page; elsewhere a path that is not there is 404."""
    for pages in ("reveal", "off"):
        async with start(pages=pages) as daemon:
            answer = await ask(daemon, "OPTIONS", "/")
            assert (answer.status, dict(answer.headers)["allow"]) == (204, "OPTIONS")
            assert (await ask(daemon, "OPTIONS", "/nowhere")).status == 404


async def test_a_list_that_fails_midway_is_no_json(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list whose storage fails after its first bytes is broken off, and what came of it is no JSON."""
    monkeypatch.setattr("sirrd.deaddrop.usecases.LIST_BATCH", 2)
    for _ in range(5):
        await daemon.put()

    def break_storage(message: Message) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            with beside(daemon) as connection:
                connection.execute("DROP TABLE IF EXISTS secret")

    answer = await ask(daemon, "GET", "/secrets", [BEARER], heard=break_storage)
    assert (answer.status, answer.whole) == (200, False)
    assert answer.body.startswith(b'{"secrets":[{')
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


async def test_a_body_that_is_broken_off_stores_nothing(daemon: Daemon) -> None:
    """A client that leaves in the middle of its body is not answered, and nothing is stored."""
    received: list[Message] = [
        {"type": "http.request", "body": b'{"value": "v"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/secrets",
        "raw_path": b"/secrets",
        "query_string": b"",
        "headers": [BEARER, JSON],
    }
    await app_of(daemon)(scope, receive, send)
    assert sent == []
    assert (await daemon.client.get("/secrets")).json() == {"secrets": []}
