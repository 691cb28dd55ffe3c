"""Anything at all is sent where a body, a query or a name belongs; the contract, written down a second time, judges.

Whatever is sent: the status is one that the contract's table allows, what is refused leaves the database as it was,
what is taken is stored as the table says, and a refusal depends on nothing but the rule that was broken, so it repeats
nothing that was sent. `--examples N` lets it try harder.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import NOW, Daemon, Start
from tests.contract.test_contract import beside
from tests.contract.test_raw import BEARER, JSON, Heard, ask

FUZZ: Final = settings.get_profile("fuzz")
MAX_VALUE: Final = 40
MAX_BODY: Final = 2048
DEFAULT_READS: Final = 3
DEFAULT_TTL: Final = 500
MAX_TTL: Final = 1_000_000
KEPT: Final = "/orgs/umbrella/secrets/kept"
FREE: Final = "/orgs/acme/secrets"


# The contract, a second time. Only a flat object can be lawful, so one expression tells what is JSON.

_WS: Final = r"[ \t\n\r]*"
_STRING: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"'
_MEMBER: Final = rf"{_WS}({_STRING}){_WS}:{_WS}({_STRING}|-?(?:0|[1-9][0-9]*)|true|false|null){_WS}"
_OBJECT: Final = re.compile(rf"{_WS}\{{(?:{_MEMBER}(?:,{_MEMBER})*|{_WS})\}}{_WS}")
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: Final = {"true": True, "false": False, "null": None}
_DIGITS: Final = 20


def read(literal: str) -> str | int | bool | None:
    """Return what a scalar of JSON means; raise ValueError if UTF-8 cannot carry it."""
    if literal in _WORDS:
        return _WORDS[literal]
    if literal[0] != '"':
        # What is longer than any bound stays so when it is cut.
        return int(literal[:_DIGITS])

    def character(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if code[0] == "u" else _ESCAPES.get(code, code)

    text = re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", character, literal[1:-1])
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def members_of(body: bytes) -> dict[str, Any] | None:
    """Return the members of a flat JSON object without duplicates, or None."""
    try:
        text = body.decode()
        if _OBJECT.fullmatch(text) is None:
            return None
        pairs = [(str(read(name)), read(value)) for name, value in re.findall(_MEMBER, text.lstrip(" \t\n\r")[1:])]
    except ValueError:
        return None
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


def is_name(value: Any, longest: int) -> bool:
    """Tell whether a value is of the alphabet of orgs and keys."""
    alphabet = rf"[A-Za-z0-9_.\-]{{1,{longest}}}"
    return isinstance(value, str) and re.fullmatch(alphabet, value) is not None and value not in {".", ".."}


def is_key(value: Any) -> bool:
    """Tell whether a value can be a key."""
    return is_name(value, 256) and re.fullmatch("[0-9A-Fa-f]{64}", value) is None


def is_up_to(longest: int) -> Callable[[Any], bool]:
    """Return what tells whether a value is null, or an integer from 1 to a bound."""
    return lambda value: value is None or (type(value) is int and 1 <= value <= longest)


TABLE: Final[dict[str, Callable[[Any], bool]]] = {
    "value": lambda value: isinstance(value, str) and value != "",
    "ttl_seconds": is_up_to(MAX_TTL),
    "max_reads": is_up_to(2_147_483_647),
    "delete": lambda value: isinstance(value, bool),
    "key": is_key,
}
KNOWN: Final = {
    "drop": {"value", "ttl_seconds", "max_reads", "delete"},
    "org": {"value", "ttl_seconds", "max_reads", "delete", "key"},
    "patch": {"value", "ttl_seconds", "max_reads"},
}
REQUIRED: Final[dict[str, set[str]]] = {"drop": {"value"}, "org": {"value", "key"}, "patch": set()}
SUCCESS: Final = {"drop": 201, "org": 201, "patch": 200}


class Verdict(NamedTuple):
    """What may come of a body.

    Attributes:
        statuses: What may be answered.
        members: What is asked for, if the body is lawful.
    """

    statuses: set[int]
    members: dict[str, Any] | None = None


def judged(kind: str, body: bytes) -> Verdict:
    """Judge a body by the table."""
    if len(body) > MAX_BODY:
        return Verdict({413})
    members = members_of(body)
    if members is None or not REQUIRED[kind] <= set(members) <= KNOWN[kind]:
        return Verdict({400})
    is_long = len(str(members.get("value")).encode()) > MAX_VALUE
    if not all(TABLE[name](value) for name, value in members.items()):
        return Verdict({400, 413} if is_long else {400})
    return Verdict({413}) if is_long else Verdict({SUCCESS[kind]}, members)


# What is sent.

NUMBERS: Final = [
    *map(str, (0, 1, -1, 2, MAX_TTL, MAX_TTL + 1, 315_360_000, 2**31 - 1, 2**31, 2**32 + 1, 2**63, 2**64 + 1, 10**500)),
    *("1.0", "186.0", "1e0", "1E400", "-0", "01", "+1", "1.", ".5", "0x1", "1_0", "\uff11", "9" * 1900),
    *("NaN", "Infinity", "-Infinity", "-", "", '"1"', "true", "[1]"),
]
MISSPELT: Final = [
    "Value",
    "values",
    "max_read",
    "maxReads",
    "ttl",
    "id",
    "org",
    "",
    "\ud800",
    "value\x00",
    "__class__",
]
PARTS: Final = [
    *(b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xc2", b"\x7f", b"\n", b" "),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\ud800", b"\\udc00", b"\\u00", b"\\u+123", b"\\x41", b"//x"),
    *(b"null", b"NaN", b"1.0", b"-", b"9" * 400, b'"value":"v",', b',"value":"v"', b"[" * 900, b'{"value":' * 200),
]
SPACE: Final = st.sampled_from(["", "", "", " ", "\n", "\r\n\t"])
NO_SPACE: Final = st.sampled_from(["\xa0", "\ufeff", "\x0b", "\x0c", "\x00", "\u2028", "/**/"])


def written(value: Any, *, escaped: bool) -> str:
    """Write a value as JSON, constants that JSON does not have included."""
    return json.dumps(value, ensure_ascii=escaped)


def encoded(text: str) -> bytes:
    """Encode a text as UTF-8, lone surrogates too, as no honest program would."""
    return text.encode("utf-8", "surrogatepass")


_characters = st.one_of(st.characters(codec="utf-8"), st.sampled_from('a"\\\x00\x1f\x7f\ud800\udfff\U0001d11e\ufeff'))
_texts = st.text(_characters, max_size=12)
_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _texts)
_values = st.recursive(
    _scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3))
)
_literals = st.one_of(st.sampled_from(NUMBERS), st.builds(written, _values, escaped=st.booleans()))
_names = st.one_of(st.sampled_from(sorted(TABLE)), st.sampled_from(MISSPELT), _texts)
_members = st.tuples(st.builds(written, _names, escaped=st.booleans()), _literals)

_QUOTED: Final = [f'"{name}"' for name in sorted(TABLE)]
_lawful_numbers = st.sampled_from(["1", "2", "7", "null", str(MAX_TTL)])
_lawful: dict[str, st.SearchStrategy[str]] = {
    "value": st.one_of(
        st.builds(written, st.text(st.characters(codec="utf-8"), min_size=1, max_size=16), escaped=st.booleans()),
        st.sampled_from([f'"{"v" * MAX_VALUE}"', f'"{"v" * (MAX_VALUE + 1)}"', f'"{"é" * MAX_VALUE}"', '"\\u0000"']),
    ),
    "ttl_seconds": _lawful_numbers,
    "max_reads": _lawful_numbers,
    "delete": st.sampled_from(["true", "false"]),
    "key": st.one_of(
        st.from_regex(r"[A-Za-z0-9_.\-]{1,20}", fullmatch=True),
        st.sampled_from(["k" * 256, "k" * 257, ".", "..", "...", "a" * 63, "a" * 64, "A" * 64, "g" * 64]),
    ).map(lambda text: f'"{text}"'),
}


Members = Sequence[tuple[str, str]]


@st.composite
def objects(draw: st.DrawFn, members: st.SearchStrategy[Members], space: st.SearchStrategy[str] = SPACE) -> bytes:
    """Make an object of members, with white space around its parts."""
    parts = [f"{draw(space)}{name}{draw(SPACE)}:{draw(SPACE)}{value}{draw(SPACE)}" for name, value in draw(members)]
    return encoded(f"{draw(SPACE)}{{{','.join(parts)}}}{draw(SPACE)}")


def lawful(kind: str) -> st.SearchStrategy[Members]:
    """Return members that mostly keep the rules, in any order."""
    required = {name: _lawful[name] for name in sorted(REQUIRED[kind])}
    optional = {name: _lawful[name] for name in sorted(KNOWN[kind] - REQUIRED[kind])}
    members = st.fixed_dictionaries(required, optional=optional)
    return members.map(lambda found: [(f'"{name}"', value) for name, value in found.items()]).flatmap(st.permutations)


@st.composite
def nearly(draw: st.DrawFn, kind: str) -> Members:
    """Make members that keep the rules, but for one: it is wrong, or unknown, or stands there twice."""
    members = list(draw(lawful(kind)))
    wrong = draw(st.one_of(st.sampled_from(NUMBERS), _literals))
    if members and draw(st.sampled_from([True, True, False])):
        place = draw(st.integers(0, len(members) - 1))
        name, _ = members[place]
        return [*members[: place + draw(st.sampled_from([0, 0, 0, 1]))], (name, wrong), *members[place + 1 :]]
    return [*members, draw(st.one_of(_members, st.tuples(st.sampled_from(_QUOTED), _literals)))]


@st.composite
def mutated(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Damage a body in up to three places: something is put in, taken out or said twice."""
    body = draw(bodies)
    for _ in range(draw(st.integers(1, 3))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
        part = draw(st.one_of(st.sampled_from(PARTS), st.binary(max_size=3), st.just(body[begin:end])))
        body = body[:begin] + part + draw(st.sampled_from([body[begin:], body[end:]]))
    return body


def bodies(kind: str) -> st.SearchStrategy[bytes]:
    """Return bodies of every sort."""
    good = objects(lawful(kind))
    return st.one_of(
        good,
        objects(nearly(kind)),
        objects(nearly(kind)),
        mutated(good),
        objects(lawful(kind), st.one_of(SPACE, NO_SPACE)),
        objects(st.lists(_members, max_size=6)),
        st.builds(written, _values, escaped=st.booleans()).map(encoded),
        st.binary(max_size=60),
        st.builds(lambda body, room: body.ljust(room), good, st.sampled_from([MAX_BODY, MAX_BODY + 1])),
    )


def pieces(body: bytes, count: int) -> list[bytes]:
    """Cut a body into so many pieces, more or less."""
    size = max(1, -(-len(body) // count))
    return [body[begin : begin + size] for begin in range(0, len(body), size)] or [b""]


# Who is asked.


@dataclass
class Fuzzed:
    """A daemon, what it said so far, and what it holds.

    Attributes:
        daemon: The daemon.
        refusals: Each refusal by what was asked and the rule that was broken, without what may differ.
        counts: How often each status was seen.
        kept: What the secret that is amended holds.
    """

    daemon: Daemon
    refusals: dict[Any, list[Any]] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    kept: dict[str, Any] = field(default_factory=dict)

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        count: int = 1,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Heard:
        """Send a request, and check that nothing crashed."""
        answer = await ask(self.daemon, method, target, headers or [BEARER, JSON], pieces(body, count))
        self.counts[answer.status] += 1
        assert answer.status < 500, answer.body
        return answer

    def held(self) -> tuple[Any, ...]:
        """Return all that the database holds of secrets, salts and events."""
        with beside(self.daemon) as connection:
            tables = ("SELECT * FROM secret", "SELECT count(*) FROM slot WHERE NOT free", "SELECT count(*) FROM audit")
            return tuple(connection.execute(statement).fetchall() for statement in tables)

    def check_refusal(self, asked: str, answer: Heard) -> None:
        """Check that a refusal is the one of its rule, to the byte, whatever was sent this time."""
        told = json.loads(answer.body)
        assert set(told) <= {"error", "code", "field"}
        assert told.get("field") in {None, "", *TABLE, "limit", "cursor", "org"}
        rule = (asked, answer.status, told["code"], told.get("field"))
        shown = ([pair for pair in answer.headers if pair[0] != "x-request-id"], answer.body)
        known = self.refusals.setdefault(rule, [])
        if shown not in known:
            known.append(shown)
        # A bound can be the operator's or the format's, and a body no JSON or no object: two sentences at most.
        assert len(known) <= 2


@pytest.fixture
async def fuzzed(start: Start) -> AsyncIterator[Fuzzed]:
    """A daemon with small limits, which was seen to answer in more than one way."""
    limits = {"max_value_bytes": MAX_VALUE, "max_body_bytes": MAX_BODY, "max_ttl_seconds": MAX_TTL}
    defaults = {"default_max_reads": DEFAULT_READS, "default_ttl_seconds": DEFAULT_TTL}
    async with start(**limits, **defaults) as daemon:
        await daemon.put_in("umbrella", "kept", "old", delete=False)
        found = Fuzzed(daemon, kept={"value": "old", "max_reads": DEFAULT_READS, "expires_at": NOW + DEFAULT_TTL})
        yield found
    assert len(found.counts) > 1


def due(members: dict[str, Any]) -> dict[str, Any]:
    """Return what must be stored of a lawful body, by the table's columns for what is absent and what is null."""
    ttl = members.get("ttl_seconds", DEFAULT_TTL)
    return {
        "expires_at": NOW + (MAX_TTL if ttl is None else ttl),
        "max_reads": members.get("max_reads", DEFAULT_READS),
        "delete": members.get("delete", True),
    }


async def stored(fuzzed: Fuzzed, path: str, members: dict[str, Any]) -> None:
    """Check that what was taken is there as the table says, and take it away."""
    listed = json.loads((await fuzzed.ask("GET", "/secrets?limit=1")).body)["secrets"][0]
    assert path.endswith(f"/{listed['key']}")
    assert {name: listed[name] for name in ("expires_at", "max_reads", "delete")} == due(members)
    assert json.loads((await fuzzed.ask("GET", path)).body)["value"] == members["value"]
    await fuzzed.ask("DELETE", path)


async def amended(fuzzed: Fuzzed, answer: Heard, members: dict[str, Any]) -> None:
    """Check that an amendment changed what it named and nothing else."""
    told, kept = json.loads(answer.body), fuzzed.kept
    kept["value"] = members.get("value", kept["value"])
    kept["max_reads"] = members.get("max_reads", kept["max_reads"])
    if "ttl_seconds" in members:
        kept["expires_at"] = due(members)["expires_at"]
    assert {name: told[name] for name in ("max_reads", "expires_at")} == {
        name: kept[name] for name in ("max_reads", "expires_at")
    }
    assert (told["read_count"], told["delete"]) == (0, False)
    assert json.loads((await fuzzed.ask("GET", KEPT)).body)["value"] == kept["value"]


async def judge(fuzzed: Fuzzed, kind: str, body: bytes, count: int) -> None:
    """Send a body where bodies of its kind belong, and hold what comes of it against the table."""
    verdict = judged(kind, body)
    method, target = {"drop": ("POST", "/secrets"), "org": ("POST", FREE), "patch": ("PATCH", KEPT)}[kind]
    before = fuzzed.held()
    answer = await fuzzed.ask(method, target, body, count=count)
    assert answer.status in verdict.statuses
    if verdict.members is None:
        fuzzed.check_refusal(kind, answer)
        assert fuzzed.held() == before
    elif kind == "patch":
        await amended(fuzzed, answer, verdict.members)
    elif kind == "org":
        assert json.loads(answer.body) == {"key": verdict.members["key"]}
        await stored(fuzzed, f"{FREE}/{verdict.members['key']}", verdict.members)
    else:
        told = json.loads(answer.body)
        assert told == {"id": told["id"], "url": f"http://127.0.0.1:39999/s/{told['id']}"}
        assert re.fullmatch("[0-9a-f]{64}", told["id"])
        await stored(fuzzed, f"/secrets/{told['id']}", verdict.members)


@FUZZ
@given(body=bodies("drop"), count=st.integers(1, 9))
async def test_any_body_of_a_dead_drop(fuzzed: Fuzzed, body: bytes, count: int) -> None:
    """Whatever is sent as a dead drop is stored as the table says, or refused without a trace."""
    await judge(fuzzed, "drop", body, count)


@FUZZ
@given(body=bodies("org"), count=st.integers(1, 9))
async def test_any_body_of_an_org_secret(fuzzed: Fuzzed, body: bytes, count: int) -> None:
    """Whatever is sent as an org secret is stored as the table says, or refused without a trace."""
    await judge(fuzzed, "org", body, count)


@FUZZ
@given(body=bodies("patch"), count=st.integers(1, 9))
async def test_any_body_of_an_amendment(fuzzed: Fuzzed, body: bytes, count: int) -> None:
    """Whatever is sent as an amendment changes what the table says, or is refused without a trace."""
    await judge(fuzzed, "patch", body, count)


# Queries, names and fields of the head.

CURSOR: Final = "A[Q-X][A-Za-z0-9_-]{10}"
_percent = st.sampled_from([quote, quote_plus, lambda text: "".join(f"%{byte:02x}" for byte in encoded(text))])
_query_values = st.one_of(
    _texts,
    st.sampled_from([*NUMBERS, "1000", "1001", "0001", "00001", "9999", "acme", "umbrella", "nobody", ".", "o" * 129]),
    st.from_regex(CURSOR, fullmatch=True),
    st.from_regex("[A-Za-z0-9_-]{12}", fullmatch=True),
)
_query_names = st.one_of(st.sampled_from(["limit", "cursor", "org"] * 3 + ["Limit", "offset", "", "limit[]"]), _texts)


def is_lawful_query(pairs: Sequence[tuple[str, str]]) -> bool:
    """Tell whether a list must be given for a query."""
    known = [(name, value) for name, value in pairs if name in {"limit", "cursor", "org"}]
    rules: dict[str, Callable[[str], bool]] = {
        "limit": lambda value: re.fullmatch("[0-9]{1,4}", value) is not None and 1 <= int(value) <= 1000,
        "cursor": lambda value: re.fullmatch(CURSOR, value) is not None,
        "org": lambda value: is_name(value, 128),
    }
    return len(dict(known)) == len(known) and all(rules[name](value) for name, value in known)


@FUZZ
@given(
    path=st.sampled_from(["/secrets", "/orgs/umbrella/secrets"]),
    pairs=st.lists(st.tuples(_query_names, _query_values, _percent), max_size=4),
)
async def test_any_query(fuzzed: Fuzzed, path: str, pairs: list[tuple[str, str, Callable[[str], str]]]) -> None:
    """Whatever stands in the query of a list, the list is the one that was asked for, or the query is refused."""
    pairs = [(encoded(name).decode(errors="replace"), encoded(v).decode(errors="replace"), to) for name, v, to in pairs]
    meant = [(name, value) for name, value, _ in pairs]
    answer = await fuzzed.ask("GET", f"{path}?" + "&".join(f"{to(name)}={to(value)}" for name, value, to in pairs))
    if not is_lawful_query(meant):
        assert answer.status == 400
        fuzzed.check_refusal("list", answer)
        return
    assert answer.status == 200
    told, query = json.loads(answer.body), dict(meant)
    assert ("next_cursor" in told) == ("limit" in query)
    assert len(told["secrets"]) <= int(query.get("limit", 1))
    foreign = path == "/secrets" and query.get("org", "umbrella") != "umbrella"
    assert [each["key"] for each in told["secrets"]] in ([], [] if foreign else ["kept"])


@FUZZ
@example(query=b"limit=0")
@given(query=st.one_of(st.binary(max_size=40), st.text("limtcuorsg=&;%+19aA\x00", max_size=40).map(str.encode)))
async def test_any_bytes_in_a_query(fuzzed: Fuzzed, query: bytes) -> None:
    """Whatever bytes stand in a query, it is answered or refused, and not repeated."""
    answer = await fuzzed.ask("GET", f"/secrets?{query.decode('latin-1')}")
    assert answer.status in {200, 400}
    if answer.status == 400:
        fuzzed.check_refusal("list", answer)


_segments = st.one_of(_texts, st.text("aA0.-_/%\\", max_size=6), st.sampled_from([".", "..", "k" * 257, "a" * 64]))


@FUZZ
@given(method=st.sampled_from(["GET", "PATCH", "DELETE"]), org=_segments, key=_segments, bare=st.booleans())
async def test_any_name(fuzzed: Fuzzed, method: str, org: str, key: str, *, bare: bool) -> None:
    """Whatever stands where a name belongs, it is looked up in vain or refused, and not repeated."""
    org, key = (encoded(name).decode(errors="replace") for name in (org, key))
    before = fuzzed.held()
    target = "/secrets/" + quote(key, safe="") if bare else f"/orgs/{quote(org, safe='')}/secrets/{quote(key, safe='')}"
    answer = await fuzzed.ask(method, target, b"{}")
    if any("/" in name or not name for name in ([key] if bare else [org, key])):
        assert answer.status in {400, 404, 405}
    else:
        is_lawful = (is_key(key) and (bare or is_name(org, 128))) or (bare and re.fullmatch("[0-9a-f]{64}", key))
        assert answer.status == (404 if is_lawful else 400)
    fuzzed.check_refusal("name", answer)
    assert fuzzed.held() == before


_lengths = st.one_of(st.binary(max_size=4), st.integers(-1, 10**25).map(lambda n: b"%d" % n), st.just(b"2049"))
_media = st.one_of(
    st.binary(max_size=20),
    st.lists(
        st.sampled_from(
            [b"application/json", b"APPLICATION/JSON", b"charset=utf-8", b";", b" ", b"=", b'"', b"text/x", b","]
        ),
        max_size=6,
    ).map(b"".join),
)


@FUZZ
@given(length=_lengths, media=_media)
async def test_any_declaration_of_a_body(fuzzed: Fuzzed, length: bytes, media: bytes) -> None:
    """Whatever is declared of a body, only what is declared as JSON in UTF-8 and within the limit is stored."""
    before = fuzzed.held()
    headers = [BEARER, (b"content-type", media), (b"content-length", length)]
    answer = await fuzzed.ask("POST", "/secrets", b'{"value": "v"}', headers=headers)
    kind, *parameters = [part.strip(b" \t") for part in media.lower().split(b";")]
    charset = [re.sub(rb'[ \t"]', b"", parameter) for parameter in parameters if parameter]
    is_json = kind == b"application/json" and charset in ([], [b"charset=utf-8"])
    if answer.status == 201:
        assert is_json
        assert not (length.isdigit() and int(length) > MAX_BODY)
        await fuzzed.ask("DELETE", f"/secrets/{json.loads(answer.body)['id']}")
    else:
        assert answer.status == (413 if is_json and answer.status == 413 else 415)
        fuzzed.check_refusal("declared", answer)
        assert fuzzed.held() == before
