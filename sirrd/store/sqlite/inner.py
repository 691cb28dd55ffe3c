"""The inner keys that a database keeps: made, sealed again under another master key, and renewed.

A renewal begins in one transaction: the keys of now become an older generation, new ones take their place, the chain of
audit rows ends and one under the new keys begins, and what attempts have left is over. Secrets move to the new keys
afterwards, one by one; until the last has moved, each is found under the generation that its row names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sirrd.errors import BadFolder
from sirrd.events import Action, Event
from sirrd.keyring.chain import AuditChain, joined
from sirrd.keyring.forms import SALT_BYTES, key_id_of
from sirrd.keyring.inner import Generation, InnerKeys
from sirrd.keyring.masters import MasterKeys
from sirrd.keyring.ring import Keyring
from sirrd.model import Caller
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.trail import ChainedTrail

Execute = Callable[[str, Sequence[Any] | Mapping[str, Any]], sqlite3.Cursor]
_OLDER: Final = "SELECT generation, sealed, ended_at, moving FROM older_inner_keys"


def open_or_make_keys(connection: sqlite3.Connection, masters: MasterKeys) -> Keyring:
    """Return what opens a database, making the inner keys of a new one; note the first master key before a row uses it.

    Raises:
        WrongKey: The master keys do not open the inner keys.
        BadFolder: There are several.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT sealed, generation FROM inner_keys").fetchone()
        if row is None:
            inner, number = InnerKeys.make(masters.entropy), 0
            connection.execute(
                "INSERT INTO inner_keys (id, sealed, made_under) VALUES (1, ?, ?)",
                (masters.seal_inner(inner), masters.first.id),
            )
        else:
            inner, number = masters.open_inner(row[0]), row[1]
        older = older_keys(connection.execute, masters)
        if row is not None and {key_id_of(row[0]), *_older_key_ids(connection)} != {masters.first.id}:
            # Whatever becomes of older keys, these must open with the first.
            reseal_keys(connection.execute, masters)
        connection.execute(
            "INSERT INTO master_key (key_id, check_value) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (masters.first.id, masters.check_value()),
        )
    return Keyring(masters, inner, number=number, older=older)


def read_keys(connection: sqlite3.Connection, masters: MasterKeys) -> Keyring:
    """Return what opens a database, without writing to it; errors as in `open_or_make_keys`."""
    sealed, number = connection.execute("SELECT sealed, generation FROM inner_keys").fetchone()
    return Keyring(masters, masters.open_inner(sealed), number=number, older=older_keys(connection.execute, masters))


def older_keys(execute: Execute, masters: MasterKeys) -> list[Generation]:
    """Open the inner keys of every older generation.

    Raises:
        WrongKey: No master key opens one of them.
    """
    return [
        Generation(number, masters.open_older(number, sealed), ended_at, bool(moving))
        for number, sealed, ended_at, moving in execute(_OLDER, ()).fetchall()
    ]


def _older_key_ids(connection: sqlite3.Connection) -> set[bytes]:
    return {key_id_of(sealed) for (sealed,) in connection.execute("SELECT sealed FROM older_inner_keys")}


def reseal_keys(execute: Execute, masters: MasterKeys) -> None:
    """Seal the inner keys, and those of every older generation, under the first master key.

    Raises:
        WrongKey: The master keys do not open them; what was written has to be undone.
        BadFolder: There are several.
    """
    ((sealed,),) = execute("SELECT sealed FROM inner_keys", ()).fetchall()
    if execute("UPDATE inner_keys SET sealed = ?", (masters.seal_inner(masters.open_inner(sealed)),)).rowcount != 1:
        raise BadFolder("the database holds its inner keys more than once")
    for number, older, _, _ in older_keys(execute, masters):
        execute(
            "UPDATE older_inner_keys SET sealed = ? WHERE generation = ?", (masters.seal_older(number, older), number)
        )


def renew_keys(connection: sqlite3.Connection, keyring: Keyring, trail: ChainedTrail, *, by: Caller) -> bool:
    """Begin a generation of inner keys, unless those of now were made under the first master key.

    Run on the writing connection between two batches, so that everything of a batch is under one generation.

    Returns:
        Whether one was begun.
    """
    masters = keyring.masters
    now = trail.timeline.now()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        sealed, number, made_under = connection.execute(
            "SELECT sealed, generation, made_under FROM inner_keys"
        ).fetchone()
        if made_under == masters.first.id:
            return False
        ended, new = masters.open_inner(sealed), InnerKeys.make(masters.entropy)
        connection.execute(
            "INSERT INTO older_inner_keys (generation, sealed, ended_at, moving) VALUES (?, ?, ?, 1)",
            (number, masters.seal_older(number, ended), now),
        )
        connection.execute(
            "UPDATE inner_keys SET sealed = ?, generation = ?, made_under = ?",
            (masters.seal_inner(new), number + 1, masters.first.id),
        )
        connection.execute(statements.END_ALL)
        heads = [head for (head,) in connection.execute("SELECT head FROM audit_chain ORDER BY id")]
        chain = AuditChain(new.audit, masters.entropy(SALT_BYTES), previous=joined(heads))
        begun = trail.begin(connection, chain, generation=number + 1)
        older = older_keys(connection.execute, masters)
        first = begun.append(connection, [Event(Action.RENEWED, now, by, None)])
    # Durable now. Nobody writes before the next batch, which begins after this.
    first()
    keyring.renew(new, number=number + 1, older=older)
    trail.follow(begun)
    return True
