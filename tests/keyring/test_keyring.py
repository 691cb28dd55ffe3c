"""The keyring: what it seals opens with the right key only, in the right row, under the right terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sirrd.entropy import SystemEntropy
from sirrd.errors import BadSetting, Unreadable, WrongKey
from sirrd.events import Action, Event
from sirrd.keyring.chain import AuditChain, AuditRow
from sirrd.keyring.forms import ERASED_SALT, derive, pack, unpack
from sirrd.keyring.inner import InnerKeys
from sirrd.keyring.masters import MasterKey, MasterKeys, parse_master_keys
from sirrd.keyring.ring import Keyring, SealedRecord
from sirrd.model import BareKey, Caller, Identity, Plaintext, Terms
from tests.conftest import NOW, masters
from tests.parts import ROOT

OTHER_KEY = "ab" * 32
INNER = InnerKeys(*(bytes([n]) * 32 for n in range(4)))
DROP = Identity("5" * 64)
ORG_SECRET = Identity("DB_PASSWORD", "acme")
TERMS = Terms(NOW, NOW + 60, 3, delete=True)
VALUE = Plaintext("grüße".encode())
VECTORS = ROOT / "tests" / "vectors" / "keyring-v1"


def keyring(*keys: str) -> Keyring:
    return Keyring(masters(*keys), INNER)


def sealed(ring: Keyring, identity: Identity = DROP, terms: Terms = TERMS) -> SealedRecord:
    return ring.seal(ring.lookup(identity), identity, VALUE, terms)


@pytest.mark.parametrize("identity", [DROP, ORG_SECRET])
def test_what_was_sealed_opens(identity: Identity) -> None:
    """Value and name come back from a sealed record."""
    ring = keyring()
    record = sealed(ring, identity)
    assert ring.open_value(record) == VALUE
    assert ring.open_label(record) == identity


def test_a_sealed_record_shows_nothing() -> None:
    """Neither value nor name stands in what is stored, and two records of the same secret have nothing in common."""
    ring = keyring()
    first, second = sealed(ring, ORG_SECRET), sealed(ring, ORG_SECRET)
    for part in (first.sealed, first.label, first.lookup):
        assert VALUE.encoded not in part
        assert b"DB_PASSWORD" not in part
        assert b"acme" not in part
    assert first.salt != second.salt
    assert first.sealed[9:] != second.sealed[9:]
    assert first.lookup == second.lookup


@pytest.mark.parametrize("part", ["sealed", "label", "salt", "lookup"])
def test_any_flipped_bit_is_unreadable(part: str) -> None:
    """A record with one bit changed anywhere does not open, whichever byte it is in."""
    ring = keyring()
    record = sealed(ring)
    original: bytes = getattr(record, part)
    opens = ring.open_label if part == "label" else ring.open_value
    for at in range(len(original)):
        changed = bytearray(original)
        changed[at] ^= 1
        damaged: dict[str, Any] = {part: bytes(changed)}
        with pytest.raises(Unreadable):
            opens(record._replace(**damaged))


@pytest.mark.parametrize("length", [0, 1, 9, 20, 36])
def test_a_truncated_record_is_unreadable(length: int) -> None:
    """A record that ends too early does not open, and is no crash."""
    ring = keyring()
    record = sealed(ring)
    with pytest.raises(Unreadable):
        ring.open_value(record._replace(sealed=record.sealed[:length]))


@pytest.mark.parametrize(
    "terms",
    [
        TERMS._replace(expires_at=NOW + 61),
        TERMS._replace(expires_at=None),
        TERMS._replace(max_reads=4),
        TERMS._replace(max_reads=None),
        TERMS._replace(delete=False),
        TERMS._replace(created_at=NOW + 1),
    ],
)
def test_other_terms_are_unreadable(terms: Terms) -> None:
    """A record that was given other terms in the file opens neither as a value nor as a name."""
    ring = keyring()
    record = sealed(ring)._replace(terms=terms)
    with pytest.raises(Unreadable):
        ring.open_value(record)
    with pytest.raises(Unreadable):
        ring.open_label(record)


def test_a_record_under_another_identity_is_unreadable() -> None:
    """A record that was moved to another place of the index does not open there."""
    ring = keyring()
    record = sealed(ring)._replace(lookup=ring.lookup(Identity("6" * 64)))
    with pytest.raises(Unreadable):
        ring.open_value(record)


def test_value_and_label_are_not_interchangeable() -> None:
    """A label does not open as a value: the two have keys of their own."""
    ring = keyring()
    record = sealed(ring)
    with pytest.raises(Unreadable):
        ring.open_value(record._replace(sealed=record.label))


def test_an_erased_salt_is_the_end() -> None:
    """With the salt gone, no key opens the record (I8)."""
    ring = keyring()
    with pytest.raises(Unreadable):
        ring.open_value(sealed(ring)._replace(salt=ERASED_SALT))


def test_another_master_key_does_not_open() -> None:
    """A record opens with the key that sealed it, even behind a newer one, and with no other."""
    record = sealed(keyring())
    with pytest.raises(Unreadable):
        keyring(OTHER_KEY).open_value(record)
    both = keyring(OTHER_KEY, "0f" * 32)
    assert both.open_value(record) == VALUE
    assert sealed(both).sealed[1:9] == MasterKey.of(bytes.fromhex(OTHER_KEY)).id


def test_unreadable_names_the_fingerprint() -> None:
    """The error carries what the log calls the secret by, and nothing else."""
    ring = keyring()
    record = sealed(ring)
    with pytest.raises(Unreadable) as found:
        ring.open_value(record._replace(salt=ERASED_SALT))
    assert found.value.fingerprint == ring.fingerprint(record.lookup)
    assert str(found.value) == ""


def test_lookups_tell_all_identities_apart() -> None:
    """No two of (kind, org, name) meet in the index, however their parts could be joined."""
    ring = keyring()
    identities = [Identity("ab", "c"), Identity("b", "ca"), Identity("c", "ab"), Identity("abc", ""), Identity("abc")]
    lookups = {ring.lookup(identity) for identity in identities}
    lookups |= {ring.bare_lookup(BareKey("ab")), ring.org_lookup("ab"), ring.org_lookup("c")}
    assert len(lookups) == 8


def test_index_and_fingerprint_outlive_a_new_master_key() -> None:
    """Lookups and fingerprints depend on the inner keys alone."""
    one, two = keyring(), keyring(OTHER_KEY)
    assert one.lookup(DROP) == two.lookup(DROP)
    assert one.fingerprint(one.lookup(DROP)) == two.fingerprint(two.lookup(DROP))


def test_inner_keys_open_with_their_master_key_only() -> None:
    """What a database keeps about its own keys opens with the key that sealed it, and only as what it is."""
    blob, check = masters().seal_inner(INNER), masters().check_value()
    assert masters(OTHER_KEY, "0f" * 32).open_inner(blob) == INNER
    masters().verify(check)
    for foreign in (lambda: masters(OTHER_KEY).open_inner(blob), lambda: masters(OTHER_KEY).verify(check)):
        with pytest.raises(WrongKey):
            foreign()
    for exchanged in (lambda: masters().verify(blob), lambda: masters().open_inner(check)):
        with pytest.raises(WrongKey):
            exchanged()


def test_inner_keys_are_all_different() -> None:
    """No inner key serves two purposes."""
    made = InnerKeys.make(SystemEntropy())
    assert len({made.index, made.fingerprint, made.audit, made.signing}) == 4


def test_derived_keys_depend_on_everything() -> None:
    """Another secret, salt or purpose gives another key."""
    one = derive(b"k" * 32, salt=b"s" * 32, purpose=b"p")
    others = [
        derive(b"K" * 32, salt=b"s" * 32, purpose=b"p"),
        derive(b"k" * 32, salt=b"S" * 32, purpose=b"p"),
        derive(b"k" * 32, salt=b"s" * 32, purpose=b"P"),
    ]
    assert len({one, *others}) == 4


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""], [b"a", b"bc"], [b"ab", b"c"], [b"x" * 70_000]])
def test_packing_is_reversible(parts: list[bytes]) -> None:
    """What was packed is unpacked as it was."""
    assert unpack(pack(*parts)) == parts


@pytest.mark.parametrize("packed", [b"\0", b"\0\0\0\1", b"\0\0\0\2a", b"\xff\xff\xff\xffa"])
def test_unpacking_refuses_what_was_not_packed(packed: bytes) -> None:
    """A length that points past the end is an error."""
    with pytest.raises(ValueError, match="truncated"):
        unpack(packed)


# Master keys as operators write them.


@pytest.mark.parametrize(
    "text",
    ["aa" * 32, "AA" * 32 + "\n", f"\n {'aa' * 32} \r\n", f"# the key of 2026\n{'aa' * 32}  # keep it\n"],
)
def test_a_master_key_may_be_written_in_several_ways(text: str) -> None:
    """White space, either case and comments do not matter."""
    assert parse_master_keys(text) == (MasterKey.of(b"\xaa" * 32),)


def test_several_master_keys_keep_their_order() -> None:
    """Lines and commas separate keys; the first stays the first."""
    first, second, third = (bytes([n] * 32).hex() for n in (1, 2, 3))
    keys = parse_master_keys(f"{first},{second}\n{third}")
    assert [key.hex for key in keys] == [first, second, third]


@pytest.mark.parametrize(
    "text", ["", "  \n", "# none\n", "aa" * 31, "aa" * 33, "zz" * 32, f"{'aa' * 32},x", "aa" * 32 + " b"]
)
def test_a_bad_master_key_is_refused_without_being_shown(text: str) -> None:
    """The error says what is wrong and never repeats what was written."""
    with pytest.raises(BadSetting) as found:
        parse_master_keys(text)
    assert found.value.hint is not None
    shown = f"{found.value} {found.value.hint} {found.value!r}"
    assert not any(part in shown for part in text.split(",") if len(part) > 8)


def test_the_same_master_key_twice_is_refused() -> None:
    """A key that stands there twice is a slip that the operator should hear of."""
    with pytest.raises(BadSetting, match="twice"):
        parse_master_keys(f"{'aa' * 32}\n{'AA' * 32}")


@pytest.mark.parametrize(
    "secretive",
    [MasterKey.of(b"\xaa" * 32), keyring(), INNER, sealed(keyring()), VALUE, DROP, ORG_SECRET, BareKey("DB_PASSWORD")],
)
def test_a_repr_shows_no_secret(secretive: object) -> None:
    """No repr of what holds keys, names or values shows them (I6)."""
    shown = repr(secretive)
    for hidden in ("aa" * 8, "\\xaa", "\\x01", "grü", "DB_PASSWORD", "acme", "5" * 8):
        assert hidden not in shown


# The audit chain.


def chained(times: int = 3) -> tuple[AuditChain, list[AuditRow]]:
    chain = keyring().audit_chain()
    events = [Event(Action.READ, NOW + n, Caller("bearer", "192.0.2.7"), "00" * 8, "acme", "KEY") for n in range(times)]
    return chain, chain.extend(chain.start, 0, events)


def verified(chain: AuditChain, rows: list[AuditRow]) -> bool:
    head = chain.start
    for row in rows:
        if not chain.verify(head, row):
            return False
        head = row.mac
    return True


def test_a_chain_verifies_and_opens_later() -> None:
    """A chain that is resumed from its salt verifies every row and opens its details."""
    chain, rows = chained()
    resumed = keyring().resume_audit_chain(chain.salt)
    assert verified(resumed, rows)
    assert resumed.open_detail(rows[0]) == ("acme", "KEY", "192.0.2.7")
    assert [row.number for row in rows] == [0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"at": NOW - 1},
        {"action": "burned"},
        {"caller": "anonymous"},
        {"fingerprint": b"\1" * 8},
        {"fingerprint": None},
        {"times": 2},
        {"number": 7},
        {"detail": b"x" * 40},
    ],
)
def test_a_changed_audit_row_breaks_the_chain(change: dict[str, Any]) -> None:
    """Every column of a row is covered by its MAC."""
    chain, rows = chained()
    rows[1] = rows[1]._replace(**change)
    assert not verified(chain, rows)


def test_a_missing_or_exchanged_audit_row_breaks_the_chain() -> None:
    """Rows can be neither left out nor put in another order, nor moved to another chain."""
    chain, rows = chained()
    assert not verified(chain, [rows[0], rows[2]])
    assert not verified(chain, [rows[1], rows[0], rows[2]])
    assert not verified(keyring().audit_chain(), rows)


def test_audit_details_are_sealed_with_a_nonce_each() -> None:
    """Org, key and address stand in no row in the clear, and equal details do not look alike."""
    _, rows = chained()
    assert len({row.detail for row in rows}) == 3
    assert len({row.detail[:12] for row in rows}) == 3
    for row in rows:
        assert not any(name in row.detail for name in (b"acme", b"KEY", b"192.0.2.7"))


def test_a_detail_that_was_changed_is_unreadable() -> None:
    """A damaged detail is an error, not a guess."""
    chain, rows = chained()
    with pytest.raises(Unreadable):
        chain.open_detail(rows[0]._replace(detail=rows[0].detail[:-1] + b"\0"))


# Golden vectors: what an independent program must get, too.


@pytest.mark.parametrize("file", sorted(VECTORS.glob("*.json")), ids=lambda file: file.stem)
def test_golden_vectors_open(file: Path) -> None:
    """Every record that this format version ever made still opens as it was."""
    vector = json.loads(file.read_text(encoding="utf-8"))
    ring = Keyring(
        MasterKeys(parse_master_keys(vector["master_key"]), SystemEntropy()),
        InnerKeys(**{name: bytes.fromhex(key) for name, key in vector["inner_keys"].items()}),
    )
    identity = Identity(vector["name"], vector["org"])
    record = SealedRecord(
        bytes.fromhex(vector["lookup"]),
        bytes.fromhex(vector["salt"]),
        bytes.fromhex(vector["sealed"]),
        bytes.fromhex(vector["label"]),
        Terms(**_from_hex(vector["terms"], "lock")),
    )
    assert ring.lookup(identity) == record.lookup
    assert ring.fingerprint(record.lookup) == vector["fingerprint"]
    assert ring.open_value(record).text() == vector["value"]
    assert ring.open_label(record) == identity
    if identity.org is not None:
        assert ring.bare_lookup(BareKey(identity.name)).hex() == vector["bare_lookup"]
        assert ring.org_lookup(identity.org).hex() == vector["org_lookup"]


@pytest.mark.parametrize("file", sorted(VECTORS.glob("*.json")), ids=lambda file: file.stem)
def test_golden_vectors_of_keys_and_audit_rows_open(file: Path) -> None:
    """Sealed inner keys, check values and audit rows of this format version are still what they were."""
    vector = json.loads(file.read_text(encoding="utf-8"))
    owners = MasterKeys(parse_master_keys(vector["master_key"]), SystemEntropy())
    inner = InnerKeys(**{name: bytes.fromhex(key) for name, key in vector["inner_keys"].items()})
    assert owners.open_inner(bytes.fromhex(vector["sealed_inner_keys"])) == inner
    owners.verify(bytes.fromhex(vector["check_value"]))
    chain = Keyring(owners, inner).resume_audit_chain(bytes.fromhex(vector["audit"]["chain_salt"]))
    rows = [AuditRow(**_from_hex(row, "fingerprint", "detail", "mac")) for row in vector["audit"]["rows"]]
    assert chain.start.hex() == vector["audit"]["start"]
    assert verified(chain, rows)
    assert [list(chain.open_detail(row)) for row in rows] == vector["audit"]["details"]


def _from_hex(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return row | {name: None if row.get(name) is None else bytes.fromhex(row[name]) for name in names}


def test_golden_vectors_open_without_sirrd() -> None:
    """docs/formats.md is enough: a vector opens with nothing but HKDF and AES-GCM."""
    vector = json.loads((VECTORS / "drop.json").read_text(encoding="utf-8"))
    sealed_value, terms = bytes.fromhex(vector["sealed"]), vector["terms"]
    assert sealed_value[:1] == b"\x01"
    key_id, nonce, body = sealed_value[1:9], sealed_value[9:21], sealed_value[21:]
    keys = HKDF(SHA256(), 64, bytes.fromhex(vector["salt"]), b"sirrd/1/record").derive(
        bytes.fromhex(vector["master_key"])
    )
    numbers = b"".join(
        (-1 if terms[name] is None else terms[name]).to_bytes(8, signed=True)
        for name in ("created_at", "expires_at", "max_reads")
    )
    bound = b"value" + b"\x01" + key_id + bytes.fromhex(vector["lookup"]) + numbers + bytes([terms["delete"]])
    assert AESGCM(keys[:32]).decrypt(nonce, body, bound).decode() == vector["value"]
