"""The benchmarks measure what they say, on a small scale: what they find here is of no interest."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks import commits, listing, page, plots, pruning, results, sampler, tables
from benchmarks.client import Client, Paced, corrected, mixed, percentiles, reads
from benchmarks.pairs import Row, Spread
from benchmarks.processes import bare_command, daemon_command, started
from benchmarks.stock import Stock
from benchmarks.wrk import OutOfSecretsError
from sirrd.entropy import SystemEntropy
from sirrd.keyring.inner import InnerKeys
from sirrd.keyring.masters import MasterKey, MasterKeys
from sirrd.keyring.ring import Keyring
from sirrd.model import Identity
from tests.parts import ROOT, environment, put, require, wait_until

LARGEST_PLOT_BYTES = 30_000


def test_bench_measures_every_workload(tmp_path: Path) -> None:
    """A short run ends well, prints a row for each workload, keeps its results, and leaves nothing else."""
    require(shutil.which("wrk"), "wrk")
    kept = tmp_path / "kept.json"
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "benchmarks", "--part", "startup", "--part", "compare", "--rounds", "1"]
    ran = subprocess.run(
        [*command, "--seconds", "1", "--folder", str(folder), "--results", str(kept)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "in memory" in ran.stderr:
        require(condition=False, what="a temporary folder on a disk")
    assert ran.returncode == 0, ran.stderr
    found = results.load(kept)
    rows = {row["workload"]: row for row in found["parts"]["compare"]["found"]}
    assert {"bare Starlette", "GET /health", *tables.HOT, "GET, counted", "list, pages of 100", "mixed"} < set(rows)
    for name, row in rows.items():
        assert re.search(rf"^\| {re.escape(name)} +\| +[\d,]+ \| +\d", ran.stdout, re.MULTILINE), ran.stdout
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"]
        assert row["resident_mib"] > 1
    assert found["parts"]["startup"]["found"]["resident_mib"] > 1
    assert os.uname().nodename not in json.dumps(found)
    assert list(folder.iterdir()) == []


# Load.


def test_a_tree_is_compared_with_itself() -> None:
    """Both sides answer, and each workload that was asked for has its row."""
    require(shutil.which("wrk"), "wrk")
    command = [sys.executable, "-m", "benchmarks.against", str(ROOT), "--rounds", "1", "--seconds", "1"]
    ran = subprocess.run(
        [*command, "--connections", "4", "--workload", "POST"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^\| POST \| \d+\.\d\d \(", ran.stdout, re.MULTILINE), ran.stdout


def test_a_stall_counts_for_the_requests_that_it_held_back() -> None:
    """A wait of five intervals hides four requests, which would have waited one interval less each."""
    assert corrected([1.0, 1.0, 5.0], interval=1.0) == [1.0, 1.0, 5.0, 4.0, 3.0, 2.0]
    assert corrected([1.0, 1.9], interval=1.0) == [1.0, 1.9]


def test_percentiles_are_latencies_that_were_seen() -> None:
    """They are not interpolated, and the highest is the longest."""
    assert percentiles([float(n) for n in range(100)], (0.5, 0.99, 1.0)) == [50.0, 99.0, 99.0]


def test_the_mix_is_what_it_says_and_reads_nothing_twice() -> None:
    """Half reads, three tenths peeks, two tenths creates, until there is nothing left to read."""
    burned = [f"/secrets/{n}" for n in range(10)]
    requests = mixed(burned, ["/secrets/kept"])("host")
    sent = [next(requests).split(b" HTTP")[0].decode() for _ in range(20)]
    assert [one for one in sent if one.startswith("GET")] == [f"GET {path}" for path in burned]
    assert sent.count("HEAD /secrets/kept") == 6
    assert sent.count("POST /secrets") == 4
    with pytest.raises(OutOfSecretsError):
        list(requests)


def test_the_paced_load_keeps_its_pace(tmp_path: Path) -> None:
    """It asks beside another load until it is stopped, and has a latency for every answer."""
    with started(bare_command(), tmp_path / "log") as bare:
        paced = Paced(bare.address, reads(["/"]), rate=1000, connections=2)
        paced.start()
        Client(reads(["/"])).run(bare.address, seconds=0.5, connections=2)
        assert len(paced.stop()) > 1


# Commits.


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The compiled library that delays and counts syncs."""
    require(commits.compiler(), "a C compiler")
    return commits.compiled(tmp_path)


def test_every_sync_is_counted(library: Path, tmp_path: Path) -> None:
    """The library sees both kinds of sync, and the file is synced all the same."""
    syncs = commits.Syncs(library, tmp_path, delay_ms=1)
    program = "import os, sys; f = os.open(sys.argv[1], 66); os.fsync(f); os.fdatasync(f); os.fsync(f)"
    subprocess.run([sys.executable, "-c", program, tmp_path / "file"], env=environment(**syncs.variables), check=True)
    assert syncs.count() == 3


def test_the_altered_daemon_commits_for_each_request(library: Path, tmp_path: Path) -> None:
    """However many requests wait, each has a sync of its own."""
    syncs = commits.Syncs(library, tmp_path, delay_ms=0)
    command = daemon_command(tmp_path / "data", altered=["--one-commit-each"])
    with started(command, tmp_path / "log", syncs.variables | {"SIRR_MIN_FREE_BYTES": "0"}) as daemon:
        paths = [put(daemon.address, max_reads=None)]
        before = syncs.count()
        done = Client(reads(paths)).run(daemon.address, seconds=0.5, connections=16)
        assert syncs.count() - before >= done.requests


# Growth.


