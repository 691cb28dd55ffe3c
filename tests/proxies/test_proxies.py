"""What docs/operations.md says of nginx, Caddy and HAProxy, tried with each of them."""

from __future__ import annotations

import base64
import contextlib
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.parts import wait_until
from tests.proxies.conftest import BEARER, HOST, NAMES, PREFIX, Proxied, Proxy
from tests.relay import Asked

_MOST_TRIES = 4
_GATEWAY = {502, 503, 504}


@pytest.fixture(params=NAMES)
def proxy(request: pytest.FixtureRequest, proxied: Proxied) -> Iterator[Proxy]:
    """Each of the proxies in turn."""
    with proxied(request.param) as found:
        yield found


def is_read(asked: Asked) -> bool:
    """Tell whether a request reads a secret."""
    return asked.head.startswith(b"GET /secrets/")


def test_a_secret_is_stored_and_read_through_it(proxy: Proxy) -> None:
    """Over TLS, by the name in the public URL; what is told to the browser is there, and nothing is compressed."""
    answer = proxy.client.post("/secrets", json={"value": "s3cret" * 500}, headers=BEARER)
    assert answer.json()["url"].startswith(f"https://{HOST}/s/")
    drop = answer.json()["id"]
    page = proxy.client.get(f"/s/{drop}")
    assert (page.status_code, page.headers["strict-transport-security"]) == (200, "max-age=31536000")
    read = proxy.client.get(f"/secrets/{drop}", headers={"Accept-Encoding": "gzip, br"})
    assert (read.status_code, read.json()["value"]) == (200, "s3cret" * 500)
    assert "content-encoding" not in read.headers
    assert read.headers["cache-control"] == "no-store"
    assert proxy.client.get(f"/secrets/{drop}").status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_a_path_prefix_is_stripped(proxied: Proxied, name: str) -> None:
    """Below a prefix the link has it, and page, static files and reading work."""
    with proxied(name, prefix=True) as proxy:
        answer = proxy.client.post("/secrets", json={"value": "s3cret"}, headers=BEARER)
        url = answer.json()["url"]
        assert url.startswith(f"https://{HOST}{PREFIX}/s/")
        page = proxy.client.get(f"/s/{answer.json()['id']}")
        _, _, rest = page.text.partition('href="../static/')
        style = proxy.client.get(f"/static/{rest.partition(chr(34))[0]}")
        assert (style.status_code, "immutable" in style.headers["cache-control"]) == (200, True)
        assert proxy.client.get(f"/secrets/{answer.json()['id']}").json()["value"] == "s3cret"


def test_the_client_is_who_asks_and_cannot_say_otherwise(proxy: Proxy) -> None:
    """The daemon's log has the address of the client of the proxy, whatever that client forwards."""
    proxy.client.get("/secrets/" + "0" * 64, headers={"X-Forwarded-For": "192.0.2.1"})
    wait_until(lambda: '"status":404' in proxy.daemon.log.read_text())
    log = proxy.daemon.log.read_text()
    assert "192.0.2.1" not in log
    assert '"address":"127.0.0.1"' in log


def test_another_host_is_refused(proxy: Proxy) -> None:
    """A name that is none of the daemon's gets nothing, through the proxy as well."""
    drop = proxy.put()
    try:
        answer = proxy.client.get(f"/secrets/{drop}", headers={"Host": "evil.test"})
    except httpx.HTTPError:
        answer = None
    assert answer is None or "s3cret" not in answer.text
    assert proxy.client.get(f"/secrets/{drop}").json()["value"] == "s3cret"


def test_a_log_has_no_ids(proxy: Proxy) -> None:
    """Reads, misses, refused and broken requests, and a daemon that is away: nothing that is written names a secret."""
    drop = proxy.put()
    absent = secrets.token_hex(32)
    query = secrets.token_hex(16)
    proxy.client.get(f"/secrets/{drop}?x={query}", headers={"Referer": f"https://{HOST}/s/{drop}"})
    proxy.client.get(f"/secrets/{absent}")
    proxy.client.get(f"/s/{absent}")
    proxy.relay.loses = lambda _asked: True
    for path in (f"/secrets/{absent}", f"/s/{drop}"):
        with contextlib.suppress(httpx.HTTPError):
            proxy.client.get(path)
    assert proxy.daemon.stop() == 0
    for path in (f"/secrets/{absent}", f"/s/{drop}"):
        with contextlib.suppress(httpx.HTTPError):
            proxy.client.get(path)
    written = proxy.written()
    assert [each for each in (drop, absent, query) if each in written] == []


