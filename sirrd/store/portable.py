"""Units of work that are written once for every engine.

A unit is a coroutine function of a transaction. It reads what its caller may do, changes rows, and appends events;
its commit makes all of that true, or none. Its statements are portable SQL with named parameters, which each engine
renders.

SQLite answers each statement at once, inside a batch of its one writer, so there a unit must wait for nothing but its
transaction. An engine with a server really waits. Only the claim of dead drops is written for each engine apart.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar

from sirrd.events import Event

Result = TypeVar("Result")
ResultOfRun = TypeVar("ResultOfRun")
Value: TypeAlias = int | str | bytes | None
Row: TypeAlias = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in portable SQL: a literal, so that nothing that was sent can become part of it.

    Attributes:
        sql: Its text, with parameters such as `:name`.
    """

    sql: LiteralString


class Transaction(Protocol):
    """What a unit is given.

    Attributes:
        now: Seconds of the store's time, the same throughout the unit.
        events: What was done, for the audit trail; a unit adds to it.
    """

    now: int
    events: list[Event]

    async def fetch(self, statement: Statement, values: Mapping[str, Value] = {}) -> Sequence[Row]:
        """Return the rows that a statement finds.

        Raises:
            Unavailable: The engine failed; the unit is undone.
        """
        ...

    async def execute(self, statement: Statement, values: Mapping[str, Value] = {}) -> int:
        """Change rows, and return how many.

        Raises:
            Unavailable: The engine failed, or the unit said that it writes nothing; it is undone.
        """
        ...


class Rank(enum.IntEnum):
    """What can be locked, in the one order in which every engine takes locks."""

    CREDENTIAL = 1
    IDENTITY = 2
    MEMBERSHIP = 3
    ORG = 4
    ENVIRONMENT = 5
    SECRET = 6


class Lock(NamedTuple):
    """What a unit locks before it runs, so that what it has read stays true until it commits.

    SQLite's one writer makes that true by itself; an engine with many takes these, sorted.

    Attributes:
        rank: What kind of thing it is.
        key: Which one.
        is_exclusive: Whether nobody else may hold it, rather than nobody who changes it.
    """

    rank: Rank
    key: bytes
    is_exclusive: bool = False


NO_LOCKS: Final[tuple[Lock, ...]] = ()


@dataclass(frozen=True, slots=True)
class Unit(Generic[Result]):
    """A unit of work.

    Attributes:
        work: What it does. It may be run more than once, and must start anew each time.
        writes: Whether it changes anything. One that does not never waits behind the writer.
        locks: What it locks.
    """

    work: Callable[[Transaction], Coroutine[Any, Any, Result]]
    writes: bool
    locks: tuple[Lock, ...] = NO_LOCKS


class Units(Protocol):
    """Runs units of work, on any engine."""

    async def run(self, unit: Unit[ResultOfRun]) -> ResultOfRun:
        """Run a unit, and return what it returns once that is durable.

        Raises:
            Unavailable: The engine failed; nothing was changed.
            Busy: Too much is waiting.
            SirrdError: As the unit raises; nothing was changed.
        """
        ...
