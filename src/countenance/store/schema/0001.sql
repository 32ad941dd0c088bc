-- What every state-changing call leaves behind in the transaction of its effect, until a consumer has it.
-- AUTOINCREMENT: a position is never given twice, even after the rows before it were drained.
CREATE TABLE outbox (
  position      INTEGER PRIMARY KEY AUTOINCREMENT,
  operation     TEXT NOT NULL,
  account_id    TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  request_id    TEXT NOT NULL,
  at            TEXT NOT NULL,
  details       TEXT NOT NULL
) STRICT;

-- How far the consumer has come: everything up to here is durable on the consumer's side.
CREATE TABLE outbox_cursor (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  drained  INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_cursor (only_row, drained) VALUES (1, 0);
