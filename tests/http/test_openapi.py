"""The OpenAPI description: valid, of all routes and no others, and as strict as the daemon itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from sirrd import __version__
from sirrd.errors import BadField
from sirrd.http import edge
from sirrd.http.openapi import prose
from sirrd.http.pages import assets, html
from sirrd.http.routes import DESCRIPTION, RESOURCES
from sirrd.http.wire import drops, parameters, queries
from sirrd.model import is_key, is_org
from tests.conftest import Daemon, Start
from tests.contract.test_contract import PAGES, ROUTES, Case
from tests.contract.test_refusals import ORDER

Json = dict[str, Any]
STATIC: Final = "/static/{version}/{file}"


@pytest.fixture
def described() -> Json:
    """The description."""
    return DESCRIPTION.document()


async def test_anyone_may_have_the_description(daemon: Daemon, described: Json) -> None:
    """The description is served as JSON to anyone, as it is checked here."""
    answer = await daemon.stranger.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json() == described


def test_the_description_is_openapi_31(described: Json) -> None:
    """The description is a valid document of OpenAPI 3.1 and names this release."""
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1.")
    assert described["info"]["version"] == __version__


def test_the_description_has_every_route_and_no_other(described: Json) -> None:
    """Paths and methods are those of the route table."""
    own = {path: set(item) - {"parameters"} for path, item in described["paths"].items()}
    assert own == {each.path: {method.lower() for method in each.endpoints} for each in RESOURCES}


def test_operations_have_names_of_their_own(described: Json) -> None:
    """Every operation has a name and a summary, and no two share a name."""
    operations = [item[method] for item in described["paths"].values() for method in set(item) - {"parameters"}]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


def resolved(described: Json, part: Json) -> Json:
    """Return a part of the description, or what it refers to."""
    if "$ref" not in part:
        return part
    found = described
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def template_of(case: Case) -> str:
    """Return the path of a row as the description has it."""
    segments = case.path.partition("?")[0].split("/")
    if segments[1] == "orgs":
        segments[2] = "{org}"
        segments[4:5] = ["{key}"] * len(segments[4:5])
    elif segments[1] in {"secrets", "s"} and len(segments) > 2:
        segments[2] = "{id}"
    elif segments[1] == "static":
        segments[2:] = ["{version}", "{file}"]
    return "/".join(segments)


SEEN: Final = sorted(
    {(case.method, template_of(case), case.status) for case in [*ROUTES, *PAGES, *ORDER] if case.given != "bug"}
)


def test_every_status_of_the_contract_is_described(described: Json) -> None:
    """Each status that a row of the contract's table gets from an operation stands in its description."""
    paths = described["paths"]
    known = [(method, path, status) for method, path, status in SEEN if method.lower() in paths.get(path, {})]
    missing = [
        (method, path, status)
        for method, path, status in known
        if str(status) not in paths[path][method.lower()]["responses"]
    ]
    assert len({(method, path) for method, path, _ in known}) == sum(len(each.endpoints) for each in RESOURCES)
    assert missing == []


def operations_of(described: Json) -> list[tuple[str, str, Json]]:
    """Return path, method and description of every operation."""
    paths = described["paths"].items()
    return [(path, method, item[method]) for path, item in paths for method in set(item) - {"parameters"}]


def members(part: object) -> Iterator[tuple[str, object]]:
    """Yield every member of every object in a part of the description."""
    if isinstance(part, dict):
        yield from part.items()
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from members(each)


def test_every_operation_says_what_it_does(described: Json) -> None:
    """Each has a description, a tag that is explained, and what can be refused: linters and readers ask for these."""
    tags = {tag["name"] for tag in described["tags"]}
    assert all(tag["description"] for tag in described["tags"])
    for path, method, operation in operations_of(described):
        assert len(operation["description"]) > 10, (path, method)
        assert len(operation["tags"]) == 1
        assert "400" in operation["responses"]
        assert ("421" in operation["responses"]) == (path not in {"/health", "/ready", "/metrics"})
        assert [status for status in operation["responses"] if status.startswith("2")]
    assert {operation["tags"][0] for _, _, operation in operations_of(described)} == tags
    assert set(prose.OPERATIONS) == {operation["operationId"] for _, _, operation in operations_of(described)}


