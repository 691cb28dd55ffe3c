"""Where secrets are found while they move from older inner keys to those of now.

A secret stands under one generation of inner keys, and moves to the newest in one unit: by the rotation, or by whoever
changes it before. Nobody else sees anything of it: what is asked for is looked for under each generation that may still
hold secrets, in the same transaction. While none does, which is nearly always, all of this is one condition.
"""

from __future__ import annotations

import contextlib

from sirrd.errors import Unreadable
from sirrd.keyring.inner import Names
from sirrd.keyring.ring import Keyring
from sirrd.model import BareKey, Identity, Plaintext, Target
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import Attempts
from sirrd.store.sqlite.queries import only
from sirrd.store.sqlite.statements import Row
from sirrd.store.sqlite.units import Transaction


class Places:
    """Finds secrets, and moves them to the inner keys of now. Every method is part of a unit."""

    def __init__(self, keyring: Keyring, attempts: Attempts) -> None:
        self._keyring = keyring
        self._attempts = attempts

    def resolve(self, transaction: Transaction, target: Target) -> tuple[bytes, str]:
        """Return the lookup under which a target stands, or would stand, and its fingerprint.

        Raises:
            Gone: No org holds the bare key.
            AmbiguousKey: Several do.
        """
        names = self._keyring.names
        if self._keyring.moving:
            return self._resolve_among(transaction, target, self._keyring.every_names())
        if isinstance(target, Identity):
            lookup = names.lookup(target)
        else:
            found = {"bare": names.bare_lookup(target), "now": transaction.now}
            lookup = only(transaction.execute(statements.BARE, found).fetchall())
        return lookup, names.fingerprint(lookup)

    def _resolve_among(self, transaction: Transaction, target: Target, every: tuple[Names, ...]) -> tuple[bytes, str]:
        if isinstance(target, BareKey):
            return self._resolve_bare(transaction, target, every)
        here = every[0].lookup(target)
        fingerprint = every[0].fingerprint(here)
        for names in every[1:]:
            older = names.lookup(target)
            if transaction.execute(statements.HOLDS, (older,)).fetchall():
                return older, fingerprint
        return here, fingerprint

    def _resolve_bare(self, transaction: Transaction, key: BareKey, every: tuple[Names, ...]) -> tuple[bytes, str]:
        found = [
            (lookup, names)
            for names in every
            for (lookup,) in transaction.execute(
                statements.BARE, {"bare": names.bare_lookup(key), "now": transaction.now}
            ).fetchall()
        ]
        lookup = only([(lookup,) for lookup, _ in found])
        names = found[0][1]
        if names is every[0]:
            return lookup, names.fingerprint(lookup)
        with contextlib.suppress(Unreadable):
            for row in transaction.execute(statements.PEEK, {"lookup": lookup, "now": transaction.now}).fetchall():
                return lookup, every[0].fingerprint(
                    every[0].lookup(self._keyring.open_label(statements.described(row)))
                )
        return lookup, names.fingerprint(lookup)

    def move_to_newest_keys(self, transaction: Transaction, row: Row, identity: Identity, plaintext: Plaintext) -> Row:
        """Move a secret to the inner keys of now, if it is not there, and return its row; it has a fresh salt then.

        The older salt is gone, and with it all that older keys could open; deliveries that wrap it are over.
        """
        names = self._keyring.names
        if row.generation == names.number:
            return row
        places = names.places(identity)
        new = self._keyring.seal(places[0], identity, plaintext, row.terms)
        transaction.change(statements.RESALT, (new.salt, row.slot))
        transaction.change(statements.MOVE, (*places, new.label, new.sealed, row.seq, row.lookup, row.sealed))
        self._attempts.end(transaction, row.seq)
        return row._replace(lookup=new.lookup, salt=new.salt, label=new.label, sealed=new.sealed)
