-- Inner keys can be renewed: see docs/formats.md. Each generation of them has a number, and what is under
-- them names it: a chain in its row, a secret in its label. made_under is the id of the master key that was first when the keys were made; null in older databases.
ALTER TABLE inner_keys ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inner_keys ADD COLUMN made_under BLOB;

-- Earlier generations, sealed by a master key. While moving is 1, secrets may still be under them.
CREATE TABLE older_inner_keys (
    generation INTEGER PRIMARY KEY,
    sealed     BLOB NOT NULL,
    ended_at   INTEGER NOT NULL,
    moving     INTEGER NOT NULL
) STRICT;

-- previous is what the first chain of a generation says about the chains before it.
ALTER TABLE audit_chain ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_chain ADD COLUMN previous BLOB;
