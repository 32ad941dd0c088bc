-- Where the database stands, for processes that share it: how many transactions were written, which of them was the
-- last to say something that processes keep in memory, and how often the right to write changed hands.
CREATE TABLE store_state (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  change INTEGER NOT NULL,
  acts   INTEGER NOT NULL,
  term   INTEGER NOT NULL,
  holder TEXT NOT NULL
) STRICT;

INSERT INTO store_state (one, change, acts, term, holder) VALUES (1, 0, 0, 0, '');

-- Who is here, and who of them does what only one may do at a time. Times are the database's own.
CREATE TABLE store_node (
  node    TEXT PRIMARY KEY,
  told    TEXT NOT NULL,                    -- JSON: what it says of itself
  seen_at INTEGER NOT NULL,                 -- microseconds since 1970, UTC
  joined_at INTEGER NOT NULL
) STRICT;
CREATE TABLE store_lease (
  duty     TEXT PRIMARY KEY,
  holder   TEXT NOT NULL,
  term     INTEGER NOT NULL,                -- grows whenever it changes hands
  until_us INTEGER NOT NULL                 -- microseconds since 1970, UTC
) STRICT;
