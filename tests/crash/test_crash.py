"""The daemon dies at random and at chosen instants, and what clients saw stays true (I1, I2, I3, I8)."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.harness import Run, launching
from tests.crash.history import Audit, Operation, Violation, told, violations
from tests.crash.keys import Keys, KeysOfSetting
from tests.crash.points import POINTS
from tests.faults.shim import Shim

_FOLDERS = 4
_KILLS_PER_FOLDER = 250
_KILLS_TO_REACH_ALL = 2 * len(POINTS)
_SHOWN = 5
SOURCES = (KeysOfSetting, Keys)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Spread the kills over folders, each with a seed of its own."""
    kills = metafunc.config.getoption("--kills")
    folders = max(_FOLDERS, -(-kills // _KILLS_PER_FOLDER))
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize(("seed", "kills"), [(seed, -(-kills // folders)) for seed in range(1, folders + 1)])


def judge(run: Run, audit: Audit) -> None:
    """Check what clients saw and what the files say, and tell of each rule that was broken."""
    history = run.seen.operations
    found = violations(history, audit)
    if found or run.seen.faults:
        rules = Counter(each.rule for each in found)
        lines = [f"{rule}: {number} times" for rule, number in rules.items()]
        # The shortest history of each rule tells most.
        lines += [shortest(history, audit, [each for each in found if each.rule == rule]) for rule in rules]
        pytest.fail("\n".join([f"seed {run.seed}", *lines, *run.seen.faults[:_SHOWN]]), pytrace=False)
    assert not run.errors(), run.errors()[:_SHOWN]


def shortest(history: list[Operation], audit: Audit, found: list[Violation]) -> str:
    """Return a violation for people: that of the secret with which the least was done."""
    lengths = Counter(operation.secret for operation in history)
    chosen = min(found, key=lambda each: lengths[each.secret])
    rows = dict(audit.get(chosen.secret, {}))
    return f"{chosen.rule}: {chosen.detail}: {chosen.secret}\n{told(history, chosen.secret)}\n  in the trail: {rows}"


def test_i1_i2_i3_i8_no_kill_breaks_a_promise(tmp_path: Path, library: Path, seed: int, kills: int) -> None:
    """I1, I2, I3, I8: after every kill, restart and load, all that clients saw and the trail agree; no salt is left.

    The command that changes the keys is killed, too, with keys from the key file and from a setting.
    """
    shim = Shim(library, data=tmp_path / "data", control=tmp_path / "control")
    with contextlib.ExitStack() as stack:
        daemons, commands = (stack.enter_context(launching(tmp_path, shim)) for _ in range(2))
        keys = SOURCES[seed % len(SOURCES)]
        run = Run(tmp_path, daemons, commands, shim, seed=seed, keys=keys)
        for _ in range(kills):
            run.crash()
        if kills >= _KILLS_TO_REACH_ALL:
            run.catch_up()
    audit = run.finish()
    judge(run, audit)
    assert run.seen.kills.total() == kills
    if kills >= _KILLS_TO_REACH_ALL:
        assert run.seen.repeats, "no lost answer came again"
        assert run.jumps(), "the clock was never set"
        assert set(POINTS) <= set(run.seen.kills), f"never reached: {set(POINTS) - set(run.seen.kills)}"
        missed = set(keys.cuts) - {cut for cut, _ in run.seen.cuts}
        assert not missed, f"the command was never killed at {missed}"
        assert keys is not Keys or any(beside for _, beside in run.seen.cuts), "nor beside a daemon"
