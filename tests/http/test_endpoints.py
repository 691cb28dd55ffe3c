"""The endpoints: each is routed, guarded, checked and answered as it is declared, and by that declaration alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest

from sirrd.errors import BadHost, BadPath, NoRoute, RateLimited, WrongHost
from sirrd.http import auth, routes
from sirrd.http.context import Request
from sirrd.http.endpoints import BY_WHO, Endpoint, Who
from sirrd.http.limiter import UNLIMITED
from sirrd.http.openapi.paths import SECURITY
from sirrd.http.openapi.prose import EXAMPLES
from sirrd.http.problems import TABLE
from sirrd.http.routes import DESCRIPTION, Routes, resources_of
from sirrd.http.wire.answers import Answer
from sirrd.model import Caller
from tests.conftest import API_KEY, Daemon, Start
from tests.contract.test_contract import MEASURED, OPEN, PAGES, PUBLIC, ROUTES, Case, check
from tests.contract.test_refusals import ORDER

ENDPOINTS: Final = DESCRIPTION.endpoints
PROOF: Final = {"X-Sirr-Proof": "A" * 43}
WRONG: Final = {"Authorization": "Bearer wrong"}

# Who may.

ROLES: Final[Mapping[str, Mapping[str, str]]] = {
    "operator": {"Authorization": f"Bearer {API_KEY}"},
    "stranger": {},
    "guesser": WRONG,
    "recipient": PROOF,
    "guessing recipient": PROOF | WRONG,
}
"""What each shows."""

EVERYONE: Final = frozenset(ROLES)
SERVERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "protected": MEASURED,
    "open": {**MEASURED, **OPEN},
    "public reads": {**MEASURED, **PUBLIC},
    "public creation": {**MEASURED, "public_create": True},
}


def may(who: Who, server: str, *, by_id: bool) -> frozenset[str]:
    """Return the roles that may, by who is declared to; written down here once more, apart from what decides it."""
    if who in {auth.unasked, auth.caller}:
        return EVERYONE
    if server == "open":
        return EVERYONE if who is not auth.key_holder else frozenset()
    if who is auth.reader and (by_id or server == "public reads"):
        return EVERYONE
    if who is auth.recipient:
        return frozenset({"operator", "recipient"})
    if who is auth.creator and server == "public creation":
        return frozenset({"operator", "stranger", "recipient"})
    return frozenset({"operator"})


def paths_of(endpoint: Endpoint, name: str = "f" * 64) -> Iterator[tuple[str, bool]]:
    """Yield paths of an endpoint, and whether they name a dead drop by its id."""
    filled = endpoint.path.format(id=name, org="acme", key="k", version="0" * 16, file="style.css")
    yield filled, "{id}" in endpoint.path
    if endpoint.path.startswith("/secrets/{id}"):
        yield filled.replace(name, "k"), False


def matrix(server: str, name: str = "f" * 64) -> Iterator[tuple[Endpoint, str, str, int]]:
    """Yield every endpoint with each of its paths and every role, and the status of its refusal, or 0."""
    for endpoint in ENDPOINTS:
        for path, by_id in paths_of(endpoint, name):
            allowed = may(endpoint.who, server, by_id=by_id)
            for role in ROLES:
                yield endpoint, path, role, 0 if role in allowed else 403 if server == "open" else 401


@pytest.mark.parametrize("server", SERVERS)
async def test_only_who_may_reaches_a_handler(server: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the handlers do, a role reaches them exactly where it may, and they are told who it is."""
    reached: list[Caller] = []

    async def handler(_: Request, caller: Caller) -> Answer:
        reached.append(caller)
        return Answer(204, b"")

    watched = resources_of([replace(endpoint, handler=handler) for endpoint in ENDPOINTS])
    monkeypatch.setattr(routes, "RESOURCES", watched)
    async with start(**SERVERS[server]) as daemon:
        for endpoint, path, role, refusal in matrix(server):
            reached.clear()
            answer = await daemon.stranger.request(endpoint.method, path, headers=ROLES[role])
            assert answer.status_code == (refusal or 204), (endpoint.name, path, role)
            assert len(reached) == (not refusal)
            is_known = endpoint.who is not auth.unasked and (server == "open" or role == "operator")
            assert [caller.is_operator for caller in reached] == ([] if refusal else [is_known])


@pytest.mark.parametrize("server", SERVERS)
async def test_every_role_is_answered_as_it_is_declared(server: str, start: Start) -> None:
    """Who may not gets the one refusal, and nothing has happened; who may gets what the endpoint declares."""
    async with start(**SERVERS[server]) as daemon:
        name = await daemon.put(delete=False, max_reads=None)
        await daemon.put_in("acme", "k", delete=False, max_reads=None)
        before = (await daemon.client.get("/secrets")).json()
        for endpoint, path, role, refusal in matrix(server, name):
            if refusal:
                answer = await daemon.stranger.request(endpoint.method, path, headers=ROLES[role])
                assert answer.status_code == refusal, (endpoint.name, path, role)
        assert (await daemon.client.get("/secrets")).json() == before
        for endpoint, path, role, refusal in matrix(server, name):
            if not refusal:
                answer = await daemon.stranger.request(endpoint.method, path, headers=ROLES[role])
                refusals = {TABLE[error].status for error in endpoint.refusals if error not in BY_WHO[endpoint.who]}
                assert answer.status_code in {*endpoint.answers, *refusals}, (endpoint.name, path, role)


