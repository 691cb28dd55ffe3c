"""Writes the vectors of keyring format 1, attempts, renewals and links of version 1: `scripts/vectors FOLDER`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sirrd import link
from sirrd.events import Action, Event
from sirrd.http.wire import shown
from sirrd.keyring.chain import AuditChain, joined
from sirrd.keyring.inner import InnerKeys
from sirrd.keyring.masters import MasterKey, MasterKeys
from sirrd.keyring.ring import Keyring
from sirrd.model import Attempt, BareKey, Caller, Identity, Plaintext, Terms

CREATED_AT = 1_800_000_000
CASES = {
    "drop": (Identity("ab" * 32), "s3cret", Terms(CREATED_AT, None, 1, delete=True)),
    "drop-with-a-life": (Identity("01" * 32), "grüße\n\0", Terms(CREATED_AT, CREATED_AT + 3600, None, delete=True)),
    "org-secret": (Identity("DB_PASSWORD", "acme"), "hunter2", Terms(CREATED_AT, None, 2_147_483_647, delete=False)),
    "locked-drop": (
        Identity("ef" * 32),
        "sirr1.s3cret",
        Terms(CREATED_AT, None, 1, delete=True, lock=bytes(range(32))),
    ),
}
LINKS = {
    "text": (None, link.Content(b"s3cret")),
    "text-with-a-passphrase": ("cafe\u0301 und grüße", link.Content("grüße\n\0".encode())),
    "file": (None, link.Content(bytes(range(256)), "Bericht über 2026.pdf", "application/pdf")),
    "file-with-a-passphrase": ("correct horse battery staple", link.Content(b"#!/bin/sh\n", "run.sh", "text/x-sh")),
    "empty-file": (None, link.Content(b"", "empty", "application/octet-stream")),
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
        "terms": {key: term.hex() if isinstance(term, bytes) else term for key, term in terms._asdict().items()},
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


def attempt_vector(name: str) -> dict[str, Any]:
    """Return one case of an attempt."""
    identity, value, terms = CASES[name]
    entropy = CountedEntropy(f"attempt {name}")
    master, inner = MasterKey.of(entropy(32)), InnerKeys.make(entropy)
    ring = Keyring(MasterKeys([master], entropy), inner)
    record = ring.seal(ring.lookup(identity), identity, Plaintext(value.encode()), terms)
    attempt, seq = Attempt(entropy(32)), 7
    return {
        "index_key": inner.index.hex(),
        "attempt": attempt.secret.hex(),
        "header": shown.base64url(attempt.secret),
        "seq": seq,
        "lookup": record.lookup.hex(),
        "salt": record.salt.hex(),
        "hash": ring.attempt_hash(seq, attempt).hex(),
        "wrapped": ring.wrap_salt(record, seq, attempt).hex(),
    }


def renewal_vector(name: str) -> dict[str, Any]:
    """Return one case of renewed inner keys: how the older ones are kept, and how the next chain begins."""
    entropy = CountedEntropy(f"renewal {name}")
    master, older, inner = MasterKey.of(entropy(32)), InnerKeys.make(entropy), InnerKeys.make(entropy)
    owners = MasterKeys([master], entropy)
    number, heads = 2, [entropy(32) for _ in range(3)]
    chain = AuditChain(inner.audit, entropy(32), previous=joined(heads))
    return {
        "master_key": master.hex,
        "generation": number,
        "older_inner_keys": {key: getattr(older, key).hex() for key in ("index", "fingerprint", "audit", "signing")},
        "sealed_older_inner_keys": owners.seal_older(number, older).hex(),
        "audit_key": inner.audit.hex(),
        "heads": [head.hex() for head in heads],
        "chain_salt": chain.salt.hex(),
        "previous": joined(heads).hex(),
        "start": chain.start.hex(),
        **_labelled(owners, inner, number + 1),
    }


def _labelled(owners: MasterKeys, inner: InnerKeys, number: int) -> dict[str, Any]:
    identity, _, terms = CASES["org-secret"]
    ring = Keyring(owners, inner, number=number)
    record = ring.seal(ring.lookup(identity), identity, Plaintext(b"hunter2"), terms)
    return {
        "org": identity.org,
        "key": identity.name,
        "terms": terms._asdict(),
        "index_key": inner.index.hex(),
        "lookup": record.lookup.hex(),
        "salt": record.salt.hex(),
        "label": record.label.hex(),
    }


def link_vector(name: str) -> dict[str, Any]:
    """Return one case of a link."""
    passphrase, content = LINKS[name]
    entropy = CountedEntropy(name)
    fragment = link.Fragment.make(entropy, needs_passphrase=passphrase is not None)
    keys = fragment.keys(passphrase)
    return {
        "fragment": str(fragment),
        "passphrase": passphrase,
        "key": keys.encryption.hex(),
        "proof": keys.shown_proof,
        "lock": keys.lock,
        "name": content.name,
        "type": content.media_type,
        "data": content.data.hex(),
        "value": link.seal(content, keys.encryption, entropy),
    }


def main() -> None:
    """Write all cases into the folder that is named."""
    kinds: list[tuple[str, Iterable[str], Callable[[str], dict[str, Any]]]] = [
        ("keyring-v1", CASES, vector),
        ("attempt-v1", ("drop", "org-secret"), attempt_vector),
        ("renewal-v1", ("renewal",), renewal_vector),
        ("link-v1", LINKS, link_vector),
    ]
    for kind, cases, make in kinds:
        folder = Path(sys.argv[1]) / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name in cases:
            (folder / f"{name}.json").write_text(json.dumps(make(name), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
