"""Who is meant: requests for other hosts are refused, and do nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from sirrd import hosts
from sirrd.cli.told import banner
from sirrd.config.settings import Settings
from sirrd.config.sources import load
from sirrd.errors import BadSetting
from tests.conftest import API_KEY, Daemon, Launch, Start, settings_for
from tests.contract.test_peers import PROXY, TRUSTING, seen_from
from tests.contract.test_raw import BEARER, JSON, ask, reads_of
from tests.parts import ask as ask_process
from tests.parts import put
from tests.server.test_daemon import said

PUBLIC: Final = {"public_url": "https://Drop.example:8443/under"}
EVERYWHERE: Final = {"host": "0.0.0.0"}
LAN: Final = {"host": "192.0.2.7"}
LOOPBACK: Final = [
    "localhost",
    "LOCALHOST:41200",
    "localhost.",
    "app.localhost",
    "127.0.0.1",
    "127.9.9.9:80",
    "[::1]",
    "[0:0:0:0:0:0:0:1]:80",
    "[::ffff:127.0.0.1]",
]
OTHERS: Final = [
    "evil.test",
    "evil.test:39999",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "notlocalhost",
    "localhost.localdomain",
    "192.0.2.9",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "[::2]",
    "[::]",
    "xn--bcher-kva.example",
    "",
]


def of(host: str) -> list[tuple[bytes, bytes]]:
    """Return the fields of a request that names a host."""
    return [BEARER, JSON, (b"host", host.encode())]


@pytest.mark.parametrize(
    ("settings", "meant", "others"),
    [
        ({}, LOOPBACK, OTHERS),
        ({"host": "::1"}, LOOPBACK, OTHERS),
        ({"host": "localhost"}, LOOPBACK, OTHERS),
        (
            PUBLIC,
            [*LOOPBACK, "drop.example", "DROP.example.", "drop.example:1"],
            [*OTHERS, "x.drop.example", "example"],
        ),
        ({**PUBLIC, **EVERYWHERE}, [*LOOPBACK, "drop.example"], OTHERS),
        ({**PUBLIC, **LAN}, [*LOOPBACK, "drop.example", "192.0.2.7:39999"], OTHERS),
        ({"public_url": "http://[2001:DB8::1]:80"}, [*LOOPBACK, "[2001:db8:0::1]"], OTHERS),
        ({"public_url": "http://my_sirrd"}, [*LOOPBACK, "my_sirrd", "MY_SIRRD:41200"], OTHERS),
        ({"allowed_hosts": "Sirrd.internal, 192.0.2.8"}, [*LOOPBACK, "sirrd.internal", "192.0.2.8"], OTHERS),
        ({"allowed_hosts": "[2001:db8::8]"}, [*LOOPBACK, "[2001:DB8::8]:1"], [*OTHERS, "sirrd.internal"]),
        ({"allowed_hosts": "sirrd.internal", **LAN}, [*LOOPBACK, "sirrd.internal", "192.0.2.7"], OTHERS),
        ({**PUBLIC, "allowed_hosts": "a.example,b.example"}, ["a.example", "b.example", "drop.example"], OTHERS),
        ({**PUBLIC, "allowed_hosts": "*"}, [*LOOPBACK, *OTHERS], []),
        ({"allowed_hosts": "*"}, [*LOOPBACK, *OTHERS], []),
        (EVERYWHERE, [*LOOPBACK, *OTHERS], []),
        ({"host": "::"}, [*LOOPBACK, *OTHERS], []),
        (LAN, [*LOOPBACK, *OTHERS], []),
    ],
)
async def test_only_who_is_meant_is_answered(
    start: Start, settings: Mapping[str, Any], meant: Sequence[str], others: Sequence[str]
) -> None:
    """The public URL's host, loopback, what is listed and the own address are meant; all else is 421, nothing done."""
    async with start(**{"allowed_hosts": (), **settings}) as daemon:
        answer = await ask(daemon, "POST", "/secrets", of("localhost"), [b'{"value": "s3cret", "max_reads": 99}'])
        path = f"/secrets/{json.loads(answer.body)['id']}"
        for host in meant:
            assert (await ask(daemon, "GET", path, of(host))).status == 200, host
        for host in others:
            for method in ("GET", "HEAD", "DELETE", "PATCH"):
                answer = await ask(daemon, method, path, of(host), [b"{}"])
                assert answer.status == 421, host
                assert b"s3cret" not in answer.body
            assert json.loads(answer.body) == {"error": "this server is not known by that host", "code": "wrong_host"}
            assert (await ask(daemon, "POST", "/secrets", of(host), [b'{"value": "v"}'])).status == 421
        shown = await ask(daemon, "HEAD", path, of("localhost"))
        assert dict(shown.headers)["x-sirr-read-count"] == str(len(meant))


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize(
    "path", ["/", "/s/{}", "/secrets", "/nowhere", "/version", "/static/x/style.css", "/openapi.json"]
)
async def test_another_host_is_found_first(start: Start, method: str, path: str) -> None:
    """It comes before the route, the rate, the bearer and CORS: a page that lies about its name learns nothing."""
    listed = {"cors_origins": "https://app.example", "rate_limit_per_second": 0.001, "rate_limit_burst": 1}
    asking = [(b"origin", b"https://app.example"), (b"access-control-request-method", b"POST")]
    async with start(**listed) as daemon:
        for _ in range(3):
            answer = await ask(daemon, method, path.format("0" * 64), [(b"host", b"evil.test"), *asking])
            assert answer.status == 421
            assert not [name for name, _ in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_may_use_any_host(daemon: Daemon, path: str) -> None:
    """Supervisors and load balancers ask by address."""
    for host in OTHERS:
        assert (await ask(daemon, "GET", path, of(host))).status == 200


async def test_an_older_request_needs_no_host(daemon: Daemon) -> None:
    """HTTP/1.0 without `Host` names nobody else; no browser sends that."""
    secret = await daemon.put()
    assert (await ask(daemon, "GET", f"/secrets/{secret}", version="1.0")).status == 200


@pytest.mark.parametrize(
    ("address", "host", "forwarded", "status"),
    [
        (PROXY, "upstream:39999", ["drop.example"], 200),
        (PROXY, "upstream:39999", ["DROP.example:443"], 200),
        (PROXY, "upstream:39999", ["evil.test, drop.example"], 200),
        (PROXY, "upstream:39999", ["evil.test", "drop.example"], 200),
        (PROXY, "drop.example", ["evil.test"], 421),
        (PROXY, "drop.example", ["drop.example, evil.test"], 421),
        (PROXY, "drop.example", ["drop.example", "evil.test"], 421),
        (PROXY, "upstream:39999", [], 421),
        (PROXY, "drop.example", [], 200),
        (PROXY, "drop.example", ['"><'], 200),
        (PROXY, "evil.test", ['"><'], 421),
        (PROXY, "evil.test", [""], 421),
        ("192.0.2.1", "evil.test", ["drop.example"], 421),
        ("192.0.2.1", "drop.example", ["evil.test"], 200),
    ],
)
async def test_from_a_trusted_proxy_the_forwarded_host_counts(
    start: Start, address: str, host: str, forwarded: Sequence[str], status: int
) -> None:
    """What the client asked the proxy for is what counts, and nobody else may say so."""
    sent = [("Host", host), *(("X-Forwarded-Host", value) for value in forwarded)]
    async with start(allowed_hosts=(), **PUBLIC, **TRUSTING) as daemon, seen_from(daemon, address) as client:
        assert (await client.get("/secrets", headers=sent)).status_code == status


async def test_the_operator_is_told_which_setting_helps(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal names the host and the settings in the log, once a minute, and nothing that is no host gets there."""
    for host in ("evil.test", "other.test", 'x" y=z\n'):
        await ask(daemon, "GET", "/secrets", of(host))
    daemon.clock.at += 60
    await ask(daemon, "GET", "/secrets", of("Third.test:80"))
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [getattr(record, "fields", None) for record in told] == [{"host": "evil.test"}, {"host": "third.test"}]
    assert all("SIRR_ALLOWED_HOSTS" in record.message for record in told)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "requests must name loopback:"),
        (PUBLIC, "requests must name drop.example or loopback:"),
        ({**PUBLIC, **EVERYWHERE, "allowed_hosts": "a.example"}, "must name a.example or drop.example or loopback:"),
        (EVERYWHERE, "ANY: "),
        ({"allowed_hosts": "*"}, "ANY: "),
    ],
)
def test_the_banner_says_who_is_meant(settings: Mapping[str, Any], told: str) -> None:
    """So does the first line of the log, where it is in JSON."""
    text = banner(settings_for(Path("/nowhere"), **{"allowed_hosts": (), **settings}), "http://127.0.0.1:1")
    (line,) = (line for line in text.splitlines() if line.startswith("  hosts "))
    assert told in line


@pytest.mark.parametrize(
    "value", ["*,a.example", "http://a.example", "a.example:80", "*.example", "bücher.example", "a b"]
)
def test_a_list_of_hosts_is_one(value: str) -> None:
    """What could never match is refused, and the message says what to write."""
    with pytest.raises(BadSetting, match=r"allowed_hosts: must list hosts such as drop\.example\.org"):
        load(flags={}, environ={"SIRR_ALLOWED_HOSTS": value}, folder=Path("/nowhere"))


@pytest.mark.parametrize(
    ("field", "name", "port"),
    [
        (b"Drop.Example.", "drop.example", None),
        (b"drop.example:", "drop.example", None),
        (b"drop.example:080", "drop.example", 80),
        (b"my_sirrd:41200", "my_sirrd", 41_200),
        (b"_x._tcp.example", "_x._tcp.example", None),
        (b"[2001:DB8:0::1]:1", "2001:db8::1", 1),
        (b"[::ffff:192.0.2.1]", "192.0.2.1", None),
        (b"192.0.2.1", "192.0.2.1", None),
    ],
)
def test_a_host_has_one_form(field: bytes, name: str, port: int | None) -> None:
    """However it is written."""
    found = hosts.parse(field)
    assert found is not None
    assert (found.name, found.port) == (name, port)


def test_no_host_is_longer_than_a_name() -> None:
    """And what is longer is not remembered."""
    before = hosts._parse.cache_info().currsize
    assert hosts.parse(b"a." * 30_000 + b"a") is None
    assert hosts._parse.cache_info().currsize == before
    assert hosts.parse(b".".join([b"a" * 60] * 4)) is not None
    assert hosts.parse(b".".join([b"a" * 60] * 5)) is None


LINES: Final[list[tuple[str, list[str], bytes]]] = [
    ("GET {} HTTP/1.1", [], b"400"),
    ("GET {} HTTP/1.1", ["Host: localhost", "Host: localhost"], b"400"),
    ("GET {} HTTP/1.1", ["Host: localhost", "Host: evil.test"], b"400"),
    ("GET {} HTTP/1.0", ["Host: localhost", "Host: evil.test"], b"400"),
    ("GET http://evil.test{} HTTP/1.1", ["Host: localhost"], b"400"),
    ("GET http://localhost{} HTTP/1.1", ["Host: evil.test"], b"400"),
    ("GET http://localhost:1{} HTTP/1.1", ["Host: localhost:2"], b"400"),
    ("GET http://localhost{} HTTP/1.1", ["Host: localhost:81"], b"400"),
    ("GET http://x@localhost{} HTTP/1.1", ["Host: localhost"], b"400"),
    ("GET http://localhost@evil.test{} HTTP/1.1", ["Host: localhost"], b"400"),
    ("GET ftp://localhost{} HTTP/1.1", ["Host: localhost"], b"400"),
    ("GET http://localhost{} HTTP/1.1", [], b"400"),
    ("GET http://evil.test{} HTTP/1.1", ["Host: evil.test"], b"421"),
    ("GET http://evil.test{} HTTP/1.0", [], b"421"),
    ("GET {} HTTP/1.1", ["Host: evil.test"], b"421"),
    ("GET {} HTTP/1.0", ["Host: evil.test"], b"421"),
    ("GET http://localhost{} HTTP/1.0", [], b"200"),
    ("GET HTTP://LOCALHOST:80{} HTTP/1.1", ["Host: localhost"], b"200"),
    ("GET http://[::1]:5{} HTTP/1.1", ["Host: [0::1]:5"], b"200"),
    ("GET {} HTTP/1.0", [], b"200"),
]


def test_a_request_names_one_server(launch: Launch) -> None:
    """Two hosts, none in HTTP/1.1, a target of another host than `Host`: 400, and nothing is spent."""
    with launch(SIRR_MASTER_API_KEY=API_KEY) as daemon:
        address = daemon.address()
        for line, fields, status in LINES:
            path = put(address, bearer=API_KEY)
            answer = said(address, "\r\n".join([line.format(path), *fields, "Connection: close", "", ""]).encode())
            assert (line, fields, answer[9:12]) == (line, fields, status)
            assert ask_process(address, "GET", path)[0] == (404 if status == b"200" else 200)


def test_the_commands_beside_the_daemon_are_meant(tmp_path: Path) -> None:
    """They ask by the address that it listens on, whatever the public URL is."""
    for host, own in (("192.0.2.7", ["192.0.2.7"]), ("0.0.0.0", [])):
        settings = Settings(data_dir=tmp_path, host=host, public_url="https://drop.example")
        assert settings.meant_hosts == frozenset(["drop.example", *own])


async def test_a_page_of_a_refusal_names_no_host(start: Start) -> None:
    """Neither the one that was asked for nor the own: who scans addresses learns no name."""
    async with start(**PUBLIC) as daemon:
        for host, status in (("evil.test", 421), ("evil.test/x", 400)):
            answer = await ask(daemon, "GET", "/s/" + "0" * 64, of(host))
            assert (answer.status, dict(answer.headers)["content-type"]) == (status, "text/html; charset=utf-8")
            assert not re.search(b"evil|drop", answer.body)


async def test_a_refused_host_is_counted_in_the_trail(daemon: Daemon) -> None:
    """As what another site tried, so that an operator sees it later."""
    secret = await daemon.put()
    await ask(daemon, "GET", f"/secrets/{secret}", [(b"host", b"evil.test")])
    assert [event.action for event in daemon.drop._tally.drain(before=daemon.clock.at + 60)] == ["refused"]
    assert await reads_of(daemon, f"/secrets/{secret}") == "0"