def test_a_stock_is_listed_and_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lives is in the list, what expired is pruned, and a second copy of the stock is as whole as the first."""
    monkeypatch.setattr(pruning, "TIMES", 2)
    monkeypatch.setattr(pruning, "CALM_SECONDS", 0.1)
    stock = Stock(live=8, expired=40, max_reads=None)
    with stock.copied(tmp_path, tmp_path) as (data, ids):
        assert len(ids.read_text().split()) == 8
        with started(daemon_command(data), tmp_path / "log", {"SIRR_PRUNE_INTERVAL_SECONDS": "0"}) as daemon:
            assert listing.measure(daemon).secrets == 8
    found = pruning.measure(tmp_path, tmp_path, expired=40, tell=lambda _: None)
    assert (found.expired, found.live) == (40, 8)
    assert [beside.workload for beside in found.beside] == ["GET, counted", "HEAD"]


# Profile.


def test_a_sample_belongs_to_the_layer_that_was_at_work() -> None:
    """Randomness that the keyring draws counts for the keyring, and what no layer called counts for the event loop."""
    layers: list[str] = []

    def entropy(size: int) -> bytes:
        layers.append(sampler.layer(sys._getframe()))
        return bytes(size)

    def entered(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            layers.append(sampler.layer(frame))

    entropy(1)
    masters = MasterKeys([MasterKey.of(bytes(32))], entropy)
    InnerKeys.make(entropy)
    assert layers == [sampler.EVENT_LOOP, *["keyring"] * 4]
    keyring, identity = Keyring(masters, InnerKeys.make(SystemEntropy())), Identity("0" * 64)
    layers.clear()
    sys.setprofile(entered)
    keyring.lookup(identity)
    sys.setprofile(None)
    # At the entry of a function the caller counts: first a test, which is no layer, then the keyring.
    assert layers[:2] == [sampler.EVENT_LOOP, "keyring"]


def test_the_sampler_writes_what_it_found(tmp_path: Path) -> None:
    """Between two signals it takes samples, and it serves on after that."""
    file = tmp_path / "samples"
    with started(bare_command("--samples", str(file)), tmp_path / "log") as bare:

        def sampled() -> bool:
            """Sample for a moment, and tell whether the process had the processor long enough for a sample."""
            file.unlink(missing_ok=True)
            for _ in range(2):
                os.kill(bare.pid, signal.SIGUSR1)
                # A request that is answered proves that the signal before it was seen.
                Client(reads(["/"])).run(bare.address, seconds=0.2, connections=4)
            wait_until(file.exists)
            return bool(json.loads(file.read_text())["samples"])

        wait_until(sampled)
    found = json.loads(file.read_text())
    assert 0 < found["loop_seconds"] <= found["seconds"]


# What is made of it.


def _row(workload: str, connections: int) -> Row:
    return Row(workload, connections, 1234.5, Spread(0.5, 0.4, 0.6), 1.5, 4.5, 9.0, 100.0, 60.0, 0.25)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Results of all parts that have plots."""
    spread = Spread(0.8, 0.7, 0.9)
    beside = [pruning.Beside("HEAD", 1.0, 2.0, 1.5, 4.0, Spread(2.0, 1.0, 3.0))]
    grown: dict[str, Any] = {
        "few": 10,
        "many": 1000,
        "throughput": [{"workload": "POST <&>", "few_rate": 9.0, "many_rate": 8.0, "ratio": results.plain(spread)}],
        "listed": results.plain(listing.Listed(1000, 1.0, 0.1, 3.0, 60.0, 1.5)),
        "pruned": results.plain(pruning.Pruned(500, 100, 2.0, 200.0, beside)),
    }
    file = tmp_path / "results.json"
    for name, found in (
        ("compare", results.plain([_row(name, 64) for name in ("bare Starlette", *tables.HOT)])),
        ("connections", results.plain([_row(name, count) for count in (1, 8) for name in tables.HOT])),
        ("growth", grown),
    ):
        results.keep(file, {"processor": "one"}, name, {"rounds": 1, "seconds": 1, "others": 0.0, "found": found})
    return file


def test_results_of_another_machine_do_not_stay(kept: Path) -> None:
    """A file holds what can be compared, and nothing else."""
    part = {"rounds": 1, "seconds": 1, "others": 0.0, "found": []}
    assert set(results.keep(kept, {"processor": "one"}, "commits", part)["parts"]) > {"compare", "commits"}
    assert set(results.keep(kept, {"processor": "two"}, "commits", part)["parts"]) == {"commits"}


def test_plots_are_small_and_whole(kept: Path) -> None:
    """Each is well-formed XML of less than 30 kB that adapts to dark backgrounds."""
    drawn = plots.of(results.load(kept)["parts"])
    assert set(drawn) == {"throughput.svg", "latency.svg", "growth.svg"}
    for text in drawn.values():
        assert ET.fromstring(text).tag.endswith("svg")
        assert len(text) < LARGEST_PLOT_BYTES
        assert "prefers-color-scheme:dark" in text


def test_results_are_published_between_the_marks(kept: Path, tmp_path: Path) -> None:
    """What stands around them stays, what stood between them goes, and the plots that are linked are there."""
    docs = tmp_path / "docs"
    docs.mkdir()
    written = docs / page.PAGE
    written.write_text(f"# Before\n\n{page.BEGIN}old\n{page.END}\nAfter.\n")
    page.publish(kept, docs)
    once = written.read_text()
    page.publish(docs / page.BESIDE / page.RESULTS, docs)
    assert written.read_text() == once
    assert once.startswith("# Before\n")
    assert once.endswith("\nAfter.\n")
    assert "old" not in once
    assert "| POST, of bare Starlette " in once
    links = re.findall(r"\]\((.+?)\)", once)
    assert len(links) == 3
    assert all((docs / link).exists() for link in links)
    written.write_text("# No place\n")
    with pytest.raises(ValueError, match="no marks"):
        page.publish(kept, docs)
