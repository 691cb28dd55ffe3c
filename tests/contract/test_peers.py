"""Who is at the other end, and under what address the daemon is known: the public URL, proxies, hostile hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
import pytest

from tests.conftest import Daemon, Start
from tests.contract.test_raw import BEARER, JSON, app_of, ask

PROXIED: Final = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shown.example"}
PROXY: Final = "10.0.0.1"
TRUSTING: Final = {"trusted_proxies": "10.0.0.0/8,fd00::/8"}
OWN: Final = "http://sirrd.test"


def seen_from(daemon: Daemon, address: str) -> httpx.AsyncClient:
    """Return a client that connects from an address, with the bearer."""
    transport = httpx.ASGITransport(app_of(daemon), client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url=OWN, headers=dict(daemon.client.headers))


@pytest.mark.parametrize(
    ("settings", "address", "sent", "base"),
    [
        ({}, PROXY, {}, OWN),
        ({}, PROXY, PROXIED, OWN),
        ({}, "127.0.0.1", PROXIED, OWN),
        (TRUSTING, "192.0.2.1", PROXIED, OWN),
        (TRUSTING, "11.0.0.1", PROXIED, OWN),
        (TRUSTING, PROXY, PROXIED, "https://shown.example"),
        (TRUSTING, "fd00::1", PROXIED, "https://shown.example"),
        (TRUSTING, "::ffff:10.0.0.1", PROXIED, "https://shown.example"),
        (TRUSTING, PROXY, {"X-Forwarded-Proto": "https"}, "https://sirrd.test"),
        (TRUSTING, PROXY, {"X-Forwarded-Host": "shown.example:8443"}, "http://shown.example:8443"),
        (TRUSTING, PROXY, {"X-Forwarded-Host": "[2001:db8::1]:443"}, "http://[2001:db8::1]:443"),
        (TRUSTING, PROXY, {"X-Forwarded-Proto": "HTTPS"}, "https://sirrd.test"),
        (TRUSTING, PROXY, {"X-Forwarded-Proto": "javascript"}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Proto": ""}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Host": ""}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Host": "evil.example/x?"}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Host": "user@evil.example"}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Host": '"><script>'}, OWN),
        (TRUSTING, PROXY, {"X-Forwarded-Prefix": "/x", "Forwarded": "host=evil.example"}, OWN),
        ({}, PROXY, {"Host": "other.example:8080"}, "http://other.example:8080"),
        ({"public_url": "https://drop.example"}, PROXY, {}, "https://drop.example"),
        ({"public_url": "https://drop.example/"}, PROXY, {}, "https://drop.example"),
        ({"public_url": "https://drop.example:8443/under/here/"}, PROXY, {}, "https://drop.example:8443/under/here"),
        ({"public_url": "https://drop.example/x", **TRUSTING}, PROXY, PROXIED, "https://drop.example/x"),
        ({"public_url": "https://drop.example/x"}, PROXY, {"Host": "evil.example"}, "https://drop.example/x"),
        ({}, PROXY, {"Host": "my_sirrd:41200"}, "http://my_sirrd:41200"),
        (TRUSTING, PROXY, {"X-Forwarded-Host": "my_sirrd"}, "http://my_sirrd"),
        ({}, PROXY, {"Host": "Other.Example.:80"}, "http://Other.Example.:80"),
    ],
)
async def test_the_url_is_the_one_that_people_reach(
    start: Start, settings: Mapping[str, Any], address: str, sent: Mapping[str, str], base: str
) -> None:
    """`SIRR_PUBLIC_URL` wins over everything; else a trusted proxy, and nobody else, may say how it was reached."""
    async with start(allowed_hosts="*", **settings) as daemon, seen_from(daemon, address) as client:
        stored = (await client.post("/secrets", json={"value": "v"}, headers=sent)).json()
        assert stored["url"] == f"{base}/s/{stored['id']}"


@pytest.mark.parametrize(
    "hosts",
    [
        [b"evil.example/x"],
        [b"evil.example/secrets?"],
        [b"x/secrets?"],
        [b"evil.example#"],
        [b"user@evil.example"],
        [b"evil.example\\x"],
        [b"evil example"],
        [b'evil.example"><script>'],
        [b"evil.example:port"],
        [b"evil.example:123456"],
        [b"evil.example\x00"],
        [b"\xff\xfe"],
        [b"-evil.example"],
        [b"evil..example"],
        [b"[::1"],
        [b"[:::1]"],
        [b"[127.0.0.1]"],
        [b"[fe80::1%25eth0]"],
        [b"evil.example:65536"],
        ["bücher.example".encode()],
        [b"e" * 64 + b".example"],
        [b"evil.example", b"sirrd.test"],
    ],
)
@pytest.mark.parametrize("allowed", ["*", "sirrd.test"])
async def test_a_hostile_host_is_refused(start: Start, allowed: str, hosts: Sequence[bytes]) -> None:
    """A `Host` that is doubled or malformed is 400 on every path, whoever may be meant, and nothing is done."""
    headers = [BEARER, JSON, *((b"host", host) for host in hosts)]
    async with start(allowed_hosts=allowed) as daemon:
        for method, path in (("POST", "/secrets"), ("GET", "/health"), ("GET", "/nowhere"), ("OPTIONS", "/secrets")):
            answer = await ask(daemon, method, path, headers, [b'{"value": "v"}'])
            assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_host")
        assert (await daemon.client.get("/secrets")).json() == {"secrets": []}


@pytest.mark.parametrize(("sent", "version"), [([], "1.0"), ([(b"host", b"")], "1.1"), ([(b"host", b"")], "1.0")])
async def test_without_a_host_the_url_has_the_address_of_the_socket(
    start: Start, sent: list[tuple[bytes, bytes]], version: str
) -> None:
    """HTTP/1.0 needs no `Host`, and it may be empty: then links have the address that the request came to."""
    async with start(allowed_hosts="*") as daemon:
        headers = [BEARER, JSON, *sent]
        answer = await ask(daemon, "POST", "/secrets", headers, [b'{"value": "v"}'], version=version)
        stored = json.loads(answer.body)
        assert stored["url"] == f"http://127.0.0.1:39999/s/{stored['id']}"


@pytest.mark.parametrize(
    ("settings", "address", "forwarded", "client"),
    [
        ({}, PROXY, ["203.0.113.9"], PROXY),
        (TRUSTING, "192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        (TRUSTING, PROXY, [], PROXY),
        (TRUSTING, PROXY, ["203.0.113.9"], "203.0.113.9"),
        (TRUSTING, PROXY, ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (TRUSTING, PROXY, ["198.51.100.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (TRUSTING, PROXY, ["198.51.100.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (TRUSTING, PROXY, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (TRUSTING, PROXY, ["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (TRUSTING, PROXY, ["203.0.113.9:4711"], "203.0.113.9"),
        (TRUSTING, PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (TRUSTING, PROXY, ["2001:DB8:0::1"], "2001:db8::1"),
        (TRUSTING, PROXY, ["203.0.113.9, unknown"], PROXY),
        (TRUSTING, PROXY, ['<script>"'], PROXY),
        (TRUSTING, PROXY, [""], PROXY),
        (TRUSTING, "::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        (TRUSTING, "fd00::1", ["203.0.113.9, fd00::2"], "203.0.113.9"),
    ],
)
async def test_the_client_is_the_right_most_hop_that_is_not_trusted(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    settings: Mapping[str, Any],
    address: str,
    forwarded: Sequence[str],
    client: str,
) -> None:
    """The log names the right-most hop that no trusted network holds, and believes no stranger's header."""
    async with start(**settings) as daemon, seen_from(daemon, address) as asking:
        await asking.get("/version", headers=[("X-Forwarded-For", hop) for hop in forwarded])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"/version"' in line]
    assert [line["address"] for line in lines] == [client]
