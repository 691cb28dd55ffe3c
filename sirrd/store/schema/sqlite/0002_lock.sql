-- SHA-256 of the proof that a reader has to show, or NULL. It is one of the terms, which a record is bound to.
ALTER TABLE secret ADD COLUMN lock BLOB CHECK (lock IS NULL OR length(lock) = 32);
