"""The checker finds every planted violation, names its rule, and lets lawful histories pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest

from tests.crash.history import NAMELESS, Kind, Operation, Outcome, Rule, told, violations

DONE, MISS, SEALED, UNKNOWN = Outcome.DONE, Outcome.MISS, Outcome.SEALED, Outcome.UNKNOWN


def put(at: float = 0, outcome: Outcome = DONE, **changes: Any) -> Operation:
    """Return a put of `a` that allows one read and burns."""
    given: dict[str, Any] = {"value": "a", "max_reads": 1}
    return operation(Kind.PUT, at, outcome, **(given | changes))


def read(at: float, outcome: Outcome = DONE, value: str | None = "a", **changes: Any) -> Operation:
    """Return a read of `a`."""
    return operation(Kind.READ, at, outcome, value=value if outcome == DONE else None, **changes)


def amend(at: float, outcome: Outcome = DONE, **changes: Any) -> Operation:
    """Return an amendment that allows one read and leaves the value alone."""
    return operation(Kind.AMEND, at, outcome, **({"max_reads": 1} | changes))


def delete(at: float, outcome: Outcome = DONE, **changes: Any) -> Operation:
    """Return a deletion."""
    return operation(Kind.DELETE, at, outcome, **changes)


def expire(at: float, ended: float) -> Operation:
    """Return an expiry between two instants."""
    return operation(Kind.EXPIRE, at, DONE, ended=ended)


def operation(kind: Kind, at: float, outcome: Outcome, **changes: Any) -> Operation:
    """Return an operation that takes a second; one without an answer takes nine."""
    given = {"ended": at + (9 if outcome == UNKNOWN else 1)}
    return Operation(secret="s", kind=kind, began=at, outcome=outcome, **(given | changes))


def trail(history: list[Operation], **changes: int) -> Mapping[str, Mapping[str, int]]:
    """Return the audit of a history in which nothing without an answer took effect, with changes."""
    counts: dict[str, int] = {}
    for each in history:
        if each.outcome == DONE and each.kind != Kind.EXPIRE:
            counts[_ACTIONS[each.kind]] = counts.get(_ACTIONS[each.kind], 0) + 1
    return {"s": counts | changes}


_ACTIONS = {Kind.PUT: "created", Kind.READ: "read", Kind.AMEND: "amended", Kind.DELETE: "deleted"}

B, S = {"burned": 1}, {"sealed": 1}
LAWFUL: dict[str, tuple[list[Operation], Mapping[str, int]]] = {
    "read once": ([put(), read(2), read(4, MISS)], {"read": 0, **B}),
    "read by two, one late": ([put(max_reads=2), read(2), read(2), read(4, MISS)], {"read": 1, **B}),
    "never read": ([put()], {}),
    "a read without an answer burned it": ([put(), read(2, UNKNOWN), read(12, MISS)], B),
    "a read without an answer did not happen": ([put(), read(2, UNKNOWN), read(12)], {"read": 0, **B}),
    "a read burned it while another missed": ([put(), read(2, ended=9), read(3, MISS)], {"read": 0, **B}),
    "a put without an answer happened": (
        [put(outcome=UNKNOWN), read(10), read(12, MISS)],
        {"created": 1, "read": 0, **B},
    ),
    "a put without an answer did not happen": ([put(outcome=UNKNOWN), read(10, MISS)], {}),
    "a miss before the put has ended": ([put(ended=9), read(2, MISS), read(10)], {"read": 0, **B}),
    "deleted": ([put(), delete(2), read(4, MISS), delete(6, MISS)], {}),
    "a delete without an answer happened": ([put(), delete(2, UNKNOWN), read(12, MISS)], {"deleted": 1}),
    "a delete without an answer did not happen": ([put(), delete(2, UNKNOWN), read(12)], {"read": 0, **B}),
    "expired and pruned": ([put(max_reads=3), expire(5, 6), read(7, MISS)], {"expired": 1}),
    "expired and not pruned": ([put(max_reads=3), expire(5, 6), read(7, MISS)], {}),
    "read while it may expire": ([put(max_reads=3), expire(5, 6), read(5.5), read(5, MISS, ended=9)], {}),
    "sealed": ([put(burns=False), read(2), read(4, SEALED), read(6, SEALED)], {"read": 0, **S}),
    "sealed by a read without an answer": ([put(burns=False), read(2, UNKNOWN), read(12, SEALED)], S),
    "revived": (
        [put(burns=False), read(2), read(4, SEALED), amend(6), read(8), read(10, SEALED)],
        {"read": 0, "sealed": 2},
    ),
    "revived by an amendment without an answer": (
        [put(burns=False), read(2), read(4, SEALED), amend(6, UNKNOWN), read(8)],
        {"read": 0, "sealed": 2, "amended": 1},
    ),
    "an amendment without an answer did nothing": (
        [put(burns=False), read(2), amend(4, UNKNOWN), read(14, SEALED)],
        {"read": 0, **S},
    ),
    "an amendment that a read overlaps": (
        [put(burns=False), read(2), amend(4, ended=8), read(5), read(6, SEALED)],
        {"read": 0, "sealed": 2},
    ),
    "another value": ([put(burns=False), amend(2, value="b"), read(4, value="b")], {}),
    "the old value while it is amended": ([put(burns=False), amend(2, value="b", ended=9), read(4)], {}),
    "a new value without an answer, old": ([put(burns=False), amend(2, UNKNOWN, value="b"), read(12)], {}),
    "a new value without an answer, new": (
        [put(burns=False), amend(2, UNKNOWN, value="b"), read(12, value="b")],
        {"amended": 1},
    ),
    "an amendment that missed": ([put(burns=False), delete(2), amend(4, MISS, value="b")], {}),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_lawful_histories_pass(name: str) -> None:
    """What may happen breaks no rule, in whatever order it was written down."""
    history, changes = LAWFUL[name]
    assert violations(history, trail(history, **changes)) == []
    assert violations(history[::-1], trail(history, **changes)) == []


UNLAWFUL: dict[str, tuple[list[Operation], set[Rule]]] = {
    "read twice at once": ([put(), read(2), read(2)], {Rule.TOO_MANY_READS}),
    "read once too often": (
        [put(max_reads=2, burns=False), read(2), read(4), read(6)],
        {Rule.TOO_MANY_READS},
    ),
    "an amendment allows its own number only": (
        [put(max_reads=3, burns=False), amend(2), read(4), read(6)],
        {Rule.TOO_MANY_READS},
    ),
    "two amendments cannot allow three reads": (
        [put(burns=False), amend(2), amend(2), read(4), read(4), read(4)],
        {Rule.TOO_MANY_READS},
    ),
    "a put without an answer is read twice": ([put(outcome=UNKNOWN), read(2), read(2)], {Rule.TOO_MANY_READS}),
    "lost": ([put(), read(2, MISS)], {Rule.LOST_WRITE}),
    "lost before its last read": ([put(max_reads=2), read(2), read(4, MISS)], {Rule.LOST_WRITE}),
    "lost though it seals": ([put(burns=False), read(2), read(4, MISS)], {Rule.LOST_WRITE}),
    "lost before its expiry": ([put(), expire(9, 10), read(2, MISS)], {Rule.LOST_WRITE}),
    "lost after it was seen": ([put(outcome=UNKNOWN, max_reads=2), read(10), read(12, MISS)], {Rule.LOST_WRITE}),
    "lost to an amendment": ([put(burns=False), amend(2, MISS)], {Rule.LOST_WRITE}),
    "a lost amendment of the reads": ([put(burns=False), read(2), amend(4), read(6, SEALED)], {Rule.LOST_WRITE}),
    "a lost amendment of the value": ([put(burns=False), amend(2, value="b"), read(4)], {Rule.LOST_WRITE}),
    "sealed though it burns": ([put(), read(2, UNKNOWN), read(12, SEALED)], {Rule.LOST_WRITE}),
    "read after its burn": ([put(), read(2), read(4)], {Rule.TOO_MANY_READS, Rule.RESURRECTED}),
    "read after a miss": ([put(), read(2, UNKNOWN), read(12, MISS), read(14)], {Rule.RESURRECTED}),
    "read after it was deleted": ([put(), delete(2), read(4)], {Rule.RESURRECTED}),
    "read after it expired": ([put(), expire(2, 3), read(4)], {Rule.RESURRECTED}),
    "sealed after it was deleted": ([put(burns=False), read(2), delete(4), read(6, SEALED)], {Rule.RESURRECTED}),
    "amended after it was deleted": ([put(burns=False), delete(2), amend(4)], {Rule.RESURRECTED}),
    "deleted after it was deleted": ([put(), delete(2), delete(4)], {Rule.RESURRECTED}),
    "read after it was sealed": (
        [put(burns=False), read(2, UNKNOWN), read(12, SEALED), read(14)],
        {Rule.RESURRECTED},
    ),
    "another's value": ([put(), read(2, value="b")], {Rule.WRONG_VALUE}),
    "a value that an amendment tried in vain": (
        [put(burns=False), delete(2), amend(4, MISS, value="b"), read(1, value="b")],
        {Rule.WRONG_VALUE},
    ),
}


_OF_THE_TRAIL = {Rule.UNSPENT_READ, Rule.UNAUDITED, Rule.UNEXPLAINED_AUDIT}


@pytest.mark.parametrize("name", UNLAWFUL)
def test_a_planted_violation_is_found(name: str) -> None:
    """Answers that cannot be break the rules that they should, and no others, whatever the trail says of them."""
    history, rules = UNLAWFUL[name]
    found = violations(history, trail(history))
    assert {each.rule for each in found} - _OF_THE_TRAIL == rules
    assert {each.secret for each in found} == {"s"}


READ = [put(), read(2)]
AMENDED = [put(burns=False), amend(2)]
TRAILS: dict[str, tuple[list[Operation], Mapping[str, int], set[Rule]]] = {
    "an unspent read": (READ, {"read": 0}, {Rule.UNSPENT_READ}),
    "a burn is a read": (READ, {"read": 0, "burned": 1}, set()),
    "a read too many": (READ, {"read": 2}, {Rule.UNEXPLAINED_AUDIT}),
    "a read that nobody tried": ([put()], {"burned": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "a read without an answer": ([put(), read(2, UNKNOWN)], {"burned": 1}, set()),
    "a read that missed": ([put(), delete(2), read(4, MISS)], {"read": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "a put without a row": ([put()], {"created": 0}, {Rule.UNAUDITED}),
    "a put with two rows": ([put()], {"created": 2}, {Rule.UNEXPLAINED_AUDIT}),
    "a put without an answer": ([put(outcome=UNKNOWN)], {"created": 1}, set()),
    "an amendment without a row": (AMENDED, {"amended": 0}, {Rule.UNAUDITED}),
    "an amendment with two rows": (AMENDED, {"amended": 2}, {Rule.UNEXPLAINED_AUDIT}),
    "a deletion without a row": ([put(), delete(2)], {"deleted": 0}, {Rule.UNAUDITED}),
    "a deletion that nobody tried": ([put()], {"deleted": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "a burn after too few reads": (
        [put(max_reads=2), read(2), read(4, UNKNOWN)],
        {"read": 0, "burned": 1},
        {Rule.UNAUDITED},
    ),
    "an end without a row": ([put(), read(2, UNKNOWN), read(12, MISS)], {}, {Rule.UNAUDITED}),
    "a seal without a row": ([put(burns=False), read(2, UNKNOWN), read(12, SEALED)], {}, {Rule.UNAUDITED}),
    "a put without an answer or a row that was read": (
        [put(outcome=UNKNOWN), read(10)],
        {"read": 0, "burned": 1},
        {Rule.UNAUDITED},
    ),
    "an expiry": ([put(), expire(5, 6)], {"expired": 1}, set()),
    "an expiry of what lives for ever": ([put()], {"expired": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "two ends": ([put(), expire(5, 6), read(2, UNKNOWN)], {"expired": 1, "burned": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "a seal of what burns": (READ, {"read": 0, "sealed": 1}, {Rule.UNEXPLAINED_AUDIT}),
    "a burn of what seals": ([put(burns=False), read(2)], {"read": 0, "burned": 1}, {Rule.UNEXPLAINED_AUDIT}),
}


@pytest.mark.parametrize("name", TRAILS)
def test_the_trail_is_held_against_the_answers(name: str) -> None:
    """Rows for all that was answered with success, and for nothing that was not tried."""
    history, changes, rules = TRAILS[name]
    assert {each.rule for each in violations(history, trail(history, **changes))} == rules


def test_secrets_that_nobody_can_name_were_put_without_an_answer() -> None:
    """As many unknown secrets may have rows as puts had no answer, and nobody can have touched them."""
    lost = dataclasses.replace(put(outcome=UNKNOWN), secret=f"{NAMELESS}1")
    assert violations([lost], {}) == []
    assert violations([lost], {"ab": {"created": 1, "expired": 1}}) == []
    assert [each.rule for each in violations([lost], {"ab": {"created": 1, "read": 1}})] == [Rule.UNEXPLAINED_AUDIT]
    two = {"ab": {"created": 1}, "cd": {"created": 1}}
    assert [each.rule for each in violations([lost], two)] == [Rule.UNEXPLAINED_AUDIT]


def test_every_rule_is_broken_by_some_planted_violation() -> None:
    """No rule is without a history that breaks it."""
    broken = {rule for _, rules in UNLAWFUL.values() for rule in rules}
    broken |= {rule for _, _, rules in TRAILS.values() for rule in rules}
    assert broken == set(Rule)


def test_secrets_are_judged_apart() -> None:
    """A violation names its secret, and the history of that one alone is told, in the order of its beginnings."""
    other = [dataclasses.replace(each, secret="t") for each in (put(), read(2, value="b"))]
    history = [*READ[::-1], *other]
    rows = {**trail(READ), "t": {"created": 1, "read": 1}}
    assert [(each.rule, each.secret) for each in violations(history, rows)] == [(Rule.WRONG_VALUE, "t")]
    assert [line.split()[2] for line in told(history, "s").splitlines()] == ["put", "read"]


def test_without_an_end_nothing_is_concluded() -> None:
    """A put that may still take effect is not called lost, and not called resurrected."""
    history = [put(outcome=UNKNOWN, ended=math.inf), read(2, MISS), read(4)]
    assert violations(history, trail(history, created=1)) == []
