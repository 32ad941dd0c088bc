-- How many acts of operators there are, sealed under the master key: without it, those written last could be taken away
-- and nobody would miss them. A seal that does not fit counts as acts that are missing.
CREATE TABLE operator_acts (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  number INTEGER NOT NULL,
  seal   BLOB NOT NULL
) STRICT;
