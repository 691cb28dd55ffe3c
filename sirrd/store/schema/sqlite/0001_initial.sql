-- Times are Unix seconds. Names and values are never in the clear: see docs/formats.md.

-- Master keys under which something may be sealed, each with a value that only it opens.
CREATE TABLE master_key (
    key_id      BLOB PRIMARY KEY,
    check_value BLOB NOT NULL
) STRICT;

-- The keys made once for this database, sealed by a master key.
CREATE TABLE inner_keys (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;

-- Salts. Rows are only appended, or overwritten in place at equal size; never deleted, never moved: that is what makes
-- an erased salt gone. A free slot holds 32 zero bytes.
CREATE TABLE slot (
    id   INTEGER PRIMARY KEY,
    free INTEGER NOT NULL,
    salt BLOB NOT NULL CHECK (length(salt) = 32)
) STRICT;

CREATE INDEX slot_free ON slot (free) WHERE free = 1;

-- Secrets. seq is the creation sequence: a new secret's number is above that of every secret there is.
CREATE TABLE secret (
    seq        INTEGER PRIMARY KEY,
    lookup     BLOB NOT NULL,
    bare       BLOB,
    org        BLOB,
    slot       INTEGER NOT NULL REFERENCES slot (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    max_reads  INTEGER,
    read_count INTEGER NOT NULL,
    "delete"   INTEGER NOT NULL,
    label      BLOB NOT NULL,
    sealed     BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX secret_lookup ON secret (lookup);
CREATE INDEX secret_bare ON secret (bare) WHERE bare IS NOT NULL;
CREATE INDEX secret_org ON secret (org, seq) WHERE org IS NOT NULL;
CREATE INDEX secret_expiry ON secret (expires_at) WHERE expires_at IS NOT NULL;

-- The audit trail: one chain per start of the daemon, each row's MAC over the row and the MAC before it.
CREATE TABLE audit_chain (
    id         INTEGER PRIMARY KEY,
    salt       BLOB NOT NULL,
    started_at INTEGER NOT NULL,
    head       BLOB NOT NULL,
    length     INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    seq         INTEGER PRIMARY KEY,
    chain       INTEGER NOT NULL REFERENCES audit_chain (id),
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    action      TEXT NOT NULL,
    caller      TEXT NOT NULL,
    fingerprint BLOB,
    count       INTEGER NOT NULL,
    detail      BLOB NOT NULL,
    mac         BLOB NOT NULL
) STRICT;
