"""The contract as one table: settings, method, path, caller -> status, code, members, headers.

Every row of the contract's route table stands here with each of its successes and failures. What needs more than one
request, or a closer look, has a file of its own beside this one; the means to ask that they share stand here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import httpx
import pytest

from sirrd.errors import RateLimited
from sirrd.http import problems
from sirrd.http.pages import assets
from sirrd.store.sqlite.folder import DATABASE
from tests.conftest import Daemon, Start

OPERATOR: Final = "operator"
STRANGER: Final = "stranger"
ABSENT: Final = "0" * 64
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
SECURITY: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""The headers of every answer that is no page."""

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


# Secrets in every state. In a path, <word> is the id of a dead drop in that state, [word] an org secret of that key.

STATES: Final[dict[str, dict[str, Any]]] = {
    "once": {},
    "kept": {"delete": False, "max_reads": 2, "ttl_seconds": 3600},
    "shared": {"delete": False},
    "sealed": {"delete": False},
    "burned": {},
    "deleted": {},
    "expired": {"ttl_seconds": 1},
}


async def made(daemon: Daemon, state: str, *, org: str | None = None) -> str:
    """Bring a secret into a state, and return the last segment of its path."""
    if state == "absent":
        return ABSENT if org is None else state
    terms = STATES[state]
    path = f"/secrets/{await daemon.put(**terms)}" if org is None else await daemon.put_in(org, state, **terms)
    if state in {"sealed", "burned"}:
        assert (await daemon.client.get(path)).status_code == 200
    elif state == "deleted":
        assert (await daemon.client.delete(path)).status_code == 200
    elif state == "expired":
        daemon.clock.at += 1
    elif state == "shared":
        await daemon.put_in("umbrella", state, **terms)
    return path.rpartition("/")[2]


async def filled(daemon: Daemon, path: str) -> str:
    """Make the secret that a path names, and return the path with its name filled in."""
    if (found := re.search(r"<(\w+)>", path)) is not None:
        return path.replace(found[0], await made(daemon, found[1]))
    if (found := re.search(r"\[(\w+)]", path)) is not None:
        return path.replace(found[0], await made(daemon, found[1], org="acme"))
    return path


# Circumstances that no request brings about.


@contextlib.contextmanager
def beside(daemon: Daemon) -> Iterator[sqlite3.Connection]:
    """Open the daemon's database from outside, for one transaction."""
    with contextlib.closing(sqlite3.connect(daemon.settings.data_dir / DATABASE)) as connection, connection:
        yield connection


def flip(daemon: Daemon, *columns: str) -> None:
    """Flip a bit in columns of every stored secret; a second call repairs them."""
    with beside(daemon) as connection:
        for column in columns:
            for seq, blob in connection.execute(f"SELECT seq, {column} FROM secret").fetchall():
                changed = blob[:-1] + bytes([blob[-1] ^ 1])
                connection.execute(f"UPDATE secret SET {column} = ? WHERE seq = ?", (changed, seq))