def test_everyone_who_may_is_known_to_all_that_is_made_of_it() -> None:
    """How somebody is refused, and what the description says they show, is known of everyone that is declared."""
    assert {endpoint.who for endpoint in ENDPOINTS} == set(BY_WHO) == set(SECURITY)


# What is sent.


def told(answer: httpx.Response) -> tuple[str, str]:
    """Return code and field of a refusal."""
    if not answer.headers.get("content-type", "").startswith("application/json") or not answer.content:
        return "", ""
    problem = answer.json()
    return problem.get("code", ""), problem.get("field", "")


async def asked(daemon: Daemon, endpoint: Endpoint, *, query: str = "", **sent: Any) -> httpx.Response:
    """Ask an endpoint about what is not there, as the operator."""
    path, _ = next(paths_of(endpoint))
    return await daemon.client.request(endpoint.method, path + query, **sent)


async def test_bodies_are_checked_by_the_models_that_are_declared(daemon: Daemon) -> None:
    """An unknown member is refused with the names of the declared model; where none is declared, no body is."""
    of_bodies = {"unsupported_media_type", "bad_body", "bad_field"}
    for endpoint in ENDPOINTS:
        example = {} if endpoint.body is None else EXAMPLES[endpoint.body.__name__]
        answer = await asked(daemon, endpoint, json={**example, "unknown": 1})
        if endpoint.body is None:
            assert told(answer)[0] not in of_bodies, endpoint.name
            continue
        assert (answer.status_code, told(answer)) == (400, ("bad_field", ""))
        assert answer.json()["error"].endswith(f"known are {', '.join(endpoint.body.model_fields)}")
        answer = await asked(daemon, endpoint, content=b"{}", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, told(answer)[0]) == (415, "unsupported_media_type")


async def test_queries_are_checked_where_they_are_declared(daemon: Daemon) -> None:
    """A declared parameter is refused if it is malformed or there twice; where none is declared, none is looked at."""
    every = {each.name for endpoint in ENDPOINTS for each in endpoint.parameters if each.where == "query"}
    assert every == {"limit", "cursor", "org", "renew"}
    for endpoint in ENDPOINTS:
        declared = {each.name for each in endpoint.parameters if each.where == "query"}
        for name in declared or every:
            answer = await asked(daemon, endpoint, query=f"?{name}=~")
            assert (told(answer) == ("bad_field", name)) == (name in declared), endpoint.name
            answer = await asked(daemon, endpoint, query=f"?{name}=true&{name}=true")
            assert (told(answer) == ("bad_field", name)) == (name in declared), endpoint.name


def test_segments_are_declared_as_they_stand_in_the_path() -> None:
    """Every segment of a template is declared, in its order, and alike by all that share the path."""
    of_paths: dict[str, set[tuple[str, ...]]] = {}
    for endpoint in ENDPOINTS:
        segments = [each for each in endpoint.parameters if each.where == "path"]
        assert [each.name for each in segments] == re.findall(r"{(\w+)}", endpoint.path)
        assert all(each.required for each in segments)
        of_paths.setdefault(endpoint.path, set()).add(tuple(each.text for each in segments))
    assert {path for path, segments in of_paths.items() if len(segments) > 1} == set()


# What is answered.


def endpoint_of(case: Case) -> Endpoint | None:
    """Return what a row of the contract asks, or None: there is no such route."""
    try:
        resource, _ = Routes(has_metrics=True).find(case.path.partition("?")[0])
    except (NoRoute, BadPath):
        return None
    return resource.endpoints.get(case.method)


ROWS: Final = [(endpoint_of(case), case) for case in [*ROUTES, *PAGES, *ORDER]]


def test_every_refusal_of_the_contract_is_declared() -> None:
    """Each code that a row of the contract's table gets from an endpoint is that of an error that it declares."""
    before = {error.code for error in (BadHost, WrongHost)}
    told = {
        (endpoint.name, case.says): case.says in before | {error.code for error in endpoint.refusals}
        for endpoint, case in ROWS
        if endpoint is not None
        and case.status >= 400
        and case.says
        # Where the pages are turned off, there is no such endpoint; and nobody declares a bug.
        and "pages" not in case.settings
        and case.given != "bug"
    }
    assert len(told) > 100
    assert [each for each, is_declared in told.items() if not is_declared] == []


def test_what_is_limited_says_so() -> None:
    """Endpoints declare that strangers may ask too often, but for those that are not counted."""
    limited = {endpoint.path for endpoint in ENDPOINTS if RateLimited in endpoint.refusals}
    assert limited == {endpoint.path for endpoint in ENDPOINTS} - UNLIMITED


WITH_MODELS: Final = [
    (endpoint.answers[case.status].model, case)
    for endpoint, case in ROWS
    if endpoint is not None and endpoint.method != "HEAD" and case.status in endpoint.answers
]


def test_every_model_of_an_answer_is_checked() -> None:
    """The rows below have every model that an endpoint declares."""
    declared = {answered.model for endpoint in ENDPOINTS for answered in endpoint.answers.values()}
    assert {model for model, _ in WITH_MODELS} == declared


@pytest.mark.parametrize(
    ("model", "case"), [pytest.param(model, case, id=str(case)) for model, case in WITH_MODELS if model is not None]
)
async def test_answers_are_what_their_models_say(
    model: Any, case: Case, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the contract's rows get is JSON of the model that their endpoint declares, no member more or less."""
    answer = await check(case, start, monkeypatch)
    found = model.model_validate_json(answer.content)
    assert found.model_dump(exclude_unset=True) == answer.json()
