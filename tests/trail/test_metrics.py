"""Metrics: off unless they are wanted, for whom they are meant, and every number counts what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sirrd import __version__
from sirrd.errors import Unavailable
from sirrd.log import RequestLine
from sirrd.measures import UNITS, Histogram, Measures
from sirrd.store.sqlite import census
from sirrd.trail.requests import MeasuredLog
from tests.conftest import API_KEY, Daemon, Launch, Start, _Served
from tests.contract.test_contract import beside, flip
from tests.parts import PATIENCE_SECONDS, ask, put

ATTEMPT: Final = {"X-Sirr-Attempt": "A" * 43}
ABSENT: Final = "/secrets/" + "0" * 64
Sample = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str) -> dict[Sample, float]:
    """Return every sample of a scrape."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples
    }


class Scrape:
    """What a daemon told at an instant."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = parsed(text)

    def __call__(self, name: str, **labels: str) -> float:
        """Return one sample."""
        return self._samples[name, frozenset(labels.items())]

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the samples of a metric with one label that are not 0."""
        return {
            dict(labels)[label]: value for (found, labels), value in self._samples.items() if found == name and value
        }


async def scraped(daemon: Daemon) -> Scrape:
    """Ask for the metrics."""
    answer = await daemon.client.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


@pytest.fixture
async def measured(start: Start) -> AsyncIterator[Daemon]:
    """The application with metrics."""
    async with start(metrics=True) as daemon:
        yield daemon


# Whether, and for whom.


def test_without_metrics_nothing_of_them_is_loaded(tmp_path: Path) -> None:
    """Who wants none has neither the library nor what counts in memory, and nothing of it in the way."""
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nimport sirrd.cli.program, sirrd.server.process\n"
        "from sirrd.config.settings import Settings\nfrom sirrd.http.app import create_app\n"
        "async def run(**changes):\n"
        "    app = create_app(Settings(data_dir=Path('data').absolute(), min_free_bytes=0, **changes))\n"
        "    async with app.router.lifespan_context(app):\n"
        "        parts = 'prometheus_client sirrd.trail sirrd.store.sqlite.measured sirrd.deaddrop.measured'.split()\n"
        "        print(len([name for name in parts if name in sys.modules]))\n"
        "asyncio.run(run())\nasyncio.run(run(metrics=True))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "4"]


async def test_without_metrics_their_path_is_like_any_other(daemon: Daemon) -> None:
    """Off, nothing tells that there could be any."""
    answers = [await daemon.client.get(path) for path in ("/metrics", "/nowhere")]
    assert [(each.status_code, each.content) for each in answers] == [(404, answers[0].content)] * 2


async def test_on_an_address_of_their_own_they_are_for_anyone(start: Start) -> None:
    """There they need no key and mind no host, and are all that there is; on the main address they are not."""
    async with start(metrics=True, metrics_address="127.0.0.1:0") as daemon:
        app: Any = daemon.app
        served: Any = daemon.served
        transport = httpx.ASGITransport(_Served(app.metrics, served._state))
        async with httpx.AsyncClient(transport=transport, base_url="http://anything.example:9464") as client:
            answer = await client.get("/metrics")
            assert (answer.status_code, answer.headers["content-type"]) == (
                200,
                "text/plain; version=0.0.4; charset=utf-8",
            )
            assert Scrape(answer.text)("sirrd_storage_failing") == 0
            assert (await client.head("/metrics")).status_code == 200
            assert (await client.post("/metrics")).status_code == 405
            others = ["/", "/health", "/secrets", ABSENT, "/metrics/"]
            assert [(await client.get(path)).status_code for path in others] == [404] * 5
        assert (await daemon.client.get("/metrics")).status_code == 404
        assert (await daemon.client.get("/health")).status_code == 200