def test_the_description_says_who_is_described(described: Json) -> None:
    """Description, licence, contact, and the server: what linters ask for, and what generators put first."""
    assert described["info"]["description"]
    assert described["info"]["contact"]["name"]
    assert described["info"]["license"]["identifier"] == "Apache-2.0"
    assert [server["url"] for server in described["servers"]] == ["/"]


async def test_the_described_server_is_the_public_one(start: Start) -> None:
    """With its path prefix, which no client could guess."""
    async with start(public_url="https://drop.example/under/here") as daemon:
        answer = await daemon.stranger.get("/openapi.json")
        assert [server["url"] for server in answer.json()["servers"]] == ["https://drop.example/under/here"]


def test_nothing_has_a_default(described: Json) -> None:
    """Generators make a member with a default one that has to be there; its text says what an absent one means."""
    assert [value for name, value in members(described) if name == "default"] == []
    delete = described["components"]["schemas"]["PutBody"]["properties"]["delete"]
    assert (delete["type"], "absent: true" in delete["description"]) == ("boolean", True)


@pytest.mark.parametrize("name", ["PutBody", "OrgPutBody", "PatchBody"])
def test_examples_are_taken(described: Json, name: str) -> None:
    """An example of a body is a body, to the daemon as well."""
    (example,) = described["components"]["schemas"][name]["examples"]
    assert getattr(drops, name).model_validate(example).model_fields_set == set(example)


def test_every_operation_says_who_may_by_a_known_scheme(described: Json) -> None:
    """No operation asks for a credential that is not described."""
    schemes = set(described["components"]["securitySchemes"])
    for path, method, operation in operations_of(described):
        assert {name for each in operation["security"] for name in each} <= schemes, (path, method)


@pytest.mark.parametrize("name", ["PutBody", "OrgPutBody", "PatchBody"])
def test_bodies_take_no_unknown_members(described: Json, name: str) -> None:
    """Every body refuses members that it does not know, and bounds its numbers as the contract does."""
    schema = described["components"]["schemas"][name]
    assert schema["additionalProperties"] is False
    for field, longest in (("ttl_seconds", 315_360_000), ("max_reads", 2_147_483_647)):
        integer, null = schema["properties"][field]["anyOf"]
        assert (integer["type"], integer["minimum"], integer["maximum"]) == ("integer", 1, longest)
        assert null == {"type": "null"}


@pytest.mark.parametrize(
    ("name", "required"), [("PutBody", ["value"]), ("OrgPutBody", ["key", "value"]), ("PatchBody", [])]
)
def test_bodies_require_what_the_contract_requires(described: Json, name: str, required: list[str]) -> None:
    """A value, and for an org secret a key, must be sent; in a change nothing must."""
    assert sorted(described["components"]["schemas"][name].get("required", [])) == required


FORM = {"schema": {"$ref": "form"}}
"""Stands for the body of the page's form, which is ignored but for one field."""


def test_every_body_is_one_of_the_strict_ones(described: Json) -> None:
    """No operation takes a body of another schema."""
    bodies = {
        operation["requestBody"]["content"].get("application/json", FORM)["schema"]["$ref"].rpartition("/")[2]
        for item in described["paths"].values()
        for operation in (item[method] for method in set(item) - {"parameters"})
        if "requestBody" in operation
    }
    assert bodies == {"PutBody", "OrgPutBody", "PatchBody", "form"}


def test_protected_operations_say_so(described: Json) -> None:
    """The operations that the contract protects ask for the bearer, and the others do not."""
    open_paths = {
        "/s/{id}",
        "/secrets/{id}/received",
        "/health",
        "/ready",
        "/version",
        "/openapi.json",
        "/robots.txt",
        "/",
        STATIC,
    }
    for path, item in described["paths"].items():
        for method in set(item) - {"parameters"}:
            is_open = path in open_paths or (path == "/secrets/{id}" and method in {"get", "head"})
            # A recipient deletes a locked secret by its proof alone, and the operator can let anyone store dead drops.
            is_optional = method == "delete" or (method, path) == ("post", "/secrets")
            assert item[method]["security"] == ([] if is_open else [{"bearer": []}, *([{}] if is_optional else [])])


