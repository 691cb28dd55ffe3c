-- Attempts: how a reader whose answer was lost asks again, and what is kept for that: see docs/formats.md.

-- Which attempts have read a secret that has a limit of reads. The attempt itself is nowhere, only its keyed hash.
CREATE TABLE attempt (
    id       INTEGER PRIMARY KEY,
    secret   INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    at       INTEGER NOT NULL,
    ends_at  INTEGER NOT NULL,
    repeats  INTEGER NOT NULL,
    delivery INTEGER REFERENCES delivery (id)
) STRICT;

CREATE UNIQUE INDEX attempt_hash ON attempt (hash);
CREATE INDEX attempt_secret ON attempt (secret);
CREATE INDEX attempt_end ON attempt (ends_at) WHERE delivery IS NOT NULL;
CREATE INDEX attempt_at ON attempt (at);

-- Salts of secrets that burn, each wrapped under a key that only an attempt gives. Rows are only appended, or overwritten
-- in place at equal size, like those of slot: that is what makes a delivery gone. A free one holds zeros.
CREATE TABLE delivery (
    id      INTEGER PRIMARY KEY,
    free    INTEGER NOT NULL,
    wrapped BLOB NOT NULL CHECK (length(wrapped) = 61)
) STRICT;

CREATE INDEX delivery_free ON delivery (free) WHERE free = 1;

-- Secrets that have burned, for as long as one of their deliveries is open. Their salt is gone from its slot.
CREATE TABLE spent (
    seq        INTEGER PRIMARY KEY,
    lookup     BLOB NOT NULL,
    bare       BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    max_reads  INTEGER NOT NULL,
    lock       BLOB CHECK (lock IS NULL OR length(lock) = 32),
    label      BLOB NOT NULL,
    sealed     BLOB NOT NULL
) STRICT;

CREATE INDEX spent_lookup ON spent (lookup);
CREATE INDEX spent_bare ON spent (bare) WHERE bare IS NOT NULL;
