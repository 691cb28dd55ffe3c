"""The operations of a walk: what is asked of the daemon together with what is asked of the model, and what is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import Bundle

from sirrd.deaddrop.usecases import DeadDrop
from sirrd.errors import SirrdError
from sirrd.model import (
    ATTEMPT_BYTES,
    MAX_READS,
    MAX_TTL_SECONDS,
    PROOF_BYTES,
    UNSET,
    Amendment,
    Attempt,
    BareKey,
    Caller,
    Draft,
    Identity,
    Metadata,
    Opened,
    Plaintext,
    Proof,
    Target,
)
from sirrd.policy import Caps
from tests.machine.model import Fields, Model, Refused, Seen

BY = Caller("open", "192.0.2.1")
ORGS = ("acme", "Acme")
KEYS = ("KEY", "key")
IDENTITIES = [Identity.in_org(org, key) for org in ORGS for key in KEYS]
RIGHT = "right"


class Text(NamedTuple):
    """A value that is short to print, however long it is."""

    piece: str
    times: int

    def __str__(self) -> str:
        return self.piece * self.times


class Refusal(NamedTuple):
    """What came of a step that was refused."""

    code: str


@dataclass(frozen=True)
class Step:
    """One operation: what is asked of the daemon, and what of the model."""

    ask: Callable[[DeadDrop], Awaitable[Any]]
    due: Callable[[Model], Any]


# What is drawn. Few names, so that they collide; one key is the other one in small letters.

_pieces = st.builds(Text, st.text(min_size=1, max_size=4), st.sampled_from((1, 1, 1, 1, 1, 1, 30, 2000, 70_000)))
_edges = st.builds(Text, st.just("e"), st.sampled_from((65_400, 65_535, 65_536, 65_537, 100_000, 100_001)))
values = st.one_of(_pieces, _pieces, _pieces, _edges)
ttls = st.sampled_from((1, 2, 10, 30, 40, 50, 60, 60, None, None, None, MAX_TTL_SECONDS, 61, 0, MAX_TTL_SECONDS + 1))
reads = st.sampled_from((1, 2, 2, 2, 3, 3, 3, 5, 5, 9, None, MAX_READS, 0, MAX_READS + 1))
jumps = st.sampled_from((3600, -3600, 2, -2, 315_360_000, -315_360_000))
orgs = st.sampled_from(ORGS)
keys = st.sampled_from(KEYS)
identities = st.sampled_from(IDENTITIES)
locks = st.sampled_from((None, None, "1", "2"))
drafts = st.fixed_dictionaries(
    {"value": values},
    optional={
        "ttl_seconds": ttls,
        "max_reads": reads,
        "delete": st.sampled_from((False, False, False, True)),
        "lock": locks,
    },
)
amendments = st.fixed_dictionaries(
    {}, optional={"value": values, "ttl_seconds": ttls, "max_reads": reads, "lock": locks}
)
proofs = st.sampled_from((RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, "1", "2", None))
limits = st.builds(
    Caps,
    max_value_bytes=st.sampled_from((1024 * 1024, 100_000)),
    default_max_reads=st.sampled_from((1, 3, None)),
    default_ttl_seconds=st.sampled_from((None, None, 60)),
    max_ttl_seconds=st.sampled_from((None, None, 60)),
)
attempts = st.sampled_from("123")
drops: Bundle[str] = Bundle("drops")
live = st.runner().flatmap(lambda machine: st.sampled_from(machine.known()))
targets: st.SearchStrategy[Target] = st.one_of(
    live,
    live,
    live,
    live,
    identities,
    st.builds(BareKey.parse, keys),
    st.builds(BareKey.parse, keys),
    drops.map(Identity.drop),
)


# The operations.


def putting(identity: Identity, fields: Fields) -> Step:
    """Store an org secret."""
    return Step(lambda drop: drop.put(identity, draft(fields), by=BY), lambda model: model.put(identity, fields))


def reading(target: Target, attempt: str | None = None, proof: str | None = None) -> Step:
    """Spend a read, or ask for one again."""
    named = None if attempt is None else Attempt(attempt.encode() * ATTEMPT_BYTES)
    shown = None if proof is None else Proof(proof.encode() * PROOF_BYTES)
    return Step(
        lambda drop: drop.read(target, by=BY, attempt=named, proof=shown),
        lambda model: model.read(target, attempt, proof),
    )


def receiving(target: Target, attempt: str) -> Step:
    """Say that the value of an attempt has arrived."""
    named = Attempt(attempt.encode() * ATTEMPT_BYTES)
    return Step(lambda drop: drop.received(target, named), lambda model: model.received(target, attempt))


def peeking(target: Target) -> Step:
    """Look without spending."""
    return Step(lambda drop: drop.peek(target, by=BY), lambda model: model.find(target).seen(model.offset))


def amending(target: Target, fields: Fields) -> Step:
    """Change a secret."""
    return Step(lambda drop: drop.amend(target, _amendment(fields), by=BY), lambda model: model.amend(target, fields))


def deleting(target: Target) -> Step:
    """Delete, sealed or not."""

    async def delete(drop: DeadDrop) -> None:
        await drop.delete(target, by=BY)

    return Step(delete, lambda model: model.delete(target))


def destroying(target: Target, proof: str) -> Step:
    """Delete what is locked, by its proof."""

    async def destroy(drop: DeadDrop) -> None:
        await drop.destroy(target, Proof(proof.encode() * PROOF_BYTES), by=BY)

    return Step(destroy, lambda model: model.destroy(target, proof))


def pruning(org: str | None = None) -> Step:
    """Remove what has expired, in one org or in all."""
    return Step(lambda drop: drop.prune(org=org, by=BY), lambda model: (model.prune(org), True))


def beginning(first: str, *, renews: bool) -> Step:
    """Take the master key that stands first, and renew the inner keys if it has renewed none."""

    async def begin(drop: DeadDrop) -> None:
        await drop.begin_rotation(renewed_by=BY if renews else None)

    return Step(begin, lambda model: model.begin_rotation(first, renews=renews))


def rotating() -> Step:
    """Move every record to the keys of now; nobody sees anything of it."""
    return Step(lambda drop: drop.rotate(by=BY), lambda model: model.move())


rivals = st.one_of(
    st.builds(amending, targets, amendments),
    st.builds(putting, identities, drafts),
    st.builds(deleting, targets),
    st.builds(pruning),
    st.builds(rotating),
    st.runner().map(lambda machine: beginning(machine.keys.held[0], renews=True)),
)


def draft(fields: Fields) -> Draft:
    """Return what is sent to be stored."""
    given = dict(fields) | {"plaintext": Plaintext.of(str(fields["value"]))}
    del given["value"]
    return Draft(**given | _lock(fields))


def _amendment(fields: Fields) -> Amendment:
    plaintext = Plaintext.of(str(fields["value"])) if "value" in fields else UNSET
    return Amendment(plaintext, fields.get("ttl_seconds", UNSET), fields.get("max_reads", UNSET), **_lock(fields))


def _lock(fields: Fields) -> dict[str, bytes | None]:
    """Return the lock that a body gives: none, or that of a proof."""
    if (proof := fields.get("lock")) is None:
        return {"lock": None} if "lock" in fields else {}
    return {"lock": hashlib.sha256(proof.encode() * PROOF_BYTES).digest()}


def seen(metadata: Metadata) -> Seen:
    """Return metadata as the model would give them."""
    created_at, expires_at, max_reads, delete, lock = metadata.terms
    life = (created_at, expires_at, max_reads, delete)
    return Seen(Identity(metadata.name, metadata.org), *life, metadata.read_count, metadata.status, lock is not None)


def _said(answer: Any) -> Any:
    """Return an answer as the model would give it, with long texts abbreviated, or a failure could not be read."""
    if isinstance(answer, Opened):
        answer = answer.plaintext.text()
    if isinstance(answer, str) and len(answer) > 100:
        return f"{answer[:20]}, {len(answer)} characters, {hashlib.sha256(answer.encode()).hexdigest()}"
    return seen(answer) if isinstance(answer, Metadata) else answer


async def asked(answer: Awaitable[Any]) -> Any:
    """Return what came of an operation of the daemon, or why it was refused."""
    try:
        return _said(await answer)
    except SirrdError as error:
        return Refusal(error.code)


def told(step: Step, model: Model) -> Any:
    """Return what the model says that has to come of a step."""
    try:
        return _said(step.due(model))
    except Refused as refused:
        return Refusal(str(refused))
