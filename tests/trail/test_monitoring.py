"""What monitoring is set up with: alerts, dashboard and scrape configuration fit what the daemon tells."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]

from tests.conftest import Daemon, running, settings_for
from tests.parts import PATIENCE_SECONDS, ROOT, require
from tests.test_docs import page, table_rows

DEPLOY: Final = ROOT / "deploy"
OF_PROMETHEUS: Final = {"up"}
_WORDS: Final = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset"}


def promtool(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `promtool`."""
    require(shutil.which("promtool"), "promtool")
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def alerts() -> dict[str, str]:
    """Return the expression of each alert by its name."""
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return found


def panels() -> list[str]:
    """Return the expressions of the dashboard, with an interval in the place of its variable."""
    targets = [target for panel in dashboard()["panels"] for target in panel["targets"]]
    return [target["expr"].replace("$__rate_interval", "5m") for target in targets]


def named(expression: str) -> set[str]:
    """Return the names of metrics in an expression."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    return {name for name in re.findall(r"(?<!\w)[a-zA-Z_:][\w:]*\b(?!\s*\()", bare) if name not in _WORDS}


def labels_in(expression: str) -> set[tuple[str, str, str]]:
    """Return metric, label and value of each condition in an expression."""
    return {
        (metric, label, value)
        for metric, conditions in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression)
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', conditions)
    }


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A scrape of a daemon that has done some of everything."""

    async def scraped() -> str:
        async with running(settings_for(tmp_path / "data", metrics=True)) as daemon:
            await used(daemon)
            return (await daemon.client.get("/metrics")).text

    return asyncio.run(scraped())


async def used(daemon: Daemon) -> None:
    """Do some of everything."""
    path = f"/secrets/{await daemon.put()}"
    for client in (daemon.client, daemon.stranger):
        await client.get(path)
    await daemon.client.get("/nowhere")
    await daemon.drop.tidy()


