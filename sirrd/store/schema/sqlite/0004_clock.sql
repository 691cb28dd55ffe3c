-- One instant by all clocks, in milliseconds: the store's time, in which the rows of `secret` are, the same as it was
-- shown, and by the clock of one boot of the machine.
CREATE TABLE clock (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    store   INTEGER NOT NULL,
    shown   INTEGER NOT NULL,
    elapsed INTEGER NOT NULL,
    boot    TEXT NOT NULL
) STRICT;