def _ordinary(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    """Nothing special."""


def _broken(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    with beside(daemon) as connection:
        connection.execute("ALTER TABLE secret RENAME TO secret_elsewhere")
        connection.execute("ALTER TABLE inner_keys RENAME TO inner_keys_elsewhere")


def _damaged(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    flip(daemon, "sealed", "label")


def _draining(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    daemon.readiness.draining = True


def _full_queue(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sirrd.store.sqlite.writer.MAX_WAITING", 0)


def _used_up(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RateLimited(7)

    for name in ("check", "take"):
        patch.setattr(f"sirrd.http.limiter.Allowance.{name}", refuse)


def _impatient(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sirrd.http.wire.bodies.BODY_PROGRESS_SECONDS", 0.01)


def _bug(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("CANARY: something that no answer may repeat")

    patch.setattr(daemon.drop, "prune", fail)


CIRCUMSTANCES: Final[dict[str, Callable[[Daemon, pytest.MonkeyPatch], None]]] = {
    "": _ordinary,
    "bug": _bug,
    "storage broken": _broken,
    "record damaged": _damaged,
    "draining": _draining,
    "queue full": _full_queue,
    "allowance used up": _used_up,
    "impatient": _impatient,
}


async def stalled() -> AsyncIterator[bytes]:
    """Send the beginning of a body, and then nothing."""
    yield b"{"
    await asyncio.Event().wait()


def _allow(methods: str) -> Mapping[str, str]:
    """Return the header that tells which methods a path takes."""
    return {"allow": f"{methods}, OPTIONS"}


class Case(NamedTuple):
    """One row.

    Attributes:
        request: Method and path.
        caller: Who asks.
        status: What is answered.
        says: The code of an error, or the members of the body, in their order.
        field: The bad field.
        body: JSON, raw text that is sent as JSON, or something that makes a body.
        sent: Headers of the request.
        shows: Headers of the answer.
        given: A circumstance.
        settings: Settings of the daemon that is asked.
    """

    request: str
    caller: str
    status: int
    says: str = ""
    field: str | None = None
    body: Any = None
    sent: Mapping[str, str] = NOTHING
    shows: Mapping[str, str] = NOTHING
    given: str = ""
    settings: Mapping[str, Any] = NOTHING

    @property
    def method(self) -> str:
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.request.partition(" ")[2]

    @property
    def is_page(self) -> bool:
        """Whether a person is answered."""
        pages = self.settings.get("pages", "all")
        return (self.path.startswith("/s/") and pages != "off") or (self.path == "/" and pages == "all")

    def __str__(self) -> str:
        about = " ".join([*self.settings, self.given]).strip()
        return f"{self.request} by {self.caller}: {self.status} {self.says}" + (f" ({about})" if about else "")


async def answer_to(case: Case, daemon: Daemon, path: str) -> httpx.Response:
    """Ask what a row asks."""
    client = daemon.client if case.caller == OPERATOR else daemon.stranger
    if case.body is None:
        return await client.request(case.method, path, headers=case.sent)
    if isinstance(case.body, dict):
        return await client.request(case.method, path, json=case.body, headers=case.sent)
    body = case.body() if callable(case.body) else case.body
    headers = {"Content-Type": "application/json"} | dict(case.sent)
    return await client.request(case.method, path, content=body, headers=headers)


async def check(case: Case, start: Start, patch: pytest.MonkeyPatch, **settings: Any) -> httpx.Response:
    """Ask what a row asks, check what is answered, and return it."""
    async with contextlib.AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(start(**settings))
        path = await filled(daemon, case.path)
        if case.settings:
            # The secret is made under the tests' own settings, so that those of the row cannot refuse it.
            await stack.aclose()
            daemon = await stack.enter_async_context(start(**{**settings, **case.settings}))
        CIRCUMSTANCES[case.given](daemon, patch)
        answer = await answer_to(case, daemon, path)
    assert answer.status_code == case.status, answer.text
    assert case.shows.items() <= dict(answer.headers).items()
    assert "CANARY" not in answer.text
    if case.is_page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    elif case.method == "HEAD":
        assert answer.content == b""
    elif case.says and case.status >= 400:
        assert list(answer.json()) == ["error", "code"] + ["field"] * (case.field is not None)
        assert (answer.json()["code"], answer.json().get("field")) == (case.says, case.field)
    elif case.says:
        assert list(answer.json()) == case.says.split()
    return answer


# The table.

UNAUTHORISED: Final = {"www-authenticate": "Bearer"}
RETRY: Final = {"retry-after": "1"}
WAIT: Final = {"retry-after": "7"}
METADATA: Final = "key org fingerprint created_at expires_at max_reads read_count delete locked status"
PUT: Final = {"value": "v"}
PUT_KEY: Final = {"key": "new", "value": "v"}
TINY: Final = {"max_value_bytes": 4}
CROWDED: Final = {"min_free_bytes": 2**62}
PUBLIC: Final = {"org_reads": "public"}
OPEN: Final = {"master_api_key": None}
MEASURED: Final = {"metrics": True}
TEXT: Final = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
LIMITED: Final = {"rate_limit_per_second": 1}
ATTEMPT: Final = {"X-Sirr-Attempt": "A" * 43}
PREFETCH: Final = {"Sec-Purpose": "prefetch"}
LOOK: Final = {"X-Sirr-Look": "true"}
ELSEWHERE: Final = {"Host": "evil.test"}
FOREIGN: Final = {"Sec-Fetch-Site": "cross-site"}
A_FILE: Final = f"/static/{assets.VERSION}/style.css"


def refused(request: str, says: str = "rate_limited", body: Any = None) -> Case:
    """Return the row of a stranger who has asked too often."""
    return Case(request, STRANGER, 429, says, body=body, shows=WAIT, given="allowance used up", settings=LIMITED)


def writing(request: str, body: Mapping[str, Any]) -> list[Case]:
    """Return what every operation with a body may answer, whatever it names."""
    large = {**body, "value": "12345"}
    return [
        Case(request, STRANGER, 401, "unauthorized", body=body, shows=UNAUTHORISED),
        Case(request, OPERATOR, 400, "bad_body", body="{"),
        Case(request, OPERATOR, 400, "bad_field", field="value", body={**body, "value": None}),
        Case(request, OPERATOR, 408, "body_timeout", body=stalled, given="impatient", shows={"connection": "close"}),
        Case(request, OPERATOR, 413, "body_too_large", body=" " * 2000, settings={"max_body_bytes": 1024}),
        Case(request, OPERATOR, 413, "value_too_large", field="value", body=large, settings=TINY),
        Case(request, OPERATOR, 415, "unsupported_media_type", body="{}", sent={"Content-Type": "text/plain"}),
        refused(request, body=body),
        Case(request, OPERATOR, 503, "busy", body=body, given="queue full", shows=RETRY),
        Case(request, OPERATOR, 503, "storage_unavailable", body=body, given="storage broken", shows=RETRY),
        Case(request, OPERATOR, 507, "insufficient_storage", body=body, settings=CROWDED),
    ]


def one_secret(form: str, reader: str, name: str) -> list[Case]:
    """Return the rows of one secret's four methods, for a form of its path such as `/secrets/<{}>`.

    The form says how it is named, the reader who may read it, and the name what member of the answer repeats its name.
    """
    path = form.format
    rows = [
        Case(f"GET {path('once')}", reader, 200, f"{name} value"),
        Case(f"GET {path('sealed')}", reader, 410, "sealed"),
        Case(f"GET {path('once')}", reader, 403, "foreign_request", sent=PREFETCH),
        Case(f"GET {path('once')}", reader, 403, "look_only", sent=LOOK),
        Case(f"GET {path('once')}", reader, 421, "wrong_host", sent=ELSEWHERE),
        Case(f"GET {path('once')}", reader, 500, "unreadable", given="record damaged"),
        Case(f"GET {path('once')}", reader, 503, "busy", given="queue full", shows=RETRY),
        Case(f"GET {path('once')}", reader, 503, "storage_unavailable", given="storage broken", shows=RETRY),
        Case(f"HEAD {path('once')}", reader, 200, shows={"x-sirr-status": "active"}),
        Case(f"HEAD {path('sealed')}", reader, 410, shows={"x-sirr-status": "sealed", "x-sirr-read-count": "1"}),
        Case(f"HEAD {path('once')}", reader, 500, given="record damaged"),
        Case(f"HEAD {path('once')}", reader, 503, given="storage broken", shows=RETRY),
        Case(f"PATCH {path('kept')}", OPERATOR, 200, METADATA, body={"value": "v"}),
        Case(f"PATCH {path('sealed')}", OPERATOR, 200, METADATA, body={}),
        Case(f"PATCH {path('once')}", OPERATOR, 409, "not_amendable", body={}),
        Case(f"PATCH {path('kept')}", OPERATOR, 500, "unreadable", body={}, given="record damaged"),
        Case(f"GET {path('absent')}", reader, 404, "not_found"),
        Case(f"HEAD {path('absent')}", reader, 404),
        Case(f"PATCH {path('absent')}", OPERATOR, 404, "not_found", body={}),
        *writing(f"PATCH {path('kept')}", PUT),
        Case(f"DELETE {path('absent')}", OPERATOR, 404, "not_found"),
        Case(f"DELETE {path('once')}", OPERATOR, 200, "deleted"),
        Case(f"DELETE {path('sealed')}", OPERATOR, 200, "deleted"),
        Case(f"DELETE {path('once')}", STRANGER, 401, "unauthorized", shows=UNAUTHORISED),
        refused(f"DELETE {path('once')}"),
        *(refused(f"GET {path(state)}") for state in ("once", "sealed", "absent")),
        *(refused(f"HEAD {path(state)}", "") for state in ("once", "sealed", "absent")),
        Case(f"DELETE {path('once')}", OPERATOR, 503, "busy", given="queue full", shows=RETRY),
        Case(f"DELETE {path('once')}", OPERATOR, 503, "storage_unavailable", given="storage broken", shows=RETRY),
        Case(
            f"PUT {path('once')}",
            OPERATOR,
            405,
            "method_not_allowed",
            shows=_allow("GET, HEAD, PATCH, DELETE"),
        ),
    ]
    rows += _received(f"POST {path('once')}/received", reader)
    if reader == OPERATOR:
        rows += [
            Case(f"GET {path('once')}", STRANGER, 401, "unauthorized", shows=UNAUTHORISED),
            Case(f"HEAD {path('once')}", STRANGER, 401, shows=UNAUTHORISED),
            Case(f"GET {path('absent')}", STRANGER, 401, "unauthorized", shows=UNAUTHORISED),
            Case(f"HEAD {path('absent')}", STRANGER, 401, shows=UNAUTHORISED),
        ]
    for method, body in (("GET", None), ("HEAD", None), ("PATCH", {}), ("DELETE", None)):
        malformed = re.sub(r"<.*>|\[.*]", "a%20b", path("once"))
        rows.append(Case(f"{method} {malformed}", OPERATOR, 400, "bad_path", body=body))
        rows.append(Case(f"{method} {path('once')}", OPERATOR, 409 if body == {} else 200, body=body, settings=OPEN))
    return rows


def _received(request: str, reader: str) -> list[Case]:
    """Return the rows of what tells that a value has arrived."""
    return [
        Case(request, reader, 200, "received", sent=ATTEMPT),
        Case(request.replace("once", "absent"), reader, 200, "received", sent=ATTEMPT),
        Case(request, reader, 400, "bad_attempt"),
        Case(request, reader, 503, "busy", sent=ATTEMPT, given="queue full", shows=RETRY),
        Case(request, reader, 503, "storage_unavailable", sent=ATTEMPT, given="storage broken", shows=RETRY),
        Case(request.replace("POST", "GET"), reader, 405, "method_not_allowed", shows=_allow("POST")),
        refused(request),
    ]


def listing(request: str) -> list[Case]:
    """Return the rows of a list."""
    return [
        Case(request, OPERATOR, 200, "secrets"),
        Case(request, STRANGER, 200, "secrets", settings=OPEN),
        Case(f"{request}?limit=5", OPERATOR, 200, "secrets next_cursor"),
        Case(f"{request}?limit=0", OPERATOR, 400, "bad_field", field="limit"),
        Case(f"{request}?cursor=x", OPERATOR, 400, "bad_field", field="cursor"),
        Case(request, STRANGER, 401, "unauthorized", shows=UNAUTHORISED),
        refused(request),
        Case(request, OPERATOR, 503, "storage_unavailable", given="storage broken", shows=RETRY),
        Case(f"{request}?limit=5", OPERATOR, 503, "storage_unavailable", given="storage broken", shows=RETRY),
        Case(request.replace("GET", "PATCH"), OPERATOR, 405, "method_not_allowed", shows=_allow("GET, POST")),
    ]


def pruning(request: str) -> list[Case]:
    """Return the rows of a prune."""
    return [
        Case(request, OPERATOR, 200, "pruned"),
        Case(request, STRANGER, 200, "pruned", settings=OPEN),
        Case(request, STRANGER, 401, "unauthorized", shows=UNAUTHORISED),
        refused(request),
        Case(request, OPERATOR, 500, "internal", given="bug"),
        Case(request, OPERATOR, 503, "busy", given="queue full", shows=RETRY),
        Case(request, OPERATOR, 503, "storage_unavailable", given="storage broken", shows=RETRY),
        Case(request.replace("POST", "GET"), OPERATOR, 405, "method_not_allowed", shows=_allow("POST")),
    ]


def plain(path: str, members: str = "") -> list[Case]:
    """Return the rows of what anyone may ask, whatever has happened to the storage."""
    return [
        Case(f"GET {path}", STRANGER, 200, members),
        Case(f"GET {path}", STRANGER, 200, members, given="storage broken"),
        Case(f"GET {path}", STRANGER, 200, members, given="queue full"),
        Case(f"HEAD {path}", STRANGER, 200),
        Case(f"POST {path}", STRANGER, 405, "method_not_allowed", shows=_allow("GET, HEAD")),
    ]


ROUTES: Final = [
    Case("POST /secrets", OPERATOR, 201, "id url", body=PUT),
    Case("POST /secrets", STRANGER, 201, "id url", body=PUT, settings=OPEN),
    *writing("POST /secrets", PUT),
    *one_secret("/secrets/<{}>", STRANGER, "id"),
    *one_secret("/secrets/[{}]", OPERATOR, "id"),
    *one_secret("/orgs/acme/secrets/[{}]", OPERATOR, "key"),
    Case("GET /secrets/[once]", STRANGER, 200, "id value", settings=PUBLIC),
    Case("HEAD /secrets/[once]", STRANGER, 200, settings=PUBLIC),
    Case("GET /secrets/[sealed]", STRANGER, 410, "sealed", settings=PUBLIC),
    Case("GET /secrets/[absent]", STRANGER, 404, "not_found", settings=PUBLIC),
    Case("GET /orgs/acme/secrets/[once]", STRANGER, 401, "unauthorized", settings=PUBLIC),
    Case("GET /secrets/[shared]", STRANGER, 409, "ambiguous_key", settings=PUBLIC),
    Case("GET /secrets/[shared]", OPERATOR, 409, "ambiguous_key"),
    Case("HEAD /secrets/[shared]", OPERATOR, 409),
    Case("PATCH /secrets/[shared]", OPERATOR, 409, "ambiguous_key", body={}),
    Case("DELETE /secrets/[shared]", OPERATOR, 409, "ambiguous_key"),
    *listing("GET /secrets"),
    Case("GET /secrets?org=a%20b", OPERATOR, 400, "bad_field", field="org"),
    *pruning("POST /prune"),
    Case("POST /orgs/acme/secrets", OPERATOR, 201, "key", body=PUT_KEY),
    Case("POST /orgs/acme/secrets", STRANGER, 201, "key", body=PUT_KEY, settings=OPEN),
    Case("POST /orgs/a%20b/secrets", OPERATOR, 400, "bad_path", body=PUT_KEY),
    Case("POST /orgs/acme/secrets?[once]", OPERATOR, 409, "key_exists", body={**PUT_KEY, "key": "once"}),
    Case("POST /orgs/acme/secrets?[sealed]", OPERATOR, 409, "key_exists", body={**PUT_KEY, "key": "sealed"}),
    Case("POST /orgs/acme/secrets?[expired]", OPERATOR, 201, "key", body={**PUT_KEY, "key": "expired"}),
    Case("POST /orgs/umbrella/secrets?[once]", OPERATOR, 201, "key", body={**PUT_KEY, "key": "once"}),
    *writing("POST /orgs/acme/secrets", PUT_KEY),
    *listing("GET /orgs/acme/secrets"),
    Case("GET /orgs/a%20b/secrets", OPERATOR, 400, "bad_path"),
    *pruning("POST /orgs/acme/prune"),
    Case("GET /rotate-key", OPERATOR, 200, "remaining"),
    Case("GET /rotate-key", STRANGER, 401, "unauthorized"),
    refused("GET /rotate-key"),
    Case("GET /rotate-key", STRANGER, 403, "api_key_needed", settings=OPEN),
    Case("POST /rotate-key", OPERATOR, 409, "no_newer_key"),
    Case("POST /rotate-key", STRANGER, 401, "unauthorized"),
    refused("POST /rotate-key"),
    Case("POST /rotate-key", STRANGER, 403, "api_key_needed", settings=OPEN),
    Case("POST /orgs/a%20b/prune", OPERATOR, 400, "bad_path"),
    *plain("/health", "status"),
    Case("GET /health", STRANGER, 200, "status", given="draining"),
    Case("GET /ready", STRANGER, 200, "status"),
    Case("HEAD /ready", STRANGER, 200),
    Case("GET /ready", STRANGER, 503, "", given="storage broken"),
    Case("GET /ready", STRANGER, 503, "", given="draining"),
    Case("HEAD /ready", STRANGER, 503, given="draining"),
    Case("POST /ready", STRANGER, 405, "method_not_allowed", shows=_allow("GET, HEAD")),
    Case("GET /metrics", OPERATOR, 404, "no_such_route"),
    Case("HEAD /metrics", OPERATOR, 404),
    Case("GET /metrics", OPERATOR, 200, shows=TEXT, settings=MEASURED),
    Case("HEAD /metrics", OPERATOR, 200, shows=TEXT, settings=MEASURED),
    Case("GET /metrics", OPERATOR, 200, shows=TEXT, settings=MEASURED, sent=ELSEWHERE),
    Case("GET /metrics", OPERATOR, 200, shows=TEXT, settings=MEASURED, given="storage broken"),
    Case("GET /metrics", STRANGER, 200, shows=TEXT, settings={**MEASURED, **OPEN}),
    Case("GET /metrics", STRANGER, 401, "unauthorized", shows=UNAUTHORISED, settings=MEASURED),
    Case("HEAD /metrics", STRANGER, 401, shows=UNAUTHORISED, settings=MEASURED),
    refused("GET /metrics")._replace(settings={**LIMITED, **MEASURED}),
    refused("HEAD /metrics", "")._replace(settings={**LIMITED, **MEASURED}),
    Case("POST /metrics", OPERATOR, 405, "method_not_allowed", shows=_allow("GET, HEAD"), settings=MEASURED),
    Case("GET /metrics", OPERATOR, 404, "no_such_route", settings={**MEASURED, "metrics_address": "127.0.0.1:0"}),
    *plain(
        "/version",
        "name version max_value_bytes public_max_value_bytes redelivery_seconds default_ttl_seconds max_ttl_seconds",
    ),
    *plain("/openapi.json"),
    *plain("/robots.txt"),
    Case("GET /nowhere", STRANGER, 404, "no_such_route"),
    Case("GET /nowhere", STRANGER, 421, "wrong_host", sent=ELSEWHERE),
    Case("GET /version", STRANGER, 400, "bad_host", sent={"Host": "sirrd.test/x"}),
    Case("GET /%76ersion", STRANGER, 400, "bad_path"),
    Case("GET /secrets/", OPERATOR, 404, "no_such_route"),
    Case("GET /", STRANGER, 404, "no_such_route", settings={"pages": "reveal"}),
    Case("POST /", STRANGER, 404, "no_such_route", settings={"pages": "off"}),
    *(Case(f"{method} /s/<once>", STRANGER, 404, settings={"pages": "off"}) for method in ("GET", "HEAD", "POST")),
    Case(f"GET {A_FILE}", STRANGER, 200, shows={"cache-control": "public, max-age=31536000, immutable"}),
    Case(f"HEAD {A_FILE}", STRANGER, 200),
    Case(f"POST {A_FILE}", STRANGER, 405, "method_not_allowed", shows=_allow("GET, HEAD")),
    Case(f"GET {A_FILE}x", STRANGER, 404, "no_such_route", shows={"cache-control": "no-store"}),
    Case(f"HEAD {A_FILE}x", STRANGER, 404),
    Case("GET /static/0000000000000000/style.css", STRANGER, 404, "no_such_route"),
    Case(f"GET {A_FILE}", STRANGER, 404, "no_such_route", settings={"pages": "off"}),
]

PAGES: Final = [
    Case("GET /", STRANGER, 200),
    Case("HEAD /", STRANGER, 200),
    Case("GET /", STRANGER, 200, given="storage broken"),
    Case("POST /", STRANGER, 405, shows=_allow("GET, HEAD")),
    Case("GET /s/<once>", STRANGER, 200, settings={"pages": "reveal"}),
    Case("GET /s/<once>", STRANGER, 200),
    Case("HEAD /s/<once>", STRANGER, 200),
    Case("POST /s/<once>", STRANGER, 200),
    Case("GET /s/<sealed>", STRANGER, 410),
    Case("POST /s/<sealed>", STRANGER, 410),
    Case("GET /s/[once]", OPERATOR, 400),
    Case("POST /s/[once]", OPERATOR, 400),
    Case("POST /s/<once>", STRANGER, 403, sent=FOREIGN),
    Case("PUT /s/<once>", STRANGER, 405, shows=_allow("GET, HEAD, POST")),
    Case("GET /s/<once>/", STRANGER, 404),
    Case("POST /s/<once>", STRANGER, 500, given="record damaged"),
    Case("GET /s/<once>", STRANGER, 503, given="storage broken", shows=RETRY),
    Case("POST /s/<once>", STRANGER, 503, given="queue full", shows=RETRY),
    *(Case(f"{method} /s/<absent>", STRANGER, 404) for method in ("GET", "HEAD", "POST")),
    *(
        refused(f"{method} /s/<{state}>", "")
        for method in ("GET", "HEAD", "POST")
        for state in ("once", "sealed", "absent")
    ),
]

CASES: Final = [pytest.param(case, id=str(case)) for case in [*ROUTES, *PAGES]]


@pytest.mark.parametrize("case", CASES)
async def test_every_row_is_answered_as_the_contract_says(
    case: Case, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row gets its status, code, members and headers, and with them the security headers of every answer."""
    answer = await check(case, start, monkeypatch)
    shown = {name: answer.headers[name] for name in SECURITY}
    if case.is_page:
        own = {"referrer-policy": "same-origin", "content-security-policy": PAGE_POLICY}
        assert shown == SECURITY | own
    elif "immutable" in shown["cache-control"]:
        assert shown == SECURITY | {"cache-control": "public, max-age=31536000, immutable"}
    else:
        assert shown == SECURITY
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert not {"server", "location", "access-control-allow-origin", "etag", "last-modified"} & answer.headers.keys()


def test_every_refusal_has_a_row() -> None:
    """Every row of the table of problems is reached by a row of this one, or is tested with locks or attempts."""
    codes = {error.code for error in problems.TABLE} | {problems.CRASHED_CODE}
    of_locks = {"proof_required", "proof_mismatch", "too_many_proofs", "locked"}
    of_attempts = {"attempt_over", "too_many_repeats"}
    assert codes - {case.says for case in ROUTES if case.status >= 400} == of_locks | of_attempts