def families(text: str) -> dict[str, str]:
    """Return the kind of each metric."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))


def series(text: str) -> set[str]:
    """Return the names of all series that there can be."""
    found: set[str] = set()
    for name, kind in families(text).items():
        found |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return found


def test_names_are_found_in_expressions() -> None:
    """What looks for names sees those of metrics, and no function, label or word."""
    expression = 'sum by (le, instance) (rate(a_total{b="c_d"}[5m])) / on (x) 2e3 * e_f > bool g and up{job="h"} == 1'
    assert named(expression) == {"a_total", "e_f", "g", "up"}
    assert labels_in(expression) == {("a_total", "b", "c_d"), ("up", "job", "h")}


def test_alerts_and_dashboard_name_metrics_that_there_are(text: str) -> None:
    """An alert on a name that nothing has never fires."""
    known = series(text) | OF_PROMETHEUS
    expressions = [*alerts().values(), *panels()]
    assert len(expressions) > 30
    assert {name for each in expressions for name in named(each)} - known == set()
    shown = {name for each in panels() for name in named(each)}
    own = [name for name in families(text) if name.startswith("sirrd_")]
    assert [name for name in own if not any(each.startswith(name) for each in shown)] == []


def test_alerts_and_dashboard_ask_for_labels_that_there_are(text: str) -> None:
    """Nor does one on a label, or on a value of a closed set, that nothing has."""
    asked = {each for expression in [*alerts().values(), *panels()] for each in labels_in(expression)}
    own = {(metric, label, value) for metric, label, value in asked if label not in {"instance", "job"}}
    assert len(own) > 4
    for metric, label, value in own:
        if label == "status":
            assert f"{metric}{{" in text
            assert re.fullmatch(r"\d{3}(\|\d{3})*", value)
        else:
            assert f'{metric}{{{label}="{value}"}}' in text


def test_every_metric_is_explained(text: str) -> None:
    """The page has each with its labels, and no other."""
    section = page("operations").partition("\n## Monitoring\n")[2].partition("\n## ")[0]
    rows = [row for row in table_rows(section) if row[0].startswith(("sirrd_", "process_"))]
    described = {name: row[1] for row in rows for name in row[0].split(", ")}
    assert set(described) == set(families(text))
    for name, labels in described.items():
        found = re.search(rf"^{name}(?:_bucket|_total)?(?:\{{(.*)\}})? ", text, flags=re.MULTILINE)
        assert found is not None, name
        used = [label for label in re.findall(r'(\w+)="', found[1] or "") if label != "le"]
        assert sorted(used) == sorted(labels.split(", ") if labels else []), name


def test_every_alert_is_explained() -> None:
    """Whoever is woken finds what it means and what to do; and it is told on which machine."""
    section = page("operations").partition("\n### Alerts\n")[2].partition("\n### ")[0]
    rows = {row[0]: row[1:] for row in table_rows(section) if row[0].startswith("Sirrd")}
    assert [*rows] == [*alerts()]
    assert all(len(means) > 10 and len(what) > 10 for means, what in rows.values())
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert all("$labels.instance" in rule["annotations"]["summary"] for rule in rules)
    paging = [rule["alert"] for rule in rules if rule["labels"]["severity"] == "page"]
    assert paging == [*alerts()][: len(paging)]
    assert len(paging) == 8


def test_the_dashboard_can_be_imported() -> None:
    """Its panels have numbers of their own, do not lie on each other, and ask the source that is chosen."""
    found = dashboard()
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
    assert {variable["name"] for variable in found["templating"]["list"]} == {"datasource", "instance"}


def test_promtool_takes_the_alerts(tmp_path: Path) -> None:
    """The rules are valid."""
    done = promtool("check", "rules", DEPLOY / "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """Each is valid as a rule would be."""
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(panels())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_configuration() -> None:
    """It is valid, and finds its rules."""
    done = promtool("check", "config", DEPLOY / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


def test_promtool_takes_the_configuration_with_a_key(tmp_path: Path) -> None:
    """The other way, commented out in the file, is valid, too."""
    kept = (DEPLOY / "prometheus.yml").read_text()
    shown = re.sub(r"^  # (  |- )", r"  \1", kept, flags=re.MULTILINE).replace("job_name: sirrd", "job_name: own", 1)
    assert shown.count("job_name") == 2
    (tmp_path / "key").write_text("k")
    (tmp_path / "prometheus.yml").write_text(shown.replace("/etc/prometheus/sirrd_api_key", str(tmp_path / "key")))
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_a_scrape(text: str) -> None:
    """What the daemon tells is what Prometheus' own linter wants to be told."""
    done = promtool("check", "metrics", given=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


FIRING: Final[dict[str, list[tuple[str, str]]]] = {
    "SirrdDown": [('up{job="sirrd",instance="a"}', "0x120")],
    "SirrdStorageFailing": [('sirrd_storage_failing{instance="a"}', "1x120")],
    "SirrdUnreadable": [('sirrd_claims_total{instance="a",outcome="unreadable"}', "0x110 1x10")],
    "SirrdErrors": [
        ('sirrd_requests_total{instance="a",status="200"}', "0+1000x120"),
        ('sirrd_requests_total{instance="a",status="503"}', "0+20x120"),
    ],
    "SirrdDiskFull": [
        ('sirrd_disk_free_bytes{instance="a"}', "1x120"),
        ('sirrd_min_free_bytes{instance="a"}', "2x120"),
    ],
    "SirrdTicksMissing": [('sirrd_ticks_total{instance="a",outcome="done"}', "7x120")],
    "SirrdWalHeld": [('sirrd_checkpoints_total{instance="a",outcome="truncated"}', "7x120")],
    "SirrdQueueLong": [('sirrd_writer_waiting_units{instance="a"}', "2000x120")],
    "SirrdCommitsSlow": [
        ('sirrd_commit_duration_seconds_bucket{instance="a",le="0.5"}', "0+90x120"),
        ('sirrd_commit_duration_seconds_bucket{instance="a",le="2.5"}', "0+100x120"),
        ('sirrd_commit_duration_seconds_bucket{instance="a",le="+Inf"}', "0+100x120"),
    ],
    "SirrdPruneBehind": [('sirrd_secrets{instance="a",state="expired"}', "20000x120")],
    "SirrdClockJumped": [('sirrd_clock_jumps_total{instance="a"}', "0x110 1x10")],
    "SirrdLogDropped": [('sirrd_log_lines_dropped_total{instance="a"}', "0x110 9x10")],
    "SirrdGuessing": [('sirrd_requests_total{instance="a",status="404"}', "0+600x120")],
    "SirrdFilesShort": [
        ('process_open_fds{job="sirrd",instance="a"}', "95x120"),
        ('process_max_fds{job="sirrd",instance="a"}', "100x120"),
    ],
    "SirrdDiskFilling": [
        ('sirrd_disk_free_bytes{instance="a"}', "1000000-1000x120"),
        ('sirrd_min_free_bytes{instance="a"}', "100x120"),
    ],
    "SirrdRestarting": [('process_start_time_seconds{job="sirrd",instance="a"}', "0x90 10+10x30")],
}
"""What makes each alert fire within two hours: series, and their values by the minute."""


WELL: Final[list[tuple[str, str]]] = [
    ('up{job="sirrd",instance="a"}', "1x120"),
    ('sirrd_storage_failing{instance="a"}', "0x120"),
    ('sirrd_claims_total{instance="a",outcome="unreadable"}', "0x120"),
    ('sirrd_requests_total{instance="a",status="200"}', "0+1000x120"),
    ('sirrd_requests_total{instance="a",status="404"}', "0+30x120"),
    ('sirrd_disk_free_bytes{instance="a"}', "900000000x120"),
    ('sirrd_min_free_bytes{instance="a"}', "300000000x120"),
    ('sirrd_ticks_total{instance="a",outcome="done"}', "0+1x120"),
    ('sirrd_checkpoints_total{instance="a",outcome="truncated"}', "0+1x120"),
    ('sirrd_commit_duration_seconds_bucket{instance="a",le="0.5"}', "0+100x120"),
    ('sirrd_commit_duration_seconds_bucket{instance="a",le="+Inf"}', "0+100x120"),
    ('sirrd_writer_waiting_units{instance="a"}', "3x120"),
    ('sirrd_secrets{instance="a",state="expired"}', "100x120"),
    ('sirrd_clock_jumps_total{instance="a"}', "1x120"),
    ('sirrd_log_lines_dropped_total{instance="a"}', "1x120"),
    ('process_open_fds{job="sirrd",instance="a"}', "9x120"),
    ('process_max_fds{job="sirrd",instance="a"}', "100x120"),
    ('process_start_time_seconds{job="sirrd",instance="a"}', "1x120"),
]
"""The series of a daemon on which nothing fires."""


def case(series_of: list[tuple[str, str]], expected: dict[str, int]) -> dict[str, Any]:
    """Return a test of promtool: how many alerts of each name fire after an hour and 58 minutes."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series_of],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                "eval_time": "118m",
                "exp_samples": [{"labels": "{}", "value": count}],
            }
            for alert, count in expected.items()
        ],
    }


def test_promtool_sees_every_alert_fire(tmp_path: Path) -> None:
    """Each fires on what it is for, and nothing fires on a daemon that is well."""
    assert set(FIRING) == set(alerts())
    assert {re.match(r"\w+", name)[0] for name, _ in WELL} >= {  # type: ignore[index]  # each begins with its name
        name for each in alerts().values() for name in named(each)
    }
    tests = [case(WELL, dict.fromkeys(alerts(), 0)), *(case(each, {name: 1}) for name, each in FIRING.items())]
    document = {"rule_files": [str(DEPLOY / "alerts.yml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", tmp_path / "tests.yml")
    assert done.returncode == 0, done.stdout + done.stderr