def test_a_read_whose_answer_is_lost_is_sent_once(proxy: Proxy) -> None:
    """A plain reader, without an attempt: the proxy does not send the request again, so one read is spent."""
    drop = proxy.put(max_reads=3)
    for _ in range(3):
        assert proxy.client.get("/health").status_code == 200
    proxy.relay.loses = is_read
    with contextlib.suppress(httpx.HTTPError):
        assert proxy.client.get(f"/secrets/{drop}").status_code in _GATEWAY
    proxy.relay.loses = lambda _asked: False
    assert proxy.client.head(f"/secrets/{drop}").headers["x-sirr-reads-remaining"] == "2"
    assert sum(map(is_read, proxy.relay.asked)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_with_an_attempt_gets_the_value_and_spends_one_read(
    proxied: Proxied, name: str, pytestconfig: pytest.Config
) -> None:
    """The answer is lost between the daemon and the proxy, each time: one read is spent, and the value is there."""
    with proxied(name, edit=lambda text: text.replace("rate=20r/s", "rate=2000r/s")) as proxy:
        for _ in range(pytestconfig.getoption("--runs")):
            drop = proxy.put(max_reads=2)
            attempt = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
            lost = iter([True])
            proxy.relay.loses = lambda asked, lost=lost: is_read(asked) and next(lost, False)  # type: ignore[misc]
            assert _read(proxy, drop, attempt) == "s3cret"
            assert next(lost, False) is False, "no answer was lost"
            assert proxy.client.head(f"/secrets/{drop}").headers["x-sirr-reads-remaining"] == "1"


def _read(proxy: Proxy, drop: str, attempt: str) -> str | None:
    """Read like the clients of sirrd: again with the same attempt, while there is no proper answer."""
    for _ in range(_MOST_TRIES):
        try:
            answer = proxy.client.get(f"/secrets/{drop}", headers={"X-Sirr-Attempt": attempt})
        except httpx.HTTPError:
            continue
        if answer.status_code not in _GATEWAY:
            return str(answer.json()["value"])
    return None


def test_a_proxy_that_sends_again_spends_one_read_of_an_attempt(proxied: Proxied) -> None:
    """Caddy without `keepalive off` sends a `GET` again on its own: by its attempt it is one read, without it two."""
    with proxied("caddy", edit=lambda text: text.replace("keepalive off", "keepalive 2m")) as proxy:
        spent = []
        for headers in ({"X-Sirr-Attempt": "A" * 43}, {}):
            drop = proxy.put(max_reads=3)
            proxy.relay.loses = lambda _asked: False
            assert proxy.client.get("/health").status_code == 200
            proxy.relay.loses = lambda asked: is_read(asked) and not asked.is_first
            answer = proxy.client.get(f"/secrets/{drop}", headers=headers)
            assert answer.json()["value"] == "s3cret"
            head = proxy.client.head(f"/secrets/{drop}")
            spent.append(3 - int(head.headers["x-sirr-reads-remaining"]))
        assert spent == [1, 2]


def test_haproxy_asks_whether_the_daemon_is_ready(proxied: Proxied) -> None:
    """The health check of the example: it asks `/ready`, and what is not ready gets nothing."""
    with proxied("haproxy", SIRR_DRAIN_SECONDS="30") as proxy:
        wait_until(lambda: any(asked.line == "GET /ready" for asked in proxy.relay.asked))
        assert proxy.client.get("/health").status_code == 200
        proxy.daemon.process.terminate()
        deadline = time.monotonic() + 30
        while proxy.client.get("/health").status_code == 200:
            assert time.monotonic() < deadline, "the daemon drains, and is still asked"
