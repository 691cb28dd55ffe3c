"""CORS: who may read which answers; nobody may read a secret."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conftest import Daemon, Start
from tests.contract.test_contract import PAGES, ROUTES, Case, check

LISTED: Final = "https://app.example"
OTHERS: Final = [
    "null",
    "https://evil.example",
    "https://app.example.evil.example",
    "http://app.example",
    "https://APP.example",
    "",
]
SETTINGS: Final = [("https://app.example,https://other.example", LISTED), ("*", "*")]
EVERY_SETTING: Final = pytest.mark.parametrize(("origins", "shown"), SETTINGS)


def is_read(case: Case) -> bool:
    """Tell whether a row is a read of a secret, or of its end, or stands under /s/."""
    path = case.path.partition("?")[0]
    is_secret = path.partition("/secrets/")[2] != ""
    is_own = case.method in {"GET", "HEAD"} or path.endswith("/received")
    return case.path.startswith("/s/") or (is_own and is_secret)


def shape(case: Case) -> tuple[object, ...]:
    """Return what can matter to CORS in a row: method, form of the path, status."""
    segments = case.path.partition("?")[0].split("/")
    return case.method, segments[1], len(segments), case.status


SHAPES: Final = {shape(case): case for case in [*ROUTES, *PAGES]}


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in SHAPES.values()])
async def test_reads_are_never_shared(case: Case, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the status, the answer of a read or a page is not shared with a listed origin; any other route's is."""
    # The page takes a post with a foreign origin only where the browser vouches for it.
    asked = case._replace(sent={"Sec-Fetch-Site": "same-origin", **case.sent, "Origin": LISTED})
    answer = await check(asked, start, monkeypatch, cors_origins=LISTED)
    if is_read(case):
        assert "access-control-allow-origin" not in answer.headers
    elif case.status not in {404, 405} and case.says not in {"wrong_host", "bad_host"}:  # those stand above CORS
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


READS: Final = [
    "/secrets/{id}",
    "/secrets/{gone}",
    "/secrets/{sealed}",
    "/secrets/k",
    "/orgs/acme/secrets/k",
    "/s/{id}",
    "/s/{gone}",
]


@pytest.mark.parametrize("origin", [LISTED, *OTHERS])
@EVERY_SETTING
async def test_no_origin_reads_a_secret(start: Start, origins: str, shown: str, origin: str) -> None:
    """No origin gets a CORS header on a read or on its preflight, whatever the setting, the status or the error."""
    async with start(cors_origins=origins) as daemon:
        await daemon.put_in("acme", "k", max_reads=9)
        sealed = await daemon.put(delete=False)
        await daemon.client.get(f"/secrets/{sealed}")
        names = {"id": await daemon.put(max_reads=99), "gone": "0" * 64, "sealed": sealed}
        for form in READS:
            path = form.format(**names)
            for method in ("GET", "HEAD"):
                cross = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
                for headers in (
                    (await daemon.client.request(method, path, headers={"Origin": origin})).headers,
                    (await daemon.client.request(method, path, headers=cross)).headers,
                    await preflight(daemon, path, origin, method),
                ):
                    assert not [name for name in headers if name.startswith("access-control")]


async def preflight(daemon: Daemon, path: str, origin: str, method: str) -> dict[str, str]:
    """Send a preflight without any credential, as browsers do, and return the headers of its answer."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-sirr-proof",
    }
    answer = await daemon.stranger.options(path, headers=headers)
    assert ("access-control-allow-origin" in answer.headers) == (answer.status_code == 204)
    return dict(answer.headers)


SHARED: Final = [
    ("GET", "/secrets"),
    ("POST", "/secrets"),
    ("POST", "/prune"),
    ("GET", "/orgs/acme/secrets"),
    ("POST", "/orgs/acme/secrets"),
    ("POST", "/orgs/acme/prune"),
    ("PATCH", "/secrets/{id}"),
    ("DELETE", "/secrets/{id}"),
    ("PATCH", "/secrets/k"),
    ("DELETE", "/orgs/acme/secrets/k"),
    ("PATCH", "/orgs/acme/secrets/k"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/version"),
    ("GET", "/openapi.json"),
]


@pytest.mark.parametrize(("method", "path"), SHARED)
@EVERY_SETTING
async def test_preflights_of_other_routes_are_granted(
    start: Start, origins: str, shown: str, method: str, path: str
) -> None:
    """A listed origin may ask with the three headers, is never given credentials, and never a method that reads."""
    async with start(cors_origins=origins) as daemon:
        path = path.format(id=await daemon.put())
        granted = await preflight(daemon, path, LISTED, method)
        assert granted["access-control-allow-origin"] == shown
        allowed = {name.strip().lower() for name in granted["access-control-allow-headers"].split(",")}
        assert allowed == {"authorization", "content-type", "x-sirr-proof"}
        methods = {name.strip() for name in granted["access-control-allow-methods"].split(",")}
        assert method in methods
        assert not (method in {"PATCH", "DELETE"} and methods & {"GET", "HEAD"})
        assert "Origin" in granted["vary"]
        assert "access-control-allow-credentials" not in granted
        assert granted["cache-control"] == "no-store"
        assert granted["x-content-type-options"] == "nosniff"
        assert "x-request-id" in granted


@pytest.mark.parametrize("origin", OTHERS)
async def test_unlisted_origins_get_nothing(start: Start, origin: str) -> None:
    """An origin that is not on the list, to the letter, gets no CORS header on any route, but `Vary` all the same."""
    async with start(cors_origins=LISTED) as daemon:
        for method, path in SHARED:
            answer = await daemon.client.request(method, path.format(id="0" * 64), headers={"Origin": origin})
            refused = await preflight(daemon, path.format(id="0" * 64), origin, method)
            for headers in (dict(answer.headers), refused):
                assert not [name for name in headers if name.startswith("access-control")]
                assert "Origin" in headers["vary"]


async def test_unset_means_no_cors_at_all(daemon: Daemon) -> None:
    """Without `SIRR_CORS_ORIGINS` no answer, and no preflight, has any CORS header."""
    for method, path in SHARED:
        answer = await daemon.client.request(method, path.format(id="0" * 64), headers={"Origin": LISTED})
        refused = await preflight(daemon, path.format(id="0" * 64), LISTED, method)
        assert not [name for name in [*answer.headers, *refused] if name.startswith("access-control")]


async def test_a_preflight_spends_and_changes_nothing(start: Start) -> None:
    """Preflights of every method leave a secret as it was."""
    async with start(cors_origins="*") as daemon:
        secret = await daemon.put()
        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"):
            await preflight(daemon, f"/secrets/{secret}", LISTED, method)
        assert (await daemon.stranger.get(f"/secrets/{secret}")).json()["value"] == "s3cret"


@pytest.mark.parametrize(
    "path", ["/secrets/{}", "/secrets/{}/", "//secrets/{}", "/secrets%2f{}", "/%73ecrets/{}", "/s/{}", "/s%2f{}"]
)
async def test_no_spelling_of_a_path_shares_a_value(start: Start, path: str) -> None:
    """No way to write the path of a secret makes an answer with its value that another origin may read."""
    async with start(cors_origins="*") as daemon:
        secret = await daemon.put("CANARY", max_reads=9)
        for method in ("GET", "POST"):
            answer = await daemon.stranger.request(method, path.format(secret), headers={"Origin": LISTED})
            assert not ("CANARY" in answer.text and "access-control-allow-origin" in answer.headers)