def test_head_has_no_content(described: Json) -> None:
    """No HEAD is described with a body."""
    heads = [item["head"] for item in described["paths"].values() if "head" in item]
    assert len(heads) == 11
    answers = [resolved(described, answer) for head in heads for answer in head["responses"].values()]
    assert [answer for answer in answers if "content" in answer] == []


def test_every_answer_has_the_headers_of_all_answers(described: Json) -> None:
    """What every answer carries is described with every answer, and a page's policy is that of a page."""
    fixed = {name.decode().title(): value.decode() for name, value in edge.HEADERS.items()}
    of_pages = {name.decode().title(): value.decode() for name, value in html.HEADERS if name != b"content-type"}
    of_files = {name.decode().title(): value.decode() for name, value in assets.HEADERS}
    for path, item in described["paths"].items():
        for method in set(item) - {"parameters"}:
            for status, answer in item[method]["responses"].items():
                headers = resolved(described, answer)["headers"]
                values = {name: resolved(described, header)["schema"].get("const") for name, header in headers.items()}
                is_file = (path, status) == (STATIC, "200")
                is_page = path == "/s/{id}" or (path == "/" and status != "404")
                own = of_pages if is_page else of_files if is_file else {}
                assert values.items() >= (fixed | own).items()
                assert "X-Request-Id" in values


def test_links_lead_to_operations(described: Json) -> None:
    """What can be done with a stored secret is linked to by name, with every parameter that it needs."""
    operations = {
        item[method]["operationId"]: item.get("parameters", [])
        for item in described["paths"].values()
        for method in set(item) - {"parameters"}
    }
    linked: set[str] = set()
    for path in ("/secrets", "/orgs/{org}/secrets"):
        for link in described["paths"][path]["post"]["responses"]["201"]["links"].values():
            assert {each["name"] for each in operations[link["operationId"]]} == set(link["parameters"])
            linked.add(link["operationId"])
    assert linked == {f"{name}{suffix}" for name in ("read", "peek", "amend", "delete") for suffix in ("", "InOrg")} | {
        "showPage",
        "revealPage",
    }


# Names: as strict as the daemon, to the letter.

_likely = st.text(st.sampled_from("aAfF09._-gZ"), max_size=70)
_names = st.one_of(
    _likely,
    st.text(st.sampled_from("0123456789abcdefABCDEF"), min_size=63, max_size=65),
    st.sampled_from(
        [".", "..", "...", "", "a\n", "\n", "a" * 64, "A" * 64, "k" * 256, "k" * 257, "o" * 128, "o" * 129]
    ),
    st.text(max_size=5),
)


@settings(max_examples=500, derandomize=True, database=None)
@given(name=_names)
def test_names_are_described_as_they_are_parsed(name: str) -> None:
    """The patterns of ids, keys and orgs match what the daemon takes, and nothing else."""
    is_id = re.fullmatch("[0-9a-f]{64}", name) is not None
    for pattern, expected in (
        (parameters.ID_PATTERN, is_id),
        (parameters.KEY_PATTERN, is_key(name)),
        (parameters.ID_OR_KEY_PATTERN, is_id or is_key(name)),
        (parameters.ORG_PATTERN, is_org(name)),
    ):
        assert (re.fullmatch(pattern, name) is not None) == expected


@settings(max_examples=500, derandomize=True, database=None)
@given(text=st.one_of(st.from_regex("[A-B][O-Z][A-Za-z0-9_-]{10}", fullmatch=True), _names))
def test_cursors_are_described_as_they_are_parsed(text: str) -> None:
    """The pattern of a cursor matches what the daemon takes, and nothing else."""
    try:
        assert queries.cursor(queries.parse_cursor(text)) == text
        taken = True
    except BadField:
        taken = False
    assert (re.fullmatch(parameters.CURSOR_PATTERN, text) is not None) == taken
