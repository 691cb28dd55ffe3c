"""The documents say what the code does: settings, routes, errors, commands, formats, and a walk-through that runs."""

from __future__ import annotations

import argparse
import re
import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page as performance
from benchmarks import plots, results
from sirrd.cli import program
from sirrd.cli.commands import COMMANDS
from sirrd.cli.usage import parser_of
from sirrd.config.settings import PREFIX, SECRETS, Settings
from sirrd.config.sources import CLIENT_VARIABLES
from sirrd.errors import BadField, BadSetting, ValueTooLarge
from sirrd.http import auth, problems
from sirrd.http.routes import DESCRIPTION, RESOURCES
from sirrd.keyring.masters import parse_master_keys
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.migrate import migrations
from tests.conftest import MASTER_KEY, Start
from tests.parts import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
EXAMPLE = ROOT / "sirrd.toml.example"
USAGE = 2


def page(name: str) -> str:
    """Return the text of a page in `docs/`."""
    return (DOCS / f"{name}.md").read_text()


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in a text, without code marks."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def without_fences(text: str) -> str:
    """Return a text without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


# Settings.


def test_every_setting_is_explained_on_the_operations_page() -> None:
    """Each setting, and the file form of each secret one, has a row in the table, with the default it really has."""
    rows = {row[0]: row[1] for row in table_rows(page("operations")) if row[0].startswith(PREFIX)}
    described = {name for names in rows for name in names.split(", ")}
    variables = {PREFIX + name.upper() for name in Settings.model_fields}
    assert described == variables | {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int | float):
            shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default).lower()
            assert rows[PREFIX + name.upper()].split(" ")[0] == shown, name


def test_documents_name_no_setting_that_does_not_exist() -> None:
    """A `SIRR_*` name anywhere in the documents is a setting, or a variable that the daemon knows."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *(f"{name}_file" for name in SECRETS))}
    known |= CLIENT_VARIABLES | {"SIRR_CONFIG"}
    for path in (*PAGES, EXAMPLE):
        assert set(re.findall(r"\bSIRR_[A-Z_]*[A-Z]\b", path.read_text())) <= known, path.name


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The example file with every setting uncommented."""
    return tomllib.loads(re.sub(r"^#([a-z_]+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))


def test_the_example_has_every_setting_with_its_default(example: dict[str, Any]) -> None:
    """Uncommented it is valid, names every setting and no other, and changes none that has a default."""
    assert set(example) == {*Settings.model_fields, *(f"{name}_file" for name in SECRETS)}
    assert tomllib.loads(EXAMPLE.read_text()) == {}
    for name, field in Settings.model_fields.items():
        if field.default is not None and field.default_factory is None:
            shown = tuple(example[name]) if isinstance(example[name], list) else example[name]
            assert shown == field.default, name
    plain = {name: value for name, value in example.items() if name in Settings.model_fields and name not in SECRETS}
    assert Settings(**plain).body_limit == Settings().body_limit


def test_the_keys_of_the_example_cannot_be_used(example: dict[str, Any]) -> None:
    """Nobody who uncomments a key and forgets to change it gets a daemon with a published key."""
    with pytest.raises(ValueError, match="printable ASCII"):
        Settings(master_api_key=example["master_api_key"])
    with pytest.raises(BadSetting):
        parse_master_keys(example["master_encryption_key"])


def test_the_example_says_what_public_org_reads_mean() -> None:
    """Whoever chooses sees that keys can be guessed and ids cannot, and that the default differs from the original."""
    text = EXAMPLE.read_text()
    assert "Key names can be guessed and ids cannot" in text
    assert "one deliberate difference from the public API reference" in text


# Behaviour.


def test_every_route_is_described() -> None:
    """The table of routes has each path with each of its methods, and no other."""
    described = set()
    for first, *_ in table_rows(page("behaviour")):
        if found := re.fullmatch(r"([A-Z]+(?:, [A-Z]+)*) (/\S*)", first):
            described |= {(method, found[2]) for method in found[1].split(", ")}
    assert described == {(method, resource.path) for resource in RESOURCES for method in resource.endpoints}


WHO = {
    "anyone": {auth.unasked, auth.caller},
    "anyone for an id; for a bare key see below": {auth.reader},
    "Bearer": {auth.operator},
    "Bearer; anyone with [public creation](#public-creation)": {auth.creator},
    "Bearer, or a stranger who shows a [proof](#locks)": {auth.recipient},
    "the bearer; 403 where no key is set": {auth.key_holder},
}


def test_every_route_says_who_may() -> None:
    """The table of routes has for each method of each path who may, as its endpoint declares."""
    declared = {f"{endpoint.method} {endpoint.path}": endpoint.who for endpoint in DESCRIPTION.endpoints}
    for first, who, *_ in table_rows(page("behaviour")):
        if found := re.fullmatch(r"([A-Z]+(?:, [A-Z]+)*) (/\S*)", first):
            for method in found[1].split(", "):
                read = declared.get(f"GET {found[2].removesuffix('/received')}")
                assert declared[f"{method} {found[2]}"] in ({read} if who == "as GET" else WHO[who]), first


def test_every_error_is_described() -> None:
    """The table of errors has each code with its status, and its text where that does not vary."""
    rows = {row[1]: (int(row[0]), row[2]) for row in table_rows(page("behaviour")) if re.fullmatch(r"\d{3}", row[0])}
    expected = {error.code: problem for error, problem in problems.TABLE.items()}
    expected[problems.CRASHED_CODE] = problems.CRASHED
    assert {code: status for code, (status, _) in rows.items()} == {code: p.status for code, p in expected.items()}
    varying = {"bad_body", BadField.code, ValueTooLarge.code}
    assert [code for code, p in expected.items() if code not in varying and rows[code][1] != p.text] == []


def test_every_command_flag_and_exit_code_is_described() -> None:
    """The command line has no command, flag or exit code that the page does not name."""
    text = page("behaviour")
    parser = parser_of(COMMANDS)
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    rows = table_rows(text)
    described = {row[0].removeprefix("sirrd ") for row in rows if row[0].startswith("sirrd ")}
    assert described == {*commands.choices, "--version"}
    flags = {flag for command in commands.choices.values() for flag in command._option_string_actions if flag != "-h"}
    assert {flag for flag in flags if f"`{flag}`" not in text} == set()
    codes = {row[0] for row in rows if re.fullmatch(r"\d", row[0])}
    assert codes == {str(code) for code in (program.DONE, program.FAILED, USAGE, program.CANNOT_START)}


# Architecture.


ROOMS = {
    "cli": "sirrd.cli",
    "config": "sirrd.config",
    "server": "sirrd.server",
    "keyring": "sirrd.keyring",
    "http": "sirrd.http",
    "openapi": "sirrd.http.openapi",
    "pages": "sirrd.http.pages",
}


def test_the_rings_are_those_that_are_enforced() -> None:
    """The picture of the layers is what import-linter checks, and every module has its line."""
    text = page("architecture")
    (picture,) = re.findall(r"^```\n(cli .*?)```", text, flags=re.DOTALL | re.MULTILINE)
    whole, *rooms = re.split(r"^(\w+): ", picture, flags=re.MULTILINE)
    drawn = {"sirrd": whole} | dict(zip([ROOMS[room] for room in rooms[::2]], rooms[1::2], strict=True))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    enforced = {contract["containers"][0]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    assert {room: " ".join(layers.split()).split(" > ") for room, layers in drawn.items()} == enforced
    modules = {path.stem for path in (ROOT / "sirrd").rglob("*.py") if not path.stem.startswith("__")}
    named = set(re.findall(r"`(\w+)`", text))
    assert modules <= named


def test_the_claim_on_the_page_is_the_claim_in_the_code() -> None:
    """The statements that spend a read stand on the page as they are run."""
    (shown,) = re.findall(r"```sql\n(.*?)```", page("architecture"), flags=re.DOTALL)
    look, *written = [" ".join(part.split()) for part in re.sub(r"--.*", "", shown).split(";")[:-1]]
    run_look, *run = [" ".join(each.split()) for each in (statements.CLAIM, statements.COUNT, statements.BURN)]
    assert written == run
    assert look.startswith("SELECT …, CASE")
    assert run_look.endswith(look.partition("…, ")[2])


def test_the_glossary_has_the_words_of_the_domain() -> None:
    """Each word has one meaning, and the words that documents and code share are there."""
    words = re.findall(r"^\| \*\*([a-z ]+)\*\* \|", page("architecture"), flags=re.MULTILINE)
    assert len(words) == len(set(words))
    assert {
        "secret", "dead drop", "org secret", "value", "terms", "claim", "burn", "sealed", "amend", "peek", "prune",
        "slot", "fingerprint", "bearer", "master key",
    } <= set(words)  # fmt: skip


# Formats.


def test_the_tables_on_the_page_are_those_of_a_new_database() -> None:
    """The page has every table with its columns in their order."""
    connection = sqlite3.connect(":memory:")
    for script in migrations():
        connection.executescript(script)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        table: [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
        for table in tables
    }
    connection.close()
    section = page("formats").partition("\n## Tables\n")[2].partition("\n## ")[0]
    shown = {row[0]: re.sub(r" \(.*?\)", "", row[1]).split(", ") for row in table_rows(section)[1:]}
    assert shown == found


async def test_the_program_on_the_formats_page_opens_a_database(start: Start, tmp_path: Path) -> None:
    """A program that knows only the page reads every value, name and fingerprint, and verifies every audit row."""
    async with start() as daemon:
        kept = await daemon.put("käpt", delete=False, ttl_seconds=60)
        burned = await daemon.put("burned")
        path = await daemon.put_in("acme", "DB_PASSWORD", "hunter2", max_reads=None)
        for url in (path, f"/secrets/{burned}", f"/secrets/{burned}", f"/secrets/{kept}"):
            await daemon.client.get(url)
        await daemon.client.patch(f"/secrets/{kept}", json={"value": "new"})
        listed = (await daemon.client.get("/secrets")).json()["secrets"]
    (program,) = re.findall(r"^```python\n(.*?)^```", page("formats"), flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(program, names)  # the page's own program, which is what this test is about
    secrets, trail = names["read"](tmp_path / "data" / "sirrd.db", f"# the key\n{MASTER_KEY}\n")
    prints = {each["key"]: each["fingerprint"] for each in listed}
    assert secrets == [
        ("", kept, "new", 0, prints[kept]),
        ("acme", "DB_PASSWORD", "hunter2", 1, prints["DB_PASSWORD"]),
    ]
    assert [(action, org, key) for _, action, _, _, _, org, key, _ in trail] == [
        ("created", "", ""),
        ("created", "", ""),
        ("created", "acme", "DB_PASSWORD"),
        ("read", "acme", "DB_PASSWORD"),
        ("burned", "", ""),
        ("sealed", "", ""),
        ("amended", "", ""),
        ("missed", "", ""),
    ]


# Performance.


def test_the_figures_on_the_page_are_those_that_were_measured() -> None:
    """Between the marks stands what the published results give, and so do the plots; without results nothing does."""
    kept = DOCS / performance.BESIDE / performance.RESULTS
    found = results.load(kept) if kept.exists() else None
    text = page("performance")
    assert performance.with_section(text, "" if found is None else performance.section(found)) == text
    plotted = {path.name: path.read_text() for path in kept.parent.glob("*.svg")}
    assert plotted == ({} if found is None else plots.of(found["parts"]))


# All pages.


def anchors(path: Path) -> set[str]:
    """Return what a page's headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", without_fences(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_resolves() -> None:
    """Each relative link leads to a file that is there, and to a heading of it if it names one."""
    for path in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(path.read_text())):
            if re.match(r"https?:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def test_every_named_test_exists() -> None:
    """A test that a page names is there; of a name that ends in `_`, at least one test begins with it."""
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    tests = {name for text in sources for name in re.findall(r"^(?:async )?def (test_\w+)", text, flags=re.MULTILINE)}
    for path in PAGES:
        for name in re.findall(r"`(test_\w+)`", path.read_text()):
            found = any(test.startswith(name) for test in tests) if name.endswith("_") else name in tests
            assert found, f"{path.name}: {name}"


def test_every_threat_has_its_evidence() -> None:
    """The evidence lists the numbers from 1 on, each with a test or with words that say why there is none."""
    rows = [row for row in table_rows(page("evidence")) if row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, max(34, len(rows)) + 1))
    for number, _, evidence in rows:
        assert "test_" in evidence or number in {"28", "29"}, number
    known = {row[0] for row in table_rows(page("threat-model")) if row[0].isdigit()}
    assert known <= {row[0] for row in rows}


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions count from 0001, each with its number in the title, and with context, decision and consequences."""
    paths = sorted((DOCS / "decisions").iterdir())
    assert [path.name[:5] for path in paths] == [f"{number:04}-" for number in range(1, len(paths) + 1)]
    for path in paths:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: ")
        assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name


@pytest.mark.parametrize(
    "forbidden", [r"/(work|home|root|tmp|farm)/", r"\b(TO[D]O|FIX[M]E|XX[X])\b", r"(?i)\bissue #?\d", r"/simple\b"]
)
def test_pages_hold_nothing_of_one_machine_and_nothing_unfinished(forbidden: str) -> None:
    """No path of a machine, no unfinished word, no number of an issue, no address of a package index."""
    found = [path.name for path in (*PAGES, EXAMPLE) if re.search(forbidden, path.read_text())]
    assert found == []
