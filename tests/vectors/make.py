"""Writes the vectors of keyring format 1: `scripts/vectors FOLDER`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sirrd.events import Action, Event
from sirrd.keyring import InnerKeys, Keyring, MasterKey, MasterKeys
from sirrd.model import BareKey, Caller, Identity, Plaintext, Terms

CREATED_AT = 1_800_000_000
CASES = {
    "drop": (Identity("ab" * 32), "s3cret", Terms(CREATED_AT, None, 1, delete=True)),
    "drop-with-a-life": (Identity("01" * 32), "grüße\n\0", Terms(CREATED_AT, CREATED_AT + 3600, None, delete=True)),
    "org-secret": (Identity("DB_PASSWORD", "acme"), "hunter2", Terms(CREATED_AT, None, 2_147_483_647, delete=False)),
}


class CountedEntropy:
    """SHA-256 of a label and a counter: repeatable, and for vectors only."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._count = 0

    def __call__(self, size: int) -> bytes:
        """Return `size` bytes."""
        self._count += 1
        return hashlib.sha256(f"{self._label} {self._count}".encode()).digest()[:size]


def vector(name: str) -> dict[str, Any]:
    """Return one case."""
    identity, value, terms = CASES[name]
    entropy = CountedEntropy(name)
    master, inner = MasterKey.of(entropy(32)), InnerKeys.make(entropy)
    owners = MasterKeys([master], entropy)
    ring = Keyring(owners, inner)
    record = ring.seal(ring.lookup(identity), identity, Plaintext(value.encode()), terms)
    found: dict[str, Any] = {
        "master_key": master.hex,
        "inner_keys": {key: getattr(inner, key).hex() for key in ("index", "fingerprint", "audit", "signing")},
        "name": identity.name,
        "org": identity.org,
        "value": value,
        "terms": terms._asdict(),
        "lookup": record.lookup.hex(),
        "fingerprint": ring.fingerprint(record.lookup),
        "salt": record.salt.hex(),
        "sealed": record.sealed.hex(),
        "label": record.label.hex(),
        "sealed_inner_keys": owners.seal_inner(inner).hex(),
        "check_value": owners.check_value().hex(),
        "audit": _audit(ring, identity, ring.fingerprint(record.lookup)),
    }
    if identity.org is not None:
        found |= {
            "bare_lookup": ring.bare_lookup(BareKey(identity.name)).hex(),
            "org_lookup": ring.org_lookup(identity.org).hex(),
        }
    return found


def _audit(ring: Keyring, identity: Identity, fingerprint: str) -> dict[str, Any]:
    chain = ring.audit_chain()
    key = identity.org and identity.name
    events = [
        Event(Action.CREATED, CREATED_AT, Caller("bearer", "192.0.2.7"), fingerprint, identity.org, key),
        Event(Action.READ, CREATED_AT + 1, Caller("anonymous", "2001:db8::1"), fingerprint, identity.org, key),
        Event(Action.DENIED, CREATED_AT + 60, Caller("anonymous", "2001:db8::/64"), None, times=12),
    ]
    rows = chain.extend(chain.start, 0, events)
    return {
        "chain_salt": chain.salt.hex(),
        "start": chain.start.hex(),
        "rows": [
            {name: part.hex() if isinstance(part, bytes) else part for name, part in row._asdict().items()}
            for row in rows
        ],
        "details": [chain.open_detail(row) for row in rows],
    }


def main() -> None:
    """Write all cases into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in CASES:
        (folder / f"{name}.json").write_text(json.dumps(vector(name), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