def test_the_daemon_serves_them_on_an_address_of_their_own(launch: Launch) -> None:
    """From the environment to the scrape: both addresses are served by one process, and it ends as ever."""
    with launch(
        SIRR_METRICS="true",
        SIRR_METRICS_ADDRESS="127.0.0.1:0",
        SIRR_MASTER_API_KEY=API_KEY,
        SIRR_LOG_FORMAT="json",
    ) as daemon:
        address = daemon.address()
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
        (url,) = [line["url"] for line in lines if line["message"] == "metrics are served"]
        path = put(address, bearer=API_KEY)
        assert ask(address, "GET", path)[0] == 200
        answer = httpx.get(url, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200
        scrape = Scrape(answer.text)
        assert scrape("sirrd_claims_total", outcome="burned") == 1
        assert scrape("sirrd_requests_total", method="GET", route="/secrets/{id}", status="200") == 1
        assert scrape("process_resident_memory_bytes") > 1_000_000
        assert httpx.get(url.removesuffix("/metrics") + path, timeout=PATIENCE_SECONDS).status_code == 404
        assert ask(address, "GET", "/metrics", bearer=API_KEY)[0] == 404
        assert daemon.stop() == 0


# What is counted.


async def test_requests_are_counted_by_template_method_and_status(measured: Daemon) -> None:
    """Each counts once, with the template of its path, never the path; what no route has is `-`."""
    secret = await measured.put()
    await measured.client.get(f"/secrets/{secret}")
    for _ in range(2):
        await measured.client.get(f"/secrets/{secret}")
    await measured.client.get("/nowhere")
    await measured.stranger.request("BREW", "/health")
    scrape = await scraped(measured)
    assert scrape("sirrd_requests_total", method="POST", route="/secrets", status="201") == 1
    assert scrape("sirrd_requests_total", method="GET", route="/secrets/{id}", status="200") == 1
    assert scrape("sirrd_requests_total", method="GET", route="/secrets/{id}", status="404") == 2
    assert scrape("sirrd_requests_total", method="GET", route="-", status="404") == 1
    assert scrape("sirrd_requests_total", method="OTHER", route="/health", status="405") == 1
    assert scrape("sirrd_request_duration_seconds_count", method="GET", route="/secrets/{id}") == 3
    assert scrape("sirrd_request_duration_seconds_bucket", method="GET", route="/secrets/{id}", le="+Inf") == 3
    assert scrape("sirrd_request_duration_seconds_sum", method="GET", route="/secrets/{id}") > 0
    assert secret not in scrape.text


async def test_requests_are_counted_though_they_are_not_logged(start: Start) -> None:
    """The level of the log has nothing to do with it."""
    async with start(metrics=True, log_level="error") as daemon:
        await daemon.client.get("/health")
        scrape = await scraped(daemon)
        assert scrape("sirrd_requests_total", method="GET", route="/health", status="200") == 1


async def test_reads_are_counted_by_their_outcome(measured: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a read came to is told apart, and a look counts as none."""
    client = measured.client
    kept = await measured.put(delete=False, max_reads=2)
    for _ in range(3):
        await client.get(f"/secrets/{kept}")
    once = await measured.put()
    await client.head(f"/secrets/{once}")
    for _ in range(3):
        await client.get(f"/secrets/{once}", headers=ATTEMPT)
    await client.get(ABSENT)
    await client.head(ABSENT)
    locked = await measured.put(lock="0" * 64)
    await client.get(f"/secrets/{locked}")
    damaged = await measured.put()
    flip(measured, "sealed")
    await client.get(f"/secrets/{damaged}")
    monkeypatch.setattr("sirrd.store.sqlite.writer.MAX_WAITING", 0)
    assert (await client.get(ABSENT)).status_code == 503
    assert (await scraped(measured)).by("sirrd_claims_total", "outcome") == {
        "read": 1, "sealed": 1, "refused": 1, "burned": 1, "redelivered": 2, "missed": 1, "unproven": 1,
        "unreadable": 1, "failed": 1,
    }  # fmt: skip


async def test_a_read_that_is_not_durable_is_no_read(measured: Daemon) -> None:
    """What was undone counts as failed, and as a transaction that failed."""
    secret = await measured.put()
    with beside(measured) as connection:
        connection.execute("ALTER TABLE audit RENAME TO audit_elsewhere")
    assert (await measured.client.get(f"/secrets/{secret}")).status_code == 503
    scrape = await scraped(measured)
    assert scrape.by("sirrd_claims_total", "outcome") == {"failed": 1}
    assert scrape("sirrd_failed_transactions_total") >= 1
    assert scrape("sirrd_storage_failing") == 1


async def test_changes_are_counted(measured: Daemon) -> None:
    """Whatever else is done to a secret has its word of the audit trail."""
    kept = await measured.put(delete=False)
    await measured.put(ttl_seconds=1)
    await measured.client.patch(f"/secrets/{kept}", json={})
    await measured.client.delete(f"/secrets/{kept}")
    await measured.client.get(ABSENT)
    measured.clock.at += 120
    await measured.client.post("/prune")
    await measured.drop.flush(everything=True)
    scrape = await scraped(measured)
    assert scrape.by("sirrd_changes_total", "action") == {"created": 2, "amended": 1, "deleted": 1, "expired": 1}
    assert scrape.by("sirrd_claims_total", "outcome") == {"missed": 1}


async def test_secrets_are_counted_at_the_tick(measured: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in one state; before the first tick nothing is said, and a count may take several."""
    monkeypatch.setattr(census, "SLICE", 2)
    sealed = [await measured.put(delete=False) for _ in range(2)]
    expiring = [await measured.put(ttl_seconds=60) for _ in range(3)]
    active = [await measured.put(delete=False, max_reads=2), await measured.put(max_reads=None), await measured.put()]
    for secret in (*sealed, *active[:2]):
        await measured.client.get(f"/secrets/{secret}")
    burned = await measured.put()
    await measured.client.get(f"/secrets/{burned}", headers=ATTEMPT)
    assert (await scraped(measured)).by("sirrd_secrets", "state") == {}
    await measured.drop.tidy()
    expected = {"active": float(len(active + expiring)), "sealed": 2.0}
    assert (await scraped(measured)).by("sirrd_secrets", "state") == expected | {"spent": 1.0}
    measured.clock.at += 60
    monkeypatch.setattr("sirrd.store.sqlite.measured._CENSUS_SECONDS", 0)
    counts = []
    for _ in range(6):
        await measured.drop.tidy()
        counts.append((await scraped(measured)).by("sirrd_secrets", "state"))
    assert counts[0] == expected | {"spent": 1.0}
    assert counts[-1] == {"active": 3.0, "sealed": 2.0, "expired": 3.0}


async def test_the_writer_is_measured(measured: Daemon) -> None:
    """Batches, commits, checkpoints and ticks are counted when they have ended."""
    secrets = await asyncio.gather(*(measured.put() for _ in range(5)))
    before = await scraped(measured)
    assert len(secrets) == 5
    assert before("sirrd_batch_units_sum") >= 5
    assert before("sirrd_batch_units_count") == before("sirrd_commit_duration_seconds_count")
    assert before("sirrd_commit_duration_seconds_sum") > 0
    assert before("sirrd_writer_waiting_units") == 0
    assert before("sirrd_wal_bytes") > 0
    assert before("sirrd_disk_free_bytes") > 0
    await measured.drop.tidy()
    after = await scraped(measured)
    assert after.by("sirrd_checkpoints_total", "outcome") == {"truncated": 1}
    assert after.by("sirrd_ticks_total", "outcome") == {"done": 1}
    assert after("sirrd_wal_bytes") == 0


async def test_what_waits_is_told(measured: Daemon) -> None:
    """Units that have no turn yet count as waiting, and large values among them with their bytes."""
    vitals = _measures_of(measured).vitals
    served: Any = measured.served
    waiting = served._state["context"].memory.waiting
    putting = [asyncio.create_task(measured.put("x" * 10_000)) for _ in range(3)]
    assert vitals is not None
    seen = []
    while not all(each.done() for each in putting):
        await asyncio.sleep(0)
        seen.append((vitals().waiting_units, waiting.used))
    assert max(units for units, _ in seen) > 0
    assert max(held for _, held in seen) >= 10_000
    scrape = await scraped(measured)
    assert scrape("sirrd_writer_waiting_units") == 0
    assert scrape("sirrd_held_bytes", kind="waiting") == 0


def _measures_of(daemon: Daemon) -> Measures:
    store: Any = daemon.drop._store
    measures = store._writer.measures
    assert isinstance(measures, Measures)
    return measures


async def test_a_reader_in_the_way_and_a_failing_disk_are_told(
    measured: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is blocked, or fails, is none that emptied the WAL."""
    monkeypatch.setattr("sirrd.store.sqlite.upkeep._CHECKPOINT_TRIES", 1)
    with contextlib.closing(sqlite3.connect(measured.settings.data_dir / "sirrd.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM secret").fetchall()
        await measured.put()
        await measured.drop.tidy()
    assert (await scraped(measured)).by("sirrd_checkpoints_total", "outcome") == {"blocked": 1}

    def fail(_: object) -> bool:
        raise sqlite3.OperationalError

    monkeypatch.setattr("sirrd.store.sqlite.writer.checkpoint", fail)
    with pytest.raises(Unavailable):
        await measured.drop.tidy()
    scrape = await scraped(measured)
    assert scrape.by("sirrd_checkpoints_total", "outcome") == {"blocked": 1, "failed": 1}
    assert scrape.by("sirrd_ticks_total", "outcome") == {"done": 1, "failed": 1}


async def test_a_jump_of_the_clock_is_counted(measured: Daemon) -> None:
    """Once for each, however often it is looked at."""
    for seconds in (3600, -7200):
        measured.clock.jump(seconds)
        for _ in range(3):
            await measured.client.get(ABSENT)
    assert (await scraped(measured))("sirrd_clock_jumps_total") == 2


async def test_what_runs_is_told(measured: Daemon) -> None:
    """The versions that a report needs."""
    scrape = await scraped(measured)
    versions = {"version": __version__, "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    assert scrape("sirrd_build_info", **versions) == 1
    assert scrape("sirrd_log_lines_dropped_total") == 0
    assert scrape("sirrd_min_free_bytes") == 0
    assert scrape("process_start_time_seconds") > 0


async def test_who_asks_at_once_gets_one_rendering(measured: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of scrapes costs what one costs."""
    rendered = []

    def render(registry: object) -> bytes:
        rendered.append(registry)
        return b"rendered"

    monkeypatch.setattr("sirrd.trail.metrics.generate_latest", render)
    answers = await asyncio.gather(*(measured.client.get("/metrics") for _ in range(20)))
    assert {answer.text for answer in answers} == {"rendered"}
    assert len(rendered) < 20


# The numbers themselves.


def test_a_number_falls_into_the_bucket_that_it_does_not_exceed() -> None:
    """Bounds belong to their bucket, and what exceeds all is counted, too."""
    histogram = Histogram(UNITS)
    for number in (1, 2, 3, 8, 128, 129):
        histogram.observe(number)
    assert histogram.counts == [1, 1, 2, 0, 1, 1]
    assert histogram.sum == 271


def test_the_table_of_requests_has_a_bound(tmp_path: Path) -> None:
    """Whatever differs between requests of one kind adds nothing."""
    measures = Measures()
    with (tmp_path / "log").open("w") as stream:
        log = MeasuredLog("json", stream, enabled=False, measures=measures)
        for number in range(1000):
            address, request = f"192.0.2.{number % 256}", f"{number:016x}"
            log.add(RequestLine("GET", "/secrets/{id}", 200, number / 1000, "open", address, request, None), at=number)
    assert [*measures.requests] == [("GET", "/secrets/{id}", 200)]
    assert sum(measures.requests["GET", "/secrets/{id}", 200].counts) == 1000
